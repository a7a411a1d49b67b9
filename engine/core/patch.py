"""The patch: which input moves which parameter, through which curve."""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from typing import Any, Final

from engine.core import fades, modulators, precedence, sensors
from engine.core.curves import CURVES, TABLE, through, without_deadzone
from engine.core.parameters import INDEX, PARAMETERS, clamp
from engine.core.records import replace
from engine.core.show import Listening, Route, Show
from engine.core.smoothing import one_euro, share_of, slew
from engine.core.state import DIRECT, HANDS, Glide, Mover, ShowState, Touch, unmoved

OWN_ADDRESS: Final = "/chladni/parameter/"  # sets a parameter in its own unit, without a route
_SETTLED: Final = 1e-6  # of the parameter's span: a glide nearer than this has arrived
_DOWN: Final = 0.5  # from here on a button is down
_NEAR: Final = 0.02  # of the route's range: so near to the level a knob picks it up; two of 127 steps


@dataclass(frozen=True, slots=True)
class _Wires:
    """What an address leads to: the parameter whose own it is, and tables of the show, by their numbers."""

    parameter: int | None
    routes: tuple[int, ...]
    modulators: tuple[int, ...]
    sensors: tuple[int, ...]  # the first of them counts
    resets: tuple[int, ...]


@lru_cache(maxsize=8192)
def _wires(listening: Listening, address: str) -> _Wires | None:
    parameter = INDEX.get(address.removeprefix(OWN_ADDRESS)) if address.startswith(OWN_ADDRESS) else None
    tables = (listening.routes, listening.modulators, listening.sensors, listening.resets)
    # Addresses that are never the same twice come past every memory: one look at all patterns lets them go.
    if parameter is None and not _any_of(listening).match(address):
        return None
    numbers = [_matching(patterns, address) for patterns in tables]
    return _Wires(parameter, *numbers) if parameter is not None or any(numbers) else None


def _matching(patterns: tuple[str, ...], address: str) -> tuple[int, ...]:
    return tuple(number for number, pattern in enumerate(patterns) if fnmatchcase(address, pattern))


@lru_cache(maxsize=64)
def _any_of(listening: Listening) -> re.Pattern[str]:
    """Return what matches where one of the patterns does."""
    patterns = (*listening.routes, *listening.modulators, *listening.sensors, *listening.resets)
    return re.compile("|".join(map(translate, patterns)) or "(?!)")


def is_patched(show: Show, address: str) -> bool:
    """Tell whether anything listens to the source."""
    return _wires(show.listening, address) is not None


def is_presence(show: Show, address: str) -> bool:
    """Tell whether a value of the source is a sign of a player: of a sensor that always sends it is none."""
    if not show.sensor:
        return True
    wires = _wires(show.listening, address)
    return wires is None or not wires.sensors or show.sensor[wires.sensors[0]].presence


def feed(show: Show, state: ShowState, address: str, value: float, source: str = "") -> ShowState:
    """Return the state after the source `address` has taken `value`, 0 to 1; what is no number is let go.

    `source` names the device where an event brought the value.
    """
    wires = _wires(show.listening, address)
    if wires is None or value != value:
        return state
    if wires.parameter is not None:
        return glide(show, state, Glide(wires.parameter, value, DIRECT), source)
    if wires.resets and value >= _DOWN:
        state = sensors.forget(show, state, wires.resets)
    if wires.sensors:
        sensed = sensors.sense(show, state, wires.sensors[0], address, value)
        if sensed is None:
            return state
        state, value = sensors.keep(state, sensed), sensed.value
    return _lead(show, state, wires, address, value)


def _lead(show: Show, state: ShowState, wires: _Wires, address: str, value: float) -> ShowState:
    """Return the state after a clean value has come to all that listens to its address."""
    if wires.modulators:
        heard = list(state.modulations)
        for number in wires.modulators:
            heard[number] = modulators.hear(state, show.modulator[number], heard[number], value)
        state = replace(state, modulations=tuple(heard))
    for number in wires.routes:
        state = _through(show, state, number, address, value)
    return state


def drive(show: Show, state: ShowState) -> ShowState:
    """Return the state with what moves by itself one control step on, and fed: modulators, silent sensors."""
    for sensed in sensors.resting(show, state):
        state = sensors.keep(state, sensed)
        if wires := _wires(show.listening, sensed.address):
            state = _lead(show, state, wires, sensed.address, sensed.value)
    if show.modulator:
        before = state.modulations
        state = replace(state, modulations=modulators.turn(show, state))
        for modulator, was, one in zip(show.modulator, before, state.modulations, strict=True):
            if one.value != was.value:
                state = feed(show, state, modulator.address, one.value)
    return state


