"""The musician: a recurrent network over musical events that hears the performer and answers with phrases.

It runs in a process of its own; `generate` is the same code without one.
"""

import gc
import os
import signal
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.clock import monotonic_us
from engine.core.events import PhraseNote
from engine.core.harmony import CLOSEST, FARTHEST, VOICES
from engine.core.jobs import Ask, Heard
from engine.core.scale import ALL
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES
from engine.workers.links import (
    PLAYED_ANSWER,
    PLAYED_ANSWERS,
    PLAYED_NOTE,
    PLAYED_PHRASE,
    MusicianLink,
    unpack_heard,
)
from models import alphabet, conditions, manifest
from models.sampling import draw

NOTES_PER_S: Final = 64  # more than two hands play
STEPS_PER_S: Final = 300  # with the next line, what a phrase may cost: at most 60 ms at 120 us a step
STEPS: Final = 512
POLYPHONY: Final = 16
HEARD_GAP_SAMPLES: Final = 2 * SAMPLE_RATE  # a longer silence of the performer counts as this
ENTRY_SAMPLES: Final = SAMPLE_RATE // 2  # the breath before it comes in, as it knows it
REST_SAMPLES: Final = SAMPLE_RATE  # the longest rest that it may take
SHORTEST_SAMPLES: Final = SAMPLE_RATE // 50
LONGEST_SAMPLES: Final = 4 * SAMPLE_RATE
STROKE_SAMPLES: Final = SAMPLE_RATE // 10  # length of the notes of a musician that does not say when they end
DENSITY_SAMPLES: Final = 2 * SAMPLE_RATE  # a wished density is kept over so long
REMEMBERED: Final = 512  # moments that may still be gone back to
SOONEST_SAMPLES: Final = SAMPLE_RATE // 10  # between two notes of the performer, as far as answers expect
HEARTBEAT_S: Final = 0.05

_NOTE_ON = slice(alphabet.NOTE_ON, alphabet.NOTE_OFF)  # classes of the alphabet
_NOTE_OFF = slice(alphabet.NOTE_OFF, alphabet.TIME_SHIFT)
_SHIFT = slice(alphabet.TIME_SHIFT, alphabet.VELOCITY)
_VELOCITY = slice(alphabet.VELOCITY, alphabet.EVENTS)
_DRUM_CHANNEL = 10

Array = NDArray[np.float32]


def plain(request: int, start_tick: int, end_tick: int, temperature: float = 0.95) -> Ask:
    """Return a wish for a phrase between two ticks, and for nothing in particular."""
    return Ask(
        request,
        start_tick,
        end_tick,
        False,
        temperature,
        0.95,
        0.0,
        0.0,
        0,
        127,
        ALL,
        0.0,
        120.0,
        (0.0,) * 12,
    )


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
    at: float = 0.0
    quiet_from: float = 0.0  # when a key last went down or up
    velocity: int = 0  # the last velocity event


class Network:
    """The network, one event a step. Raise OSError or ValueError where the folder holds no musician."""

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
        self._event, self._condition = np.zeros(1, np.int64), conditions.columns(model.conditions)
        self._always = {"event": self._event} | (
            {"condition": self._condition} if model.conditions.width else {}
        )
        self._state = tuple(model.step.state)
        self._phases = slice(0)  # of the columns that follow the beat
        if model.conditions.bar_beats:
            begin = len(model.conditions.densities) + 12 * model.conditions.pitch_classes
            self._phases = slice(begin, begin + 4)
        self.model = model
        self._asked: Ask | None = None
        self.shift_samples = SAMPLE_RATE * model.time_shift_ms / 1000.0
        self.steps = self.errors = 0

    def wish(self, ask: Ask | None) -> None:
        """Take up the conditions and the tempo of what is asked for; they hold until the next wish."""
        self._asked, layout = ask, self.model.conditions
        if ask is None:
            self._condition[:] = 0.0
            return
        styles = [max(1.0 - abs(ask.style - number), 0.0) for number, _ in enumerate(layout.styles, 1)]
        self._condition[:] = conditions.columns(
            layout, ask.density or None, ask.pitch_classes, ask.beat, styles
        )
        if self.model.bpm is not None:  # its time is that of the beat
            self.shift_samples = SAMPLE_RATE * self.model.time_shift_ms / 1000.0 * self.model.bpm / ask.bpm

    def fresh(self) -> Memory:
        """Return the memory of a second of silence before a note of middling velocity."""
        nothing = Memory(np.zeros(alphabet.EVENTS, np.float32), self._silence)
        silence = self._run(nothing, _SHIFT.stop - 1)
        memory = self._run(silence, alphabet.velocity_event(64))
        return replace(memory, logits=np.nan_to_num(memory.logits), at=0.0)

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
        at, quiet_from, velocity = memory.at + self.shifts(event), memory.quiet_from, memory.velocity
        if self._asked is not None and self._phases.stop:
            since = at - self._asked.start_tick * TICK_SAMPLES
            beat = self._asked.beat + since * self._asked.bpm / (60.0 * SAMPLE_RATE)
            self._condition[0, self._phases] = conditions.phases(self.model.conditions.bar_beats, beat)
        state = dict(zip(self._state, memory.state, strict=True))
        logits, *after = self._session.run(self._outputs, self._always | state)
        if event < _NOTE_OFF.stop:
            quiet_from = at
        elif event >= _VELOCITY.start:
            velocity = event
        return Memory(logits[0], tuple(after), at, quiet_from, velocity)

    def shifts(self, event: int) -> float:
        """Return by how many samples an event moves the time on: not at all unless it is a time shift."""
        return (
            alphabet.shift_steps(event) * self.shift_samples if _SHIFT.start <= event < _SHIFT.stop else 0.0
        )

    def pause(self, memory: Memory, until: float) -> Memory:
        """Return the memory moved on to `until`, in steps of the alphabet's time."""
        for event in alphabet.shift_events(max(0, round((until - memory.at) / self.shift_samples))):
            memory = self.step(memory, event)
        return memory

    def hear(self, memory: Memory, sample: float, event: int, velocity: int) -> Memory:
        """Return the memory after a key went down or up (`event`), with the class of its velocity."""
        memory = replace(memory, at=max(memory.at, sample - HEARD_GAP_SAMPLES))
        memory = self.pause(memory, sample)
        if event < _NOTE_ON.stop and velocity != memory.velocity:
            memory = self.step(memory, velocity)
        if event >= _NOTE_OFF.start and not self.model.note_offs:
            return memory
        return self.step(memory, event)


