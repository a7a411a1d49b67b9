"""Presets: levels kept under a name, to be recalled."""

from typing import Final

from engine.core import fades, precedence
from engine.core.fades import Way
from engine.core.parameters import INDEX, PARAMETERS
from engine.core.records import replace
from engine.core.show import PRESET_NAME, Show
from engine.core.state import HANDS, Mover, Preset, ShowState
from engine.core.units import TICKS_PER_SECOND

MAX_STORED: Final = 64
_LEFT_OUT: Final = {INDEX[name] for name in ("tempo", "morph.x", "morph.y")}  # they are no part of a picture


def store(show: Show, state: ShowState, name: str) -> ShowState:
    """Return the state with the present levels kept under a name, in place of those kept under it before.

    What routes of mode "add" put on top is left out: it comes on top again when the preset is recalled.
    """
    kept = tuple(preset for preset in state.presets if preset.name != name)
    if not PRESET_NAME.fullmatch(name) or len(kept) >= MAX_STORED:
        return state
    kept_numbers = (number for number in range(len(PARAMETERS)) if number not in _LEFT_OUT)
    levels = tuple((number, precedence.base(show, state.bases, number)) for number in kept_numbers)
    return replace(state, presets=(*kept, Preset(name, levels)))


def names(show: Show, state: ShowState) -> list[str]:
    """Return the names of the presets that can be recalled, the show's first."""
    of_show = [preset.name for preset in show.preset]
    return of_show + [preset.name for preset in state.presets if preset.name not in of_show]


def find(show: Show, state: ShowState, name: str) -> tuple[tuple[int, float], ...]:
    """Return the (parameter, level) pairs of a preset, stored while playing or else the show's; or none."""
    for stored in state.presets:
        if stored.name == name:
            return stored.levels
    for preset in show.preset:
        if preset.name == name:
            return tuple((INDEX[parameter], level) for parameter, level in preset.levels.items())
    return ()


def recall(show: Show, state: ShowState, name: str, fade_s: float) -> ShowState:
    """Return the state on its way to the levels of a preset; where there is none of that name, as it is."""
    levels = find(show, state, name)
    if not levels:
        return state
    ticks = min(max(fade_s, 0.0), 3600.0) * TICKS_PER_SECOND
    ways = (Way(parameter, level, ticks, False, "s") for parameter, level in levels)
    return fades.begin(show, state, ways, 0.0, Mover(HANDS, f"preset {name}"))
