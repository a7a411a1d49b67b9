"""OSC over UDP: what arrives becomes events."""

import socket
import struct
import sys
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Final

from engine.clock import Clock, monotonic_us, wall_us
from engine.core.events import Body
from engine.io import osc_bytes
from engine.io.osc_feedback import SUBSCRIBE, UNSUBSCRIBE, OscFeedback
from engine.io.osc_messages import bodies

Sink = Callable[[int, str, Body], None]
SOURCE: Final = "osc"
MAX_AHEAD_US: Final = 60e6  # a time tag further in the future is a mistake
_SUBSCRIPTIONS: Final = {SUBSCRIBE: OscFeedback.subscribe, UNSUBSCRIBE: OscFeedback.unsubscribe}
_NTP_EPOCH_S: Final = 2_208_988_800  # from 1900 to 1970 (RFC 868)
_RECEIVE_BUFFER: Final = 1 << 20  # bytes: bursts wait there while the interpreter is busy
_STAMP: Final = struct.Struct("@qq")  # struct timespec of 64 bits
_ASK_STAMP: Final = 35 if sys.platform == "linux" else None  # SO_TIMESTAMPNS (asm-generic/socket.h)
_LOOK_S: Final = 0.2  # between two looks whether it is over
_RECHECK_US: Final = 1e6
_OLDEST_US: Final = 1e6  # a packet that seems to have lain longer shows that the wall clock was set


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
    counts messages, `dropped` the packets and messages that were no good. Subscriptions go to `feedback`;
    `generators` are the names of those that are here.
    """

    def __init__(
        self,
        host: str,
        port: int,
        clock: Clock,
        sink: Sink,
        feedback: OscFeedback | None = None,
        generators: Sequence[str] = (),
    ) -> None:
        self._clock, self._sink, self._wall = clock, sink, WallTime()
        self._feedback, self._generators = feedback, generators
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
                packet, us, sender = receive()
            except OSError:  # nothing came for a while, or the network's answer to something else
                continue
            self._take(packet, us, sender)

    def _receive(self) -> tuple[bytes, float, tuple[str, int]]:
        packet, sender = self._socket.recvfrom(osc_bytes.MAX_PACKET + 1)
        return packet, monotonic_us(), sender

    def _receive_stamped(self) -> tuple[bytes, float, tuple[str, int]]:
        packet, extra, _, sender = self._socket.recvmsg(osc_bytes.MAX_PACKET + 1, 64)
        now_us = monotonic_us()
        for _, _, data in extra:
            if len(data) == _STAMP.size:
                seconds, nanoseconds = _STAMP.unpack(data)
                us = self._wall.to_monotonic(seconds * 1e6 + nanoseconds / 1e3, now_us)
                if now_us - _OLDEST_US < us:
                    return packet, min(us, now_us), sender
                self._wall.check()
        return packet, now_us, sender

    def _take(self, packet: bytes, us: float, sender: tuple[str, int]) -> None:
        try:
            messages = osc_bytes.read(packet)
        except osc_bytes.PacketError:
            self.dropped += 1
            return
        sample = self._clock.sample_at(us)
        for tag, address, arguments in messages:
            at = sample if tag == osc_bytes.IMMEDIATELY else self._due(tag, us)
            try:
                if address in _SUBSCRIPTIONS and self._feedback:
                    _SUBSCRIPTIONS[address](self._feedback, sender, arguments)
                    events: list[Body] = []
                else:
                    events = bodies(address, arguments, self._generators)
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
