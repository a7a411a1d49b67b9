"""Who goes first on the processor, as far as the system lets us say so."""

import os
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Final

# SCHED_FIFO priorities: whoever is nearer to the ear goes first. JACK's own threads run at 10 and above.
SOUND: Final = 8  # the device's callback, where the device brings no real-time thread
RENDER: Final = 4  # the thread that renders ahead of the callback
SOUND_KEEPER: Final = 3  # threads beside the callback: while one holds the interpreter, the callback waits
CORE: Final = 2
PRESENTER: Final = 1
BESIDE: Final = 1  # all others of the main process: the core waits for whoever holds the interpreter
SWITCH_S: Final = 5e-4  # the longest that one of them may keep it, once it is asked for (Python's own: 5 ms)


def become_realtime(priority: int) -> None:
    """Give the calling thread SCHED_FIFO unless it is real-time already; its children do not inherit it."""
    _lift(0, priority)


# A thread of no priority that holds the interpreter, and is put aside by another process just then, holds up
# the core for as long as that process pleases. So who runs beside the core has a priority too, below its own.
def lift(threads: Iterable[Thread]) -> None:
    """Give SCHED_FIFO at BESIDE to those of the threads that are not real-time already."""
    for thread in threads:
        if thread.native_id:
            _lift(thread.native_id, BESIDE)


def _lift(thread: int, priority: int) -> None:
    with suppress(OSError, AttributeError):  # no right to it, or not on this system; or it has ended
        if os.sched_getscheduler(thread) == os.SCHED_OTHER:
            policy = os.SCHED_FIFO | getattr(os, "SCHED_RESET_ON_FORK", 0)
            os.sched_setscheduler(thread, policy, os.sched_param(priority))


def become_ordinary() -> None:
    """Take what `become_realtime` gave from the calling thread."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


# A Python that starts computes for half a second before it comes to a line of its own, one that would make it
# nicer too. So it is made nice from outside, at once.
def give_way(process: BaseProcess, nice: int) -> None:
    """Have a process that has just been started go behind those that are less nice."""
    assert process.pid
    with suppress(OSError, AttributeError):  # it has ended already, or not on this system
        os.setpriority(os.PRIO_PROCESS, process.pid, nice)
