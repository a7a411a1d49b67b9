"""Every event that can enter the state.

An event is a body (what happened) in an envelope (when and whence). Bodies are small frozen records;
`encode` and `decode` turn them into JSON lists and back for the recording.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from operator import attrgetter
from typing import Any, NamedTuple, get_args

from engine.core.show import PRESET_NAME, from_json
from engine.core.units import TICK_SAMPLES

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_Z = 512  # dimensions of a latent
_SIGNED_BYTES = re.compile(rf"(?:[0-9a-f]{{2}}){{1,{MAX_Z}}}")


@dataclass(frozen=True, slots=True)
class NoteOn:
    """A key goes down. `channel` 1..16, `note` 0..127, `velocity` above 0 to 1."""

    channel: int
    note: int
    velocity: float


@dataclass(frozen=True, slots=True)
class NoteOff:
    """A key goes up; `velocity` is the release velocity, 0 to 1."""

    channel: int
    note: int
    velocity: float


@dataclass(frozen=True, slots=True)
class Bend:
    """The pitch of every note on a channel moves by `semitones` (ranges and MPE zones already applied)."""

    channel: int
    semitones: float


@dataclass(frozen=True, slots=True)
class Pressure:
    """Aftertouch, 0 to 1, of one note, or of the whole channel where `note` is -1."""

    channel: int
    note: int
    value: float


@dataclass(frozen=True, slots=True)
class Timbre:
    """The third MPE dimension (CC 74), 0 to 1."""

    channel: int
    value: float


@dataclass(frozen=True, slots=True)
class Sustain:
    """The sustain pedal of a channel, 0 (up) to 1 (down)."""

    channel: int
    value: float


@dataclass(frozen=True, slots=True)
class Program:
    """A program change, `program` 0..127."""

    channel: int
    program: int


@dataclass(frozen=True, slots=True)
class Control:
    """A continuous source has a new value, 0 to 1 unless the sender chose otherwise.

    `address` names the source for the patch: `/midi/1/cc/74`, `/midi/1/bend`, `/osc/fader/2`, `/mouse/x`.
    """

    address: str
    value: float


@dataclass(frozen=True, slots=True)
class ClockPulse:
    """One of the 24 pulses per beat of MIDI clock (MIDI 1.0, System Real Time)."""


@dataclass(frozen=True, slots=True)
class Start:
    """The transport starts from the beginning."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The transport stops where it is."""


@dataclass(frozen=True, slots=True)
class Continue:
    """The transport goes on from where it is."""


@dataclass(frozen=True, slots=True)
class SongPosition:
    """The transport is set to a position in sixteenths from the beginning (MIDI Song Position Pointer)."""

    sixteenths: int


@dataclass(frozen=True, slots=True)
class Tap:
    """One tap of the tempo key."""


@dataclass(frozen=True, slots=True)
class Go:
    """The next cue starts its fade."""


@dataclass(frozen=True, slots=True)
class Back:
    """The cue before the present one starts its fade."""


@dataclass(frozen=True, slots=True)
class GoTo:
    """The cue of that number starts its fade; where there is none, nothing happens."""

    cue: float


@dataclass(frozen=True, slots=True)
class Hold:
    """All running fades and follows stand still (1), go on from there (0), or the other of the two (-1)."""

    value: float


@dataclass(frozen=True, slots=True)
class Blackout:
    """The picture goes to black (1), comes back (0), or the other of the two (-1); the levels stay."""

    value: float


@dataclass(frozen=True, slots=True)
class Store:
    """The present levels are kept as the preset of that name, a PRESET_NAME."""

    preset: str


@dataclass(frozen=True, slots=True)
class Recall:
    """The levels of a preset are faded to; where there is none of that name, nothing happens."""

    preset: str
    fade_s: float


@dataclass(frozen=True, slots=True)
class Release:
    """The source is gone, or asks for silence: all its sounding notes are released, its pedals go up."""


