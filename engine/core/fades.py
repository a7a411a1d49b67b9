"""Fades: levels on their way, in seconds or in beats."""

from collections.abc import Container, Iterable
from dataclasses import dataclass

from engine.core import precedence
from engine.core.curves import CURVES
from engine.core.parameters import PARAMETERS
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import HANDS, Fade, Mover, ShowState
from engine.core.transport import beat_at
from engine.core.units import TICK_SAMPLES


# A fade of four bars is to end on the bar, so it counts the transport's own beats and no seconds made of
# them. But a sequencer that starts anew, or a Link session that is joined, sets the transport from any beat
# to any other; a fade must not jump with it. So `beats` counts what was played, whatever the numbers of the
# beats were: a step of a beat or more between two control steps is a jump, and counts nothing.
def beats_now(state: ShowState) -> float:
    """Return the beats played in all at the beginning of the present tick."""
    return _counted(state, beat_at(state.transport, state.tick * TICK_SAMPLES))


def count_beats(state: ShowState) -> ShowState:
    """Return the state with the beats counted up to the present tick; called at every control step."""
    beat = beat_at(state.transport, state.tick * TICK_SAMPLES)
    return replace(state, beat=beat, beats=_counted(state, beat))


def _counted(state: ShowState, beat: float) -> float:
    moved = beat - state.beat
    return state.beats + moved if -1.0 < moved < 1.0 else state.beats


@dataclass(frozen=True, slots=True)
class Way:
    """Where a parameter is to go, in which time (in ticks, or in beats), along which curve."""

    parameter: int
    level: float
    length: float
    in_beats: bool
    curve: str


def begin(
    show: Show, state: ShowState, ways: Iterable[Way], beats: float, by: Mover, whoever: bool = False
) -> ShowState:
    """Return the state with parameters on their ways, taken from what moved them before.

    `beats` is when the ways begin, of the beats played in all. A parameter that its mover does not give up
    stays with it, unless it is taken from `whoever` has it. A choice jumps: there is nothing between two.
    """
    movers, begun, taken = list(state.moved_by), [], set[int]()
    for way in ways:
        if not (whoever or precedence.may_move(show, state, way.parameter, by.kind)):
            continue
        place = precedence.place(show, way.parameter, by.kind)
        taken.add(place)
        movers[way.parameter] = by
        start, since = state.bases[place], beats if way.in_beats else state.tick
        if start != way.level:
            length = 0.0 if PARAMETERS[way.parameter].choices else way.length
            begun.append(Fade(place, start, way.level, way.curve, since, length, way.in_beats))
    state = leave(show, state, taken)
    return replace(state, fades=(*state.fades, *begun), moved_by=tuple(movers))


def leave(show: Show, state: ShowState, places: Container[int]) -> ShowState:
    """Return the state with some of the bases no longer on their way."""
    return replace(
        state,
        fades=tuple(fade for fade in state.fades if fade.place not in places),
        glides=tuple(
            item for item in state.glides if precedence.place(show, item.parameter, HANDS) not in places
        ),
    )


def step(state: ShowState, bases: list[float]) -> tuple[tuple[Fade, ...], list[int]]:
    """Move `bases` one control step along the fades; return those that go on, and the places that moved."""
    if not state.fades:
        return (), []
    now = (state.tick, beats_now(state))
    lasting, moved = [], []
    for fade in state.fades:
        if fade.held:
            lasting.append(fade)
            continue
        past = now[fade.in_beats] - fade.since
        moved.append(fade.place)
        if past >= fade.length:
            bases[fade.place] = fade.end
            continue
        bases[fade.place] = fade.start + (fade.end - fade.start) * CURVES[fade.curve](past / fade.length)
        lasting.append(fade)
    return tuple(lasting), moved


# While a fade is held, `since` is how far it has come instead of when it began. Either is the present less
# the other, so that one subtraction holds a fade and lets it go on. What begins during a hold is not held.
def hold(state: ShowState, held: bool) -> ShowState:
    """Return the state with the running fades held, or those that are held going on."""
    now = (state.tick, beats_now(state))
    turned = (
        replace(fade, since=now[fade.in_beats] - fade.since, held=held) if fade.held != held else fade
        for fade in state.fades
    )
    return replace(state, fades=tuple(turned))
