"""The ear: samples in, and what is worth telling of them out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.hearing.beats import Beats
from engine.hearing.meters import HIGH_HZ, LOW_HZ, Meters
from engine.hearing.onsets import Onset, Onsets
from engine.hearing.spectrum import HOP_S, Samples, Spectrum

LEVELS: Final = ("/audio/level", "/audio/low", "/audio/mid", "/audio/high", "/audio/brightness")
ONSET, TEMPO, BEAT = "/audio/onset", "/audio/tempo", "/audio/beat"
_LEVELS_PER_S: Final = 75.0
_AT_ONCE: Final = 5.0  # levels that may be told with one spectrum, after some quiet
_WORTH: Final = 0.02  # a smaller change of a level is not told
_ONSET_S: Final = 0.05  # so long an onset holds: longer than a frame
_CLEAR_S: Final = 0.05  # time constant of the brightness
_TEMPO_STEP_BPM: Final = 0.5
_TEMPO_HOPS: Final = round(1.0 / HOP_S)  # between two told tempi, at least
LEAST_BPM, MOST_BPM = 20.0, 300.0  # the range of the parameter `tempo`: its sources' 0 and 1
_LOUDEST: Final = 8.0  # times full scale; more is no sound


@dataclass(frozen=True, slots=True)
class Told:
    """A source's new value, or a beat and its bpm, and when that was to be heard, in samples of the input."""

    address: str
    value: float
    sample: float


# A level is told when it has moved, and first the one that has moved most, as far as an allowance reaches
# that grows by 75 a second: a hit is told at once, a steady sound not at all. With what is told of onsets,
# beats and tempo it is a hundred events a second at most, in music.
class Ear:
    """Hears a mono input at a rate, block after block; `ceiling_db` None learns what is loud."""

    def __init__(self, rate: int, ceiling_db: float | None, gate_db: float) -> None:
        self._rate = rate
        self._spectrum = Spectrum(rate)
        self._meters = Meters(ceiling_db, gate_db)
        self._onsets, self._beats = Onsets(rate), Beats()
        self._window = np.zeros(self._spectrum.window, np.float32)
        self._waiting: Samples = np.zeros(0, np.float32)
        self._taken = 0  # samples in all the windows so far
        self._brightness = 0.0
        self._told = [-1.0] * len(LEVELS)
        self._allowance = _AT_ONCE
        self._onset_ends: float | None = None
        self._tempo, self._tempo_hops = 0.0, 0
        self.spoiled = 0  # samples that were no numbers

    @property
    def bpm(self) -> float:
        """The tempo that is heard, or 0."""
        return self._beats.bpm

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels as they were told last."""
        return tuple(self._told)

    @property
    def ceiling_db(self) -> float:
        """What counts as loud."""
        return self._meters.ceiling_db

    def hear(self, samples: Samples) -> Iterator[Told]:
        """Take samples that follow those before; yield what they give to tell, in order."""
        sound = np.isfinite(samples)
        if not sound.all():
            self.spoiled += int((~sound).sum())
            samples = np.where(sound, samples, np.float32(0.0))
        self._waiting = np.concatenate([self._waiting, np.clip(samples, -_LOUDEST, _LOUDEST)])
        hop = self._spectrum.hop
        while len(self._waiting) >= hop:
            self._window = np.concatenate([self._window[hop:], self._waiting[:hop]])
            self._waiting = self._waiting[hop:]
            self._taken += hop
            yield from self._look()

    def _look(self) -> Iterator[Told]:
        heard = self._spectrum.hear(self._window, self._meters.ceiling_db)
        levels = self._meters.read(heard.level_db, heard.bands_db)
        is_open = self._meters.gate.open
        flux = heard.flux if is_open else 0.0
        yield from self._onset(self._onsets.hear(flux, self._window[-2 * self._spectrum.hop :]))
        yield from self._levels((*levels, self._bright(heard.centroid_hz) if is_open else self._brightness))
        if beat := self._beats.hear(flux, self._taken / self._rate):
            yield Told(BEAT, beat.bpm, beat.at_s * self._rate)
        self._tempo_hops += 1
        bpm = self._beats.bpm
        if bpm and self._tempo_hops >= _TEMPO_HOPS and abs(bpm - self._tempo) >= _TEMPO_STEP_BPM:
            self._tempo, self._tempo_hops = bpm, 0
            yield Told(TEMPO, (bpm - LEAST_BPM) / (MOST_BPM - LEAST_BPM), self._taken)

    def _bright(self, centroid_hz: float) -> float:
        octaves = np.log2(max(centroid_hz, LOW_HZ) / LOW_HZ) / np.log2(HIGH_HZ / LOW_HZ)
        self._brightness += (min(float(octaves), 1.0) - self._brightness) * HOP_S / (_CLEAR_S + HOP_S)
        return self._brightness

    def _onset(self, onset: Onset | None) -> Iterator[Told]:
        if onset:
            self._onset_ends = self._taken + _ONSET_S * self._rate
            yield Told(ONSET, onset.strength, self._taken - onset.ago)
        elif self._onset_ends is not None and self._taken >= self._onset_ends:
            self._onset_ends = None
            yield Told(ONSET, 0.0, self._taken)

    def _levels(self, levels: tuple[float, ...]) -> Iterator[Told]:
        self._allowance = min(self._allowance + _LEVELS_PER_S * HOP_S, _AT_ONCE)
        moved = [abs(level - told) for level, told in zip(levels, self._told, strict=True)]
        newest = self._taken - 0.5 * self._spectrum.hop  # the middle of what was not heard before
        for number in sorted(range(len(levels)), key=lambda number: -moved[number]):
            rests = levels[number] < 1e-3 and self._told[number] > 0.0
            if self._allowance < 1.0 or (moved[number] < _WORTH and not rests):
                return
            self._allowance -= 1.0
            self._told[number] = 0.0 if levels[number] < 1e-3 else levels[number]
            yield Told(LEVELS[number], self._told[number], newest)

    def rest(self) -> Iterator[Told]:
        """Yield what is to be told when the input is gone: all that stood is let go."""
        for number, told in enumerate(self._told):
            if told > 0.0:
                self._told[number] = 0.0
                yield Told(LEVELS[number], 0.0, self._taken)
        if self._onset_ends is not None:
            self._onset_ends = None
            yield Told(ONSET, 0.0, self._taken)
