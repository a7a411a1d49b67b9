"""What each worker is joined to: its rings, its board, and the layout of their records."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from engine.core.events import MAX_Z, Answers, Phrase, PhraseNote, Projection
from engine.core.jobs import Ask, FrameJob, Heard, SoundEvent, SoundKind, Write
from engine.core.parameters import BEND, BENDS, DIRECTIONS, EFFECTS, NETWORKS, TRANSFORM
from engine.core.show import MAX_JSON
from engine.workers.shared import Board, FrameStore, Latest, Ring

MAX_CLASSES = 16

TEXT = "240s"  # UTF-8, zeros behind it
# sample, due_us (monotonic, by the clock's present reckoning), kind, lane, note, instrument, value
SOUND_EVENT = "qdiiiid"
# device frame, kind, port, length, data: MIDI bytes, or a port's name in UTF-8
MIDI_IN = "qiii64s"
MIDI_BYTES, MIDI_PORT_OPENED, MIDI_PORT_LOST = 0, 1, 2
# show sample at which the bytes are due, number of the port, length, data
MIDI_OUT = "qii16s"
# tick, frame, deadline_us, seeds a and b, style seed, noise seed, numbers of classes and of z, the floats, z
_VECTORS = (MAX_CLASSES, DIRECTIONS, len(EFFECTS), len(TRANSFORM), BENDS * len(BEND), NETWORKS)
FRAME_JOB = f"qqdQQQQii{1 + 3 + 2 + 1 + 1 + sum(_VECTORS)}d{8 * MAX_Z}s"
# kind, then for a note: sample, note, velocity, whether on the drums; for what is asked: the fields of Ask
HEARD = "iqid?qqqddddiiidd12d"
HEARD_NOTE_ON, HEARD_NOTE_OFF, HEARD_ASK = 0, 1, 2
# kind, request, tick (of a note) or pitch class (of an answer), offset, note or semitones, velocity, length
PLAYED = "iqqqidq"
PLAYED_NOTE, PLAYED_ANSWER, PLAYED_PHRASE, PLAYED_ANSWERS = 0, 1, 2, 3  # the last two: it is complete

# path of a model folder, UTF-8
FOLDER = "1024s"
# step, lengths of the name and of the levels, name in UTF-8, levels
PROJECTION = f"dii100s{MAX_Z}s"
# request, temperature, beginning; request, line
WRITE, WRITTEN = f"qd{TEXT}", f"q{TEXT}"

# when it is due (monotonic microseconds), place of its address in workers.audio.ADDRESSES, value
AUDIO_HEARD = "dqd"
# monotonic time of an input, its body as JSON in UTF-8; number and text of a request, or of its answer
WEB_EVENT, WEB_TEXT, ANSWER_BYTES = "d504s", "q16384s", 4096
WEB_ANSWER = f"q{ANSWER_BYTES}s"
WEB_SHOW = 4 * MAX_JSON + (1 << 16)  # bytes: any show fits, and the names of presets beside it
PREVIEW_PX = (540, 960)  # the largest frame that is kept for the page, rows and columns
PREVIEW_SIZE = (480, 270)  # of the picture that the page shows, width and height

# Cells that every board has: `heartbeat_us` is the monotonic time of the worker's last sign of life (a time
# to come promises that it may be silent until then), `ready` becomes 1 when it can work, `stop` is set by the
# main process. `overdue_us` is the time at which what it does should long be done, 0 while it does nothing of
# the kind, `overdue_used_s` the processor time of its process by which it should. `understudy` becomes 1 when
# a second process, loaded and warm, waits for its cue.
COMMON = ("heartbeat_us", "ready", "stop", "overdue_us", "overdue_used_s", "understudy")
SOUND_CELLS = (
    *COMMON,
    "epoch",  # counts openings of a device; 0 before the first
    "kind",  # index into DEVICE_KINDS
    "rate", "block", "latency_frames",  # of the device, in its own frames per second and frames
    "beyond_frames",  # what the device reports beyond `latency_frames`: outside the contract
    "frame", "frame_us", "frame_period_us",  # published together: the DLL's line through (frame, time)
    "origin_epoch", "origin_frame",  # written by the main process: the device frame of show sample 0
    "underruns", "late_events", "voices", "peak", "refused",
    "connections",  # how often a MIDI output of ours was connected to somebody's input
    "peak_left", "peak_right",  # of the last moments, falling
    "load",  # share of the block's time that the last callback took
)  # fmt: skip
DEVICE_KINDS = ("none", "jack", "miniaudio")
GENERATOR_CELLS = (
    *COMMON,
    "provider",
    "rung",
    "inference_us",
    "least_us",  # what the last rung's picture takes at best
    "crowded",  # set by the main process while another generator plays too: half of the time must do
    "left_out",  # pictures whose image networks would have made them late
    "skipped",
    "errors",
    "gpu_lost",  # how often in a row a GPU was lost or not to be had; 0 while one works
    "height",
    "width",
    "shaders",
)
PROVIDERS = ("none", "CPUExecutionProvider", "CUDAExecutionProvider")
MUSICIAN_CELLS = (*COMMON, "step_us", "phrases", "errors")
PICTURE_CELLS = (*COMMON, "projected", "unread")
AUDIO_CELLS = (
    *COMMON,
    "kind",  # index into workers.audio.CAPTURE_KINDS
    "rate", "block", "buffer_frames",
    "openings",  # of an input, the first one included
    "told", "late",  # events, and those that missed the declared latency
    "longest_us",  # from a sound to its event, the longest so far
    "spoiled",  # samples that were no numbers
    "level", "ceiling_db", "bpm",  # what is heard now
)  # fmt: skip
WEB_CELLS = (
    *COMMON,
    "port",  # that it listens on, 0 while it does not
    "clients",  # pages that are open: while there are none, nothing is told
    "look_until_us", "look_every_us",  # pictures are wanted until then, so far apart
    "held",  # written by the main process: how often the picture in the store was shown before
    "refused",  # messages that broke the rules
)  # fmt: skip


@dataclass(frozen=True)
class SoundLink:
    """Between the session and the sound worker.

    `deviations` brings back, for each note that was started: its lane, and how long after `due_us` the
    device played it, in microseconds.
    """

    events: Ring
    midi_in: Ring
    midi_out: Ring
    deviations: Ring
    board: Board


@dataclass(frozen=True)
class GeneratorLink:
    """Between the session and a generator worker; `says` brings a line of text: why it can't go on."""

    jobs: Ring
    frames: FrameStore
    board: Board
    says: Ring


