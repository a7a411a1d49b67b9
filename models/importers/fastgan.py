"""FastGAN's generator as a graph, and its checkpoints read into it.

Liu et al. 2021, arXiv:2101.04775; https://github.com/odegeasslbc/FastGAN-pytorch, `models.py`. It has no
mapping: its one w is z itself. Its convolutions are spectrally normalised, which is a division that is done
beforehand.
"""

from dataclasses import dataclass

import numpy as np

from models.importers import parts, unstyled
from models.importers.graph import Graph, Value
from models.importers.network import Layer, Network
from models.importers.parts import Floats
from models.importers.unstyled import Normed
from models.importers.weights import Fetch, Weights

SKIPS = {64: 4, 128: 8, 256: 16, 512: 32}  # which small features excite which large ones, by their px
TANH_FROM = 1024  # px; smaller networks end without it


@dataclass(frozen=True)
class Step:
    """A convolution with batch norm, noise where it has it, and a gated unit."""

    folded: Normed
    noise: str
    strength: float


@dataclass(frozen=True)
class Level:
    """One resolution: nearest upsampling, one or two steps, and the excitation by a smaller one."""

    side: int
    steps: tuple[Step, ...]
    excitation: tuple[Fetch, Fetch] | None
    channels: int


@dataclass(frozen=True)
class Synthesis:
    """The synthesis z -> picture."""

    first: Normed
    levels: tuple[Level, ...]
    heads: dict[int, Fetch]
    z_dim: int
    channels: int

    def noises(self) -> dict[str, tuple[int, ...]]:
        """Shape of each noise input by name."""
        return {step.noise: (1, 1, level.side, level.side)
                for level in self.levels for step in level.steps if step.noise}  # fmt: skip

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The levels, which can be bent."""
        return tuple(Layer(f"f{level.side}", level.channels, level.side) for level in self.levels)

    def draw(self, graph: Graph, height: int, bends: tuple[str, ...], plain: bool) -> Value:
        """Write one rung; return its picture (see parts.synthesis)."""
        x = unstyled.gate(graph, graph.to_picture(unstyled.enter(graph, self.first, self.z_dim)))
        features = {4: x}
        for level in self.levels:
            if level.side > height:
                break
            x = _level(graph, x, level)
            if level.excitation is not None:
                x = _excite(graph, features[SKIPS[level.side]], SKIPS[level.side], x, level)
            if f"f{level.side}" in bends:
                x = parts.bend(graph, x, f"f{level.side}", level.channels, level.side)
            features[level.side] = x
        head = self.heads[height]
        x = graph.node("Conv", x, graph.large("head.weight", head), pads=[head().shape[2] // 2] * 4)
        if self.levels[-1].side >= TANH_FROM:
            x = graph.node("Tanh", x)
        return x


def _level(graph: Graph, x: Value, level: Level) -> Value:
    for number, step in enumerate(level.steps):
        folded = step.folded
        if number == 0:
            x = unstyled.convolve_doubled(graph, x, folded.name, folded.weight, folded.bias)
        else:
            weight = graph.large(f"{folded.name}.weight", folded.weight)
            x = graph.node("Conv", x, weight, graph.large(f"{folded.name}.bias", folded.bias), pads=[1] * 4)
        if step.noise:
            x = unstyled.add_noise(graph, x, step.noise, level.side, step.strength, folded)
        x = unstyled.gate(graph, x)
    return x


def _excite(graph: Graph, small: Value, side: int, large: Value, level: Level) -> Value:
    """Return large features, each channel scaled by what small ones say (skip-layer excitation)."""
    assert level.excitation is not None
    first, second = level.excitation
    if side > 4:
        small = graph.node("AveragePool", small, kernel_shape=[side // 4] * 2, strides=[side // 4] * 2)
    small = graph.node("Conv", small, graph.large(f"se_{level.side}.first", first))
    small = graph.node("Mul", small, graph.node("Sigmoid", small))
    small = graph.node("Conv", small, graph.large(f"se_{level.side}.second", second))
    return graph.node("Mul", large, graph.node("Sigmoid", small))


def read(weights: Weights) -> Network:
    """Return the network of a FastGAN checkpoint."""
    sides = sorted(int(found[1]) for found in weights.names(r"feat_(\d+)\.1\.weight(?:_orig)?"))
    if sides not in ([8 * 2**number for number in range(count)] for count in (6, 7, 8)):
        raise weights.error("it should have features of 8, 16 and so on up to 256, 512 or 1024 px")
    z_dim, outputs, *_ = _shape(weights, "init.init.0")
    first = unstyled.read_normed(
        weights, "init", _even(weights, "init.init.0", turned=True), outputs, "init.init.1"
    )
    channels = {4: outputs // 2}
    levels = []
    for side in sides:
        levels.append(level := _read_level(weights, side, channels))
        channels[side] = level.channels
    big = sides[-1]
    heads = {big: _even(weights, "to_big"), 128: _even(weights, "to_128")}
    depth = _shape(weights, "to_big")[0]
    synthesis = Synthesis(first, tuple(levels), heads, z_dim, depth)
    weights.ignore(r".*\.num_batches_tracked")
    weights.finish("FastGAN")
    return unstyled.network(
        "FastGAN", z_dim, synthesis.noises(),
        parts.synthesis(synthesis.draw, (big, 128), synthesis.layers, depth), (big, 128), synthesis.layers,
    )  # fmt: skip


def _read_level(weights: Weights, side: int, channels: dict[int, int]) -> Level:
    name = f"feat_{side}"
    double = f"{name}.5.weight" in weights or f"{name}.5.weight_orig" in weights
    steps = []
    inputs = channels[side // 2]
    for number, (convolution, noise, norm) in enumerate(((1, 2, 3), (5, 6, 7)) if double else ((1, 0, 2),)):
        full = f"{name}.{convolution}"
        outputs = _shape(weights, full)[0]
        if _shape(weights, full) != (outputs, inputs, 3, 3):
            raise weights.error(f"{full} takes other than the {inputs} channels that enter it")
        folded = unstyled.read_normed(weights, full, _even(weights, full), outputs, f"{name}.{norm}")
        inputs = outputs // 2
        strength = weights.number(f"{name}.{noise}.weight") if noise else 0.0
        steps.append(Step(folded, f"noise_{side}_{number}" if noise else "", strength))
    excitation = None
    if side in SKIPS and _shape(weights, f"se_{side}.main.1", missing=True):
        if _shape(weights, f"se_{side}.main.1")[1] != channels[SKIPS[side]]:
            raise weights.error(f"se_{side} takes other channels than those of {SKIPS[side]} px")
        excitation = _even(weights, f"se_{side}.main.1"), _even(weights, f"se_{side}.main.3")
    return Level(side, tuple(steps), excitation, outputs // 2)


def _shape(weights: Weights, name: str, missing: bool = False) -> tuple[int, ...]:
    """Return the shape of a convolution's weights; () for a missing one, where it may be missing."""
    found = [each for each in (f"{name}.weight_orig", f"{name}.weight") if each in weights]
    if not found and missing:
        return ()
    return weights.shape(found[0] if found else f"{name}.weight_orig")


# Spectral normalisation divides weights by their largest singular value, of which the checkpoint has the two
# vectors that training followed (Miyato et al. 2018, arXiv:1802.05957).
def _even(weights: Weights, name: str, turned: bool = False) -> Fetch:
    """Return the weights (outputs, inputs, h, w), normalised; `turned` where the file has them transposed."""
    shape = _shape(weights, name)
    outputs = shape[1] if turned else shape[0]

    def straight(raw: Floats) -> Floats:
        return raw.transpose(1, 0, 2, 3) if turned else raw

    if f"{name}.weight" in weights:
        whole = weights.take(f"{name}.weight", *shape)
        return lambda: straight(whole())
    weight = weights.take(f"{name}.weight_orig", *shape)
    left = weights.take(f"{name}.weight_u", outputs)
    right = weights.take(f"{name}.weight_v", int(np.prod(shape)) // outputs)

    def divided() -> Floats:
        lain = straight(weight())
        largest = np.float32(left() @ (lain.reshape(outputs, -1) @ right()))
        even: Floats = lain / largest
        return even

    return divided
