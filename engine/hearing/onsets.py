"""Onsets: where the spectrum rises by more than it has of late."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.hearing.spectrum import HOP_S, Samples

_PAST: Final = round(0.5 / HOP_S)  # spectra that the threshold is taken from
_ABOVE: Final = 0.12  # over the median of the past, in the unit of the flux
_TIMES: Final = 2.5  # the median of the past
_BEFORE: Final = 3  # spectra that an onset must surpass: Dixon's window of 30 ms, its half that is past
_APART: Final = round(0.06 / HOP_S)  # the ear hears two closer ones as one
_FORGETS: Final = 0.9995  # each spectrum, of the strongest onset: half of it in 14 s
_GRAIN_S: Final = 0.001  # to which the moment of an onset is found
_EDGE_S: Final = 0.005  # what is younger lies at the window's edge, and counts for little in its spectrum


@dataclass(frozen=True, slots=True)
class Onset:
    """An onset: above 0 to 1, the strongest of late; and how many samples before the end of the newest."""

    strength: float
    ago: int


# The threshold follows the median of the flux (J. P. Bello et al., "A tutorial on onset detection in music
# signals", IEEE Transactions on Speech and Audio Processing 2005). Offline pickers wait for the flux to fall
# again; here an onset is told as soon as it stands out (one that is too young to tell its strength, with the
# next spectrum), and the next is not before 60 ms have passed.
class Onsets:
    """Picks onsets from the flux, one spectrum after the other."""

    def __init__(self, rate: int) -> None:
        self._grain, self._edge = round(rate * _GRAIN_S), round(rate * _EDGE_S)
        self._flux: deque[float] = deque([0.0] * _PAST, _PAST)
        self._since = _APART
        self._strongest = _ABOVE
        self._young = 0.0  # flux of an onset that waits for the next spectrum

    def hear(self, flux: float, newest: Samples) -> Onset | None:
        """Return the onset in this spectrum, if there is one; `newest` are the two newest hops of samples."""
        past = list(self._flux)
        median, recent = sorted(past)[_PAST // 2], max(past[-_BEFORE:])
        self._flux.append(flux)
        self._since += 1
        self._strongest = max(self._strongest * _FORGETS, _ABOVE)
        stands_out = flux > max(median * _TIMES, median + _ABOVE, recent) and self._since >= _APART
        if not (stands_out or self._young):
            return None
        ago = _rise(newest, self._grain)
        if stands_out and not self._young and ago < self._edge:
            self._young = flux
            return None
        whole, self._young, self._since = flux + self._young, 0.0, 0
        self._strongest = max(self._strongest, whole)
        return Onset(whole / self._strongest, ago)


def _rise(samples: Samples, grain: int) -> int:
    """Return how many samples before their end they rise most, to a grain."""
    grains = np.abs(samples[len(samples) % grain :]).reshape(-1, grain).max(axis=1)
    return (len(grains) - 1 - int(np.diff(grains).argmax())) * grain
