"""Sound rendered ahead of the device: each frame once, in order, and silence where it came too late."""

from threading import Event

import numpy as np
from numpy.typing import NDArray
from staged import until

from engine.io.audio import MAX_BLOCK
from engine.workers.ahead import Ahead

RATE = 48_000


class _Ramp:
    """Renders the number of each frame, so that what was taken can be told; `gate` holds it up."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, int]] = []
        self.gate = Event()
        self.gate.set()

    def __call__(self, frame: int, out: NDArray[np.float32]) -> None:
        self.gate.wait(5.0)
        out[:] = np.arange(frame, frame + len(out))[:, None]
        self.pieces.append((frame, len(out)))


def _take(ahead: Ahead, ramp: _Ramp, frame: int, frames: int) -> NDArray[np.float32]:
    """Take a block, and wait until the one after it is there, as a device does that leaves time for it."""
    out = np.full((frames, 2), -1.0, np.float32)
    assert ahead.take(frame, out)
    until(lambda: ramp.pieces and sum(ramp.pieces[-1]) >= frame + 2 * frames, 5)
    return out


def test_each_frame_is_rendered_once_and_a_block_ahead() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp, RATE)
    try:
        for frame in range(0, 6 * MAX_BLOCK, 512):  # more than once round the ring
            out = _take(ahead, ramp, frame, 512)
            assert (out[:, 0] == np.arange(frame, frame + 512)).all()
        frames = [frame for start, n in ramp.pieces for frame in range(start, start + n)]
        assert frames == list(range(len(frames)))
        assert len(frames) == 6 * MAX_BLOCK + 512
    finally:
        ahead.close()


def test_after_a_jump_the_sound_is_on_its_frame() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp, RATE)
    try:
        _take(ahead, ramp, 0, 128)
        out = _take(ahead, ramp, 1000, 128)
        assert (out[:, 1] == np.arange(1000, 1128)).all()
    finally:
        ahead.close()


def test_a_larger_block_is_taken_too() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp, RATE)
    try:
        _take(ahead, ramp, 0, 64)
        out = _take(ahead, ramp, 64, 4096)
        assert (out[:, 0] == np.arange(64, 64 + 4096)).all()
    finally:
        ahead.close()


def test_what_comes_too_late_is_silent_and_told() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp, RATE)
    try:
        _take(ahead, ramp, 0, 128)
        _take(ahead, ramp, 128, 128)
        ramp.gate.clear()
        out = np.full((128, 2), -1.0, np.float32)
        assert ahead.take(256, out)  # it was rendered before
        assert not ahead.take(384, out)
        assert (out == 0.0).all()
        ramp.gate.set()
        frame = 512
        while not ahead.take(frame, out):  # it goes on where it is soon enough
            assert frame < 512 + 1000 * 128
            frame += 128
        assert (out[:, 0] == np.arange(frame, frame + 128)).all()
    finally:
        ramp.gate.set()
        ahead.close()