@dataclass(frozen=True)
class MusicianLink:
    """Between the session and the musician worker."""

    heard: Ring
    played: Ring
    board: Board


@dataclass(frozen=True)
class PictureLink:
    """Between the session and the worker that looks at pictures.

    `asked` takes the folder of the generator that plays, `seen` brings projections, `says` what is in the
    way of them.
    """

    asked: Ring
    seen: Ring
    says: Ring
    board: Board


@dataclass(frozen=True)
class AudioLink:
    """Between the session and the worker that listens: `heard` brings events, `says` what is in the way."""

    heard: Ring
    says: Ring
    board: Board


@dataclass(frozen=True)
class WebLink:
    """Between the session and the web worker.

    `events` brings what somebody did in the page, `asked` what only the main process can do, `answered` what
    came of it; `show`, `state` and `levels` are what the page is told (see engine.web.view), `frames` the
    picture as the audience sees it, while somebody looks, and `line` a line that is to be written on it.
    `says` brings what is in the way.
    """

    events: Ring
    asked: Ring
    answered: Ring
    show: Latest
    state: Latest
    levels: Latest
    frames: FrameStore
    line: Latest
    says: Ring
    board: Board


@dataclass(frozen=True)
class QueryLink:
    """Between the session and the worker that answers OSCQuery.

    `told` is what the show tells over OSC, by address, and `show` the show with the names of its presets,
    both as JSON. `says` brings what is in the way.
    """

    told: Latest
    show: Latest
    says: Ring
    board: Board


