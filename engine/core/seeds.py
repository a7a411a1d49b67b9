"""Random numbers as a function of a seed: the same show, the same numbers."""

from functools import lru_cache
from typing import Final

_MASK: Final = (1 << 64) - 1


@lru_cache(maxsize=256)  # a walk asks for the same few, frame after frame
def mix64(seed: int, index: int) -> int:
    """Return a well-mixed 64-bit seed (SplitMix64, Steele, Lea and Flood 2014)."""
    x = (seed + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def named(seed: int, name: str) -> int:
    """Return a seed of its own for what bears a name."""
    for byte in name.encode():
        seed = mix64(seed, byte)
    return seed


def chance(seed: int, index: int) -> float:
    """Return a number from 0 to less than 1."""
    return (mix64(seed, index) >> 11) / float(1 << 53)
