"""StyleGAN3 as a graph, and the checkpoints of its configurations T and R (NVlabs) read into it.

Karras et al. 2021, arXiv:2106.12423; the published code is stylegan3, whose names of weights are those
here. The filters lie in the checkpoint among the weights, so they are taken from there and designed
nowhere.
"""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

from models.importers import parts
from models.importers.graph import Graph, Value
from models.importers.network import Layer as Bendable
from models.importers.network import Network
from models.importers.parts import Floats, Linear
from models.importers.stylegan2 import read_linear, read_mapping
from models.importers.weights import Fetch, Weights

MOST_TAPS = 64
MARGIN = 10  # pixels around the picture in all layers but the last two
MOST_SIDE = 2048 + 2 * 64  # px
CUTOFF = 2.0  # cycles a picture, of the input
SLOPE = 0.2
CLAMP = 256.0
OUTPUT_SCALE = 0.25


@dataclass(frozen=True)
class Input:
    """The Fourier features: sines over the plane, turned and moved by a style, then mixed."""

    style: Linear  # w to (1, 4): cosine, sine, x, y
    frequencies: Fetch  # (channels, 2)
    phases: Fetch  # (channels,)
    weight: Fetch  # (channels, channels)
    channels: int
    size: int  # px, margins included
    rate: float  # samples a picture
    bandwidth: float


@dataclass(frozen=True)
class Layer:
    """A modulated convolution, then a leaky ReLU between an upsampling and a downsampling filter."""

    name: str
    style: Linear
    weight: Fetch  # (outputs, inputs, size, size)
    bias: Fetch
    inputs: int
    outputs: int
    size: int
    magnitude: float  # mean square of its input, tracked in training
    entering: int  # px, of its input
    side: int  # px, of its output
    up: int
    down: int
    up_kernel: Floats | None  # (taps,) or (H, W), as correlation kernels
    down_kernel: Floats | None
    pads: tuple[int, int]  # of the upsampled picture, at each beginning and end
    last: bool
    clamp: float | None


@dataclass(frozen=True)
class Synthesis:
    """The synthesis ws -> picture."""

    input: Input
    layers: tuple[Layer, ...]
    channels: int
    w_dim: int
    scale: float  # of the picture

    @property
    def side(self) -> int:
        """Height of the picture."""
        return self.layers[-1].side

    @property
    def bendable(self) -> tuple[Bendable, ...]:
        """The layers that can be bent: all but the picture's."""
        return tuple(Bendable(layer.name, layer.outputs, layer.side) for layer in self.layers[:-1])

    def draw(self, graph: Graph, height: int, bends: tuple[str, ...], plain: bool) -> Value:
        """Write one rung; return its picture (see parts.synthesis)."""
        ws = graph.input("ws", 1, len(self.layers) + 1, self.w_dim)
        w = [graph.node("Gather", ws, graph.constant(number, "int64"), axis=1)
             for number in range(len(self.layers) + 1)]  # fmt: skip
        x = graph.to_picture(_features(graph, w[0], self.input))
        for layer, style in zip(self.layers, w[1:], strict=True):
            x = _layer(graph, x, style, layer, self.scale if layer.last else 1.0)
            if layer.name in bends:
                x = parts.bend(graph, x, layer.name, layer.outputs, layer.side)
        return x


