"""JACK as a sound input: the ports of its graph that a show names."""

from contextlib import suppress
from typing import Any, ClassVar, Final

import numpy as np

from engine import priority
from engine.clock import monotonic_us
from engine.io.capture import AUTO, Take
from engine.io.jack_client import CAPTURE_LATENCY, JackClient
from engine.io.miniaudio_device import DeviceError

_TEND_US: Final = 0.25e6
_CHANNELS: Final = 2  # ports that are heard together, as one


class JackCapture(JackClient):
    """A client named Chladni input, whose one port hears the first two ports that fit: the mean of both.

    "auto" fits the physical inputs; other names fit by a part, of an alias too. The callback copies a block,
    and nothing else: a late client would hold up the sound of the whole graph.
    """

    kind: ClassVar[str] = "jack"

    def __init__(self, device: str = AUTO) -> None:
        super().__init__("Chladni input")
        self._device = self.name = device
        self._port = self._client.inports.register("in")
        self._latency = self._latency_query(CAPTURE_LATENCY)
        self.buffer_frames = 0
        self._share = 1.0  # of each port in the sum that JACK makes of them
        self._known: set[str] = set()  # found before: who was disconnected by hand stays so
        self._gone = False
        self._tended_us = 0.0
        found = self._found()
        if not found:
            self.close()
            raise DeviceError(f"no JACK port has {device!r} in its name")

    def _found(self) -> list[Any]:
        client = self._client
        if self._device == AUTO:
            return list(client.get_ports(is_audio=True, is_output=True, is_physical=True))[:_CHANNELS]
        part = self._device.casefold()
        return [
            port
            for port in client.get_ports(is_audio=True, is_output=True)
            if any(part in name.casefold() for name in (port.name, *port.aliases))
        ][:_CHANNELS]

    @property
    def alive(self) -> bool:
        """Whether the server still calls, and has something for us to hear."""
        return not self._gone and super().alive

    def start(self, take: Take) -> None:
        """Join the graph, and connect."""
        self._join(self._process(take))
        self.tend()

    def _process(self, take: Take) -> Any:
        client, port = self._client, self._port
        us_per_frame = 1e6 / self.rate

        def process(frames: int) -> None:
            us = monotonic_us()
            self._called_us = us
            if not self._blocks:
                priority.become_realtime(priority.SOUND)  # for a server that runs without (jackd -r)
            self._blocks += 1
            us -= (client.frames_since_cycle_start + self.buffer_frames) * us_per_frame
            raw = client.last_frame_time  # 32 bits: wraps after a day
            self._frame += (raw - self._raw) & 0xFFFFFFFF
            self._raw, self.block = raw, frames
            take(self._frame, us, port.get_array() * np.float32(self._share))

        return process

    def tend(self) -> None:
        """Connect what has come, four times a second; notice when nothing is left."""
        now_us = monotonic_us()
        if now_us - self._tended_us < _TEND_US:
            return
        self._tended_us = now_us
        with suppress(self._jack.JackError):  # a server on its way out; `alive` will tell
            found = self._found()
            self._gone = not found
            names = {port.name for port in found}
            for port in found:
                if port.name not in self._known:
                    self._client.connect(port, self._port)
            self._known = names
            self._share = 1.0 / max(len(self._port.connections), 1)
            self.buffer_frames = self._latency(self._port)
            self.name = ", ".join(port.name for port in found)
