"""The effects as array code at the generator's own size, and the numbers that the shaders share with it.

Both implementations take the levels of `engine.core.parameters.EFFECTS` and apply them in this order:
feedback, kaleidoscope, hue with saturation and contrast, bloom, crossfade, strobe, blackout. An effect at
its neutral level is skipped.
"""

from collections.abc import Sequence
from math import ceil, cos, exp, pi, radians, sin, sqrt
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]  # uint8 (height, width, 3) RGB
Floats = NDArray[np.float32]

_LUMA = np.array([0.2126, 0.7152, 0.0722])  # of linear RGB, ITU-R BT.709; near enough for coded values
BLOOM_ROWS = 128  # the glow is computed at this height: it is smooth, so nobody sees more
BLOOM_SIGMA = 0.04  # of the glow's Gaussian, as a share of the picture's height
_HELD_ZOOM, _HELD_RATE = 0.12, 0.03  # 0.36 % for the first held frame, there and back in 209 frames


def turn(zoom: float, degrees: float) -> Floats:
    """Return the (2, 2) matrix from a pixel's place about the centre to where the fed-back one comes from.

    The picture grows by `zoom` and turns clockwise.
    """
    c, s = cos(radians(degrees)) / zoom, sin(radians(degrees)) / zoom
    return np.array([[c, s], [-s, c]], np.float32)


# Hue turns about the grey axis (1, 1, 1), so greys stay (Rodrigues' formula); saturation is a mix with the
# luma, contrast a scale about middle grey. All three are affine in RGB, so one matrix does them together.
def colour_matrix(hue: float, saturation: float, contrast: float) -> Floats:
    """Return the affine map of RGB (0..1), (3, 4), that turns the hue by degrees, then scales the others."""
    c, s = cos(radians(hue)), sin(radians(hue))
    cross = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / sqrt(3.0)
    rotation = c * np.eye(3) + (1.0 - c) / 3.0 + s * cross
    grey = saturation * np.eye(3) + (1.0 - saturation) * _LUMA
    offset = np.full((3, 1), 0.5 * (1.0 - contrast))
    return np.hstack([contrast * grey @ rotation, offset]).astype(np.float32)


def bloom_kernel(rows: int) -> tuple[float, int]:
    """Return sigma and radius in pixels of the glow's Gaussian at a height of `rows`."""
    sigma = BLOOM_SIGMA * rows
    return sigma, ceil(2.5 * sigma)


# A frame that is not there must not look like a stop. The last one breathes: its zoom leaves 1 at once and
# linearly, so that one held frame reads as motion, and stays bounded however long the generator is gone.
def held_zoom(held: int) -> float:
    """Return the size at which a picture is shown for the `held`-th time beyond its own."""
    return exp(_HELD_ZOOM * sin(_HELD_RATE * held))


def kaleidoscope_maps(height: int, width: int, segments: int) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return OpenCV's fixed-point maps, (height, width, 2) and (height, width), of a fold into `segments`."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    wedge = 2.0 * pi / segments
    angle = np.mod(np.arctan2(y, x), wedge)
    angle = np.minimum(angle, wedge - angle)
    radius = np.hypot(x, y)
    from_x = (radius * np.cos(angle) + (width - 1) / 2).astype(np.float32)
    from_y = (radius * np.sin(angle) + (height - 1) / 2).astype(np.float32)
    places, fractions = cv2.convertMaps(from_x, from_y, cv2.CV_16SC2)
    return places, fractions


