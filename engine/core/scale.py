"""Scales and keys: which notes belong together, and which key is being played in."""

from typing import Final

from engine.core.parameters import INDEX, KEYS, SCALES
from engine.core.state import ShowState, Tonality

PITCH_CLASSES: Final = 12
ALL: Final = (1 << PITCH_CLASSES) - 1  # every pitch class, as a set of bits: C is bit 0
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
_STEPS: Final = {  # semitones above the tonic
    "major": _MAJOR,
    "minor": _MINOR,
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
}
_FORGET: Final = 0.96  # what is left of a note's weight at the next: about 25 notes count
_KEEP: Final = 1.05  # a new key must fit so much better than the present one

# How well each pitch class fits a key, from listening tests (Krumhansl and Kessler 1982, Psychological
# Review 89), less their mean and divided by their norm.
_FITS: Final = (
    (0.6553, -0.2862, -0.0006, -0.2634, 0.2051, 0.1388, -0.2200, 0.3902, -0.2497, 0.0406, -0.2725, -0.1377),
    (0.6551, -0.2572, -0.0473, 0.4176, -0.2772, -0.0448, -0.2922, 0.2602, 0.0677, -0.2547, -0.0923, -0.1348),
)  # fmt: skip
_FIT_OF: Final = tuple(  # of each pitch class, to the 24 keys: the majors from C on, then the minors
    tuple(profile[(played - key) % PITCH_CLASSES] for profile in _FITS for key in range(PITCH_CLASSES))
    for played in range(PITCH_CLASSES)
)


# The key is found as Krumhansl and Schmuckler do: by correlating how often each pitch class was played of
# late with the profiles of all 24 keys. The divisor of the correlation is the same for every key, and a
# profile without its mean needs none taken from the notes, so that a sum of products orders the keys. The sum
# is linear in the notes: each adds its own row of it, and all that was there before counts a little less.
def heard(tonality: Tonality, note: int) -> Tonality:
    """Return the tonality after one more note was played."""
    played = note % PITCH_CLASSES
    weights = [weight * _FORGET for weight in tonality.pitch_classes]
    weights[played] += 1.0
    fits = tuple([fit * _FORGET + more for fit, more in zip(tonality.fits, _FIT_OF[played], strict=True)])
    best = fits.index(max(fits))
    present = tonality.tonic + PITCH_CLASSES * tonality.minor
    if fits[best] <= fits[present] * _KEEP:
        best = present
    return Tonality(tuple(weights), fits, best % PITCH_CLASSES, best >= PITCH_CLASSES)


def tonic(state: ShowState) -> int:
    """Return the pitch class of the tonic: the chosen one, or that of what is played."""
    key = int(state.levels[INDEX["musician.key"]] + 0.5)
    return key - 1 if KEYS[key] != "followed" else state.tonality.tonic


def is_minor(state: ShowState) -> bool:
    """Tell whether the third above the tonic is minor: in the chosen scale, or in what is played."""
    name = SCALES[int(state.levels[INDEX["musician.scale"]] + 0.5)]
    return 3 in _STEPS[name] if name in _STEPS else state.tonality.minor


def allowed(state: ShowState) -> int:
    """Return the pitch classes that the musician may play, as a set of bits."""
    name = SCALES[int(state.levels[INDEX["musician.scale"]] + 0.5)]
    if name == "free":
        return ALL
    steps = _STEPS.get(name) or (_MINOR if state.tonality.minor else _MAJOR)
    root = tonic(state)
    return sum(1 << (root + step) % PITCH_CLASSES for step in steps)


def weights(state: ShowState, pitch_classes: int) -> tuple[float, ...]:
    """Return how much of each pitch class is wanted, C first: as was played of late, within the set."""
    heard_of = state.tonality.pitch_classes
    if pitch_classes == ALL:
        return heard_of
    inside = tuple(weight * (pitch_classes >> n & 1) for n, weight in enumerate(heard_of))
    return inside if any(inside) else tuple(float(pitch_classes >> n & 1) for n in range(PITCH_CLASSES))


def snap(note: int, pitch_classes: int) -> int:
    """Return the nearest note whose pitch class is in the set, the lower of two; 0 to 127."""
    for distance in range(PITCH_CLASSES):
        for near in (note - distance, note + distance):
            if 0 <= near <= 127 and pitch_classes >> near % PITCH_CLASSES & 1:
                return near
    return note


def fold(note: int, low: int, high: int) -> int:
    """Return the note moved by octaves into `low`..`high`, which are an octave or more apart."""
    while note < low:
        note += PITCH_CLASSES
    while note > high:
        note -= PITCH_CLASSES
    return note
