"""Pieces of generators without styles: first features, batch norm folded into convolutions, gates, noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from models.importers import parts
from models.importers.graph import Graph, Value
from models.importers.network import Layer, Network, Synthesis
from models.importers.parts import Floats
from models.importers.weights import Fetch, Weights

NORM_TINY = 1e-5  # of torch's batch norm


@dataclass(frozen=True)
class Normed:
    """A convolution and the batch norm after it, as one convolution."""

    name: str
    weight: Fetch  # (outputs, inputs, h, w)
    bias: Fetch  # (outputs,)
    scale: Fetch  # (outputs,), what the batch norm multiplies by
    outputs: int


def read_normed(
    weights: Weights, name: str, raw: Fetch, outputs: int, norm: str, bias: Fetch | None = None
) -> Normed:
    """Return a convolution folded with the batch norm `norm`, as it is outside training."""
    names = ("weight", "bias", "running_mean", "running_var")
    gain, shift, mean, variance = (weights.take(f"{norm}.{each}", outputs) for each in names)

    def scale() -> Floats:
        found: Floats = gain() / np.sqrt(variance() + np.float32(NORM_TINY))
        return found

    def whole() -> Floats:
        before = bias() if bias is not None else np.float32(0)
        folded: Floats = (before - mean()) * scale() + shift()
        return folded

    return Normed(name, lambda: raw() * scale()[:, None, None, None], whole, scale, outputs)


def enter(graph: Graph, first: Normed, z_dim: int) -> Value:
    """Return the first features (1, outputs, 4, 4): a transposed convolution of the input `ws`, one pixel."""
    z = graph.node("Reshape", graph.input("ws", 1, 1, z_dim), graph.constant([1, z_dim], "int64"))
    wide = 16 * first.outputs
    weight = graph.weights("first.weight", lambda: first.weight().transpose(1, 0, 2, 3).reshape(-1, wide))
    bias = graph.weights("first.bias", lambda: np.repeat(first.bias(), 16))
    return graph.node("Reshape", graph.node("Gemm", z, weight, bias), graph.constant([1, -1, 4, 4], "int64"))


def network(
    architecture: str, z_dim: int, noises: Mapping[str, tuple[int, ...]], synthesis: Synthesis,
    heights: tuple[int, ...], layers: tuple[Layer, ...],
) -> Network:  # fmt: skip
    """Return a network whose one style is z itself."""
    return Network(
        architecture=architecture,
        z_dim=z_dim,
        w_dim=z_dim,
        num_ws=1,
        classes=0,
        heights=heights,
        style_groups=parts.style_groups([4]),
        mapping=lambda: parts.identity_mapping(z_dim),
        mapped=False,
        synthesis=synthesis,
        w_avg=np.zeros(z_dim, np.float32),
        noises=noises,
        layers=layers,
        facts={"channels": {layer.name: layer.channels for layer in layers}},
    )


def gate(graph: Graph, x: Value) -> Value:
    """Return the gated linear unit of x (1, 2 C, H, W): its first half times the sigmoid of its second."""
    value, opened = graph.nodes("Split", 2, x, axis=1, num_outputs=2)
    return graph.node("Mul", value, graph.node("Sigmoid", opened))


def add_noise(graph: Graph, x: Value, noise: str, side: int, strength: float, folded: Normed) -> Value:
    """Return x with noise that lies between the convolution and the batch norm, which scales it too."""
    grain = graph.to_picture(graph.input(noise, 1, 1, side, side))
    share = graph.large(f"{folded.name}.noise", lambda: folded.scale()[:, None, None] * np.float32(strength))
    return graph.node("Add", x, graph.node("Mul", grain, share))


# The nearest upsampling copies each pixel four times, and a 3 x 3 convolution behind it adds up the weights
# that fall on copies of the same pixel. Added up beforehand they are four convolutions of 2 x 2, one for
# each phase of the output: the same sums with 16 products for 36.
def convolve_doubled(graph: Graph, x: Value, name: str, weight: Fetch, bias: Fetch) -> Value:
    """Return the 3 x 3 convolution of x (1, C, H, W) after its nearest upsampling by two."""
    falls = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)  # (phase, pixel, tap)

    @cache
    def summed() -> Floats:
        found: Floats = np.einsum("pyr,qxc,oirc->pqoiyx", falls, falls, weight()).astype(np.float32)
        return found

    taps = {phase: partial(_phase, summed, *phase) for phase in parts.PHASES}
    pads = {(row, column): [1 - row, 1 - column, row, column] for row, column in parts.PHASES}
    return parts.interleaved(graph, x, name, taps, pads, graph.large(f"{name}.bias", bias))


def _phase(summed: Fetch, row: int, column: int) -> Floats:
    """Return the weights of one phase."""
    found: Floats = summed()[row, column]
    return found
