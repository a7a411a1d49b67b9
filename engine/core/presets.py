"""Presets: levels kept under a name, to be recalled."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from engine.core import fades, patch, precedence
from engine.core.fades import Way
from engine.core.parameters import INDEX, PARAMETERS, clamp
from engine.core.records import replace
from engine.core.show import PRESET_NAME, Show, begins
from engine.core.state import HANDS, Mover, Preset, ShowState, preset
from engine.core.units import TICKS_PER_SECOND

MAX_STORED: Final = 64
_DECIMALS: Final = 4  # of a level in a file: finer than eyes and ears
_X, _Y = INDEX["morph.x"], INDEX["morph.y"]
_LEFT_OUT: Final = {INDEX["tempo"], _X, _Y}  # no part of a picture, nor of a sound
Levels = tuple[tuple[int, float], ...]  # (parameter, level)


def store(show: Show, state: ShowState, name: str) -> ShowState:
    """Return the state with the present levels kept under a name, in place of those kept under it before.

    What routes of mode "add" put on top is left out: it comes on top again when the preset is recalled.
    """
    kept = tuple(stored for stored in state.presets if stored.name != name)
    if not PRESET_NAME.fullmatch(name) or len(kept) >= MAX_STORED:
        return state
    kept_numbers = (number for number in range(len(PARAMETERS)) if number not in _LEFT_OUT)
    levels = tuple((number, precedence.base(show, state.bases, number)) for number in kept_numbers)
    return replace(state, presets=(*kept, preset(name, levels)))


def names(show: Show, state: ShowState) -> list[str]:
    """Return the names of the presets that can be recalled, the show's first."""
    stored = (each.name for each in state.presets if each.name not in show.presets)
    return [*show.presets, *stored]


def find(show: Show, state: ShowState, name: str) -> Levels:
    """Return the levels of a preset, stored while playing or else the show's; or none."""
    for stored in state.presets:
        if stored.name == name:
            return stored.levels
    return show.presets.get(name, ())


def recall(show: Show, state: ShowState, name: str, fade_s: float) -> ShowState:
    """Return the state on its way to the levels of a preset; where there is none of that name, as it is."""
    levels = find(show, state, name)
    if not levels:
        return state
    ticks = min(max(fade_s, 0.0), 3600.0) * TICKS_PER_SECOND
    ways = (Way(parameter, level, ticks, False, "s") for parameter, level in levels)
    return fades.begin(show, state, ways, 0.0, Mover(HANDS, f"preset {name}"))


def entry(show: Show, stored: Preset) -> tuple[int | None, dict[str, Any]]:
    """Return where a stored preset belongs among those of the show file (None: it is new), and what to write.

    Written are the levels that are not where they begin, and those that anything in the show moves.
    """
    moved = {INDEX[route.to] for route in show.route} | show.tracks.keys()
    moved.update(parameter for levels in show.presets.values() for parameter, _ in levels)
    levels: dict[str, float | str] = {}
    for index, level in stored.levels:
        parameter = PARAMETERS[index]
        if parameter.choices and (index in moved or level):
            levels[parameter.name] = parameter.choices[int(level + 0.5)]
        elif index in moved or level != begins(show, index):
            levels[parameter.name] = round(level, _DECIMALS)
    of_show = list(show.presets)
    place = of_show.index(stored.name) if stored.name in of_show else None
    return place, {"name": stored.name, "levels": levels}


def revise(show: Show, state: ShowState) -> ShowState:
    """Return the state without the stored presets that a revised show has itself."""
    known = show.presets.keys()
    return replace(state, presets=tuple(stored for stored in state.presets if stored.name not in known))


# The pad moves what its presets name, and only while it is moved itself: at rest it holds nothing, so that a
# cue or a knob may take a parameter from it, as from any hand. It moves with the rank of what moves the pad.
def morph(show: Show, state: ShowState, before: tuple[float, ...]) -> ShowState:
    """Return the state with the four presets of the morph pad mixed, where it has left its place `before`."""
    x, y = state.levels[_X], state.levels[_Y]
    if show.morph is None or (x == before[_X] and y == before[_Y]):
        return state
    by = Mover(state.moved_by[_X if x != before[_X] else _Y].kind, "morph")
    weights = ((1.0 - x) * (1.0 - y), x * (1.0 - y), (1.0 - x) * y, x * y)
    bases, movers, moved, taken = list(state.bases), list(state.moved_by), [], set()
    for parameter, levels in _surface(tuple(find(show, state, name) for name in show.morph.corners)):
        if precedence.may_move(show, state, parameter, by.kind):
            place = precedence.place(show, parameter, by.kind)
            bases[place] = _mixed(parameter, levels, weights)
            movers[parameter] = by
            moved.append(parameter)
            taken.add(place)
    state = replace(fades.leave(show, state, taken), bases=tuple(bases), moved_by=tuple(movers))
    return patch.settle(show, state, moved)


@lru_cache(maxsize=16)
def _surface(corners: tuple[Levels, ...]) -> tuple[tuple[int, tuple[float, ...]], ...]:
    """Return each parameter with its levels in the four corners: where one lacks it, where it begins."""
    named = [dict(levels) for levels in corners]
    parameters = sorted(set().union(*named) - _LEFT_OUT)
    return tuple(
        (parameter, tuple(levels.get(parameter, PARAMETERS[parameter].default) for levels in named))
        for parameter in parameters
    )


def _mixed(parameter: int, levels: Sequence[float], weights: Sequence[float]) -> float:
    """Return four levels mixed by weight; of a choice the heaviest, as there is nothing between."""
    a, b, c, d = levels
    if a == b == c == d:  # most of what is stored
        return a
    if PARAMETERS[parameter].choices:
        return levels[weights.index(max(weights))]
    return clamp(parameter, a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3])
