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

Cells = NDArray[np.uint8]

_TICK_DIGITS, _ANSWERED_DIGITS = 10, 8
_DIGITS: Final = _TICK_DIGITS + _ANSWERED_DIGITS
CELL: Final = 4  # pixels
_CELLS, _RIM = 21, 2  # of a QR code of version 1, and the white around it
SIDE: Final = (_CELLS + 2 * _RIM) * CELL
_GROUP_DIGITS, _GROUP_BITS = 3, 10  # of the numeric mode


@lru_cache(maxsize=1)
def _encoder() -> Any:
    settings: Any = cv2.QRCodeEncoder.Params()
    settings.version, settings.correction_level = 1, cv2.QRCodeEncoder_CORRECT_LEVEL_M
    return cv2.QRCodeEncoder.create(settings)


# OpenCV takes 3 ms for a code, most of them to choose among eight masks: a tenth of a core, taken from the
# show that is measured. But digits come in threes of ten bits, and all that a code of one version and mask
# does with its bits is linear over exclusive or, the error correction too. So it is asked once for the code
# of each bit alone; with its mask taken off, and that of the code of zeros put on, they add up to any code.
@lru_cache(maxsize=1)
def _codes() -> tuple[Cells, Cells]:
    """Return the code of zeros, (21, 21), and the cells that each bit of the digits turns, (60, 21, 21)."""
    zeros = _code("0" * _DIGITS)
    turned = []
    for begin in range(0, _DIGITS, _GROUP_DIGITS):
        for bit in range(_GROUP_BITS):
            digits = f"{1 << bit:0{begin + _GROUP_DIGITS}d}".ljust(_DIGITS, "0")
            turned.append((_unmasked(_code(digits)) ^ _unmasked(zeros)) & _data())
    return zeros, np.stack(turned)


def _code(digits: str) -> Cells:
    """Return OpenCV's code: 1 where a cell is dark."""
    cells = np.asarray(_encoder().encode(digits))[_RIM:-_RIM, _RIM:-_RIM]
    return np.asarray(cells == 0, np.uint8)


def _data() -> Cells:
    """Return 1 in each cell that holds data: all but finders, the format beside them, and timing."""
    data = np.ones((_CELLS, _CELLS), np.uint8)
    data[:9, :9] = data[:9, -8:] = data[-8:, :9] = data[6, :] = data[:, 6] = 0
    return data


def _unmasked(code: Cells) -> Cells:
    """Return a code without its mask, whose number stands in its format (ISO/IEC 18004, 7.8 and 7.9)."""
    high, middle, low = code[8, 2:5] ^ (1, 0, 1)
    row, column = np.indices(code.shape)
    both = row * column
    masks = (
        (row + column) % 2, row % 2, column % 3, (row + column) % 3, (row // 2 + column // 3) % 2,
        both % 2 + both % 3, (both % 2 + both % 3) % 2, ((row + column) % 2 + both % 3) % 2,
    )  # fmt: skip
    return np.asarray(code ^ (masks[4 * high + 2 * middle + low] == 0), np.uint8)


def prepare() -> None:
    """Do beforehand what would hold up the first marker."""
    _codes()


def _dark(tick: int, answered: int) -> Cells:
    zeros, turned = _codes()
    digits = (
        f"{tick % 10**_TICK_DIGITS:0{_TICK_DIGITS}d}{answered % 10**_ANSWERED_DIGITS:0{_ANSWERED_DIGITS}d}"
    )
    groups = [int(digits[begin : begin + _GROUP_DIGITS]) for begin in range(0, _DIGITS, _GROUP_DIGITS)]
    bits = np.array([group >> bit & 1 for group in groups for bit in range(_GROUP_BITS)], bool)
    return np.asarray(zeros ^ np.bitwise_xor.reduce(turned[bits], axis=0, initial=0), np.uint8)


@lru_cache(maxsize=1)  # a frame that is held is drawn again
def encode(tick: int, answered: int) -> NDArray[np.uint8]:
    """Return the marker of a frame's tick and the notes answered so far: (SIDE, SIDE, 3), black and white."""
    cells = np.pad((1 - _dark(tick, answered)) * np.uint8(255), _RIM, constant_values=255)
    return cells.repeat(CELL, axis=0).repeat(CELL, axis=1)[..., None].repeat(3, axis=2)


def read(pixels: NDArray[np.uint8], left: int, top: int) -> tuple[int, int] | None:
    """Return (tick, answered) of the marker whose code begins there in a grey picture, upright and unscaled.

    None where a single cell differs from what it would be. (OpenCV's reader, below, finds one anywhere, and
    misses one in a hundred.)
    """
    zeros, turned = _codes()
    middles = CELL * np.arange(_CELLS) + CELL // 2
    if top + middles[-1] >= pixels.shape[0] or left + middles[-1] >= pixels.shape[1]:
        return None
    dark = np.asarray(pixels[np.ix_(top + middles, left + middles)] < 128, np.uint8)
    alone = turned * (turned.sum(axis=0) == 1)  # the cells that a single bit turns: the code is systematic
    bits = (dark ^ zeros).ravel()[alone.reshape(len(turned), -1).argmax(axis=1)]
    groups = bits.reshape(-1, _GROUP_BITS) @ (1 << np.arange(_GROUP_BITS))
    digits = "".join(f"{group:0{_GROUP_DIGITS}d}" for group in groups)
    if len(digits) != _DIGITS:
        return None
    said = int(digits[:_TICK_DIGITS]), int(digits[_TICK_DIGITS:])
    return said if np.array_equal(_dark(*said), dark) else None


def decode(pixels: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Return (tick, answered) of the marker anywhere in a picture, grey or RGB; None where there is none."""
    found = find(pixels)
    return found[:2] if found else None


def find(pixels: NDArray[np.uint8]) -> tuple[int, int, tuple[int, int, int, int]] | None:
    """Return (tick, answered, (left, top, right, bottom)) of the marker in a picture, or None."""
    text, corners, _ = cv2.QRCodeDetector().detectAndDecode(pixels)
    if len(text) != _DIGITS or not text.isdigit():
        return None
    (left, top), (right, bottom) = corners[0].min(axis=0), corners[0].max(axis=0)
    place = (int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom)))
    return int(text[:_TICK_DIGITS]), int(text[_TICK_DIGITS:]), place
