"""MIDI ports, held open whatever comes and goes: every input, one output."""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from threading import Condition, Thread
from threading import Event as Signal
from time import sleep
from typing import Final, Protocol

from engine.clock import Clock, monotonic_us
from engine.core.events import Body
from engine.core.units import SAMPLE_RATE
from engine.io.midi import Translator
from engine.io.midi_bytes import MidiParser
from engine.io.midi_drivers import Driver, Output, open_driver, open_output
from engine.workers.links import DEVICE_KINDS, MIDI_BYTES, MIDI_PORT_OPENED, SoundLink

Sink = Callable[[int, str, Body], None]
_JACK: Final = DEVICE_KINDS.index("jack")
_WAIT_S: Final = 0.1
_LOOK_US: Final = 500_000.0
MAX_WAITING: Final = 10_000
_PARTING: Final = SAMPLE_RATE // 4  # samples: what is planned later than that is not waited for
_PARTING_S: Final = 0.05  # for the driver to send what has come: two blocks of 1024 at 44.1 kHz


def carried_by_jack(link: SoundLink | None) -> bool:
    """Tell whether the sound worker plays through JACK just now, MIDI included."""
    return link is not None and int(link.board["kind"]) == _JACK


class Translates(Protocol):
    """What makes the events of a port's messages (`engine.io.midi`, `engine.io.controllers`)."""

    def bodies(self, message: bytes) -> tuple[Body, ...]: ...
    def release(self) -> tuple[Body, ...]: ...


Translators = Callable[[str], Translates]  # by the name of the port


def _plain(_: str) -> Translates:
    return Translator()


class Sources:
    """Open ports by name, each with its own parser and translator, delivering into the sink.

    Each port is fed by one thread at a time. `garbage` counts the bytes that made no message.
    """

    def __init__(self, sink: Sink, translators: Translators = _plain) -> None:
        self._sink, self._translators = sink, translators
        self._open: dict[str, tuple[MidiParser, Translates]] = {}
        self._garbage = 0

    @property
    def garbage(self) -> int:
        """What belonged to no message, on all ports that there ever were."""
        return self._garbage + sum(parser.garbage for parser, _ in list(self._open.values()))

    def names(self) -> tuple[str, ...]:
        """Return the names of the open ports."""
        return tuple(sorted(self._open))

    def opened(self, name: str) -> None:
        """Begin to listen to a port."""
        self._open[name] = (MidiParser(), self._translators(name))

    def lost(self, name: str, sample: int) -> None:
        """Release what a port that is gone has left sounding, and bring back to rest what it has moved."""
        parser, translator = self._open.pop(name, (None, None))
        if parser is None or translator is None:
            return
        self._garbage += parser.garbage
        for body in translator.release():
            self._sink(sample, f"midi:{name}", body)

    def received(self, name: str, data: bytes, sample: int) -> None:
        """Take bytes of a port, stamped at a show sample."""
        port = self._open.get(name)
        if port is None:
            return
        parser, translator = port
        for message in parser.feed(data):
            for body in translator.bodies(message):
                self._sink(sample, f"midi:{name}", body)