@dataclass(frozen=True, slots=True)
class PhraseNote:
    """A note that the musician has planned: `tick` and `offset` of its start, and its length in ticks."""

    tick: int
    offset: int
    note: int
    velocity: float
    length_ticks: int


@dataclass(frozen=True, slots=True)
class Phrase:
    """The musician answers `request` with its notes on a channel, in the order of their starts."""

    request: int
    channel: int
    notes: tuple[PhraseNote, ...]


@dataclass(frozen=True, slots=True)
class Swap:
    """Somebody wants another generator to play; it is loaded beside the one that does.

    Generators are known by the names of their folders, MODEL_NAME.
    """

    generator: str


@dataclass(frozen=True, slots=True)
class Enter:
    """The generator that was wanted is warm, and takes over within `fade_ticks`; 0 cuts hard."""

    generator: str
    fade_ticks: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """The generator that was wanted can't play; the one before it goes on."""

    generator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What the musician would play at once under the next note, for each of the twelve pitch classes.

    `semitones` has twelve tuples, C first, of distances below the note; `request` is the one it answers.
    """

    request: int
    semitones: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """The text model has written the line that was asked for."""

    request: int
    text: str


@dataclass(frozen=True, slots=True)
class LinkBeat:
    """The Ableton Link session is at `beat` at the time of the stamp, and runs at `bpm`."""

    beat: float
    bpm: float


@dataclass(frozen=True, slots=True)
class AudioBeat:
    """A beat of the music at the sound input falls on the stamp; it runs at `bpm`."""

    bpm: float


@dataclass(frozen=True, slots=True)
class Projection:
    """A picture has been projected into the latent space of a generator, by its encoder.

    Its z has one signed byte, in units of `step`, for each two hexadecimal digits of `levels`: a 250th of the
    largest is finer than the encoder is, and keeps the log small.
    """

    generator: str
    step: float
    levels: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A take of that name, formed as a preset's, begins (`begins` 1) or ends (0) here; it moves nothing."""

    name: str
    begins: int


@dataclass(frozen=True, slots=True)
class Revise:
    """The show file was changed while it plays: from here on the show is `show`, as JSON."""

    show: str


Body = (
    NoteOn | NoteOff | Bend | Pressure | Timbre | Sustain | Program | Control
    | ClockPulse | Start | Stop | Continue | SongPosition | Tap | Go | Back | GoTo | Hold | Blackout
    | Store | Recall | Release | Phrase | Answers | Line | LinkBeat | AudioBeat | Swap | Enter | Refuse
    | Projection | Mark | Revise
)  # fmt: skip


class Event(NamedTuple):
    """A body in its envelope.

    `tick` is the tick in which the event enters the state; `offset` is the driver's stamp in samples from
    the start of that tick. An event that reaches the inbox after its own tick has closed enters a later
    one, so `offset` may be negative: `sample` is the stamp all the same. `source` names the device
    (`midi:nanoKEY2`, `osc`, `keys`, `performer`, `musician`); `sequence` counts the events of a run.
    """

    tick: int
    offset: int
    source: str
    sequence: int
    body: Body

    @property
    def sample(self) -> int:
        """The driver's stamp in show samples."""
        return self.tick * TICK_SAMPLES + self.offset


KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(Body)}
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in (*KINDS.values(), PhraseNote)}
_TYPES: dict[type, tuple[Any, ...]] = {
    kind: tuple(field.type for field in fields(kind)) for kind in (*KINDS.values(), PhraseNote)
}


def _plain(kind: type) -> Callable[[Any], list[Any]]:
    """Return the function that encodes bodies of a kind whose fields are as JSON has them."""
    name, fields = kind.__name__, _FIELDS[kind]
    if len(fields) < 2:
        return lambda body: [name, *(getattr(body, field) for field in fields)]
    values = attrgetter(*fields)
    return lambda body: [name, *values(body)]


_PLAIN = {kind: _plain(kind) for kind in KINDS.values()}


