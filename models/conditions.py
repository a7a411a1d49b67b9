"""Fills the columns of a musician's `condition`, the same way in training and on stage."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.manifest import Conditions

PITCH_CLASSES = 12


def columns(
    layout: Conditions,
    density: float | None = None,
    pitch_classes: Sequence[float] | None = None,
    beat: float | None = None,
    styles: Sequence[float] | None = None,
) -> NDArray[np.float32]:
    """Return float32 (1, layout.width); what is None, or not in the layout, asks for nothing.

    `density` is in notes a second, `pitch_classes` are 12 weights from C upwards, `beat` counts beats from
    the beginning of any bar, `styles` are as many weights as the layout has styles. Weights need not sum to
    1, and sum to 0 where nothing is asked for; a wrong number of them is a ValueError.
    """
    parts: list[NDArray[np.float32]] = []
    if layout.densities:
        parts.append(between(layout.densities, density))
    if layout.pitch_classes:
        parts.append(_shares(pitch_classes, PITCH_CLASSES))
    if layout.bar_beats:
        parts.append(phases(layout.bar_beats, beat))
    if layout.styles:
        parts.append(_shares(styles, len(layout.styles)))
    return np.concatenate([np.zeros(0, np.float32), *parts])[None]


def between(steps: Sequence[float], value: float | None) -> NDArray[np.float32]:
    """Return a value's weights (len(steps),): shared by the two steps that it lies between, on a log scale.

    A one-hot that glides: turning the knob from 4 to 8 notes a second leads through mixtures of the two.
    """
    weights = np.zeros(len(steps), np.float32)
    if value is not None:
        place = np.interp(np.log(max(value, 1e-3)), np.log(steps), np.arange(len(steps)))
        low = min(int(place), max(len(steps) - 2, 0))
        weights[low] = 1.0 - (place - low)
        weights[min(low + 1, len(steps) - 1)] += place - low
    return weights


def phases(bar_beats: int, beat: float | None) -> NDArray[np.float32]:
    """Return cosine and sine of the phase in the beat, then of the phase in the bar, (4,)."""
    if beat is None:
        return np.zeros(4, np.float32)
    angles = 2.0 * np.pi * np.array([beat % 1.0, beat % bar_beats / bar_beats])
    return np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32).ravel()


def _shares(weights: Sequence[float] | None, count: int) -> NDArray[np.float32]:
    if weights is None:
        return np.zeros(count, np.float32)
    if len(weights) != count:
        raise ValueError(f"{len(weights)} weights, {count} would be right")
    shares = np.asarray(weights, np.float32)
    total = float(shares.sum())
    return shares / total if total > 0.0 else np.zeros(count, np.float32)
