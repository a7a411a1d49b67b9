"""The built-in instruments: what each voice of the synth is made of."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Pair:
    """A sine carrier whose phase a sine modulates (Chowning, "The Synthesis of Complex Audio Spectra", 1973).

    `carrier` and `modulator` are whole multiples of the note's frequency, so no pair makes a constant
    offset. `index` falls from its peak to `floor` times it, `level` to `sustain` times it.
    """

    carrier: int
    modulator: int
    index: float
    floor: float
    index_decay_s: float
    level: float
    sustain: float
    decay_s: float
    detune_cents: float
    pan: float  # -1 left, 1 right


@dataclass(frozen=True, slots=True)
class Patch:
    """Two pairs under one envelope. `touch` is how much of the index the velocity rules, 0 to 1.

    Times are time constants at middle C; decays halve every `halving` semitones upwards.
    """

    pairs: tuple[Pair, Pair]
    attack_s: float
    release_s: float
    touch: float
    halving: float
    tremolo: float  # share of the level that sways from side to side


PATCHES: Final = {
    "piano": Patch(  # a bar and its tine, after the electric pianos of the FM era
        (
            Pair(1, 1, 1.15, 0.30, 0.90, 0.165, 0.0, 1.60, -1.0, -0.15),
            Pair(1, 14, 0.95, 0.00, 0.16, 0.085, 0.0, 0.90, 1.4, 0.20),
        ),
        attack_s=0.0012, release_s=0.09, touch=0.75, halving=22.0, tremolo=0.16,
    ),
    "pad": Patch(
        (
            Pair(1, 1, 1.35, 0.75, 1.50, 0.075, 0.9, 2.0, -5.5, -0.65),
            Pair(1, 2, 0.85, 0.80, 2.50, 0.075, 0.9, 2.0, 5.5, 0.65),
        ),
        attack_s=0.16, release_s=0.45, touch=0.35, halving=60.0, tremolo=0.10,
    ),
    "pluck": Patch(
        (
            Pair(1, 2, 2.60, 0.06, 0.11, 0.160, 0.0, 0.48, 0.0, -0.30),
            Pair(2, 3, 1.60, 0.00, 0.05, 0.075, 0.0, 0.22, 2.0, 0.35),
        ),
        attack_s=0.0007, release_s=0.11, touch=0.60, halving=18.0, tremolo=0.0,
    ),
    "bass": Patch(
        (
            Pair(1, 1, 2.40, 0.28, 0.22, 0.150, 0.55, 0.70, 0.0, 0.0),
            Pair(1, 2, 0.30, 0.20, 0.10, 0.150, 0.70, 0.90, 0.0, 0.0),
        ),
        attack_s=0.002, release_s=0.045, touch=0.55, halving=48.0, tremolo=0.0,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Tone:
    """A sine that falls from `start_hz` to `hz` and fades; all three times are time constants."""

    level: float
    start_hz: float
    hz: float
    sweep_s: float
    decay_s: float


@dataclass(frozen=True, slots=True)
class _Noise:
    """Noise between two frequencies that fades; `bursts` of it 11 ms apart make a clap."""

    level: float
    low_hz: float
    high_hz: float
    decay_s: float
    bursts: int = 1


@dataclass(frozen=True, slots=True)
class Drum:
    """One key of the drum set: what it is made of and where it stands. A key chokes those of its group."""

    parts: tuple[_Tone | _Noise, ...]
    pan: float = 0.0
    group: int = 0  # 0: none


def _tom(hz: float, pan: float) -> Drum:
    return Drum((_Tone(0.55, 1.7 * hz, hz, 0.03, 0.16), _Noise(0.10, 300.0, 3000.0, 0.03)), pan)


def _metal(level: float, decay_s: float, *partials_hz: float) -> tuple[_Tone, ...]:
    return tuple(_Tone(level, hz, hz, 1.0, decay_s) for hz in partials_hz)


def _hat(decay_s: float) -> Drum:
    metal = _metal(0.02, 0.7 * decay_s, 5410.0, 6790.0, 8230.0)
    return Drum((_Noise(0.42, 6500.0, 15000.0, decay_s), *metal), 0.25, 1)


# General MIDI level 1, percussion key map, keys 35 to 51.
DRUMS: Final = {
    35: Drum((_Tone(0.75, 130.0, 45.0, 0.030, 0.17), _Noise(0.06, 800.0, 4000.0, 0.004))),
    36: Drum((_Tone(0.78, 210.0, 50.0, 0.022, 0.13), _Noise(0.12, 1500.0, 7000.0, 0.004))),
    37: Drum((_Tone(0.30, 1750.0, 1700.0, 0.01, 0.012), _Noise(0.25, 1500.0, 6000.0, 0.010)), -0.1),
    38: Drum((_Tone(0.35, 280.0, 185.0, 0.015, 0.055), _Noise(0.42, 900.0, 9000.0, 0.075))),
    39: Drum((_Noise(0.55, 900.0, 3500.0, 0.055, bursts=4),), -0.15),
    40: Drum((_Tone(0.30, 330.0, 220.0, 0.012, 0.045), _Noise(0.46, 1500.0, 12000.0, 0.060))),
    41: _tom(78.0, 0.45),
    42: _hat(0.022),
    43: _tom(92.0, 0.35),
    44: _hat(0.014),
    45: _tom(112.0, 0.15),
    46: _hat(0.170),
    47: _tom(134.0, 0.0),
    48: _tom(158.0, -0.2),
    49: Drum((_Noise(0.42, 3200.0, 16000.0, 0.42), _Noise(0.20, 1800.0, 8000.0, 0.10)), -0.35),
    50: _tom(186.0, -0.4),
    51: Drum((_Noise(0.13, 5000.0, 15000.0, 0.30), *_metal(0.05, 0.25, 3127.0, 4211.0, 5393.0)), 0.40),
}  # fmt: skip
_FADE_S: Final = 0.0003  # the ends of a drum's table are rounded off
_SILENCE: Final = 7.0  # time constants until a sound has fallen by 60 dB


@cache
def drum_tables(rate: int) -> dict[int, NDArray[np.float32]]:
    """Return the sound of every drum, mono, at `rate`; the same numbers every time."""
    return {note: _drum(drum, rate, np.random.default_rng(note)) for note, drum in DRUMS.items()}


def _drum(drum: Drum, rate: int, rng: np.random.Generator) -> NDArray[np.float32]:
    size = round(rate * _SILENCE * max(part.decay_s for part in drum.parts)) + rate // 20
    t = np.arange(size) / rate
    table = np.zeros(size)
    for part in drum.parts:
        if isinstance(part, _Tone):
            hz = part.hz + (part.start_hz - part.hz) * np.exp(-t / part.sweep_s)
            table += part.level * np.exp(-t / part.decay_s) * np.sin(2.0 * np.pi * np.cumsum(hz) / rate)
        else:
            noise = _band(rng.standard_normal(size), part.low_hz, part.high_hz, rate)
            starts = (0.011 * burst for burst in range(part.bursts))
            bursts = [np.where(t >= start, np.exp((start - t) / part.decay_s), 0.0) for start in starts]
            envelope = np.max(bursts, axis=0)
            table += part.level * envelope * noise
    fade = max(2, round(_FADE_S * rate))
    table[:fade] *= np.arange(1, fade + 1) / fade
    table[-20 * fade :] *= np.linspace(1.0, 0.0, 20 * fade)
    return table.astype(np.float32)


def _band(noise: NDArray[np.float64], low_hz: float, high_hz: float, rate: int) -> NDArray[np.float64]:
    """Return the noise between two frequencies, slopes of 12 dB an octave, peaks of about 1."""
    hz = np.fft.rfftfreq(noise.size, 1.0 / rate)
    gain = 1.0 / (1.0 + (low_hz / np.maximum(hz, 1.0)) ** 2) / (1.0 + (hz / high_hz) ** 2)
    gain[0] = 0.0
    band = np.fft.irfft(np.fft.rfft(noise) * gain, noise.size)
    return np.asarray(band / (3.0 * band.std()))
