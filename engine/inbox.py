"""The one door into the state: orders what devices deliver, and logs what enters."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from threading import Lock

from engine.core.events import Body, Control, Event
from engine.core.units import SAMPLE_RATE, TICK_SAMPLES

MAX_WAITING = 100_000  # more than that at once is a flood: the newest is dropped and counted
_MANY = 64  # so many values wake the core: it takes them in under half a millisecond
_MAX_AHEAD = 120 * SAMPLE_RATE
_MAX_BEHIND = SAMPLE_RATE


# A note is to be heard as soon as its contract allows, so it wakes the core. A value of a knob or a fader is
# not seen before the next control step, for which the core wakes anyhow: it is taken then, still in the tick
# of its stamp, for nobody has closed that one. Else a thousand of them a second would be a thousand wakings,
# and a core that was asleep finds its code gone from the processor's caches.
class Inbox:
    """Takes (stamp, source, body) from any thread and hands over, in order, what is due.

    `put` never waits and never raises. `due` is called by the core's thread alone. An event enters the tick
    that is open when it is taken, at the earliest the one its stamp lies in; those taken together are in
    the order (stamp, source, arrival). `log` is told of each event in the order in which the core gets it.
    """

    def __init__(self, log: Callable[[Event], None]) -> None:
        self._log = log
        self._arrived: deque[tuple[int, str, Body]] = deque()
        self._bell = Lock()  # held while it is silent
        self._bell.acquire()
        self._waiting: list[tuple[int, str, int, Body]] = []
        self._arrivals = 0
        self.taken = 0
        self.dropped = 0

    def put(self, sample: int, source: str, body: Body) -> None:
        """Deliver a body stamped at a show sample."""
        arrived = self._arrived
        if len(arrived) >= MAX_WAITING:
            self.dropped += 1
            return
        arrived.append((sample, source, body))
        if (type(body) is not Control or len(arrived) >= _MANY) and self._bell.locked():
            with suppress(RuntimeError):  # another thread has just rung
                self._bell.release()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the core is needed, at most `timeout_s`; True if it is. For the core's thread alone."""
        return self._bell.acquire(timeout=max(timeout_s, 0.0))

    def due(self, tick: int) -> list[Event]:
        """Return the events that enter the open tick `tick`, and log them."""
        start = tick * TICK_SAMPLES
        none_waits = not self._waiting or self._waiting[0][0] >= start + TICK_SAMPLES
        if none_waits and not self._arrived:
            return []
        self._bell.acquire(blocking=False)  # what it has rung for is taken here
        for _ in range(len(self._arrived)):
            sample, source, body = self._arrived.popleft()
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
