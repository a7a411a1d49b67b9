"""OSC over UDP: what arrives becomes events, what the show tells is sent."""

import socket
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from threading import Thread
from typing import Any, Final

from pythonosc.osc_message_builder import BuildError, OscMessageBuilder

from engine.clock import Clock, monotonic_us, wall_us
from engine.core.events import (
    MODEL_NAME,
    Back,
    Body,
    Continue,
    Control,
    Go,
    NoteOff,
    NoteOn,
    Start,
    Stop,
    Swap,
    Tap,
)
from engine.core.parameters import level_named
from engine.io import osc_bytes

Sink = Callable[[int, str, Body], None]
SOURCE: Final = "osc"
MAX_AHEAD_US: Final = 60e6  # a time tag further in the future is a mistake
_COMMANDS: Final[dict[str, Body]] = {
    "/chladni/go": Go(),
    "/chladni/back": Back(),
    "/chladni/tap": Tap(),
    "/chladni/start": Start(),
    "/chladni/stop": Stop(),
    "/chladni/continue": Continue(),
}
_NOTE, _PARAMETER, _GENERATOR = "/chladni/note", "/chladni/parameter/", "/chladni/generator"
_NTP_EPOCH_S: Final = 2_208_988_800  # from 1900 to 1970 (RFC 868)
_RECEIVE_BUFFER: Final = 1 << 20  # bytes: bursts wait there while the interpreter is busy
_STAMP: Final = struct.Struct("@qq")  # struct timespec of 64 bits
_ASK_STAMP: Final = 35 if sys.platform == "linux" else None  # SO_TIMESTAMPNS (asm-generic/socket.h)
_LOOK_S: Final = 0.2  # between two looks whether it is over
_RECHECK_US: Final = 1e6
_OLDEST_US: Final = 1e6  # a packet that seems to have lain longer shows that the wall clock was set


class _Refused(ValueError):
    """A message has no meaning."""


def bodies(address: str, arguments: Sequence[Any]) -> list[Body]:
    """Return the events of one message.

    Each number is a source: `/osc<address>`, and for the second and later ones `/osc<address>:1`, `:2`.
    True and infinitum are 1, false is 0; strings, blobs, times, colours and nil say nothing. Under
    `/chladni/` are the commands go, back, tap, start, stop and continue (a button's release, with the
    argument 0, is none), `generator name`, `note channel note velocity` (a velocity of 0 to 1, or whole, 0
    to 127) and `parameter/<name> value` in the parameter's own unit, or the name of a choice. Raise
    ValueError where a number is not finite, or a note or a name is none.
    """
    numbers = [number for number in arguments if isinstance(number, (int, float))]  # bool is an int
    if not all(map(isfinite, numbers)):
        raise _Refused("not a finite number")
    if address in _COMMANDS:
        return [] if numbers[:1] == [0] else [_COMMANDS[address]]
    if address == _GENERATOR:
        return [_generator(arguments)]
    if address == _NOTE:
        return [_note(numbers)]
    if address.startswith(_PARAMETER):
        named = [
            level_named(address.removeprefix(_PARAMETER), arg) for arg in arguments if isinstance(arg, str)
        ]
        levels = [*numbers, *(level for level in named if level is not None)]
        return [Control(address, float(level)) for level in levels[:1]]
    return [
        Control(f"/osc{address}:{place}" if place else f"/osc{address}", float(number))
        for place, number in enumerate(numbers)
    ]


def _generator(arguments: Sequence[Any]) -> Body:
    match list(arguments):
        case [str(name)] if MODEL_NAME.fullmatch(name):
            return Swap(name)
    raise _Refused("a generator has one name")


def _note(numbers: Sequence[float]) -> Body:
    if len(numbers) != 3:
        raise _Refused("a note has a channel, a number and a velocity")
    channel, note = int(numbers[0]), int(numbers[1])
    velocity = numbers[2] / 127 if isinstance(numbers[2], int) else numbers[2]
    if not (1 <= channel <= 16 and 0 <= note <= 127):
        raise _Refused("no such channel or note")
    if velocity <= 0:
        return NoteOff(channel, note, 0.5)
    return NoteOn(channel, note, min(velocity, 1.0))