@dataclass(slots=True)
class Moment:
    """A key goes down or up (`event`, -1: neither) at a show sample; `memory` is the one after, if known."""

    at: float
    event: int
    velocity: int
    own: bool
    memory: Memory | None = None

    @property
    def strikes(self) -> bool:
        """Tell whether a key goes down."""
        return 0 <= self.event < _NOTE_ON.stop


# What may come next is a small grammar laid over the network's wishes, so that the result is music whatever
# it has learnt: a key that is down cannot go down again, one that is up cannot go up, a velocity is not
# followed by another, hands have so many fingers, and a rest ends. Only notes within the register and the
# scale that are asked for can go down. The phrase ends at its last sample whatever the network would do
# next: keys that are still down are let go there, and the network is told so. It therefore knows what was
# heard, and each note's length is known with the note.
def compose(
    network: Network, memory: Memory, ask: Ask, rng: np.random.Generator, struck: Sequence[float] = ()
) -> tuple[list[PhraseNote], list[Moment]]:
    """Return the notes from `memory.at` to the end of what is asked for, in the order of their starts.

    The moments that come with them are those notes as the network knows them. `struck` are the samples, in
    order, at which it struck keys before.
    """
    end, may = ask.end_tick * TICK_SAMPLES, playable(network.model, ask)
    seconds = (end - memory.at) / SAMPLE_RATE
    most_notes, most_steps = int(NOTES_PER_S * seconds) + 1, min(STEPS, int(STEPS_PER_S * seconds) + 16)
    allowed, strokes = may.copy(), list(struck)
    most_strokes = max(1, round(ask.density * DENSITY_SAMPLES / SAMPLE_RATE)) if ask.density else most_notes
    allowed[_NOTE_OFF] = False
    down: dict[int, tuple[float, int]] = {}  # note: the sample that it began at, its velocity event
    notes: list[PhraseNote] = []
    moments: list[Moment] = []
    errors = network.errors
    for _ in range(most_steps):
        recent = len(strokes) - bisect_left(strokes, memory.at - DENSITY_SAMPLES)
        room = len(down) < POLYPHONY and len(notes) + len(down) < most_notes and recent < most_strokes
        allowed[_NOTE_ON] = may[_NOTE_ON] if room else False
        allowed[list(down)] = False
        allowed[_SHIFT] = (
            bool(down) or not allowed[_NOTE_ON].any() or memory.at - memory.quiet_from < REST_SAMPLES
        )
        event = draw(np.where(allowed, memory.logits, -np.inf), ask.temperature, ask.top_p, rng.random())
        if memory.at + network.shifts(event) >= end:
            break
        memory = network.step(memory, event)
        if network.errors > errors:
            return [], [Moment(end, -1, 0, True, replace(memory, at=end))]  # what it knew is gone: a rest
        allowed[_VELOCITY] = event < _VELOCITY.start
        if event < _NOTE_OFF.stop:
            moments.append(Moment(memory.at, event, memory.velocity, True, memory))
        if event < _NOTE_ON.stop:
            down[event] = memory.at, memory.velocity
            strokes.append(memory.at)
            allowed[_NOTE_OFF.start + event] = network.model.note_offs
        elif event < _NOTE_OFF.stop:
            notes.append(_note(event - _NOTE_OFF.start, *down.pop(event - _NOTE_OFF.start), memory.at))
            allowed[event] = False
        elif event < _SHIFT.stop and not network.model.note_offs:
            notes += (_note(note, *stroke, stroke[0] + STROKE_SAMPLES) for note, stroke in down.items())
            down.clear()
    memory = replace(network.pause(memory, end), at=float(end))
    for note in sorted(down):
        notes.append(
            _note(note, *down[note], end if network.model.note_offs else down[note][0] + STROKE_SAMPLES)
        )
        if network.model.note_offs:
            memory = network.step(memory, _NOTE_OFF.start + note)
            moments.append(Moment(end, _NOTE_OFF.start + note, memory.velocity, True, memory))
    return sorted(notes, key=lambda note: (note.tick, note.offset, note.note)), moments


