"""The cue list: GO, back, go to, follow and hold."""

from typing import Final

from engine.core import cast, fades, text
from engine.core.parameters import INDEX
from engine.core.records import replace
from engine.core.show import Cue, Show
from engine.core.state import NEVER, Mover, ShowState
from engine.core.units import TICKS_PER_SECOND

_SAME_NUMBER: Final = 0.0005  # OSC brings a number in 32 bits: 2.1 comes as 2.0999999


def go(show: Show, state: ShowState, step: int = 1) -> ShowState:
    """Return the state with the cue `step` places on begun; at either end of the list nothing happens."""
    return _begin(show, state, state.cue + step, "go")


def go_to(show: Show, state: ShowState, number: float) -> ShowState:
    """Return the state with the cue of that number begun; where there is none, nothing happens."""
    for index, cue in enumerate(show.cue):
        if abs(cue.number - number) < _SAME_NUMBER:
            return _begin(show, state, index, "go")
    return state


def _begin(show: Show, state: ShowState, index: int, kind: str) -> ShowState:
    if not 0 <= index < len(show.cue):
        return state
    state = hold(state, 0.0)
    cue = show.cue[index]
    if cue.text is not None:
        state = text.ask(show, state, cue.text)
    if cue.generator:
        state = cast.swap(show, state, cue.generator, cue.fade_s)
    follow_tick = NEVER if cue.follow_s is None else state.tick + round(cue.follow_s * TICKS_PER_SECOND)
    levels = ((INDEX[name], level) for name, level in cue.levels.items())
    state = fades.begin(state, levels, round(cue.fade_s * TICKS_PER_SECOND), "s", _mover(cue, kind))
    return replace(state, cue=index, follow_tick=follow_tick)


def _mover(cue: Cue, kind: str) -> Mover:
    return Mover(kind, f"{'follow' if kind == 'follow' else 'cue'} {cue.number:g}")


def follow(show: Show, state: ShowState) -> ShowState:
    """Return the state after the GO that the present cue asks for by itself, where its time has come.

    The last cue of a list follows on to the first, so that an unattended show goes round.
    """
    if state.follow_tick == NEVER or state.held or state.tick < state.follow_tick:
        return state
    last = state.cue == len(show.cue) - 1
    return _begin(show, state, 0 if last else state.cue + 1, "follow")


def hold(state: ShowState, value: float) -> ShowState:
    """Return the state with every running fade and follow held (1), or going on from there (0)."""
    held = value >= 0.5
    if held == state.held:
        return state
    turned = tuple(fades.turn(state, fade) if fade.held != held else fade for fade in state.fades)
    follow_tick = state.follow_tick if state.follow_tick == NEVER else state.tick - state.follow_tick
    return replace(state, held=held, fades=turned, follow_tick=follow_tick)
