"""The musician: a recurrent network over musical events that hears the performer and answers with phrases.

It runs in a process of its own; `generate` is the same code without one.
"""

import gc
import os
import signal
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil, isfinite
from multiprocessing import parent_process
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

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
from models.recurrence import Recurrence
from models.sampling import draw, likelihoods, pick

NOTES_PER_S: Final = 64  # more than two hands play
STEPS_PER_S: Final = 300  # with the next line, what a phrase may cost: at most 60 ms at 120 us a step
STEPS: Final = 512
TAIL_STEPS: Final = 16  # in which the keys that a phrase leaves down go up: one phrase in seven takes more
MOST_LIFT: Final = 1e6  # of what is left of a kind of event
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
FADING: Final = 0.9  # of how far ahead a phrase has begun, from phrase to phrase
HEARTBEAT_S: Final = 0.05

_NOTE_ON = slice(alphabet.NOTE_ON, alphabet.NOTE_OFF)  # classes of the alphabet
_NOTE_OFF = slice(alphabet.NOTE_OFF, alphabet.TIME_SHIFT)
_SHIFT = slice(alphabet.TIME_SHIFT, alphabet.VELOCITY)
_VELOCITY = slice(alphabet.VELOCITY, alphabet.EVENTS)
_KINDS = np.array([each.start for each in (_NOTE_ON, _NOTE_OFF, _SHIFT, _VELOCITY)])
_SHIFTS = 2  # place of the time shifts among the kinds
_KIND_OF = np.searchsorted(_KINDS, np.arange(alphabet.EVENTS), side="right") - 1  # (388,)
_DRUM_CHANNEL = 10

Array = NDArray[np.float32]