@dataclass(frozen=True)
class PoetLink:
    """Between the session and the text model's worker."""

    asked: Ring
    written: Ring
    board: Board


def sound_link() -> SoundLink:
    """Make the rings and the board of a sound worker."""
    board = Board(SOUND_CELLS)
    board["origin_epoch"] = -1.0
    return SoundLink(
        Ring(SOUND_EVENT, 4096), Ring(MIDI_IN, 8192), Ring(MIDI_OUT, 4096), Ring("id", 4096), board
    )


def generator_link(height: int, width: int, frames: int) -> GeneratorLink:
    """Make the ring, the store of so many frames of up to this size, and the board of a generator worker."""
    board = Board(GENERATOR_CELLS)
    return GeneratorLink(Ring(FRAME_JOB, 16), FrameStore(height, width, frames), board, Ring(TEXT, 8))


def musician_link() -> MusicianLink:
    """Make the rings and the board of a musician worker."""
    return MusicianLink(Ring(HEARD, 4096), Ring(PLAYED, 4096), Board(MUSICIAN_CELLS))


def picture_link() -> PictureLink:
    """Make the rings and the board of the worker that looks at pictures."""
    return PictureLink(Ring(FOLDER, 16), Ring(PROJECTION, 16), Ring(TEXT, 8), Board(PICTURE_CELLS))


def audio_link() -> AudioLink:
    """Make the rings and the board of the worker that listens."""
    return AudioLink(Ring(AUDIO_HEARD, 1024), Ring(TEXT, 8), Board(AUDIO_CELLS))


def web_link() -> WebLink:
    """Make the rings, the texts, the store and the board of the web worker."""
    return WebLink(
        Ring(WEB_EVENT, 256), Ring(WEB_TEXT, 16), Ring(WEB_ANSWER, 16), Latest(WEB_SHOW), Latest(1 << 16),
        Latest(1 << 13), FrameStore(*PREVIEW_PX, 3), Latest(1 << 12), Ring(TEXT, 8), Board(WEB_CELLS),
    )  # fmt: skip


def query_link() -> QueryLink:
    """Make the texts, the ring and the board of the worker that answers OSCQuery."""
    return QueryLink(Latest(1 << 16), Latest(1 << 21), Ring(TEXT, 8), Board((*COMMON, "port", "clients")))


def pack_projection(body: Projection) -> tuple[Any, ...]:
    """Return the record of PROJECTION."""
    name, levels = body.generator.encode(), bytes.fromhex(body.levels)
    return body.step, len(name), len(levels), name, levels


def unpack_projection(record: Sequence[Any]) -> Projection:
    """Return the projection of a record."""
    step, name_length, length, name, levels = record
    return Projection(name[:name_length].decode(), step, levels[:length].hex())


def poet_link() -> PoetLink:
    """Make the rings and the board of a text model's worker."""
    return PoetLink(Ring(WRITE, 16), Ring(WRITTEN, 16), Board((*COMMON, "errors")))


def pack_sound(event: SoundEvent, due_us: float) -> tuple[Any, ...]:
    """Return the record of SOUND_EVENT."""
    return event.sample, due_us, event.kind, event.lane, event.note, event.instrument, event.value


def unpack_sound(record: Sequence[Any]) -> tuple[SoundEvent, float]:
    """Return the sound event of a record and its `due_us`."""
    sample, due_us, kind, lane, note, instrument, value = record
    return SoundEvent(sample, SoundKind(kind), lane, note, instrument, value), due_us


def pack_text(text: str) -> bytes:
    """Return the record of TEXT; what is too long is cut."""
    return " ".join(text.split()).encode()[:240]


def unpack_text(record: Sequence[Any]) -> str:
    """Return the text of a record."""
    data: bytes = record[0]
    return data.rstrip(b"\0").decode(errors="ignore")


