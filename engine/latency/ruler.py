"""The ruler for sound: a JACK client that plays notes at random moments and hears them come back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.clock import monotonic_us

CHANNEL, STICK, VELOCITY = 10, 37, 100  # General MIDI's side stick: the shortest sound that there is
_LENGTH_S: Final = 0.02
_QUIET: Final = 1e-4  # -80 dB
_TEMPLATE_S: Final = 0.004
_TEMPLATES: Final = 8  # are tried
_ALIKE: Final = 0.6  # normalised correlation from which on a sound is taken for the note's
_GAP_S: Final = (0.08, 0.24)  # between two notes
_BEFORE_S, _AFTER_S = 0.008, 0.070  # around the contract: where a note's answer is looked for, and no other's
_CLICK, _LOOP_S, _LOOP_REST = 0.5, 1.5, 20  # height, seconds, blocks of silence before it
_AROUND: Final = 15  # cycles on either side that tell the time of a frame
_CONTROLLERS: Final = 4  # a block, where the ruler is to be a burden


@dataclass(frozen=True)
class Heard:
    """What the ruler took down. `played` are the frames of the notes, `sound` begins at frame `first`.

    `clock` holds (frame, monotonic microseconds) of each cycle.
    """

    rate: int
    played: NDArray[np.int64]
    first: int
    sound: NDArray[np.float32]
    clock: NDArray[np.float64]  # (cycles, 2)
    jumps: int

    # The graph's clock is steady to some microseconds until an xrun, where it slips by what the driver lost
    # (17 ms were seen): one line through all cycles would be wrong by half of that on either side. So the
    # time is read off the cycles around the frame; their median forgives a callback that was late.
    def us_at(self, frame: NDArray[Any]) -> NDArray[np.float64]:
        """Return the time of frames, by the cycles around them."""
        frames, us = self.clock[:, 0], self.clock[:, 1]
        us_per_frame = 1e6 / self.rate
        off = np.pad(us - frames * us_per_frame, _AROUND, mode="edge")
        off = np.median(np.lib.stride_tricks.sliding_window_view(off, 2 * _AROUND + 1), axis=1)
        return np.asarray(np.interp(frame, frames, frames * us_per_frame + off), np.float64)


def moments(notes: int, seed: int, rate: int) -> NDArray[np.int64]:
    """Return the frames at which notes are played: 80 to 240 ms apart, at no multiple of anything."""
    gaps = np.random.default_rng(seed).uniform(*_GAP_S, notes)
    return np.cumsum(gaps * rate).astype(np.int64)


# Two clients, one that plays and one that hears: a single one would close a loop in the graph, which JACK
# opens with a block of delay that is nobody's latency.
class Ruler:
    """Plays and hears, from `start` to `stop`; `hears` is the audio port that is listened to.

    With `burden`, a stream of controllers goes out beside the notes. RuntimeError where JACK is missing.
    """

    def __init__(self, notes: int, seed: int, hears: str = "Chladni:out_1", burden: bool = False) -> None:
        try:
            import jack
        except (ImportError, OSError):
            raise RuntimeError("JACK's library is missing: sudo apt install libjack-jackd2-0") from None
        try:
            self._hand, self._ear = (
                jack.Client(name, no_start_server=True) for name in ("Ruler hand", "Ruler ear")
            )
        except jack.JackOpenError:
            raise RuntimeError("no JACK server runs") from None
        self._clients = [self._ear, self._hand]
        self.rate: int = self._hand.samplerate
        self._midi = self._hand.midi_outports.register("notes")
        self._audio = self._ear.inports.register("sound")
        self._hears, self._burden = hears, burden
        self._moments = moments(notes, seed, self.rate)
        self._length = round(_LENGTH_S * self.rate)
        self._sound = np.zeros(int(self._moments[-1]) + 2 * self.rate, np.float32)
        self._clock = np.zeros((len(self._sound) // self._hand.blocksize + 1, 2))
        self._cycles = self._next = self._next_off = 0
        self._first: int | None = None  # the frame of moment 0
        self._after = self._jumps = 0  # the frame after the last that was heard
        self._running = False
        self._hand.set_process_callback(self._play)
        self._ear.set_process_callback(self._hear)

    def open(self) -> None:
        """Join the graph; the engine finds the port of the notes by itself."""
        self._hand.activate()
        self._ear.activate()

    def listen(self) -> None:
        """Connect to the port that is to be heard, where we are not: an engine may open its device anew."""
        if not self._audio.connections:
            self._ear.connect(self._hears, self._audio)

    def start(self) -> None:
        """Begin with the notes."""
        self._running = True

    @property
    def share(self) -> float:
        """How much of the measurement is done, 0 to 1."""
        return 0.0 if self._first is None else min((self._after - self._first) / len(self._sound), 1.0)

    def _play(self, frames: int) -> None:
        self._midi.clear_buffer()
        if not self._running:
            return
        us, late = monotonic_us(), self._hand.frames_since_cycle_start  # when the cycle began, not we
        us, frame = us - 1e6 * late / self.rate, self._hand.last_frame_time
        if self._first is None:
            self._first = self._after = frame
        if self._cycles < len(self._clock):
            self._clock[self._cycles] = frame, us
            self._cycles += 1
        begin = frame - self._first
        due: list[tuple[int, tuple[int, int, int]]] = []
        while self._next < len(self._moments) and self._moments[self._next] < begin + frames:
            due.append((int(self._moments[self._next]), (0x8F + CHANNEL, STICK, VELOCITY)))
            self._next += 1
        while self._next_off < self._next and self._moments[self._next_off] + self._length < begin + frames:
            due.append((int(self._moments[self._next_off]) + self._length, (0x7F + CHANNEL, STICK, 0)))
            self._next_off += 1
        if self._burden:
            due += [(begin, (0xBE, 20 + number, self._cycles & 127)) for number in range(_CONTROLLERS)]
        for at, message in sorted(due):
            self._midi.write_midi_event(max(at - begin, 0), message)

    def _hear(self, frames: int) -> None:
        frame = self._ear.last_frame_time
        if self._first is None or frame < self._first:
            return
        self._jumps += frame != self._after
        begin = frame - self._first
        room = self._sound[begin : begin + frames]
        room[:] = self._audio.get_array()[: len(room)]
        self._after = frame + frames

    def close(self) -> None:
        """Leave the graph, once."""
        while self._clients:
            client = self._clients.pop()
            client.deactivate()
            client.close()

    def stop(self) -> Heard:
        """Leave the graph; return what was taken down."""
        self.close()
        first = self._first or 0
        played = first + self._moments[: self._next]
        return Heard(self.rate, played, first, self._sound, self._clock[: self._cycles], self._jumps)


# A note that sounds in silence begins with its first sample above it, and what follows there can serve as a
# template. Later notes may sound over a reverberation, and are found as the place where the changes of the
# sound are most like the template's. A template may be spoilt by a hole in the sound: then hardly any note
# is like it, and the next one is tried.
def onsets(heard: Heard, contract_s: float, spread_s: float = 0.0) -> NDArray[np.float64]:
    """Return the frame at which each note was heard, NaN where it was not.

    `spread_s` is how far around the contract sound may lie by rights: half a frame where it waits for one.
    """
    rate = heard.rate
    before_s, after_s = _BEFORE_S + spread_s, _AFTER_S - 2.0 * spread_s  # the next note may be early as well
    begins = np.maximum(heard.played - heard.first + round((contract_s - before_s) * rate), 0)
    length = round((before_s + after_s) * rate)
    windows = [heard.sound[begin : begin + length] for begin in begins]
    templates = (template for window in windows if (template := _template(window, rate)) is not None)
    best = np.full(len(windows), np.nan)
    for template in islice(templates, _TEMPLATES):
        places = [_most_like(np.diff(window, prepend=window[:1]), template) for window in windows]
        found = np.array([np.nan if place is None else place for place in places]) + heard.first + begins
        if np.isnan(found).sum() < np.isnan(best).sum():
            best = found
        if np.isnan(best).mean() < 0.5:
            break
    return best


def _template(window: NDArray[np.float32], rate: int) -> NDArray[np.float32] | None:
    """Return the changes of the sound from an onset in silence on, or None where there is none."""
    length = round(_TEMPLATE_S * rate)
    loud = np.flatnonzero(np.abs(window) > _QUIET)
    if not len(loud) or not 0 < loud[0] < len(window) - length:
        return None
    return np.diff(window[loud[0] - 1 : loud[0] + length])


def _most_like(window: NDArray[np.float32], template: NDArray[np.float32]) -> int | None:
    """Return where in a window the template is, or None where nothing there resembles it."""
    if len(window) < len(template):
        return None
    products = np.correlate(window, template, "valid")
    energy = np.convolve(window.astype(np.float64) ** 2, np.ones(len(template)), "valid")
    likeness = products / np.sqrt(np.maximum(energy, 1e-12) * float(template @ template))
    strong = np.where(products > _ALIKE * float(template @ template) * 0.5, likeness, 0.0)
    best = int(strong.argmax())
    return best if strong[best] >= _ALIKE else None


def milliseconds(frames: Sequence[float] | NDArray[Any], rate: int) -> NDArray[np.float64]:
    """Return frames as milliseconds."""
    return np.asarray(frames, np.float64) * 1000.0 / rate


def loop_frames(plays: str, hears: str) -> int:
    """Return the frames that sound takes from a playback port through a cable to a capture port.

    A click goes out and is looked for; RuntimeError where it does not come back within a second.
    """
    import jack

    client = jack.Client("Loop", no_start_server=True)
    out, back = client.outports.register("click"), client.inports.register("back")
    heard: list[NDArray[np.float32]] = []
    sent: list[int] = []  # how many frames had been heard before the click

    def process(frames: int) -> None:
        block = out.get_array()
        block[:] = 0.0
        if len(heard) == _LOOP_REST and not sent:
            block[0] = _CLICK
            sent.append(sum(map(len, heard)))
        heard.append(np.array(back.get_array()))

    client.set_process_callback(process)
    with client:
        client.connect(out, plays)
        client.connect(hears, back)
        time.sleep(_LOOP_S)
    sound = np.abs(np.concatenate(heard))
    noise = sound[: sent[0]].max(initial=_QUIET) if sent else 1.0
    loud = np.flatnonzero(sound[sum(sent) :] > 4.0 * noise)
    if not len(loud):
        raise RuntimeError(
            f"a click from {plays} does not come back at {hears}: check the cable and the levels"
        )
    return int(loud[0])
