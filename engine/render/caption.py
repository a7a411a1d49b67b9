"""A line of text as a picture, laid over the finished one by every hand that draws.

It is drawn at the size at which the picture is seen and not at the generator's own, where it could not be
read: by OpenCV's arithmetic into a film or a window without a GPU, as a texture into one with.
"""

from functools import lru_cache

import cv2
import numpy as np
import pygame.font
from numpy.typing import NDArray

from engine.core.jobs import Caption

_WIDEST = 0.9  # of the picture: a longer line is broken between words
_SHADE = 0.12  # of the letters' height: how far the dark around them reaches
_DARKEST = 0.7  # opacity of that dark


@lru_cache(maxsize=8)
def letters(line: str, height: int, width: int) -> NDArray[np.uint8]:
    """Return the line in white on its own shade, straight RGBA (rows, columns, 4).

    Letters are `height` pixels high; what is wider than `width` is broken.
    """
    if not pygame.font.get_init():
        pygame.font.init()
    font = pygame.font.Font(None, max(height, 8))
    rows = [font.render(row, True, (255, 255, 255)) for row in _broken(line, font, width)]
    border = max(2, round(2 * _SHADE * height))
    across = max(row.get_width() for row in rows)
    ink = np.zeros((len(rows) * font.get_linesize() + 2 * border, across + 2 * border), np.uint8)
    for number, row in enumerate(rows):
        alpha = pygame.surfarray.array_alpha(row).T
        top = border + number * font.get_linesize()
        left = border + (across - row.get_width()) // 2
        ink[top : top + alpha.shape[0], left : left + alpha.shape[1]] = alpha
    reach = max(1, round(_SHADE * height))
    shade = cv2.dilate(ink, np.ones((reach | 1, reach | 1), np.uint8))
    shade = cv2.GaussianBlur(shade, (0, 0), max(reach / 2.0, 0.5)).astype(np.float32) * _DARKEST
    alpha = np.maximum(ink, shade)
    white = np.where(alpha > 0, np.minimum(255.0 * ink / np.maximum(alpha, 1.0), 255.0), 0.0)
    return np.dstack([white, white, white, alpha]).astype(np.uint8)


def _broken(line: str, font: pygame.font.Font, width: int) -> list[str]:
    """Return the line in rows no wider than `width`, broken between words."""
    rows: list[str] = []
    for word in line.split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and font.size(longer)[0] <= width:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows or [" "]


def placed(caption: Caption, width: int, height: int) -> tuple[NDArray[np.uint8], int, int]:
    """Return the letters for a picture of a size, and the column and row of their top left corner in it."""
    picture = letters(caption.line, round(caption.size * height), round(_WIDEST * width))
    left = round(caption.x * width - picture.shape[1] / 2)
    top = round(caption.y * height - picture.shape[0] / 2)
    return picture, left, top


def write(pixels: NDArray[np.uint8], caption: Caption) -> None:
    """Write the line into a picture, uint8 (height, width, 3 or 4), in whatever order its colours are."""
    if not caption.line:
        return
    height, width = pixels.shape[:2]
    picture, left, top = placed(caption, width, height)
    x, y = max(-left, 0), max(-top, 0)
    seen = pixels[max(top, 0) : top + picture.shape[0], max(left, 0) : left + picture.shape[1], :3]
    if not seen.size:
        return
    over = picture[y : y + seen.shape[0], x : x + seen.shape[1]].astype(np.float32)
    alpha = over[..., 3:] * (caption.opacity / 255.0)
    seen[:] = (seen * (1.0 - alpha) + over[..., :3] * alpha + 0.5).astype(np.uint8)