def plain(request: int, start_tick: int, end_tick: int, temperature: float = 1.0) -> Ask:
    """Return a wish for a phrase between two ticks, and for nothing in particular."""
    return Ask(
        request,
        start_tick,
        end_tick,
        False,
        temperature,
        0.99,
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


class Memory(NamedTuple):
    """All that the network knows of the music so far, up to the show sample `at`.

    `logits` (388,) tell what may come next; `state` (floats,) is that of the network. No step writes into an
    earlier memory, so keeping one costs nothing.
    """

    logits: Array
    state: Array
    at: float = 0.0
    quiet_from: float = 0.0  # when a key last went down or up
    velocity: int = 0  # the last velocity event


class Network:
    """The network, one event a step. Raise OSError or ValueError where the folder holds no musician."""

    def __init__(self, folder: Path) -> None:
        model = manifest.load(folder)
        if not isinstance(model, manifest.Musician):
            raise ValueError(f"{folder} holds a {model.kind}; a musician would be right")
        self.model = model
        self._recurrence = Recurrence(model)
        self._condition = self._recurrence.condition
        self._phases = slice(0)  # of the columns that follow the beat
        if model.conditions.bar_beats:
            begin = len(model.conditions.densities) + 12 * model.conditions.pitch_classes
            self._phases = slice(begin, begin + 4)
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
        nothing = Memory(np.zeros(alphabet.EVENTS, np.float32), self._recurrence.silence)
        silence = self._run(nothing, _SHIFT.stop - 1)
        memory = self._run(silence, alphabet.velocity_event(64))
        return memory._replace(logits=np.nan_to_num(memory.logits), at=0.0)

    def step(self, memory: Memory, event: int) -> Memory:
        """Return the memory after one more event; where that is no number, count it and begin anew."""
        after = self._run(memory, event)
        if not isfinite(after.logits[after.logits.argmax()]):  # what is no number counts as the greatest
            self.errors += 1
            return self.fresh()._replace(at=after.at, quiet_from=after.quiet_from)
        return after

    def _run(self, memory: Memory, event: int) -> Memory:
        self.steps += 1
        _, state, at, quiet_from, velocity = memory
        at += self.shifts(event)
        if self._asked is not None and self._phases.stop:
            since = at - self._asked.start_tick * TICK_SAMPLES
            beat = self._asked.beat + since * self._asked.bpm / (60.0 * SAMPLE_RATE)
            self._condition[0, self._phases] = conditions.phases(self.model.conditions.bar_beats, beat)
        if event < _NOTE_OFF.stop:
            quiet_from = at
        elif event >= _VELOCITY.start:
            velocity = event
        return Memory(*self._recurrence.step(event, state), at, quiet_from, velocity)

    def shifts(self, event: int) -> float:
        """Return by how many samples an event moves the time on: not at all unless it is a time shift."""
        return (
            alphabet.shift_steps(event) * self.shift_samples if _SHIFT.start <= event < _SHIFT.stop else 0.0
        )

    def shift_to(self, memory: Memory, sample: float) -> int:
        """Return the shortest time shift that reaches a later sample, were the alphabet long enough."""
        return _SHIFT.start + max(ceil((sample - memory.at) / self.shift_samples - 1e-6), 1) - 1

    def pause(self, memory: Memory, until: float) -> Memory:
        """Return the memory moved on to `until`, in steps of the alphabet's time."""
        for event in alphabet.shift_events(max(0, round((until - memory.at) / self.shift_samples))):
            memory = self.step(memory, event)
        return memory

    def hear(self, memory: Memory, sample: float, event: int, velocity: int) -> Memory:
        """Return the memory after a key went down or up (`event`), with the class of its velocity."""
        memory = memory._replace(at=max(memory.at, sample - HEARD_GAP_SAMPLES))
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
# followed by another, hands have so many fingers, no key stays down for ever, and a rest ends. Only notes
# within the register and the scale that are asked for can go down. No note begins after the phrase's last
# sample, but one that is down there rings on: from then on keys may only go up, until all have or have had
# time enough. Each note's length is thus known with the note. Those that ring on into a phrase end in it when
# they were promised to, and the network is told so: a shift of the time is cut short where a key has to go
# up. Where it goes on from before the phrase, a shift that leads into it comes first: nothing has happened
# until then.
def compose(
    network: Network,
    memory: Memory,
    ask: Ask,
    rng: np.random.Generator,
    struck: Sequence[float] = (),
    ringing: Mapping[int, float] = MappingProxyType({}),
) -> tuple[list[PhraseNote], list[Moment]]:
    """Return the notes from `memory.at` to the end of what is asked for, in the order of their starts.

    The moments that come with them are those notes as the network knows them. `struck` are the samples, in
    order, at which it struck keys before; `ringing` are the keys that are down, each with the sample of its
    end.
    """
    start, end = ask.start_tick * TICK_SAMPLES, ask.end_tick * TICK_SAMPLES
    seconds, note_offs = (end - start) / SAMPLE_RATE, network.model.note_offs
    most_notes, most_steps = int(NOTES_PER_S * seconds) + 1, min(STEPS, int(STEPS_PER_S * seconds) + 16)
    most_strokes = max(1, round(ask.density * DENSITY_SAMPLES / SAMPLE_RATE)) if ask.density else most_notes
    may, kinds = playable(network.model, ask), (True,) * 4
    allowed, strokes = may.copy(), list(struck)
    allowed[_NOTE_OFF] = allowed[list(ringing)] = 0.0
    down: dict[int, tuple[float, int]] = {}  # note: the sample that it began at, its velocity event
    until = dict(ringing)  # note: the sample by which it goes up, of all that are down
    notes: list[PhraseNote] = []
    moments: list[Moment] = []
    errors, tail, loud = network.errors, 0, False  # its last event was a velocity

    def let_go(note: int, at: float, known: Memory | None) -> None:
        moments.append(Moment(at, _NOTE_OFF.start + note, memory.velocity, True, known))
        del until[note]
        allowed[note], allowed[_NOTE_OFF.start + note] = may[note], 0.0
        if note in down:
            notes.append(_note(note, *down.pop(note), at))

    def strokes_end() -> None:
        """Note what it struck, where it does not say when that ends."""
        for note, stroke in down.items():
            notes.append(_note(note, *stroke, stroke[0] + STROKE_SAMPLES))
            allowed[note] = may[note]
        down.clear()
        until.clear()

    for _ in range(most_steps):
        due = min(until.values(), default=np.inf)
        if due <= memory.at:
            note = next(note for note, at in until.items() if at == due)
            memory = network.step(memory, _NOTE_OFF.start + note)
            let_go(note, due, memory)
            loud = False
            continue
        may_come = allowed
        rest_ends = max(memory.at, start) - memory.quiet_from >= REST_SAMPLES and not until
        if memory.at < start:
            soonest = min(network.shift_to(memory, start), _SHIFT.stop - 1)
            may_come = np.zeros_like(allowed)
            may_come[soonest : soonest + 1 if rest_ends else _SHIFT.stop] = 1.0
        elif memory.at < end:
            recent = len(strokes) - bisect_left(strokes, memory.at - DENSITY_SAMPLES)
            room = (
                len(until) < POLYPHONY and len(strokes) - len(struck) < most_notes and recent < most_strokes
            )
            may_strike = room and bool(allowed[_NOTE_ON].any())
            kinds = may_strike, True, not (rest_ends and may_strike), may_strike and not loud
        weights = within(likelihoods(memory.logits), may_come, kinds)
        if ask.temperature != 1.0:
            weights = (weights / weights.max()) ** (1.0 / max(ask.temperature, 1e-3))
        event = pick(weights, ask.top_p, rng.random())
        if memory.at + network.shifts(event) >= end and not down:
            break
        if event >= _SHIFT.start and memory.at + network.shifts(event) > due:
            event = network.shift_to(memory, due)
        memory = network.step(memory, event)
        if network.errors > errors:
            return [], [Moment(end, -1, 0, True, memory._replace(at=end))]  # what it knew is gone: a rest
        loud = event >= _VELOCITY.start
        if event < _NOTE_ON.stop:
            moments.append(Moment(memory.at, event, memory.velocity, True, memory))
            down[event] = memory.at, memory.velocity
            until[event] = memory.at + LONGEST_SAMPLES
            strokes.append(memory.at)
            allowed[event], allowed[_NOTE_OFF.start + event] = 0.0, note_offs
        elif event < _NOTE_OFF.stop:
            let_go(event - _NOTE_OFF.start, memory.at, memory)
        elif event < _SHIFT.stop and not note_offs:
            strokes_end()
        if memory.at >= end:
            kinds = False, True, True, False  # from here on keys only go up
            tail += 1
            if not down or tail > TAIL_STEPS:
                break
    last = max(memory.at, end)
    if not note_offs:
        strokes_end()
    for note, at in sorted(until.items(), key=lambda each: each[1]):
        let_go(note, at if note not in down else min(at, last), None)
    moments.sort(key=lambda moment: moment.at)
    return sorted(notes, key=lambda note: (note.tick, note.offset, note.note)), moments


# What the grammar forbids is one key, and seldom the gesture: a network that wants to let go of a key which
# it remembers wrongly does want to let go of one, and one that is kept to a scale is not to play less. Each
# kind of event therefore keeps the share that the network gives it, as long as any event of it is allowed;
# where none is, since all keys that are down go up in their time, say, it waits instead. Without this the
# share of what is forbidden falls to the other kinds, and it played twice the notes of those it learnt from.
def within(weights: Array, allowed: Array, kinds: tuple[bool, ...]) -> Array:
    """Return weights (388,) of the events that are `allowed` (388,), each 1 or 0, and of a kind that is (4,).

    The likelihood of each kind of event stays as it was.
    """
    left = weights * allowed
    shares = np.add.reduceat(weights, _KINDS).tolist()
    kept = [
        sum_ if may else 0.0 for sum_, may in zip(np.add.reduceat(left, _KINDS).tolist(), kinds, strict=True)
    ]
    shares[_SHIFTS] += sum([share for share, sum_ in zip(shares, kept, strict=True) if not sum_])
    lifts = [min(share / sum_, MOST_LIFT) if sum_ else 0.0 for share, sum_ in zip(shares, kept, strict=True)]
    if not any(lifts):  # none of them is to be thought of: one is as good as another
        left, lifts = allowed, [float(may) for may in kinds]
    return left * np.array(lifts, np.float32)[_KIND_OF]


def playable(model: manifest.Musician, ask: Ask) -> Array:
    """Return which classes may be drawn, (388,), each 1 or 0: of notes those it knows and is asked for."""
    may = np.ones(alphabet.EVENTS, np.float32)
    may[_NOTE_ON] = 0.0
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
        self._reach = min(max(start - self._heard_at, FADING * self._reach), HEARD_GAP_SAMPLES)
        ringing = self._take_back(start)
        self._network.wish(ask)
        struck = [moment.at for moment in self._moments if moment.own and moment.strikes]
        goes_on = bool(struck) and struck[-1] >= start - HEARD_GAP_SAMPLES
        before, longest = self._memory(start), HEARD_GAP_SAMPLES if goes_on else ENTRY_SAMPLES
        memory = before._replace(at=float(min(max(before.at, start - longest), start)))
        if not goes_on:
            memory = self._network.pause(memory, start)._replace(at=float(start))
        notes, moments = compose(self._network, memory, ask, self._chance(ask), struck, ringing)
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
        may[_NOTE_ON.stop :] = 0.0
        memory = network.hear(memory, memory.at, note, velocity)
        while may.any() and len(steps) < VOICES:
            wishes = np.where(may > 0.0, memory.logits, -np.inf)
            under = draw(wishes, ask.temperature, ask.top_p, rng.random())
            steps.append(note - under)
            may[max(under - CLOSEST + 1, 0) : under + CLOSEST] = 0.0  # no seconds
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

    def _take_back(self, start: float) -> dict[int, float]:
        """Forget what was promised from a sample on; return the keys that are down there, with their ends."""
        place = bisect_right(self._moments, start - 0.5, key=lambda moment: moment.at)
        left, later = self._moments[:place], self._moments[place:]
        if not any(moment.own for moment in later):
            return {}
        ringing, seen = dict[int, float](), set[int]()
        for moment in later:
            note = moment.event % _NOTE_OFF.start
            if moment.own and moment.event >= _NOTE_OFF.start and note not in seen:
                ringing[note] = moment.at
            seen |= {note} if moment.own else set()
        self._moments = [*left, *(replace(moment, memory=None) for moment in later if not moment.own)]
        return ringing

    def _forget(self) -> None:
        """Let go of moments that nobody will go back to."""
        extra = len(self._moments) - REMEMBERED
        while extra > 0 and self._moments[extra].memory is None:
            extra -= 1
        if extra > 0:
            del self._moments[:extra]


def generate(folder: Path, seconds: float, temperature: float = 1.0, seed: int = 0) -> list[PhraseNote]:
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
