"""Precedence: what wins when two things move one parameter."""

from collections.abc import Sequence
from typing import Final

from engine.core.parameters import PARAMETERS
from engine.core.records import replace
from engine.core.show import Show
from engine.core.state import FOLLOW, GO, HANDS, ShowState

# Who may not take a parameter from whom. Else the latest takes precedence, LTP as lighting has it. Under HTP
# nobody takes from anybody: the cues and the performer have a base each, and the higher of the two is seen.
_REFUSED: Final[dict[str, frozenset[tuple[str, str]]]] = {
    "LTP": frozenset(),
    "HTP": frozenset(),
    "performer": frozenset({(GO, HANDS), (FOLLOW, HANDS)}),
    "cue": frozenset({(HANDS, GO), (HANDS, FOLLOW)}),
    "hand": frozenset({(FOLLOW, HANDS)}),
}


def may_move(show: Show, state: ShowState, parameter: int, kind: str) -> bool:
    """Tell whether a mover of a kind may take a parameter from what moved it last."""
    return (kind, state.moved_by[parameter].kind) not in _REFUSED[show.precedences[parameter]]


def place(show: Show, parameter: int, kind: str) -> int:
    """Return which of the state's bases a mover of a kind moves: under HTP the performer has its own."""
    return show.highest.get(parameter, parameter) if kind == HANDS else parameter


def parameter_at(show: Show, place: int) -> int:
    """Return the parameter that a base is of."""
    return place if place < len(PARAMETERS) else tuple(show.highest)[place - len(PARAMETERS)]


def base(show: Show, bases: Sequence[float], parameter: int) -> float:
    """Return the parameter's level before additions."""
    own = show.highest.get(parameter)
    return bases[parameter] if own is None else max(bases[parameter], bases[own])


def revise(before: Show, show: Show, state: ShowState) -> ShowState:
    """Return the state with the bases of a revised show; what HTP no longer rules stays as it is seen."""
    if before.highest == show.highest:
        return state
    bases = [
        state.bases[parameter] if parameter in show.highest else base(before, state.bases, parameter)
        for parameter in range(len(PARAMETERS))
    ]
    there = {place: show.highest.get(parameter) for parameter, place in before.highest.items()}
    own = {there[place]: state.bases[place] for place in there}
    bases += [own.get(place, PARAMETERS[parameter].minimum) for parameter, place in show.highest.items()]
    places = [there.get(fade.place, fade.place) for fade in state.fades]
    fades = zip(state.fades, places, strict=True)
    kept = tuple(replace(fade, place=place) for fade, place in fades if place is not None)
    return replace(state, bases=tuple(bases), fades=kept)
