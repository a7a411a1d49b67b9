"""A client in JACK's graph, whatever it is for."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from engine.clock import monotonic_us
from engine.io.miniaudio_device import LOST_US, DeviceError

CAPTURE_LATENCY, PLAYBACK_LATENCY = 0, 1  # JackCaptureLatency, JackPlaybackLatency (jack/types.h)


class _LatencyRange(ctypes.Structure):
    """jack_latency_range_t (jack/types.h)."""

    _fields_: ClassVar = [("minimum", ctypes.c_uint32), ("maximum", ctypes.c_uint32)]


class JackClient:
    """A client of a server that runs already; whoever is called back keeps `_called_us`.

    Raise DeviceError where there is no library or no server.
    """

    def __init__(self, name: str) -> None:
        try:
            import jack
        except (ImportError, OSError) as error:
            raise DeviceError("JACK's library is missing: sudo apt install libjack-jackd2-0") from error
        jack.set_error_function(lambda message: None)  # a missing server is no news
        jack.set_info_function(lambda message: None)
        try:
            self._client = jack.Client(name, no_start_server=True)
        except jack.JackOpenError as error:
            raise DeviceError("no JACK server runs") from error
        self._jack = jack
        self.rate: int = self._client.samplerate
        self.block: int = self._client.blocksize
        self._shut = False
        self._called_us = 0.0
        self._raw = self._frame = self._blocks = 0  # JACK's frame number, ours, and blocks so far

    @property
    def alive(self) -> bool:
        """Whether the server still calls."""
        return not self._shut and monotonic_us() - self._called_us < LOST_US

    def close(self) -> None:
        """Leave the graph."""
        with suppress(Exception):
            self._client.deactivate()
        with suppress(Exception):
            self._client.close()

    def _join(self, process: Callable[[int], None]) -> None:
        """Have `process` called for each block from here on. Raise DeviceError if the server will not."""
        self._called_us = monotonic_us()
        self._client.set_shutdown_callback(self._shutdown)
        self._client.set_process_callback(process)
        try:
            self._client.activate()
        except self._jack.JackError as error:
            raise DeviceError(f"the JACK server does not take us: {error}") from error

    def _shutdown(self, status: Any, reason: str) -> None:
        self._shut = True

    # JACK-Client does not offer jack_port_get_latency_range, so the library is asked beside it.
    def _latency_query(self, way: int) -> Callable[[Any], int]:
        """Return a function that asks for the latency of a port of ours, on its way in or out, in frames."""
        jack = self._jack
        ask = ctypes.CDLL(jack._libname).jack_port_get_latency_range
        ask.argtypes, ask.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p), None
        answer = _LatencyRange()

        def latency(port: Any) -> int:
            ask(int(jack._ffi.cast("uintptr_t", port._ptr)), way, ctypes.byref(answer))
            return int(answer.maximum)

        return latency
