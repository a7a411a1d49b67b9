"""What miniaudio's playback and its capture have in common: blocks of so many frames, a life and its end."""

import ctypes
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Final

from engine.clock import monotonic_us

BACKENDS: Final = ("JACK", "PULSEAUDIO", "ALSA", "COREAUDIO", "WASAPI")
PERIODS: Final = 2  # blocks in a device's buffer, where it is ours to choose
LOST_US: Final = 1e6  # a device that has not called back for so long is gone
_ON_ALSA_ERROR = ctypes.CFUNCTYPE(None)(lambda: None)


class DeviceError(Exception):
    """A device cannot be opened; the message says why."""


def library() -> Any:
    """Return miniaudio, its back ends silenced. Raise DeviceError where it is not installed."""
    try:
        import miniaudio
    except ImportError as error:
        raise DeviceError("miniaudio is not installed: pip install miniaudio") from error
    with suppress(OSError, AttributeError):  # ALSA writes a page of errors whenever there is no card
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(_ON_ALSA_ERROR)
    return miniaudio


def framed(kind: Any, block: int) -> Any:
    """Return one of the library's device classes, with periods of `block` frames."""

    class Framed(kind):  # type: ignore[misc]
        """The library knows periods in milliseconds only; its configuration knows frames."""

        def _make_context(self, *arguments: Any) -> Any:
            self._devconfig.periodSizeInMilliseconds = 0
            self._devconfig.periodSizeInFrames = block
            return super()._make_context(*arguments)

    return Framed


class MiniaudioDevice:
    """An open device; whoever is called back keeps `_called_us`."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self.rate = int(device._device.sampleRate)
        self._called_us = 0.0
        self._stopped = False

    @property
    def alive(self) -> bool:
        """Whether it still calls back."""
        return not self._stopped and monotonic_us() - self._called_us < LOST_US

    def _begin(self, callbacks: Generator[Any, Any, None]) -> None:
        """Begin to call back. Raise DeviceError if it will not."""
        self._called_us = monotonic_us()
        self._device.stop_callback = self._stop
        next(callbacks)
        try:
            self._device.start(callbacks)
        except Exception as error:  # the library's own, or cffi's
            raise DeviceError(f"the sound device does not start: {error}") from error

    def tend(self) -> None:
        """Nothing to be done."""

    def close(self) -> None:
        """End; a device that is gone cannot object."""
        with suppress(Exception):
            self._device.close()

    def _stop(self) -> None:
        self._stopped = True
