"""The cue list: GO, back and follow."""

from engine.core import cast, text
from engine.core.parameters import INDEX, PARAMETERS
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import NEVER, Fade, ShowState
from engine.core.units import TICKS_PER_SECOND


def go(show: Show, state: ShowState, step: int = 1) -> ShowState:
    """Return the state with the cue `step` places on begun; at either end of the list nothing happens."""
    index = state.cue + step
    if not 0 <= index < len(show.cue):
        return state
    cue = show.cue[index]
    ticks = round(cue.fade_s * TICKS_PER_SECOND)
    moved = {INDEX[name]: level for name, level in cue.levels.items()}
    fades = tuple(_fade(state, parameter, level, ticks) for parameter, level in moved.items())
    if cue.text is not None:
        state = text.ask(show, state, cue.text)
    if cue.generator:
        state = cast.swap(show, state, cue.generator, cue.fade_s)
    follow_tick = NEVER if cue.follow_s is None else state.tick + round(cue.follow_s * TICKS_PER_SECOND)
    return replace(
        state,
        cue=index,
        follow_tick=follow_tick,
        fades=(*(fade for fade in state.fades if fade.parameter not in moved), *fades),
        glides=tuple(item for item in state.glides if item.parameter not in moved),
    )


def _fade(state: ShowState, parameter: int, level: float, ticks: int) -> Fade:
    """Return the way to a level; a choice jumps: there is nothing between two of them."""
    return Fade(
        parameter, state.bases[parameter], level, state.tick, 0 if PARAMETERS[parameter].choices else ticks
    )


def follow(show: Show, state: ShowState) -> ShowState:
    """Return the state after the GO that the present cue asks for by itself, where its time has come.

    The last cue of a list follows on to the first, so that an unattended show goes round.
    """
    if state.follow_tick == NEVER or state.tick < state.follow_tick:
        return state
    last = state.cue == len(show.cue) - 1
    return go(show, state, -state.cue if last else 1)
