"""Tempo and beats of the music that is heard, from how its onsets repeat."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.hearing.spectrum import HOP_S

_MEMORY: Final = round(8.0 / HOP_S)  # spectra
_LOOK: Final = round(0.5 / HOP_S)  # between two estimates
_BPM: Final = np.arange(50.0, 210.0, 0.25)
_PREFERRED_BPM, _OCTAVES = 120.0, 1.0  # what a listener would tap, and how far around it (see below)
_TEETH: Final = 4  # of the comb
_SURE: Final = 0.2  # share of the flux's energy that repeats, from which on there is a beat
_NEAR: Final = 0.06  # tempi closer than that are one that drifts
_TRIES: Final = 3  # another tempo, or place of the beat, must be found so often in a row
_DRIFT, _PULL = 0.2, 0.3  # shares by which the tempo and the place of the beat follow each estimate
_OFF: Final = 0.2  # beats: who is further off is not on this beat
_AGES: Final = 0.93  # weight of a beat in the past against the one after it
_AHEAD_S: Final = 0.1  # a beat is told so long before it falls
_AROUND: Final = np.full(21, 1.0 / 21.0)  # a mean over 0.2 s: what is usual around a spectrum
_BLUR: Final = np.array([1.0, 3.0, 4.0, 3.0, 1.0]) / 12.0  # a beat falls between two spectra
_DELAY_S: Final = 0.008  # from an onset to the middle of its flux: half a hop, and the window's slope


@dataclass(frozen=True, slots=True)
class Beat:
    """A beat: when it falls, in seconds of the sound, and the tempo that it falls in."""

    at_s: float
    bpm: float


# The flux repeats with the beat, so its autocorrelation has a peak at the beat's period and at each multiple:
# a comb of four teeth finds it, to a fraction of a hop by the last tooth. (E. D. Scheirer, "Tempo and beat
# analysis of acoustic musical signals", JASA 1998, has the comb; D. P. W. Ellis, "Beat tracking by dynamic
# programming", JNMR 2007, the autocorrelation, and the preference for 120 bpm as a Gaussian over octaves,
# which settles whether 60, 120 or 240 is meant.) It is ours because no library is left to take: aubio's last
# release is of 2019, madmom's of 2018, and those that live analyse whole files.
def tempo(flux: NDArray[np.float64]) -> tuple[float, float]:
    """Return the tempo in bpm, and how much of the flux repeats with it, 0 to 1."""
    energy = float(flux @ flux)
    if energy <= 0.0:
        return _PREFERRED_BPM, 0.0
    size = 2 * len(flux)
    alike = np.fft.irfft(np.abs(np.fft.rfft(flux, size)) ** 2, size)[: len(flux)]
    alike *= len(flux) / np.arange(len(flux), 0, -1) / energy
    lags = 60.0 / (_BPM * HOP_S)
    teeth = np.arange(1, _TEETH + 1)[:, None] * lags  # (teeth, tempi)
    comb = np.interp(teeth, np.arange(len(flux)), alike).mean(axis=0)
    liked = np.exp(-0.5 * (np.log2(_BPM / _PREFERRED_BPM) / _OCTAVES) ** 2)
    best = int((comb * liked).argmax())
    return float(_BPM[best]), float(comb[best])


def since_beat(flux: NDArray[np.float64], bpm: float) -> float:
    """Return how many spectra ago the latest beat fell: where a train of beats meets most of the flux."""
    period = 60.0 / (bpm * HOP_S)
    ago = np.arange(0.0, period, 0.5)
    beats = np.arange(int((len(flux) - 1) / period))
    places = len(flux) - 1 - ago[:, None] - beats * period  # (phases, beats)
    met = np.interp(places, np.arange(len(flux)), flux) @ _AGES**beats
    return float(ago[int(met.argmax())])


# An estimate each half second may err: by an octave, or to the off-beat. So beats run on by themselves, are
# drawn to the estimates that fit them, and give way only to others that keep coming.
class Beats:
    """Tells the beats of the music, each a tenth of a second before it falls."""

    def __init__(self) -> None:
        self._flux: deque[float] = deque([0.0] * _MEMORY, _MEMORY)
        self._count = 0
        self.bpm = 0.0  # 0 while there is no beat
        self._next_s = 0.0
        self._elsewhere = 0

    def hear(self, flux: float, end_s: float) -> Beat | None:
        """Take the flux of the spectrum that ends at `end_s`; return the beat to be told, if there is one."""
        self._flux.append(flux)
        self._count += 1
        if self._count % _LOOK == 0:
            self._estimate(end_s)
        if not self.bpm or end_s < self._next_s - _AHEAD_S:
            return None
        beat = Beat(self._next_s, self.bpm)
        while self._next_s - _AHEAD_S <= end_s:
            self._next_s += 60.0 / self.bpm
        return beat

    def _estimate(self, end_s: float) -> None:
        flux = np.array(self._flux)
        flux = np.convolve(np.maximum(flux - np.convolve(flux, _AROUND, "same"), 0.0), _BLUR, "same")
        bpm, sure = tempo(flux - flux.mean())
        if sure < _SURE:
            self._elsewhere += 1
            if self._elsewhere >= _TRIES:
                self.bpm = 0.0
            return
        near = self.bpm and abs(bpm / self.bpm - 1.0) < _NEAR
        drawn = self.bpm + _DRIFT * (bpm - self.bpm) if near else bpm
        beat_s = end_s - _DELAY_S - since_beat(flux, drawn) * HOP_S
        off = (beat_s - self._next_s) * drawn / 60.0
        off -= round(off)
        if near and abs(off) < _OFF:
            self._elsewhere = 0
            self.bpm = drawn
            self._next_s += _PULL * off * 60.0 / drawn
            return
        self._elsewhere += 1
        if not self.bpm or self._elsewhere >= _TRIES:
            self._elsewhere = 0
            self.bpm, self._next_s = bpm, beat_s
            while self._next_s <= end_s:
                self._next_s += 60.0 / bpm
