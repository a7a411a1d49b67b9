"""Reads the notes that people played from Chladni's own recordings, for training."""

from collections.abc import Iterator
from pathlib import Path

from engine import recording
from engine.core.events import NoteOff, NoteOn, Release, Sustain
from engine.core.state import MUSICIAN, PERFORMER
from engine.core.units import SAMPLE_RATE
from models.alphabet import Note
from models.pedal import Key, fold

DRUMS = 10  # channel (General MIDI level 1)


def read_notes(path: Path, drums: bool = False) -> list[Note]:
    """Return the notes of a recording by onset, in seconds; RecordingError, a ValueError, if unreadable.

    They are those of every live source together, the musician's and a recorded performer's left out; of
    channel 10 alone where the drums are wanted, of all others where not.
    """
    return fold(_keys(recording.read(path), drums))


def _keys(read: recording.Recording, drums: bool) -> Iterator[Key]:
    sources: dict[tuple[str, int], int] = {}  # a source's channel -> a channel of its own
    for event in sorted(read.events, key=lambda event: event.sample):
        if event.source in (MUSICIAN, PERFORMER):
            continue
        at_s, body = event.sample / SAMPLE_RATE, event.body
        if isinstance(body, Release):
            for (source, _), lane in sources.items():
                if source == event.source:
                    yield Key(at_s, lane, "pedal", 0, 0)
                    yield from (Key(at_s, lane, "off", pitch, 0) for pitch in range(128))
        elif isinstance(body, NoteOn | NoteOff | Sustain) and (body.channel == DRUMS) == drums:
            lane = sources.setdefault((event.source, body.channel), len(sources))
            match body:
                case NoteOn(_, pitch, velocity):
                    yield Key(at_s, lane, "on", pitch, max(1, round(velocity * 127)))
                case NoteOff(_, pitch, _):
                    yield Key(at_s, lane, "off", pitch, 0)
                case Sustain(_, value):
                    yield Key(at_s, lane, "pedal", 0, round(value * 127))
    yield Key(max(read.end_tick / 240, 0.0), -1, "off", 0, 0)
