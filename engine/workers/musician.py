"""The musician: an LSTM over musical events that hears the performer and answers with phrases.

It runs in a process of its own; `generate` is the same code without one.
"""

import gc
import os
import signal
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.clock import monotonic_us
from engine.core.events import PhraseNote
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES
from engine.workers.links import HEARD_NOTE_ON, HEARD_REQUEST, MusicianLink
from models import alphabet, conditions, manifest
from models.sampling import draw

TOP_P: Final = 0.95  # nucleus sampling (Holtzman et al. 2020)
NOTES_PER_S: Final = 64  # more than two hands play
STEPS_PER_S: Final = 300  # with the next line, what a phrase may cost: at most 60 ms at 120 us a step
STEPS: Final = 512
POLYPHONY: Final = 16
SHIFT_SAMPLES: Final = SAMPLE_RATE // 100  # 10 ms (Oore et al. 2018, section 3)
HEARD_GAP_SAMPLES: Final = 2 * SAMPLE_RATE  # a longer silence of the performer counts as this
ENTRY_SAMPLES: Final = SAMPLE_RATE // 2  # the breath before it comes in, as it knows it
REST_SAMPLES: Final = SAMPLE_RATE  # the longest rest that it may take
SHORTEST_SAMPLES: Final = SAMPLE_RATE // 50
LONGEST_SAMPLES: Final = 4 * SAMPLE_RATE
REMEMBERED: Final = 4  # phrases that may still be taken back
HEARTBEAT_S: Final = 0.05

_NOTE_ON = slice(alphabet.NOTE_ON, alphabet.NOTE_OFF)  # classes of the alphabet
_NOTE_OFF = slice(alphabet.NOTE_OFF, alphabet.TIME_SHIFT)
_SHIFT = slice(alphabet.TIME_SHIFT, alphabet.VELOCITY)
_VELOCITY = slice(alphabet.VELOCITY, alphabet.EVENTS)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class MusicianConfig:
    """Which model plays, how far its process steps back, and the seed of its phrases."""

    folder: Path
    nice: int = 5
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """All that the network knows of the music so far, up to the show sample `at`.

    `logits` (388,) tell what may come next; `state` is that of the network, in the manifest's order. No step
    writes into an earlier memory, so keeping one costs nothing.
    """

    logits: Array
    state: tuple[Array, ...]
    at: int = 0
    quiet_from: int = 0  # when a key last went down or up
    velocity: int = 0  # the last velocity event


class Network:
    """The LSTM, one event a step. Raise OSError or ValueError where the folder holds no musician."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime as ort  # here, since the main process imports this module, and not that one

        model = manifest.load(folder)
        if not isinstance(model, manifest.Musician):
            raise ValueError(f"{folder} holds a {model.kind}; a musician would be right")
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = model.path(model.step.file).read_bytes()  # bytes cannot name a second file
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._silence = tuple(np.zeros(model.step.inputs[name], np.float32) for name in model.step.state)
        self._outputs = [model.step.output, *model.step.state.values()]
        self._event, unasked = np.zeros(1, np.int64), conditions.columns(model.conditions)
        self._always = {"event": self._event} | ({"condition": unasked} if unasked.size else {})
        self._state = tuple(model.step.state)
        self.steps = self.errors = 0

    def fresh(self) -> Memory:
        """Return the memory of a second of silence before a note of middling velocity."""
        nothing = Memory(np.zeros(alphabet.EVENTS, np.float32), self._silence)
        silence = self._run(nothing, _SHIFT.stop - 1)
        memory = self._run(silence, alphabet.velocity_event(64))
        return replace(memory, logits=np.nan_to_num(memory.logits), at=0)

    def step(self, memory: Memory, event: int) -> Memory:
        """Return the memory after one more event; where that is no number, count it and begin anew."""
        after = self._run(memory, event)
        if not np.isfinite(after.logits).all():
            self.errors += 1
            return replace(self.fresh(), at=after.at, quiet_from=after.quiet_from)
        return after

    def _run(self, memory: Memory, event: int) -> Memory:
        self.steps += 1
        self._event[0] = event
        state = dict(zip(self._state, memory.state, strict=True))
        logits, *after = self._session.run(self._outputs, self._always | state)
        at, quiet_from, velocity = memory.at + _shift_samples(event), memory.quiet_from, memory.velocity
        if event < _NOTE_OFF.stop:
            quiet_from = at
        elif event >= _VELOCITY.start:
            velocity = event
        return Memory(logits[0], tuple(after), at, quiet_from, velocity)

    def pause(self, memory: Memory, until: int) -> Memory:
        """Return the memory moved on to `until`, in shifts of 10 ms."""
        for event in alphabet.shift_events(max(0, round((until - memory.at) / SHIFT_SAMPLES))):
            memory = self.step(memory, event)
        return memory

    def hear(self, memory: Memory, sample: int, on: bool, note: int, velocity: float) -> Memory:
        """Return the memory after a key of the performer's went down or up."""
        memory = replace(memory, at=max(memory.at, sample - HEARD_GAP_SAMPLES))
        memory = self.pause(memory, sample)
        if not on:
            return self.step(memory, _NOTE_OFF.start + note)
        loudness = alphabet.velocity_event(round(velocity * 127))
        if loudness != memory.velocity:
            memory = self.step(memory, loudness)
        return self.step(memory, _NOTE_ON.start + note)


