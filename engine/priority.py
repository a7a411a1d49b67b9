"""Real-time priorities of threads, where the system allows them."""

import os
from contextlib import suppress
from typing import Final

# SCHED_FIFO priorities: whoever is nearer to the ear goes first. JACK's own threads run at 10 and above.
SOUND: Final = 8  # the device's callback, where the device brings no real-time thread
RENDER: Final = 4  # the thread that renders ahead of the callback
SOUND_KEEPER: Final = 3  # threads beside the callback: while one holds the interpreter, the callback waits
CORE: Final = 2
PRESENTER: Final = 1
BESIDE: Final = (
    1  # all others beside the core: while one holds the interpreter, the core waits, and for whom it waits
)
SWITCH_S: Final = 5e-4  # the longest that one of them may keep it, once it is asked for (Python's own: 5 ms)


def become_realtime(priority: int) -> None:
    """Give the calling thread SCHED_FIFO unless it is real-time already; its children do not inherit it."""
    with suppress(OSError, AttributeError):  # no right to it, or no such thing on this system
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            policy = os.SCHED_FIFO | getattr(os, "SCHED_RESET_ON_FORK", 0)
            os.sched_setscheduler(0, policy, os.sched_param(priority))


def become_ordinary() -> None:
    """Take what `become_realtime` gave from the calling thread."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
