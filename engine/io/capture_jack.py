"""JACK as a sound input: the ports of its graph that a show names."""

from contextlib import suppress
from typing import Any, ClassVar, Final

import numpy as np

from engine import priority
from engine.clock import monotonic_us
from engine.io.audio_jack import CAPTURE_LATENCY, latency_query
from engine.io.capture import AUTO, Take
from engine.io.miniaudio_device import DeviceError

_LOST_US: Final = 1e6
_TEND_US: Final = 0.25e6
_CHANNELS: Final = 2  # ports that are heard together, as one


class JackCapture:
    """A client named Chladni input, whose one port hears the first two ports that fit: the mean of both.

    "auto" fits the physical inputs; other names fit by a part, of an alias too. The callback copies a block,
    and nothing else: a late client would hold up the sound of the whole graph.
    """

    kind: ClassVar[str] = "jack"

    def __init__(self, device: str = AUTO) -> None:
        try:
            import jack
        except (ImportError, OSError) as error:
            raise DeviceError("JACK's library is missing: sudo apt install libjack-jackd2-0") from error
        jack.set_error_function(lambda message: None)
        jack.set_info_function(lambda message: None)
        try:
            self._client = jack.Client("Chladni input", no_start_server=True)
        except jack.JackOpenError as error:
            raise DeviceError("no JACK server runs") from error
        self._jack, self._device, self.name = jack, device, device
        self.rate, self.block = self._client.samplerate, self._client.blocksize
        self._port = self._client.inports.register("in")
        self._latency = latency_query(jack, CAPTURE_LATENCY)
        self.buffer_frames = 0
        self._share = 1.0  # of each port in the sum that JACK makes of them
        self._known: set[str] = set()  # found before: who was disconnected by hand stays so
        self._shut, self._gone = False, False
        self._called_us = self._tended_us = 0.0
        self._raw = self._frame = self._blocks = 0
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
        return not self._shut and not self._gone and monotonic_us() - self._called_us < _LOST_US

    def start(self, take: Take) -> None:
        """Join the graph, and connect."""
        self._called_us = monotonic_us()
        self._client.set_shutdown_callback(self._shutdown)
        self._client.set_process_callback(self._process(take))
        try:
            self._client.activate()
        except self._jack.JackError as error:
            raise DeviceError(f"the JACK server does not take us: {error}") from error
        self.tend()

    def close(self) -> None:
        """Leave the graph."""
        with suppress(Exception):
            self._client.deactivate()
        with suppress(Exception):
            self._client.close()

    def _shutdown(self, status: Any, reason: str) -> None:
        self._shut = True

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
