"""JACK as a sound device, with the MIDI of its whole graph."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import sleep
from typing import Any, ClassVar, Final

import numpy as np

from engine import priority
from engine.clock import monotonic_us
from engine.io.audio import MAX_BLOCK, Player
from engine.io.jack_client import PLAYBACK_LATENCY, JackClient
from engine.io.miniaudio_device import DeviceError
from engine.workers.links import MIDI_PORT_LOST, MIDI_PORT_OPENED

_TEND_US: Final = 1e6
_PIECE: Final = 64  # bytes in a record of links.MIDI_IN
_THROUGH: Final = "Midi Through"  # the system's loop-back: what comes out of it went in elsewhere


@dataclass(frozen=True, slots=True)
class _Input:
    """A MIDI input port of ours, its number in the records, and the source that it was made for."""

    number: int
    port: Any
    source: str


class Jack(JackClient):
    """A client named Chladni with two sound outputs and a MIDI port each way.

    Besides `midi_in`, to which others connect, every MIDI source of the graph gets an input port of its
    own, so that each is known by its name. Of our MIDI outputs, `midi_out` and one for the lamps of each
    controller, each is connected to the ports with its part of `hears_us` in their names. The process
    callback only moves data; ports are made, watched and dropped in `tend`, which tells the callback about
    them through a queue.

    Both ends of the contract lie in the graph: MIDI of frame f is answered `sound_ms` of frames later.
    What the driver behind the graph adds (`latency_frames`) is the rig's, and not in `contract_frames`.
    """

    kind: ClassVar[str] = "jack"

    def __init__(self, hears_us: Sequence[str | None] = (None,)) -> None:
        super().__init__("Chladni")
        client = self._client
        self._latency = self._latency_query(PLAYBACK_LATENCY)
        self.latency_frames = self.contract_frames = 0
        self._xruns = self._jumps = 0
        self._outs = [client.outports.register(f"out_{side}") for side in (1, 2)]
        self._midi_in = client.midi_inports.register("midi_in")
        self._hears_us = hears_us
        self._midi_outs = [
            client.midi_outports.register(f"lights_{number}" if number else "midi_out")
            for number in range(len(hears_us))
        ]
        self.connections = 0
        self._by_hand: set[str] = set()
        self._taken: dict[str, _Input] = {}
        self._left: set[str] = set()  # sources to leave alone: our own, and those that somebody disconnected
        self._made = 0
        self._inputs: tuple[_Input, ...] = (_Input(0, self._midi_in, ""),)
        self._news: deque[tuple[int, int, bytes]] = deque(((MIDI_PORT_OPENED, 0, b"jack"),))
        self._changed, self._tended_us = True, 0.0
        self._out = np.zeros((MAX_BLOCK, 2), np.float32)

    @property
    def patience_frames(self) -> int:
        """Half of the cycle: the other half is for the clients after us."""
        return self.block // 2

    @property
    def underruns(self) -> int:
        """Most xruns make the frame time jump as well, so the larger count holds."""
        return max(self._xruns, self._jumps)

    def start(self, player: Player) -> None:
        """Join the graph, and connect to the first two physical outputs."""
        client = self._client
        client.set_xrun_callback(self._xrun)
        client.set_port_registration_callback(self._change, only_available=False)
        client.set_port_connect_callback(self._change, only_available=False)
        self._join(self._process(player))
        try:
            speakers = client.get_ports(is_audio=True, is_input=True, is_physical=True)
            for port, speaker in zip(self._outs, speakers, strict=False):
                client.connect(port, speaker)
        except self._jack.JackError as error:
            raise DeviceError(f"the JACK server does not take us: {error}") from error
        self.tend()

    def _change(self, *_: Any) -> None:
        """Ports came, went, or were connected: `tend` has something to do."""
        self._changed = True

    def _xrun(self, delayed_us: float) -> None:
        priority.become_realtime(priority.SOUND_KEEPER)  # it holds the interpreter, so it must not be held up
        self._xruns += 1

    # The process callback: everything it calls is a local name, and nothing in it waits.
    def _process(self, player: Player) -> Callable[[int], None]:
        client, news, midi_outs = self._client, self._news, self._midi_outs
        us_per_frame = 1e6 / self.rate
        left, right = self._outs

        def process(frames: int) -> None:
            us = monotonic_us()
            self._called_us = us
            if not self._blocks:
                priority.become_realtime(priority.SOUND)  # for a server that runs without (jackd -r)
            us -= client.frames_since_cycle_start * us_per_frame  # when the cycle began, not we
            raw = client.last_frame_time  # 32 bits: wraps after a day
            passed = (raw - self._raw) & 0xFFFFFFFF
            if self._blocks and passed > self.block:
                self._jumps += 1
            frame = self._frame + passed
            self._frame, self._raw, self.block = frame, raw, frames
            for source in self._inputs:
                for offset, data in source.port.incoming_midi_events():
                    for start in range(0, len(data), _PIECE):
                        player.midi_in(frame + offset, source.number, data[start : start + _PIECE])
            while news:
                kind, number, name = news.popleft()
                player.midi_in(frame, number, name, kind)
            for midi_out in midi_outs:
                midi_out.clear_buffer()
            for offset, number, data in player.midi_out(frame, frames):
                with suppress(self._jack.JackError):  # the port is full
                    midi_outs[number].write_midi_event(offset, data)
            out, one, other = self._out[:frames], left.get_array(), right.get_array()
            player.block(frame, us, out)
            one[:] = out[:, 0]
            other[:] = out[:, 1]
            self._blocks += 1

        return process

    def tend(self) -> None:
        """Read the latency, take new MIDI sources, let go of those that went.

        Where the graph has not changed it is only asked once a second: asking competes with the callback
        for the interpreter.
        """
        now_us = monotonic_us()
        if not self._changed and now_us - self._tended_us < _TEND_US:
            return
        self._changed, self._tended_us = False, now_us
        with suppress(self._jack.JackError):  # a server on its way out; `alive` will tell
            self.latency_frames = max(self._latency(port) for port in self._outs)
            self._follow_hand()
            self._follow_sources()
            for midi_out, name in zip(self._midi_outs, self._hears_us, strict=True):
                if name is not None:
                    self._follow_hearers(midi_out, name)

    def _follow_hearers(self, midi_out: Any, wanted: str) -> None:
        """Connect an output to the ports that the show names, whenever they appear."""
        connected = {port.name for port in midi_out.connections}
        for port in self._client.get_ports(is_midi=True, is_input=True):
            names = (port.name, *port.aliases)
            if self._client.owns(port) or port.name in connected:
                continue
            if any(wanted in name for name in names):
                self._client.connect(midi_out, port)
                self.connections += 1

    def _follow_hand(self) -> None:
        """A connection to `midi_in` that is gone may have left notes behind: release them."""
        connected = {port.name for port in self._midi_in.connections}
        if self._by_hand - connected:
            self._news.extend(((MIDI_PORT_LOST, 0, b"jack"), (MIDI_PORT_OPENED, 0, b"jack")))
        self._by_hand = connected

    def _follow_sources(self) -> None:
        client = self._client
        found = {port.name: port for port in client.get_ports(is_midi=True, is_output=True)}
        self._left &= found.keys()
        for name, taken in list(self._taken.items()):
            if name in found and name not in self._by_hand and taken.port.is_connected_to(name):
                continue
            if name in found and name not in self._by_hand:
                self._left.add(name)
            self._drop(taken)
        for name in found.keys() - self._by_hand - self._taken.keys() - self._left:
            source = found[name]
            if client.owns(source) or any(_THROUGH in each for each in (name, *source.aliases)):
                self._left.add(name)
            else:
                self._take(name, source)

    def _take(self, name: str, source: Any) -> None:
        self._made += 1
        port = self._client.midi_inports.register(f"in_{self._made}")
        taken = _Input(self._made, port, name)
        try:
            self._client.connect(source, port)
        except self._jack.JackError:  # it went in this moment
            port.unregister()
            return
        self._taken[name] = taken
        self._news.append((MIDI_PORT_OPENED, taken.number, _title(source)))
        self._inputs = (*self._inputs, taken)

    def _drop(self, taken: _Input) -> None:
        del self._taken[taken.source]
        self._inputs = tuple(each for each in self._inputs if each is not taken)
        self._news.append((MIDI_PORT_LOST, taken.number, b""))
        self._await_block()
        taken.port.unregister()

    def _await_block(self) -> None:
        """Wait until no callback can hold what the present one holds."""
        before, until_us = self._blocks, monotonic_us() + 100_000.0
        while self._blocks < before + 2 and monotonic_us() < until_us and self.alive:
            sleep(0.001)


def _title(source: Any) -> bytes:
    """Return the name for people: drivers put it into an alias of `system:midi_capture_1` and the like."""
    aliases = source.aliases if source.name.startswith("system:") else []
    name: str = aliases[0] if aliases else source.name
    return name.encode()[:_PIECE]
