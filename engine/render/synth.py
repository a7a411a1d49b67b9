"""The synth: sound events to blocks of samples."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INSTRUMENTS
from engine.core.units import SAMPLE_RATE
from engine.render.instruments import DRUMS, PATCHES, drum_tables
from engine.render.mastering import BRIGHTNESS, CHUNK, Mastering, smoothing

_SPARE: Final = 48  # further rows in which stolen voices die away
_HITS: Final = 24  # drums sounding at once
LANES: Final = 64  # the core makes no more (engine/core/music.py); others fold onto these
_STEAL_S: Final = 0.003  # time constant of a stolen voice and of a choked drum: no click, no overlap heard
_SILENT: Final = 3e-6  # -110 dB: a voice as quiet as that is over
_NOTHING: Final = 1e-9  # an envelope as low as that is 0: denormal numbers would cost a hundred times more
_NYQUIST: Final = 0.45  # partials are kept below this share of the rate
_SWAY_HZ: Final = 4.8  # of the tremolo
_STEP: Final = 16  # envelopes are products of a coarse and a fine power, so many samples apart

# Columns of a voice's numbers. First the six envelopes, each falling by its own rate: attack (1 minus it is
# heard), release, levels of both pairs, indices of both pairs. Then what is smoothed, then what is fixed.
_ATTACK, _RELEASE, _LEVEL, _INDEX, _ENVELOPES = 0, 1, slice(2, 4), slice(4, 6), 6
_GAIN, _BRIGHT, _BEND, _SMOOTHED = 0, 1, 2, 3


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
        self._sway, self._sway_step = 0.0, _SWAY_HZ / rate
        self._lanes = [_Lane() for _ in range(LANES)]
        self._born = 0

        self._alive = np.zeros(rows, bool)
        self._held = np.zeros(rows, bool)  # the key is down
        self._pedalled = np.zeros(rows, bool)  # the key is up, the pedal holds the note
        self._dying = np.zeros(rows, bool)  # stolen
        self._lane = np.zeros(rows, np.int64)
        self._note = np.zeros(rows, np.int64)
        self._age = np.zeros(rows, np.int64)
        self._pressure = np.zeros(rows)
        self._velocity = np.zeros((2, rows))  # as gain and as index
        self._envelope = np.zeros((_ENVELOPES, rows))
        self._rate = np.zeros((_ENVELOPES, rows))
        self._control = np.zeros((_SMOOTHED, rows))
        self._target = np.zeros((_SMOOTHED, rows))
        self._phase = np.zeros((2, rows))  # cycles
        self._increment = np.zeros((2, rows))  # cycles a sample
        self._carrier = np.zeros((2, rows))
        self._modulator = np.zeros((2, rows))
        self._index = np.zeros((2, 2, rows))  # (floor and fall, pair, row)
        self._level = np.zeros((2, 2, rows))  # (sustain and fall, pair, row)
        self._release_rate = np.zeros(rows)
        self._pan = np.zeros((3, 2, rows))  # (left, right and tremolo, pair, row)

        size = rows * CHUNK
        self._powers = np.zeros(_ENVELOPES * size, np.float32)
        self._smooth = np.zeros(_SMOOTHED * size, np.float32)
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
            rows = np.flatnonzero(self._alive)
            if rows.size:
                self._voices(rows, chunk)
            if self._hits:
                self._hit(chunk)
            self._sway = (self._sway + self._sway_step * len(chunk)) % 1.0

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
        cycles = 440.0 / rate * 2.0 ** ((event.note - 69) / 12.0)
        decay = 2.0 ** ((event.note - 60) / patch.halving)  # higher notes fade sooner
        falls = [decay / (pair.decay_s * rate) for pair in patch.pairs]
        darkens = [decay / (pair.index_decay_s * rate) for pair in patch.pairs]
        self._rate[:, row] = (1.0 / (patch.attack_s * rate), 0.0, *falls, *darkens)
        self._envelope[:, row] = np.exp(-self._rate[:, row])  # the first sample is one step in, not silent
        self._release_rate[row] = 1.0 / (patch.release_s * rate)
        for pair, part in enumerate(patch.pairs):
            self._increment[pair, row] = cycles * 2.0 ** (part.detune_cents / 1200.0)
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
            self._aim(np.flatnonzero(self._alive))

    # Voices

    def _let_go(self, rows: NDArray[np.bool_]) -> None:
        """Begin the release of these voices."""
        self._rate[_RELEASE, rows] = self._release_rate[rows]
        self._held &= ~rows
        self._pedalled &= ~rows

    def _aim_lane(self, lane: int) -> None:
        self._aim(np.flatnonzero(self._alive & (self._lane == lane)))

    def _aim(self, rows: NDArray[np.int64]) -> None:
        """Set where gain, brightness and bend of these voices are going."""
        brightness = 2.0 ** (3.0 * (self._mastering.levels[BRIGHTNESS] - 0.6))
        for row in rows:
            lane = self._lanes[self._lane[row] % LANES]
            gain, touch = self._velocity[:, row]
            pressure = min(max(lane.pressure, self._pressure[row], 0.0), 1.0)
            colour = brightness * 4.0 ** (min(max(lane.timbre, 0.0), 1.0) - 0.5)
            self._target[:, row] = gain * (1.0 + 0.5 * pressure), touch * colour * (1.0 + pressure), lane.bend

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
        free = ~self._alive
        if free.any():
            return int(np.argmax(free))
        return int(np.argmin(np.where(self._dying, self._loudness(), np.inf)))

    def _loudness(self) -> NDArray[np.float64]:
        return np.asarray(self._envelope[_RELEASE] * self._control[_GAIN] * self._levels().max(axis=0))

    def _levels(self) -> NDArray[np.float64]:
        return np.asarray(self._level[0] + self._level[1] * self._envelope[_LEVEL])

    def _voices(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Add these voices to `out`, and move their state to the sample after it."""
        n, count = len(out), rows.size
        rate, envelope = self._rate[:, rows], self._envelope[:, rows]
        powers = self._falling(envelope, rate, n)  # (6, count, n)
        attack, release, level, index = powers[_ATTACK], powers[_RELEASE], powers[_LEVEL], powers[_INDEX]
        control, target = self._control[:, rows], self._target[:, rows]
        step = control - target
        smooth = self._smooth[: _SMOOTHED * count * n].reshape(_SMOOTHED, count, n)
        columns = step[:, :, None].astype(np.float32)
        np.multiply(columns[:_BEND], self._fade[:n], out=smooth[:_BEND])
        np.multiply(columns[_BEND], self._fade_sum[:n], out=smooth[_BEND], casting="unsafe")
        smooth[:_BEND] += target[:_BEND, :, None].astype(np.float32)
        bend = smooth[_BEND]  # summed: how far the phase has come, in increments
        bend += target[_BEND][:, None].astype(np.float32) * self._steps[:n]

        increment, carrier, modulator = (
            array[:, rows] for array in (self._increment, self._carrier, self._modulator)
        )
        highest = increment * target[_BEND]
        room = np.maximum((_NYQUIST / highest - carrier) / modulator - 1.0, 0.0)  # Carson's rule
        floor, fall = self._index[:, :, rows].astype(np.float32)[..., None]
        index *= fall
        index += floor
        index *= smooth[_BRIGHT]
        np.minimum(index, room[..., None].astype(np.float32), out=index)

        size = 2 * count * n
        angles = self._angles[:size].reshape(2, count, n)
        waves = self._waves[:size].reshape(2, count, n)
        turn = 2.0 * np.pi
        np.multiply((turn * increment)[..., None].astype(np.float32), bend, out=angles)
        angles += (turn * self._phase[:, rows])[..., None].astype(np.float32)
        np.multiply(angles, modulator[..., None].astype(np.float32), out=waves)
        np.sin(waves, out=waves)
        waves *= index
        angles *= carrier[..., None].astype(np.float32)
        waves += angles
        np.sin(waves, out=waves)

        sustain, fall = self._level[:, :, rows].astype(np.float32)[..., None]
        level *= fall
        level += sustain
        waves *= level
        np.subtract(np.float32(1.0), attack, out=attack)
        attack *= release
        attack *= smooth[_GAIN]
        waves *= attack
        pan = self._pan[:, :, rows].astype(np.float32).reshape(3, 2 * count)
        left, right, swayed = pan @ waves.reshape(2 * count, n)
        swayed *= np.sin(turn * (self._sway + self._sway_step * self._steps[:n])).astype(np.float32)
        left += swayed
        right -= swayed
        out[:, 0] += left
        out[:, 1] += right

        envelope *= np.exp(-n * rate)
        envelope[envelope < _NOTHING] = 0.0
        self._envelope[:, rows] = envelope
        self._control[:, rows] = target + step * self._fade[n]
        come = target[_BEND] * n + step[_BEND] * self._fade_sum[n]
        self._phase[:, rows] = (self._phase[:, rows] + increment * come) % 1.0
        over = self._envelope[_RELEASE] * self._levels().max(axis=0) < _SILENT
        self._alive &= ~over
        self._held &= ~over
        self._pedalled &= ~over

    def _falling(self, start: NDArray[np.float64], rate: NDArray[np.float64], n: int) -> NDArray[np.float32]:
        """Return start * exp(-rate * k) for k = 0 .. n - 1, (6, count, n), without n exponentials each."""
        coarse = -(-n // _STEP)
        fine = np.exp(-rate[..., None] * self._steps[:_STEP]).astype(np.float32)
        jumps = start[..., None] * np.exp(-rate[..., None] * (_STEP * self._steps[:coarse]))
        shape = (*rate.shape, coarse, _STEP)
        powers = self._powers[: rate.size * coarse * _STEP].reshape(shape)
        np.multiply(jumps.astype(np.float32)[..., None], fine[..., None, :], out=powers)
        return powers.reshape(*rate.shape, coarse * _STEP)[..., :n]

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
