"""The last stage of the sound: volume, reverberation, limiter."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.parameters import SOUND

CHUNK: Final = 256  # frames worked on at once
SMOOTH_S: Final = 0.010  # time constant of every level: too slow for a click, too fast for a lag
_LEVELS: Final = {parameter.name: index for index, parameter in enumerate(SOUND)}
VOLUME, BRIGHTNESS, SPACE = (_LEVELS[f"sound.{name}"] for name in ("volume", "brightness", "space"))

# Lengths in samples at 48 kHz: primes between 24 and 86 ms, so that no two echoes fall together for long.
_DELAYS: Final = (1153, 1459, 1801, 2143, 2591, 3067, 3571, 4127)
_REVERBERATION_S: Final = 2.2  # time to fall by 60 dB
_DAMPING: Final = 0.22  # share of the sample before, each time round: high tones die away sooner
_SILENT: Final = 1e-6  # -120 dB: below it the reverberation is emptied, and costs nothing
_SETTLED: Final = 1e-7  # a level as near as that to where it goes is there

CEILING: Final = 0.97
_RECOVERY_S: Final = 0.25


def smoothing(rate: int, size: int) -> NDArray[np.float32]:
    """Return what is left of a step after 0, 1, ... `size` samples."""
    return np.exp(-np.arange(size + 1) / (SMOOTH_S * rate)).astype(np.float32)


class Mastering:
    """Volume, a feedback delay network, and a limiter, for stereo blocks of any length.

    The network (Jot and Chaigne, "Digital delay networks for designing artificial reverberators", AES 90,
    1991) has eight delays mixed by a Hadamard matrix. Every delay is longer than a chunk, so a whole chunk
    is read, mixed and written at once: what each line gives, the sample before it (for the damping) and what
    is sent in are the columns of one matrix product, whose rows are what each line takes and what is heard.

    The limiter follows the peaks: it rises with a sample at once and recovers exponentially; the output is
    the input times ceiling over peak wherever the peak is above the ceiling. So nothing is ever louder than
    CEILING, there is no look-ahead and thus no latency, and the price is the rounding of one crest.
    """

    def __init__(self, rate: int) -> None:
        self.levels = [parameter.default for parameter in SOUND]
        self._reached = list(self.levels)  # where each of them is on its way
        self._fade = smoothing(rate, CHUNK)
        lengths = np.array([round(delay * rate / 48_000) for delay in _DELAYS])
        self._kept = int(lengths.max()) + 1  # samples of a line that are still to be heard
        size = 1 << (2 * self._kept).bit_length()
        self._lines = np.zeros((8, size), np.float32)
        self._position = self._kept  # in the lines: where the next sample is written
        gains = 10.0 ** (-3.0 * lengths / (_REVERBERATION_S * rate))
        two = np.array([[1.0, 1.0], [1.0, -1.0]])
        hadamard = np.kron(np.kron(two, two), two) / np.sqrt(8.0)
        feed = np.zeros((8, 2))
        feed[0::2, 0] = feed[1::2, 1] = 0.5
        heard = feed.T * np.array([1, 1, -1, -1, 1, 1, -1, -1])
        mix = np.vstack((hadamard * gains, heard))
        self._mix = np.hstack(
            ((1.0 - _DAMPING) * mix, _DAMPING * mix, np.vstack((feed, np.zeros((2, 2)))))
        ).astype(np.float32)  # (8 lines and 2 ears, 8 lines, 8 lines a sample before, 2 sent)
        first = (np.arange(8) * size - lengths)[:, None] + np.arange(CHUNK)
        self._reads = np.vstack((first, first - 1))  # (16, CHUNK), in the flat lines, from position 0
        self._rings = 0  # frames until all that is in the lines is silent
        self._recovery = np.exp(-np.arange(1, CHUNK + 1) / (_RECOVERY_S * rate)).astype(np.float32)
        self._peak = np.float32(0.0)
        self._at = np.zeros(16 * CHUNK, np.int64)
        self._given = np.zeros(18 * CHUNK, np.float32)  # by the lines, and sent
        self._sound = np.zeros(2 * CHUNK, np.float32)

    def process(self, out: NDArray[np.float32]) -> None:
        """Finish `out`, (frames, 2), in place."""
        for start in range(0, len(out), CHUNK):
            self._chunk(out[start : start + CHUNK])

    def _chunk(self, out: NDArray[np.float32]) -> None:
        n = len(out)
        sound = self._sound[: 2 * n].reshape(2, n)
        given = self._given[: 18 * n].reshape(18, n)
        send = given[16:]
        np.multiply(out.T, self._level(VOLUME, n), out=sound)
        np.multiply(sound, self._level(SPACE, n), out=send)
        if send.any():
            self._rings = self._kept
        if self._rings > 0:
            self._reverberate(sound, given)
        self._limit(sound)
        out.T[:] = sound

    def _level(self, which: int, n: int) -> NDArray[np.float32] | np.float32:
        """Return a level for the next `n` samples, on its way to where it is wanted."""
        reached, wanted = self._reached[which], self.levels[which]
        if abs(reached - wanted) < _SETTLED:
            self._reached[which] = wanted
            return np.float32(wanted)
        self._reached[which] = wanted + (reached - wanted) * float(self._fade[n])
        return np.float32(wanted) + np.float32(reached - wanted) * self._fade[:n]

    def _reverberate(self, sound: NDArray[np.float32], given: NDArray[np.float32]) -> None:
        n = sound.shape[1]
        if self._position + n > self._lines.shape[1]:
            self._lines[:, : self._kept] = self._lines[:, self._position - self._kept : self._position].copy()
            self._position = self._kept
        at = self._at[: 16 * n].reshape(16, n)
        np.add(self._reads[:, :n], self._position, out=at)
        np.take(self._lines.reshape(-1), at, out=given[:16], mode="clip")
        mixed = self._mix @ given
        self._lines[:, self._position : self._position + n] = mixed[:8]
        self._position += n
        sound += mixed[8:]
        loud = mixed.max() > _SILENT or mixed.min() < -_SILENT
        self._rings = self._kept if loud else self._rings - n
        if self._rings <= 0:
            self._lines[:] = 0.0

    # A peak below the ceiling changes nothing, then or later, so it need not be remembered.
    def _limit(self, sound: NDArray[np.float32]) -> None:
        recovery = self._recovery[: sound.shape[1]]
        if self._peak * recovery[0] <= CEILING and max(sound.max(), -sound.min()) <= CEILING:
            self._peak = np.float32(0.0)
            return
        gain = np.abs(sound).max(axis=0)
        gain /= recovery
        np.maximum.accumulate(gain, out=gain)
        np.maximum(gain, self._peak, out=gain)
        gain *= recovery
        self._peak = gain[-1]
        np.divide(CEILING, np.maximum(gain, CEILING, out=gain), out=gain)
        sound *= gain