# A sine of frequency f and phase p, seen through the inverse transform x -> R x + t, is the sine of
# frequency f R and phase p + f t: so turning and moving the whole picture is a few sums on each channel's
# two numbers. The style turns and moves it first, then the performer's `transform`; what that pushes beyond
# the band of the sampling fades out.
def _features(graph: Graph, w: Value, entry: Input) -> Value:
    style = entry.style.write(graph, w)  # (1, 4)
    turn, move = graph.nodes("Split", 2, style, graph.constant([2, 2], "int64"), axis=1)
    square = graph.node("ReduceSum", graph.node("Mul", turn, turn), graph.constant([1], "int64"), keepdims=1)
    length = graph.node("Sqrt", square)
    turn, move = graph.node("Div", turn, length), graph.node("Neg", graph.node("Div", move, length))
    cosine, sine = graph.nodes("Split", 2, turn, graph.constant([1, 1], "int64"), axis=1)
    rotation = graph.node("Concat", cosine, graph.node("Neg", sine), sine, cosine, axis=1)
    rotation = graph.node("Reshape", rotation, graph.constant([2, 2], "int64"))
    column = graph.node("Reshape", move, graph.constant([2, 1], "int64"))
    # [R | R t] and the performer's matrix below the row 0 0 1.
    affine = graph.node("Concat", rotation, graph.node("MatMul", rotation, column), axis=1)  # (2, 3)
    affine = graph.node("MatMul", affine, graph.input("transform", 3, 3))
    linear, moved = graph.nodes("Split", 2, affine, graph.constant([2, 1], "int64"), axis=1)
    frequencies = graph.weights("input.freqs", entry.frequencies)  # (channels, 2)
    phases = graph.weights("input.phases", lambda: entry.phases()[:, None])
    phases = graph.node("Add", phases, graph.node("MatMul", frequencies, moved))  # (channels, 1)
    frequencies = graph.node("MatMul", frequencies, linear)
    power = graph.node("ReduceSum", graph.node("Mul", frequencies, frequencies), graph.constant([1], "int64"),
                       keepdims=1)  # fmt: skip
    beyond = graph.node("Sub", graph.node("Sqrt", power), graph.constant(entry.bandwidth))
    beyond = graph.node("Mul", beyond, graph.constant(1.0 / (entry.rate / 2 - entry.bandwidth)))
    amplitude = graph.node("Sub", graph.constant(1.0), beyond)
    amplitude = graph.node("Clip", amplitude, graph.constant(0.0), graph.constant(1.0))  # (channels, 1)
    centres = (np.arange(entry.size, dtype=np.float32) + 0.5) / entry.size - 0.5
    centres *= np.float32(entry.size / entry.rate)
    points = np.stack(np.broadcast_arrays(centres[None, :], centres[:, None]))  # (2, size, size): x, y
    x = graph.node("MatMul", frequencies, graph.constant(points.reshape(2, -1)))  # (channels, size * size)
    x = graph.node("Sin", graph.node("Mul", graph.node("Add", x, phases), graph.constant(2 * pi)))
    gain = np.float32(1 / sqrt(entry.channels))
    weight = graph.weights("input.weight", lambda: entry.weight() * gain)
    weight = graph.node("Mul", weight, graph.node("Transpose", amplitude, perm=[1, 0]))
    x = graph.node("MatMul", weight, x)
    return graph.node("Reshape", x, graph.constant([1, entry.channels, entry.size, entry.size], "int64"))


# The published code brings styles and weights to a mean square of one, modulates, demodulates, and divides
# by the tracked magnitude of the input. All of that is a factor on each input and one on each output
# channel, computed from the style alone; the weights stay constant.
def _layer(graph: Graph, x: Value, w: Value, layer: Layer, scale: float) -> Value:
    style = layer.style.write(graph, w)
    gain = 1 / sqrt(layer.magnitude)
    bias_gain = 1.0 if layer.last else parts.ROOT_TWO
    if layer.last:
        weight = graph.weights(f"{layer.name}.weight", lambda: layer.weight()[:, :, 0, 0])
        weight = graph.node("Mul", weight, graph.node("Mul", style, graph.constant(gain)))
        weight = graph.to_picture(graph.node("Unsqueeze", weight, graph.constant([2, 3], "int64")))
        x = graph.node("Conv", x, weight, graph.large(f"{layer.name}.bias", layer.bias))
    else:
        mean = graph.node("ReduceMean", graph.node("Mul", style, style), keepdims=1)
        style = graph.node("Div", style, graph.node("Sqrt", mean))
        squares = graph.weights(f"{layer.name}.squares", lambda: np.square(_even(layer)).sum((2, 3)).T)
        power = graph.node("MatMul", graph.node("Mul", style, style), squares)
        norm = graph.node("Sqrt", graph.node("Add", power, graph.constant(parts.TINY)))
        # The weights are stored so small that float16 holds what they add up to; the norm makes up for it.
        small = 1 / sqrt(layer.inputs * layer.size**2)
        norm = graph.node("Div", graph.constant(bias_gain / small), norm)
        style = graph.node("Mul", style, graph.constant(gain))
        weight = graph.large(f"{layer.name}.weight", lambda: _even(layer) * np.float32(small))
        x = graph.node("Mul", x, parts.plane(graph, style, layer.inputs))
        x = graph.node("Conv", x, weight, pads=[layer.size - 1] * 4)
        x = graph.node("Mul", x, parts.plane(graph, norm, layer.outputs))
        bias = graph.large(f"{layer.name}.bias", lambda: layer.bias()[:, None, None] * np.float32(bias_gain))
        x = graph.node("Add", x, bias)
    x = _up(graph, x, layer)
    if not layer.last:
        x = graph.node("LeakyRelu", x, alpha=SLOPE)
    if layer.clamp is not None:
        bound = graph.constant(-layer.clamp, graph.kind), graph.constant(layer.clamp, graph.kind)
        x = graph.node("Clip", x, *bound)
    x = _down(graph, x, layer)
    return graph.node("Mul", x, graph.constant(scale, graph.kind)) if scale != 1.0 else x


