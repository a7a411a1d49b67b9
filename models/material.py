"""Turns music or text into what the musician's network learns from: lines of classes and conditions."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import alphabet, conditions, works
from models.alphabet import NOTE_OFF, NOTE_ON, STEP_S, TIME_SHIFT, VELOCITY, Note
from models.manifest import Conditions
from models.works import Work

HELD_OUT = 10  # one group in so many is held back
DENSITIES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # notes a second (Performance RNN's bins, less the 64)
DENSITY_S, PITCH_CLASSES_S = 3.0, 5.0  # of the music to come that a condition tells of (Magenta's windows)
STYLE_WORKS = 3  # a style needs so many works to be learnt
BAR_BEATS = 4
RARE = 10  # a character that occurs fewer times is left out


@dataclass(frozen=True)
class Line:
    """One piece as a row of `classes` (n,) and what was asked for at each, `conditions` (n, columns)."""

    classes: NDArray[np.int64]
    conditions: NDArray[np.float16]


@dataclass(frozen=True)
class Material:
    """Pieces to train on, pieces held back, and how a piece becomes a line; with a generator, a varied one.

    `facts` tell what a line means, for the export.
    """

    train: list[Any]
    held: list[Any]
    line: Callable[[Any, np.random.Generator | None], Line]
    classes: int
    layout: Conditions
    facts: dict[str, Any]


def music(
    folders: list[Path],
    style: str | None = None,
    group: str | None = None,
    drums: bool = False,
    plain: bool = False,
) -> Material:
    """Return the music of folders, whole groups held back; see `works.read` for the columns and the errors.

    `plain` leaves the conditions out.
    """
    read = works.read(folders, style, group, drums)
    train, held = split(read, [work.group for work in read])
    counts = Counter(work.style for work in train if work.style)
    styles = tuple(sorted(name for name, count in counts.items() if count >= STYLE_WORKS))
    layout = Conditions(
        densities=DENSITIES, pitch_classes=not drums, bar_beats=BAR_BEATS if drums else 0, styles=styles
    )
    layout = Conditions() if plain else layout
    facts = {
        "kind": "lstm",
        "drums": drums,
        "conditions": layout.model_dump(),
        "notes": sorted({note.pitch for work in read for note in work.notes}),
        "held_groups": sorted({work.group for work in held}),
    }
    return Material(train, held, partial(music_line, layout, drums), alphabet.EVENTS, layout, facts)


def text(path: Path) -> Material:
    """Return the text of a UTF-8 file, whole pieces held back; pieces are parted by an empty line.

    ValueError where the file is unreadable or has fewer than two pieces.
    """
    try:
        whole = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable text in UTF-8 ({error})") from error
    pieces = [
        piece.strip("\n") + "\n\n" for piece in whole.replace("\r\n", "\n").split("\n\n") if piece.strip()
    ]
    if len(pieces) < 2:
        raise ValueError(f"{path}: {len(pieces)} pieces parted by an empty line, two or more needed")
    counts = Counter(whole)
    characters = "".join(sorted({"\n"} | {each for each, count in counts.items() if count >= RARE}))
    train, held = split(pieces, pieces)
    facts = {"kind": "text", "characters": characters}
    return Material(train, held, partial(text_line, characters), len(characters), Conditions(), facts)


def split(pieces: list[Any], groups: list[str]) -> tuple[list[Any], list[Any]]:
    """Return the pieces for training and those held back, whole groups, by the hash of their names."""
    names = sorted(set(groups), key=lambda name: hashlib.sha256(name.encode()).digest())
    held = set(names[: max(1, len(names) // HELD_OUT)])
    pairs = list(zip(pieces, groups, strict=True))
    return [each for each, name in pairs if name not in held], [each for each, name in pairs if name in held]


def text_line(characters: str, piece: str, rng: np.random.Generator | None) -> Line:
    """Return the classes of a piece's characters, unknown ones left out."""
    number = {character: place for place, character in enumerate(characters)}
    classes = np.array([number[each] for each in piece if each in number], np.int64)
    return Line(classes, np.zeros((len(classes), 0), np.float16))


def music_line(layout: Conditions, drums: bool, work: Work, rng: np.random.Generator | None) -> Line:
    """Return a work after a second of silence, transposed and stretched where there is a generator.

    Drums are neither: their pitches are instruments, and their time is that of the beat.
    """
    notes: Iterable[Note] = work.notes
    start = work.notes[0].onset_s if not drums else 0.0
    if rng is not None and not drums:
        notes, start = works.varied(work.notes, rng), 0.0
    events = alphabet.encode((n._replace(onset_s=n.onset_s - start) for n in notes), note_offs=not drums)
    classes = np.array([VELOCITY - 1, *events], np.int64)
    return Line(classes, asked_for(classes, layout, work.style))


# What a condition asks for is read off the music itself: at each event, how many notes begin in the seconds
# after it, and the shares of their pitch classes. On stage the same column then brings such music about.
def asked_for(classes: NDArray[np.int64], layout: Conditions, style: str) -> NDArray[np.float16]:
    """Return what a listener would have asked for at each event, (n, layout.width)."""
    if not layout.width:
        return np.zeros((len(classes), 0), np.float16)
    is_shift = (classes >= TIME_SHIFT) & (classes < VELOCITY)
    now = np.cumsum(np.where(is_shift, classes - TIME_SHIFT + 1, 0)) * STEP_S
    now -= now[0]
    is_note = (classes >= NOTE_ON) & (classes < NOTE_OFF)
    onsets, pitches = now[is_note], classes[is_note]
    struck = np.zeros((len(onsets) + 1, 12))
    struck[np.arange(1, len(onsets) + 1), pitches % 12] = 1.0
    struck = struck.cumsum(0)
    begun = np.concatenate([[0], is_note.cumsum()])[1:]  # notes up to and with each event

    def until(seconds: float) -> NDArray[np.int64]:
        after: NDArray[np.int64] = np.maximum(np.searchsorted(onsets, now + seconds), begun)
        return after

    parts = []
    if layout.densities:
        density = (until(DENSITY_S) - begun) / DENSITY_S
        parts.append(conditions.between(layout.densities, density))
    if layout.pitch_classes:
        parts.append(conditions.shares(struck[until(PITCH_CLASSES_S)] - struck[begun]))
    if layout.bar_beats:
        parts.append(conditions.phases(layout.bar_beats, now * works.BPM / 60.0))
    if layout.styles:
        is_style = [float(style == name) for name in layout.styles]
        parts.append(np.tile(np.array(is_style, np.float32), (len(classes), 1)))
    return np.concatenate(parts, 1).astype(np.float16)
