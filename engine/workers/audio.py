"""The process that listens: sound from an input to events, each a fixed time after what it tells of."""

import gc
import signal
import sys
from dataclasses import dataclass
from math import inf
from multiprocessing import parent_process
from queue import Empty, SimpleQueue
from threading import Event
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine import priority
from engine.clock import DelayLockedLoop, monotonic_us
from engine.core.events import AudioBeat, Control
from engine.hearing.ear import BEAT, LEVELS, ONSET, TEMPO, Ear, Told
from engine.io.capture import Capture, open_capture
from engine.io.miniaudio_device import DeviceError
from engine.workers.links import AudioLink, pack_text

ADDRESSES: Final = (*LEVELS, ONSET, TEMPO, BEAT)
CAPTURE_KINDS: Final = ("none", "jack", "miniaudio", "file")
_TEND_S: Final = 0.1
_RETRY_US: Final = 500_000.0  # between two tries to open an input
_SWITCH_S: Final = 1e-4  # the longest that the analysis may keep the interpreter from the input's callback
_BEHIND: Final = 512  # blocks that may wait; what is older is let go


def body(address: int, value: float) -> Control | AudioBeat:
    """Return the event of a record of AUDIO_HEARD."""
    return AudioBeat(value) if ADDRESSES[address] == BEAT else Control(ADDRESSES[address], value)


Block = tuple[int, float, NDArray[np.float32]]


@dataclass(frozen=True)
class AudioConfig:
    """What to listen to, and how: see engine.core.show.Audio."""

    device: str
    latency_ms: float
    gate_db: float
    ceiling_db: float | None


# What is heard at one moment takes effect at another: the block has to be whole, the window has to hold it,
# and this process has to be let run. All that is the input's latency, and it is made constant: every event
# is stamped `latency_ms` after the sound that it tells of, and waits in the inbox until then.
class _Listener:
    """Puts the blocks of one input into the ear, and what the ear tells onto the ring."""

    def __init__(self, link: AudioLink, config: AudioConfig, capture: Capture) -> None:
        self._link, self._config, self._capture = link, config, capture
        self._ear = Ear(capture.rate, config.ceiling_db, config.gate_db)
        self._loop = DelayLockedLoop(capture.rate)
        self._blocks: SimpleQueue[Block] = SimpleQueue()
        self._first: int | None = None  # frame of the ear's sample 0
        self._heard = 0  # samples

    def take(self, frame: int, us: float, samples: NDArray[np.float32]) -> None:
        """Keep a block; called in the input's thread."""
        self._blocks.put((frame, us, samples.copy()))

    def listen(self, timeout_s: float) -> None:
        """Hear what has come, waiting for it if there is nothing."""
        try:
            frame, us, samples = self._blocks.get(timeout=timeout_s)
            while self._blocks.qsize() > _BEHIND:
                frame, us, samples = self._blocks.get_nowait()
        except Empty:
            return
        self._loop.update(frame, us)
        self._first = frame - self._heard  # anew each time: frames that the input lost were not heard
        self._heard += len(samples)
        for told in self._ear.hear(samples):
            self._tell(told)
        board, capture = self._link.board, self._capture
        board["rate"], board["block"] = capture.rate, capture.block
        board["buffer_frames"] = capture.buffer_frames
        board["spoiled"], board["bpm"] = self._ear.spoiled, self._ear.bpm
        board["level"], board["ceiling_db"] = max(self._ear.levels[0], 0.0), self._ear.ceiling_db

    def rest(self) -> None:
        """Let go of all that stands: the input is gone."""
        for told in self._ear.rest():
            self._tell(told)

    def _tell(self, told: Told) -> None:
        board = self._link.board
        heard_us = self._loop.us_at((self._first or 0) + told.sample)
        due_us = heard_us + 1000.0 * self._config.latency_ms
        self._link.heard.push(due_us, ADDRESSES.index(told.address), told.value)
        now_us = monotonic_us()
        board.add("told")
        board.add("late", float(now_us > due_us))
        board["longest_us"] = max(board["longest_us"], now_us - heard_us)


def run(link: AudioLink, config: AudioConfig) -> None:
    """Listen until the board says stop, to the input whenever it is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_S)
    board, parent = link.board, parent_process()
    Ear(48_000, None, -60.0)  # its libraries are loaded before the input runs
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles
    priority.become_realtime(priority.SOUND_KEEPER)
    capture: Capture | None = None
    listener: _Listener | None = None
    tried_us, reason = -inf, ""
    pause = Event()
    board["ready"] = 1.0
    try:
        while not board["stop"] and (parent is None or parent.is_alive()):
            board["heartbeat_us"] = monotonic_us()
            if capture and listener and not capture.alive:
                listener.rest()
                link.says.push(pack_text(f"audio: {capture.name} is gone; it is waited for"))
                capture.close()
                capture, listener, reason = None, None, ""
            if capture is None and monotonic_us() - tried_us > _RETRY_US:
                tried_us = monotonic_us()
                try:
                    capture = open_capture(config.device)
                    listener = _Listener(link, config, capture)
                    capture.start(listener.take)
                    board.add("openings")
                except DeviceError as error:
                    if capture:
                        capture.close()
                    capture, listener = None, None
                    if str(error) != reason:
                        reason = str(error)
                        link.says.push(pack_text(f"audio: {reason}; chladni devices lists them"))
                board["kind"] = CAPTURE_KINDS.index(capture.kind if capture else "none")
            if capture and listener:
                capture.tend()
                listener.listen(_TEND_S)
            else:
                pause.wait(_TEND_S)
    finally:
        if capture:
            capture.close()