def _even(layer: Layer) -> Floats:
    """Return the weights with a mean square of one for each output."""
    weight = layer.weight()
    even: Floats = weight / np.sqrt(np.square(weight).mean((1, 2, 3), keepdims=True))
    return even


def _up(graph: Graph, x: Value, layer: Layer) -> Value:
    """Return x upsampled by zeros between its pixels and the filter, padded as the layer says."""
    before, after = layer.pads
    if layer.up_kernel is None:
        return parts.pad(graph, x, before, after, before, after)
    taps = layer.up_kernel * np.float32(layer.up)
    entering = layer.entering + layer.size - 1
    leaving = entering * layer.up + before + after - len(taps) + 1
    chosen, first = parts.phases(len(taps), before, layer.up)
    rows = -(-leaving // layer.up)  # of pixels, all phases of each
    start, end = -first, rows + chosen.shape[1] - 1 - entering + first
    x = parts.pad(graph, x, start, end, start, end)
    kernels = np.tile((chosen @ taps)[:, None, :], (layer.outputs, 1, 1))  # (outputs * up, 1, pixels)
    stretched, width = rows * layer.up, entering + start + end
    for kernel, split, order, wide in (
        (kernels[..., None], (rows, width), (0, 1, 3, 2, 4), width),
        (kernels[..., None, :], (stretched, rows), (0, 1, 3, 4, 2), stretched),
    ):
        x = graph.node("Conv", x, graph.constant(kernel, graph.kind), group=layer.outputs)
        x = graph.node("Reshape", x, graph.constant([1, layer.outputs, layer.up, *split], "int64"))
        x = graph.node("Transpose", x, perm=order)
        x = graph.node("Reshape", x, graph.constant([1, layer.outputs, stretched, wide], "int64"))
    return parts.pad(graph, x, 0, leaving - stretched, 0, leaving - stretched)


def _down(graph: Graph, x: Value, layer: Layer) -> Value:
    """Return x filtered, and every other pixel of it."""
    if layer.down_kernel is None:
        return x
    kernel = (
        layer.down_kernel if layer.down_kernel.ndim == 2 else np.outer(layer.down_kernel, layer.down_kernel)
    )
    return parts.depthwise(graph, x, kernel.astype(np.float32), layer.outputs, [0] * 4, layer.down)


# StyleGAN3's names.


def read(weights: Weights) -> Network:
    """Return the network of a StyleGAN3 checkpoint (NVlabs), configuration T or R."""
    found = weights.names(r"synthesis\.(L(\d+)_(\d+)_(\d+))\.weight")
    found.sort(key=lambda match: int(match[2]))
    if [int(match[2]) for match in found] != list(range(len(found))) or len(found) < 3:
        raise weights.error("the layers of the synthesis are not numbered from L0 on")
    w_dim = weights.shape("synthesis.input.affine.weight")[1]
    names = [match[1] for match in found]
    sides = [int(match[3]) for match in found]
    margin = weights.attribute("synthesis", "margin_size", MARGIN)
    rates = [side - 2 * margin for side in sides[:-2]] + sides[-2:]
    if min(rates) < 1 or max(*sides, *rates) > MOST_SIDE:
        raise weights.error(f"it has layers of {min(sides)} to {max(sides)} px; up to {MOST_SIDE} are read")
    channels = weights.shape("synthesis.input.weight")[0]
    entry = Input(
        read_linear(weights, "synthesis.input.affine", w_dim, 4),
        weights.take("synthesis.input.freqs", channels, 2), weights.take("synthesis.input.phases", channels),
        weights.take("synthesis.input.weight", channels, channels), channels, sides[0],
        float(weights.attribute("synthesis.input", "sampling_rate", float(rates[0]))),
        float(weights.attribute("synthesis.input", "bandwidth", CUTOFF)),
    )  # fmt: skip
    weights.ignore(r"synthesis\.input\.transform")
    layers = []
    side, rate = sides[0], rates[0]
    for name, leaving, leaving_rate in zip(names, sides, rates, strict=True):
        last = name == names[-1]
        layer = _read_layer(weights, name, w_dim, channels, (side, leaving), (rate, leaving_rate), last)
        layers.append(layer)
        channels, side, rate = layer.outputs, leaving, leaving_rate
    scale = weights.attribute("synthesis", "output_scale", OUTPUT_SCALE)
    synthesis = Synthesis(entry, tuple(layers), channels, w_dim, scale)
    mapping, w_avg = read_mapping(weights, w_dim)
    radial = any(layer.down_kernel is not None and layer.down_kernel.ndim == 2 for layer in layers)
    kind = "R" if radial or layers[0].size == 1 else "T"
    weights.finish(f"StyleGAN3-{kind}")
    return Network(
        architecture=f"StyleGAN3-{kind}",
        z_dim=mapping.z_dim,
        w_dim=w_dim,
        num_ws=len(layers) + 1,
        classes=mapping.classes,
        heights=(synthesis.side,),
        style_groups=parts.style_groups([sides[0] - 2 * margin, *rates]),
        mapping=mapping.graph,
        mapped=True,
        synthesis=parts.synthesis(synthesis.draw, (synthesis.side,), synthesis.bendable, synthesis.channels),
        w_avg=None if w_avg is None else w_avg(),
        transform=True,
        layers=synthesis.bendable,
        facts={"mapping_layers": len(mapping.layers),
               "channels": {layer.name: layer.outputs for layer in layers}, "sizes": sides},
    )  # fmt: skip


def _read_layer(
    weights: Weights,
    name: str,
    w_dim: int,
    inputs: int,
    sides: tuple[int, int],
    rates: tuple[int, int],
    last: bool,
) -> Layer:
    """Return one layer; its factors and its padding follow from the sizes (networks_stylegan3.py)."""
    full = f"synthesis.{name}"
    outputs, _, size, _ = weights.shape(f"{full}.weight")
    middle = max(rates) * (1 if last else 2)
    up = weights.attribute(full, "up_factor", middle // rates[0])
    down = weights.attribute(full, "down_factor", middle // rates[1])
    middle = rates[0] * up
    if rates[1] * down != middle or not 0 < up <= 8 or not 0 < down <= 8:
        raise weights.error(
            f"{full} leads from {sides[0]} to {sides[1]} px, which are not powers of two apart"
        )
    up_kernel, down_kernel = _kernel(weights, f"{full}.up_filter"), _kernel(weights, f"{full}.down_filter")
    if up_kernel is not None and up_kernel.ndim != 1:
        raise weights.error(f"{full}.up_filter has the shape {up_kernel.shape}; a row of taps would be right")
    taps = sum(1 if kernel is None else len(kernel) for kernel in (up_kernel, down_kernel))
    total = (sides[1] - 1) * down + 1 - (sides[0] + size - 1) * up + taps - 2
    before = (total + up) // 2
    clamp = weights.attribute(full, "conv_clamp", None)
    return Layer(
        name.partition("_")[0],
        read_linear(weights, f"{full}.affine", w_dim, inputs, scale=1 / sqrt(inputs) / size if last else 1.0),
        weights.take(f"{full}.weight", outputs, inputs, size, size),
        weights.take(f"{full}.bias", outputs), inputs, outputs, size,
        weights.number(f"{full}.magnitude_ema"), sides[0], sides[1], up, down, up_kernel, down_kernel,
        (before, total - before), last,
        clamp if clamp is not None or weights.has_attributes else CLAMP,
    )  # fmt: skip


def _kernel(weights: Weights, name: str) -> Floats | None:
    """Return a filter as a correlation kernel, None where the layer has none."""
    if name not in weights:
        return None
    shape = weights.shape(name)
    if len(shape) not in (1, 2) or max(shape) > MOST_TAPS:
        raise weights.error(f"{name} has the shape {shape}; at most {MOST_TAPS} taps would be right")
    taps = weights.take(name, *shape)()
    return taps[::-1] if taps.ndim == 1 else taps[::-1, ::-1]
