"""The musician's alphabet: notes to event classes and back.

It is that of Performance RNN (Oore et al. 2018, arXiv:1808.03715): 128 note-ons, 128 note-offs, 100 time
shifts of 10 ms to 1 s, 32 velocities; 388 classes. A velocity holds for the note-ons after it.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

NOTE_ON: Final = 0  # first class of each kind
NOTE_OFF: Final = 128
TIME_SHIFT: Final = 256
VELOCITY: Final = 356
EVENTS: Final = 388

STEP_S: Final = 0.01
LONGEST_SHIFT: Final = VELOCITY - TIME_SHIFT  # 100 steps, one second
VELOCITY_BIN: Final = 4  # MIDI velocities in one class


class Note(NamedTuple):
    """One note: onset and duration in seconds, MIDI pitch 0..127, MIDI velocity 1..127."""

    onset_s: float
    duration_s: float
    pitch: int
    velocity: int


def velocity_event(velocity: int) -> int:
    """Return the class of a MIDI velocity, 0..127."""
    return VELOCITY + velocity // VELOCITY_BIN


def velocity_of(event: int) -> int:
    """Return the MIDI velocity, 2..126, of a velocity class: the middle of its bin."""
    return (event - VELOCITY) * VELOCITY_BIN + VELOCITY_BIN // 2


def shift_events(steps: int) -> list[int]:
    """Return the time shifts that make up `steps` of 10 ms."""
    seconds, rest = divmod(steps, LONGEST_SHIFT)
    return [TIME_SHIFT + LONGEST_SHIFT - 1] * seconds + ([TIME_SHIFT + rest - 1] if rest else [])


def shift_steps(event: int) -> int:
    """Return the steps of 10 ms, 1..100, of a time shift class."""
    return event - TIME_SHIFT + 1


def encode(notes: Iterable[Note], note_offs: bool = True) -> list[int]:
    """Return the event classes of notes, from time 0, on the 10 ms grid.

    A note struck again while it sounds ends there; at one time note-offs come before note-ons, lower pitches
    first. A note lasts one step at least. Without `note_offs` their lengths are left out, as of drums.
    """
    strokes: dict[tuple[int, int], tuple[int, int]] = {}  # (onset step, pitch) -> (end step, velocity)
    for note in notes:
        onset = round(note.onset_s / STEP_S)
        end = max(round((note.onset_s + note.duration_s) / STEP_S), onset + 1)
        strokes[onset, note.pitch] = (end, note.velocity)
    moments = []  # (step, is note-on, pitch, velocity)
    next_onset: dict[int, int] = {}
    for (onset, pitch), (end, velocity) in sorted(strokes.items(), reverse=True):
        moments.append((onset, True, pitch, velocity))
        if note_offs:
            moments.append((min(end, next_onset.get(pitch, end)), False, pitch, 0))
        next_onset[pitch] = onset
    events: list[int] = []
    now, loudness = 0, -1
    for step, is_on, pitch, velocity in sorted(moments):
        events += shift_events(step - now)
        now = step
        if is_on and velocity_event(velocity) != loudness:
            loudness = velocity_event(velocity)
            events.append(loudness)
        events.append((NOTE_ON if is_on else NOTE_OFF) + pitch)
    return events


def decode(events: Iterable[int]) -> list[Note]:
    """Return the notes of event classes, by onset and pitch.

    Any sequence has a meaning: a note-off without its note is passed over, a note struck again ends there,
    and what still sounds at the end ends there. Before any velocity, the bin of 64 holds. A class outside
    0..387 is a ValueError.
    """
    step, velocity = 0, velocity_of(velocity_event(64))
    sounding: dict[int, tuple[int, int]] = {}  # pitch -> (onset step, velocity)
    notes = []

    def end(pitch: int) -> None:
        if pitch in sounding:
            onset, loudness = sounding.pop(pitch)
            notes.append(Note(onset * STEP_S, (step - onset) * STEP_S, pitch, loudness))

    for event in events:
        if not 0 <= event < EVENTS:
            raise ValueError(f"event class {event}: 0 to {EVENTS - 1} exist")
        if event >= VELOCITY:
            velocity = velocity_of(event)
        elif event >= TIME_SHIFT:
            step += shift_steps(event)
        elif event >= NOTE_OFF:
            end(event - NOTE_OFF)
        else:
            end(event)
            sounding[event] = (step, velocity)
    for pitch in tuple(sounding):
        end(pitch)
    return sorted(note for note in notes if note.duration_s > 0)
