"""Pictures brought to a size: the one that they are shown at, or that of another picture."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.render.effects import held_zoom


def fit(
    pixels: NDArray[np.uint8], width: int, height: int, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the picture filling `width` x `height`, its aspect kept, what overhangs cut off evenly.

    Larger by cubic convolution (Keys 1981), smaller by the mean of the area. `pixels` is uint8
    (h, w, channels); the result is uint8 (height, width, channels), written into `out` where given.
    """
    rows, columns = pixels.shape[:2]
    wide = min(columns, max(1, round(rows * width / height)))
    high = min(rows, max(1, round(columns * height / width)))
    left, top = (columns - wide) // 2, (rows - high) // 2
    part = pixels[top : top + high, left : left + wide]
    how = cv2.INTER_CUBIC if width > wide else cv2.INTER_AREA
    if out is None:
        out = np.empty((height, width, *pixels.shape[2:]), np.uint8)
    elif out.shape[:2] != (height, width):
        raise ValueError(f"out is {out.shape[1]} x {out.shape[0]}, it is to be {width} x {height}")
    if (wide, high) == (width, height):
        np.copyto(out, part)
    else:
        cv2.resize(part, (width, height), dst=out, interpolation=how)
    return out


def cover(pixels: NDArray[Any], held: int, target: NDArray[np.uint8]) -> None:
    """Fill `target` (height, width, channels) with a picture, enlarged a little more if it is held."""
    height, width = target.shape[:2]
    if held == 0:
        fit(pixels, width, height, target)
        return
    scale = max(width / pixels.shape[1], height / pixels.shape[0]) * held_zoom(held)
    across = (width - 1 - scale * (pixels.shape[1] - 1)) / 2
    down = (height - 1 - scale * (pixels.shape[0] - 1)) / 2
    warp = np.array([[scale, 0.0, across], [0.0, scale, down]])
    # Bilinear: 2.5 ms at 1280 x 720, cubic 20; and what moves needs no fine detail.
    cv2.warpAffine(
        pixels, warp, (width, height), dst=target, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def crossfade(one: NDArray[np.uint8], other: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Return a mix of two pictures, `share` of the other, at the size of the larger."""
    size = max(one.shape[1::-1], other.shape[1::-1])
    one, other = (_resized(each, size) for each in (one, other))
    return np.asarray(cv2.addWeighted(one, 1.0 - share, other, share, 0.0), np.uint8)


def _resized(pixels: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)
