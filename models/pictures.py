"""Reads a folder of pictures for training: checked whole, cropped square, scaled, with their classes."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
FEWEST = 16  # one batch
HELD_BACK = 8  # one picture in so many is held back


@dataclass(frozen=True)
class Pictures:
    """All pictures in memory."""

    pixels: torch.Tensor  # uint8 (count, 3, size, size)
    labels: torch.Tensor  # float32, one-hot, (count, classes); classes may be 0
    classes: tuple[str, ...]
    held: torch.Tensor  # bool (count,): held back for judging
    shares: torch.Tensor  # float32 (count,), how often each is to be drawn beside the others


def read(
    folder: Path,
    size: int,
    column: str | None = None,
    wanted: Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
) -> Pictures:
    """Read every picture below `folder` at `size` px; `column` of its `index.csv` gives the classes.

    `wanted` chooses and orders the classes, each by its name or a part of it, which becomes its name;
    `weights` says how often the pictures of a class are to be drawn (1 without). ValueError, before any
    training, where the folder is missing or has too few pictures, where one is unreadable or smaller than
    `size` (all of them named), or where `index.csv` has no such column, picture or class.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; --images takes a folder of pictures")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < FEWEST:
        kinds = " ".join(sorted(SUFFIXES))
        raise ValueError(f"{folder}: {len(paths)} pictures found, {FEWEST} or more needed ({kinds})")
    names = _names(folder, paths, column) if column else ["" for _ in paths]
    if wanted:
        names, paths = _chosen(names, paths, wanted)
    pixels = np.empty((len(paths), 3, size, size), np.uint8)
    wrong = []
    for number, path in enumerate(tqdm(paths, desc="pictures", unit="")):
        try:
            pixels[number] = _square(path, size)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        more = f"\n... and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise ValueError("\n".join(wrong[:20]) + more)
    classes = tuple(wanted) or (tuple(sorted(set(names))) if column else ())
    unknown = sorted(set(weights or ()) - set(classes))
    if unknown:
        raise ValueError(f"--weight {unknown[0]}: no such class; there are {', '.join(classes) or 'none'}")
    labels = np.array([[name == known for known in classes] for name in names], np.float32)
    shares = np.array([(weights or {}).get(name, 1.0) for name in names], np.float32)
    return Pictures(
        torch.from_numpy(pixels),
        torch.from_numpy(labels).reshape(len(paths), -1),
        classes,
        torch.tensor([is_held_back(path) for path in paths]),
        torch.from_numpy(shares),
    )


def parted(all_of_them: Pictures) -> tuple[Pictures, Pictures]:
    """Return the pictures to train on, and those that are held back."""
    kept, held = (_chosen_by(all_of_them, which) for which in (~all_of_them.held, all_of_them.held))
    return kept, held


def _chosen_by(every: Pictures, which: torch.Tensor) -> Pictures:
    pixels, labels, shares = (each[which] for each in (every.pixels, every.labels, every.shares))
    return Pictures(pixels, labels, every.classes, every.held[which], shares)


def is_held_back(path: Path) -> bool:
    """Tell whether a picture is held back: by the hash of its name, so whatever else is in the folder."""
    return hashlib.sha256(path.name.encode()).digest()[0] % HELD_BACK == 0


def _chosen(names: list[str], paths: list[Path], wanted: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Return the pictures of the wanted classes, under the wanted names."""
    chosen = []
    for part in wanted:
        matching = {part} if part in names else {name for name in names if part in name}
        if len(matching) != 1:
            found = f"{len(matching)} classes have it in their name"
            raise ValueError(f"--classes {part}: {found}; there are {', '.join(sorted(set(names)))}")
        chosen += [(part, path) for name, path in zip(names, paths, strict=True) if name in matching]
    if len(chosen) < FEWEST:
        raise ValueError(f"--classes: {len(chosen)} pictures of these classes, {FEWEST} or more needed")
    return [name for name, _ in chosen], [path for _, path in chosen]


def _square(path: Path, size: int) -> np.ndarray:
    """Return the middle square of a picture as (3, size, size) uint8 RGB; every mode is converted."""
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: unreadable ({error}); remove it or save it again") from error
    width, height = picture.size
    side = min(width, height)
    if side < size:
        raise ValueError(f"{path}: {width} x {height} px; remove it or lower --size to {side} or less")
    left, top = (width - side) // 2, (height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def _names(folder: Path, paths: list[Path], column: str) -> list[str]:
    """Return the class of each picture, from `index.csv`."""
    index = folder / "index.csv"
    if not index.is_file():
        raise ValueError(f"{index}: not found; --label needs it, with the columns `file` and `{column}`")
    with index.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", column} <= rows[0].keys():
        found = ", ".join(rows[0]) if rows else "no rows"
        raise ValueError(f"{index}: columns `file` and `{column}` needed, found {found}")
    classes = {row["file"]: row[column] for row in rows}
    missing = [str(path) for path in paths if path.name not in classes]
    if missing:
        raise ValueError(f"{index}: no row for {', '.join(missing[:20])}")
    return [classes[path.name] for path in paths]
