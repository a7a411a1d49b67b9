"""lightweight-gan's generator as a graph, and its checkpoints read into it.

https://github.com/lucidrains/lightweight-gan, `lightweight_gan.py`: FastGAN with pixel shuffle, blur,
attention and two kinds of skip-layer excitation. It has no mapping, and its pictures reach from 0 to 1.
"""

from dataclasses import dataclass

import numpy as np

from models.importers import parts, unstyled
from models.importers.graph import Graph, Value
from models.importers.network import Layer, Network
from models.importers.unstyled import Normed
from models.importers.weights import Fetch, Weights

LATER = 3  # levels up to the one that an excitation scales: sle_map
MOST_LEVELS = 9  # 2048 px
HEAD = 64  # channels of an attention head
SLOPE = 0.1


@dataclass(frozen=True)
class Excitation:
    """What small features say of large ones: pooled by attention, or by frequencies, then two layers."""

    key: tuple[Fetch, Fetch] | None  # (1, inputs, 1, 1) and its bias
    frequencies: Fetch | None  # (1, inputs, side, side)
    layers: tuple[Fetch, Fetch, Fetch, Fetch]  # weights and biases


@dataclass(frozen=True)
class Attention:
    """Linear attention over the picture, and full attention over each pixel's neighbours."""

    channels: int
    heads: int
    norm: tuple[Fetch, Fetch]
    weights: dict[str, Fetch]
    bias: Fetch


@dataclass(frozen=True)
class Level:
    """One resolution: attention, upsampling, blur, convolution, noise, batch norm, gated unit."""

    name: str
    side: int  # px, of its output
    attention: Attention | None
    shuffle: tuple[Fetch, Fetch] | None  # of the convolution before the pixel shuffle; None: nearest
    folded: Normed
    size: int  # of the convolution's kernel
    strength: float
    excitation: Excitation | None
    inputs: int

    @property
    def channels(self) -> int:
        """Channels of its output."""
        return self.folded.outputs // 2


