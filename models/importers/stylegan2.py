"""StyleGAN2 as a graph, and StyleGAN2-ADA's checkpoints (NVlabs) read into it.

Karras et al. 2020, arXiv:1912.04958 and arXiv:2006.06676; the published code is stylegan2-ada-pytorch,
whose names of weights are those here. What an architecture decides is read off the shapes of the weights;
what no shape tells (activations, clamping) off the attributes of the pickled modules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from models.importers import parts
from models.importers.graph import Graph, Value
from models.importers.network import Layer, Network
from models.importers.parts import ACTIVATIONS, HOMOGENEOUS, Floats, Linear
from models.importers.weights import Fetch, Weights

MOST_BLOCKS = 10  # 2048 px
MOST_TAPS = 32  # of a filter
CLAMP = 256.0  # of the trainer's configurations, where a file of weights alone does not say


@dataclass(frozen=True)
class Convolution:
    """A modulated 3 x 3 convolution with its noise, bias and activation."""

    name: str
    style: Linear  # w to (1, inputs)
    weight: Fetch  # (outputs, inputs, size, size)
    bias: Fetch  # (outputs,)
    inputs: int
    outputs: int
    size: int
    side: int  # of its output, px
    up: bool
    noise: str  # name of its input, empty for none
    strength: float
    activation: str
    gain: float  # on top of the activation's own
    clamp: float | None


@dataclass(frozen=True)
class Head:
    """`toRGB`: a modulated 1 x 1 convolution without demodulation."""

    name: str
    style: Linear
    weight: Fetch  # (channels, inputs, 1, 1)
    bias: Fetch
    clamp: float | None


@dataclass(frozen=True)
class Block:
    """One resolution: one or two convolutions, the head where it has one, and the branch around them."""

    side: int
    convolutions: tuple[Convolution, ...]
    head: Head | None
    skip: Fetch | None  # (outputs, inputs, 1, 1), of the residual architecture
    kernel: Floats  # the resampling filter of activations as a correlation kernel, sum 1
    picture_kernel: Floats  # and that of the picture from below


@dataclass(frozen=True)
class Synthesis:
    """The synthesis ws -> picture, from a learned constant."""

    constant: Fetch  # (channels, 4, 4)
    blocks: tuple[Block, ...]
    channels: int  # of the picture
    w_dim: int
    num_ws: int

    @property
    def heights(self) -> tuple[int, ...]:
        """Heights at which the network has a picture, the largest first."""
        return tuple(block.side for block in reversed(self.blocks) if block.head is not None)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The blocks that can be bent."""
        return tuple(Layer(f"b{b.side}", b.convolutions[-1].outputs, b.side) for b in self.blocks)

    def noises(self) -> dict[str, tuple[int, ...]]:
        """Shape of each noise input by name."""
        each = (convolution for block in self.blocks for convolution in block.convolutions)
        return {c.noise: (1, 1, c.side, c.side) for c in each if c.noise}

    def draw(self, graph: Graph, height: int, bends: tuple[str, ...], plain: bool) -> Value:
        """Write one rung; return its picture (see parts.synthesis)."""
        return self._draw(graph, height, partial(_convolve, plain=plain), bends)

    def grouped(self, height: int) -> Graph:
        """Return the graph of one rung as an export of the published code has it, to be measured against."""
        graph = Graph("grouped")
        parts.to_pixels(graph, self._draw(graph, height, _convolve_grouped, ()), self.channels, height)
        return graph

    def _draw(
        self, graph: Graph, height: int, convolve: Callable[..., Value], bends: tuple[str, ...]
    ) -> Value:
        """Write all from the constant to the picture, each convolution as `convolve` does."""
        ws = graph.input("ws", 1, self.num_ws, self.w_dim)
        x = graph.large("constant", lambda: self.constant()[None])
        picture, number = "", 0
        for block in self.blocks:
            if block.side > height:
                break
            entered = x
            for convolution in block.convolutions:
                x = convolve(graph, x, _w(graph, ws, number), convolution, block.kernel)
                number += 1
            if block.skip is not None:
                x = graph.node("Add", _around(graph, entered, block, block.skip), x)
            if f"b{block.side}" in bends:
                x = parts.bend(graph, x, f"b{block.side}", block.convolutions[-1].outputs, block.side)
            if picture:
                picture = parts.upsample(graph, picture, block.picture_kernel, self.channels)
            if block.head is not None:
                drawn = _draw(graph, x, _w(graph, ws, number), block.head)
                picture = graph.node("Add", picture, drawn) if picture else drawn
            if block.side < height:
                passing = {x: (1, block.convolutions[-1].outputs, block.side, block.side)}
                graph.seam(
                    passing | ({picture: (1, self.channels, block.side, block.side)} if picture else {})
                )
        return picture


