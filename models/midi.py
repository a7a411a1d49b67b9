"""Reads the notes of Standard MIDI Files for training."""

from collections.abc import Iterator
from pathlib import Path

import mido

from models.alphabet import Note
from models.pedal import SUSTAIN, Key, fold

DRUMS = 9  # channel, counted from 0 (General MIDI level 1)
DEFAULT_TEMPO = 500_000  # microseconds a beat until the file says otherwise (SMF 1.0)


def read_notes(path: Path, drums: bool = False, bpm: float | None = None) -> list[Note]:
    """Return the notes of a file by onset; ValueError if unreadable.

    They are those of all channels but 10 together, or of channel 10 alone where the drums are wanted. With a
    `bpm` the file is read at that tempo, whatever its own.
    """
    try:
        file = mido.MidiFile(path, clip=True)
        if file.type == 2 or file.ticks_per_beat <= 0:
            raise ValueError("format 2 and SMPTE time are not read; save it as format 0 or 1")
        return fold(_keys(file, drums, bpm))
    except Exception as error:  # mido lets EOFError, OSError, KeyError, ... out of a broken file
        raise ValueError(f"{path}: not a readable MIDI file ({error or type(error).__name__})") from error


def _keys(file: mido.MidiFile, drums: bool, bpm: float | None) -> Iterator[Key]:
    at_s, tempo, before = 0.0, DEFAULT_TEMPO, 0
    for tick, message in _merged(file):
        beats = (tick - before) / file.ticks_per_beat
        at_s, before = at_s + beats * (60 / bpm if bpm else tempo / 1e6), tick
        if message.type == "set_tempo":
            tempo = message.tempo
        elif message.is_meta or (getattr(message, "channel", -1) == DRUMS) != drums:
            continue
        elif message.type in ("note_on", "note_off"):
            down = message.type == "note_on"
            yield Key(at_s, message.channel, "on" if down else "off", message.note, message.velocity)
        elif message.type == "control_change" and message.control == SUSTAIN:
            yield Key(at_s, message.channel, "pedal", 0, message.value)
    yield Key(at_s, DRUMS, "off", 0, 0)  # the end of the file, where what still sounds ends


def _merged(file: mido.MidiFile) -> list[tuple[int, mido.Message]]:
    """Return the messages of all tracks with their ticks, in order; mido's own merge copies each of them."""
    messages = []
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            messages.append((tick, message))
    return sorted(messages, key=lambda pair: pair[0])