@dataclass(frozen=True)
class Synthesis:
    """The synthesis z -> picture."""

    first: Normed
    levels: tuple[Level, ...]
    head: tuple[Fetch, Fetch]
    z_dim: int
    channels: int

    def noises(self) -> dict[str, tuple[int, ...]]:
        """Shape of each noise input by name."""
        return {f"noise_{each.side}": (1, 1, each.side, each.side) for each in self.levels if each.strength}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The levels, which can be bent."""
        return tuple(Layer(f"f{level.side}", level.channels, level.side) for level in self.levels)

    def draw(self, graph: Graph, height: int, bends: tuple[str, ...], plain: bool) -> Value:
        """Write one rung; return its picture (see parts.synthesis)."""
        x = unstyled.enter(graph, self.first, self.z_dim)
        x = unstyled.gate(graph, x)
        power = graph.node("ReduceSum", graph.node("Mul", x, x), graph.constant([1], "int64"), keepdims=1)
        length = graph.node("Max", graph.node("Sqrt", power), graph.constant(1e-12))
        x = graph.to_picture(graph.node("Div", x, length))
        excited: dict[int, Value] = {}
        for number, level in enumerate(self.levels):
            if level.attention is not None:
                x = graph.node("Add", _attend(graph, x, level.name, level.attention, level.side // 2), x)
            x = _level(graph, x, level)
            if level.excitation is not None:
                excited[number + LATER] = _excitation(graph, x, level)
            if number in excited:
                x = graph.node("Mul", x, excited[number])
            if f"f{level.side}" in bends:
                x = parts.bend(graph, x, f"f{level.side}", level.channels, level.side)
        weight, bias = graph.large("head.weight", self.head[0]), graph.large("head.bias", self.head[1])
        return graph.node("Conv", x, weight, bias, pads=[1] * 4)


def _level(graph: Graph, x: Value, level: Level) -> Value:
    if level.shuffle is None:
        scales = graph.constant([1, 1, 2, 2])
        x = graph.node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                       nearest_mode="floor")  # fmt: skip
    else:
        weight, bias = level.shuffle
        x = graph.node("Conv", x, graph.large(f"{level.name}.shuffle.weight", weight),
                       graph.large(f"{level.name}.shuffle.bias", bias))  # fmt: skip
        x = parts.shuffle(graph, graph.node("Mul", x, graph.node("Sigmoid", x)))
    x = graph.node("Pad", x, graph.constant([0, 0, 1, 1, 0, 0, 1, 1], "int64"), mode="reflect")
    row = np.array([1, 2, 1], np.float32) / 4
    x = parts.depthwise(graph, x, np.outer(row, row).astype(np.float32), level.inputs, [0] * 4)
    before = level.size // 2
    after = level.size - 1 - before
    weight_, bias_ = graph.large(f"{level.name}.weight", level.folded.weight), level.folded.bias
    x = graph.node("Conv", x, weight_, graph.large(f"{level.name}.bias", bias_),
                   pads=[before, before, after, after])  # fmt: skip
    if level.strength:
        x = unstyled.add_noise(graph, x, f"noise_{level.side}", level.side, level.strength, level.folded)
    return unstyled.gate(graph, x)


def _excitation(graph: Graph, x: Value, level: Level) -> Value:
    """Return the factors (1, channels, 1, 1) that features give to those of a later level."""
    each, name = level.excitation, f"{level.name}.excitation"
    assert each is not None
    if each.key is not None:
        key, bias = (
            graph.large(f"{name}.key_{part}", fetch) for part, fetch in zip("wb", each.key, strict=True)
        )
        flat = graph.constant([1, -1, level.side**2], "int64")
        share = graph.node("Softmax", graph.node("Reshape", graph.node("Conv", x, key, bias), flat), axis=2)
        share = graph.node("Transpose", share, perm=[0, 2, 1])
        pooled = graph.node("MatMul", graph.node("Reshape", x, flat), share)  # (1, channels, 1)
        pooled = graph.node("Unsqueeze", pooled, graph.constant([3], "int64"))
    else:
        assert each.frequencies is not None
        weighed = graph.node("Mul", x, graph.large(f"{name}.frequencies", each.frequencies))
        pooled = graph.node("ReduceSum", weighed, graph.constant([2, 3], "int64"), keepdims=1)
    first, first_bias, second, second_bias = (
        graph.large(f"{name}.{number}", fetch) for number, fetch in enumerate(each.layers)
    )
    pooled = graph.node("LeakyRelu", graph.node("Conv", pooled, first, first_bias), alpha=SLOPE)
    return graph.node("Sigmoid", graph.node("Conv", pooled, second, second_bias))


def _attend(graph: Graph, x: Value, level: str, attention: Attention, side: int) -> Value:
    """Return what attention adds to x (1, channels, side, side)."""
    name, heads = f"{level}.attention", attention.heads
    axis = graph.constant([1], "int64")
    mean = graph.node("ReduceMean", x, axis, keepdims=1)
    centred = graph.node("Sub", x, mean)
    variance = graph.node("ReduceMean", graph.node("Mul", centred, centred), axis, keepdims=1)
    deviation = graph.node(
        "Sqrt", graph.node("Add", variance, graph.constant(unstyled.NORM_TINY, graph.kind))
    )
    gain, shift = (graph.large(f"{name}.norm_{part}", fetch) for part, fetch in
                   zip("gb", attention.norm, strict=True))  # fmt: skip
    x = graph.node("Add", graph.node("Mul", graph.node("Div", centred, deviation), gain), shift)

    def convolve(which: str, value: Value, **attributes: int | list[int]) -> Value:
        return graph.node(
            "Conv", value, graph.large(f"{name}.{which}", attention.weights[which]), **attributes
        )

    scale = graph.constant(HEAD**-0.5, graph.kind)
    flat = graph.constant([heads, HEAD, side * side], "int64")
    square = graph.constant([heads, HEAD, side, side], "int64")
    whole = graph.constant([1, heads * HEAD, side, side], "int64")
    # Linear: keys gather values over the whole picture, queries read what was gathered.
    query = graph.node("Softmax", graph.node("Reshape", convolve("to_lin_q", x), flat), axis=1)
    spread = convolve("to_lin_kv.net.0", x, group=attention.channels, pads=[1] * 4)
    key, value = graph.nodes("Split", 2, convolve("to_lin_kv.net.1", spread), axis=1, num_outputs=2)
    key = graph.node("Softmax", graph.node("Reshape", key, flat), axis=2)
    value = graph.node("Reshape", value, flat)
    gathered = graph.node("MatMul", value, graph.node("Transpose", key, perm=[0, 2, 1]))  # (heads, e, c)
    far = graph.node("Reshape", graph.node("MatMul", gathered, graph.node("Mul", query, scale)), whole)
    erf = graph.node("Erf", graph.node("Mul", far, graph.constant(0.5**0.5, graph.kind)))
    far = graph.node("Mul", graph.node("Mul", far, graph.constant(0.5, graph.kind)),
                     graph.node("Add", erf, graph.constant(1.0, graph.kind)))  # fmt: skip
    # Full, over 3 x 3: each neighbour is the picture moved by a pixel.
    query = graph.node("Mul", graph.node("Reshape", convolve("to_q", x), square), scale)
    key, value = graph.nodes("Split", 2, convolve("to_kv", x), axis=1, num_outputs=2)
    shifts = [(row, column) for row in range(3) for column in range(3)]
    keys, values = (
        _neighbours(graph, graph.node("Reshape", each, square), side, shifts) for each in (key, value)
    )
    likeness = [graph.node("ReduceSum", graph.node("Mul", query, each), axis, keepdims=1) for each in keys]
    share = graph.node("Softmax", graph.node("Concat", *likeness, axis=1), axis=1)
    shares = graph.nodes("Split", len(shifts), share, axis=1, num_outputs=len(shifts))
    near = graph.node("Sum", *(graph.node("Mul", *pair) for pair in zip(shares, values, strict=True)))
    near = graph.node("Reshape", near, whole)
    both = graph.node("Concat", far, near, axis=1)
    out = graph.large(f"{name}.to_out", attention.weights["to_out"])
    return graph.node("Conv", both, out, graph.large(f"{name}.to_out.bias", attention.bias))


def _neighbours(graph: Graph, x: Value, side: int, shifts: list[tuple[int, int]]) -> list[Value]:
    """Return x (heads, channels, side, side) moved by each shift of up to a pixel, zeros coming in."""
    x = parts.pad(graph, x, 1, 1, 1, 1)
    axes = graph.constant([2, 3], "int64")
    return [
        graph.node("Slice", x, graph.constant([*shift], "int64"),
                   graph.constant([shift[0] + side, shift[1] + side], "int64"), axes)
        for shift in shifts
    ]  # fmt: skip


def read(weights: Weights) -> Network:
    """Return the network of a lightweight-gan checkpoint."""
    z_dim, outputs, *_ = weights.shape("initial_conv.0.weight")
    raw = weights.take("initial_conv.0.weight", z_dim, outputs, 4, 4)
    bias = weights.take("initial_conv.0.bias", outputs) if "initial_conv.0.bias" in weights else None
    first = unstyled.read_normed(
        weights, "first", lambda: raw().transpose(1, 0, 2, 3), outputs, "initial_conv.1", bias
    )
    count = len({found[1] for found in weights.names(r"layers\.(\d+)\.0\..*")})
    if not 1 <= count <= MOST_LEVELS:
        raise weights.error(f"it has {count} levels; 1 to {MOST_LEVELS} are read")
    inputs, levels = outputs // 2, []
    for number in range(count):
        levels.append(level := _read_level(weights, number, inputs))
        inputs = level.channels
    channels = weights.shape("out_conv.weight")[0]
    head = weights.take("out_conv.weight", channels, inputs, 3, 3), weights.take("out_conv.bias", channels)
    synthesis = Synthesis(first, tuple(levels), head, z_dim, channels)
    weights.ignore(r".*\.num_batches_tracked|layers\.\d+\.0\.1\.f")
    weights.finish("lightweight-gan")
    heights, layers = (levels[-1].side,), synthesis.layers
    write = parts.synthesis(synthesis.draw, heights, layers, channels, low=0.0)
    return unstyled.network("lightweight-gan", z_dim, synthesis.noises(), write, heights, layers)


def _read_level(weights: Weights, number: int, inputs: int) -> Level:
    name = f"layers.{number}"
    shuffle = None
    if f"{name}.0.0.net.0.weight" in weights:
        shuffle = (
            weights.take(f"{name}.0.0.net.0.weight", inputs * 4, inputs, 1, 1),
            weights.take(f"{name}.0.0.net.0.bias", inputs * 4),
        )
    convolution = f"{name}.0.2.1" if f"{name}.0.2.1.weight" in weights else f"{name}.0.2"
    outputs, _, size, _ = weights.shape(f"{convolution}.weight")
    noisy = f"{name}.0.4.running_mean" in weights
    raw = weights.take(f"{convolution}.weight", outputs, inputs, size, size)
    bias = weights.take(f"{convolution}.bias", outputs)
    folded = unstyled.read_normed(weights, name, raw, outputs, f"{name}.0.{4 if noisy else 3}", bias)
    side = 8 * 2**number
    return Level(
        name, side, _read_attention(weights, f"{name}.2", inputs), shuffle, folded, size,
        weights.number(f"{name}.0.3.weight") if noisy else 0.0,
        _read_excitation(weights, f"{name}.1", outputs // 2, side), inputs,
    )  # fmt: skip


def _read_excitation(weights: Weights, name: str, inputs: int, side: int) -> Excitation | None:
    if f"{name}.net.0.weight" not in weights:
        return None
    key = frequencies = None
    if f"{name}.dct_weights" in weights:
        frequencies = weights.take(f"{name}.dct_weights", 1, inputs, side, side)
    else:
        key = weights.take(f"{name}.to_k.weight", 1, inputs, 1, 1), weights.take(f"{name}.to_k.bias", 1)
    middle, outputs = (weights.shape(f"{name}.net.{layer}.weight")[0] for layer in (0, 2))
    layers = (
        weights.take(f"{name}.net.0.weight", middle, inputs, 1, 1),
        weights.take(f"{name}.net.0.bias", middle),
        weights.take(f"{name}.net.2.weight", outputs, middle, 1, 1),
        weights.take(f"{name}.net.2.bias", outputs),
    )
    return Excitation(key, frequencies, layers)


def _read_attention(weights: Weights, name: str, channels: int) -> Attention | None:
    if f"{name}.fn.to_q.weight" not in weights:
        return None
    inner = weights.shape(f"{name}.fn.to_q.weight")[0]
    if inner % HEAD:
        raise weights.error(f"{name}.fn.to_q gives {inner} channels, which are no heads of {HEAD}")
    shapes = {
        "to_lin_q": (inner, channels, 1, 1), "to_lin_kv.net.0": (channels, 1, 3, 3),
        "to_lin_kv.net.1": (2 * inner, channels, 1, 1), "to_q": (inner, channels, 1, 1),
        "to_kv": (2 * inner, channels, 1, 1), "to_out": (channels, 2 * inner, 1, 1),
    }  # fmt: skip
    found: dict[str, Fetch] = {
        which: weights.take(f"{name}.fn.{which}.weight", *shape) for which, shape in shapes.items()
    }
    norm = tuple(weights.take(f"{name}.norm.{part}", 1, channels, 1, 1) for part in "gb")
    bias = weights.take(f"{name}.fn.to_out.bias", channels)
    return Attention(channels, inner // HEAD, (norm[0], norm[1]), found, bias)
