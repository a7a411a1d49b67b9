"""Sheets of pictures for people: grids, and rows with a word beside them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]  # (height, width, 3), RGB

GAP = 4  # px
MARGIN = 132  # px, for the words
PAPER, INK = (250, 250, 248), (40, 40, 40)


def tile(picture: Pixels, side: int) -> Pixels:
    """Return a picture at `side` px: averaged where it shrinks, cubic where it grows."""
    if picture.shape[:2] == (side, side):
        return picture
    way = cv2.INTER_AREA if picture.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (side, side), interpolation=way), np.uint8)


def grid(pictures: Sequence[Pixels], columns: int = 8) -> Pixels:
    """Return pictures of one size edge to edge, row by row; the last row is cut where it is not full."""
    rows = len(pictures) // columns
    height, width = pictures[0].shape[:2]
    cells = np.stack(pictures[: rows * columns]).reshape(rows, columns, height, width, 3)
    return np.ascontiguousarray(cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3))


def captioned(captions: Iterable[tuple[str, Iterable[Pixels]]], side: int) -> Image.Image:
    """Return rows of pictures at `side` px, a word beside each; lines of the word are parted by newlines."""
    rows = [(word, list(pictures)) for word, pictures in captions]
    columns = max(len(pictures) for _, pictures in rows)
    width, height = MARGIN + columns * (side + GAP) + GAP, len(rows) * (side + GAP) + GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (word, pictures) in enumerate(rows):
        top = GAP + row * (side + GAP)
        draw.multiline_text((GAP * 2, top + GAP), word, fill=INK)
        for column, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(tile(picture, side)), (MARGIN + column * (side + GAP), top))
    return sheet


def save(picture: Pixels | Image.Image, path: Path) -> None:
    """Write a picture file, and its folder; the name says what kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path, optimize=True, quality=88)
