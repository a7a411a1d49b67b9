"""The patch: which input moves which parameter, through which curve."""

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from engine.core import fades
from engine.core.curves import CURVES
from engine.core.parameters import INDEX, PARAMETERS, clamp
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import PERFORMER, Glide, Mover, ShowState

DIRECT: Final = "/chladni/parameter/"  # an address that sets a parameter in its own unit, without a route
_SETTLED: Final = 1e-6  # of the parameter's span: a glide nearer than this has arrived


@lru_cache(maxsize=4096)
def _matching(patterns: tuple[str, ...], address: str) -> tuple[int, ...]:
    return tuple(index for index, pattern in enumerate(patterns) if fnmatchcase(address, pattern))


def is_patched(show: Show, address: str) -> bool:
    """Tell whether any route listens to the source."""
    return bool(_matching(show.sources, address))


def share_of(show: Show, smooth_ms: float) -> float:
    """Return the share of the remaining way that a one-pole low-pass takes in a control step: one a frame.

    The implicit Euler step of y' = (x - y) / tau: dt / (tau + dt), stable for every tau and free of exp.
    """
    step_ms = 1000.0 / show.fps
    return step_ms / (smooth_ms + step_ms)


def feed(show: Show, state: ShowState, address: str, value: float, source: str = "") -> ShowState:
    """Return the state after the source `address` has taken `value`, 0 to 1; what is no number is let go.

    `source` names the device where an event brought the value.
    """
    if value != value:
        return state
    if address.startswith(DIRECT) and address[len(DIRECT) :] in INDEX:
        return glide(state, INDEX[address[len(DIRECT) :]], value, 1.0, source)
    adding = state.adding
    for number in _matching(show.sources, address):
        route = show.route[number]
        index = INDEX[route.to]
        low, high = route.range or (PARAMETERS[index].minimum, PARAMETERS[index].maximum)
        level = low + (high - low) * CURVES[route.curve](min(max(value, 0.0), 1.0))
        if route.mode == "set":
            state = glide(state, index, level, share_of(show, route.smooth_ms), address)
        else:
            adding = (*adding[:number], level, *adding[number + 1 :])
    return state if adding is state.adding else replace(state, adding=adding)


def glide(state: ShowState, index: int, level: float, share: float, by: str) -> ShowState:
    """Return the state with a parameter on its way to `level`; the latest input wins over fades (LTP)."""
    moved_by = state.moved_by
    if moved_by[index].name != by or moved_by[index].kind != PERFORMER:
        moved_by = (*moved_by[:index], Mover(PERFORMER, by), *moved_by[index + 1 :])
    if PARAMETERS[index].choices:
        level, share = (clamp(index, level) + 0.5) // 1.0, 1.0
    return replace(
        state,
        glides=(
            *(other for other in state.glides if other.parameter != index),
            Glide(index, clamp(index, level), share),
        ),
        fades=tuple(fade for fade in state.fades if fade.parameter != index),
        moved_by=moved_by,
    )


def move(show: Show, state: ShowState) -> ShowState:
    """Return the state with fades, glides and additions one control step on, and the levels that result."""
    if not (state.fades or state.glides or state.added != state.adding):
        return state
    bases, levels = list(state.bases), list(state.levels)
    lasting, faded = fades.step(state, bases)
    for item in state.glides:
        base = bases[item.parameter]
        bases[item.parameter] = base + (item.target - base) * item.share
    added = list(state.added)
    for number, target in enumerate(state.adding):
        added[number] += (target - added[number]) * share_of(show, show.route[number].smooth_ms)
        if abs(target - added[number]) < _SETTLED:
            added[number] = target
    settled = []
    for item in state.glides:
        parameter = PARAMETERS[item.parameter]
        if abs(item.target - bases[item.parameter]) <= _SETTLED * (parameter.maximum - parameter.minimum):
            bases[item.parameter] = item.target
        else:
            settled.append(item)
    moved = set(faded) | {item.parameter for item in state.glides}
    moved.update(INDEX[show.route[n].to] for n in range(len(added)) if added[n] != state.added[n])
    for index in moved:
        levels[index] = clamp(index, bases[index] + _added_to(show, added, index))
    return replace(
        state,
        bases=tuple(bases),
        added=tuple(added),
        levels=tuple(levels),
        fades=lasting,
        glides=tuple(settled),
    )


def _added_to(show: Show, added: list[float], index: int) -> float:
    """Return what the routes of mode "add" put on top of a parameter, summed in their order."""
    total = 0.0
    for number, amount in enumerate(added):
        if amount and INDEX[show.route[number].to] == index:
            total += amount
    return total
