"""Work that the show does not feel: a thread nicer than the playing generator does it."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, TypeVar

Made = TypeVar("Made")

NICE = 15  # beside a playing generator (10) it gets a quarter of the time; at 19 a full machine never lets it


# Linux keeps the niceness of each thread, and one that has made itself nicer can't go back. So what is loaded
# beside a playing generator is loaded by a thread of its own, nicer than all that plays, and played by
# another, of the playing generators' niceness.
def gently(make: Callable[[], Made]) -> Made:
    """Return what `make` returns, made by a thread that gives way (on Linux, else as any work)."""
    with ThreadPoolExecutor(1, initializer=_give_way) as thread:
        return thread.submit(make).result()


def _give_way() -> None:
    if sys.platform == "linux":
        os.nice(max(0, NICE - os.nice(0)))


# The first that a spawned process unpacks is its target, and the most that a Python does at its start is to
# import what the target's module needs: half a second of work for a generator's. Whoever unpacks a `Gently`
# imports that module gently; all that comes after it, the arguments too, finds it imported.
class Gently:
    """The target of a process, to be imported there by a gentle thread; unpacked, it is the target itself."""

    def __init__(self, target: Callable[..., None]) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Callable[[str, str], Any], tuple[str, str]]:
        return _imported, (self._target.__module__, self._target.__qualname__)

    def __call__(self, *arguments: Any) -> None:
        self._target(*arguments)


def _imported(module: str, name: str) -> Any:
    return gently(lambda: getattr(import_module(module), name))