def _shift_samples(event: int) -> int:
    """Return by how much an event moves the time on: not at all unless it is a time shift."""
    return alphabet.shift_steps(event) * SHIFT_SAMPLES if _SHIFT.start <= event < _SHIFT.stop else 0


# What may come next is a small grammar laid over the network's wishes, so that the result is music whatever
# it has learnt: a key that is down cannot go down again, one that is up cannot go up, a velocity is not
# followed by another, hands have so many fingers, and a rest ends. The phrase ends at its last sample
# whatever the network would do next: keys that are still down are let go there, and the network is told
# so. It therefore knows what was heard, and each note's length is known with the note.
def compose(
    network: Network, memory: Memory, end: int, temperature: float, rng: np.random.Generator
) -> tuple[list[PhraseNote], Memory]:
    """Return the notes from `memory.at` to the show sample `end` in the order of their starts.

    The memory that comes with them is the one at `end`.
    """
    seconds = (end - memory.at) / SAMPLE_RATE
    most_notes, most_steps = int(NOTES_PER_S * seconds) + 1, min(STEPS, int(STEPS_PER_S * seconds) + 16)
    allowed = np.ones(alphabet.EVENTS, np.bool_)
    allowed[_NOTE_OFF] = False
    down: dict[int, tuple[int, int]] = {}  # note: the sample that it began at, its velocity event
    notes: list[PhraseNote] = []
    errors = network.errors
    for _ in range(most_steps):
        room = len(down) < POLYPHONY and len(notes) + len(down) < most_notes
        allowed[_NOTE_ON] = room
        allowed[list(down)] = False
        allowed[_SHIFT] = bool(down) or not room or memory.at - memory.quiet_from < REST_SAMPLES
        event = draw(np.where(allowed, memory.logits, -np.inf), temperature, TOP_P, rng.random())
        if memory.at + _shift_samples(event) >= end:
            break
        memory = network.step(memory, event)
        if network.errors > errors:
            return [], memory  # what it knew is gone: this phrase is silent, the next one starts anew
        allowed[_VELOCITY] = event < _VELOCITY.start
        if event < _NOTE_ON.stop:
            down[event] = memory.at, memory.velocity
            allowed[_NOTE_OFF.start + event] = True
        elif event < _NOTE_OFF.stop:
            notes.append(_note(event - _NOTE_OFF.start, *down.pop(event - _NOTE_OFF.start), memory.at))
            allowed[event] = False
    memory = replace(network.pause(memory, end), at=end)
    for note in sorted(down):
        notes.append(_note(note, *down[note], end))
        memory = network.step(memory, _NOTE_OFF.start + note)
    return sorted(notes, key=lambda note: (note.tick, note.offset, note.note)), memory


