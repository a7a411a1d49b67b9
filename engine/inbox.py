"""The one door into the state: orders what devices deliver, and logs what enters."""

from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from queue import Empty, SimpleQueue

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
        self._arrived: SimpleQueue[tuple[int, str, Body]] = SimpleQueue()
        self._woken_by: tuple[int, str, Body] | None = None
        self._waiting: list[tuple[int, str, int, Body]] = []
        self._arrivals = 0
        self.taken = 0
        self.dropped = 0

    def put(self, sample: int, source: str, body: Body) -> None:
        """Deliver a body stamped at a show sample."""
        if self._arrived.qsize() >= MAX_WAITING:
            self.dropped += 1
        else:
            self._arrived.put((sample, source, body))

    def wait(self, timeout_s: float) -> None:
        """Sleep until something is delivered, at most `timeout_s`; called by the core's thread alone."""
        if self._woken_by is None:
            with suppress(Empty):
                self._woken_by = self._arrived.get(timeout=max(timeout_s, 0.0))

    def due(self, tick: int) -> list[Event]:
        """Return the events that enter the open tick `tick`, and log them."""
        start = tick * TICK_SAMPLES
        none_waits = not self._waiting or self._waiting[0][0] >= start + TICK_SAMPLES
        if none_waits and self._woken_by is None and self._arrived.empty():
            return []
        for sample, source, body in self._arrivals_now():
            if sample > start + _MAX_AHEAD or len(self._waiting) >= MAX_WAITING:
                self.dropped += 1
                continue
            self._arrivals += 1
            heappush(self._waiting, (max(sample, start - _MAX_BEHIND), source, self._arrivals, body))
        events: list[Event] = []
        while self._waiting and self._waiting[0][0] < start + TICK_SAMPLES:
            sample, source, _, body = heappop(self._waiting)
            event = Event(tick, sample - start, source, self.taken, body)
            self.taken += 1
            self._log(event)
            events.append(event)
        return events

    def next_sample(self) -> int | None:
        """Return the stamp of the next event that waits for its tick, or None; for the core's thread."""
        return self._waiting[0][0] if self._waiting else None

    def _arrivals_now(self) -> list[tuple[int, str, Body]]:
        arrived = [self._arrived.get_nowait() for _ in range(self._arrived.qsize())]
        if self._woken_by is not None:
            arrived.insert(0, self._woken_by)
            self._woken_by = None
        return arrived
