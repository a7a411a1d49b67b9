"""A JACK client that is not the engine: hears a MIDI source and the engine's sound, and compares frames.

    python tests/probe.py SECONDS MIDI_PORT AUDIO_PORT [-v]

Prints, as JSON, for each note on of the MIDI port the frames until the next onset in the audio port. The
engine's notes are to begin in silence: an onset is the first sample above -80 dB after 50 ms below it.
"""

import json
import sys
import time
from itertools import pairwise

import jack
import numpy as np

QUIET = 1e-4  # -80 dB


def onsets(sound: np.ndarray, rate: int) -> list[int]:
    """Return the samples at which the sound begins after at least 50 ms of quiet."""
    loud = np.flatnonzero(np.abs(sound) > QUIET)
    if not loud.size:
        return []
    first = np.concatenate(([True], np.diff(loud) > rate // 20))
    return [int(sample) for sample in loud[first]]


def listen(seconds: float, midi_port: str, audio_port: str) -> dict[str, object]:
    """Record both ports for a while; return the notes, the onsets and the distances between them."""
    client = jack.Client("Probe", no_start_server=True)
    midi = client.midi_inports.register("midi")
    audio = client.inports.register("audio")
    rate = client.samplerate
    notes: list[int] = []
    blocks: list[tuple[int, np.ndarray]] = []

    @client.set_process_callback
    def process(frames: int) -> None:
        start = client.last_frame_time
        blocks.append((start, np.array(audio.get_array())))
        for offset, data in midi.incoming_midi_events():
            message = bytes(data)
            if message[0] & 0xF0 == 0x90 and message[2]:
                notes.append(start + offset)

    with client:
        client.connect(midi_port, midi)
        client.connect(audio_port, audio)
        time.sleep(seconds)
    first = blocks[0][0]
    sound = np.zeros(blocks[-1][0] + len(blocks[-1][1]) - first, np.float32)
    for start, block in blocks:
        sound[start - first : start - first + len(block)] = block
    heard = [first + sample for sample in onsets(sound, rate)]
    distances = [min((h - note for h in heard if h >= note), default=None) for note in notes]
    return {
        "rate": rate,
        "notes": len(notes),
        "distances": [distance for distance in distances[1:-1] if distance is not None],
        "jumps": sum(b[0] - a[0] != len(a[1]) for a, b in pairwise(blocks)),
    }


if __name__ == "__main__":
    print(json.dumps(listen(float(sys.argv[1]), sys.argv[2], sys.argv[3])))
