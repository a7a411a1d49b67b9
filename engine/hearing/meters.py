"""Levels from 0 to 1 out of decibels: a gate, a ceiling that is learned or set, and the fall of a meter."""

from typing import Final

from engine.hearing.spectrum import HOP_S, SILENT_DB

_RELEASE_S: Final = 0.15  # time constant of the fall; a rise is shown at once
_FORGETS_DB_PER_S: Final = 0.3  # a set that goes on 12 dB softer fills the scale again after 40 s
_LEAST_CEILING_DB: Final = -50.0  # softer than that is not taken for the loudest there is
_REACH_DB: Final = 30.0  # below the whole's ceiling, at most, is a band's: else leakage would fill it
_HYSTERESIS_DB: Final = 3.0
LOW_HZ, HIGH_HZ = 100.0, 10_000.0  # spectral centroids that count as 0 and 1


class Gate:
    """Opens above a level, closes a little below it."""

    def __init__(self, opens_db: float) -> None:
        self._opens_db, self.open = opens_db, False

    def pass_(self, level_db: float) -> bool:
        """Return whether it is open for this level."""
        self.open = level_db > self._opens_db - (_HYSTERESIS_DB if self.open else 0.0)
        return self.open


# Ten decibels less are half as loud (S. S. Stevens, "The measurement of loudness", JASA 1955), so a level is
# 2 ** (dB below the ceiling / 10): what looks half as high was half as loud.
class Meter:
    """Shows how loud it is between silence and a ceiling; without a fixed one, the loudest of late is it."""

    def __init__(self, ceiling_db: float | None, floor_db: float) -> None:
        self._learns, self._floor_db = ceiling_db is None, floor_db
        self.ceiling_db = _LEAST_CEILING_DB if ceiling_db is None else ceiling_db
        self.level = 0.0

    def read(self, db: float, least_db: float = _LEAST_CEILING_DB) -> float:
        """Return the level one hop on; the learned ceiling is `least_db` or more."""
        silent = db <= self._floor_db
        if self._learns and not silent:
            self.ceiling_db = max(db, self.ceiling_db - _FORGETS_DB_PER_S * HOP_S, least_db)
        loud = 0.0 if silent else min(2.0 ** ((db - self.ceiling_db) / 10.0), 1.0)
        self.level = max(loud, self.level - self.level * HOP_S / (_RELEASE_S + HOP_S))
        return self.level


class Meters:
    """The whole and its three bands; while the gate is closed all fall to 0."""

    def __init__(self, ceiling_db: float | None, gate_db: float) -> None:
        self.gate = Gate(gate_db)
        self._whole = Meter(ceiling_db, gate_db - _HYSTERESIS_DB)
        self._bands = tuple(Meter(ceiling_db, gate_db - _HYSTERESIS_DB) for _ in range(3))

    @property
    def ceiling_db(self) -> float:
        """What counts as 1."""
        return self._whole.ceiling_db

    def read(self, level_db: float, bands_db: tuple[float, ...]) -> tuple[float, float, float, float]:
        """Return the levels of the whole and of the low, middle and high band."""
        if not self.gate.pass_(level_db):
            level_db, bands_db = SILENT_DB, (SILENT_DB,) * 3
        whole = self._whole.read(level_db)
        least_db = max(self._whole.ceiling_db - _REACH_DB, _LEAST_CEILING_DB)
        low, mid, high = (meter.read(db, least_db) for meter, db in zip(self._bands, bands_db, strict=True))
        return whole, low, mid, high
