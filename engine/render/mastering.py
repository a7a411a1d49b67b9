"""The last stage of the sound: volume, reverberation, limiter."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.parameters import SOUND

CHUNK: Final = 256  # frames worked on at once
_SMOOTH_S: Final = 0.010  # time constant of every level: too slow for a click, too fast for a lag
_LEVELS: Final = {parameter.name: index for index, parameter in enumerate(SOUND)}
VOLUME, BRIGHTNESS, SPACE = (_LEVELS[f"sound.{name}"] for name in ("volume", "brightness", "space"))

# Lengths in samples at 48 kHz: primes between 24 and 86 ms, so that no two echoes fall together for long.
_DELAYS: Final = (1153, 1459, 1801, 2143, 2591, 3067, 3571, 4127)
_REVERBERATION_S: Final = 2.2  # time to fall by 60 dB
_DAMPING: Final = 0.22  # share of the sample before, each time round: high tones die away sooner
_SILENT: Final = 1e-6  # -120 dB: below it the reverberation is emptied, and costs nothing

CEILING: Final = 0.97
_RECOVERY_S: Final = 0.25


def smoothing(rate: int, size: int) -> NDArray[np.float32]:
    """Return what is left of a step after 0, 1, ... `size` samples."""
    return np.exp(-np.arange(size + 1) / (_SMOOTH_S * rate)).astype(np.float32)


class Mastering:
    """Volume, a feedback delay network, and a limiter, for stereo blocks of any length.

    The network (Jot and Chaigne, "Digital delay networks for designing artificial reverberators", AES 90,
    1991) has eight delays mixed by a Hadamard matrix. Every delay is longer than a chunk, so a whole chunk
    is read, mixed and written at once.

    The limiter follows the peaks: it rises with a sample at once and recovers exponentially; the output is
    the input times ceiling over peak wherever the peak is above the ceiling. So nothing is ever louder than
    CEILING, there is no look-ahead and thus no latency, and the price is the rounding of one crest.
    """

    def __init__(self, rate: int) -> None:
        self.levels = [parameter.default for parameter in SOUND]
        self._volume, self._space = self.levels[VOLUME], self.levels[SPACE]
        self._fade = smoothing(rate, CHUNK)
        lengths = np.array([round(delay * rate / 48_000) for delay in _DELAYS])
        size = 1 << int(lengths.max() + CHUNK + 1).bit_length()
        self._mask = size - 1
        self._lines = np.zeros((8, size), np.float32)
        gains = 10.0 ** (-3.0 * lengths / (_REVERBERATION_S * rate))
        two = np.array([[1.0, 1.0], [1.0, -1.0]])
        hadamard = np.kron(np.kron(two, two), two) / np.sqrt(8.0)
        self._mix = (hadamard * gains).astype(np.float32)  # (8, 8)
        self._feed = np.zeros((8, 2), np.float32)
        self._feed[0::2, 0] = self._feed[1::2, 1] = 0.5
        self._take = (self._feed.T * np.array([1, 1, -1, -1, 1, 1, -1, -1])).astype(np.float32)
        self._reads = -lengths[:, None] + np.arange(-1, CHUNK)  # (8, CHUNK + 1)
        self._rows = (np.arange(8) * size)[:, None]
        self._position = 0
        self._ringing = False
        self._recovery = np.exp(-np.arange(1, CHUNK + 1) / (_RECOVERY_S * rate)).astype(np.float32)
        self._peak = np.float32(0.0)
        self._at = np.zeros((8, CHUNK + 1), np.int64)
        self._delayed = np.zeros((8, CHUNK + 1), np.float32)
        self._sound = np.zeros((2, CHUNK), np.float32)
        self._gain = np.zeros(CHUNK, np.float32)

    def process(self, out: NDArray[np.float32]) -> None:
        """Finish `out`, (frames, 2), in place."""
        for start in range(0, len(out), CHUNK):
            self._chunk(out[start : start + CHUNK])

    def _chunk(self, out: NDArray[np.float32]) -> None:
        n = len(out)
        sound, gain, fade = self._sound[:, :n], self._gain[:n], self._fade[:n]
        volume, space = self.levels[VOLUME], self.levels[SPACE]
        np.multiply(out.T, np.float32(volume) + np.float32(self._volume - volume) * fade, out=sound)
        send = sound * (np.float32(space) + np.float32(self._space - space) * fade)
        left = float(self._fade[n])
        self._volume = volume + (self._volume - volume) * left
        self._space = space + (self._space - space) * left
        if self._ringing or send.any():
            self._reverberate(sound, send)
        np.max(np.abs(sound), axis=0, out=gain)
        recovery = self._recovery[:n]
        gain /= recovery
        np.maximum.accumulate(gain, out=gain)
        np.maximum(gain, self._peak, out=gain)
        gain *= recovery
        self._peak = gain[-1]
        np.divide(CEILING, np.maximum(gain, CEILING, out=gain), out=gain)
        np.multiply(sound, gain, out=out.T)

    def _reverberate(self, sound: NDArray[np.float32], send: NDArray[np.float32]) -> None:
        n = send.shape[1]
        at, delayed = self._at[:, : n + 1], self._delayed[:, : n + 1]
        np.add(self._reads[:, : n + 1], self._position, out=at)
        at &= self._mask
        at += self._rows
        np.take(self._lines.reshape(-1), at, out=delayed, mode="clip")
        heard = (1.0 - _DAMPING) * delayed[:, 1:] + _DAMPING * delayed[:, :-1]
        fed = self._mix @ heard + self._feed @ send
        first = self._position & self._mask
        split = min(n, self._lines.shape[1] - first)
        self._lines[:, first : first + split] = fed[:, :split]
        self._lines[:, : n - split] = fed[:, split:]
        self._position += n
        sound += self._take @ heard
        self._ringing = bool(np.abs(fed).max() > _SILENT) or bool(np.abs(self._lines).max() > _SILENT)
        if not self._ringing:
            self._lines[:] = 0.0
