"""Curves: how a value rises from 0 to 1."""

from collections.abc import Callable
from typing import Final

# Each maps 0..1 onto 0..1 and rises. Products only: the same bits on every machine.
CURVES: Final[dict[str, Callable[[float], float]]] = {
    "linear": lambda x: x,
    "exponential": lambda x: x * x * x,  # the usual cubic stand-in for an audio taper
    "s": lambda x: x * x * (3.0 - 2.0 * x),
}
