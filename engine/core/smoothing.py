"""Smoothing: how a level follows its target from control step to control step."""

from typing import Final

from engine.core.records import replace
from engine.core.show import Route, Show
from engine.core.state import Glide

_SPEED_MS: Final = 159.0  # time constant of One-Euro's speed: a cutoff of 1 Hz (Casiez et al. 2012)


def share_of(show: Show, smooth_ms: float) -> float:
    """Return the share of the remaining way that a one-pole low-pass takes in a control step: one a frame.

    The implicit Euler step of y' = (x - y) / tau: dt / (tau + dt), stable for every tau and free of exp.
    """
    step_ms = 1000.0 / show.fps
    return step_ms / (smooth_ms + step_ms)


def slew(show: Show, route: Route, target: float, here: float) -> float:
    """Return a level one control step on, at the speed that takes `smooth_ms` for the route's range."""
    low, high = route.span
    most = abs(high - low) * 1000.0 / (show.fps * route.smooth_ms)
    return min(max(target, here - most), here + most)


# Smooth at rest and quick in motion: a one-pole whose cutoff rises with the speed of the input, itself
# smoothed (Casiez, Roussel and Vogel 2012, "1 Euro filter"). Their cutoff, minimum + beta |speed|, reads in
# time constants: 1 / tau goes from 1 / smooth_ms at rest to 1 / quick_ms at one range a second, and on.
def one_euro(show: Show, route: Route, item: Glide) -> tuple[Glide, float]:
    """Return the glide with its speed one control step on, and the share of the way that it takes."""
    low, high = route.span
    moved = (item.target - item.before) / (abs(high - low) or 1.0) * show.fps  # ranges a second
    speed = item.speed + (moved - item.speed) * share_of(show, _SPEED_MS)
    slow, quick = 1.0 / route.smooth_ms, 1.0 / route.quick_ms
    tau_ms = 1.0 / (slow + abs(speed) * (quick - slow))
    return replace(item, before=item.target, speed=speed), share_of(show, tau_ms)
