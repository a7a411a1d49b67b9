"""The patch: which input moves which parameter, through which curve."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from engine.core import fades, precedence
from engine.core.curves import CURVES, TABLE, through, without_deadzone
from engine.core.parameters import INDEX, PARAMETERS, clamp
from engine.core.records import replace
from engine.core.show import Listening, Route, Show
from engine.core.state import DIRECT, HANDS, Glide, Mover, ShowState, Touch

OWN_ADDRESS: Final = "/chladni/parameter/"  # sets a parameter in its own unit, without a route
_SETTLED: Final = 1e-6  # of the parameter's span: a glide nearer than this has arrived
_DOWN: Final = 0.5  # from here on a button is down
_NEAR: Final = 0.02  # of the route's range: so near to the level a knob picks it up; two of 127 steps
_SPEED_MS: Final = 159.0  # time constant of One-Euro's speed: a cutoff of 1 Hz (Casiez et al. 2012)


@dataclass(frozen=True, slots=True)
class _Wires:
    """What hears an address: the parameter whose own it is (or -1), and routes by their numbers."""

    parameter: int
    routes: tuple[int, ...]


@lru_cache(maxsize=8192)
def _wires(listening: Listening, address: str) -> _Wires | None:
    parameter = -1
    if address.startswith(OWN_ADDRESS):
        parameter = INDEX.get(address[len(OWN_ADDRESS) :], -1)
    wires = _Wires(parameter, _matching(listening.routes, address))
    return wires if parameter >= 0 or wires.routes else None


def _matching(patterns: tuple[str, ...], address: str) -> tuple[int, ...]:
    return tuple(number for number, pattern in enumerate(patterns) if fnmatchcase(address, pattern))


def is_patched(show: Show, address: str) -> bool:
    """Tell whether anything listens to the source."""
    return _wires(show.listening, address) is not None


def feed(show: Show, state: ShowState, address: str, value: float, source: str = "") -> ShowState:
    """Return the state after the source `address` has taken `value`, 0 to 1; what is no number is let go.

    `source` names the device where an event brought the value.
    """
    wires = _wires(show.listening, address)
    if wires is None or value != value:
        return state
    if wires.parameter >= 0:
        return glide(show, state, Glide(wires.parameter, value, DIRECT), source)
    for number in wires.routes:
        state = _through(show, state, number, address, value)
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
    state = replace(state, touches=touches)
    return glide(show, state, item, address) if route.mode == "set" else _add(state, item)


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
        glides=(*(other for other in state.glides if other.parameter != index), replace(item, target=level)),
        fades=tuple(fade for fade in state.fades if fade.place != place),
        moved_by=moved_by,
    )


def _add(state: ShowState, item: Glide) -> ShowState:
    """Return the state with what a route adds on its way to a new level."""
    return replace(state, adding=(*(other for other in state.adding if other.route != item.route), item))


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
    results = list(levels)
    for index in moved:
        total = 0.0
        for number in show.additions.get(index, ()):
            total += added[number]
        results[index] = clamp(index, precedence.base(show, bases, index) + total)
    return tuple(results)


def revise(before: Show, show: Show, state: ShowState) -> ShowState:
    """Return the state with what belongs to a route carried to where the route stands in a revised patch.

    A route that was changed between the same two ends keeps what came through it, and adds from there; one
    that is gone takes along what it added, and what glided through it arrives at once.
    """
    places = _places(before.route, show.route)
    numbers = {place: number for number, place in enumerate(places) if place is not None}
    state = replace(
        state,
        touches=tuple(Touch() if place is None else state.touches[place] for place in places),
        added=tuple(0.0 if place is None else state.added[place] for place in places),
        adding=tuple(
            replace(item, route=numbers[item.route]) for item in state.adding if item.route in numbers
        ),
        glides=tuple(replace(item, route=numbers.get(item.route, DIRECT)) for item in state.glides),
    )
    for place, number in numbers.items():
        route, touch = show.route[number], state.touches[number]
        if (
            route != before.route[place]
            and route.mode == "add"
            and touch.address
            and plays(show, state, route)
        ):
            state = _add(state, Glide(INDEX[route.to], level_of(route, touch.position), number))
    return settle(show, state, {INDEX[route.to] for route in (*before.route, *show.route)})


def _places(before: Sequence[Route], after: Sequence[Route]) -> list[int | None]:
    """Return where each route stood before, or None: the same route, else one between the same two ends."""
    left = dict(enumerate(before))
    places: list[int | None] = [None] * len(after)
    likeness: tuple[Callable[[Route], object], ...] = (
        lambda route: route,
        lambda route: (route.source, route.to, route.mode),
    )
    for alike in likeness:
        stood: dict[object, list[int]] = {}
        for place, route in left.items():
            stood.setdefault(alike(route), []).append(place)
        for number, route in enumerate(after):
            if places[number] is None and (found := stood.get(alike(route))):
                places[number] = place = found.pop(0)
                del left[place]
    return places


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
    return state if goal == wanted else _add(state, Glide(INDEX[route.to], wanted, number))


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
        low, high = route.span
        most = abs(high - low) * (1000.0 / show.fps) / route.smooth_ms
        there = min(max(target, here - most), here + most)
    elif route.smooth == "one-euro":
        item, share = _one_euro(show, route, item)
        there = here + (target - here) * share
    else:
        there = here + (target - here) * share_of(show, route.smooth_ms)
    if abs(target - there) <= _SETTLED * (parameter.maximum - parameter.minimum):
        return target, ()
    return there, (item,)


def share_of(show: Show, smooth_ms: float) -> float:
    """Return the share of the remaining way that a one-pole low-pass takes in a control step: one a frame.

    The implicit Euler step of y' = (x - y) / tau: dt / (tau + dt), stable for every tau and free of exp.
    """
    step_ms = 1000.0 / show.fps
    return step_ms / (smooth_ms + step_ms)


# Smooth at rest and quick in motion: a one-pole whose cutoff rises with the speed of the input, itself
# smoothed (Casiez, Roussel and Vogel 2012, "1 Euro filter"). Their cutoff, minimum + beta |speed|, reads in
# time constants: 1 / tau goes from 1 / smooth_ms at rest to 1 / quick_ms at one range a second, and on.
def _one_euro(show: Show, route: Route, item: Glide) -> tuple[Glide, float]:
    """Return the glide with its speed one control step on, and the share of the way that it takes."""
    low, high = route.span
    moved = (item.target - item.before) / (abs(high - low) or 1.0) * show.fps  # ranges a second
    speed = item.speed + (moved - item.speed) * share_of(show, _SPEED_MS)
    slow, quick = 1.0 / route.smooth_ms, 1.0 / route.quick_ms
    tau_ms = 1.0 / (slow + abs(speed) * (quick - slow))
    return replace(item, before=item.target, speed=speed), share_of(show, tau_ms)
