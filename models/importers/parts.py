"""Pieces of graphs that several architectures share: layers, filters, bends and the tail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from models.importers.graph import Graph, Value
from models.importers.network import BEND, SUPPRESSED, CheckpointError, Layer, Synthesis
from models.importers.weights import Fetch

Floats = NDArray[np.float32]
TINY = 1e-8  # under each root, as in the published networks
ROOT_TWO = sqrt(2.0)

# Of bias_act.py in stylegan2-ada-pytorch: the operators, and the gain that keeps the variance.
ACTIVATIONS: dict[str, float] = {
    "linear": 1.0, "relu": ROOT_TWO, "lrelu": ROOT_TWO, "tanh": 1.0, "sigmoid": 1.0, "elu": 1.0, "selu": 1.0,
    "softplus": 1.0, "swish": ROOT_TWO,
}  # fmt: skip
PHASES = tuple((row, column) for row in range(2) for column in range(2))
HOMOGENEOUS = ("linear", "relu", "lrelu")  # f(g x) = g f(x) for g > 0, so a gain can move to the front


def activate(graph: Graph, x: Value, name: str, slope: float = 0.2) -> Value:
    """Return the activation of x, without its gain."""
    if name == "linear":
        return x
    if name == "swish":
        return graph.node("Mul", x, graph.node("Sigmoid", x))
    operators = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "elu": "Elu", "selu": "Selu"}
    if name == "lrelu":
        return graph.node("LeakyRelu", x, alpha=slope)
    return graph.node(operators.get(name, "Softplus"), x)


@dataclass(frozen=True)
class Linear:
    """A fully connected layer: x @ (weight * gain).T + bias * bias_gain."""

    name: str
    weight: Fetch  # (outputs, inputs)
    bias: Fetch | None  # (outputs,)
    gain: float
    bias_gain: float = 1.0

    def write(self, graph: Graph, x: Value, scale: float = 1.0) -> Value:
        """Return `scale` times the layer's output (batch, outputs) for x (batch, inputs)."""
        factor, shift = np.float32(self.gain * scale), np.float32(self.bias_gain * scale)
        weight = graph.weights(f"{self.name}.weight", lambda: self.weight() * factor)
        bias = self.bias
        if bias is None:
            return graph.node("Gemm", x, weight, transB=1)
        return graph.node(
            "Gemm", x, weight, graph.weights(f"{self.name}.bias", lambda: bias() * shift), transB=1
        )


def on_sphere(graph: Graph, x: Value) -> Value:
    """Return x (batch, n) with each row scaled to a mean square of one."""
    mean = graph.node("ReduceMean", graph.node("Mul", x, x), graph.constant([1], "int64"), keepdims=1)
    length = graph.node("Sqrt", graph.node("Add", mean, graph.constant(TINY)))
    return graph.node("Div", x, length)


@dataclass(frozen=True)
class MappingLayers:
    """The mapping of StyleGAN: z on the sphere, the label's embedding beside it, and dense layers."""

    z_dim: int
    w_dim: int
    classes: int
    embedding: Linear | None
    layers: tuple[Linear, ...]
    activation: str = "lrelu"

    def graph(self) -> Graph:
        """Return the graph of z (batch, z_dim) and label (batch, classes) to w (batch, w_dim)."""
        graph = Graph("mapping")
        x = on_sphere(graph, graph.input("z", "batch", self.z_dim)) if self.z_dim else ""
        if self.embedding is not None:
            label = self.embedding.write(graph, graph.input("label", "batch", self.classes))
            x = graph.node("Concat", *filter(None, (x, on_sphere(graph, label))), axis=1)
        gain = ACTIVATIONS[self.activation]
        for layer in self.layers:
            if self.activation in HOMOGENEOUS:
                x = activate(graph, layer.write(graph, x, gain), self.activation)
            else:
                x = activate(graph, layer.write(graph, x), self.activation)
                x = graph.node("Mul", x, graph.constant(gain)) if gain != 1.0 else x
        graph.output(x, "w", "float32", "batch", self.w_dim)
        return graph


