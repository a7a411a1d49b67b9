"""Starts the workers, watches their signs of life, and brings back those that die or hang."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from engine.clock import monotonic_us
from engine.workers.shared import SPAWN, Board

SILENT_S = 3.0  # a worker that gives no sign of life for so long hangs
START_S = 30.0  # so long may a worker take from its start to its first sign of life
_BACKOFF_S = (0.0, 0.2, 1.0, 5.0)  # before each further restart; a minute of health starts over
_HEALTHY_S = 60.0


@dataclass(frozen=True)
class Usage:
    """Processor seconds so far, over all lives of a worker, and resident memory in MB."""

    cpu_s: float
    memory_mb: float


class Worker:
    """One worker process and its history.

    `target(*arguments)` runs in the child, as nice as told from its first moment on: a Python that starts
    works hard. `board` has the cells of `links.COMMON`.
    """

    def __init__(
        self, name: str, target: Callable[..., None], arguments: tuple[Any, ...], board: Board, nice: int = 0
    ) -> None:
        self.name, self.board, self._nice = name, board, nice
        self._target, self._arguments = target, arguments
        self._process: BaseProcess | None = None
        self._started_us = self._died_us = 0.0
        self._recent = 0
        self._past_cpu_s = self._last_cpu_s = 0.0
        self.restarts = 0
        self.problem: str | None = None  # why it does not come up, for people

    def start(self) -> None:
        """Start a process; those before it must be gone."""
        self.board["ready"] = self.board["stop"] = self.board["heartbeat_us"] = 0.0
        self._process = SPAWN.Process(
            target=self._target, args=self._arguments, name=f"chladni {self.name}", daemon=True
        )
        self._process.start()
        if self._nice and self._process.pid:
            with suppress(OSError, AttributeError):  # it has ended already, or not on this system
                os.setpriority(os.PRIO_PROCESS, self._process.pid, self._nice)
        self._started_us = monotonic_us()

    @property
    def ready(self) -> bool:
        """Whether the worker can work."""
        return self.board["ready"] > 0.0

    @property
    def fault(self) -> str | None:
        """Why the worker does not come up, for people; None while it may, or can work."""
        process = self._process
        if process is None or self.ready:
            return None
        if process.is_alive():
            return "it hangs while it is loading" if self._silent(monotonic_us()) else None
        status = process.exitcode or 0
        return f"it ended while it was loading ({f'signal {-status}' if status < 0 else f'status {status}'})"

    def _silent(self, now_us: float) -> bool:
        """Tell whether the process has given no sign of life for too long."""
        seen = self.board["heartbeat_us"]
        limit_s = SILENT_S if seen else START_S
        return now_us - max(seen, self._started_us) > limit_s * 1e6

    @property
    def pid(self) -> int | None:
        """The process's id, or None while there is none."""
        return self._process.pid if self._process else None

    def watch(self) -> None:
        """Restart the worker if it is dead or hangs; called a few times a second."""
        now = monotonic_us()
        process = self._process
        if process is None:
            if now - self._died_us >= 1e6 * _BACKOFF_S[min(self._recent, len(_BACKOFF_S)) - 1]:
                self.restarts += 1
                self.start()
            return
        if process.is_alive() and not self._silent(now):
            if now - self._started_us > _HEALTHY_S * 1e6:
                self._recent = 0
            return
        if process.is_alive():
            process.kill()
        process.join(1.0)
        if self._recent >= 1 and not self.ready:
            self.problem = (
                f"the {self.name} does not start: exit status {process.exitcode}, tried again and again"
            )
        self._process = None
        self._past_cpu_s, self._last_cpu_s = self._past_cpu_s + self._last_cpu_s, 0.0
        self._died_us, self._recent = now, self._recent + 1

    def usage(self) -> Usage:
        """Return what the worker has used; zero memory while it is gone."""
        memory_mb = 0.0
        if self._process is not None and self._process.pid is not None:
            try:
                process = psutil.Process(self._process.pid)
                times = process.cpu_times()
                self._last_cpu_s = times.user + times.system
                memory_mb = process.memory_info().rss / 1e6
            except psutil.Error:
                pass  # it died just now: watch() will see
        return Usage(self._past_cpu_s + self._last_cpu_s, memory_mb)

    def stop(self) -> None:
        """End the worker for good: asked first, then told, then killed."""
        process, self._process = self._process, None
        self._arguments = ()  # and let go of its shared memory
        if process is None:
            return
        self.board["stop"] = 1.0
        process.join(1.0)
        if process.is_alive():
            process.terminate()
            process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join(1.0)
