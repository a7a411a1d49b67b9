"""MIDI clock out: the transport's beats as pulses, with its starts, stops and jumps."""

from typing import Final

from engine.core.state import Transport
from engine.core.transport import PULSES_PER_BEAT, beat_at, sample_at

START, CONTINUE, STOP, PULSE, POSITION = 0xFA, 0xFB, 0xFC, 0xF8, 0xF2
_PULSES_PER_SIXTEENTH: Final = PULSES_PER_BEAT // 4
_POSITIONS: Final = 1 << 14  # of the Song Position Pointer, in sixteenths
_AHEAD_SAMPLES: Final = 48  # a start comes a millisecond before the pulse that it means (MIDI 1.0)
_SLACK: Final = 1e-6  # of a pulse


# A receiver counts pulses, so each is sent once, in order, at its place on the transport's line; where that
# line bends a little (a tempo that is led from outside) a pulse is late or early by as little. Only a jump
# of more than a pulse is told as one: stop, position, continue. Positions come in whole sixteenths, so
# after a start, a jump or a continue the pulses begin with the next sixteenth.
class MidiClock:
    """Says what of the transport lies in one stretch of show time after the other."""

    def __init__(self) -> None:
        self._running = False
        self._next = 0  # number of the next pulse, from beat 0

    def tell(self, transport: Transport, begin: int, end: int) -> list[tuple[int, bytes]]:
        """Return the messages for the samples from `begin` to before `end`, in order, with their samples."""
        messages: list[tuple[int, bytes]] = []
        at = beat_at(transport, begin) * PULSES_PER_BEAT
        if self._running and (not transport.running or abs(at - self._next + 0.5) > 1.5):
            messages.append((begin, bytes((STOP,))))
            self._running = False
        if not transport.running:
            return messages
        reached = beat_at(transport, end) * PULSES_PER_BEAT
        if not self._running:
            sixteenth = max(int(-((_SLACK - at) // _PULSES_PER_SIXTEENTH)), 0)
            self._next = sixteenth * _PULSES_PER_SIXTEENTH
            if self._next >= reached:
                return messages
            first = self._sample(transport, begin, end)
            messages += ((max(first - _AHEAD_SAMPLES, begin), each) for each in _located(sixteenth))
            self._running = True
        while self._next < reached:
            messages.append((self._sample(transport, begin, end), bytes((PULSE,))))
            self._next += 1
        return messages

    def _sample(self, transport: Transport, begin: int, end: int) -> int:
        sample = round(sample_at(transport, self._next / PULSES_PER_BEAT))
        return min(max(sample, begin), end - 1)


def _located(sixteenth: int) -> tuple[bytes, ...]:
    """Return what makes a receiver run from a sixteenth on."""
    if sixteenth == 0:
        return (bytes((START,)),)
    position = sixteenth % _POSITIONS
    return bytes((POSITION, position & 0x7F, position >> 7)), bytes((CONTINUE,))
