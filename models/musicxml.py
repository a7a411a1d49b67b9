"""Reads the notes of MusicXML scores, compressed or not, for training."""

import warnings
from pathlib import Path

import numpy as np

from models.alphabet import Note

BPM = 96.0  # where a score says nothing, as a show
VELOCITY = 64  # a score has dynamics, and no velocities


def read_notes(path: Path, bpm: float | None = None) -> list[Note]:
    """Return the notes of all parts by onset, ties joined, played as written; ValueError if unreadable.

    The score's tempo marks hold, or `bpm` throughout where it is given. Repeats are played once.
    """
    from partitura import load_musicxml, score  # here, since it takes a second

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is chatty about what it passes over
            read = load_musicxml(path)
            notes = [row for part in read.parts if part.notes_tied for row in _rows(part)]
            marks = {
                float(part.quarter_map(mark.start.t)): float(mark.bpm)
                for part in reversed(read.parts)
                for mark in part.iter_all(score.Tempo)
                if mark.bpm and mark.bpm > 0
            }
    except Exception as error:  # lxml's, zipfile's and the parser's own
        raise ValueError(f"{path}: not a readable MusicXML file ({error or type(error).__name__})") from error
    if not notes:
        return []
    onsets, lengths, pitches = np.array(notes).T
    start = min(onsets.min(), 0.0)  # an upbeat begins before quarter 0
    begin = seconds_at(onsets, start, {} if bpm else marks, bpm or BPM)
    end = seconds_at(onsets + lengths, start, {} if bpm else marks, bpm or BPM)
    return sorted(
        Note(float(at), float(until - at), int(pitch), VELOCITY)
        for at, until, pitch in zip(begin, end, pitches, strict=True)
    )


def _rows(part: object) -> np.ndarray:
    table = part.note_array()  # type: ignore[attr-defined]
    return np.stack([table["onset_quarter"], table["duration_quarter"], table["pitch"]], -1)


def seconds_at(quarters: np.ndarray, start: float, marks: dict[float, float], bpm: float) -> np.ndarray:
    """Return the times of positions in quarter notes, from `start`: a mark's tempo holds until the next."""
    tempi = {start: bpm} | {max(place, start): tempo for place, tempo in sorted(marks.items())}
    places = np.array(sorted(tempi))
    pace = np.array([60.0 / tempi[place] for place in places])  # seconds a quarter
    elapsed = np.concatenate([[0.0], np.cumsum(np.diff(places) * pace[:-1])])
    now = np.searchsorted(places, quarters, side="right").clip(1) - 1
    seconds: np.ndarray = elapsed[now] + (quarters - places[now]) * pace[now]
    return seconds
