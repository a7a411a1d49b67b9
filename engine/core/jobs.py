"""What the workers must make, as plain data read off the state."""

from dataclasses import dataclass
from enum import IntEnum

from engine.core.parameters import BEND, BENDS, NETWORKS, TRANSFORM


class SoundKind(IntEnum):
    """What a sound event does to the synth."""

    NOTE_ON = 1  # value: velocity 0..1
    NOTE_OFF = 2  # value: release velocity
    BEND = 3  # value: semitones, of every voice of the lane
    PRESSURE = 4  # value: 0..1, of one note, or of the lane where note is -1
    TIMBRE = 5  # value: 0..1, of the lane
    SUSTAIN = 6  # value: 0..1, of the lane
    RELEASE = 7  # every voice of the lane is released, its pedal goes up
    LEVEL = 8  # value: a new level of the sound parameter whose index is `note`


@dataclass(frozen=True, slots=True)
class SoundEvent:
    """One thing that is to be heard at an exact sample.

    `sample` is the show sample at which the device is to play it. A lane is one channel of one source:
    bend, pressure, timbre and pedal act on the voices of their lane. `instrument` is an index into
    `engine.core.parameters.INSTRUMENTS`.
    """

    sample: int
    kind: SoundKind
    lane: int
    note: int
    instrument: int
    value: float


@dataclass(frozen=True, slots=True)
class Heard:
    """A note of the performer's, told to the musician; `drum` tells that it is played on the drums."""

    sample: int
    on: bool
    note: int
    velocity: float
    drum: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """What the musician is asked for: a phrase from `start_tick` to `end_tick`, or answers to the next note.

    `density` is in notes a second, 0 for as many as it likes; `style` as the parameter; `low` and `high` are
    the lowest and highest note; `scale` the pitch classes that it may play, as a set of bits, and
    `pitch_classes` their weights, all 0 for as it likes; `beat` is the beat at `start_tick`.
    """

    request: int
    start_tick: int
    end_tick: int
    answers: bool
    temperature: float
    top_p: float
    density: float
    style: float
    low: int
    high: int
    scale: int
    beat: float
    bpm: float
    pitch_classes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """A line that is to be written, beginning with some words (or with any), at a sampling temperature."""

    request: int
    begins: str
    temperature: float


@dataclass(frozen=True, slots=True)
class Caption:
    """A line over a picture, "" for none; its middle's place and its letters' height are shares of it."""

    line: str
    opacity: float
    size: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class FrameJob:
    """One picture to be made.

    The latent is slerp(z(seed_a), z(seed_b), blend); `mix` moves the coarse, middle and fine style groups
    towards the latent of `style_seed`, each 0 to 1; `label` is a soft one-hot over the generator's classes
    (empty: no classes); `directions` are in standard deviations; `effects` holds the level of each entry
    of `engine.core.parameters.EFFECTS` in that order. `transform`, `bends` and `networks` are the levels of
    TRANSFORM, of BEND for each bent layer, and of NETWORK; a generator without those inputs lets them be.
    `share` is how much of the picture is the playing generator's, while another leaves. `z` is that of a
    picture that was projected (empty: none), `picture` how far towards it the latent is moved, 0 to 1.
    """

    tick: int
    seed_a: int
    seed_b: int
    blend: float
    style_seed: int
    mix: tuple[float, float, float]
    psi: float
    noise: float
    noise_seed: int
    label: tuple[float, ...]
    directions: tuple[float, ...]
    effects: tuple[float, ...]
    transform: tuple[float, ...] = tuple(knob.default for knob in TRANSFORM)
    bends: tuple[float, ...] = tuple(knob.default for knob in BEND) * BENDS
    networks: tuple[float, ...] = (0.0,) * NETWORKS
    share: float = 1.0
    picture: float = 0.0
    z: tuple[float, ...] = ()
