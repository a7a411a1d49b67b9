"""Sound rendered ahead of the device: each frame once, in order, and silence where it came too late."""

from threading import Event, Timer

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from staged import until

from engine.io.audio import MAX_BLOCK
from engine.workers.ahead import Ahead
from engine.workers.sound import lead_frames


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
    assert ahead.take(frame, out, patience_s=5.0)
    until(lambda: ramp.pieces and sum(ramp.pieces[-1]) >= frame + 2 * frames, 5)
    return out


def test_each_frame_is_rendered_once_and_a_block_ahead() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp)
    try:
        for frame in range(0, 6 * MAX_BLOCK, 512):  # more than once round the ring
            out = _take(ahead, ramp, frame, 512)
            assert (out[:, 0] == np.arange(frame, frame + 512)).all()
        frames = [frame for start, n in ramp.pieces for frame in range(start, start + n)]
        assert frames == list(range(len(frames)))
        assert len(frames) == 6 * MAX_BLOCK + 512
    finally:
        ahead.close()


def test_as_far_ahead_as_is_wanted() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp)
    try:
        out = np.zeros((128, 2), np.float32)
        ahead.take(0, out, lead=512)
        until(lambda: ramp.pieces and sum(ramp.pieces[-1]) == 128 + 512, 5)
        ramp.gate.clear()  # nothing more comes, and all that was ahead is heard
        for frame in range(128, 128 + 512, 128):
            assert ahead.take(frame, out, lead=512)
            assert (out[:, 0] == np.arange(frame, frame + 128)).all()
        assert not ahead.take(128 + 512, out, lead=512)
    finally:
        ramp.gate.set()
        ahead.close()


def test_what_is_not_there_yet_is_waited_for() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp)
    try:
        ramp.gate.clear()
        out = np.zeros((128, 2), np.float32)
        Timer(0.05, ramp.gate.set).start()
        assert ahead.take(0, out, patience_s=5.0)
        assert (out[:, 0] == np.arange(128)).all()
    finally:
        ramp.gate.set()
        ahead.close()


@given(
    st.floats(1.0, 500.0),
    st.sampled_from([44_100, 48_000, 96_000]),
    st.integers(16, 4096),
    st.integers(0, 9000),
)
def test_the_lead_is_what_the_contract_leaves(
    contract_ms: float, rate: int, block: int, latency: int
) -> None:
    lead = lead_frames(contract_ms, rate, block, latency)
    assert lead >= block
    assert lead % block == 0
    if lead > block:  # an event of the block's last frame may come 5 ms after its stamp
        assert lead + block + latency <= (contract_ms - 5.0) * rate / 1000.0
        assert lead <= 0.05 * rate


def test_after_a_jump_the_sound_is_on_its_frame() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp)
    try:
        _take(ahead, ramp, 0, 128)
        out = _take(ahead, ramp, 1000, 128)
        assert (out[:, 1] == np.arange(1000, 1128)).all()
    finally:
        ahead.close()


def test_a_larger_block_is_taken_too() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp)
    try:
        _take(ahead, ramp, 0, 64)
        out = _take(ahead, ramp, 64, 4096)
        assert (out[:, 0] == np.arange(64, 64 + 4096)).all()
    finally:
        ahead.close()


def test_what_comes_too_late_is_silent_and_told() -> None:
    ramp = _Ramp()
    ahead = Ahead(ramp)
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
        while not ahead.take(frame, out, patience_s=0.002):  # it goes on where it is soon enough
            assert frame < 512 + 1000 * 128
            frame += 128
        assert (out[:, 0] == np.arange(frame, frame + 128)).all()
    finally:
        ramp.gate.set()
        ahead.close()
