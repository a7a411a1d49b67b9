"""Harmony: the notes that sound under a note of the performer's, decided at once."""

from collections.abc import Sequence
from typing import Final

from engine.core.scale import PITCH_CLASSES, snap

VOICES: Final = 2
CLOSEST, FARTHEST = 3, 16  # semitones under the note: no seconds, no more than a hand holds
_I, _IV, _V = (0, 4, 7), (5, 9, 0), (7, 11, 2)  # semitones above the tonic
_i, _iv, _VII = (0, 3, 7), (5, 8, 0), (10, 2, 5)
_SECONDARY = (2, 6, 9)  # D major over C: the dominant of the dominant
# The chord for each semitone above the tonic. A degree of the scale gets the primary triad that holds it; a
# note from outside gets the chord through which it usually comes in.
_MAJOR: Final = (_I, (9, 1, 4), _V, (0, 3, 7), _I, _IV, _SECONDARY, _I, (5, 8, 0), _IV, (0, 4, 10), _V)
_MINOR: Final = (_i, (1, 5, 8), _V, _i, (0, 4, 7), _iv, _SECONDARY, _i, _iv, (5, 9, 0), _VII, _V)


# An answer that is heard with the note cannot wait for a network: within the contract there is room for one
# step of the core, and what is not in the log cannot be replayed. So the decision is made before the note
# is known. After every note the musician prepares what it would sing under each of the twelve pitch classes
# that may come next, and sends it as an event; the next note only looks it up. Where that event is late or
# the musician is gone, the rule below answers: poorer, never silent, never late, and as replayable.
def voices(
    note: int, prepared: Sequence[Sequence[int]], tonic: int, minor: bool, pitch_classes: int
) -> tuple[int, ...]:
    """Return the notes under `note`, highest first, all within `pitch_classes` where they can be.

    `prepared` holds, for each pitch class, semitones under the note; it is empty where nothing is.
    """
    if prepared and prepared[note % PITCH_CLASSES]:
        steps = tuple(prepared[note % PITCH_CLASSES])
        under = tuple(note - step for step in steps[:VOICES])
    else:
        under = _by_rule(note, tonic, minor)
    snapped = (snap(each, pitch_classes) for each in under if each >= 0)
    return tuple(dict.fromkeys(each for each in snapped if note - each >= CLOSEST))


def _by_rule(note: int, tonic: int, minor: bool) -> tuple[int, ...]:
    """Return the two nearest notes under `note` that belong to its chord in the key."""
    chord = (_MINOR if minor else _MAJOR)[(note - tonic) % PITCH_CLASSES]
    under = [
        note - step for step in range(CLOSEST, FARTHEST + 1) if (note - step - tonic) % PITCH_CLASSES in chord
    ]
    return tuple(under[:VOICES])