class WallTime:
    """Wall clock times on the monotonic clock: one difference, measured anew each second.

    So a wall clock that is set while the show plays moves nothing but the next second's time tags.
    """

    def __init__(self) -> None:
        self._offset_us, self._checked_us = 0.0, -_RECHECK_US

    def to_monotonic(self, wall_us: float, now_us: float) -> float:
        """Return the monotonic time of a time in microseconds since 1970."""
        if now_us - self._checked_us >= _RECHECK_US:
            self.check()
        return wall_us - self._offset_us

    def check(self) -> None:
        """Measure the difference of the clocks."""
        before_us = monotonic_us()
        now_us = wall_us()
        self._checked_us = monotonic_us()
        self._offset_us = now_us - (before_us + self._checked_us) / 2.0


class OscServer:
    """Listens on a UDP port from `start` to `stop`. Raise OSError, saying what to do, if it can't be had.

    A packet is stamped by the kernel where it can (Linux), else as it is read. Messages with a time tag in
    the future are delivered at once with their own sample: the inbox keeps them until then. `received`
    counts messages, `dropped` the packets and messages that were no good.
    """

    def __init__(self, host: str, port: int, clock: Clock, sink: Sink) -> None:
        self._clock, self._sink, self._wall = clock, sink, WallTime()
        self.received = self.dropped = 0
        self._stopping = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            reason = f"can't listen on UDP {host}:{port} ({error.strerror or error})"
            raise OSError(error.errno, f"{reason}; name another port under [osc] listen") from None
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if _ASK_STAMP is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, _ASK_STAMP, 1)
        self._socket.settimeout(_LOOK_S)
        self.host, self.port = self._socket.getsockname()
        self._thread = Thread(target=self._run, name="osc", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and close the port."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join(2.0)
        self._socket.close()

    def _run(self) -> None:
        receive = self._receive_stamped if _ASK_STAMP is not None else self._receive
        while not self._stopping:
            try:
                packet, us = receive()
            except OSError:  # nothing came for a while, or the network's answer to something else
                continue
            self._take(packet, us)

    def _receive(self) -> tuple[bytes, float]:
        return self._socket.recv(osc_bytes.MAX_PACKET + 1), monotonic_us()

    def _receive_stamped(self) -> tuple[bytes, float]:
        packet, extra, _, _ = self._socket.recvmsg(osc_bytes.MAX_PACKET + 1, 64)
        now_us = monotonic_us()
        for _, _, data in extra:
            if len(data) == _STAMP.size:
                seconds, nanoseconds = _STAMP.unpack(data)
                us = self._wall.to_monotonic(seconds * 1e6 + nanoseconds / 1e3, now_us)
                if now_us - _OLDEST_US < us:
                    return packet, min(us, now_us)
                self._wall.check()
        return packet, now_us

    def _take(self, packet: bytes, us: float) -> None:
        try:
            messages = osc_bytes.read(packet)
        except osc_bytes.PacketError:
            self.dropped += 1
            return
        sample = self._clock.sample_at(us)
        for tag, address, arguments in messages:
            at = sample if tag == osc_bytes.IMMEDIATELY else self._due(tag, us)
            try:
                events = bodies(address, arguments)
            except ValueError:
                events, at = [], None
            if at is None:
                self.dropped += 1
                continue
            self.received += 1
            for body in events:
                self._sink(at, SOURCE, body)

    def _due(self, tag: int, us: float) -> int | None:
        """Return the show sample of an NTP time tag, no earlier than its arrival, or None if too far off."""
        wall_us = ((tag >> 32) - _NTP_EPOCH_S) * 1e6 + (tag & 0xFFFFFFFF) * 1e6 / 2**32
        due_us = self._wall.to_monotonic(wall_us, us)
        return None if due_us > us + MAX_AHEAD_US else self._clock.sample_at(max(due_us, us))


class OscSender:
    """Sends messages to every target (`host:port`), never waits, never raises; `failed` counts."""

    def __init__(self, targets: Iterable[str]) -> None:
        self.failed = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._targets = []
        for target in targets:
            host, port = target.rsplit(":", 1)
            try:
                self._targets.append((socket.gethostbyname(host), int(port)))
            except OSError:  # no such host: the show plays without it
                self.failed += 1

    def send(self, address: str, values: Sequence[Any]) -> None:
        """Send one message of numbers and strings."""
        builder = OscMessageBuilder(address)
        try:
            for value in values:
                builder.add_arg(value)
            packet = builder.build().dgram
        except (BuildError, ValueError):
            self.failed += 1
            return
        for target in self._targets:
            try:
                self._socket.sendto(packet, target)
            except OSError:
                self.failed += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
