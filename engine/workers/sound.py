"""The sound worker: the synth and the device, in a process of their own."""

import gc
import signal
import sys
from collections import deque
from dataclasses import dataclass
from math import inf
from multiprocessing import parent_process
from threading import Event
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from engine import priority
from engine.clock import DelayLockedLoop, monotonic_us
from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INSTRUMENTS
from engine.core.units import SAMPLE_RATE
from engine.io.audio import Device, open_device
from engine.io.miniaudio_device import BACKENDS, DeviceError
from engine.render.soundfont import instruments
from engine.render.synth import LANES, Instrumentarium, Synth, render_block
from engine.workers.ahead import Ahead
from engine.workers.links import DEVICE_KINDS, MIDI_BYTES, SoundLink

_TEND_S: Final = 0.08
_RETRY_US: Final = 250_000.0  # between two tries to open a device while there is none
_PATIENT_TRIES: Final = 20
_SETTLE_BLOCKS: Final = 16  # the first callbacks come in a rush; the median of their times starts the clock
# An event's way from its driver through the main process to here: by then nearly all have come (with 2 ms,
# 54 of 399 notes came late for JACK's blocks of 128 in a minute). What the contract leaves beyond it is the
# lead of the synth over the device.
WAY_MS: Final = 5.0
_DEEPEST_MS: Final = 50.0  # of that lead: a machine that stalls for longer is not fit for a stage
_FALL: Final = 0.1  # of the meters' peaks, a second: 20 dB
_SWITCH_S: Final = 1e-4  # the longest that a slow thread may keep the interpreter from the callback
_LASTING: Final = {SoundKind.BEND, SoundKind.PRESSURE, SoundKind.TIMBRE, SoundKind.SUSTAIN}  # of a lane
_PREFERENCE: Final = {
    "auto": ("jack", "miniaudio"), "jack": ("jack",), "miniaudio": ("miniaudio",), "none": (),
}  # fmt: skip


@dataclass(frozen=True)
class SoundConfig:
    """Which device, and frames a block where it lets us choose.

    `contract_ms` is the shortest time that the show leaves between an input and its sound.
    `device_latency_ms` is the part of it that is the device's own: None leaves it to the device, "reported"
    takes all that the device reports. `hears_us` has, for each MIDI output of ours, a part of the name of
    the JACK port that hears it.
    """

    device: str = "auto"
    block: int = 256
    contract_ms: float = 25.0
    device_latency_ms: float | Literal["reported"] | None = None
    soundfont: str | None = None
    hears_us: tuple[str | None, ...] = (None,)


@dataclass(frozen=True, slots=True)
class _Due(SoundEvent):
    """A sound event with the monotonic time at which it is to be heard."""

    due_us: float = 0.0


