"""Reads the notes of Standard MIDI Files for training, the sustain pedal folded into their lengths."""

from pathlib import Path

import mido
import numpy as np

from models.alphabet import Note

SUSTAIN, PEDAL_DOWN = 64, 64  # controller number; values from here are down (MIDI 1.0)


def read_notes(path: Path) -> list[Note]:
    """Return the notes of a file by onset, all channels but drums (10) together; ValueError if unreadable.

    A note that ends while the pedal of its channel is down sounds until the pedal rises or until the same
    key is struck again.
    """
    try:
        messages = list(mido.MidiFile(path, clip=True))
    except Exception as error:  # mido lets EOFError, OSError, KeyError, ... out of a broken file
        raise ValueError(f"{path}: not a readable MIDI file ({error or type(error).__name__})") from error
    now = 0.0
    sounding: dict[tuple[int, int], tuple[float, int]] = {}  # (channel, pitch) -> (onset, velocity)
    held: dict[int, set[int]] = {}  # channel -> pitches that only its pedal holds; no key while it is up
    notes = []

    def end(channel: int, pitch: int) -> None:
        if (channel, pitch) in sounding:
            onset, velocity = sounding.pop((channel, pitch))
            notes.append(Note(onset, now - onset, pitch, velocity))

    for message in messages:
        now += message.time
        if getattr(message, "channel", 9) == 9:
            continue
        channel = message.channel
        if message.type == "control_change" and message.control == SUSTAIN:
            if message.value >= PEDAL_DOWN:
                held.setdefault(channel, set())
            else:
                for pitch in held.pop(channel, set()):
                    end(channel, pitch)
        elif message.type == "note_on" and message.velocity > 0:
            end(channel, message.note)
            held.get(channel, set()).discard(message.note)
            sounding[channel, message.note] = (now, message.velocity)
        elif message.type in ("note_on", "note_off"):
            if channel in held:
                held[channel].add(message.note)
            else:
                end(channel, message.note)
    for channel, pitch in tuple(sounding):
        end(channel, pitch)
    return sorted(notes)


def read_works(folder: Path) -> dict[str, list[Note]]:
    """Return the notes of each MIDI file below `folder`, by its path there.

    ValueError where the folder is missing, files are unreadable (all named), or fewer than two have notes:
    one is needed to train, another to validate.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; --midi takes a folder of MIDI files")
    works, wrong = {}, []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi")):
        try:
            works[path.relative_to(folder).as_posix()] = read_notes(path)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("\n".join(wrong[:20]))
    works = {name: notes for name, notes in works.items() if notes}
    if len(works) < 2:
        raise ValueError(f"{folder}: {len(works)} MIDI files with notes found, two or more needed")
    return works


def varied(notes: list[Note], rng: np.random.Generator) -> list[Note]:
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
