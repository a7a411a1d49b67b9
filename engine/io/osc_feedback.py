"""What the show tells over OSC: to the targets that it names, and to those that have asked for it."""

import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, ip_address
from math import inf
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final

import psutil

from engine.clock import monotonic_us
from engine.core import cues
from engine.core.parameters import PARAMETERS
from engine.core.show import Show
from engine.core.state import ShowState
from engine.core.transport import beat_at
from engine.core.units import TICK_SAMPLES
from engine.io import osc_bytes
from engine.io.commands import FADER, PARAMETER, Refused

Values = tuple[bool | int | float | str, ...]
Told = dict[str, Values]  # by address

SUBSCRIBE: Final = "/chladni/subscribe"
UNSUBSCRIBE: Final = "/chladni/unsubscribe"
MAX_SUBSCRIBERS: Final = 8
SUBSCRIPTION_S: Final = 60.0
LOWEST_PORT: Final = 1024  # those below belong to other services
MAX_PACKET: Final = 1400  # bytes: one Ethernet frame; one packet a frame of the show goes to a receiver
MAX_MOMENTS: Final = 64  # messages of the moment, as notes are, that go to a receiver a frame at most
_MAX_NEWS: Final = 1024
_SOONEST_S: Final = 1 / 30
_INTERFACES_US: Final = 10e6  # the machine's own addresses are looked up at most so often
_STATISTICS: Final = "/chladni/frames"
_STATISTICS_US: Final = 1e6

_LEVELS: Final = tuple(PARAMETER + parameter.name for parameter in PARAMETERS)
_FADERS: Final = tuple(FADER + parameter.name for parameter in PARAMETERS)
_SPANS: Final = tuple((parameter.minimum, parameter.maximum - parameter.minimum) for parameter in PARAMETERS)


