"""Sound that is rendered ahead of the device, by a thread of its own."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine import priority
from engine.io.audio import MAX_BLOCK

_FRAMES: Final = 4 * MAX_BLOCK  # in the ring: what is being played, what is ahead of it, and room
DEEPEST: Final = 2 * MAX_BLOCK  # frames ahead; a larger lead counts as this one

Render = Callable[[int, NDArray[np.float32]], None]


# A callback that renders what it is asked for has only what is left of its own block; whatever the machine
# takes from it in between is heard. Rendered while those before it play, each has their whole time, and the
# callback only copies. The price is known and inside the contract: an event must be here that much earlier.
# The ring is addressed by the device's frames, so that sound stays on its frame whatever is lost.
class Ahead:
    """Fills a ring of frames ahead of a device: `render(frame, out)` is called for each piece of it.

    `take` is for the device's thread alone, `render` runs in a thread of its own from the first `take` to
    `close`.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._ring = np.zeros((_FRAMES, 2), np.float32)
        self._rendered = 0  # up to this frame
        self._largest = 0
        self._wishes: SimpleQueue[tuple[int, int, int] | None] = SimpleQueue()  # from, awaited, as far as
        self._fresh, self._awaited = Event(), False
        self._thread = Thread(target=self._run, name="render", daemon=True)
        self._thread.start()

    def take(self, frame: int, out: NDArray[np.float32], lead: int = 0, patience_s: float = 0.0) -> bool:
        """Fill `out`, (frames, 2), from frame `frame` on, and have the `lead` frames after it rendered.

        The lead is never less than the largest block that was taken. What has not been rendered yet is waited
        for as long as `patience_s`; False where it did not come, and `out` is silent then.
        """
        end, self._largest = frame + len(out), max(self._largest, len(out))
        wish = (frame, end, end + min(max(lead, self._largest), DEEPEST))
        there = self._rendered >= end or self._await(wish, patience_s)
        if there:
            at = frame % _FRAMES
            first = min(_FRAMES - at, len(out))
            out[:first] = self._ring[at : at + first]
            out[first:] = self._ring[: len(out) - first]
        else:
            out[:] = 0.0
        self._wishes.put(wish)  # last, so that the two don't meet at the interpreter
        return there

    def _await(self, wish: tuple[int, int, int], patience_s: float) -> bool:
        self._fresh.clear()
        self._awaited = True
        self._wishes.put(wish)
        self._fresh.wait(max(patience_s, 0.0))
        self._awaited = False
        return self._rendered >= wish[1]

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
            wanted, awaited, until = wish
            self._rendered = max(self._rendered, wanted)  # what was wanted before that is lost
            while self._rendered < until:
                at = self._rendered % _FRAMES
                piece = min(until - self._rendered, self._largest, _FRAMES - at)
                self._render(self._rendered, self._ring[at : at + piece])
                self._rendered += piece
                if self._awaited and self._rendered >= awaited:
                    self._fresh.set()
