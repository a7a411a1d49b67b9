"""Sound inputs: JACK, whatever miniaudio captures from, or a file that goes round."""

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engine import priority
from engine.clock import monotonic_us
from engine.core.units import SAMPLE_RATE
from engine.devices import NULL_DEVICE
from engine.io.clockwork import Clockwork
from engine.io.miniaudio_device import BACKENDS, PERIODS, DeviceError, MiniaudioDevice, framed, library

SUFFIXES: Final = frozenset({".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".aif", ".aiff"})
AUTO: Final = "auto"
_BLOCK: Final = 256  # frames, where it is ours to choose

# Takes the frame number of the block's first sample, when that sample was at the input (monotonic
# microseconds), and the block, mono, which is the input's own and to be copied.
Take = Callable[[int, float, NDArray[np.float32]], None]


class Capture(Protocol):
    """A running input. `block` frames come at a time, `buffer_frames` after they were at the input."""

    kind: ClassVar[str]
    name: str
    rate: int
    block: int
    buffer_frames: int

    @property
    def alive(self) -> bool:
        """Whether it still brings sound."""

    def start(self, take: Take) -> None:
        """Begin to call `take`, in a thread of the input's. Raise DeviceError if it will not."""

    def tend(self) -> None:
        """Do what is slow: called a few times a second, never in the input's thread."""

    def close(self) -> None:
        """End; `take` is not called any more when it returns. Never raises."""


def is_file(device: str) -> bool:
    """Tell whether an input's name means a sound file."""
    return Path(device).suffix.lower() in SUFFIXES


class Loop(Clockwork):
    """A sound file over and over, at the pace of the monotonic clock; it is heard by nobody but the show."""

    kind: ClassVar[str] = "file"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.name, self.rate, self.block, self.buffer_frames = str(path), SAMPLE_RATE, _BLOCK, 0
        self._blocks = _decoded(path)
        self._first = self._next()
        self.alive = True

    def _next(self) -> NDArray[np.float32]:
        import av

        try:
            return next(self._blocks)
        except StopIteration:
            raise DeviceError(f"{self.name}: no sound in it") from None
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DeviceError(f"{self.name}: no sound file that can be read ({reason})") from None

    def start(self, take: Take) -> None:
        """Begin to play."""
        self._begin(self._run, take)

    def _run(self, take: Take) -> None:
        frame, block, start_us = 0, self._first, monotonic_us()
        try:
            while True:
                begun_us = start_us + frame * 1e6 / self.rate
                frame += len(block)
                # A block is whole once its last sample has been heard; what is late is caught up with.
                whole_us = start_us + frame * 1e6 / self.rate
                if self._stop.wait(max(whole_us - monotonic_us(), 0.0) / 1e6):
                    return
                take(frame - len(block), begun_us, block)
                block = self._next()
        except DeviceError:
            self.alive = False


def _decoded(path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield a file's sound in blocks, mono, round and round; nothing where there is none in it."""
    import av

    for _ in cycle((None,)):
        held, silent = np.zeros(0, np.float32), True
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return
            mono = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            for frame in container.decode(audio=0):
                held = np.concatenate([held, *(part.to_ndarray().ravel() for part in mono.resample(frame))])
                while len(held) >= _BLOCK:
                    yield held[:_BLOCK]
                    held, silent = held[_BLOCK:], False
        if silent:
            return


class Microphone(MiniaudioDevice):
    """A capture device of one of miniaudio's backends: the default, or one by part of its name.

    It gives no times: its callbacks' own are the clock, and the block that they bring has just been heard.
    """

    kind: ClassVar[str] = "miniaudio"

    def __init__(self, device: str = AUTO, backends: tuple[str, ...] = BACKENDS) -> None:
        opened, self.name = self._open(device, backends)
        super().__init__(opened)
        self.block, self.buffer_frames = _BLOCK, (PERIODS - 1) * _BLOCK

    @staticmethod
    def _open(device: str, backends: tuple[str, ...]) -> Any:
        miniaudio = library()
        make = framed(miniaudio.CaptureDevice, _BLOCK)
        for name in backends:
            backend = miniaudio.Backend[name]
            with suppress(miniaudio.MiniaudioError):
                found = [
                    each
                    for each in miniaudio.Devices([backend]).get_captures()
                    if not each["name"].startswith(NULL_DEVICE)
                    and (device == AUTO or device.casefold() in each["name"].casefold())
                ]
                if found:
                    chosen = None if device == AUTO else found[0]["id"]
                    opened = make(
                        input_format=miniaudio.SampleFormat.FLOAT32, nchannels=1, sample_rate=SAMPLE_RATE,
                        device_id=chosen, callback_periods=PERIODS, backends=[backend],
                        thread_prio=miniaudio.ThreadPriority.REALTIME, app_name="Chladni",
                    )  # fmt: skip
                    return opened, found[0]["name"]
        wanted = "no sound input" if device == AUTO else f"no sound input has {device!r} in its name"
        raise DeviceError(wanted)

    def start(self, take: Take) -> None:
        """Begin to call back."""
        self._begin(self._callbacks(take))

    def _callbacks(self, take: Take) -> Generator[None, bytes, None]:
        frame = 0
        data = yield
        priority.become_realtime(priority.SOUND)
        while True:
            self._called_us = monotonic_us()
            samples = np.frombuffer(data, np.float32)
            heard_us = self._called_us - (len(samples) + self.buffer_frames) * 1e6 / self.rate
            take(frame, heard_us, samples)
            frame += len(samples)
            data = yield


def open_capture(device: str) -> Capture:
    """Open the input that a show names, not yet calling. Raise DeviceError, with the reason, if it can't be.

    A sound file by its suffix; else the first JACK port or miniaudio device with `device` in its name, or
    what the system has first where it is "auto".
    """
    if is_file(device):
        return Loop(Path(device))
    from engine.io.capture_jack import JackCapture

    try:
        return JackCapture(device)
    except DeviceError:
        backends = tuple(name for name in BACKENDS if name != "JACK")
        return Microphone(device, backends)
