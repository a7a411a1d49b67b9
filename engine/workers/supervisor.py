"""Starts the workers, watches their signs of life, and brings back those that die or hang."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Semaphore
from typing import Any

import psutil

from engine import priority
from engine.clock import monotonic_us
from engine.workers.gentle import Gently
from engine.workers.shared import SPAWN, Board

SILENT_S = 3.0  # a worker that gives no sign of life for so long hangs
START_S = 30.0  # so long may a worker take from its start to its first sign of life
_GENTLE_S = 90.0  # and one that gives way to what plays
_BACKOFF_S = (0.0, 0.2, 1.0, 5.0)  # before each further restart; a minute of health starts over
_HEALTHY_S = 60.0
_LOOK_S = 0.01  # between two looks whether somebody is overdue; a death is noticed at once
_ASLEEP_S = 1.0  # who has not looked for so long learns nothing from the silence of others
_SETTLED_S = 2.0  # so long must a worker have worked before an understudy is loaded beside it
_UNDERSTUDY_S = 30.0  # after an understudy that died, until the next
_ROOM = 3.0  # times its own memory must be free for a worker to have an understudy


def await_trouble(workers: Iterable["Worker"], seconds: float) -> None:
    """Sleep, no longer than until one of the workers has died or is to be relieved."""
    workers = list(workers)
    sentinels = [worker.sentinel for worker in workers if worker.sentinel is not None]
    until_us = monotonic_us() + 1e6 * seconds
    while monotonic_us() < until_us:
        if wait(sentinels, _LOOK_S) or any(worker.overdue for worker in workers):
            return


@dataclass(frozen=True)
class Usage:
    """Processor seconds so far, over all lives of a worker, and resident memory in MB."""

    cpu_s: float
    memory_mb: float


# A worker that takes seconds to load is not to be missed for seconds. So it may have an understudy: a second
# process that has loaded and warmed all that the first has, and waits for its cue, which costs no processor
# time. It reads nothing of what the two share until then; at the cue it goes on where the other was.
class Worker:
    """One worker process and its history.

    `target(*arguments)` runs in the child, as nice as told from its first moment on. `board` has the cells
    of `links.COMMON`. Where `cued`, the target takes a semaphore besides, which it is to acquire before it
    works, and whether it is to load gently, beside one that plays; `understudied` may be set.
    """

    def __init__(
        self,
        name: str,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        board: Board,
        nice: int = 0,
        cued: bool = False,
    ) -> None:
        self.name, self.board, self._nice, self._cued = name, board, nice, cued
        self._target, self._arguments = target, arguments
        self._process: BaseProcess | None = None
        self._understudy: BaseProcess | None = None
        self._cue: Semaphore | None = None  # the understudy's
        self._own_cue: Semaphore | None = None  # kept: a child opens it by a name that goes with it
        self._started_us = self._died_us = self._woke_us = self._understudy_us = 0.0
        self._looked_us = monotonic_us()
        self._recent = 0
        self._cpu_s: dict[int, float] = {}  # by process, those before included
        self.understudied = False  # whether it is to have an understudy, once there is time and memory
        self.restarts = 0
        self.problem: str | None = None  # why it does not come up, for people

    def start(self, gently: bool = False) -> None:
        """Start a process, `gently` beside one that plays; those before it must be gone."""
        self.board["ready"] = self.board["stop"] = self.board["heartbeat_us"] = self.board["overdue_us"] = 0.0
        self._process, self._own_cue = self._spawn(gently)
        if self._own_cue:
            self._own_cue.release()
        self._started_us = self._looked_us = monotonic_us()
        if gently:
            self.board["heartbeat_us"] = self._started_us + 1e6 * _GENTLE_S

    def _spawn(self, gently: bool) -> tuple[BaseProcess, Semaphore | None]:
        cue = SPAWN.Semaphore(0) if self._cued else None
        arguments = (*self._arguments, cue, gently) if cue else self._arguments
        target = Gently(self._target) if gently else self._target
        process = SPAWN.Process(target=target, args=arguments, name=f"chladni {self.name}", daemon=True)
        process.start()
        if self._nice:
            priority.give_way(process, self._nice)
        return process, cue

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
        return now_us - max(seen, self._started_us, self._woke_us) > limit_s * 1e6

    # One that could run and is not let has no more to gain from being replaced than the machine has: it is
    # waited for, until it counts as silent, or has had the processor for longer than its work can take.
    @property
    def overdue(self) -> bool:
        """Whether the process hangs in what should long be done, and somebody is there to go on with it."""
        due_us = self.board["overdue_us"]
        if not (due_us and self.board["understudy"] and self._process and self._process.pid):
            return False
        if monotonic_us() <= max(due_us, self._woke_us + _ASLEEP_S * 1e6):
            return False
        try:
            process = psutil.Process(self._process.pid)
            if process.status() != psutil.STATUS_RUNNING:
                return True
            times = process.cpu_times()
        except psutil.Error:
            return False  # it has died: its sentinel tells
        return bool(times.user + times.system > self.board["overdue_used_s"] > 0.0)

    @property
    def sentinel(self) -> int | None:
        """What becomes ready when the process dies; None while there is none."""
        return self._process.sentinel if self._process else None

    @property
    def pid(self) -> int | None:
        """The process's id, or None while there is none."""
        return self._process.pid if self._process else None

    def watch(self) -> None:
        """Restart the worker if it is dead or hangs; called a few times a second."""
        now = monotonic_us()
        if now - self._looked_us > _ASLEEP_S * 1e6:
            self._woke_us = now  # all of us were stopped, or the machine was asleep
        self._looked_us = now
        process = self._process
        if process is None:
            if now - self._died_us >= 1e6 * _BACKOFF_S[min(self._recent, len(_BACKOFF_S)) - 1]:
                self.restarts += 1
                self.start()
            return
        if process.is_alive() and not self._silent(now) and not self.overdue:
            if now - self._started_us > _HEALTHY_S * 1e6:
                self._recent = 0
            self._keep_understudy(now)
            return
        if process.is_alive():
            process.kill()
        if self._step_in(now):
            return
        process.join(1.0)
        if self._recent >= 1 and not self.ready:
            self.problem = (
                f"the {self.name} does not start: exit status {process.exitcode}, tried again and again"
            )
        self._process = None
        self._died_us, self._recent = now, self._recent + 1

    def _step_in(self, now_us: float) -> bool:
        """Give the understudy its cue, if there is one that is ready."""
        process, cue = self._understudy, self._cue
        if process is None or cue is None or not process.is_alive() or not self.board["understudy"]:
            return False
        self.board["understudy"] = self.board["heartbeat_us"] = self.board["overdue_us"] = 0.0
        cue.release()
        self._process, self._own_cue, self._understudy, self._cue = process, cue, None, None
        self._started_us = self._understudy_us = now_us
        self.restarts += 1
        return True

    def _keep_understudy(self, now_us: float) -> None:
        """Load an understudy when there is time and memory for it; let go of one that is not wanted."""
        process = self._understudy
        if process is not None and process.is_alive():
            if not self.understudied:
                self._dismiss()
            return
        if process is not None:
            self._dismiss()
            self._understudy_us = now_us + (_UNDERSTUDY_S - _SETTLED_S) * 1e6
        settled = now_us - max(self._started_us, self._understudy_us) > _SETTLED_S * 1e6
        if self._cued and self.understudied and self.ready and settled:
            self._understudy_us = now_us
            needed = _ROOM * 1e6 * self.usage().memory_mb
            if psutil.virtual_memory().available > needed:
                self._understudy, self._cue = self._spawn(gently=True)

    def _dismiss(self) -> None:
        process, self._understudy, self._cue = self._understudy, None, None
        self.board["understudy"] = 0.0
        if process is not None:
            process.kill()  # it holds nothing that anybody waits for
            process.join(1.0)

    def usage(self) -> Usage:
        """Return what the worker has used, its understudy included; zero memory while it is gone."""
        memory_mb = 0.0
        for running in (self._process, self._understudy):
            if running is not None and running.pid is not None:
                with suppress(psutil.Error):  # it died just now: watch() will see
                    process = psutil.Process(running.pid)
                    times = process.cpu_times()
                    self._cpu_s[running.pid] = times.user + times.system
                    memory_mb += process.memory_info().rss / 1e6
        return Usage(sum(self._cpu_s.values()), memory_mb)

    def stop(self) -> None:
        """End the worker for good: asked first, then told, then killed."""
        process, self._process = self._process, None
        self._dismiss()
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