def playable(model: manifest.Musician, ask: Ask) -> NDArray[np.bool_]:
    """Return which classes may be drawn, (388,): of the notes those that it knows and that are asked for."""
    may = np.ones(alphabet.EVENTS, np.bool_)
    may[_NOTE_ON] = False
    drums = model.channel == _DRUM_CHANNEL
    for note in model.notes:
        may[note] = drums or (ask.low <= note <= ask.high and ask.scale >> note % 12 & 1)
    return may


def _note(note: int, begin: float, velocity: int, end: float) -> PhraseNote:
    tick, offset = divmod(round(begin), TICK_SAMPLES)
    length_ticks = round(min(max(end - begin, SHORTEST_SAMPLES), LONGEST_SAMPLES) / TICK_SAMPLES)
    return PhraseNote(tick, offset, note, alphabet.velocity_of(velocity) / 127, length_ticks)


# A phrase is promised ahead of its time, so that the performer may come in before it is heard. What both
# have played, and what is promised, is one row of moments in the order of time, each with the memory after
# it. A note of the performer's comes in at its place: the memories of what is promised after it are stale
# from then on, and are made anew on the way to the next phrase. A phrase that begins in the midst of what
# was promised takes the place of all that was to follow.
class Musician:
    """The musician's place in the music: what it has heard and what it has promised."""

    def __init__(self, network: Network, seed: int) -> None:
        self._network, self._seed = network, seed
        self._moments: list[Moment] = [Moment(0.0, -1, 0, False, network.fresh())]
        self._heard_at = self._reach = 0.0  # the performer's last key; how far ahead of it a phrase began

    @property
    def channel(self) -> int:
        """The MIDI channel that its notes are for."""
        return self._network.model.channel

    def hear(self, heard: Heard) -> None:
        """Take in a key of the performer's, where it is of the musician's own kind: a drummer hears drums."""
        model = self._network.model
        if heard.drum != (model.channel == _DRUM_CHANNEL) or heard.note not in model.notes:
            return
        event = heard.note if heard.on else _NOTE_OFF.start + heard.note
        velocity = alphabet.velocity_event(round(heard.velocity * 127))
        at = max(float(heard.sample), self._moments[0].at)
        place = bisect_right(self._moments, at, key=lambda moment: moment.at)
        for later in self._moments[place:]:
            later.memory = None
        self._moments.insert(place, Moment(at, event, velocity, False))
        self._heard_at = at
        self._memory(at)
        self._forget()

    def prepare(self) -> None:
        """Make memories anew as far as the next phrase will want them, before it is asked for."""
        self._memory(self._heard_at + self._reach)

    def answer(self, ask: Ask) -> list[PhraseNote]:
        """Return the phrase that is asked for, the same for the same past, seed and request."""
        start = ask.start_tick * TICK_SAMPLES
        self._reach = min(max(start - self._heard_at, 0.0), HEARD_GAP_SAMPLES)
        self._take_back(start)
        self._network.wish(ask)
        before, goes_on = self._memory(start), self._moments[-1].own
        longest = HEARD_GAP_SAMPLES if goes_on else ENTRY_SAMPLES
        breath = replace(before, at=min(max(before.at, start - longest), start))
        memory = replace(self._network.pause(breath, start), at=float(start))
        struck = [moment.at for moment in self._moments if moment.own and moment.strikes]
        notes, moments = compose(self._network, memory, ask, self._chance(ask), struck)
        self._moments += moments
        self._forget()
        return notes

    def answers(self, ask: Ask) -> list[list[int]]:
        """Return, for each pitch class that the performer may play next, semitones under it to sing.

        The network is told of the note and asked what goes with it, note by note, before any time passes.
        """
        network, rng = self._network, self._chance(ask)
        network.wish(ask)
        last = next((m for m in reversed(self._moments) if m.strikes and not m.own), None)
        memory = self._memory(self._moments[-1].at)
        memory = network.pause(memory, memory.at + SOONEST_SAMPLES)
        near, velocity = (last.event, last.velocity) if last else (72, memory.velocity)
        return [self._under(memory, near + (n - near + 6) % 12 - 6, velocity, ask, rng) for n in range(12)]

    def _under(
        self, memory: Memory, note: int, velocity: int, ask: Ask, rng: np.random.Generator
    ) -> list[int]:
        network, steps = self._network, list[int]()
        note = min(max(note, FARTHEST), 127)
        may = playable(network.model, replace(ask, low=note - FARTHEST, high=note - CLOSEST))
        may[_NOTE_ON.stop :] = False
        memory = network.hear(memory, memory.at, note, velocity)
        while may.any() and len(steps) < VOICES:
            under = draw(np.where(may, memory.logits, -np.inf), ask.temperature, ask.top_p, rng.random())
            steps.append(note - under)
            may[max(under - CLOSEST + 1, 0) : under + CLOSEST] = False  # no seconds
            if len(steps) < VOICES:
                memory = network.step(memory, under)
        return sorted(steps)

    def _chance(self, ask: Ask) -> np.random.Generator:
        return np.random.default_rng((self._seed & 0xFFFF_FFFF_FFFF_FFFF, ask.request, int(ask.answers)))

    def _memory(self, sample: float) -> Memory:
        """Return the memory at a sample; what is stale before it is made anew."""
        place = bisect_right(self._moments, sample, key=lambda moment: moment.at)
        known = max(place - 1, 0)
        while self._moments[known].memory is None:
            known -= 1
        memory = self._moments[known].memory
        assert memory is not None
        for moment in self._moments[known + 1 : place]:
            if moment.event >= 0:
                memory = self._network.hear(memory, moment.at, moment.event, moment.velocity)
            moment.memory = memory
        return memory

    def _take_back(self, start: float) -> None:
        """Forget what was promised from a sample on; keys that are down there are let go."""
        place = bisect_right(self._moments, start - 0.5, key=lambda moment: moment.at)
        left, later = self._moments[:place], self._moments[place:]
        if not any(moment.own for moment in later):
            return
        kept, seen = list[Moment](), set[int]()
        for moment in later:
            note = moment.event % _NOTE_OFF.start
            if not moment.own:
                kept.append(replace(moment, memory=None))
            elif not moment.strikes and moment.event >= 0 and note not in seen:
                kept.append(replace(moment, at=start, memory=None))
            seen.add(note)
        self._moments = [*left, *sorted(kept, key=lambda moment: moment.at)]

    def _forget(self) -> None:
        """Let go of moments that nobody will go back to."""
        extra = len(self._moments) - REMEMBERED
        while extra > 0 and self._moments[extra].memory is None:
            extra -= 1
        if extra > 0:
            del self._moments[:extra]


