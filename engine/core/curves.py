"""The curves that a value from 0 to 1 can be bent along."""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

# Each maps 0..1 onto 0..1 and rises. Products only: the same bits on every machine.
CURVES: Final[dict[str, Callable[[float], float]]] = {
    "linear": lambda x: x,
    "exponential": lambda x: x * x * x,  # the usual cubic stand-in for an audio taper
    "s": lambda x: x * x * (3.0 - 2.0 * x),
}
TABLE: Final = "table"  # the curve that goes through points of one's own


def through(points: tuple[tuple[float, float], ...], x: float) -> float:
    """Return the height at `x` of the line from point to point; level before the first and after the last."""
    if x <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if x < right:
            return low + (high - low) * ((x - left) / (right - left))
    return points[-1][1]


def without_deadzone(x: float, rest: float, width: float) -> float:
    """Return `x` with all that is nearer to `rest` than `width` at rest, and the ways to 0 and 1 stretched.

    The ends stay where they are and nothing jumps: what is left of a stick beside its dead middle still
    reaches from end to end.
    """
    if x > rest + width:
        return rest + (x - rest - width) * (1.0 - rest) / (1.0 - rest - width)
    if x < rest - width:
        return rest - (rest - width - x) * rest / (rest - width)
    return rest
