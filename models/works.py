"""Reads folders of music into works, each with its notes, its style and whose it is."""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from models import midi, musicxml, own_recordings
from models.alphabet import Note

Reader = Callable[[Path], list[Note]]

FOLDER = "folder"  # the column that every folder has: the first folder on the way to the file
BPM = 125.0  # at which music in beats is written down: a beat has 48 time shifts of 10 ms, a triplet 16
# What an electronic kit (Roland TD-11, as in the Groove MIDI Dataset) plays under numbers that General MIDI
# has for something else or for nothing: edges of hi-hat and crashes, the rim of the floor tom.
GENERAL_MIDI_DRUMS = {22: 42, 26: 46, 55: 49, 52: 57, 58: 43}


@dataclass(frozen=True)
class Work:
    """One piece of music: its name, its notes by onset, its style or "", the group that it is split by."""

    name: str
    notes: tuple[Note, ...]
    style: str
    group: str


def readers(drums: bool) -> Mapping[str, Reader]:
    """Return what reads each kind of file, by suffix. Drums come in beats, at `BPM`."""
    if drums:
        smf = partial(midi.read_notes, drums=True, bpm=BPM)
        return {".mid": smf, ".midi": smf, ".chladni": partial(own_recordings.read_notes, drums=True)}
    scores = dict.fromkeys((".mxl", ".musicxml", ".xml"), musicxml.read_notes)
    files = dict.fromkeys((".mid", ".midi"), midi.read_notes)
    return {**files, **scores, ".chladni": own_recordings.read_notes}


def read(folders: list[Path], style: str | None, group: str | None, drums: bool = False) -> list[Work]:
    """Return the works below the folders, by name.

    `style` and `group` name a column of the folder's table, a .csv that lists the files, or `folder`. Of a
    style only what stands before a slash counts; without `group` each file is a group of its own. ValueError
    where a folder or a column is missing, files are unreadable (all named), or fewer than two groups have
    notes: one is needed to train, another to validate.
    """
    reader = readers(drums)
    works, wrong = [], []
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder; --midi takes folders of {', '.join(reader)} files")
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in reader)
        table = columns(folder, paths, {name for name in (style, group) if name})
        for path in tqdm(paths, desc=folder.name, unit=" files", mininterval=1, disable=len(paths) < 200):
            row = table.get(path, {})
            try:
                notes = tuple(reader[path.suffix.lower()](path))
            except ValueError as error:
                wrong.append(str(error))
                continue
            if drums:
                notes = tuple(n._replace(pitch=GENERAL_MIDI_DRUMS.get(n.pitch, n.pitch)) for n in notes)
            name = path.relative_to(folder).as_posix()
            if notes:
                works.append(Work(name, notes, re.split("[/,]", row.get(style, ""))[0], row.get(group, name)))
    if wrong:
        raise ValueError("\n".join(wrong[:20]))
    groups = {work.group for work in works}
    if len(groups) < 2:
        what = group or "file"
        raise ValueError(f"{folders[0]}: {len(groups)} with notes when split by {what}, two or more needed")
    return works


def columns(folder: Path, paths: list[Path], wanted: set[str]) -> dict[Path, dict[str | None, str]]:
    """Return the wanted columns of each file's row in the folder's table; ValueError names what is missing.

    The table is the .csv file that has the wanted columns and one column of paths.
    """
    if not wanted - {FOLDER}:
        first = {path: path.relative_to(folder).parts[:-1] for path in paths}
        return {path: {FOLDER: parts[0] if parts else ""} for path, parts in first.items()}
    known, found = {path.relative_to(folder).as_posix(): path for path in paths}, set[str]()
    for table in sorted(folder.glob("*.csv")):
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found |= set(rows[0]) if rows else set()
        if rows and wanted - {FOLDER} <= set(rows[0]):
            by_path = {known[cell]: row for row in rows for cell in row.values() if cell in known}
            return {path: dict(by_path.get(path, {})) for path in paths}
    raise ValueError(f"{folder}: no table (.csv) with the columns {sorted(wanted)}; found {sorted(found)}")


def varied(notes: tuple[Note, ...], rng: np.random.Generator) -> list[Note]:
    """Return the notes transposed by up to five semitones and stretched by up to 5 %, from their first onset.

    Both ranges are those of Performance RNN's larger augmentation (Oore et al. 2018).
    """
    pitches = [note.pitch for note in notes]
    semitones = int(np.clip(rng.integers(-5, 6), -min(pitches), 127 - max(pitches)))
    stretch = float(rng.choice([0.95, 0.975, 1.0, 1.025, 1.05]))
    start = notes[0].onset_s
    return [
        Note((onset - start) * stretch, duration * stretch, pitch + semitones, velocity)
        for onset, duration, pitch, velocity in notes
    ]
