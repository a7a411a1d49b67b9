"""Starts the workers, watches their signs of life, and brings back those that die or hang."""

from collections.abc import Callable
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

    `target(*arguments)` runs in the child; `board` has the cells of `links.COMMON`.
    """

    def __init__(
        self, name: str, target: Callable[..., None], arguments: tuple[Any, ...], board: Board
    ) -> None:
        self.name, self.board = name, board
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
        self._started_us = monotonic_us()

    @property
    def ready(self) -> bool:
        """Whether the worker can work."""
        return self.board["ready"] > 0.0

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
        seen = self.board["heartbeat_us"]
        limit_s = SILENT_S if seen else START_S
        silent = now - max(seen, self._started_us) > limit_s * 1e6
        if process.is_alive() and not silent:
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
        """End the worker: asked first, then told, then killed."""
        process, self._process = self._process, None
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
