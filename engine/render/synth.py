"""The synth: sound events to blocks of samples."""

from dataclasses import dataclass
from itertools import accumulate
from math import pi
from operator import attrgetter
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INSTRUMENTS
from engine.core.units import SAMPLE_RATE
from engine.render.instruments import DRUMS, PATCHES, drum_tables
from engine.render.mastering import BRIGHTNESS, CHUNK, SMOOTH_S, Mastering, smoothing

_SPARE: Final = 48  # further rows in which stolen voices die away
_HITS: Final = 24  # drums sounding at once
LANES: Final = 64  # the core makes no more (engine/core/music.py); others fold onto these
_STEAL_S: Final = 0.003  # time constant of a stolen voice and of a choked drum: no click, no overlap heard
_SILENT: Final = 3e-6  # -110 dB: a voice as quiet as that is over
_NOTHING: Final = 1e-9  # an envelope as low as that is 0: denormal numbers would cost a hundred times more
_TURN: Final = 2.0 * pi
_NYQUIST: Final = 0.45 * _TURN  # partials are kept below this, radians a sample
_SWAY_HZ: Final = 4.8  # of the tremolo
_STEP: Final = 16  # envelopes are products of a coarse and a fine power, so many samples apart

# A voice's numbers are one column of one table, so that one operation fetches all of them. First what moves:
# the six envelopes, each falling by its own rate: attack (1 minus it is heard), release, levels of both
# pairs, indices of both pairs; what is smoothed; the phases. Then what stands still between two events.
_ATTACK, _RELEASE, _LEVEL, _INDEX, _ENVELOPES = 0, 1, slice(2, 4), slice(4, 6), 6
_GAIN, _BRIGHT, _BEND, _SMOOTHED = 0, 1, 2, 3
_SIZES: Final = {
    "envelope": _ENVELOPES, "control": _SMOOTHED, "phase": 2,  # radians
    "rate": _ENVELOPES,  # of the envelopes' fall, a sample
    "target": _SMOOTHED,  # where the controls are going
    "increment": 2,  # radians a sample, unbent
    "carrier": 2, "modulator": 2,
    "index": 4, "level": 4,  # of both pairs what stays, and of both what falls
    "room": 2,  # the largest index whose partials stay below _NYQUIST
    "pan": 6,  # left, right and tremolo, of both pairs
}  # fmt: skip
_ENDS: Final = tuple(accumulate(_SIZES.values()))
_CELLS: Final = {name: slice(end - _SIZES[name], end) for name, end in zip(_SIZES, _ENDS, strict=True)}
_INDEX_STAYS, _INDEX_FALLS, _LEVEL_STAYS, _LEVEL_FALLS = (
    slice(begin, begin + 2)
    for name in ("index", "level")
    for begin in (_CELLS[name].start, _CELLS[name].start + 2)
)
_MOVED: Final = _CELLS["phase"].stop
_SETTLED_S: Final = 24 * SMOOTH_S  # by then a control is within 1e-10 of its target


class Instrumentarium(Protocol):
    """What plays sound events: the built-in synth or a SoundFont."""

    @property
    def sounding(self) -> int:
        """How many voices sound now."""

    def apply(self, event: SoundEvent) -> None:
        """Let the event happen now, before the next sample. Never raises."""

    def play(self, out: NDArray[np.float32]) -> None:
        """Fill `out`, (frames, 2), with the sound before mastering."""

    def finish(self, out: NDArray[np.float32]) -> None:
        """Master, in place, what `play` has filled in since the last time."""


_Queued = TypeVar("_Queued", bound=SoundEvent)
_BY_SAMPLE = attrgetter("sample")


def render_block(
    synth: Instrumentarium, queue: list[_Queued], start_sample: float, out: NDArray[np.float32],
    rate: int = SAMPLE_RATE,
) -> list[tuple[int, _Queued]]:  # fmt: skip
    """Fill `out`, (frames, 2), whose first frame is heard at show sample `start_sample`.

    The block is split at each event of `queue`, so every note begins on its exact frame; one that is due
    before the block happens at its start. Events that have happened leave the queue and are returned with
    their frame, counted from the start of the block and negative where they came too late.
    """
    queue.sort(key=_BY_SAMPLE)  # stable: events of one sample keep the order in which they came
    scale = rate / SAMPLE_RATE
    done: list[tuple[int, _Queued]] = []
    played = finished = 0
    for event in queue:
        frame = round((event.sample - start_sample) * scale)
        if frame >= len(out):
            break
        if frame > played:
            synth.play(out[played:frame])
            played = frame
        if event.kind == SoundKind.LEVEL and played > finished:
            synth.finish(out[finished:played])
            finished = played
        synth.apply(event)
        done.append((frame, event))
    del queue[: len(done)]
    if played < len(out):
        synth.play(out[played:])
    synth.finish(out[finished:])
    return done