def _w(graph: Graph, ws: Value, number: int) -> Value:
    """Return one of the ws, (1, w_dim)."""
    return graph.node("Gather", ws, graph.constant(number, "int64"), axis=1)


# Karras et al. scale the weights by the style (modulation) and then to unit length (demodulation), which
# makes other weights for every picture. Scaling the activations instead, before and after, is the same sum,
# and the weights stay constant: the runtime can lay them out once. A gain in front of a homogeneous
# activation costs nothing beside the demodulation that is there anyway. In float16 both factors are first
# brought near one, which the published code does as well: products of styles and weights overflow
# otherwise.
def _convolve(graph: Graph, x: Value, w: Value, c: Convolution, kernel: Floats, plain: bool) -> Value:
    style = c.style.write(graph, w)  # (1, inputs)
    squares = graph.weights(f"{c.name}.squares", lambda: np.square(c.weight()).sum((2, 3)).T)
    power = graph.node("MatMul", graph.node("Mul", style, style), squares)
    norm = graph.node("Sqrt", graph.node("Add", power, graph.constant(parts.TINY)))  # (1, outputs)
    gain = ACTIVATIONS[c.activation] * c.gain
    early = gain if c.activation in HOMOGENEOUS else 1.0
    if graph.kind == "float16":
        largest = graph.node("ReduceMax", graph.node("Abs", style), keepdims=1)
        style = graph.node("Div", style, largest)
        flat = graph.weights(f"{c.name}.factors", lambda: early / _factors(c)[None])
        norm = graph.node("Div", norm, graph.node("Mul", flat, largest))
        norm = graph.node("Reciprocal", norm)
    else:
        norm = graph.node("Div", graph.constant(early), norm)
    fetch = partial(_even, c) if graph.kind == "float16" else c.weight
    x = graph.node("Mul", x, parts.plane(graph, style, c.inputs))
    if c.up and graph.kind == "float16":  # for a GPU
        whole = graph.large(f"{c.name}.weight", lambda: fetch().transpose(1, 0, 2, 3))
        x = graph.node("ConvTranspose", x, whole, strides=[2, 2])
        x = parts.depthwise(graph, x, 4.0 * kernel, c.outputs, _pads(c, kernel))
    elif c.up:
        x, surplus = parts.convolve_apart(graph, x, c.name, fetch, c.size)
        top, left, bottom, right = _pads(c, kernel)
        pads = [top, left, bottom - surplus, right - surplus]
        x = parts.depthwise(graph, x, 4.0 * kernel, c.outputs, pads)
    elif c.size == 3:
        x = parts.convolve(graph, x, c.name, fetch, (c.inputs, c.outputs), c.side, plain)
    else:
        x = graph.node("Conv", x, graph.large(f"{c.name}.weight", fetch), pads=[c.size // 2] * 4)
    x = graph.node("Mul", x, parts.plane(graph, norm, c.outputs))
    if c.noise:
        grain = graph.node(
            "Mul", graph.input(c.noise, 1, 1, c.side, c.side), graph.constant(c.strength * early)
        )
        x = graph.node("Add", x, graph.to_picture(grain))
    x = graph.node(
        "Add", x, graph.large(f"{c.name}.bias", lambda: c.bias()[:, None, None] * np.float32(early))
    )
    x = parts.activate(graph, x, c.activation)
    if early != gain:
        x = graph.node("Mul", x, graph.constant(gain, graph.kind))
    return _clamp(graph, x, None if c.clamp is None else c.clamp * c.gain)


# Transposed convolution, then the filter: the padding of conv2d_resample.py, as one number a side.
def _pads(c: Convolution, kernel: Floats) -> list[int]:
    """Return the zeros around what an upsampling convolution gives, ahead of the filter (H, W)."""
    before = [c.size // 2 + (size + 1) // 2 - (c.size - 1) for size in kernel.shape]
    after = [c.size // 2 + (size - 2) // 2 - (c.size - 2) for size in kernel.shape]
    return [*before, *after]


# What torch.onnx makes of the published code: for each picture the kernels are scaled by the style, divided
# by their norms, and convolved with in as many groups as there are pictures.
def _convolve_grouped(graph: Graph, x: Value, w: Value, c: Convolution, kernel: Floats) -> Value:
    style = graph.node("Reshape", c.style.write(graph, w), graph.constant([1, -1, 1, 1], "int64"))
    weight = graph.node("Mul", graph.weights(f"{c.name}.weight", c.weight), style)
    squares = graph.node("Mul", weight, weight)
    power = graph.node("ReduceSum", squares, graph.constant([1, 2, 3], "int64"), keepdims=1)
    norm = graph.node("Sqrt", graph.node("Add", power, graph.constant(parts.TINY)))
    weight = graph.node("Div", weight, norm)
    if c.up:
        weight = graph.node("Transpose", weight, perm=[1, 0, 2, 3])
        x = graph.node("ConvTranspose", x, weight, strides=[2, 2])
        filters = graph.constant(np.broadcast_to(4.0 * kernel, (c.outputs, 1, *kernel.shape)))
        x = graph.node("Conv", x, filters, group=c.outputs, pads=_pads(c, kernel))
    else:
        x = graph.node("Conv", x, weight, pads=[c.size // 2] * 4)
    if c.noise:
        grain = graph.node("Mul", graph.input(c.noise, 1, 1, c.side, c.side), graph.constant(c.strength))
        x = graph.node("Add", x, grain)
    x = graph.node("Add", x, graph.weights(f"{c.name}.bias", lambda: c.bias()[:, None, None]))
    x = parts.activate(graph, x, c.activation)
    x = graph.node("Mul", x, graph.constant(ACTIVATIONS[c.activation] * c.gain))
    return _clamp(graph, x, None if c.clamp is None else c.clamp * c.gain)


def _factors(c: Convolution) -> Floats:
    """Return the factors (outputs,) that bring the weights of each output near one."""
    largest = np.abs(c.weight()).max((1, 2, 3))
    factors: Floats = 1.0 / (np.maximum(largest, np.float32(1e-12)) * np.float32(sqrt(c.inputs * c.size**2)))
    return factors


def _even(c: Convolution) -> Floats:
    """Return the weights, those of each output brought near one."""
    even: Floats = c.weight() * _factors(c)[:, None, None, None]
    return even


def _clamp(graph: Graph, x: Value, clamp: float | None) -> Value:
    """Return x within -clamp and clamp."""
    if clamp is None:
        return x
    return graph.node("Clip", x, graph.constant(-clamp, graph.kind), graph.constant(clamp, graph.kind))


def _draw(graph: Graph, x: Value, w: Value, head: Head) -> Value:
    """Return what a head adds to the picture; its few weights take the style, not the many activations."""
    style = head.style.write(graph, w)
    weight = graph.weights(f"{head.name}.weight", lambda: head.weight()[:, :, 0, 0])
    weight = graph.node("Mul", weight, style)  # (channels, inputs)
    weight = graph.to_picture(graph.node("Unsqueeze", weight, graph.constant([2, 3], "int64")))
    x = graph.node("Conv", x, weight, graph.large(f"{head.name}.bias", head.bias))
    return _clamp(graph, x, head.clamp)


def _around(graph: Graph, x: Value, block: Block, skip: Fetch) -> Value:
    """Return the residual branch of a block: a 1 x 1 convolution, and the filter."""
    last = block.convolutions[-1]
    weight = graph.large(f"b{block.side}.skip.weight", lambda: skip() * np.float32(sqrt(0.5)))
    return parts.upsample(graph, graph.node("Conv", x, weight), block.kernel, last.outputs)


# StyleGAN2-ADA's names.


def read(weights: Weights) -> Network:
    """Return the network of a StyleGAN2 or StyleGAN2-ADA checkpoint (NVlabs)."""
    sides = sorted(int(found[1]) for found in weights.names(r"synthesis\.b(\d+)\.conv1\.weight"))
    if len(sides) > MOST_BLOCKS or sides != [4 * 2**number for number in range(len(sides))]:
        raise weights.error(f"synthesis has blocks of {sides} px, each twice the one before would be right")
    w_dim = weights.shape("synthesis.b4.conv1.affine.weight")[1]
    channels = weights.shape(f"synthesis.b{sides[-1]}.torgb.weight")[0]
    blocks: list[Block] = []
    grain: dict[str, Fetch] = {}
    entering = 0
    for side in sides:
        block, entering = _read_block(weights, side, entering, w_dim, channels, grain)
        blocks.append(block)
    num_ws = sum(len(block.convolutions) for block in blocks) + 1
    first = blocks[0].convolutions[0].inputs
    constant = weights.take("synthesis.b4.const", first, 4, 4)
    synthesis = Synthesis(constant, tuple(blocks), channels, w_dim, num_ws)
    mapping, w_avg = read_mapping(weights, w_dim)
    weights.ignore(r".*\.resample_filter|.*\.num_batches_tracked")
    residual = any(block.skip is not None for block in blocks)
    weights.finish("StyleGAN2")
    return network(
        "StyleGAN2", synthesis, mapping, w_avg, grain,
        {"channels": {f"b{b.side}": b.convolutions[-1].outputs for b in blocks},
         "architecture": "resnet" if residual else "skip" if blocks[0].head else "orig",
         "clamp": blocks[-1].convolutions[-1].clamp},
    )  # fmt: skip


def network(
    architecture: str, synthesis: Synthesis, mapping: parts.MappingLayers, w_avg: Fetch | None,
    grain: Mapping[str, Fetch], facts: Mapping[str, Any],
) -> Network:  # fmt: skip
    """Return the network of a synthesis and a mapping."""
    sides = [block.side for block in synthesis.blocks for _ in block.convolutions]
    return Network(
        architecture=architecture,
        z_dim=mapping.z_dim,
        w_dim=synthesis.w_dim,
        num_ws=synthesis.num_ws,
        classes=mapping.classes,
        heights=synthesis.heights,
        style_groups=parts.style_groups([*sides, sides[-1]]),
        mapping=mapping.graph,
        mapped=True,
        synthesis=parts.synthesis(synthesis.draw, synthesis.heights, synthesis.layers, synthesis.channels),
        grouped=synthesis.grouped,
        w_avg=None if w_avg is None else w_avg(),
        noises=synthesis.noises(),
        grain={name: partial(_four, fetch) for name, fetch in grain.items()},
        layers=synthesis.layers,
        facts={"mapping_layers": len(mapping.layers), **facts},
    )


def _four(fetch: Fetch) -> Floats:
    """Return constant noise (side, side) as a noise input."""
    noise = fetch()
    return noise.reshape(1, 1, *noise.shape[-2:])


def read_linear(
    weights: Weights, name: str, inputs: int, outputs: int, rate: float = 1.0, scale: float = 1.0
) -> Linear:
    """Return a fully connected layer; `rate` is its learning rate multiplier where the file says none."""
    gain = weights.attribute(name, "weight_gain", rate / sqrt(inputs))
    return Linear(
        name,
        weights.take(f"{name}.weight", outputs, inputs),
        weights.take(f"{name}.bias", outputs),
        gain * scale,
        weights.attribute(name, "bias_gain", rate) * scale,
    )


def read_mapping(weights: Weights, w_dim: int) -> tuple[parts.MappingLayers, Fetch | None]:
    """Return the mapping of a StyleGAN2 or 3, and w_avg where the file has it."""
    count = len(weights.names(r"mapping\.fc\d+\.weight"))
    classes = weights.shape("mapping.embed.weight")[1] if "mapping.embed.weight" in weights else 0
    embedded = weights.shape("mapping.embed.weight")[0] if classes else 0
    widths = [weights.shape(f"mapping.fc{number}.weight") for number in range(count)]
    z_dim = weights.attribute("mapping", "z_dim", widths[0][1] - embedded if widths else w_dim)
    activation = weights.attribute("mapping.fc0", "activation", "lrelu")
    if activation not in ACTIVATIONS:
        raise weights.error(
            f"mapping.fc0 has the activation {activation[:40]!r}; known are {', '.join(ACTIVATIONS)}"
        )
    layers, inputs = [], z_dim + embedded
    for number, (outputs, _) in enumerate(widths):
        layers.append(read_linear(weights, f"mapping.fc{number}", inputs, outputs, rate=0.01))
        inputs = outputs
    if z_dim < 1:
        raise weights.error("the mapping takes no z, so there is no latent to play")
    if inputs != w_dim:
        raise weights.error(f"the mapping gives {inputs} numbers, and the synthesis takes {w_dim}")
    embedding = read_linear(weights, "mapping.embed", classes, embedded) if classes else None
    w_avg = weights.take("mapping.w_avg", w_dim) if "mapping.w_avg" in weights else None
    return parts.MappingLayers(z_dim, w_dim, classes, embedding, tuple(layers), activation), w_avg


def _read_block(
    weights: Weights, side: int, entering: int, w_dim: int, channels: int, grain: dict[str, Fetch]
) -> tuple[Block, int]:
    """Return one block, and the channels that leave it."""
    name = f"synthesis.b{side}"
    residual = f"{name}.skip.weight" in weights
    convolutions = []
    inputs = entering
    for which in ("conv0", "conv1") if side > 4 else ("conv1",):
        full = f"{name}.{which}"
        outputs, found, size, _ = weights.shape(f"{full}.weight")
        inputs = inputs or found
        noisy = f"{full}.noise_strength" in weights
        noise = f"noise_b{side}_{which}" if noisy else ""
        if noisy and f"{full}.noise_const" in weights:
            grain[noise] = weights.take(f"{full}.noise_const", side, side)
        activation = weights.attribute(full, "activation", "lrelu")
        if activation not in ACTIVATIONS:
            raise weights.error(
                f"{full} has the activation {activation[:40]!r}; known are {', '.join(ACTIVATIONS)}"
            )
        convolutions.append(
            Convolution(
                f"b{side}.{which}", read_linear(weights, f"{full}.affine", w_dim, inputs),
                weights.take(f"{full}.weight", outputs, inputs, size, size),
                weights.take(f"{full}.bias", outputs),
                inputs, outputs, size, side, up=which == "conv0", noise=noise,
                strength=weights.number(f"{full}.noise_strength") if noisy else 0.0, activation=activation,
                gain=sqrt(0.5) if residual and which == "conv1" else 1.0, clamp=_clamp_of(weights, full),
            )
        )  # fmt: skip
        inputs = outputs
    head = None
    if f"{name}.torgb.weight" in weights:
        head = Head(
            f"b{side}.torgb",
            read_linear(weights, f"{name}.torgb.affine", w_dim, inputs, scale=1 / sqrt(inputs)),
            weights.take(f"{name}.torgb.weight", channels, inputs, 1, 1),
            weights.take(f"{name}.torgb.bias", channels), _clamp_of(weights, f"{name}.torgb"),
        )  # fmt: skip
    skip = None
    if residual:
        gain = np.float32(weights.attribute(f"{name}.skip", "weight_gain", 1 / sqrt(entering)))
        raw = weights.take(f"{name}.skip.weight", inputs, entering, 1, 1)
        skip = lambda: raw() * gain  # noqa: E731
    kernel = read_kernel(weights, f"{name}.resample_filter")
    return Block(side, tuple(convolutions), head, skip, kernel, kernel), inputs


def _clamp_of(weights: Weights, name: str) -> float | None:
    found: float | None = weights.attribute(name, "conv_clamp", None)
    return found if found is not None or weights.has_attributes else CLAMP


def read_kernel(weights: Weights, name: str) -> Floats:
    """Return a resampling filter as a correlation kernel (H, W); a row stands for its product with itself."""
    if name not in weights:
        row = np.array([1, 3, 3, 1], np.float32) / 8
        return np.outer(row, row).astype(np.float32)
    shape = weights.shape(name)
    if len(shape) not in (1, 2) or max(shape) > MOST_TAPS:
        raise weights.error(f"{name} has the shape {shape}; at most {MOST_TAPS} taps would be right")
    taps = weights.take(name, *shape)()
    square: Floats = (np.outer(taps, taps) if taps.ndim == 1 else taps).astype(np.float32)
    return square[::-1, ::-1]