def identity_mapping(z_dim: int) -> Graph:
    """Return the graph that stands for a mapping where there is none: w is z."""
    graph = Graph("mapping")
    graph.output(graph.input("z", "batch", z_dim), "w", "float32", "batch", z_dim)
    return graph


def style_groups(sides: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Return which of the ws are coarse, middle and fine, from the size of the picture that each one styles.

    Coarse up to 8 px, middle up to 32 (Karras et al. 2019, arXiv:1812.04948, figure 3).
    """
    ends = [sum(side <= most for side in sides) for most in (8, 32)]
    return {"coarse": (0, ends[0]), "middle": (ends[0], ends[1]), "fine": (ends[1], len(sides))}


Draw = Callable[[Graph, int, tuple[str, ...], bool], Value]  # graph, height, bends, plain; to the picture


def synthesis(
    draw: Draw, heights: Sequence[int], layers: Sequence[Layer], channels: int, low: float = -1.0
) -> Synthesis:
    """Return what writes a network's rungs, of what draws its picture (1, channels, H, W), `low` to 1."""

    def write(
        height: int,
        *,
        bends: tuple[str, ...] = (),
        half: bool = False,
        pixels: bool = True,
        plain: bool = False,
    ) -> Graph:
        names = [layer.name for layer in layers]
        if height not in heights:
            raise CheckpointError(f"no rung of {height} px; there are {', '.join(map(str, heights))}")
        for name in bends:
            if name not in names:
                raise CheckpointError(f"no layer {name} to bend; there are {', '.join(names)}")
        graph = Graph("synthesis", half)
        picture = draw(graph, height, bends, plain)
        if pixels:
            to_pixels(graph, picture, channels, height, low)
        else:
            graph.output(graph.to_float(picture), "image", "float32", 1, channels, height, height)
        return graph

    return write


def plane(graph: Graph, row: Value, channels: int) -> Value:
    """Return a float32 row (1, channels) as what multiplies pictures, (1, channels, 1, 1)."""
    return graph.to_picture(graph.node("Reshape", row, graph.constant([1, channels, 1, 1], "int64")))


def pad(graph: Graph, x: Value, top: int, bottom: int, left: int, right: int) -> Value:
    """Return x (1, C, H, W) with zeros around it; negative numbers crop."""
    if not any((top, bottom, left, right)):
        return x
    sides = graph.constant([0, 0, top, left, 0, 0, bottom, right], "int64")
    return graph.node("Pad", x, sides, graph.constant(0.0, graph.kind), mode="constant")


def shuffle(graph: Graph, x: Value) -> Value:
    """Return x (1, 4 C, H, W) as (1, C, 2 H, 2 W): the four phases of each channel side by side."""
    return graph.node("DepthToSpace", x, blocksize=2, mode="CRD")


# Upsampling with a filter puts zeros between the pixels and convolves: by two, three of four products are
# by zero. The output falls into phases (even and odd rows and columns), each an ordinary convolution of the
# small picture with every other tap of the filter: the same numbers from a quarter of the products.
def phases(taps: int, before: int, factor: int = 2) -> tuple[Floats, int]:
    """Return which tap falls on which pixel in each phase, and the offset of the first pixel.

    The filter, as a correlation kernel of so many taps, lies over a row with `factor` - 1 zeros after each
    pixel and `before` zeros in front. The answer is 0 or 1, (factor, pixels, taps).
    """
    places = {(phase, tap): (phase + tap - before) // factor for phase in range(factor) for tap in range(taps)
              if (phase + tap - before) % factor == 0}  # fmt: skip
    first = min(places.values())
    chosen = np.zeros((factor, max(places.values()) - first + 1, taps), np.float32)
    for (phase, tap), place in places.items():
        chosen[phase, place - first, tap] = 1.0
    return chosen, first


# The same of a learned kernel that is large: a convolution for each phase, and the pixels interleaved. What
# ONNX calls ConvTranspose does it by one product and a sum of its overlaps, which takes longer, needs all the
# products at once, and has no form in bytes.
def interleaved(
    graph: Graph,
    x: Value,
    name: str,
    taps: Mapping[tuple[int, int], Fetch],
    pads: Mapping[tuple[int, int], Sequence[int]],
    bias: Value = "",
) -> Value:
    """Return the picture (1, outputs, 2 H, 2 W) whose even and odd rows and columns a convolution each gives.

    `taps` are the kernels and `pads` the zeros at the top, left, bottom and right, by phase: (row, column).
    """
    found = []
    for row, column in PHASES:
        weight = graph.large(f"{name}.weight_{row}{column}", taps[row, column])
        inputs = (weight, bias) if bias else (weight,)
        found.append(graph.node("Conv", x, *inputs, pads=list(pads[row, column])))
    return graph.node("DepthToSpace", graph.node("Concat", *found, axis=1), blocksize=2, mode="DCR")


def convolve_apart(graph: Graph, x: Value, name: str, weight: Fetch, size: int) -> tuple[Value, int]:
    """Return the transposed convolution of x (1, inputs, H, W) with stride two, and its surplus.

    `weight` is (outputs, inputs, size, size), a correlation kernel turned over. The surplus are rows and
    columns of zeros at the ends.
    """
    rows = (size + 1) // 2 - 1  # more than x has
    before = [len(range(phase, size, 2)) - 1 for phase in range(2)]
    taps = {
        (row, column): partial(lambda r, c: weight()[:, :, r::2, c::2][:, :, ::-1, ::-1], row, column)
        for row, column in PHASES
    }
    pads = {(row, column): [before[row], before[column], rows, rows] for row, column in PHASES}
    return interleaved(graph, x, name, taps, pads), 2 * rows + 2 - size


def separate(kernel: Floats) -> tuple[Floats, Floats] | None:
    """Return the column and the row whose product a filter (H, W) is, or None where it is none."""
    left, values, right = np.linalg.svd(kernel.astype(np.float64))
    if len(values) > 1 and values[1] > 1e-6 * values[0]:
        return None
    column, row = left[:, 0] * sqrt(values[0]), right[0] * sqrt(values[0])
    return column.astype(np.float32), row.astype(np.float32)


def depthwise(
    graph: Graph, x: Value, kernel: Floats, channels: int, pads: Sequence[int], stride: int = 1
) -> Value:
    """Return x (1, channels, H, W) correlated with a kernel (H, W), the same for each channel.

    `pads` are zeros at the top, left, bottom and right; a kernel that is a product runs as two passes.
    """
    pads = list(pads)
    if min(pads) < 0:
        top, left, bottom, right = (min(0, side) for side in pads)
        x = pad(graph, x, top, bottom, left, right)
        pads = [max(0, side) for side in pads]
    parts = separate(kernel) if min(kernel.shape) > 1 else None
    for each in (kernel,) if parts is None else (parts[0][:, None], parts[1][None, :]):
        tall, wide = (size > 1 for size in each.shape) if parts is not None else (True, True)
        weight = np.broadcast_to(each, (channels, 1, *each.shape))
        x = graph.node(
            "Conv", x, graph.constant(weight, graph.kind), group=channels,
            pads=[side if along else 0 for side, along in zip(pads, (tall, wide, tall, wide), strict=True)],
            strides=[stride if tall else 1, stride if wide else 1],
        )  # fmt: skip
    return x


def upsample(graph: Graph, x: Value, kernel: Floats, channels: int) -> Value:
    """Return x (1, channels, H, W) at twice the size, filtered as in upfirdn2d.py."""
    rows, top = phases(kernel.shape[0], (kernel.shape[0] + 1) // 2)
    columns, left = phases(kernel.shape[1], (kernel.shape[1] + 1) // 2)
    found = np.einsum("pyr,qxc,rc->pqyx", rows, columns, 4.0 * kernel)
    weight = np.tile(found.reshape(4, 1, *found.shape[2:]), (channels, 1, 1, 1))
    pads = [-top, -left, top + rows.shape[1] - 1, left + columns.shape[1] - 1]
    if min(pads) < 0:
        crop = [min(0, side) for side in pads]
        x = pad(graph, x, crop[0], crop[2], crop[1], crop[3])
        pads = [max(0, side) for side in pads]
    return shuffle(
        graph, graph.node("Conv", x, graph.constant(weight, graph.kind), pads=pads, group=channels)
    )


# Minimal filtering (Winograd; Lavin and Gray 2016, arXiv:1509.09308): 4 x 4 outputs of a 3 x 3 convolution
# are a bilinear map of 36 numbers of the picture and 36 of the weights, so a tile costs 36 products for
# each pair of channels where the plain sum has 144. The picture's transform and the one back are small
# convolutions of each channel by itself; they pay where there are many channels to add up: measured on one
# thread of a Zen 3, 2.3 times as fast for 512 channels of 64 px, 1.2 for 128 of 256 px, slower for 64. The
# runtime transforms the weights while it loads the graph, so the file holds them once. In float32 it is off
# by some 1e-6; float16 would feel it. A large picture goes through in strips of so many tiles, each with a
# row of its neighbours: what lies between the transforms is 2.25 times the picture and stays small so, and
# near (251 ms for 303 with 128 channels of 256 px, the same numbers).
ENTER = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0),
         (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))  # fmt: skip
WEIGH = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6),
         (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))  # fmt: skip