class MidiInputs:
    """Every MIDI input there is, from `start` to `stop`.

    Through JACK where the sound worker does, exact to the sample; beside it, or without it, through the
    system's own MIDI (see `engine.io.midi_drivers`). A port is a source named `midi:<port>`. Ports that
    come are open within the driver's polling time; one that goes releases its notes.
    """

    def __init__(
        self, link: SoundLink | None, clock: Clock, sink: Sink, translators: Translators = _plain
    ) -> None:
        self._link, self._clock = link, clock
        self._jack, self._system = Sources(sink, translators), Sources(sink, translators)
        self._stop = Signal()
        self._threads = [Thread(target=self._poll_system, name="midi", daemon=True)]
        if link is not None:
            self._threads.append(Thread(target=self._read_jack, name="midi-jack", daemon=True))

    @property
    def garbage(self) -> int:
        """What belonged to no message."""
        return self._jack.garbage + self._system.garbage

    def ports(self) -> tuple[str, ...]:
        """Return the names of all open ports."""
        return (*self._jack.names(), *self._system.names())

    def start(self) -> None:
        """Open what is there, and go on looking."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Close every port."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2.0)

    def _read_jack(self) -> None:
        assert self._link is not None
        ring, names = self._link.midi_in, dict[int, str]()
        while not self._stop.is_set():
            ring.wait(_WAIT_S)
            for frame, kind, port, length, data in ring.pop_all():
                sample = self._clock.sample_of_frame(frame)
                if kind == MIDI_BYTES:
                    self._jack.received(names.get(port, ""), data[:length], sample)
                    continue
                self._jack.lost(names.pop(port, ""), sample)  # a restarted worker announces its ports anew
                if kind == MIDI_PORT_OPENED:
                    names[port] = data[:length].decode("utf-8", "replace")
                    self._jack.opened(names[port])
            if names and not carried_by_jack(self._link):
                for name in names.values():
                    self._jack.lost(name, self._clock.now())
                names.clear()

    def _poll_system(self) -> None:
        driver: Driver | None = None
        while not self._stop.is_set():
            driver = driver or open_driver(self._system, self._clock)
            if driver is None:
                self._stop.wait(2.0)
                continue
            driver.poll(self._jack.names())
            self._stop.wait(driver.poll_s)
        if driver is not None:
            driver.close()


class MidiOut:
    """Sends messages at show samples to the first port with `name` in its name.

    Through the sound worker where it plays through JACK, which has a port with the number `port` for this
    name, else from a thread of its own to the system's MIDI (`api`: rtmidi's number of another). `send`
    never waits; `refused` counts what could not be sent.
    """

    def __init__(
        self, link: SoundLink | None, clock: Clock, name: str, api: int | None = None, port: int = 0
    ) -> None:
        self._link, self._clock, self._name, self._api, self._port = link, clock, name, api, port
        self._opened = 0
        self.refused = 0
        self._planned = 0  # the latest sample that JACK was given
        self._numbers = count()  # keeps messages of one sample in their order
        self._waiting: list[tuple[int, int, bytes]] = []
        self._condition = Condition()
        self._stopping = False
        self._output: Output | None = None
        self._looked_us = -_LOOK_US
        self._thread = Thread(target=self._run, name="midi-out", daemon=True)
        self._thread.start()

    @property
    def opened(self) -> int:
        """How often there was somebody new to hear this: 0 as long as there is nobody."""
        return self._opened + (int(self._link.board["connections"]) if self._link else 0)

    def send(self, sample: int, data: bytes) -> None:
        """Send one message of at most 16 bytes at a show sample."""
        if carried_by_jack(self._link):
            assert self._link is not None
            self._planned = max(self._planned, sample)
            self.refused += not self._link.midi_out.push(sample, self._port, len(data), data)
            return
        with self._condition:
            if len(self._waiting) >= MAX_WAITING:
                self.refused += 1
                return
            heappush(self._waiting, (sample, next(self._numbers), data))
            self._condition.notify()

    def stop(self, farewell: Sequence[bytes] = (), silence: bool = True) -> None:
        """Drop what waits, let go of every note after the last one played, and close the port.

        `farewell` are messages to send then; without `silence` they are all. What JACK has been given can't
        be taken back: all notes off comes after it, and is waited for.
        """
        now = self._clock.now()
        sample = min(max(now, self._planned + 1), now + _PARTING)
        with self._condition:
            self._waiting.clear()
            for channel in range(16 if silence else 0):
                self.send(sample, bytes((0xB0 | channel, 123, 0)))
            for message in farewell:
                self.send(sample, message)
            self._stopping = True
            self._condition.notify()
        if carried_by_jack(self._link):
            sleep((sample - now) / SAMPLE_RATE + _PARTING_S)
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._stopping or self._waiting:
            with self._condition:
                self._condition.wait(self._until_next())
                due = self._take_due()
            if not due or self._output is None:
                self._keep_open()
            for data in due:
                self.refused += not (self._output and self._output.send(data))
        if self._output:
            sleep(_PARTING_S)  # the driver sends from a thread of its own, and forgets what it has not sent
            self._output.close()

    def _keep_open(self) -> None:
        """Look after the port, twice a second at most: it may come and go."""
        if monotonic_us() - self._looked_us < _LOOK_US or carried_by_jack(self._link):
            return
        self._looked_us = monotonic_us()
        if self._output and not self._output.is_there():
            self._output.close()
            self._output = None
        if self._output is None:
            self._output = open_output(self._name, self._api)
            self._opened += self._output is not None

    def _take_due(self) -> list[bytes]:
        now, due = self._clock.now(), []
        while self._waiting and (self._stopping or self._waiting[0][0] <= now):
            due.append(heappop(self._waiting)[2])
        return due

    def _until_next(self) -> float:
        if self._stopping:
            return 0.0
        if not self._waiting:
            return _LOOK_US / 1e6
        left_us = self._clock.us_at(self._waiting[0][0]) - monotonic_us()
        return min(max(left_us, 0.0), _LOOK_US) / 1e6
