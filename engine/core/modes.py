"""The ways of playing together, and whose turn it is in each."""

from dataclasses import dataclass
from typing import Final

from engine.core.music import DRUMS
from engine.core.parameters import INDEX, MODES
from engine.core.show import Show
from engine.core.state import MUSICIAN, ShowState
from engine.core.transport import beat_at
from engine.core.units import TICK_SAMPLES

GM_DRUM_CHANNEL: Final = 10  # General MIDI level 1
FOREVER: Final = 1e12  # beats


@dataclass(frozen=True, slots=True)
class Mode:
    """How the musician behaves.

    It `waits` for silence before it comes in, and `yields` to the performer's first note; `turns` are taken
    in bars; it `follows` the performer, and falls silent with them; it `listens`: what the performer plays
    changes the plan; it `plans` at all, and `hears` the performer. Its notes have `loudness` of their
    velocities. `ease` is how many it plays a second where no density is asked for, 0 as many as it likes;
    an accompanist plays fewer, by `room` for each of the performer's.
    """

    waits: bool = False
    yields: bool = False
    turns: bool = False
    follows: bool = False
    listens: bool = False
    plans: bool = True
    hears: bool = True
    loudness: float = 1.0
    ease: float = 0.0
    room: float = 0.0


_TABLE: Final = {
    "continue": Mode(waits=True, yields=True),
    "call and response": Mode(turns=True, listens=True),
    "accompany": Mode(follows=True, listens=True, loudness=0.7, ease=6.0, room=0.5),
    "duet": Mode(listens=True, ease=8.0),
    "harmonise": Mode(plans=False, loudness=0.8),
    "solo": Mode(hears=False),
}
_MODES: Final = tuple(_TABLE[name] for name in MODES)


def mode(state: ShowState) -> Mode:
    """Return the mode that is chosen."""
    return _MODES[int(state.levels[INDEX["musician.mode"]] + 0.5)]


def concerns(state: ShowState, drum: bool) -> bool:
    """Tell whether a performer's note is of the musician's own kind: a drummer listens to the drums."""
    return drum == (state.musician.channel == GM_DRUM_CHANNEL)


def is_awake(show: Show, state: ShowState) -> bool:
    """Tell whether there is a musician at all: in the show, switched on, with the transport running."""
    return show.musician is not None and state.levels[INDEX["musician"]] > 0.5 and state.transport.running


def turn(show: Show, state: ShowState) -> tuple[float, float] | None:
    """Return the beats from which and up to which the musician may play, or None while it may not.

    In call and response the performer has `musician.bars`, then the musician as many, counted from beat 0;
    the response counts as its turn from when it is to be planned.
    """
    chosen, levels = mode(state), state.levels
    beat = beat_at(state.transport, state.tick * TICK_SAMPLES)
    if not chosen.plans:
        return None
    if chosen.turns:
        length = int(levels[INDEX["musician.bars"]] + 0.5) * show.tempo.beats_per_bar
        ahead = min(levels[INDEX["musician.lookahead"]], float(length))
        rounds = (beat + ahead) // (2 * length)
        start = rounds * 2 * length + length
        if beat + ahead < start:  # in the call, before the response is to be planned; or in the tail of one
            start -= 2 * length
        return (start, start + length) if beat < start + length else None
    if chosen.waits or chosen.follows:
        silent = _is_silent(state, beat)
        if silent == chosen.follows:
            return None
    return 0.0, FOREVER


def _is_silent(state: ShowState, beat: float) -> bool:
    """Tell whether the performer has been silent for `musician.wait` beats."""
    held = any(key.source != MUSICIAN and concerns(state, key.instrument == DRUMS) for key in state.keys)
    since = beat - beat_at(state.transport, max(state.musician.heard_sample, 0))
    never = state.musician.heard_sample < 0 and mode(state).follows
    return never or (not held and since >= state.levels[INDEX["musician.wait"]])
