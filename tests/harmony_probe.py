"""A JACK client that is not the engine: plays notes and hears what the engine's MIDI port answers.

    python tests/harmony_probe.py NOTES

Prints, as JSON, for each note the frames until each note that the engine plays out before the next one.
"""

import json
import sys
import time
from itertools import pairwise

import jack

PERIOD = 19_003  # frames between two notes: no multiple of a block or a tick
HELD = 9_001
PITCHES = (60, 64, 67, 72, 71, 67, 65, 62)


def listen(count: int) -> dict[str, object]:
    """Play so many notes; return the distances of the answers, and the frames that JACK skipped."""
    client = jack.Client("Keyboard", no_start_server=True)
    out = client.midi_outports.register("out")
    ear = client.midi_inports.register("ear")
    played: list[int] = []
    answers: list[tuple[int, int]] = []
    starts: list[int] = []
    due: list[tuple[int, tuple[int, int, int]]] = []

    @client.set_process_callback
    def process(frames: int) -> None:
        start = client.last_frame_time
        starts.append(start)
        out.clear_buffer()
        while due and due[0][0] < start + frames:
            frame, message = due.pop(0)
            out.write_midi_event(max(frame - start, 0), message)
            if message[0] == 0x90:
                played.append(max(frame, start))
        for offset, data in ear.incoming_midi_events():
            message = bytes(data)
            if message[0] & 0xF0 == 0x90 and message[2]:
                answers.append((start + offset, message[1]))

    with client:
        client.connect("Chladni:midi_out", ear)
        time.sleep(2.0)  # the engine finds us
        first = client.frame_time + client.samplerate // 4
        for n in range(count):
            pitch = PITCHES[n % len(PITCHES)]
            due.append((first + n * PERIOD, (0x90, pitch, 90)))
            due.append((first + n * PERIOD + HELD, (0x80, pitch, 0)))
        time.sleep(count * PERIOD / client.samplerate + 1.0)
    ends = [*played[1:], played[-1] + PERIOD]
    return {
        "rate": client.samplerate,
        "distances": [
            [frame - note for frame, _ in answers if note <= frame < end]
            for note, end in zip(played, ends, strict=True)
        ],
        "jumps": sum(b - a != client.blocksize for a, b in pairwise(starts)),
    }


if __name__ == "__main__":
    print(json.dumps(listen(int(sys.argv[1]))))