LEAVE = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
FEWEST_CHANNELS, LEAST_SIDE, STRIP = 128, 16, 256


def convolve(
    graph: Graph,
    x: Value,
    name: str,
    weight: Fetch,
    channels: tuple[int, int],
    side: int,
    plain: bool = False,
) -> Value:
    """Return the 3 x 3 convolution of x (1, channels[0], side, side) that keeps its size.

    `weight` is (channels[1], channels[0], 3, 3); `plain` writes it as one `Conv` whatever it costs.
    """
    inputs, outputs = channels
    few = min(channels) < FEWEST_CHANNELS or side < LEAST_SIDE or side % 4
    if plain or few or graph.kind != "float32":
        return graph.node("Conv", x, graph.large(f"{name}.weight", weight), pads=[1] * 4)
    tiles = side // 4
    enter, weigh, leave = (
        np.kron(each, each) for each in (ENTER, WEIGH, LEAVE)
    )  # (36, 36), (36, 9), (16, 36)
    taps = graph.weights(f"{name}.weight", lambda: np.ascontiguousarray(weight().reshape(-1, 9).T))
    taps = graph.node("MatMul", graph.constant(weigh), taps)
    taps = graph.node("Reshape", taps, graph.constant([36, outputs, inputs], "int64"))
    x = graph.node("Reshape", x, graph.constant([inputs, 1, side, side], "int64"))
    strips = []
    for first in range(0, tiles, max(1, STRIP // tiles)):
        rows = min(max(1, STRIP // tiles), tiles - first)
        top, bottom = first == 0, first + rows == tiles
        ends = [0 if top else 4 * first - 1], [side if bottom else 4 * (first + rows) + 1]
        y = x
        if not (top and bottom):
            y = graph.node("Slice", x, *(graph.constant(number, "int64") for number in (*ends, [2])))
        pads = [int(top), 1, int(bottom), 1]
        y = graph.node("Conv", y, graph.constant(enter.reshape(36, 1, 6, 6)), strides=[4, 4], pads=pads)
        y = graph.node("Reshape", y, graph.constant([inputs, 36, rows * tiles], "int64"))
        y = graph.node("MatMul", taps, graph.node("Transpose", y, perm=[1, 0, 2]))
        y = graph.node("MatMul", graph.constant(leave), graph.node("Transpose", y, perm=[1, 0, 2]))
        y = graph.node("Reshape", y, graph.constant([1, outputs * 16, rows, tiles], "int64"))
        strips.append(graph.node("DepthToSpace", y, blocksize=4, mode="CRD"))
    return strips[0] if len(strips) == 1 else graph.node("Concat", *strips, axis=2)


def to_pixels(graph: Graph, picture: Value, channels: int, height: int, low: float = -1.0) -> None:
    """Declare a picture (1, channels, H, W) from `low` to 1 as the output `image`, uint8 (height, width, 3).

    One channel becomes grey; a fourth, or a second after grey, is the opacity, over black.
    """
    x = graph.to_float(picture)
    x = graph.node("Squeeze", x, graph.constant([0], "int64"))
    scale = 255.0 / (1.0 - low)
    x = graph.node("Mul", x, graph.constant(scale))
    x = graph.node("Add", x, graph.constant(0.5 - low * scale))
    x = graph.node("Transpose", x, perm=[1, 2, 0])
    if channels in (2, 4):
        colour, opacity = graph.nodes("Split", 2, x, graph.constant([channels - 1, 1], "int64"), axis=2)
        opacity = graph.node("Div", opacity, graph.constant(255.0))
        x = graph.node("Mul", colour, graph.node("Clip", opacity, graph.constant(0.0), graph.constant(1.0)))
    if channels < 3:
        x = graph.node("Expand", x, graph.constant([height, height, 3], "int64"))
    x = graph.node("Clip", x, graph.constant(0.0), graph.constant(255.0))
    graph.output(graph.node("Cast", x, to=TensorProto.UINT8), "image", "uint8", height, height, 3)


# A bend moves nothing while it rests: the graph compares its numbers with their places of rest, and only
# where one differs does it resample the layer. ONNX's `If` runs the branch that is taken and no other.
def bend(graph: Graph, x: Value, layer: str, channels: int, side: int) -> Value:
    """Return x (1, channels, side, side) bent by the input `bend_<layer>` (see network.BEND)."""
    knobs = graph.input(f"bend_{layer}", len(BEND))
    rest = graph.constant([value for _, value in BEND])
    moved = graph.node("Sub", knobs, rest)
    amount = graph.node("ReduceMax", graph.node("Abs", moved), keepdims=0)
    bent = graph.node("Greater", amount, graph.constant(0.0))
    inner = graph.branch("bent")
    scale, shift, degrees, across, down, suppress = inner.nodes(
        "Split", 6, knobs, inner.constant([1, 1, 1, 1, 1, SUPPRESSED], "int64"), axis=0
    )
    gains = inner.node("Clip", inner.node("Sub", inner.constant(1.0), suppress), inner.constant(0.0))
    ends = [round(channels * number / SUPPRESSED) for number in range(SUPPRESSED + 1)]
    group = [next(g for g in range(SUPPRESSED) if c < ends[g + 1]) for c in range(channels)]
    gains = inner.node("Gather", gains, inner.constant(group, "int64"))
    gains = inner.node(
        "Reshape", inner.node("Mul", gains, scale), inner.constant([1, channels, 1, 1], "int64")
    )
    y = inner.node("Mul", x, inner.to_picture(gains))
    y = inner.node("Add", y, inner.to_picture(shift))
    angle = inner.node("Mul", degrees, inner.constant(pi / 180.0))
    cosine, sine = inner.node("Cos", angle), inner.node("Sin", angle)
    # The grid says where each pixel comes from, in halves of the picture: turned back, then moved back.
    across = inner.node("Mul", across, inner.constant(-2.0))
    down = inner.node("Mul", down, inner.constant(-2.0))
    right = inner.node("Sub", inner.node("Mul", cosine, across), inner.node("Mul", sine, down))
    below = inner.node("Add", inner.node("Mul", sine, across), inner.node("Mul", cosine, down))
    rows = inner.node("Concat", cosine, inner.node("Neg", sine), right, sine, cosine, below, axis=0)
    theta = inner.node("Reshape", rows, inner.constant([2, 3], "int64"))
    centres = (np.arange(side, dtype=np.float32) * 2 + 1) / side - 1
    points = np.stack(np.broadcast_arrays(centres[None, :], centres[:, None], np.float32(1)), -1)
    grid = inner.node(
        "MatMul", inner.constant(points.reshape(-1, 3)), inner.node("Transpose", theta, perm=[1, 0])
    )
    grid = inner.node("Reshape", grid, inner.constant([1, side, side, 2], "int64"))
    turned = inner.node(
        "GridSample", inner.to_float(y), grid, mode="bilinear", padding_mode="reflection", align_corners=0
    )
    return graph.choose(bent, (inner, inner.to_picture(turned)), x)
