"""A histogram that takes any number of measurements in a fixed amount of memory."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


class Distribution:
    """Measurements in milliseconds, in bins of `BIN_MS`; quantiles are right to a bin, the maximum exact.

    Quantiles are of the magnitude: a millisecond early is as far off the contract as a millisecond late.
    """

    BIN_MS = 0.01
    BINS = 100_000  # to one second; beyond it lies one last bin

    def __init__(self) -> None:
        self._counts = np.zeros(self.BINS + 1, np.int64)
        self.count, self.sum_ms, self.max_ms = 0, 0.0, 0.0

    def add(self, milliseconds: float) -> None:
        """Take one measurement."""
        magnitude = abs(milliseconds)
        self._counts[min(int(magnitude / self.BIN_MS), self.BINS)] += 1
        self.count += 1
        self.sum_ms += milliseconds
        self.max_ms = max(self.max_ms, magnitude)

    def quantile(self, share: float) -> float | None:
        """Return the magnitude in ms that `share` of the measurements do not exceed; None without any."""
        if not self.count:
            return None
        rank = int(np.searchsorted(np.cumsum(self._counts), share * self.count))
        return float(min((rank + 1) * self.BIN_MS, self.max_ms))

    def histogram(self, edges_ms: Sequence[float]) -> tuple[int, ...]:
        """Return how many magnitudes lie up to each edge, above the one before; the last is of all above."""
        upto = np.cumsum(self._counts)
        sums = [int(upto[min(round(edge / self.BIN_MS), self.BINS + 1) - 1]) for edge in edges_ms]
        return tuple(b - a for a, b in pairwise((0, *sums, self.count)))

    def summary(self) -> dict[str, float | int | None]:
        """Return p50, p99, p999 and max in ms, the mean with its sign, and the count."""
        mean = self.sum_ms / self.count if self.count else None
        return {
            "p50": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "p999": self.quantile(0.999),
            "max": self.max_ms if self.count else None,
            "mean": mean,
            "count": self.count,
        }
