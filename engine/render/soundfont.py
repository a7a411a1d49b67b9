"""A SoundFont in place of the built-in instruments, played by tinysoundfont."""

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.core.jobs import SoundEvent, SoundKind
from engine.core.parameters import INSTRUMENTS
from engine.render.mastering import Mastering
from engine.render.synth import Instrumentarium, Synth

_CHANNELS: Final = 16  # tinysoundfont's; lanes fold onto them
_DRUM_CHANNEL: Final = 9  # General MIDI's tenth
_BEND_RANGE: Final = 48.0  # semitones, as MPE has it
_EXPRESSION: Final = 11  # a controller (MIDI 1.0, table III)
_PEDAL_DOWN: Final = 0.5  # from there on it holds (MIDI 1.0: 64 of 127)
_GAIN_DB: Final = -9.0  # leaves the limiter room for chords
# Presets in the General MIDI sound set.
_PROGRAMS: Final = {"piano": 4, "pad": 89, "pluck": 24, "bass": 33}


class SoundFont:
    """The synth's methods for an .sf2 file; a note starts on its exact frame.

    SoundFont channels know pressure only as expression, and no timbre and no brightness. The library knows no
    pedal either, so the keys that a pedal holds are kept here.
    """

    def __init__(self, rate: int, path: str) -> None:
        if not Path(path).is_file():
            raise ValueError(f"soundfont: there is no file {path}; name an .sf2 file")
        try:
            import tinysoundfont
        except (ImportError, OSError) as error:
            remedy = "pip install 'chladni[soundfont]'"
            raise ImportError(f"soundfont: tinysoundfont is missing: {remedy}") from error
        try:
            self._synth: Any = tinysoundfont.Synth(gain=_GAIN_DB, samplerate=rate)
            self._font = self._synth.sfload(path)
        except Exception as error:  # the library raises a plain Exception
            raise ValueError(f"soundfont: {path} is no SoundFont ({error}); name an .sf2 file") from error
        self._mastering = Mastering(rate)
        self._playing: dict[int, int] = {}  # instrument by channel
        self._keys: dict[tuple[int, int], int] = {}  # channel by lane and note, while it sounds
        self._pedals: set[int] = set()  # lanes whose pedal is down
        self._held: set[tuple[int, int]] = set()  # keys that are up and held by it
        for channel in range(_CHANNELS):
            self._synth.pitchbend_range(channel, _BEND_RANGE)
        self._kinds = {
            SoundKind.NOTE_ON: self._note_on,
            SoundKind.NOTE_OFF: self._note_off,
            SoundKind.BEND: self._bend,
            SoundKind.PRESSURE: self._press,
            SoundKind.SUSTAIN: self._sustain,
            SoundKind.RELEASE: self._release,
            SoundKind.LEVEL: self._level,
        }

    @property
    def sounding(self) -> int:
        """How many keys are down or held; the library does not count its voices."""
        return len(self._keys)

    def apply(self, event: SoundEvent) -> None:
        """Let the event happen before the next sample."""
        if event.kind in self._kinds:
            self._kinds[event.kind](event, self._channel(event))

    def play(self, out: NDArray[np.float32]) -> None:
        """Fill `out`, (frames, 2), with the bare sound of the voices."""
        self._synth.generate(len(out), memoryview(out).cast("B"))  # type: ignore[arg-type]

    def finish(self, out: NDArray[np.float32]) -> None:
        """Give `out`, (frames, 2), its volume, reverberation and limit."""
        self._mastering.process(out)

    @staticmethod
    def _channel(event: SoundEvent) -> int:
        if event.kind <= SoundKind.NOTE_OFF and INSTRUMENTS[event.instrument % len(INSTRUMENTS)] == "drums":
            return _DRUM_CHANNEL
        channel = event.lane % (_CHANNELS - 1)
        return channel + (channel >= _DRUM_CHANNEL)

    def _note_on(self, event: SoundEvent, channel: int) -> None:
        if self._playing.get(channel) != event.instrument:
            self._playing[channel] = event.instrument
            drums = channel == _DRUM_CHANNEL
            program = 0 if drums else _PROGRAMS[INSTRUMENTS[event.instrument]]
            self._synth.program_change(channel, program, drums)
        key = event.lane, event.note
        self._held.discard(key)
        self._keys[key] = channel
        self._synth.noteon(channel, event.note, max(1, round(127 * event.value)))

    def _note_off(self, event: SoundEvent, channel: int) -> None:
        if event.lane in self._pedals:
            self._held.add((event.lane, event.note))
        else:
            self._let_go((event.lane, event.note))

    def _let_go(self, key: tuple[int, int]) -> None:
        channel = self._keys.pop(key, None)
        if channel is not None:
            self._synth.noteoff(channel, key[1])

    def _bend(self, event: SoundEvent, channel: int) -> None:
        wheel = round(8192 + 8191 * event.value / _BEND_RANGE)
        self._synth.pitchbend(channel, min(max(wheel, 0), 16383))

    def _press(self, event: SoundEvent, channel: int) -> None:
        self._synth.control_change(channel, _EXPRESSION, min(127, round(96 + 31 * event.value)))

    def _sustain(self, event: SoundEvent, channel: int) -> None:
        if event.value >= _PEDAL_DOWN:
            self._pedals.add(event.lane)
            return
        self._pedals.discard(event.lane)
        for key in [key for key in self._held if key[0] == event.lane]:
            self._held.discard(key)
            self._let_go(key)

    def _release(self, event: SoundEvent, channel: int) -> None:
        self._pedals.discard(event.lane)
        for key in [key for key in self._keys if key[0] == event.lane]:
            self._held.discard(key)
            self._let_go(key)

    def _level(self, event: SoundEvent, channel: int) -> None:
        if 0 <= event.note < len(self._mastering.levels):
            self._mastering.levels[event.note] = event.value


def instruments(rate: int, soundfont: str | None) -> Instrumentarium:
    """Return what plays a show: its SoundFont, or the built-in instruments where it has none that works."""
    if soundfont is None:
        return Synth(rate)
    try:
        return SoundFont(rate, soundfont)
    except (OSError, ValueError, ImportError) as error:
        print(f"sound: {error}; the built-in instruments play instead", file=sys.stderr)
        return Synth(rate)
