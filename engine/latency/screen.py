"""The ruler for the picture: reads the marker where it is seen, on the screen or in a film of it."""

from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.clock import monotonic_us
from engine.io import marker

_LOOK_S: Final = 0.0005  # between two looks at the marker
_SEARCH_S: Final = 0.2
_RIM: Final = 6  # pixels around the marker that are taken with it


@dataclass(frozen=True, slots=True)
class Sighting:
    """A marker as it was first seen: not later than `us`, later than `us` - `since_us`."""

    us: float
    since_us: float
    tick: int
    answered: int


class Screen:
    """Watches the marker on the screen of this machine, from `start` to `stop`.

    The marker is looked for on the whole screen once, then only its place is looked at, two thousand times a
    second; what it says is read afterwards. Raise RuntimeError where the screen cannot be read.
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
        self._mss = mss
        self._seen: list[tuple[float, float, Any]] = []
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="screen", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    @property
    def found(self) -> bool:
        """Whether a marker has been seen."""
        return bool(self._seen)

    def _watch(self) -> None:
        with self._mss.MSS() as screen:
            place = None
            while place is None and not self._stop.wait(_SEARCH_S):
                place = _search(screen)
            if place is None:
                return
            last, looked_us = b"", monotonic_us()
            while not self._stop.wait(_LOOK_S):
                shot = screen.grab(place)
                us = monotonic_us()
                if shot.raw != last:
                    last = bytes(shot.raw)
                    self._seen.append((us, us - looked_us, (last, shot.height, shot.width)))
                looked_us = us

    def stop(self) -> tuple[list[Sighting], int]:
        """Return what was seen, and how many looks showed something that no marker was."""
        self._stop.set()
        self._thread.join()
        sightings: list[Sighting] = []
        unread = 0
        for us, since_us, (raw, height, width) in self._seen:
            read = marker.decode(np.frombuffer(raw, np.uint8).reshape(height, width, 4)[..., 0].copy())
            if read is None:
                unread += 1
            elif not sightings or read[0] != sightings[-1].tick:
                sightings.append(Sighting(us, since_us, *read))
        return sightings, unread


def _search(screen: Any) -> dict[str, int] | None:
    """Return the place of the marker on any of the screens."""
    whole = screen.monitors[0]
    found = marker.find(np.asarray(screen.grab(whole))[..., 0].copy())
    if found is None:
        return None
    left, top, right, bottom = found[2]
    left, top = max(left - _RIM, 0), max(top - _RIM, 0)
    right, bottom = min(right + _RIM, whole["width"]), min(bottom + _RIM, whole["height"])
    return {
        "left": whole["left"] + left, "top": whole["top"] + top,
        "width": right - left, "height": bottom - top,
    }  # fmt: skip


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
