"""Sound that is rendered a block ahead of the device, by a thread of its own."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine import priority
from engine.io.audio import MAX_BLOCK

_FRAMES: Final = 4 * MAX_BLOCK  # in the ring: what is being played, the block ahead of it, and room
_PATIENCE: Final = 0.5  # of a block: how long a callback waits for what is being rendered

Render = Callable[[int, NDArray[np.float32]], None]


# A callback that renders what it is asked for has only what is left of its own block; whatever the machine
# takes from it in between is heard. Rendered while the block before it plays, each has a whole block's time,
# and the callback only copies. The price is known and inside the contract: an event must be here a block
# earlier. The ring is addressed by the device's frames, so that sound stays on its frame whatever is lost.
class Ahead:
    """Fills a ring of frames ahead of a device: `render(frame, out)` is called for each piece of it.

    `take` is for the device's thread alone, `render` runs in a thread of its own from the first `take` to
    `close`. It is always as far ahead as the largest block that was taken.
    """

    def __init__(self, render: Render, rate: int) -> None:
        self._render, self._rate = render, rate
        self._ring = np.zeros((_FRAMES, 2), np.float32)
        self._rendered = 0  # up to this frame
        self._largest = 0
        self._wishes: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._fresh, self._awaited = Event(), False
        self._thread = Thread(target=self._run, name="render", daemon=True)
        self._thread.start()

    def take(self, frame: int, out: NDArray[np.float32]) -> bool:
        """Fill `out`, (frames, 2), from frame `frame` on, and have what follows rendered.

        False where it has not been rendered in time; `out` is silent then.
        """
        end, self._largest = frame + len(out), max(self._largest, len(out))
        wish = (frame, end + self._largest)
        there = self._rendered >= end or self._await(end, wish, _PATIENCE * len(out) / self._rate)
        if there:
            at = frame % _FRAMES
            first = min(_FRAMES - at, len(out))
            out[:first] = self._ring[at : at + first]
            out[first:] = self._ring[: len(out) - first]
        else:
            out[:] = 0.0
        self._wishes.put(wish)  # last, so that the two don't meet at the interpreter
        return there

    def _await(self, end: int, wish: tuple[int, int], timeout_s: float) -> bool:
        self._fresh.clear()
        self._awaited = True
        self._wishes.put(wish)
        self._fresh.wait(timeout_s)
        self._awaited = False
        return self._rendered >= end

    def close(self) -> None:
        """End the thread; no device takes from it any more."""
        self._wishes.put(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        priority.become_realtime(priority.RENDER)
        while (wish := self._wishes.get()) is not None:
            with suppress(Empty):
                while (later := self._wishes.get_nowait()) is not None:
                    wish = later
                return
            wanted, until = wish
            self._rendered = max(self._rendered, wanted)  # what was wanted before that is lost
            while self._rendered < until:
                at = self._rendered % _FRAMES
                piece = min(until - self._rendered, self._largest, _FRAMES - at)
                self._render(self._rendered, self._ring[at : at + piece])
                self._rendered += piece
                if self._awaited and self._rendered >= until - self._largest:
                    self._fresh.set()
