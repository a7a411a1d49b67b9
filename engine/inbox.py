"""The one door into the state: orders what devices deliver, and logs what enters."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from threading import Event as Signal

from engine.core.events import Body, Event
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES

MAX_WAITING = 100_000  # more than that at once is a flood: the newest is dropped and counted
_MAX_AHEAD = 120 * SAMPLE_RATE
_MAX_BEHIND = SAMPLE_RATE


class Inbox:
    """Takes (stamp, source, body) from any thread and hands over, in order, what is due.

    `put` never waits and never raises. `due` is called by the core's thread alone. An event enters the tick
    that is open when it is taken, at the earliest the one its stamp lies in; those taken together are in
    the order (stamp, source, arrival). `log` is told of each event in the order in which the core gets it.
    """

    def __init__(self, log: Callable[[Event], None]) -> None:
        self._log = log
        self._arrived: deque[tuple[int, str, Body]] = deque()
        self._waiting: list[tuple[int, str, int, Body]] = []
        self._arrivals = 0
        self._signal = Signal()
        self.taken = 0
        self.dropped = 0

    def put(self, sample: int, source: str, body: Body) -> None:
        """Deliver a body stamped at a show sample."""
        if len(self._arrived) >= MAX_WAITING:
            self.dropped += 1
            return
        self._arrived.append((sample, source, body))
        self._signal.set()

    def wait(self, timeout_s: float) -> None:
        """Sleep until something is delivered, at most `timeout_s`."""
        if timeout_s > 0.0 and self._signal.wait(timeout_s):
            self._signal.clear()

    def due(self, tick: int) -> list[Event]:
        """Return the events that enter the open tick `tick`, and log them."""
        start = tick * TICK_SAMPLES
        while self._arrived:
            sample, source, body = self._arrived.popleft()
            if sample > start + _MAX_AHEAD or len(self._waiting) >= MAX_WAITING:
                self.dropped += 1
                continue
            self._arrivals += 1
            heappush(self._waiting, (max(sample, start - _MAX_BEHIND), source, self._arrivals, body))
        events = []
        while self._waiting and self._waiting[0][0] < start + TICK_SAMPLES:
            sample, source, _, body = heappop(self._waiting)
            event = Event(tick, sample - start, source, self.taken, body)
            self.taken += 1
            self._log(event)
            events.append(event)
        return events
