"""Fills the columns of a musician's `condition`, the same way in training and on stage."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    1; zeros ask for nothing. A wrong number of them is a ValueError.
    """
    parts = [np.zeros(0, np.float32)]
    if layout.densities:
        nothing = np.zeros(len(layout.densities), np.float32)
        parts.append(nothing if density is None else between(layout.densities, density))
    if layout.pitch_classes:
        parts.append(_weights(pitch_classes, PITCH_CLASSES))
    if layout.bar_beats:
        parts.append(np.zeros(4, np.float32) if beat is None else phases(layout.bar_beats, beat))
    if layout.styles:
        parts.append(_weights(styles, len(layout.styles)))
    return np.concatenate(parts)[None]


def between(steps: Sequence[float], values: ArrayLike) -> NDArray[np.float32]:
    """Return the weights (..., steps) of values: each shared by the two steps that it lies between.

    The scale is logarithmic. A one-hot that glides: turning the knob from 4 to 8 notes a second leads through
    mixtures of the two.
    """
    place = np.interp(np.log(np.maximum(values, 1e-3)), np.log(steps), np.arange(len(steps)))
    apart = np.abs(place[..., None] - np.arange(len(steps)))
    return np.maximum(1.0 - apart, 0.0).astype(np.float32)


def phases(bar_beats: int, beats: ArrayLike) -> NDArray[np.float32]:
    """Return cosine and sine of the phase in the beat, then of the phase in the bar, (..., 4)."""
    beats = np.asarray(beats)
    angles = 2.0 * np.pi * np.stack([beats % 1.0, beats % bar_beats / bar_beats], -1)
    waves = np.stack([np.cos(angles), np.sin(angles)], -1)  # (..., 2, 2)
    return waves.reshape(*beats.shape, 4).astype(np.float32)


def shares(weights: ArrayLike) -> NDArray[np.float32]:
    """Return weights (..., n) scaled to a sum of 1 where they have one."""
    given = np.asarray(weights, np.float32)
    total = given.sum(-1, keepdims=True)
    return (given / np.where(total > 0.0, total, 1.0)).astype(np.float32)


def _weights(weights: Sequence[float] | None, count: int) -> NDArray[np.float32]:
    if weights is not None and len(weights) != count:
        raise ValueError(f"{len(weights)} weights, {count} would be right")
    return np.zeros(count, np.float32) if weights is None else shares(weights)
