"""Sound devices: JACK, whatever miniaudio finds, or a timer where there is none."""

import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engine import priority
from engine.clock import monotonic_us
from engine.core.units import SAMPLE_RATE
from engine.io.clockwork import Clockwork
from engine.io.miniaudio_device import BACKENDS, PERIODS, DeviceError, MiniaudioDevice, framed, library
from engine.workers.links import MIDI_BYTES

MAX_BLOCK: Final = 8192  # frames; JACK's own limit
_STARTED_BLOCKS: Final = 8  # the first fill the buffer at once: their times say nothing


class Player(Protocol):
    """What a device plays. All is called in the device's own thread."""

    def block(self, frame: int, us: float, out: NDArray[np.float32]) -> None:
        """Fill `out`, (frames, 2). Its first frame is number `frame` of the device and began at `us`."""

    def midi_in(self, frame: int, port: int, data: bytes, kind: int = MIDI_BYTES) -> None:
        """Take a message that came in at `frame`, or the news that a port was opened or lost."""

    def midi_out(self, frame: int, frames: int) -> list[tuple[int, int, bytes]]:
        """Return the messages due in the block, in order: frame from the block's start, port, bytes."""


class Device(Protocol):
    """A running source of callbacks.

    Frame numbers never go back and jump where sound was lost. `latency_frames` lie between the moment at
    which a block begins (`us`) and the one at which its first frame is heard; `contract_frames` of them
    are within the contract unless the show says otherwise. A block is there in time if it is handed over
    within `patience_frames` of its beginning.
    """

    kind: ClassVar[str]
    rate: int
    block: int  # frames
    latency_frames: int
    contract_frames: int

    @property
    def patience_frames(self) -> int:
        """How long a callback may wait for its block."""

    connections: int  # how often a MIDI output was connected to somebody's input

    @property
    def underruns(self) -> int:
        """How often sound was lost since the opening."""

    @property
    def alive(self) -> bool:
        """Whether it still calls back."""

    def start(self, player: Player) -> None:
        """Begin to call back. Raise DeviceError if it will not."""

    def tend(self) -> None:
        """Do what is slow: called every few hundredths of a second, never in the device's thread."""

    def close(self) -> None:
        """End; no callback runs when it returns. Never raises."""


class Timer(Clockwork):
    """No device: the monotonic clock calls, so that time goes on, and all numbers are real.

    Frame f begins when the clock says so, and counts as heard a buffer later, as from a device with one. So
    an underrun is what it is there: a block that was not rendered when its time to be heard came.
    """

    kind: ClassVar[str] = "none"
    connections = 0

    def __init__(self, block: int) -> None:
        super().__init__()
        self.rate, self.block, self.underruns = SAMPLE_RATE, block, 0
        self.latency_frames = self.contract_frames = PERIODS * block
        self.patience_frames = self.latency_frames
        self._out = np.zeros((block, 2), np.float32)

    @property
    def alive(self) -> bool:
        """A clock cannot be lost."""
        return True

    def start(self, player: Player) -> None:
        """Begin to call back."""
        self._begin(self._run, player)

    def _run(self, player: Player) -> None:
        priority.become_realtime(priority.SOUND)
        us_per_frame = 1e6 / self.rate
        start_us, frame = monotonic_us(), 0
        while not self._stop.is_set():
            due_us = start_us + frame * us_per_frame
            late_us = monotonic_us() - due_us
            if late_us < 0.0:
                time.sleep(-late_us / 1e6)
            elif late_us > self.latency_frames * us_per_frame:
                missed = int(late_us / us_per_frame) // self.block
                self.underruns += 1
                frame += missed * self.block
                due_us += missed * self.block * us_per_frame
            player.block(frame, due_us, self._out)
            player.midi_out(frame, self.block)  # nowhere to go
            frame += self.block


class Miniaudio(MiniaudioDevice):
    """The first of miniaudio's backends that opens. It gives no times: the callback's own are the clock.

    Its latency is its buffer. A gap between two callbacks that is longer than the buffer is an underrun,
    and the frame number jumps by what was lost.
    """

    kind: ClassVar[str] = "miniaudio"
    connections = 0

    def __init__(self, block: int, backends: Sequence[str] = BACKENDS) -> None:
        super().__init__(self._open(block, backends))
        self.block, self.underruns = block, 0
        self.latency_frames = self.contract_frames = PERIODS * block
        self.patience_frames = block // 2
        self._out = np.zeros((MAX_BLOCK, 2), np.float32)

    @staticmethod
    def _open(block: int, backends: Sequence[str]) -> Any:
        miniaudio = library()
        device = framed(miniaudio.PlaybackDevice, block)
        for name in backends:
            with suppress(miniaudio.MiniaudioError):
                return device(
                    output_format=miniaudio.SampleFormat.FLOAT32, nchannels=2, sample_rate=SAMPLE_RATE,
                    callback_periods=PERIODS, backends=[miniaudio.Backend[name]],
                    thread_prio=miniaudio.ThreadPriority.REALTIME, app_name="Chladni",
                )  # fmt: skip
        raise DeviceError(f"no sound device through {', '.join(backends)}")

    def start(self, player: Player) -> None:
        """Begin to call back."""
        self._begin(self._callbacks(player))

    def _callbacks(self, player: Player) -> Generator[NDArray[np.float32] | bytes, int, None]:
        frame = blocks = 0
        wanted = yield b""
        priority.become_realtime(priority.SOUND)
        while True:
            now_us = monotonic_us()
            gap_us, self._called_us = now_us - self._called_us, now_us
            buffer_us = (self.latency_frames + wanted) * 1e6 / self.rate
            if blocks >= _STARTED_BLOCKS and gap_us > buffer_us:
                self.underruns += 1
                frame += round((gap_us - buffer_us) * self.rate / 1e6)
            blocks += 1
            frames = min(wanted, MAX_BLOCK)
            out = self._out[:frames]
            player.block(frame, now_us, out)
            player.midi_out(frame, frames)  # another driver has MIDI here
            frame += frames
            wanted = yield out


def open_device(
    kind: str, block: int, backends: Sequence[str] = BACKENDS, hears_us: Sequence[str | None] = (None,)
) -> Device:
    """Open a device of this kind, not yet calling. Raise DeviceError if there is none.

    `backends` are those that miniaudio may try; it opens the first that works. `hears_us` has, for
    each MIDI output of ours, a part of the names of the JACK ports that it goes to.
    """
    if kind == "jack":
        from engine.io.audio_jack import Jack

        return Jack(hears_us)
    return Miniaudio(block, backends) if kind == "miniaudio" else Timer(block)
