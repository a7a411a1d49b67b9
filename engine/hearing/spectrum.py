"""The spectrum of sound, a hundred times a second: loudness, bands, brightness, and what rises in it."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

HOP_S: Final = 0.01  # from one spectrum to the next, as in Dixon 2006
WINDOW_S: Final = 0.02  # at least: 1,024 samples at 48 kHz
BANDS_HZ: Final = (30.0, 200.0, 2000.0, 16_000.0)  # kick and bass, voices and chords, cymbals and air
SILENT_DB: Final = -120.0
_COMPRESSION: Final = 20.0  # of amplitudes before their rise is taken: -26 dB counts a fifth of 0 dB
_THIRDS_HZ: Final = tuple(50.0 * 2.0 ** (n / 3.0) for n in range(26))  # third-octave bands, 50 Hz to 16 kHz

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heard:
    """One spectrum: root mean squares in dB below full scale, the spectral centroid in Hz, and the flux."""

    level_db: float
    bands_db: tuple[float, float, float]
    centroid_hz: float
    flux: float


# Spectral flux is the sum of what has risen since the spectrum before (S. Dixon, "Onset detection revisited",
# DAFx 2006). It is taken over the logarithm of the amplitude in bands of equal pitch (A. Klapuri, "Sound
# onset detection by applying psychoacoustic knowledge", ICASSP 1999), or else a kick drum, which fills five
# bins of five hundred, would count for nothing beside a hi-hat.
class Spectrum:
    """Takes windows of `window` samples, `hop` apart, at a rate; keeps the spectrum before."""

    def __init__(self, rate: int) -> None:
        self.hop = round(rate * HOP_S)
        self.window = 1 << int(np.ceil(np.log2(rate * WINDOW_S)))
        self._shape = np.hanning(self.window + 1)[:-1].astype(np.float32)
        self._hz = np.fft.rfftfreq(self.window, 1.0 / rate)
        self._scale = 2.0 / (self.window * float(self._shape @ self._shape))  # power to mean square
        self._bands = np.stack([self._between(*edges) for edges in pairwise(BANDS_HZ)])
        thirds = [self._between(*edges) for edges in pairwise(_THIRDS_HZ)]
        self._thirds = np.stack([third for third in thirds if third.any()])
        self._audible = self._bands.any(axis=0)
        self._before = np.zeros(len(self._thirds))

    def _between(self, low_hz: float, high_hz: float) -> NDArray[np.float64]:
        return ((self._hz >= low_hz) & (self._hz < high_hz)).astype(np.float64)  # (bins,)

    def hear(self, samples: Samples, ceiling_db: float) -> Heard:
        """Return what the newest window holds; the flux counts amplitudes as shares of the ceiling."""
        power = np.abs(np.fft.rfft(samples * self._shape)) ** 2 * self._scale
        bands = self._bands @ power
        total = float(bands.sum())
        amplitude = np.sqrt(power) * self._audible
        weight = float(amplitude.sum())
        centroid_hz = float(amplitude @ self._hz) / weight if weight > 0.0 else 0.0
        share = np.sqrt(self._thirds @ power) * 10.0 ** (-ceiling_db / 20.0)
        loud = np.log1p(_COMPRESSION * share)
        flux = float(np.maximum(loud - self._before, 0.0).mean())
        self._before = loud
        low, mid, high = (decibels(float(band)) for band in bands)
        return Heard(decibels(total), (low, mid, high), centroid_hz, flux)


def decibels(mean_square: float) -> float:
    """Return a mean square in dB below full scale."""
    return max(10.0 * float(np.log10(mean_square)), SILENT_DB) if mean_square > 0.0 else SILENT_DB