def _through(show: Show, state: ShowState, number: int, address: str, value: float) -> ShowState:
    """Return the state after a value has come through a route."""
    route, before = show.route[number], state.touches[number]
    position = min(max(value, 0.0), 1.0)
    if route.deadzone:
        position = without_deadzone(position, route.rest, route.deadzone)
    if route.invert:
        position = 1.0 - position
    down, acts = position >= _DOWN, plays(show, state, route)
    if route.press == "momentary":
        position = float(down)
    elif route.press:
        acts = acts and down and not before.down
        position = float(before.position < _DOWN) if acts and route.press == "toggle" else before.position
    touch = Touch(address, value, position, down)
    touches = (*state.touches[:number], touch, *state.touches[number + 1 :])
    level = level_of(route, 1.0 if route.press == "trigger" else position)
    if not acts or (route.pickup and not _picks_up(show, state, number, route, level)):
        return replace(state, touches=touches)
    glides = state.glides if route.mode == "set" else state.adding
    item = Glide(INDEX[route.to], level, number)
    if route.smooth == "one-euro":
        start = level_of(route, before.position) if before.address else level
        underway = next((other for other in glides if other.route == number), replace(item, before=start))
        item = replace(underway, target=level)
    if route.mode == "set":
        return glide(show, replace(state, touches=touches), item, address)
    return replace(state, touches=touches, adding=_with(state.adding, item))


def plays(show: Show, state: ShowState, route: Route) -> bool:
    """Tell whether a route plays in the present cue."""
    if not route.cues:
        return True
    number = show.cue[state.cue].number if state.cue >= 0 else None
    return number is not None and any(first <= number <= last for first, last in route.spans)


def level_of(route: Route, position: float) -> float:
    """Return the level that a position of the input from 0 to 1 asks for."""
    low, high = route.span
    curve = route.curve
    along = through(route.points, position) if curve == TABLE else CURVES[curve](position)
    level = low + (high - low) * along
    return clamp(INDEX[route.to], level) if route.mode == "set" else level


# Soft takeover: a knob whose level a cue has moved would make it jump at the next touch. It is let in only
# where it stands at the level, or has passed it since its value before. Which knob has the level need not be
# remembered: the level is where that knob left it, or on its way there.
def _picks_up(show: Show, state: ShowState, number: int, route: Route, level: float) -> bool:
    """Tell whether a knob that asks for a level may have it."""
    if any(item.route == number for item in state.glides):
        return True
    (low, high), before = route.span, state.touches[number]
    base = state.bases[precedence.place(show, INDEX[route.to], HANDS)]
    if abs(level - base) <= _NEAR * abs(high - low):
        return True
    return before.address != "" and (level_of(route, before.position) - base) * (level - base) <= 0.0


def glide(show: Show, state: ShowState, item: Glide, by: str) -> ShowState:
    """Return the state with a parameter on its way to a level, if what moved it last gives it up."""
    index, level = item.parameter, clamp(item.parameter, item.target)
    if not precedence.may_move(show, state, index, HANDS):
        return state
    moved_by, place = state.moved_by, precedence.place(show, index, HANDS)
    if moved_by[index].name != by or moved_by[index].kind != HANDS:
        moved_by = (*moved_by[:index], Mover(HANDS, by), *moved_by[index + 1 :])
    if PARAMETERS[index].choices:
        level = (level + 0.5) // 1.0
    return replace(
        state,
        glides=(*[other for other in state.glides if other.parameter != index], replace(item, target=level)),
        fades=tuple([fade for fade in state.fades if fade.place != place]),
        moved_by=moved_by,
    )


def _with(adding: tuple[Glide, ...], item: Glide) -> tuple[Glide, ...]:
    """Return what the routes add on its way, for one of them to a new level."""
    return (*[other for other in adding if other.route != item.route], item)


def move(show: Show, state: ShowState) -> ShowState:
    """Return the state with fades, glides and additions one control step on, and the levels that result."""
    for number in show.conditional:
        state = _mind_the_cue(show, state, number)
    if not (state.fades or state.glides or state.adding):
        return state
    bases, added = list(state.bases), list(state.added)
    lasting, faded = fades.step(state, bases)
    glides: list[Glide] = []
    adding: list[Glide] = []
    moved = {precedence.parameter_at(show, place) for place in faded}
    for item in state.glides:
        place = precedence.place(show, item.parameter, HANDS)
        bases[place], onward = _follow(show, item, bases[place])
        glides += onward
        moved.add(item.parameter)
    for item in state.adding:
        added[item.route], onward = _follow(show, item, added[item.route])
        adding += onward
        moved.add(item.parameter)
    return replace(
        state,
        bases=tuple(bases),
        added=tuple(added),
        levels=_settled(show, state.levels, bases, added, moved),
        fades=lasting,
        glides=tuple(glides),
        adding=tuple(adding),
    )


def settle(show: Show, state: ShowState, moved: Iterable[int]) -> ShowState:
    """Return the state with the levels that result for some parameters."""
    return replace(state, levels=_settled(show, state.levels, state.bases, state.added, moved))