def told(show: Show, state: ShowState, frames: tuple[int, ...]) -> Told:
    """Return all that a receiver knows of the show, by address; `frames` are due, shown, late, held."""
    return {
        **{address: (level,) for address, level in zip(_LEVELS, state.levels, strict=True)},
        **{
            address: ((level - low) / span,)
            for address, level, (low, span) in zip(_FADERS, state.levels, _SPANS, strict=True)
        },
        "/chladni/cue/present": _cue(show, state.cue),
        "/chladni/cue/next": _cue(show, cues.upcoming(show, state)),
        "/chladni/hold": (int(state.held),),
        "/chladni/blackout": (state.dark.end,),
        "/chladni/beat": (int(beat_at(state.transport, state.tick * TICK_SAMPLES) // 1.0),),
        "/chladni/running": (int(state.transport.running),),
        "/chladni/generator": (state.cast.playing,),
        _STATISTICS: frames,
    }


def _cue(show: Show, index: int) -> Values:
    """Return number and name of a cue; -1 and nothing where there is none.

    While a show is being revised, it and the state may not be of the same moment.
    """
    if not 0 <= index < len(show.cue):
        return -1.0, ""
    return show.cue[index].number, show.cue[index].name


@dataclass(eq=False)
class _Receiver:
    """A target or subscriber: its connected socket, what it knows, and what it is yet to be told."""

    socket: socket.socket
    knows: Told
    until_us: float = inf
    yet: Told = field(default_factory=dict)
    moments: int = 0


# A subscription makes a small packet into many larger ones, and UDP proves no sender, so somebody could have
# it flood a stranger. Therefore: nobody is told anything but at the address that the subscription came from,
# on a port of 1024 or more; it must be this machine's or, where OSC listens wider, on a network that this
# machine is on itself, so that nothing crosses a router; there are eight at most, each for a minute; and each
# gets at most a packet of 1,400 bytes a frame. Sockets are connected, so that the first answer that nobody
# listens there (ICMP port unreachable) ends the subscription: who has not opened the port is told twice.
class OscFeedback:
    """Tells targets and subscribers about the show from `start` to `stop`, from a thread of its own.

    `look` returns what there is to tell; it is asked once a frame, at most 30 times a second, while there is
    a receiver. What has changed since it was told is sent, oldest first. `tell` sends what happens at a
    moment. Neither waits nor raises: `failed` counts the messages that could not be sent.
    """

    def __init__(self, targets: Iterable[str], look: Callable[[], Told], fps: int) -> None:
        self.failed = 0
        self._look, self._every_s = look, max(1.0 / fps, _SOONEST_S)
        self._news: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._targets: list[_Receiver] = []
        self._subscribers: dict[tuple[str, int], _Receiver] = {}
        self._own_port = 0
        self._interfaces: tuple[IPv4Interface, ...] = ()
        self._interfaces_us = -_INTERFACES_US
        self._frames: Values = ()
        self._frames_us = -_STATISTICS_US
        knows = look()
        for target in targets:
            host, port = target.rsplit(":", 1)
            try:
                outlet = _connected(socket.gethostbyname(host), int(port))
                self._targets.append(_Receiver(outlet, dict(knows)))
            except OSError:  # no such host: the show plays without it
                self.failed += 1
        self._thread = Thread(target=self._run, name="osc-feedback", daemon=True)

    @property
    def receivers(self) -> list[_Receiver]:
        """Everybody who is told."""
        return [*self._targets, *list(self._subscribers.values())]

    def start(self, own_port: int = 0) -> None:
        """Begin to tell. `own_port` is where this show itself listens, and is never told."""
        self._own_port = own_port
        self._thread.start()

    def stop(self) -> None:
        """Send what there is, and close the sockets."""
        self._news.put(None)
        if self._thread.is_alive():
            self._thread.join(2.0)
        for receiver in self.receivers:
            receiver.socket.close()

    def tell(self, address: str, values: Values) -> None:
        """Tell everybody what happens at this moment."""
        if not self._targets and not self._subscribers:
            return
        if self._news.qsize() >= _MAX_NEWS:
            self.failed += 1
            return
        self._news.put(lambda: self._tell_all(address, values))

    def subscribe(self, sender: tuple[str, int], arguments: Sequence[Any]) -> None:
        """Take a subscription from a sender, `[host] [port]`; raise Refused where it can't be.

        Without a port it is the one that the packet came from. To subscribe again begins anew: everything
        is told once more.
        """
        host, port = _receiver(sender, arguments)
        if port < LOWEST_PORT:
            raise Refused(f"a port is to be {LOWEST_PORT} or more")
        interfaces = self._near()
        if not any(ip_address(host) in interface.network for interface in interfaces):
            raise Refused("from a network that this machine is not on")
        if port == self._own_port and any(host == str(interface.ip) for interface in interfaces):
            raise Refused("this is our own port")
        if (host, port) not in self._subscribers and len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise Refused("there are enough subscribers")
        if self._news.qsize() < _MAX_NEWS:
            self._news.put(lambda: self._subscribe(host, port))

    def unsubscribe(self, sender: tuple[str, int], arguments: Sequence[Any]) -> None:
        """End a subscription of a sender."""
        key = _receiver(sender, arguments)
        if key in self._subscribers:
            self._news.put(lambda: self._leave(key))

    def _near(self) -> tuple[IPv4Interface, ...]:
        """Return the addresses of this machine, each with its network, as they were seconds ago."""
        if monotonic_us() - self._interfaces_us > _INTERFACES_US:
            self._interfaces_us = monotonic_us()
            self._interfaces = tuple(
                IPv4Interface(f"{each.address}/{each.netmask}")
                for interface in psutil.net_if_addrs().values()
                for each in interface
                if each.family == socket.AF_INET and each.netmask
            )
        return self._interfaces

    def _subscribe(self, host: str, port: int) -> None:
        key = host, port
        if key not in self._subscribers:
            if len(self._subscribers) >= MAX_SUBSCRIBERS:
                return
            try:
                self._subscribers[key] = _Receiver(_connected(host, port), {})
            except OSError:
                self.failed += 1
                return
        receiver = self._subscribers[key]
        receiver.knows, receiver.yet = {}, {}
        receiver.until_us = monotonic_us() + SUBSCRIPTION_S * 1e6
        self._send(receiver, osc_bytes.write("/chladni/subscribed", (port, SUBSCRIPTION_S)))

    def _leave(self, key: tuple[str, int]) -> None:
        with suppress(KeyError):
            self._subscribers.pop(key).socket.close()

    def _run(self) -> None:
        due_us = monotonic_us()
        while True:
            wait_s = max(due_us - monotonic_us(), 0.0) / 1e6 if self.receivers else None
            try:
                news = self._news.get(timeout=wait_s)
                if news is None:
                    return
                news()
            except Empty:
                pass
            if monotonic_us() >= due_us:
                due_us = monotonic_us() + self._every_s * 1e6
                try:
                    self._tell_changes()
                except Exception:  # on stage nothing raises: the next frame is told again
                    self.failed += 1

    def _tell_all(self, address: str, values: Values) -> None:
        try:
            packet = osc_bytes.write(address, values)
        except osc_bytes.PacketError:
            self.failed += 1
            return
        for receiver in self.receivers:
            receiver.moments += 1
            if receiver.moments > MAX_MOMENTS:
                self.failed += 1
            else:
                self._send(receiver, packet)

    def _tell_changes(self) -> None:
        now_us = monotonic_us()
        for key, receiver in list(self._subscribers.items()):
            if receiver.until_us < now_us:
                self._leave(key)
        receivers = self.receivers
        if not receivers:
            return
        there = self._look()
        if now_us - self._frames_us >= _STATISTICS_US:
            self._frames, self._frames_us = there[_STATISTICS], now_us
        there[_STATISTICS] = self._frames
        for receiver in receivers:
            receiver.moments = 0
            for address, values in there.items():
                if receiver.knows.get(address) != values:
                    receiver.knows[address] = receiver.yet[address] = values  # in its old place, if it waits
            self._send_some(receiver)

    def _send_some(self, receiver: _Receiver) -> None:
        """Send a packet of what the receiver is yet to be told, oldest first."""
        packets: list[bytes] = []
        size = 16  # of a bundle's head
        for address, values in receiver.yet.items():
            packet = osc_bytes.write(address, values)
            size += 4 + len(packet)
            if packets and size > MAX_PACKET:
                break
            packets.append(packet)
        if packets and self._send(receiver, osc_bytes.bundle(packets)):
            for address in list(receiver.yet)[: len(packets)]:
                del receiver.yet[address]

    def _send(self, receiver: _Receiver, packet: bytes) -> bool:
        try:
            receiver.socket.send(packet)
        except OSError as error:
            self.failed += 1
            if isinstance(error, ConnectionRefusedError) and receiver.until_us < inf:
                receiver.until_us = -inf  # nobody listens there
            return False
        return True


def _receiver(sender: tuple[str, int], arguments: Sequence[Any]) -> tuple[str, int]:
    match list(arguments):
        case []:
            return sender
        case [(int() | float()) as port] if 0 < port < 65_536:
            return sender[0], int(port)
        case [str(host), (int() | float()) as port] if host == sender[0] and 0 < port < 65_536:
            return sender[0], int(port)
    raise Refused("a subscription has a port of the sender's own")


def _connected(host: str, port: int) -> socket.socket:
    outlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    outlet.setblocking(False)
    outlet.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    try:
        outlet.connect((host, port))
    except OSError:
        outlet.close()
        raise
    return outlet
