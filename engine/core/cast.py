"""The cast: which generator plays, which is wanted, and how one takes over from another."""

from engine.core import tracks
from engine.core.events import Enter, Refuse
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import Cast, ShowState
from engine.core.units import TICKS_PER_SECOND


# What takes time, or may fail, is done outside: the session loads the wanted generator beside the playing one
# and answers, when it is warm or can't be had, with an event. So a swap replays at the very frame at which it
# was seen, however long the model took to load then.
def swap(show: Show, state: ShowState, generator: str, fade_s: float | None = None) -> ShowState:
    """Return the state with another generator wanted; wanting the one that plays calls a swap off."""
    ticks = round((show.swap_s if fade_s is None else fade_s) * TICKS_PER_SECOND)
    wanted = "" if generator == state.cast.playing else generator
    return replace(state, cast=replace(state.cast, wanted=wanted, wanted_ticks=ticks))


def enter(state: ShowState, body: Enter) -> ShowState:
    """Return the state with the wanted generator playing, and the one before it on its way out."""
    cast = state.cast
    if body.generator != cast.wanted:  # nobody wants it any more
        return state
    return replace(
        state, cast=Cast(body.generator, leaving=cast.playing, tick=state.tick, fade_ticks=body.fade_ticks)
    )


def refuse(state: ShowState, body: Refuse) -> ShowState:
    """Return the state with no generator wanted, if it is the refused one that was."""
    if body.generator != state.cast.wanted:
        return state
    return replace(state, cast=replace(state.cast, wanted=""))


def share(state: ShowState) -> float:
    """Return the share of the playing generator in the picture: below 1 while it fades in."""
    cast = state.cast
    past = state.tick - cast.tick
    return past / cast.fade_ticks if past < cast.fade_ticks else 1.0


def upcoming(show: Show, state: ShowState) -> str:
    """Return the generator to have ready: the wanted one, else that of the cue after this; "" for none."""
    if state.cast.wanted or not show.cue:
        return state.cast.wanted
    index = state.standby.cue if state.standby else (state.cue + 1) % len(show.cue)
    if not tracks.moves(show.generators, state.cue, index):
        return ""
    following = tracks.at(show.generators, index)
    return "" if following == state.cast.playing else following
