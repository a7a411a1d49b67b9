"""What the show sees: the latest picture that was projected into a generator's latent space."""

from typing import Final

from engine.core.events import Projection
from engine.core.records import replace
from engine.core.show import Show
from engine.core.smoothing import share_of
from engine.core.state import ShowState, Sight

_SETTLED: Final = 1e-4  # of z, whose values are about 1: nearer than this it has arrived


def project(state: ShowState, body: Projection) -> ShowState:
    """Return the state on its way to a newly projected picture; a generator's first is there at once."""
    levels = bytes.fromhex(body.levels)
    target = tuple((level - 256 if level > 127 else level) * body.step for level in levels)
    sight = state.sight
    known = sight.generator == body.generator and len(sight.z) == len(target)
    return replace(state, sight=Sight(body.generator, sight.z if known else target, target))


# A camera is looked at a few times a second, and the picture is to move all the time: so z glides after what
# was seen last, by the same low-pass that smooths a route.
def look(show: Show, state: ShowState) -> ShowState:
    """Return the state with its z one control step nearer to what was seen last."""
    sight = state.sight
    if sight.z == sight.target:
        return state
    share = share_of(show, show.picture.smooth_ms if show.picture else 0.0)
    z = tuple(here + (there - here) * share for here, there in zip(sight.z, sight.target, strict=True))
    near = all(abs(there - here) < _SETTLED for here, there in zip(z, sight.target, strict=True))
    return replace(state, sight=replace(sight, z=sight.target if near else z))


def z_seen(state: ShowState) -> tuple[float, ...]:
    """Return the z of what the playing generator is to show; nothing while it has none of its own."""
    return state.sight.z if state.sight.generator == state.cast.playing else ()
