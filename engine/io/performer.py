"""A recorded performance or a Standard MIDI File, played into the inbox at its own times."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mido

from engine import recording
from engine.core.events import Body, Release
from engine.core.state import MUSICIAN, PERFORMER, STAGE
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES
from engine.io.midi import Translator

Events = tuple[tuple[int, Body], ...]  # (show sample from 0, body), in order


@dataclass(frozen=True)
class Performance:
    """What a file plays, and how long it lasts, its rest at the end included."""

    events: Events
    length_samples: int


MAX_BYTES: Final = 64 << 20
_DEFAULT_TEMPO: Final = 500_000  # microseconds a beat until the file says otherwise (SMF 1.0)
_ASYNCHRONOUS: Final = 2  # SMF format 2: tracks that do not belong together


class PerformanceError(ValueError):
    """A file can't be performed; the text is one line that says why."""


def load(path: str | Path) -> Performance:
    """Return what a MIDI file or a recording plays. Raise PerformanceError.

    Of a recording it is what came from outside: the musician plays anew, generators load in their own time,
    a performer is not recorded twice.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(4)
        size = path.stat().st_size
    except OSError as error:
        raise PerformanceError(f"{path}: {error.strerror or error}") from None
    if size > MAX_BYTES:
        raise PerformanceError(f"{path}: {size >> 20} MB are too much for a performance")
    performance = _midi_file(path) if head == b"MThd" else _recording(path)
    if not performance.events:
        raise PerformanceError(f"{path}: there is nothing to play in it")
    return performance


def _recording(path: Path) -> Performance:
    try:
        read = recording.read(path)
    except recording.RecordingError as error:
        raise PerformanceError(f"{error} (nor is it a MIDI file)") from None
    inner = (MUSICIAN, PERFORMER, STAGE, "link")
    played = ((max(e.sample, 0), e.body) for e in read.events if e.source not in inner)
    events = tuple(sorted(played, key=lambda event: event[0]))
    return Performance(events, read.end_tick * TICK_SAMPLES)


def _midi_file(path: Path) -> Performance:
    try:
        file = mido.MidiFile(path, clip=True)
        messages = mido.merge_tracks(file.tracks)
    except Exception as error:  # mido lets EOFError, ValueError, IndexError, KeyError and more out
        reason = str(error) or "it ends too early"
        raise PerformanceError(f"{path}: this MIDI file is broken: {reason.splitlines()[0]}") from None
    if file.type == _ASYNCHRONOUS or file.ticks_per_beat <= 0:
        what = "format 2" if file.type == _ASYNCHRONOUS else "SMPTE time"
        raise PerformanceError(f"{path}: a MIDI file with {what} can't be played; save it as format 0 or 1")
    translator = Translator()
    events: list[tuple[int, Body]] = []
    sample = 0
    microbeats, tempo = 0, _DEFAULT_TEMPO  # microseconds x ticks per beat, so that all stays whole
    for message in messages:
        microbeats += message.time * tempo
        sample = microbeats * SAMPLE_RATE // (file.ticks_per_beat * 1_000_000)
        if message.type == "set_tempo":
            tempo = message.tempo
        if message.is_meta or message.type == "sysex":
            continue
        events += ((sample, body) for body in translator.bodies(bytes(message.bytes())))
    return Performance(tuple(events), sample + 1)  # to the end of its longest track


class Performer:
    """Plays events from `restart` on; at the end it is silent, or begins again where it loops.

    Bookkeeping alone: the session asks for what is due and says when it was told to stop.
    """

    def __init__(self, performance: Performance, loop: bool) -> None:
        self._events = performance.events
        self._length, self._loop = max(performance.length_samples, TICK_SAMPLES), loop
        self._start: int | None = None
        self._next = 0

    @property
    def playing(self) -> bool:
        """Tell whether it was begun, and not stopped; one that has come to its end counts as playing."""
        return self._start is not None

    def restart(self, at_sample: int | None) -> None:
        """Begin anew at a show sample, or stop."""
        self._start, self._next = at_sample, 0

    def due(self, until_sample: int) -> list[tuple[int, Body]]:
        """Return the events before a show sample that have not been returned yet, in their order."""
        due: list[tuple[int, Body]] = []
        while self._start is not None:
            if self._next < len(self._events):
                at, body = self._events[self._next]
                at = min(at, self._length - 1) + self._start
            elif self._loop:
                at, body = self._start + self._length, Release()  # what the end of the file left sounding
            else:
                break
            if at >= until_sample:
                break
            due.append((at, body))
            self._next += 1
            if self._next > len(self._events):
                self._start, self._next = at, 0
        return due