def generate(folder: Path, seconds: float, temperature: float = 0.95, seed: int = 0) -> list[PhraseNote]:
    """Return what the musician plays on its own for so long, from show sample 0, two seconds a phrase."""
    musician, phrase = Musician(Network(folder), seed), 2 * SAMPLE_RATE // TICK_SAMPLES
    end, notes = round(seconds * SAMPLE_RATE / TICK_SAMPLES), list[PhraseNote]()
    for request, start in enumerate(range(0, end, phrase), 1):
        notes += musician.answer(plain(request, start, min(start + phrase, end), temperature))
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
        with suppress(Exception):  # it fails again, and is counted, when a phrase is asked for
            musician.prepare()


def _take(musician: Musician, link: MusicianLink, record: tuple[Any, ...]) -> None:
    job, played = unpack_heard(record), link.played
    if isinstance(job, Heard):
        musician.hear(job)
    elif job.answers:
        for pitch_class, steps in enumerate(musician.answers(job)):
            for step in steps:
                played.push(PLAYED_ANSWER, job.request, pitch_class, 0, step, 0.0, 0)
        played.push(PLAYED_ANSWERS, job.request, 0, 0, 0, 0.0, 0)
    else:
        try:
            for note in musician.answer(job):
                played.push(
                    PLAYED_NOTE,
                    job.request,
                    note.tick,
                    note.offset,
                    note.note,
                    note.velocity,
                    note.length_ticks,
                )
        finally:  # a phrase always ends
            played.push(PLAYED_PHRASE, job.request, 0, 0, musician.channel, 0.0, 0)
            link.board.add("phrases")
