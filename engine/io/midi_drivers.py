"""The system's own MIDI: input ports through python-rtmidi, or through pygame where that is missing."""

import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from engine.clock import Clock, monotonic_us
from engine.io.midi_bytes import DATA_BYTES

try:  # its wheel needs libasound2 on Linux
    import rtmidi
except ImportError:
    rtmidi = None

CLIENT: Final = "Chladni"  # our name among the system's MIDI clients, and that of the virtual port
_ALSA_SEQUENCER: Final = Path("/dev/snd/seq")
_APIS: Final = {"linux": "API_LINUX_ALSA", "darwin": "API_MACOSX_CORE", "win32": "API_WINDOWS_MM"}
_DRIFT: Final = 200e-6  # two quartzes, each 100 ppm off at worst
_STALL_US: Final = 250_000.0


class Receiver(Protocol):
    """Who is told of ports and bytes (`engine.io.midi_ports.Sources`)."""

    def opened(self, name: str) -> None: ...
    def lost(self, name: str, sample: int) -> None: ...
    def received(self, name: str, data: bytes, sample: int) -> None: ...


class Driver(Protocol):
    """Keeps every port of one MIDI system open; `poll` is to be called each `poll_s` seconds."""

    poll_s: float

    def poll(self, elsewhere: Iterable[str]) -> None: ...
    def close(self) -> None: ...


# rtmidi hands over the time since the message before, by the driver's clock, from a thread that may be
# late. Summed up, these times have no jitter, only an unknown origin: arrival - driver time = origin +
# lateness, and lateness is never negative, so the smallest difference seen is the best guess of the
# origin (the minimum filter of NTP, RFC 5905 section 10). It leaks upwards by the drift of two clocks.
class DriverTime:
    """Puts a driver's own times on the monotonic clock."""

    def __init__(self) -> None:
        self._driver_us = 0.0
        self._origin_us: float | None = None

    def stamp(self, delta_s: float, arrival_us: float) -> float:
        """Return when the message happened, in monotonic microseconds, never after its arrival."""
        self._driver_us += delta_s * 1e6
        origin_us = arrival_us - self._driver_us
        if self._origin_us is not None:
            leaked_us = self._origin_us + abs(delta_s) * 1e6 * _DRIFT
            if origin_us - leaked_us < _STALL_US:  # else the driver's clock has stood still
                origin_us = min(origin_us, leaked_us)
        self._origin_us = origin_us
        return self._driver_us + origin_us


class RtMidi:
    """Every input port of one of rtmidi's systems (ALSA, CoreMIDI, WinMM, JACK), and a virtual one.

    Raise `rtmidi.RtMidiError` where the system does not answer.
    """

    poll_s = 0.2

    def __init__(self, receiver: Receiver, clock: Clock, api: int) -> None:
        self._receiver, self._clock, self._api = receiver, clock, api
        self._watch = rtmidi.MidiIn(api, name=CLIENT)
        self._open: dict[str, Any] = {}
        virtual = rtmidi.MidiIn(api, name=CLIENT)
        self._listen(CLIENT, virtual)
        try:
            virtual.open_virtual_port("in")
        except (rtmidi.RtMidiError, NotImplementedError):  # Windows has none
            self._close(CLIENT)

    def poll(self, elsewhere: Iterable[str]) -> None:
        """Open the ports that have come, but for those that another system carries, and close the gone."""
        try:
            found = _named(self._watch.get_ports(), elsewhere)
        except rtmidi.RtMidiError:
            found = {}
        for name in self._open.keys() - found.keys() - {CLIENT}:
            self._close(name)
        for name in found.keys() - self._open.keys():
            port = rtmidi.MidiIn(self._api, name=CLIENT)
            try:
                self._listen(name, port)
                port.open_port(found[name], name="in")
            except rtmidi.RtMidiError:  # gone again, or held by someone else: the next poll tries again
                self._close(name)

    def close(self) -> None:
        """Close every port."""
        for name in list(self._open):
            self._close(name)
        self._watch.delete()

    def _listen(self, name: str, port: Any) -> None:
        times = DriverTime()

        def take(event: tuple[list[int], float], _: Any) -> None:
            data, delta_s = event
            us = times.stamp(delta_s, monotonic_us())
            self._receiver.received(name, bytes(data), self._clock.sample_at(us))

        self._open[name] = port
        self._receiver.opened(name)
        port.ignore_types(sysex=True, timing=False, active_sense=True)
        port.set_callback(take)

    def _close(self, name: str) -> None:
        port = self._open.pop(name)
        with suppress(rtmidi.RtMidiError):
            port.cancel_callback()
            port.close_port()
            port.delete()
        self._receiver.lost(name, self._clock.now())


