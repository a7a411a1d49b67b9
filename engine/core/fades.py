"""Fades: levels on their way, and the picture on its way to black."""

from collections.abc import Iterable

from engine.core.curves import CURVES
from engine.core.parameters import PARAMETERS
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import Dark, Fade, Mover, ShowState
from engine.core.transport import beat_at
from engine.core.units import TICK_SAMPLES, TICKS_PER_SECOND


# A fade of four bars is to end on the bar, so it counts the transport's own beats and no seconds made of
# them. But a sequencer that starts anew, or a Link session that is joined, sets the transport from any beat
# to any other; a fade must not jump with it. So `beats` counts what was played, whatever the numbers of the
# beats were: a step of a beat or more between two control steps is a jump, and counts nothing.
def beats_now(state: ShowState) -> float:
    """Return the beats played in all at the beginning of the present tick."""
    moved = beat_at(state.transport, state.tick * TICK_SAMPLES) - state.beat
    return state.beats + (moved if -1.0 < moved < 1.0 else 0.0)


def count_beats(state: ShowState) -> ShowState:
    """Return the state with the beats counted up to the present tick; called at every control step."""
    beat = beat_at(state.transport, state.tick * TICK_SAMPLES)
    moved = beat - state.beat
    played = moved if -1.0 < moved < 1.0 else 0.0
    return replace(state, beat=beat, beats=state.beats + played)


def begin(
    state: ShowState, levels: Iterable[tuple[int, float]], length_ticks: float, curve: str, by: Mover
) -> ShowState:
    """Return the state with parameters on their way to levels; they leave whatever moved them before.

    A choice jumps: there is nothing between two of them.
    """
    wanted = dict(levels)
    bases, movers = state.bases, list(state.moved_by)
    fades = [fade for fade in state.fades if fade.parameter not in wanted]
    for index, level in wanted.items():
        length = 0.0 if PARAMETERS[index].choices else length_ticks
        fades.append(Fade(index, bases[index], level, curve, state.tick, length))
        movers[index] = by
    return replace(
        state,
        fades=tuple(fades),
        glides=tuple(item for item in state.glides if item.parameter not in wanted),
        moved_by=tuple(movers),
    )


def step(state: ShowState, bases: list[float]) -> tuple[tuple[Fade, ...], list[int]]:
    """Move `bases` one control step along the fades; return those that go on, and what was moved."""
    now = (state.tick, beats_now(state))
    lasting, moved = [], []
    for fade in state.fades:
        if fade.held:
            lasting.append(fade)
            continue
        past = now[fade.in_beats] - fade.since
        along = past / fade.length if past < fade.length else 1.0
        bases[fade.parameter] = fade.start + (fade.end - fade.start) * CURVES[fade.curve](along)
        moved.append(fade.parameter)
        if past < fade.length:
            lasting.append(fade)
    return tuple(lasting), moved


# While a fade is held, `since` is how far it has come instead of when it began. Either is the present less
# the other, so that one subtraction holds a fade and lets it go on.
def turn(state: ShowState, fade: Fade) -> Fade:
    """Return the fade held, or going on from where it was held."""
    now = beats_now(state) if fade.in_beats else state.tick
    return replace(fade, since=now - fade.since, held=not fade.held)


def blackout(show: Show, state: ShowState, value: float) -> ShowState:
    """Return the state with the picture on its way to black (1), back from it (0), or to between."""
    target = min(max(value, 0.0), 1.0)
    return replace(state, dark=Dark(darkness(show, state), target, state.tick))


def darkness(show: Show, state: ShowState) -> float:
    """Return how dark the blackout has made the picture: 0 not at all, 1 black."""
    dark = state.dark
    past, ticks = state.tick - dark.tick, show.blackout.fade_s * TICKS_PER_SECOND
    if past >= ticks:
        return dark.end
    return dark.start + (dark.end - dark.start) * CURVES["s"](past / ticks)
