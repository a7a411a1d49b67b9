"""What stands in for a device: a thread that keeps time by itself, from its start to its close."""

from collections.abc import Callable
from threading import Event, Thread
from typing import Any


class Clockwork:
    """A thread of its own, which is to end once `_stop` is set."""

    def __init__(self) -> None:
        self._stop = Event()
        self._thread: Thread | None = None

    def _begin(self, run: Callable[..., None], *arguments: Any) -> None:
        self._thread = Thread(target=run, args=arguments, name=type(self).__name__.lower(), daemon=True)
        self._thread.start()

    def tend(self) -> None:
        """Nothing to be done."""

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread:
            self._thread.join(1.0)