def _named(ports: Iterable[str], elsewhere: Iterable[str]) -> dict[str, int]:
    """Return the numbers of the ports by names that stay the same when a device comes back.

    ALSA's client and port number (`nanoKEY2:nanoKEY2 MIDI 1 20:0`) is left out, and a second device of the
    same name gets a 2. Our own ports are left out, and those whose client stands in a name in `elsewhere`.
    """
    named: dict[str, int] = {}
    taken = tuple(elsewhere)
    for number, port in enumerate(ports):
        name = re.sub(r" \d+:\d+$", "", port)
        client = name.split(":")[0]
        if client.startswith(CLIENT) or any(client in other for other in taken):
            continue
        same = sum(re.fullmatch(re.escape(name) + r"( \d+)?", other) is not None for other in named)
        named[f"{name} {same + 1}" if same else name] = number
    return named


class PygameMidi:
    """Every input port of PortMidi, through pygame.

    PortMidi looks for devices only when it is started, so it is started anew while no port is open; a
    device that joins others is found when those are gone. It has no virtual ports. Raise RuntimeError
    where PortMidi does not start.
    """

    poll_s = 0.0

    def __init__(self, receiver: Receiver, clock: Clock) -> None:
        import pygame.midi

        self._midi, self._receiver, self._clock = pygame.midi, receiver, clock
        self._open: dict[str, Any] = {}
        self._midi.init()

    def poll(self, elsewhere: Iterable[str]) -> None:
        """Read what has come; look for ports while there are none."""
        for name, port in list(self._open.items()):
            try:
                self._read(name, port)
            except (self._midi.MidiException, RuntimeError):
                self._open.pop(name)
                self._receiver.lost(name, self._clock.now())
        if not self._open:
            self._look(elsewhere)
        self.poll_s = 0.002 if self._open else 0.25

    def _read(self, name: str, port: Any) -> None:
        while port.poll():
            for data, at_ms in port.read(64):
                if data[0] not in DATA_BYTES and data[0] < 0xF8:
                    continue  # a piece of SysEx
                us = monotonic_us() - max(self._midi.time() - at_ms, 0) * 1000.0
                message = bytes(data[: 1 + DATA_BYTES.get(data[0], 0)])  # it comes padded to four bytes
                self._receiver.received(name, message, self._clock.sample_at(us))

    def _look(self, elsewhere: Iterable[str]) -> None:
        self._midi.quit()
        self._midi.init()
        infos = [self._midi.get_device_info(number) for number in range(self._midi.get_count())]
        inputs = [number for number, info in enumerate(infos) if info[2]]
        names = _named((infos[number][1].decode("utf-8", "replace") for number in inputs), elsewhere)
        for name, index in names.items():
            with suppress(self._midi.MidiException):
                self._open[name] = self._midi.Input(inputs[index])
                self._receiver.opened(name)

    def close(self) -> None:
        """Close every port."""
        for name, port in self._open.items():
            with suppress(self._midi.MidiException):
                port.close()
            self._receiver.lost(name, self._clock.now())
        self._open.clear()
        self._midi.quit()


class Output:
    """An open output port of rtmidi, connected to the port of a name, or virtual (None)."""

    def __init__(self, port: Any, name: str | None) -> None:
        self._port, self._name = port, name

    def is_there(self) -> bool:
        """Tell whether the port still exists."""
        try:
            return self._name is None or self._name in self._port.get_ports()
        except rtmidi.RtMidiError:
            return False

    def send(self, data: bytes) -> bool:
        """Send a message now; tell whether that was possible."""
        try:
            self._port.send_message(data)
        except (rtmidi.RtMidiError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Close the port."""
        with suppress(rtmidi.RtMidiError):
            self._port.close_port()
            self._port.delete()


def native_api() -> int | None:
    """Return rtmidi's number of this system's own MIDI, or None where it has none."""
    name = _APIS.get(sys.platform)
    if rtmidi is None or name is None or (sys.platform == "linux" and not _ALSA_SEQUENCER.exists()):
        return None
    return int(getattr(rtmidi, name))


def open_driver(receiver: Receiver, clock: Clock) -> Driver | None:
    """Return the best driver that this system has, or None while it has none."""
    if sys.platform == "linux" and not _ALSA_SEQUENCER.exists():
        return None  # a container; the libraries would complain on the terminal
    api = native_api()
    if api is not None:
        with suppress(rtmidi.RtMidiError):
            return RtMidi(receiver, clock, api)
    with suppress(ImportError, RuntimeError, NotImplementedError):
        return PygameMidi(receiver, clock)
    return None


def open_output(name: str, api: int | None = None) -> Output | None:
    """Return the first output port with `name` in its name, or None while there is none.

    `Chladni` is a port of our own, that others may listen to, where the system has virtual ports.
    """
    api = native_api() if api is None else api
    if api is None:
        return None
    try:
        port = rtmidi.MidiOut(api, name=CLIENT)
        if name == CLIENT:
            port.open_virtual_port("out")
            return Output(port, None)
        for number, found in enumerate(port.get_ports()):
            if name in found and not found.startswith(CLIENT):
                port.open_port(number, name="out")
                return Output(port, found)
        port.delete()
    except (rtmidi.RtMidiError, NotImplementedError):  # Windows has no virtual ports
        pass
    return None
