"""From what the rulers took down to deviations from the contract."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.contract import sound_contract_ms
from engine.core.show import Show
from engine.core.units import TICKS_PER_SECOND
from engine.latency.ruler import Heard, milliseconds, onsets
from engine.latency.screen import Film, Sighting

Floats = NDArray[np.float64]


def taken_down(
    heard: Heard, sightings: Sequence[Sighting], show: Show, cable_frames: float
) -> dict[str, Any]:
    """Return the deviations of both rulers, the skew between them and the frames that came late, in ms.

    Lists have one entry a note, None where it was not heard or seen. A picture's deviation is known to half
    of `looks_ms`: p50, p99, p999 and the extremes of the time within which each frame is known to have come.
    """
    contract_ms = sound_contract_ms(show)
    spread_s = 0.5 / show.fps if show.tight == "sync" else 0.0
    heard_at = onsets(heard, contract_ms / 1000.0, spread_s) - cable_frames
    sound_ms = milliseconds(heard_at - heard.played, heard.rate) - contract_ms
    at_s = (heard.played - heard.first) / heard.rate
    data: dict[str, Any] = {"at_s": _rounded(at_s), "sound_ms": _rounded(sound_ms)}
    if sightings:
        note_us = heard.us_at(heard.played)
        seen_us = answered_at(sightings, note_us, 1000.0 * show.picture_ms)
        data["picture_ms"] = _rounded((seen_us - note_us) / 1000.0 - show.picture_ms)
        data["skew_ms"] = _rounded((seen_us - heard.us_at(heard_at)) / 1000.0)
        data["frames"] = frames(sightings, show.frame_ticks)
        data["looks_ms"] = summary([sighting.since_us / 1000.0 for sighting in sightings])
    return data


# The marker counts notes and does not name them, and JACK drops what is sent in a cycle that it skips. So
# where fewer notes were answered than played, some were never delivered, and which is found as the assignment
# in order whose deviations are smallest in sum (dynamic programming over the notes left out so far).
def answered_at(sightings: Sequence[Sighting], note_us: Floats, contract_us: float) -> Floats:
    """Return when each note was first seen answered, in microseconds; NaN where it never was."""
    before = [sighting.answered for sighting in sightings if sighting.us < note_us[0]]
    count = before[-1] if before else sightings[0].answered
    answers: list[float] = []
    for sighting in sightings:
        answers += [sighting.us - sighting.since_us / 2.0] * (sighting.answered - count)
        count = max(count, sighting.answered)
    seen_us = np.array(answers[: len(note_us)])
    seen = np.full(len(note_us), np.nan)
    left_out = np.arange(len(note_us) - len(seen_us) + 1)
    least, froms = np.zeros(len(left_out)), []
    for number, us in enumerate(seen_us):
        best = np.minimum.accumulate(least)
        froms.append(np.maximum.accumulate(np.where(least == best, left_out, 0)))
        least = best + np.abs(us - note_us[number + left_out] - contract_us)
    skipped = int(least.argmin())
    for number in reversed(range(len(seen_us))):
        seen[number + skipped] = seen_us[number]
        skipped = int(froms[number][skipped])
    return seen


# From outside, a frame that is on time is one that is seen where the line of all frames over time says. The
# line's place is the median one, so that a late start does not count as lateness of every frame.
def frames(sightings: Sequence[Sighting], frame_ticks: int) -> dict[str, Any]:
    """Return how the frames were seen: `late_ms` off their line, and the `missing`, (tick, seconds) each."""
    ticks = np.array([sighting.tick for sighting in sightings], np.float64)
    us = np.array([sighting.us - sighting.since_us / 2.0 for sighting in sightings])
    off = us - ticks * 1e6 / TICKS_PER_SECOND
    late_ms = (off - np.median(off)) / 1000.0
    expected = np.arange(ticks[0], ticks[-1] + 1, frame_ticks)
    missing = np.setdiff1d(expected, ticks)
    return {
        "due": len(expected),
        "missing": [[int(tick), round((tick - ticks[0]) / TICKS_PER_SECOND, 3)] for tick in missing],
        "at_s": _rounded((ticks - ticks[0]) / TICKS_PER_SECOND),
        "late_ms": _rounded(late_ms),
    }


def from_film(film: Film, show: Show) -> dict[str, Any]:
    """Return what a film of the screen tells: the frames' regularity, and the skew of its sound and picture.

    Each note that the marker counts is looked for in the sound as the strongest rise within 200 ms.
    """
    data: dict[str, Any] = {"title": show.title, "frames": frames(film.sightings, show.frame_ticks)}
    rises = [
        later.us - later.since_us / 2.0
        for former, later in pairwise(film.sightings)
        if later.answered > former.answered
    ]
    skew = [(us - heard) / 1000.0 for us in rises if (heard := _strongest_rise_us(film, us)) is not None]
    data["skew_ms"] = _rounded(np.array(skew))
    return data


def _strongest_rise_us(film: Film, us: float) -> float | None:
    reach, grain = 0.2, round(0.001 * film.rate)
    begin = max(0, round((us / 1e6 - reach) * film.rate))
    window = film.sound[begin : begin + round(2 * reach * film.rate)]
    if len(window) < 4 * grain:
        return None
    level = np.abs(window[: len(window) // grain * grain]).reshape(-1, grain).max(axis=1)
    rise = np.diff(level)
    best = int(rise.argmax())
    return (begin + (best + 1) * grain) * 1e6 / film.rate if rise[best] > 0.01 else None


def summary(values: Sequence[float | None]) -> dict[str, float | None]:
    """Return p50, p99, p999, the extremes and how many there are; None where there are none."""
    found = np.array([value for value in values if value is not None], np.float64)
    if not len(found):
        return {"count": 0, "p50": None, "p99": None, "p999": None, "min": None, "max": None}
    size = np.abs(found)
    return {
        "count": len(found), "p50": float(np.median(found)), "p99": float(np.quantile(size, 0.99)),
        "p999": float(np.quantile(size, 0.999)), "min": float(found.min()), "max": float(found.max()),
    }  # fmt: skip


def _rounded(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 4) for value in values]
