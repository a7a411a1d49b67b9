"""Burdens on the machine and on the engine's doors while a latency is measured."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Final

from engine.io import osc_bytes
from engine.workers.shared import SPAWN

KINDS: Final = ("cpu", "io", "osc", "midi", "gc")
_OSC_PER_S: Final = 1000
_GC_PER_S: Final = 200
_GC_ARGUMENTS: Final = 120  # each message makes so many objects, under an address that never comes again
_BLOCK_BYTES: Final = 16 << 20

_SPIN: Final = "while True: pass"
_WRITE: Final = """
import os, sys
block = os.urandom(int(sys.argv[2]))
with open(sys.argv[1], "wb", 0) as file:
    while True:
        file.seek(0)
        file.write(block)
        os.fsync(file.fileno())
"""


@contextmanager
def stress(kinds: Sequence[str], osc_port: int) -> Iterator[None]:
    """Carry the burdens while the context lasts; `midi` is the ruler's own to carry.

    cpu: a spinning process on each core. io: a process that writes and flushes without end. osc: 1,000
    messages a second to the engine. gc: 200 large ones, for its garbage collector. Each is a process of its
    own: the ruler's JACK clients, in this one, are not to be late.
    """
    with ExitStack() as stack:
        if "cpu" in kinds:
            for _ in range(os.cpu_count() or 1):
                stack.enter_context(_process([sys.executable, "-c", _SPIN]))
        if "io" in kinds:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            target = os.path.join(folder, "burden")
            stack.enter_context(_process([sys.executable, "-c", _WRITE, target, str(_BLOCK_BYTES)]))
        if "osc" in kinds:
            stack.enter_context(_messages(osc_port, _OSC_PER_S, _fader))
        if "gc" in kinds:
            stack.enter_context(_messages(osc_port, _GC_PER_S, _litter))
        yield


@contextmanager
def _process(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _fader(number: int) -> bytes:
    return osc_bytes.write(f"/burden/fader{number % 8}", (number % 100 / 100.0,))


def _litter(number: int) -> bytes:
    return osc_bytes.write(f"/burden/litter{number}", [argument + 0.5 for argument in range(_GC_ARGUMENTS)])


@contextmanager
def _messages(port: int, per_s: int, message: Callable[[int], bytes]) -> Iterator[None]:
    process = SPAWN.Process(target=_send, args=(port, per_s, message), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _send(port: int, per_s: int, message: Callable[[int], bytes]) -> None:
    """Send messages to a port of this machine, so many a second, for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outlet:
        began = time.monotonic()
        for number in count():
            time.sleep(max(0.0, began + number / per_s - time.monotonic()))
            outlet.sendto(message(number), ("127.0.0.1", port))
