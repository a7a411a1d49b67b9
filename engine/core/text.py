"""Lines of text: asked for at cues, written elsewhere, shown on the picture."""

from typing import Final

from engine.core.blackout import darkness
from engine.core.events import Line
from engine.core.jobs import Caption, Write
from engine.core.parameters import INDEX
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import Lines, ShowState

LONGEST: Final = 200  # characters of a line


def ask(show: Show, state: ShowState, begins: str) -> ShowState:
    """Return the state with a line asked for that begins with some words, or with any."""
    if show.text is None:
        return state
    request = state.lines.request + 1
    writes = (*state.writes, Write(request, begins, state.levels[INDEX["text.temperature"]]))
    return replace(state, lines=replace(state.lines, request=request), writes=writes)


def take(state: ShowState, body: Line) -> ShowState:
    """Return the state with a line on the picture; one that a later request has overtaken is let go."""
    if body.request != state.lines.request:
        return state
    return replace(state, lines=Lines(body.request, " ".join(body.text[:LONGEST].split())))


def caption(show: Show, state: ShowState) -> Caption:
    """Return what is written over the picture of this state; blackout darkens it with the rest."""
    levels = state.levels
    light = (1.0 - levels[INDEX["blackout"]]) * (1.0 - darkness(show, state))
    opacity = levels[INDEX["text.opacity"]] * light
    line = state.lines.line if opacity > 0.0 else ""
    place = levels[INDEX["text.x"]], levels[INDEX["text.y"]]
    return Caption(line, opacity, levels[INDEX["text.size"]], *place)
