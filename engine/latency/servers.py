"""The servers that a measurement needs: those that run, or others of its own."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

_SERVER_S, _END_S = 15.0, 5.0
_BLOCK: Final = 128  # frames


@contextmanager
def jack_server() -> Iterator[str]:
    """Yield what serves: the JACK server that runs, or one of our own on the dummy driver."""
    if _jack_runs():
        yield "the JACK server that ran"
        return
    if not shutil.which("jackd"):
        raise RuntimeError("no JACK server runs, and jackd is missing: sudo apt install jackd2")
    name = f"chladni-latency-{os.getpid()}"
    os.environ["JACK_DEFAULT_SERVER"] = name  # for us and for the engine that we start
    for realtime in ("-R", "-r"):
        command = ["jackd", "-n", name, realtime, "-d", "dummy", "-r", "48000", "-p", str(_BLOCK)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if within(_SERVER_S, _jack_runs):
                yield " ".join(command[3:])
                return
        finally:
            _end(server)
    raise RuntimeError("jackd does not start: run `jackd -d dummy` and read what it says")


def _jack_runs() -> bool:
    """Tell whether a JACK server answers. Asked in a process of its own: the library may hang."""
    command = [sys.executable, "-c", "import jack; jack.Client('Probe', no_start_server=True).close()"]
    with suppress(subprocess.TimeoutExpired):
        probe = subprocess.run(command, timeout=5, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return probe.returncode == 0
    return False


@contextmanager
def x_server() -> Iterator[bool]:
    """Yield whether there is a screen: the one that is there, or an X server without one."""
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        yield True
        return
    if not shutil.which("Xvfb"):
        yield False
        return
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x720x24", "-noreset"]
    server = subprocess.Popen(command, pass_fds=(writing,), stderr=subprocess.DEVNULL)
    try:
        os.close(writing)
        with open(reading) as pipe:
            os.environ["DISPLAY"] = f":{pipe.readline().strip()}"
        yield True
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server: told first, then killed."""
    server.terminate()
    try:
        server.wait(_END_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds, at most so long; return whether it does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.1)
    return False
