"""Folds the sustain pedal into the lengths of notes."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from models.alphabet import Note

SUSTAIN, PEDAL_DOWN = 64, 64  # controller number; values from here are down (MIDI 1.0)


class Key(NamedTuple):
    """What a hand or a foot does: `value` is the velocity 0..127, or the pedal's position 0..127."""

    at_s: float
    channel: int
    kind: Literal["on", "off", "pedal"]
    pitch: int
    value: int


def fold(keys: Iterable[Key]) -> list[Note]:
    """Return the notes of keys in the order of their times, by onset.

    A note that ends while the pedal of its channel is down sounds until the pedal rises or until the same
    key is struck again. What still sounds at the end ends there.
    """
    now = 0.0
    sounding: dict[tuple[int, int], tuple[float, int]] = {}  # (channel, pitch) -> (onset, velocity)
    held: dict[int, set[int]] = {}  # channel -> pitches that only its pedal holds; no key while it is up
    notes = []

    def end(channel: int, pitch: int) -> None:
        if (channel, pitch) in sounding:
            onset, velocity = sounding.pop((channel, pitch))
            notes.append(Note(onset, now - onset, pitch, velocity))

    for now, channel, kind, pitch, value in keys:
        if kind == "pedal" and value >= PEDAL_DOWN:
            held.setdefault(channel, set())
        elif kind == "pedal":
            for each in held.pop(channel, set()):
                end(channel, each)
        elif kind == "on" and value > 0:
            end(channel, pitch)
            held.get(channel, set()).discard(pitch)
            sounding[channel, pitch] = (now, value)
        elif channel in held:
            held[channel].add(pitch)
        else:
            end(channel, pitch)
    for channel, pitch in tuple(sounding):
        end(channel, pitch)
    return sorted(notes)