def _settled(
    show: Show,
    levels: Iterable[float],
    bases: Sequence[float],
    added: Sequence[float],
    moved: Iterable[int],
) -> tuple[float, ...]:
    """Return the levels with those of some parameters as they result from bases and additions."""
    results, additions, highest = list(levels), show.additions, show.highest
    for index in moved:
        total = 0.0
        for number in additions.get(index, ()):
            total += added[number]
        base = precedence.base(show, bases, index) if index in highest else bases[index]
        results[index] = clamp(index, base + total)
    return tuple(results)


def _mind_the_cue(show: Show, state: ShowState, number: int) -> ShowState:
    """Return the state with what a route adds taken back in cues where it does not play, and given again."""
    route, touch = show.route[number], state.touches[number]
    goal = next((item.target for item in state.adding if item.route == number), state.added[number])
    if not plays(show, state, route):
        wanted = 0.0
    elif goal == 0.0 and touch.address and route.press != "trigger":
        wanted = level_of(route, touch.position)
    else:
        return state
    if goal == wanted:
        return state
    return replace(state, adding=_with(state.adding, Glide(INDEX[route.to], wanted, number)))


def _follow(show: Show, item: Glide, here: float) -> tuple[float, tuple[Glide, ...]]:
    """Return a gliding level one control step on, and what is left of its way."""
    parameter, target = PARAMETERS[item.parameter], item.target
    if item.route == DIRECT:
        return target, ()
    route = show.route[item.route]
    if route.press == "trigger" and target == level_of(route, 1.0) != level_of(route, 0.0):
        return target, (replace(item, target=level_of(route, 0.0)),)  # up at once, and down from there
    if parameter.choices or not route.smooth_ms:
        return target, ()
    if route.smooth == "slew":
        there = slew(show, route, target, here)
    elif route.smooth == "one-euro":
        item, share = one_euro(show, route, item)
        there = here + (target - here) * share
    else:
        there = here + (target - here) * share_of(show, route.smooth_ms)
    if abs(target - there) <= _SETTLED * (parameter.maximum - parameter.minimum):
        return target, ()
    return there, (item,)


# A table that is as it was keeps its state. One of which a detail was changed keeps what its input has said,
# and glides to what it makes of that from here on. What a lost route added is taken back; what it set stays
# where it is.
def revise(before: Show, show: Show, state: ShowState) -> ShowState:
    """Return the state with its routes, modulators and sensors those of a revised show."""
    routes = _places(before.route, show.route, lambda r: (r.source, r.to, r.mode, r.press))
    turned = _places(before.modulator, show.modulator, lambda m: (m.name, m.kind))
    sensed = _places(before.sensor, show.sensor, lambda s: (s.source, s.bounds, s.calibrate))
    numbers = {place: number for number, place in enumerate(routes) if place is not None} | {DIRECT: DIRECT}
    senses = {place: number for number, place in enumerate(sensed) if place is not None}
    state = replace(
        state,
        touches=tuple(Touch() if place is None else state.touches[place] for place in routes),
        added=tuple(0.0 if place is None else state.added[place] for place in routes),
        glides=_renumbered(state.glides, numbers),
        adding=_renumbered(state.adding, numbers),
        modulations=tuple(
            unmoved(modulator) if place is None else state.modulations[place]
            for modulator, place in zip(show.modulator, turned, strict=True)
        ),
        sensed=tuple(replace(one, sensor=senses[one.sensor]) for one in state.sensed if one.sensor in senses),
    )
    for number, place in enumerate(routes):
        route, touch = show.route[number], state.touches[number]
        changed = place is not None and route != before.route[place]
        if changed and touch.address and route.mode == "add" and plays(show, state, route):
            item = Glide(INDEX[route.to], level_of(route, touch.position), number)
            state = replace(state, adding=_with(state.adding, item))
    return settle(show, state, {INDEX[route.to] for route in (*before.route, *show.route)})


def _renumbered(glides: tuple[Glide, ...], numbers: dict[int, int]) -> tuple[Glide, ...]:
    return tuple(replace(item, route=numbers[item.route]) for item in glides if item.route in numbers)


def _places(
    before: Sequence[Any], after: Sequence[Any], likeness: Callable[[Any], Hashable]
) -> list[int | None]:
    """Return where each table stood before, or None: the same table, else one that is alike."""
    left = dict(enumerate(before))
    places: list[int | None] = [None] * len(after)
    for alike in (lambda table: table, likeness):
        stood: dict[Hashable, list[int]] = {}
        for place, table in left.items():
            stood.setdefault(alike(table), []).append(place)
        for number, table in enumerate(after):
            if places[number] is None and (found := stood.get(alike(table))):
                places[number] = place = found.pop(0)
                del left[place]
    return places
