"""The ruler for the picture: reads the marker where it is seen, on the screen or in a film of it."""

import gc
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine import priority
from engine.clock import monotonic_us
from engine.io import marker
from engine.latency.changes import Changes, Look
from engine.workers.shared import SPAWN

_LOOK_S: Final = 0.001  # between two looks at the marker, where nobody tells when it changes
_READ_S: Final = 300.0  # reading a film of ten thousand markers takes a minute on a busy core
_SEARCH_S: Final = 0.2
_RIM: Final = 6  # pixels around the marker that are taken with it


@dataclass(frozen=True, slots=True)
class Sighting:
    """A marker as it was first seen: not later than `us`, later than `us` - `since_us`."""

    us: float
    since_us: float
    tick: int
    answered: int


# Two clients of the same measurement are in the JACK graph, and need the interpreter in each of its cycles. A
# thread that looks at the screen beside them would make them late, and with them all who play: so the screen
# is watched from a process of its own.
class Screen:
    """Watches the marker on the screen of this machine, from `start` to `stop`.

    The marker is looked for on the whole screen once, then only its place is looked at: whenever the X server
    says that it has changed, and where none says so a thousand times a second. What it says is read
    afterwards. Raise RuntimeError where the screen cannot be read.
    """

    def __init__(self) -> None:
        try:
            import mss
        except ImportError:
            raise RuntimeError("reading the screen needs mss: pip install 'chladni[latency]'") from None
        try:
            mss.MSS().close()
        except Exception as error:  # the library's own, of each platform
            raise RuntimeError(f"the screen can't be read: {error}") from None
        self._pipe, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_watch, args=(theirs,), name="chladni screen", daemon=True)
        self._found = False

    def start(self) -> None:
        """Begin to watch."""
        self._process.start()

    @property
    def found(self) -> bool:
        """Whether a marker has been seen."""
        if not self._found and self._pipe.poll():
            self._found = self._pipe.recv()
        return self._found

    def stop(self) -> tuple[list[Sighting], int]:
        """Return what was seen, and how many looks showed something that no marker was."""
        self._pipe.send(True)
        if not self._found and self._pipe.poll(_READ_S):
            self._found = self._pipe.recv()
        if not self._pipe.poll(_READ_S):
            raise RuntimeError("the process that read the screen does not answer any more")
        sightings, unread = self._pipe.recv()
        self._process.join(_READ_S)
        return sightings, unread

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _watch(pipe: Connection) -> None:
    """Say through the pipe that the marker is there; when anything comes back, what it showed."""
    import mss

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    priority.become_realtime(priority.BESIDE)
    looks: list[Look] = []
    with mss.MSS() as screen:
        place, corner = None, (0, 0)
        while place is None and not pipe.poll(_SEARCH_S):
            place, corner = _search(screen)
        pipe.send(place is not None)
        if place:
            looks.extend(_told(screen, place, pipe))
            looks.extend(_polled(screen, place, pipe))  # if the server has left something untold
    pipe.send(_read(looks, place["width"] if place else 1, corner))


def _told(screen: Any, place: dict[str, int], pipe: Connection) -> Iterator[Look]:
    """Look whenever the X server says that the place has changed, until it changes and none says so."""
    try:
        changes = Changes((place["left"], place["top"], place["width"], place["height"]))
    except RuntimeError:
        return
    with closing(changes):
        last = b""
        while not pipe.poll():
            look = changes.next(_SEARCH_S)
            if not look:
                blue = _grab(screen, place)
                look = changes.next(0.0)
                if not look and blue != (last or blue):
                    return
                last = blue
            if look:
                last = look.blue
                yield look


def _polled(screen: Any, place: dict[str, int], pipe: Connection) -> Iterator[Look]:
    """Look a thousand times a second, and keep what differs from the look before."""
    last, looked_us = b"", monotonic_us()
    while not pipe.poll():
        blue = _grab(screen, place)
        us = monotonic_us()
        if blue != last:
            last = blue
            yield Look(us, us - looked_us, blue)
        looked_us = us
        time.sleep(_LOOK_S)


def _grab(screen: Any, place: dict[str, int]) -> bytes:
    """Return one byte a pixel, its blue."""
    return bytes(screen.grab(place).raw[::4])


def _read(looks: list[Look], width: int, corner: tuple[int, int]) -> tuple[list[Sighting], int]:
    """Return the markers of looks of a width, each once, and how many looks show none."""
    sightings: list[Sighting] = []
    unread = 0
    for look in looks:
        picture = np.frombuffer(look.blue, np.uint8).reshape(-1, width)  # the marker is black and white
        read = marker.read(picture, *corner) or marker.decode(picture)
        if read is None:
            unread += 1
        elif not sightings or read[0] != sightings[-1].tick:
            sightings.append(Sighting(look.us, look.since_us, *read))
    return sightings, unread


def _search(screen: Any) -> tuple[dict[str, int] | None, tuple[int, int]]:
    """Return the place of the marker on any of the screens, None for nowhere, and of its code in there."""
    whole = screen.monitors[0]
    found = marker.find(np.asarray(screen.grab(whole))[..., 0].copy())
    if found is None:
        return None, (0, 0)
    code_left, code_top, right, bottom = found[2]
    left, top = max(code_left - _RIM, 0), max(code_top - _RIM, 0)
    right, bottom = min(right + _RIM, whole["width"]), min(bottom + _RIM, whole["height"])
    return {
        "left": whole["left"] + left, "top": whole["top"] + top,
        "width": right - left, "height": bottom - top,
    }, (code_left - left, code_top - top)  # fmt: skip


@dataclass(frozen=True)
class Film:
    """What a film shows and, where it has a track, sounds like: `sound` is mono, from time 0."""

    sightings: list[Sighting]
    sound: NDArray[np.float32]
    rate: int


def read_film(path: Path) -> Film:
    """Return the markers and the sound of a film of the screen, however it was taken.

    Times are the film's own. Raise ValueError where it can't be read or shows no marker.
    """
    import av

    sightings: list[Sighting] = []
    sound: list[NDArray[np.float32]] = []
    rate = 48_000
    try:
        with av.open(str(path)) as container:
            mono = av.AudioResampler(format="flt", layout="mono", rate=rate)
            before_us = 0.0
            begin_s: float | None = None  # of the sound: encoders put some silence before it
            for frame in container.decode():
                if isinstance(frame, av.AudioFrame):
                    begin_s = frame.time or 0.0 if begin_s is None else begin_s
                    sound += [part.to_ndarray().ravel() for part in mono.resample(frame)]
                elif isinstance(frame, av.VideoFrame) and frame.time is not None:
                    us = frame.time * 1e6
                    read = marker.decode(frame.to_ndarray(format="gray").astype(np.uint8, copy=False))
                    if read and (not sightings or read[0] != sightings[-1].tick):
                        sightings.append(Sighting(us, us - before_us, *read))
                    before_us = us
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{path}: no film that can be read ({error})") from None
    if not sightings:
        raise ValueError(
            f"{path}: no marker is seen in it; play with --marker, and film the code in the corner"
        )
    begin = round((begin_s or 0.0) * rate)
    whole = np.concatenate([np.zeros(max(begin, 0), np.float32), *sound])
    return Film(sightings, whole[max(-begin, 0) :], rate)