def encode(body: Body) -> list[Any]:
    """Return `[kind, field, ...]`, ready for JSON."""
    if isinstance(body, Phrase):
        notes = [[getattr(note, name) for name in _FIELDS[PhraseNote]] for note in body.notes]
        return ["Phrase", body.request, body.channel, notes]
    if isinstance(body, Answers):
        return ["Answers", body.request, [list(steps) for steps in body.semitones]]
    return _PLAIN[type(body)](body)


def decode(data: Any) -> Body:
    """Return the body that `encode` wrote. Raise ValueError, naming what is wrong, for anything else."""
    if not (isinstance(data, list) and data and isinstance(data[0], str) and data[0] in KINDS):
        raise ValueError(f"no event of a known kind: {str(data)[:80]}")
    kind, values = KINDS[data[0]], data[1:]
    if kind is Phrase:
        if len(values) != 3 or not isinstance(values[2], list):
            raise ValueError("a Phrase needs a request, a channel and a list of notes")
        notes = tuple(PhraseNote(*_checked(PhraseNote, note)) for note in values[2])
        request, channel, _ = _checked(Phrase, [*values[:2], ()])
        return Phrase(request, channel, notes)
    if kind is Answers:
        return _answers(values)
    body: Body = kind(*_checked(kind, values))
    if isinstance(body, Revise):
        from_json(body.show)
    if isinstance(body, Projection) and not _SIGNED_BYTES.fullmatch(body.levels):
        raise ValueError(f"Projection.levels are to be 1 to {MAX_Z} bytes in hex, found {body.levels[:40]!r}")
    if isinstance(body, Store | Recall) and not PRESET_NAME.fullmatch(body.preset):
        raise ValueError(f"a preset's name has 1 to 60 characters, found {body.preset[:80]!r}")
    if isinstance(body, Mark) and not PRESET_NAME.fullmatch(body.name):
        raise ValueError(f"a take's name has 1 to 60 characters, found {body.name[:80]!r}")
    return body


def _answers(values: list[Any]) -> Answers:
    request, lists = values if len(values) == 2 else (None, None)
    if not isinstance(lists, list) or len(lists) != 12:
        raise ValueError("Answers need a request and twelve lists of semitones")
    for steps in lists:
        if not isinstance(steps, list) or not all(type(step) is int and 0 <= step <= 127 for step in steps):
            raise ValueError(f"Answers.semitones are to be lists of 0 to 127, found {str(steps)[:40]}")
    return Answers(_checked(Answers, [request, ()])[0], tuple(tuple(steps) for steps in lists))


_RANGES = {  # of the fields that have one
    "channel": (1, 16),
    "note": (-1, 127),  # -1: the whole channel, see Pressure
    "program": (0, 127),
    "sixteenths": (0, 1 << 14),
    "request": (0, 1 << 62),
    "tick": (0, 1 << 48),
    "offset": (-(1 << 48), 1 << 48),
    "length_ticks": (0, 1 << 32),
    "fade_ticks": (0, 1 << 32),
    "beat": (-(1 << 48), 1 << 48),
    "bpm": (1.0, 1000.0),
    "step": (0.0, 1e6),
    "cue": (-1e9, 1e9),
    "fade_s": (0.0, 3600.0),
    "begins": (0, 1),
}


def _checked(kind: type, values: Any) -> list[Any]:
    if not isinstance(values, list) or len(values) != len(_FIELDS[kind]):
        raise ValueError(f"{kind.__name__} needs {len(_FIELDS[kind])} fields, found {str(values)[:80]}")
    for name, wanted, value in zip(_FIELDS[kind], _TYPES[kind], values, strict=True):
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        fits = {int: number and isinstance(value, int), float: number, str: isinstance(value, str)}
        if not fits.get(wanted, True):
            raise ValueError(f"{kind.__name__}.{name} is to be {wanted.__name__}, found {str(value)[:40]!r}")
        low, high = _RANGES.get(name, (value, value))
        if not low <= value <= high:
            raise ValueError(f"{kind.__name__}.{name} is to be {low} to {high}, found {value}")
    return values