def pack_write(job: Write) -> tuple[Any, ...]:
    """Return the record of WRITE."""
    return job.request, job.temperature, pack_text(job.begins)


def unpack_write(record: Sequence[Any]) -> Write:
    """Return the job of a record."""
    request, temperature, *begins = record
    return Write(request, unpack_text(begins), temperature)


def pack_heard(job: Heard | Ask) -> tuple[Any, ...]:
    """Return the record of HEARD."""
    if isinstance(job, Heard):
        kind = HEARD_NOTE_ON if job.on else HEARD_NOTE_OFF
        return (kind, job.sample, job.note, job.velocity, job.drum, *([0] * 12), *([0.0] * 12))
    return (
        HEARD_ASK, 0, 0, 0.0, job.answers, job.request, job.start_tick, job.end_tick,
        job.temperature, job.top_p, job.density, job.style, job.low, job.high, job.scale,
        job.beat, job.bpm, *job.pitch_classes,
    )  # fmt: skip


def unpack_heard(record: Sequence[Any]) -> Heard | Ask:
    """Return the job of a record."""
    kind, sample, note, velocity, flag, *asked = record
    if kind != HEARD_ASK:
        return Heard(sample, kind == HEARD_NOTE_ON, note, velocity, flag)
    request, start_tick, end_tick, *wishes = asked[:12]
    return Ask(request, start_tick, end_tick, flag, *(*wishes, tuple(asked[12:])))


class PlayedReader:
    """Puts what the musician's process sends back together; what a dead one left unfinished is forgotten."""

    def __init__(self) -> None:
        self._request = 0
        self._notes: list[PhraseNote] = []
        self._answers: list[tuple[int, int]] = []

    def take(self, record: Sequence[Any]) -> Phrase | Answers | None:
        """Return the event that is complete with this record of PLAYED, or None."""
        kind, request, tick, offset, note, velocity, length = record
        if request != self._request:
            self._request, self._notes, self._answers = request, [], []
        if kind == PLAYED_NOTE:
            self._notes.append(PhraseNote(tick, offset, note, velocity, length))
        elif kind == PLAYED_ANSWER:
            self._answers.append((tick, note))
        elif kind == PLAYED_PHRASE:
            notes, self._notes = tuple(self._notes), []
            return Phrase(request, note, notes)
        else:
            answers, self._answers = self._answers, []
            return Answers(request, tuple(tuple(s for at, s in answers if at == n) for n in range(12)))
        return None


def pack_job(job: FrameJob, frame: int, deadline_us: float) -> tuple[Any, ...]:
    """Return the record of FRAME_JOB."""
    label = (*job.label, *([0.0] * (MAX_CLASSES - len(job.label))))
    z = struct.pack(f"<{len(job.z)}d", *job.z)  # mostly none: bytes are padded in no time, 512 floats are not
    return (
        job.tick, frame, deadline_us, job.seed_a, job.seed_b, job.style_seed, job.noise_seed,
        len(job.label), len(job.z), job.blend, *job.mix, job.psi, job.noise, job.share, job.picture,
        *label, *job.directions, *job.effects, *job.transform, *job.bends, *job.networks, z,
    )  # fmt: skip


def unpack_job(record: Sequence[Any]) -> tuple[FrameJob, int, float]:
    """Return the frame job of a record, its frame number and its deadline in monotonic microseconds."""
    tick, frame, deadline_us, seed_a, seed_b, style_seed, noise_seed, classes, dimensions, *values, z = record
    blend, coarse, middle, fine, psi, noise, share, picture = values[:8]
    rest = iter(values[8:])
    label, directions, effects, transform, bends, networks = (tuple(islice(rest, n)) for n in _VECTORS)
    job = FrameJob(
        tick, seed_a, seed_b, blend, style_seed, (coarse, middle, fine), psi, noise, noise_seed,
        label[:classes], directions, effects, transform, bends, networks, share,
        picture, struct.unpack_from(f"<{dimensions}d", z),
    )  # fmt: skip
    return job, frame, deadline_us