class Effects:
    """The effects with what they remember, and buffers for a picture of one size (another size remakes them).

    Feedback feeds back its own output, ahead of the other effects, so that bloom and contrast cannot run
    away; it is kept in floats, since eight bits would leave ghosts that never fade.
    """

    def __init__(self, height: int, width: int) -> None:
        self._before: Pixels | None = None  # the picture before this one, as it came
        self._trail: Floats | None = None  # what feedback feeds back, while it is on
        self._output: Pixels | None = None  # the picture before this one, ahead of strobe and blackout
        self._stored: Pixels | None = None  # what crossfade fades to, while it is on
        self._allocate(height, width)

    def _allocate(self, height: int, width: int) -> None:
        """Make the buffers of a size, and bring what is remembered to it."""
        self._size = (width, height)
        self._work = [np.empty((height, width, 3), np.uint8) for _ in range(2)]
        self._warped = np.empty((height, width, 3), np.float32)
        self._glow = np.empty((height, width, 3), np.uint8)
        rows = min(BLOOM_ROWS, height)
        self._glow_size = (max(1, round(width * rows / height)), rows)
        self._segments = 0
        for name in ("_before", "_trail", "_output", "_stored"):
            remembered = getattr(self, name)
            if remembered is not None:
                setattr(self, name, cv2.resize(remembered, self._size, interpolation=cv2.INTER_LINEAR))

    def apply(self, pixels: Pixels, levels: Sequence[float]) -> Pixels:
        """Return the picture with the effects at `levels`, which are in the order of EFFECTS.

        `pixels` must not change afterwards (it is remembered); the result is good until the next call.
        """
        (
            feedback, zoom, rotate, decay, kaleidoscope, hue, saturation, contrast,
            bloom, threshold, crossfade, strobe, blackout,
        ) = levels  # fmt: skip
        if pixels.shape[1::-1] != self._size:
            self._allocate(*pixels.shape[:2])
        if crossfade > 0.0 and self._stored is None and self._output is not None:
            self._stored = self._output.copy()  # now: the work buffer that it lies in is about to be used
        picture = self._feed_back(pixels, feedback, decay, turn(zoom, rotate)) if feedback > 0.0 else pixels
        if feedback <= 0.0:
            self._trail = None
        self._before = pixels
        if kaleidoscope >= 2.0:
            picture = self._fold(picture, int(kaleidoscope))
        if (hue, saturation, contrast) != (0.0, 1.0, 1.0):
            matrix = colour_matrix(hue, saturation, contrast)
            matrix[:, 3] *= 255.0
            picture = cv2.transform(picture, matrix, dst=self._other(picture))
        if bloom > 0.0:
            picture = self._shine(picture, bloom, threshold)
        picture = self._fade(picture, crossfade)
        if strobe > 0.0 or blackout > 0.0:
            lit = 1.0 - blackout
            picture = cv2.convertScaleAbs(
                picture, dst=self._other(picture), alpha=(1.0 - strobe) * lit, beta=255.0 * strobe * lit
            )
        return picture

    def remember(self, picture: Pixels) -> None:
        """Feed back a picture that another Effects has finished: what it fed back itself is gone with it."""
        fitting = cv2.resize(picture, self._size, interpolation=cv2.INTER_LINEAR).copy()
        self._trail = fitting.astype(np.float32)
        self._before = self._output = fitting

    def _other(self, picture: Pixels) -> Pixels:
        """Return the work buffer that `picture` does not lie in."""
        return self._work[picture is self._work[0]]

    def _feed_back(self, pixels: Pixels, share: float, decay: float, matrix: Floats) -> Pixels:
        if self._trail is None:
            self._trail = (pixels if self._before is None else self._before).astype(np.float32)
        centre = (np.array(self._size, np.float32) - 1.0) / 2.0
        warp = np.hstack([matrix, (centre - matrix @ centre)[:, None]])  # (2, 3)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(
            self._trail, warp, self._size, dst=self._warped, flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        cv2.addWeighted(
            self._warped, share * decay, pixels, 1.0 - share, 0.0, dst=self._trail, dtype=cv2.CV_32F
        )
        return cv2.convertScaleAbs(self._trail, dst=self._other(pixels))

    def _fold(self, picture: Pixels, segments: int) -> Pixels:
        if segments != self._segments:
            self._maps = kaleidoscope_maps(self._size[1], self._size[0], segments)
            self._segments = segments
        return cv2.remap(
            picture, *self._maps, cv2.INTER_LINEAR, dst=self._other(picture), borderMode=cv2.BORDER_REFLECT
        )

    def _shine(self, picture: Pixels, strength: float, threshold: float) -> Pixels:
        small = cv2.resize(picture, self._glow_size, interpolation=cv2.INTER_AREA).astype(np.float32)
        small = np.maximum(small - 255.0 * threshold, 0.0) * strength
        sigma, radius = bloom_kernel(self._glow_size[1])
        side = 2 * radius + 1
        small = cv2.GaussianBlur(small, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
        cv2.resize(cv2.convertScaleAbs(small), self._size, dst=self._glow, interpolation=cv2.INTER_LINEAR)
        return cv2.add(picture, self._glow, dst=self._other(picture))

    def _fade(self, picture: Pixels, share: float) -> Pixels:
        if share <= 0.0:
            self._stored, self._output = None, picture
            return picture
        stored = picture if self._stored is None else self._stored
        return cv2.addWeighted(picture, 1.0 - share, stored, share, 0.0, dst=self._other(picture))
