"""What crosses between processes: rings of records, frames, boards of numbers and texts in shared memory.

Nothing here is pickled while playing: each object lies in one block of memory that multiprocessing hands
to a child at its start. Every ring has one writing and one reading process. A count is published after the
data that it covers (CPython's evaluation loop and the strong store order of x86, or the barriers of the
interpreter lock elsewhere, keep that order).
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Semaphore
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPAWN = get_context("spawn")  # forked children would inherit the window, the device and their locks


class _Shared:
    """A block of memory that spawned children inherit; the last process to go frees it.

    `RawArray` lies in an unlinked file, so nothing is left behind even after SIGKILL of everything.
    """

    def __init__(self, size: int) -> None:
        self._memory = SPAWN.RawArray("B", size)
        self._open(memoryview(self._memory).cast("B"))

    def _open(self, buffer: memoryview) -> None:
        """Keep the views into `buffer` that the object works with."""
        self._buffer = buffer

    def __getstate__(self) -> dict[str, Any]:
        views = (np.ndarray, memoryview)
        return {name: value for name, value in self.__dict__.items() if not isinstance(value, views)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open(memoryview(self._memory).cast("B"))


class Ring(_Shared):
    """A bounded queue of records of one struct format, from one process to one other.

    `push` never waits: a full ring refuses and counts (`refused`). `wait` sleeps until something was
    pushed. `capacity` is rounded up to a power of two.
    """

    def __init__(self, record: str, capacity: int) -> None:
        self._record = struct.Struct("<" + record)
        self._capacity = 1 << (capacity - 1).bit_length()
        self._bell: Semaphore = SPAWN.BoundedSemaphore(1)  # binary: it rings or it does not
        self._bell.acquire()
        super().__init__(24 + self._record.size * self._capacity)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_record": self._record.format}  # a Struct does not pickle

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"_record": struct.Struct(state["_record"])})

    def _open(self, buffer: memoryview) -> None:
        self._counts = buffer[:24].cast("q")  # written, read, refused
        self._data = buffer[24:]

    def push(self, *fields: Any) -> bool:
        """Append one record and ring the bell; return False, and count it, when the ring is full."""
        written = self._counts[0]
        if written - self._counts[1] >= self._capacity:
            self._counts[2] += 1
            return False
        at = (written & (self._capacity - 1)) * self._record.size
        self._record.pack_into(self._data, at, *fields)
        self._counts[0] = written + 1
        self.ring()
        return True

    def pop_all(self) -> list[tuple[Any, ...]]:
        """Take every record that is there, oldest first."""
        read, written = self._counts[1], self._counts[0]
        if read == written:
            return []
        mask, size = self._capacity - 1, self._record.size
        records = [self._record.unpack_from(self._data, (i & mask) * size) for i in range(read, written)]
        self._counts[1] = written
        return records

    # The system counts such a wait on the wall clock (sem_timedwait, POSIX.1-2017). One that is set back by
    # an hour would make it an hour longer, so whoever notices rings.
    def wait(self, timeout_s: float) -> bool:
        """Sleep until a push, at most `timeout_s`; True if there was one (it may be popped already)."""
        return self._bell.acquire(timeout=timeout_s)

    def ring(self) -> None:
        """Wake who waits."""
        with suppress(ValueError):  # it rings already
            self._bell.release()

    @property
    def refused(self) -> int:
        """How many records did not fit."""
        return int(self._counts[2])


class Latest(_Shared):
    """The latest of something that changes: up to `size` bytes, written by one process, read by any.

    What is written too often for a reader to see is simply not seen. `count` tells how often that was.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(16 + size)

    def _open(self, buffer: memoryview) -> None:
        self._head = buffer[:16].cast("q")  # twice the number of writes, odd while one goes on; length
        self._data = buffer[16:]

    @property
    def count(self) -> int:
        """How often something was written."""
        return int(self._head[0]) // 2

    def write(self, data: bytes) -> bool:
        """Put `data` in place of what was there; return False, and leave that, where it is too long."""
        if len(data) > self.size:
            return False
        begun = self._head[0] // 2 * 2 + 1
        self._head[0] = begun
        self._head[1] = len(data)
        self._data[: len(data)] = data
        self._head[0] = begun + 1
        return True

    def read(self) -> tuple[int, bytes] | None:
        """Return what `count` was, and what is there; None while it is just being written (ask again)."""
        before = self._head[0]
        data = bytes(self._data[: self._head[1]])
        return (int(before) // 2, data) if before % 2 == 0 and self._head[0] == before else None


class Board(_Shared):
    """Named numbers (float64), each written by one process, and a sequence for reading several at once.

    `board["late"]` and `board["late"] = 3.0` are single, atomic accesses. Integers are exact up to 2**53:
    monotonic nanoseconds are for 104 days of uptime, so times are kept in microseconds.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._index = {name: position for position, name in enumerate(names)}
        super().__init__(8 * (len(names) + 1))

    def _open(self, buffer: memoryview) -> None:
        self._cells = buffer.cast("d")

    def __getitem__(self, name: str) -> float:
        return float(self._cells[self._index[name]])

    def __setitem__(self, name: str, value: float) -> None:
        self._cells[self._index[name]] = value

    def add(self, name: str, amount: float = 1.0) -> None:
        """Count; only the one writing process may."""
        self._cells[self._index[name]] += amount

    def publish(self, **values: float) -> None:
        """Write several numbers that belong together (one writer): `read` never sees half of them."""
        last = len(self._index)
        self._cells[last] = self._cells[last] // 2.0 * 2.0 + 1.0  # odd: being written, or its writer died
        for name, value in values.items():
            self._cells[self._index[name]] = value
        self._cells[last] += 1.0

    def read(self, *names: str) -> tuple[float, ...]:
        """Read several numbers as one `publish` left them."""
        last = len(self._index)
        for _ in range(1000):
            before = self._cells[last]
            values = tuple([self._cells[self._index[name]] for name in names])
            if before % 2.0 == 0.0 and self._cells[last] == before:
                return values
        return values  # the writer died half way: half new is better than nothing

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)


@dataclass(frozen=True)
class Frame:
    """A picture out of the store.

    `pixels` is a read-only view, uint8 (height, width, 3) RGB, good until `slots` newer frames are written.
    `raw` tells that the effects have not been applied yet: the presenter's shaders do it.
    `share` is how much of the picture it is to be, beside that of a generator that leaves.
    """

    tick: int
    pixels: NDArray[np.uint8]
    ready_us: int  # monotonic time at which it was finished
    rung: int
    raw: bool
    effects: tuple[float, ...]
    share: float = 1.0


class FrameStore(_Shared):
    """The last few pictures, by tick, from the generator's process to the presenter's.

    A slot's tick is cleared before its pixels change and set after, so a reader that finds the tick it
    asked for finds the whole picture.
    """

    _HEADER = struct.Struct("<qqqqqqd32d")  # tick, height, width, ready_us, rung, raw, share, effects

    def __init__(self, height: int, width: int, slots: int = 8) -> None:
        self._slots = slots
        self._stride = (self._HEADER.size + height * width * 3 + 63) & ~63
        self.height, self.width = height, width
        super().__init__(self._stride * slots)
        for slot in range(slots):
            self._set_tick(slot, -1)

    def _open(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._bytes = np.frombuffer(buffer, np.uint8)

    def _set_tick(self, slot: int, tick: int) -> None:
        struct.pack_into("<q", self._buffer, slot * self._stride, tick)

    def write(
        self, tick: int, frame: int, pixels: NDArray[np.uint8], ready_us: int, rung: int, raw: bool,
        effects: Sequence[float], share: float = 1.0,
    ) -> None:  # fmt: skip
        """Store frame number `frame`; raise ValueError if it is larger than the store was made for."""
        height, width = pixels.shape[:2]
        if height > self.height or width > self.width:
            raise ValueError(f"a frame of {width} x {height} does not fit {self.width} x {self.height}")
        slot = frame % self._slots
        at = slot * self._stride
        self._set_tick(slot, -1)
        data = at + self._HEADER.size
        self._bytes[data : data + pixels.size] = pixels.reshape(-1)
        padded = (*effects, *([0.0] * (32 - len(effects))))
        self._HEADER.pack_into(self._buffer, at, -1, height, width, ready_us, rung, int(raw), share, *padded)
        self._set_tick(slot, tick)

    def newest(self, tick: int) -> Frame | None:
        """Return the newest frame at or before `tick`, or None while there is none."""
        best, found = -1, None
        for slot in range(self._slots):
            (at_tick,) = struct.unpack_from("<q", self._buffer, slot * self._stride)
            if best < at_tick <= tick:
                best, found = at_tick, slot
        if found is None:
            return None
        at = found * self._stride
        _, height, width, ready_us, rung, raw, share, *effects = self._HEADER.unpack_from(self._buffer, at)
        data = at + self._HEADER.size
        pixels = self._bytes[data : data + height * width * 3].reshape(height, width, 3)
        pixels.flags.writeable = False
        return Frame(best, pixels, ready_us, rung, bool(raw), tuple(effects), share)
