"""Writes the digests of recordings anew, after a change of the core on purpose: `restamp.py FILE ...`."""

import sys
from pathlib import Path

from engine.offline import play
from engine.recording import Recorder, read


def restamp(path: Path) -> None:
    """Play the recording's events through the present core and write its digests beside them."""
    recording = read(path)
    recorder = Recorder(path, recording.show)
    ticks = recording.by_tick()
    for event in ticks.get(0, []):
        recorder.event(event)
    for _, state in play(recording):
        if state.tick % 240 == 0:
            recorder.digest(state.tick, state.digest())
        for event in ticks.get(state.tick, []):
            recorder.event(event)
    recorder.start()
    recorder.close(recording.end_tick)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        restamp(Path(name))
