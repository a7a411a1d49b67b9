"""The marker: a QR code in a corner of the picture that tells which frame it is and what it answers.

It is drawn when a performance is measured from outside (`chladni latency`), and read back from the screen
itself or from a film of it. A QR code (ISO/IEC 18004) has what that needs: finders, so that it is found in
a picture taken by hand, and error correction, so that a half-drawn one is refused rather than misread.
"""

from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

_TICK_DIGITS, _ANSWERED_DIGITS = 10, 8
CELL: Final = 4  # pixels
SIDE: Final = 25 * CELL  # a QR code of version 1, 21 cells, and the white around it


@lru_cache(maxsize=1)
def _encoder() -> Any:
    settings: Any = cv2.QRCodeEncoder.Params()
    settings.version, settings.correction_level = 1, cv2.QRCodeEncoder_CORRECT_LEVEL_M
    return cv2.QRCodeEncoder.create(settings)


@lru_cache(maxsize=1)  # a frame that is held is drawn again
def encode(tick: int, answered: int) -> NDArray[np.uint8]:
    """Return the marker of a frame's tick and the notes answered so far: (SIDE, SIDE, 3), black and white."""
    numbers = ((tick, _TICK_DIGITS), (answered, _ANSWERED_DIGITS))
    cells = _encoder().encode("".join(f"{number % 10**digits:0{digits}d}" for number, digits in numbers))
    return np.kron(cells, np.ones((CELL, CELL), np.uint8))[..., None].repeat(3, axis=2)


def decode(pixels: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Return (tick, answered) of the marker anywhere in a picture, grey or RGB; None where there is none."""
    found = find(pixels)
    return found[:2] if found else None


def find(pixels: NDArray[np.uint8]) -> tuple[int, int, tuple[int, int, int, int]] | None:
    """Return (tick, answered, (left, top, right, bottom)) of the marker in a picture, or None."""
    text, corners, _ = cv2.QRCodeDetector().detectAndDecode(pixels)
    if len(text) != _TICK_DIGITS + _ANSWERED_DIGITS or not text.isdigit():
        return None
    (left, top), (right, bottom) = corners[0].min(axis=0), corners[0].max(axis=0)
    place = (int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom)))
    return int(text[:_TICK_DIGITS]), int(text[_TICK_DIGITS:]), place
