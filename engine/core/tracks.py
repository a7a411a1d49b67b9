"""Tracks: what the cues of a list make of one thing, from cue to cue."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


# As in lighting, a cue says what changes, and what it leaves out tracks through: it stays as an earlier cue
# set it, or as it was at the beginning. So the look of a cue is not what is written in it but what all cues
# up to it come to, and whoever goes to a cue from anywhere wants that look. A track keeps only the cues that
# set it, in order: to know its value at one of 500 cues takes nine comparisons.
@dataclass(frozen=True, slots=True)
class Track(Generic[T]):
    """The places in the cue list that set something, what they set it to, and what it is before the first."""

    begins: T
    cues: tuple[int, ...]
    values: tuple[T, ...]


def track(begins: T, sets: Iterable[tuple[int, T]]) -> Track[T]:
    """Return the track of (place in the list, value) pairs, in the order of the list."""
    pairs = tuple(sets)
    return Track(begins, tuple(place for place, _ in pairs), tuple(value for _, value in pairs))


def at(track: Track[T], place: int) -> T:
    """Return the value at a place of the list; before the first cue, -1, what it begins at."""
    known = bisect_right(track.cues, place)
    return track.values[known - 1] if known else track.begins


def moves(track: Track[Any], start: int, end: int) -> bool:
    """Tell whether going from one place to another moves it: a cue between them does, or the last itself."""
    low, high = (start, end) if start < end else (min(end - 1, start), start)
    return bisect_right(track.cues, high) > bisect_right(track.cues, low)
