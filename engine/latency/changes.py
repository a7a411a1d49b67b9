"""A place on an X server's screen: when it was drawn upon, in the server's word, and what it then shows."""

from collections import deque
from dataclasses import dataclass
from select import select
from typing import Any, Final

from engine.clock import monotonic_us

_STAMP_US: Final = 1000.0  # the server stamps in whole milliseconds
_FOREIGN_US: Final = 1e6  # a stamp so far from here is of another clock than ours
_PLANES: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen not later than `us` and later than `us` - `since_us`: one byte a pixel, its blue."""

    us: float
    since_us: float
    blue: bytes


@dataclass(frozen=True, slots=True)
class _Change:
    """That the place was drawn upon; `request` is the last of ours that the server had done by then."""

    us: float
    since_us: float
    request: int


# Who looks at the screen again and again knows when a picture came to the time between two looks, and on a
# busy machine that is as long as others please. The server itself says it exactly: DAMAGE tells of each
# drawing as it is done, with a stamp of the monotonic clock, so that it is no matter how late that is read.
# And what a server sends comes in the order in which it did things: a picture that was asked for shows all
# the changes that were told before it, and none of those after.
class Changes:
    """Tells of the changes of `place` (left, top, width, height) on the screen of this machine.

    Raise RuntimeError where no X server tells of its changes.
    """

    def __init__(self, place: tuple[int, int, int, int]) -> None:
        try:
            from Xlib import X, display
            from Xlib.error import DisplayError
            from Xlib.ext import damage
        except ImportError:
            raise RuntimeError("python-xlib is missing: pip install 'chladni[latency]'") from None
        try:
            self._display = display.Display()
        except (DisplayError, OSError) as error:
            raise RuntimeError(f"no X server answers: {error}") from None
        if not self._display.has_extension(damage.extname):
            self._display.close()
            raise RuntimeError("the X server does not tell when it draws (no DAMAGE extension)")
        self._place, self._form = place, X.ZPixmap
        self._root = self._display.screen().root
        self._display.damage_query_version()
        self._root.damage_create(damage.DamageReportRawRectangles)
        self._display.sync()
        for _ in range(self._display.pending_events()):
            self._display.next_event()  # all that was there before is told as a change, too
        self._told: deque[_Change] = deque()

    def next(self, timeout_s: float) -> Look | None:
        """Wait for a change; return what it left to be seen. None where there was none in so long."""
        self._take()
        if not self._told and select([self._display], [], [], timeout_s)[0]:
            self._take()
        if not self._told:
            return None
        asked = self._told[-1].request
        image = self._root.get_image(*self._place, self._form, _PLANES)
        self._take()
        change = self._told.popleft()
        while self._told and self._told[0].request == asked:  # drawn before the picture was taken, too
            change = self._told.popleft()
        return Look(change.us, change.since_us, bytes(image.data[::4]))

    def _take(self) -> None:
        """Take what the server has told."""
        left, top, width, height = self._place
        for _ in range(self._display.pending_events()):
            event: Any = self._display.next_event()
            if event.type != self._display.extension_event.DamageNotify:
                continue
            area, now_us = event.area, monotonic_us()
            if not (-area.width < area.x - left < width and -area.height < area.y - top < height):
                continue
            ago_us = (int(now_us / 1000.0) - event.timestamp) % (1 << 32) * 1000.0
            if ago_us > _FOREIGN_US:
                self._told.append(_Change(now_us, 0.0, event.sequence_number))
                continue
            stamp_us = now_us // 1000.0 * 1000.0 - ago_us
            us = min(now_us, stamp_us + _STAMP_US)
            self._told.append(_Change(us, us - stamp_us, event.sequence_number))

    def close(self) -> None:
        """Leave the server."""
        self._display.close()
