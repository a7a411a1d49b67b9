"""What an importer hands on: a network that was read from a checkpoint, ready to be written as ONNX.

An importer has checked every weight by name and shape before it returns one of these; the weights themselves
stay in the file until a graph is written. So a `Network` costs little and says everything about a file that a
dry run wants to know.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.importers.graph import Graph

Floats = NDArray[np.float32]


MOST_WORDS = 600  # characters of an error


def printable(words: object) -> str:
    """Return words, with names out of a file among them, as a terminal can be given them: in one line."""
    return "".join(c if c.isprintable() else " " for c in str(words))


class CheckpointError(ValueError):
    """A file that can't be imported; one line that says what is wrong, where, and what would be right."""

    def __init__(self, what: str) -> None:
        super().__init__(printable(what)[:MOST_WORDS])


@dataclass(frozen=True)
class Layer:
    """A layer whose output can be bent, (1, channels, side, side)."""

    name: str  # b16, L5
    channels: int
    side: int


# Network bending (Broad, Leymarie and Grierson 2021, doi:10.3390/e24010028). Each bent layer has one input
# `bend_<layer>`, float32 (len(BEND),), in this order. At rest it costs one comparison of these few numbers.
SUPPRESSED = 4  # groups of neighbouring channels, each a quarter of them
BEND: tuple[tuple[str, float], ...] = (  # what each number of a bend is, and where it rests
    ("scale", 1.0),
    ("shift", 0.0),  # added, after the scale
    ("rotate", 0.0),  # degrees, anticlockwise
    ("across", 0.0),  # to the right, in sides of the picture
    ("down", 0.0),
    *((f"suppress_{group}", 0.0) for group in range(1, SUPPRESSED + 1)),  # 1 silences a group
)


class Synthesis(Protocol):
    """Writes the synthesis of a network as a graph."""

    def __call__(
        self,
        height: int,
        *,
        bends: tuple[str, ...] = (),
        half: bool = False,
        pixels: bool = True,
        plain: bool = False,
    ) -> Graph:
        """Return the graph of one rung: ws, noise, transform and bends to `image`.

        Inputs, all float32: `ws` (1, num_ws, w_dim) of the whole network whatever the rung; the noise
        inputs that the rung has; `transform` (3, 3) where the network has one; `bend_<layer>` (len(BEND),)
        for each of `bends` that the rung reaches. Output: uint8 (height, width, 3) RGB, or where `pixels` is
        false the picture as published, float32 (1, channels, height, width). `half` keeps weights and
        activations in float16. `plain` writes convolutions as `Conv` alone, as quantisers want it,
        where there would be a faster way on a CPU.
        Raise CheckpointError for a height or a layer that the network lacks.
        """
        ...


@dataclass(frozen=True)
class Network:
    """A picture generator out of a checkpoint. Nothing here was executed, only read."""

    architecture: str  # for people: StyleGAN2, StyleGAN3-R, FastGAN ...
    z_dim: int
    w_dim: int
    num_ws: int
    classes: int  # 0: unconditional
    heights: tuple[int, ...]  # px, of the rungs that the architecture allows, best first; pictures are square
    style_groups: Mapping[str, tuple[int, int]]  # coarse, middle, fine: which of the ws, half-open
    # z (batch, z_dim) and, with classes, label (batch, classes) to w (batch, w_dim), any batch. Where
    # `mapped` is false the network has no mapping: z is w, the graph hands it on, and psi scales z itself.
    mapping: Callable[[], Graph]
    mapped: bool
    synthesis: Synthesis
    w_avg: Floats | None  # (w_dim,), as trained; None: to be estimated from the mapping
    # Shape (1, 1, side, side) of each noise input `noise_...` of the best rung, N(0, 1) times the wanted
    # strength, and the constant noise that the checkpoint holds for it, where it holds one.
    noises: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    grain: Mapping[str, Callable[[], Floats]] = field(default_factory=dict)
    # `transform`: the inverse of what happens to the picture, in units where the picture reaches from -0.5 to
    # 0.5 in both directions; the identity leaves it as it was trained.
    transform: bool = False
    layers: tuple[Layer, ...] = ()  # that can be bent, from the input on
    # The synthesis of a rung as an export of the published code has it, where that is another; for `bench`.
    grouped: Callable[[int], Graph] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # for the card and the dry run: numbers and words