def _levels(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the levels of both pairs, (2, voices)."""
    return cells[_LEVEL_STAYS] + cells[_LEVEL_FALLS] * cells[_LEVEL]


@dataclass(slots=True)
class _Lane:
    """What one channel's wheels and pedal say now."""

    bend: float = 1.0  # ratio of frequencies
    pressure: float = 0.0
    timbre: float = 0.5
    pedal: bool = False


@dataclass(slots=True)
class _Hit:
    """A drum that sounds: the frame of its table that comes next, its gain, and what a choke has left."""

    note: int
    table: NDArray[np.float32]
    at: int
    gains: NDArray[np.float32]  # (2,)
    left: float = 1.0
    choked: bool = False


class Synth:
    """Phase modulation for all voices at once, and drums from tables made at the start.

    Nothing is stepped from sample to sample: envelopes are powers, smoothed controls geometric sums, and
    phases their integrals, all in closed form from the state at the segment's first sample. So a segment of
    any length costs a fixed number of array operations, and how the time is cut into blocks changes nothing
    but the last bits. Big arrays are taken once; the same events give the same samples.
    """

    def __init__(self, rate: int, voices: int = 48) -> None:
        self.rate, self.voices = rate, voices
        rows = voices + _SPARE
        self._mastering = Mastering(rate)
        self._fade = smoothing(rate, CHUNK)
        self._fade_sum = np.concatenate(([0.0], np.cumsum(self._fade[:-1], dtype=np.float64)))
        self._steps = np.arange(CHUNK + 1, dtype=np.float32)
        self._steal = 1.0 / (_STEAL_S * rate)
        self._steal_fade = np.exp(-self._steal * self._steps)
        self._sway, self._sway_step = 0.0, _TURN * _SWAY_HZ / rate
        self._sways = (self._sway_step * np.arange(CHUNK)).astype(np.float32)
        self._lanes = [_Lane() for _ in range(LANES)]
        self._born = 0
        self._settled_frames = round(_SETTLED_S * rate)
        self._moves = 0  # frames for which some control is still on its way

        self._alive = np.zeros(rows, bool)
        self._rows = np.flatnonzero(self._alive)  # those alive, kept beside
        self._held = np.zeros(rows, bool)  # the key is down
        self._pedalled = np.zeros(rows, bool)  # the key is up, the pedal holds the note
        self._dying = np.zeros(rows, bool)  # stolen
        self._lane = np.zeros(rows, np.int64)
        self._note = np.zeros(rows, np.int64)
        self._age = np.zeros(rows, np.int64)
        self._pressure = np.zeros(rows)
        self._velocity = np.zeros((2, rows))  # as gain and as index
        self._cells = np.zeros((_ENDS[-1], rows))
        (self._envelope, self._control, self._phase, self._rate, self._target, self._increment,
         self._carrier, self._modulator, self._room) = (
            self._cells[_CELLS[name]] for name in (
                "envelope", "control", "phase", "rate", "target", "increment", "carrier", "modulator", "room",
            )
        )  # fmt: skip
        self._index = self._cells[_CELLS["index"]].reshape(
            2, 2, rows
        )  # (what stays and what falls, pair, row)
        self._level = self._cells[_CELLS["level"]].reshape(2, 2, rows)  # the same
        self._pan = self._cells[_CELLS["pan"]].reshape(3, 2, rows)  # (left, right and tremolo, pair, row)
        self._release_rate = np.zeros(rows)
        self._fine = np.zeros((_ENVELOPES, rows, _STEP), np.float32)  # what is left after 0, 1, 2 ... samples
        self._coarse = np.zeros((_ENVELOPES, rows, -(-CHUNK // _STEP)))  # and after as many steps

        size = rows * CHUNK
        self._powers = np.zeros(_ENVELOPES * size, np.float32)
        self._angles = np.zeros(2 * size, np.float32)
        self._waves = np.zeros(2 * size, np.float32)
        self._hits: list[_Hit] = []
        self._drums = drum_tables(rate)
        self._kinds = {
            SoundKind.NOTE_ON: self._note_on,
            SoundKind.NOTE_OFF: self._note_off,
            SoundKind.BEND: self._bend,
            SoundKind.PRESSURE: self._press,
            SoundKind.TIMBRE: self._colour,
            SoundKind.SUSTAIN: self._sustain,
            SoundKind.RELEASE: self._release_lane,
            SoundKind.LEVEL: self._set_level,
        }

    @property
    def sounding(self) -> int:
        """How many voices sound now, drums included."""
        return int(np.count_nonzero(self._alive)) + len(self._hits)

    def apply(self, event: SoundEvent) -> None:
        """Let the event happen before the next sample."""
        self._kinds[event.kind](event, self._lanes[event.lane % LANES])

    def render(self, out: NDArray[np.float32]) -> None:
        """Fill `out`, (frames, 2), with mastered sound."""
        self.play(out)
        self.finish(out)

    def finish(self, out: NDArray[np.float32]) -> None:
        """Give `out`, (frames, 2), its volume, reverberation and limit."""
        self._mastering.process(out)

    def play(self, out: NDArray[np.float32]) -> None:
        """Fill `out`, (frames, 2), with the bare sound of the voices."""
        for start in range(0, len(out), CHUNK):
            chunk = out[start : start + CHUNK]
            chunk[:] = 0.0
            if self._rows.size:
                self._voices(self._rows, chunk)
            if self._hits:
                self._hit(chunk)
            self._sway = (self._sway + self._sway_step * len(chunk)) % _TURN
            if self._moves > 0:
                self._moves -= len(chunk)
                if self._moves <= 0:
                    self._control[:] = self._target

    # Events

    def _note_on(self, event: SoundEvent, lane: _Lane) -> None:
        name = INSTRUMENTS[event.instrument % len(INSTRUMENTS)]
        velocity = min(max(event.value, 0.0), 1.0)
        if name == "drums":
            self._strike(event.note, velocity)
            return
        again = self._held & (self._lane == event.lane) & (self._note == event.note)
        self._let_go(again)
        row = self._free_row()
        patch, rate = PATCHES[name], self.rate
        turns = _TURN * 440.0 / rate * 2.0 ** ((event.note - 69) / 12.0)
        decay = 2.0 ** ((event.note - 60) / patch.halving)  # higher notes fade sooner
        falls = [decay / (pair.decay_s * rate) for pair in patch.pairs]
        darkens = [decay / (pair.index_decay_s * rate) for pair in patch.pairs]
        self._rate[:, row] = (1.0 / (patch.attack_s * rate), 0.0, *falls, *darkens)
        self._tabulate(np.array([row]))
        self._envelope[:, row] = np.exp(-self._rate[:, row])  # the first sample is one step in, not silent
        self._release_rate[row] = 1.0 / (patch.release_s * rate)
        for pair, part in enumerate(patch.pairs):
            self._increment[pair, row] = turns * 2.0 ** (part.detune_cents / 1200.0)
            self._carrier[pair, row], self._modulator[pair, row] = part.carrier, part.modulator
            self._index[:, pair, row] = part.index * part.floor, part.index * (1.0 - part.floor)
            self._level[:, pair, row] = part.level * part.sustain, part.level * (1.0 - part.sustain)
            angle = (part.pan + 1.0) * np.pi / 4.0  # equal power
            self._pan[:, pair, row] = 1.4142 * np.cos(angle), 1.4142 * np.sin(angle), patch.tremolo
        self._phase[:, row] = self._increment[:, row] * lane.bend
        self._lane[row], self._note[row], self._age[row] = event.lane, event.note, self._born
        self._born += 1
        self._pressure[row] = 0.0
        self._velocity[:, row] = velocity**1.5, 1.0 - patch.touch * (1.0 - velocity)
        self._alive[row] = self._held[row] = True
        self._pedalled[row] = self._dying[row] = False
        self._aim(np.array([row]))
        self._control[:, row] = self._target[:, row]
        self._rows = np.flatnonzero(self._alive)

    def _note_off(self, event: SoundEvent, lane: _Lane) -> None:
        rows = self._held & (self._lane == event.lane) & (self._note == event.note)
        if lane.pedal:
            self._held &= ~rows
            self._pedalled |= rows
        else:
            self._let_go(rows)

    def _bend(self, event: SoundEvent, lane: _Lane) -> None:
        lane.bend = 2.0 ** (min(max(event.value, -96.0), 96.0) / 12.0)
        self._aim_lane(event.lane)

    def _press(self, event: SoundEvent, lane: _Lane) -> None:
        if event.note < 0:
            lane.pressure = event.value
        else:
            self._pressure[(self._lane == event.lane) & (self._note == event.note)] = event.value
        self._aim_lane(event.lane)

    def _colour(self, event: SoundEvent, lane: _Lane) -> None:
        lane.timbre = event.value
        self._aim_lane(event.lane)

    def _sustain(self, event: SoundEvent, lane: _Lane) -> None:
        lane.pedal = event.value >= 0.5
        if not lane.pedal:
            self._let_go(self._pedalled & (self._lane == event.lane))

    def _release_lane(self, event: SoundEvent, lane: _Lane) -> None:
        lane.pedal = False
        self._let_go((self._held | self._pedalled) & (self._lane == event.lane))

    def _set_level(self, event: SoundEvent, lane: _Lane) -> None:
        levels = self._mastering.levels
        if 0 <= event.note < len(levels):
            levels[event.note] = event.value
        if event.note == BRIGHTNESS:
            self._move(self._rows)

    # Voices

    def _tabulate(self, rows: NDArray[np.int64]) -> None:
        """Keep how far the envelopes of these voices fall in so many samples: their rates have changed."""
        rate = self._rate[:, rows, None]
        self._fine[:, rows] = np.exp(-rate * self._steps[:_STEP])
        self._coarse[:, rows] = np.exp(-rate * (_STEP * self._steps[: self._coarse.shape[2]]))

    def _let_go(self, rows: NDArray[np.bool_]) -> None:
        """Begin the release of these voices."""
        if not rows.any():
            return
        self._rate[_RELEASE, rows] = self._release_rate[rows]
        self._tabulate(np.flatnonzero(rows))
        self._held &= ~rows
        self._pedalled &= ~rows

    def _aim_lane(self, lane: int) -> None:
        self._move(np.flatnonzero(self._alive & (self._lane == lane)))

    def _move(self, rows: NDArray[np.int64]) -> None:
        """Have the controls of these voices go, smoothly, to where they are to be."""
        self._aim(rows)
        self._moves = self._settled_frames

    def _aim(self, rows: NDArray[np.int64]) -> None:
        """Set where gain, brightness and bend of these voices are going."""
        brightness = 2.0 ** (3.0 * (self._mastering.levels[BRIGHTNESS] - 0.6))
        for row in rows:
            lane = self._lanes[self._lane[row] % LANES]
            gain, touch = self._velocity[:, row]
            pressure = min(max(lane.pressure, self._pressure[row], 0.0), 1.0)
            colour = brightness * 4.0 ** (min(max(lane.timbre, 0.0), 1.0) - 0.5)
            self._target[:, row] = gain * (1.0 + 0.5 * pressure), touch * colour * (1.0 + pressure), lane.bend
        highest = self._increment[:, rows] * self._target[_BEND, rows]
        room = (_NYQUIST / highest - self._carrier[:, rows]) / self._modulator[:, rows] - 1.0  # Carson's rule
        self._room[:, rows] = np.maximum(room, 0.0)

    def _free_row(self) -> int:
        """Return a row for a new voice; where all voices sound, one of them begins to die in its own row.

        The quietest of those released goes first, then the oldest. If even the spare rows are taken, the
        quietest of the dying is cut: after 16 time constants' worth of stealing it is far below hearing.
        """
        living = self._alive & ~self._dying
        if np.count_nonzero(living) >= self.voices:
            loose = living & ~self._held & ~self._pedalled
            if loose.any():
                victim = np.argmin(np.where(loose, self._loudness(), np.inf))
            else:
                victim = np.argmin(np.where(living, self._age, np.iinfo(np.int64).max))
            self._dying[victim] = True
            self._held[victim] = self._pedalled[victim] = False
            self._rate[_RELEASE, victim] = self._steal
            self._tabulate(np.array([victim]))
        free = ~self._alive
        if free.any():
            return int(np.argmax(free))
        return int(np.argmin(np.where(self._dying, self._loudness(), np.inf)))

    def _loudness(self) -> NDArray[np.float64]:
        loudest = _levels(self._cells).max(axis=0)
        return np.asarray(self._envelope[_RELEASE] * self._control[_GAIN] * loudest)

    # Some 60 array operations, whose number counts and not their length: an array of a few voices' chunk is
    # worked through in less time than it takes Python to ask for it.
    def _voices(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Add these voices to `out`, and move their state to the sample after it."""
        n, count = len(out), rows.size
        cells = self._cells.take(rows, axis=1)  # (cells, count)
        columns = cells.astype(np.float32)[..., None]
        rate, envelope, control, target, increment = (
            cells[_CELLS[name]] for name in ("rate", "envelope", "control", "target", "increment")
        )
        powers = self._falling(rows, envelope, n)  # (6, count, n)
        attack, release, level, index = powers[_ATTACK], powers[_RELEASE], powers[_LEVEL], powers[_INDEX]
        gain, bright, bend = columns[_CELLS["target"]]
        bend = bend * self._steps[:n]  # summed: how far the phase has come, in increments
        come = target[_BEND] * n
        if self._moves > 0:
            step = control - target
            far = step[..., None].astype(np.float32)
            gain = gain + far[_GAIN] * self._fade[:n]
            bright = bright + far[_BRIGHT] * self._fade[:n]
            bend += far[_BEND] * self._fade_sum[:n].astype(np.float32)
            come += step[_BEND] * self._fade_sum[n]
            np.add(target, step * self._fade[n], out=control)

        index *= columns[_INDEX_FALLS]
        index += columns[_INDEX_STAYS]
        index *= bright
        np.minimum(index, columns[_CELLS["room"]], out=index)

        size = 2 * count * n
        angles = self._angles[:size].reshape(2, count, n)
        waves = self._waves[:size].reshape(2, count, n)
        np.multiply(columns[_CELLS["increment"]], bend, out=angles)
        angles += columns[_CELLS["phase"]]
        np.multiply(angles, columns[_CELLS["modulator"]], out=waves)
        np.sin(waves, out=waves)
        waves *= index
        angles *= columns[_CELLS["carrier"]]
        waves += angles
        np.sin(waves, out=waves)

        level *= columns[_LEVEL_FALLS]
        level += columns[_LEVEL_STAYS]
        waves *= level
        np.subtract(np.float32(1.0), attack, out=attack)
        attack *= release
        attack *= gain
        waves *= attack
        heard = columns[_CELLS["pan"]].reshape(3, 2 * count) @ waves.reshape(2 * count, n)
        swayed = np.sin(self._sways[:n] + np.float32(self._sway))
        swayed *= heard[2]
        heard[0] += swayed
        heard[1] -= swayed
        out += heard[:2].T

        envelope *= np.exp(rate * -n)
        envelope *= envelope > _NOTHING
        cells[_CELLS["phase"]] += increment * come
        cells[_CELLS["phase"]] %= _TURN
        self._cells[:_MOVED, rows] = cells[:_MOVED]
        over = envelope[_RELEASE] * _levels(cells).max(axis=0) < _SILENT
        if over.any():
            self._end(rows[over])

    def _end(self, rows: NDArray[np.int64]) -> None:
        """Let go of voices that are over."""
        self._alive[rows] = self._held[rows] = self._pedalled[rows] = False
        self._rows = np.flatnonzero(self._alive)

    def _falling(self, rows: NDArray[np.int64], start: NDArray[np.float64], n: int) -> NDArray[np.float32]:
        """Return start * exp(-rate * k) for k = 0 .. n - 1, (6, count, n), without n exponentials each."""
        coarse = -(-n // _STEP)
        jumps = self._coarse[:, rows, :coarse] * start[..., None]
        powers = self._powers[: start.size * coarse * _STEP].reshape(*jumps.shape, _STEP)
        fine = self._fine.take(rows, axis=1)
        np.multiply(jumps.astype(np.float32)[..., None], fine[..., None, :], out=powers)
        return powers.reshape(*start.shape, coarse * _STEP)[..., :n]

    # Drums

    def _strike(self, note: int, velocity: float) -> None:
        note = note if note in DRUMS else 35 + (note - 35) % len(DRUMS)
        drum = DRUMS[note]
        for hit in self._hits:
            hit.choked |= drum.group != 0 and DRUMS[hit.note].group == drum.group
        playing = [hit for hit in self._hits if not hit.choked]
        if len(playing) >= _HITS:
            playing[0].choked = True
        angle = (drum.pan + 1.0) * np.pi / 4.0
        gains = 1.4142 * velocity**1.5 * np.array([np.cos(angle), np.sin(angle)])
        self._hits.append(_Hit(note, self._drums[note], 0, gains.astype(np.float32)))

    def _hit(self, out: NDArray[np.float32]) -> None:
        n = len(out)
        for hit in self._hits:
            part = hit.table[hit.at : hit.at + n]
            if hit.choked:
                part = part * (np.float32(hit.left) * self._steal_fade[: len(part)])
                hit.left *= float(self._steal_fade[n])
            out[: len(part)] += part[:, None] * hit.gains
            hit.at += n
        self._hits = [hit for hit in self._hits if hit.at < len(hit.table) and hit.left > _SILENT]
