"""What crosses between processes: rings, boards and frames, with a real process on the other side."""

import numpy as np
import pytest

from engine.workers.shared import SPAWN, Board, FrameStore, Latest, Ring


def other_side(ring: Ring, board: Board, frames: FrameStore) -> None:
    for number in range(5):
        ring.push(number, number / 2, b"abc")
    board.publish(one=1.0, two=2.0)
    frames.write(16, 2, np.full((4, 6, 3), 7, np.uint8), 99, 1, True, (0.5, 0.25))


def test_another_process_writes_and_this_one_reads() -> None:
    ring, board, frames = Ring("qd4s", 8), Board(("one", "two")), FrameStore(8, 8, 4)
    process = SPAWN.Process(target=other_side, args=(ring, board, frames))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert ring.pop_all() == [(number, number / 2, b"abc\0") for number in range(5)]
    assert board.read("two", "one") == (2.0, 1.0)
    frame = frames.newest(20)
    assert frame is not None
    assert (frame.tick, frame.rung, frame.raw, frame.effects[:2]) == (16, 1, True, (0.5, 0.25))
    assert frame.pixels.shape == (4, 6, 3)
    assert (frame.pixels == 7).all()
    assert frames.newest(15) is None


def test_a_full_ring_refuses_and_counts() -> None:
    ring = Ring("q", 4)
    assert [ring.push(number) for number in range(6)] == [True] * 4 + [False] * 2
    assert ring.refused == 2
    assert [number for (number,) in ring.pop_all()] == [0, 1, 2, 3]
    assert ring.push(9)
    assert ring.pop_all() == [(9,)]


def test_the_bell_rings_once_however_many_were_pushed_and_never_overflows() -> None:
    ring = Ring("q", 4)
    for number in range(10_000):
        ring.push(number)
        ring.pop_all()
    assert ring.wait(0.0)
    assert not ring.wait(0.0)


def test_a_writer_that_died_half_way_does_not_slow_the_readers_for_good() -> None:
    board = Board(("one",))
    board._cells[1] = 5.0  # odd: it died while it wrote
    board.publish(one=3.0)
    assert board._cells[1] % 2.0 == 0.0
    assert board.read("one") == (3.0,)


def test_a_frame_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="9 x 8 does not fit 8 x 8"):
        FrameStore(8, 8, 2).write(0, 0, np.zeros((8, 9, 3), np.uint8), 0, 0, False, ())


def test_the_latest_is_whole_or_not_there() -> None:
    latest = Latest(8)
    assert latest.read() == (0, b"")
    assert latest.write(b"first")
    assert latest.read() == (1, b"first")
    assert not latest.write(b"too long for it")
    assert latest.read() == (1, b"first")
    latest._head[0] += 1  # a writer has begun, or died half way
    assert latest.read() is None
    assert latest.write(b"second")
    read = latest.read()
    assert read
    assert read[1] == b"second"