def _note(note: int, begin: int, velocity: int, end: int) -> PhraseNote:
    tick, offset = divmod(begin, TICK_SAMPLES)
    length_ticks = round(min(max(end - begin, SHORTEST_SAMPLES), LONGEST_SAMPLES) / TICK_SAMPLES)
    return PhraseNote(tick, offset, note, alphabet.velocity_of(velocity) / 127, length_ticks)


# A phrase is promised ahead of its time, so that the performer may come in before it is heard. A phrase
# continues whatever came last, the performer's note or the phrase before. When the performer comes in,
# phrases that have not begun are taken back: the musician forgets them, as nobody will hear them. One that
# has begun stays in its memory whole.
class Musician:
    """The musician's place in the music: what it has heard and what it has promised."""

    def __init__(self, network: Network, seed: int) -> None:
        self._network, self._seed = network, seed
        self._memory = network.fresh()
        self._promised: deque[tuple[int, Memory]] = deque(maxlen=REMEMBERED)  # start, memory before it

    def hear(self, sample: int, on: bool, note: int, velocity: float) -> None:
        """The performer's key `note` goes down or up at a show sample."""
        if on:
            self._take_back(sample)
        self._memory = self._network.hear(self._memory, sample, on, note, velocity)

    def answer(self, request: int, start: int, end: int, temperature: float) -> list[PhraseNote]:
        """Return a phrase from one show sample to another, the same for the same past, seed and request."""
        self._take_back(start)
        before = self._memory
        breath = replace(before, at=min(max(before.at, start - ENTRY_SAMPLES), start))
        memory = replace(self._network.pause(breath, start), at=start)
        rng = np.random.default_rng((self._seed & 0xFFFF_FFFF_FFFF_FFFF, request))
        notes, self._memory = compose(self._network, memory, end, temperature, rng)
        self._promised.append((start, before))
        return notes

    def _take_back(self, sample: int) -> None:
        while self._promised and self._promised[-1][0] >= sample:
            _, self._memory = self._promised.pop()


def generate(folder: Path, seconds: float, temperature: float = 0.95, seed: int = 0) -> list[PhraseNote]:
    """Return what the musician plays on its own for so long, from show sample 0, two seconds a phrase."""
    musician, phrase, end = Musician(Network(folder), seed), 2 * SAMPLE_RATE, round(seconds * SAMPLE_RATE)
    notes: list[PhraseNote] = []
    for request, start in enumerate(range(0, end, phrase), 1):
        notes += musician.answer(request, start, min(start + phrase, end), temperature)
    return notes


def run(link: MusicianLink, config: MusicianConfig) -> None:
    """Hear and answer until told to stop, or until the parent process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    board, parent = link.board, parent_process()
    with suppress(OSError):
        os.nice(config.nice)
    try:
        network = Network(config.folder)
    except (OSError, ValueError, RuntimeError) as error:
        board.add("errors")
        raise SystemExit(f"musician: {error}") from error
    musician = Musician(network, config.seed)
    gc.freeze()  # the collector need not walk what stays
    errors = 0  # beside the network's own
    board["ready"] = 1.0
    while not board["stop"] and (parent is None or parent.is_alive()):
        board["heartbeat_us"] = monotonic_us()
        link.heard.wait(HEARTBEAT_S)
        for record in link.heard.pop_all():
            begin_us, steps = monotonic_us(), network.steps
            try:
                _take(musician, link, record)
            except Exception:  # on stage nothing raises: the note is lost, the show goes on
                errors += 1
            board["step_us"] = (monotonic_us() - begin_us) / max(network.steps - steps, 1)
            board["errors"] = errors + network.errors


def _take(musician: Musician, link: MusicianLink, record: tuple[Any, ...]) -> None:
    tick, offset, kind, note, value, request, end_tick, temperature = record
    sample = tick * TICK_SAMPLES + offset
    if kind != HEARD_REQUEST:
        musician.hear(sample, kind == HEARD_NOTE_ON, note, value)
        return
    try:
        for planned in musician.answer(request, sample, end_tick * TICK_SAMPLES, temperature):
            link.phrases.push(
                request, planned.tick, planned.offset, planned.note, planned.velocity, planned.length_ticks
            )
    finally:  # a phrase always ends
        link.phrases.push(request, tick, offset, -1, 0.0, 0)
        link.board.add("phrases")
