"""Every parameter that can be moved, declared once."""

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Parameter:
    """A thing that can be moved. `default` lies in `minimum`..`maximum`, all in `unit`.

    Where there are `choices`, the level is the number of one of them, from 0; it jumps and does not fade.
    """

    name: str
    minimum: float
    maximum: float
    default: float
    unit: str
    meaning: str
    choices: tuple[str, ...] = ()


def _choice(name: str, choices: tuple[str, ...], meaning: str) -> Parameter:
    return Parameter(name, 0.0, len(choices) - 1.0, 0.0, "", meaning, choices)


DIRECTIONS: Final = 10  # principal components of w offered as knobs (GANSpace, Harkonen et al. 2020)

LATENT: Final = (
    Parameter("walk.speed", 0.0, 8.0, 0.25, "seeds/beat", "speed of the walk from seed to seed"),
    Parameter("walk.free", 0.0, 1.0, 0.0, "", "above one half the walk counts seconds, not beats"),
    Parameter("walk.jump", 0.0, 1.0, 0.0, "", "crossing one half upwards jumps to a fresh seed"),
    Parameter("psi", 0.0, 1.5, 0.7, "", "truncation: 0 is the average picture, 1 the whole space"),
    Parameter("noise", 0.0, 2.0, 1.0, "", "strength of the generator's noise inputs"),
    Parameter("noise.change", 0.0, 30.0, 0.0, "1/s", "fresh noise seeds a second"),
    Parameter("mix.seed", 0.0, 127.0, 1.0, "", "number of the seed that styles are mixed from"),
    Parameter("mix.coarse", 0.0, 1.0, 0.0, "", "style mixing of the coarse layers"),
    Parameter("mix.middle", 0.0, 1.0, 0.0, "", "style mixing of the middle layers"),
    Parameter("mix.fine", 0.0, 1.0, 0.0, "", "style mixing of the fine layers"),
    Parameter("class", 0.0, 15.0, 0.0, "", "class of the picture; fractions lie between two classes"),
    Parameter("picture", 0.0, 1.0, 0.0, "", "from the walk to the picture that the show looks at"),
    *(
        Parameter(f"direction.{number}", -4.0, 4.0, 0.0, "deviations", f"principal component {number} of w")
        for number in range(1, DIRECTIONS + 1)
    ),
)

# What only some generators have; which input of its own each knob moves, a generator's manifest says.
BENDS: Final = 4  # layers of an imported generator that can be bent (Broad, Leymarie and Grierson 2021)
BEND: Final = (
    Parameter("scale", 0.0, 4.0, 1.0, "", "its output times this"),
    Parameter("shift", -4.0, 4.0, 0.0, "", "added to its output"),
    Parameter("rotate", -180.0, 180.0, 0.0, "degrees", "its output turned clockwise"),
    Parameter("x", -1.0, 1.0, 0.0, "widths", "its output moved to the right"),
    Parameter("y", -1.0, 1.0, 0.0, "heights", "its output moved down"),
    *(
        Parameter(f"suppress.{n}", 0.0, 1.0, 0.0, "", f"silences quarter {n} of its channels")
        for n in range(1, 5)
    ),
)
TRANSFORM: Final = (
    Parameter("transform.x", -2.0, 2.0, 0.0, "widths", "the picture's plane moved to the right (StyleGAN3)"),
    Parameter("transform.y", -2.0, 2.0, 0.0, "heights", "the picture's plane moved down"),
    Parameter("transform.rotate", -180.0, 180.0, 0.0, "degrees", "the picture's plane turned clockwise"),
    Parameter("transform.zoom", 0.25, 4.0, 1.0, "", "the picture's plane enlarged"),
)
GENERATOR: Final = (
    *TRANSFORM,
    *(
        replace(knob, name=f"bend.{number}.{knob.name}", meaning=f"bent layer {number}: {knob.meaning}")
        for number in range(1, BENDS + 1)
        for knob in BEND
    ),
)

NETWORKS: Final = 4  # image networks that a show may have
NETWORK: Final = tuple(
    Parameter(f"network.{number}", 0.0, 1.0, 0.0, "", f"strength of the show's image network {number}")
    for number in range(1, NETWORKS + 1)
)

# The effects in the order in which they are applied.
EFFECTS: Final = (
    Parameter("feedback", 0.0, 0.98, 0.0, "", "share of the picture before this one that stays"),
    Parameter("feedback.zoom", 0.9, 1.1, 1.01, "", "size of the fed-back picture, a frame"),
    Parameter("feedback.rotate", -10.0, 10.0, 0.0, "degrees", "turn of the fed-back picture, a frame"),
    Parameter("feedback.decay", 0.0, 1.0, 0.95, "", "brightness kept by the fed-back picture, a frame"),
    Parameter("kaleidoscope", 0.0, 16.0, 0.0, "segments", "mirrored segments; below 2 none"),
    Parameter("hue", -180.0, 180.0, 0.0, "degrees", "rotation of the hue"),
    Parameter("saturation", 0.0, 3.0, 1.0, "", "0 is grey"),
    Parameter("contrast", 0.0, 3.0, 1.0, "", "about middle grey"),
    Parameter("bloom", 0.0, 2.0, 0.0, "", "glow of the bright parts"),
    Parameter("bloom.threshold", 0.0, 1.0, 0.6, "", "brightness at which the glow begins"),
    Parameter("crossfade", 0.0, 1.0, 0.0, "", "towards the picture as it was when this level left zero"),
    Parameter("strobe", 0.0, 1.0, 0.0, "", "strength of the white flashes"),
    Parameter("blackout", 0.0, 1.0, 0.0, "", "1 is black"),
)

