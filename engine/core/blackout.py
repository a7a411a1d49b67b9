"""The blackout: the picture on its way to black and back, whatever the levels are."""

from engine.core.curves import CURVES
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import Dark, ShowState
from engine.core.units import TICKS_PER_SECOND


def blackout(show: Show, state: ShowState, value: float) -> ShowState:
    """Return the state with the picture on its way to black (1), back (0), or the other of the two (-1)."""
    target = min(max(value, 0.0), 1.0) if value >= 0.0 else float(state.dark.end < 0.5)
    return replace(state, dark=Dark(darkness(show, state), target, state.tick))


def darkening(show: Show, state: ShowState) -> bool:
    """Tell whether it has been on its way since the control step before."""
    return state.tick - state.dark.tick < show.blackout.fade_s * TICKS_PER_SECOND + show.frame_ticks


def darkness(show: Show, state: ShowState) -> float:
    """Return how dark the picture is by it: 0 not at all, 1 black."""
    dark = state.dark
    past, ticks = state.tick - dark.tick, show.blackout.fade_s * TICKS_PER_SECOND
    if past >= ticks:
        return dark.end
    return dark.start + (dark.end - dark.start) * CURVES["s"](past / ticks)