# A block is rendered in one piece, so an event must be here before the block in which it sounds is begun: a
# lead before the device takes that block, and the event may sound in its last frame.
def lead_frames(contract_ms: float, rate: int, block: int, latency_frames: int) -> int:
    """Return how far ahead of the device to render: what the contract leaves, in whole blocks, at least one.

    `latency_frames` of the contract are the device's own.
    """
    per_ms = rate / 1000.0
    left = int((contract_ms - WAY_MS) * per_ms) - latency_frames - block
    return max(min(left, round(_DEEPEST_MS * per_ms)) // block, 1) * block


class _Player:
    """What the device calls: events in, sound and deviations out.

    A device's first blocks settle its clock: their times, taken back to frame 0, have a median, from which
    the delay-locked loop starts. Only then is the opening announced as a new `epoch`; until the main
    process has answered with the frame of show sample 0, events wait and the synth plays on.
    """

    def __init__(self, link: SoundLink, config: SoundConfig) -> None:
        self._link, self._config = link, config
        self._synths: dict[int, Instrumentarium] = {}
        self._rate = 0  # of the synth that plays
        self._lasting: dict[tuple[SoundKind, int, int], SoundEvent] = {}  # by kind, lane and note
        self._queue: list[_Due] = []
        self._begun: deque[tuple[int, _Due]] = deque()  # notes rendered, and the frames on which they begin
        self._outgoing: list[tuple[int, int, int, bytes]] = []
        self._counted = self._failed = 0
        self._ahead: Ahead | None = None
        self._epoch = link.board["epoch"]  # a worker that was restarted goes on counting

    def prepare(self, rate: int) -> None:
        """Make the instruments for a device's rate: slow, and done before it starts.

        A first synth is played and thrown away, so that no note on stage is the first to run its code.
        """
        if rate in self._synths:
            return
        rehearsal, out = Synth(rate, voices=8), np.zeros((self._config.block, 2), np.float32)
        for instrument in range(len(INSTRUMENTS)):
            rehearsal.apply(SoundEvent(0, SoundKind.NOTE_ON, 0, 60, instrument, 0.5))
            rehearsal.render(out)
        self._synths[rate] = instruments(rate, self._config.soundfont)

    def adopt(self, device: Device) -> None:
        """Play on this device from now on; the one before is closed.

        Another rate has another synth: it lets go of what it held when it was left, and is told the levels,
        wheels and pedals of today.
        """
        if self._ahead:
            self._ahead.close()
        self._device, self._synth = device, self._synths[device.rate]
        if device.rate != self._rate:
            self._rate = device.rate
            for lane in range(LANES):
                self._synth.apply(SoundEvent(0, SoundKind.RELEASE, lane, -1, 0, 0.0))
            for event in self._lasting.values():
                self._synth.apply(event)
        self._loop = DelayLockedLoop(device.rate)
        self._starts: list[float] = []
        self._settled = False
        self._begun.clear()
        self._counted = self._failed = 0
        self._ahead = Ahead(self._render)

    def block(self, frame: int, us: float, out: NDArray[np.float32]) -> None:
        """Play one block, rendered before; whatever goes wrong costs this block and is counted."""
        board, device = self._link.board, self._device
        in_time = False
        try:
            self._keep_time(frame, us)
            if self._ahead:
                lead = lead_frames(self._config.contract_ms, device.rate, device.block, self._latency())
                patience_s = device.patience_frames / device.rate - (monotonic_us() - us) / 1e6
                in_time = self._ahead.take(frame, out, lead, patience_s)
            self._tell_begun(frame + len(out))
        except Exception:
            out[:] = 0.0
        if self._settled:  # what the opening itself cost is not counted
            board.add("underruns", device.underruns + self._failed - self._counted + (not in_time))
        self._counted = device.underruns + self._failed

    def _tell_begun(self, end: int) -> None:
        """Tell when the notes begun before frame `end` are heard, as the device's clock has it now."""
        while self._begun and self._begun[0][0] < end:
            frame, event = self._begun.popleft()
            heard_us = self._loop.us_at(frame + self._latency())
            self._link.deviations.push(event.lane, heard_us - event.due_us)

    def _render(self, frame: int, out: NDArray[np.float32]) -> None:
        """Render a piece ahead of the device; whatever goes wrong costs this piece and is counted."""
        began_us = monotonic_us()
        try:
            self._sound(frame, out)
        except Exception:
            out[:] = 0.0
            self._failed += 1
        self._link.board["load"] = (monotonic_us() - began_us) * self._device.rate / (1e6 * len(out))

    def _sound(self, frame: int, out: NDArray[np.float32]) -> None:
        link, board, device = self._link, self._link.board, self._device
        for sample, due_us, kind, lane, note, instrument, value in link.events.pop_all():
            self._queue.append(_Due(sample, SoundKind(kind), lane, note, instrument, value, due_us))
        latency = self._latency()
        origin = self._origin()
        if origin is None:
            render_block(self._synth, [], 0.0, out, device.rate)
        else:
            start = (frame + latency - origin) * SAMPLE_RATE / device.rate
            for offset, event in render_block(self._synth, self._queue, start, out, device.rate):
                if offset < 0:
                    board.add("late_events")
                self._remember(event)
                if event.kind == SoundKind.NOTE_ON:
                    self._begun.append((frame + max(offset, 0), event))
        peaks, fall = np.maximum(out.max(axis=0), -out.min(axis=0)), _FALL ** (len(out) / device.rate)
        board["peak"] = float(peaks.max())
        board["peak_left"] = max(float(peaks[0]), board["peak_left"] * fall)
        board["peak_right"] = max(float(peaks[1]), board["peak_right"] * fall)
        board["voices"] = self._synth.sounding
        board["refused"] = link.midi_in.refused + link.deviations.refused

    def _remember(self, event: SoundEvent) -> None:
        """Keep an event that lasts beyond its notes, in place of the one that it replaces."""
        if event.kind == SoundKind.RELEASE:
            self._lasting.pop((SoundKind.SUSTAIN, event.lane, -1), None)
        elif event.kind == SoundKind.LEVEL or (event.kind in _LASTING and event.note == -1):
            self._lasting[event.kind, event.lane, event.note] = event

    def _latency(self) -> int:
        """Return the frames from the beginning of a block to the end of the contract for it."""
        device, wanted = self._device, self._config.device_latency_ms
        if wanted is None:
            return device.contract_frames
        if wanted == "reported":
            return device.latency_frames
        return round(wanted * device.rate / 1000.0)

    def _keep_time(self, frame: int, us: float) -> None:
        device, loop = self._device, self._loop
        opening = {}
        if not self._settled:
            us_per_frame = 1e6 / device.rate
            self._starts.append(us - frame * us_per_frame)
            if len(self._starts) < _SETTLE_BLOCKS:
                return
            us = float(np.median(self._starts[_SETTLE_BLOCKS // 2 :])) + frame * us_per_frame
            self._settled = True
            self._epoch += 1.0
            opening = {"epoch": self._epoch}
        loop.update(frame, us)
        self._link.board.publish(
            **opening, kind=DEVICE_KINDS.index(device.kind), rate=device.rate, block=device.block,
            latency_frames=self._latency(), beyond_frames=device.latency_frames - self._latency(),
            frame=loop.frame, frame_us=loop.us, frame_period_us=loop.period_us,
        )  # fmt: skip

    def _origin(self) -> float | None:
        """Return the device frame of show sample 0, or None until the main process has said it."""
        board = self._link.board
        return board["origin_frame"] if self._settled and board["origin_epoch"] == self._epoch else None

    def midi_in(self, frame: int, port: int, data: bytes, kind: int = MIDI_BYTES) -> None:
        """Pass a message, or a port's news, to the main process."""
        self._link.midi_in.push(frame, kind, port, len(data), bytes(data))

    def midi_out(self, frame: int, frames: int) -> list[tuple[int, int, bytes]]:
        """Return the messages due in this block: the same rule as for sound."""
        for sample, port, length, data in self._link.midi_out.pop_all():
            self._outgoing.append((sample, port, length, data))
        origin = self._origin()
        if not self._outgoing or origin is None:
            return []
        self._outgoing.sort(key=lambda message: message[0])
        scale, begin = self._device.rate / SAMPLE_RATE, frame + self._latency() - origin
        due = []
        for sample, port, length, data in self._outgoing:
            offset = round(sample * scale - begin)
            if offset >= frames:
                break
            due.append((max(offset, 0), port, data[:length]))
        del self._outgoing[: len(due)]
        return due


def run(link: SoundLink, config: SoundConfig) -> None:
    """Play until the board says stop, on the best device there is at every moment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_S)
    board, parent = link.board, parent_process()
    player = _Player(link, config)
    player.prepare(SAMPLE_RATE)
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would be heard
    priority.become_realtime(priority.SOUND_KEEPER)
    device: Device | None = None
    tried_us, tries = -inf, 0
    pause = Event()
    try:
        while not board["stop"] and (parent is None or parent.is_alive()):
            board["heartbeat_us"] = monotonic_us()
            if device and not device.alive:
                device.close()
                device, tried_us = None, monotonic_us()
            if device is None or device.kind == "none":
                retry = _PREFERENCE[config.device] if monotonic_us() - tried_us > _RETRY_US else ()
                tried_us = monotonic_us() if retry else tried_us
                tries += bool(retry)
                if tries % _PATIENT_TRIES != 1:  # opening every backend in vain takes its time
                    retry = tuple(kind for kind in retry if kind != "miniaudio")
                device = _better(retry, device, player, config)
            device.tend()
            board["connections"] = device.connections
            board["ready"] = 1.0
            pause.wait(_TEND_S)
    finally:
        if device:
            device.close()


def _better(kinds: tuple[str, ...], present: Device | None, player: _Player, config: SoundConfig) -> Device:
    """Return the first of `kinds` that starts, else the timer; the present device is closed for a better.

    Where JACK itself comes first, miniaudio leaves it alone: a server that starts between the two tries
    would be ours without its MIDI.
    """
    backends = [name for name in BACKENDS if name != "JACK" or "jack" not in _PREFERENCE[config.device]]
    for kind in (*kinds, *(("none",) if present is None else ())):
        device = None
        try:
            device = open_device(kind, config.block, backends, config.hears_us)
            player.prepare(device.rate)
            if present:
                present.close()
                present = None
            player.adopt(device)
            device.start(player)
            return device
        except DeviceError:
            if device:
                device.close()
    return present or _better((), None, player, config)
