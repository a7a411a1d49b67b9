"""Ableton Link: the beat of the session on the network as events, and our tempo told to the session."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Event as Signal
from threading import Thread
from typing import Any, Final

from engine.clock import Clock, monotonic_us
from engine.core.events import Body, LinkBeat

Sink = Callable[[int, str, Body], None]
SOURCE: Final = "link"
_POLL_S: Final = 0.02
_TELL_US: Final = 500_000.0  # the beat is told at least so often: two clocks drift by 0.1 ms in that time
_ENABLE_S: Final = 0.5  # one that is enabled at once may overwrite the session's tempo (measured)
_READ_US: Final = 500.0  # a beat that took longer to read has no exact time
_SAME_BPM: Final = 1e-3


class LinkMissing(RuntimeError):
    """There is no Link on this machine; the text says how to get it."""


# Link leads while there is somebody to play with. Its beat is read together with the monotonic time and
# enters as an event, like a MIDI clock's pulses; where the tempo parameter is moved here meanwhile, the
# session is asked for that tempo, and the parameter follows what the session then says. Alone, we lead.
class LinkSession:
    """Takes part in the Link session from `start` to `stop`. Raise LinkMissing without aalink.

    `peers` is how many others take part. The core's thread calls `follow`, which never waits.
    """

    def __init__(self, clock: Clock, sink: Sink, bpm: float, beats_per_bar: int) -> None:
        try:
            import aalink
        except ImportError as error:
            library = "libatomic" in str(error)
            remedy = "sudo apt install libatomic1" if library else "pip install 'chladni[link]'"
            raise LinkMissing(f"Ableton Link: aalink is missing: {remedy}") from error
        self._make: Callable[[float], Any] = aalink.Link
        self._clock, self._sink = clock, sink
        self._level = self._told = bpm
        self._wanted: float | None = None
        self._quantum = float(beats_per_bar)
        self.peers = 0
        self._stop = Signal()
        self._thread = Thread(target=lambda: asyncio.run(self._run()), name="link", daemon=True)

    def start(self) -> None:
        """Join the session."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the session."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def follow(self, bpm: float) -> None:
        """Learn where the tempo parameter stands: moved by anybody but the session, it is proposed there."""
        if bpm != self._level and abs(bpm - self._told) > _SAME_BPM:
            self._wanted = bpm
        self._level = bpm

    async def _run(self) -> None:
        link = self._make(self._level)
        link.quantum = self._quantum
        await asyncio.sleep(_ENABLE_S)
        link.enabled = True
        told_us = 0.0
        while not self._stop.is_set():
            with suppress(Exception):  # whatever the network does to it, the show goes on at its own tempo
                told_us = self._look(link, told_us)
            await asyncio.sleep(_POLL_S)
        link.enabled = False

    def _look(self, link: Any, told_us: float) -> float:
        """Tell the session's beat where it is time to; return when it was last told."""
        self.peers = link.num_peers
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            link.tempo = wanted
        before_us, beat, bpm, after_us = monotonic_us(), link.beat, link.tempo, monotonic_us()
        moved = abs(bpm - self._told) > _SAME_BPM
        if not self.peers or after_us - before_us > _READ_US or not (moved or after_us - told_us > _TELL_US):
            return told_us
        self._told = bpm
        self._sink(self._clock.sample_at((before_us + after_us) / 2.0), SOURCE, LinkBeat(beat, bpm))
        return after_us