STAGE: Final = (
    Parameter("strobe.rate", 0.0, 25.0, 2.0, "Hz", "flashes a second, held under the show's limit"),
    Parameter("tempo", 20.0, 300.0, 96.0, "bpm", "beats a minute, where neither MIDI clock nor Link leads"),
)

SOUND: Final = (
    Parameter("sound.volume", 0.0, 1.5, 0.8, "", "gain ahead of the limiter"),
    Parameter("sound.brightness", 0.0, 1.0, 0.6, "", "cutoff of the voices' low-pass"),
    Parameter("sound.space", 0.0, 1.0, 0.25, "", "share of the reverberation"),
)

MODES: Final = ("continue", "call and response", "accompany", "duet", "harmonise", "solo")
SCALES: Final = (
    "free", "followed", "major", "minor", "harmonic minor", "dorian", "phrygian", "lydian", "mixolydian",
    "pentatonic", "minor pentatonic", "blues", "whole tone",
)  # fmt: skip
KEYS: Final = ("followed", "C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

MUSICIAN: Final = (
    Parameter("musician", 0.0, 1.0, 1.0, "", "above one half the musician plays along"),
    _choice("musician.mode", MODES, "how the two play together"),
    Parameter("musician.temperature", 0.2, 1.6, 1.0, "", "of its sampling"),
    Parameter("musician.top_p", 0.1, 1.0, 0.99, "", "only the likeliest events that together are so likely"),
    Parameter("musician.density", 0.0, 24.0, 0.0, "notes/s", "how much it plays; at 0 as the mode has it"),
    Parameter("musician.register", 24.0, 96.0, 60.0, "note", "middle of the four octaves that it plays in"),
    Parameter("musician.dynamics", 0.0, 1.5, 0.9, "", "scale of its velocities"),
    Parameter("musician.swing", 0.0, 1.0, 0.0, "", "delay of the middle of the beat: 1 is a triplet's"),
    Parameter("musician.quantise", 0.0, 1.0, 0.5, "", "pull of its notes to the sixteenths of the beat"),
    _choice("musician.scale", SCALES, "the notes that it may play; followed: major or minor, as played"),
    _choice("musician.key", KEYS, "the tonic of the scale; followed: of what is played"),
    Parameter("musician.rest", 0.0, 1.0, 0.0, "", "how likely it rests for a phrase of two beats"),
    Parameter(
        "musician.style", 0.0, 16.0, 0.0, "", "of the model's styles: 0 none, fractions lie between two"
    ),
    Parameter("musician.wait", 0.5, 16.0, 2.0, "beats", "silence of the performer that ends a turn"),
    Parameter("musician.bars", 1.0, 8.0, 2.0, "bars", "length of a call, and of a response"),
    Parameter("musician.lookahead", 2.0, 16.0, 4.0, "beats", "how far ahead it plans"),
    Parameter("musician.commit", 0.25, 8.0, 1.0, "beats", "how far ahead its plan can no longer change"),
)

TEXT: Final = (
    Parameter("text.opacity", 0.0, 1.0, 0.9, "", "of the line on the picture"),
    Parameter("text.size", 0.02, 0.5, 0.08, "", "height of its letters, as a share of the picture's"),
    Parameter("text.x", 0.0, 1.0, 0.5, "", "place of its middle, from the left"),
    Parameter("text.y", 0.0, 1.0, 0.85, "", "place of its middle, from the top"),
    Parameter("text.temperature", 0.2, 1.6, 0.7, "", "of the sampling of the next line"),
)

MORPH: Final = (
    Parameter("morph.x", 0.0, 1.0, 0.5, "", "place between the presets on the left and those on the right"),
    Parameter("morph.y", 0.0, 1.0, 0.5, "", "place between the lower presets and the upper ones"),
)

PARAMETERS: Final = (*LATENT, *GENERATOR, *NETWORK, *EFFECTS, *STAGE, *SOUND, *MUSICIAN, *TEXT, *MORPH)
INDEX: Final = {parameter.name: index for index, parameter in enumerate(PARAMETERS)}


def clamp(index: int, level: float) -> float:
    """Return the level held within the parameter's range."""
    parameter = PARAMETERS[index]
    return min(max(level, parameter.minimum), parameter.maximum)


def level_named(name: str, choice: str) -> float | None:
    """Return the level of a parameter's choice, or None where there is no such parameter or choice."""
    choices = PARAMETERS[INDEX[name]].choices if name in INDEX else ()
    return float(choices.index(choice)) if choice in choices else None


INSTRUMENTS: Final = ("piano", "pad", "pluck", "bass", "drums")  # of the numpy synth, and a part's names
