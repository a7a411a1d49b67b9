"""Resolume's addresses, as aliases: a layout that was made for it plays this show too."""

# Addresses as Resolume 7 shows them under Shortcuts > Edit OSC (resolume.com/support/en/osc), and the names
# that the same had up to version 5 (/layer1/video/opacity/values, /layer1/clip1/connect). Opacities are 0 to
# 1, buttons send 1 when they are pressed and 0 when they are let go.

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from engine.core.events import Back, Blackout, Body, Control, Go, GoTo, Start, Swap, Tap
from engine.core.parameters import INDEX, NETWORKS, PARAMETERS
from engine.io.commands import PARAMETER, Refused

# What the layers are here: the picture, the line of text, then the show's image networks. The opacity of the
# picture's own layer is what the parameter `blackout` leaves of it.
LAYERS: Final = ("blackout", "text.opacity", *(f"network.{number}" for number in range(1, NETWORKS + 1)))
TEMPO_BPM: Final = (20.0, 500.0)  # at 0 and at 1 of Resolume's tempo
Generators = Sequence[str]
Make = Callable[[Generators, float], list[Body]]


def _level(name: str, value: float) -> list[Body]:
    parameter = PARAMETERS[INDEX[name]]
    return [Control(PARAMETER + name, min(max(value, parameter.minimum), parameter.maximum))]


def _opacity(layer: str) -> Make | None:
    number = int(layer) - 1
    if not 0 <= number < len(LAYERS):
        return None
    name = LAYERS[number]
    return lambda _, value: _level(name, 1.0 - value if name == "blackout" else value)


def _clip(layer: str, clip: str) -> Make | None:
    """Return the swap to the generator of that number, in the order of their names: clips of the picture."""
    number = int(clip) - 1
    if int(layer) != 1 or number < 0:
        return None
    return lambda generators, value: [Swap(generators[number])] if value and number < len(generators) else []


def _button(body: Body) -> Make:
    return lambda _, value: [body] if value else []


def _master(_: Generators, value: float) -> list[Body]:
    return [Blackout(1.0 - min(max(value, 0.0), 1.0))]


def _tempo(_: Generators, value: float) -> list[Body]:
    return _level("tempo", TEMPO_BPM[0] + (TEMPO_BPM[1] - TEMPO_BPM[0]) * value)


_NUMBER: Final = r"([0-9]{1,4})"
ALIASES: Final[tuple[tuple[str, Callable[..., Make | None]], ...]] = (
    (r"/composition/(?:master|video/opacity)", lambda: _master),
    (rf"/composition/layers/{_NUMBER}/(?:master|video/opacity)", _opacity),
    (rf"/layer{_NUMBER}/video/opacity", _opacity),
    (rf"/composition/layers/{_NUMBER}/clips/{_NUMBER}/connect", _clip),
    (rf"/layer{_NUMBER}/clip{_NUMBER}/connect", _clip),
    (rf"/composition/columns/{_NUMBER}/connect", lambda number: _button(GoTo(float(number)))),
    (r"/composition/connectnextcolumn", lambda: _button(Go())),
    (r"/composition/connectprevcolumn", lambda: _button(Back())),
    (r"/composition/tempocontroller/tempotap", lambda: _button(Tap())),
    (r"/composition/tempocontroller/resync", lambda: _button(Start())),
    (r"/composition/tempocontroller/tempo", lambda: _tempo),
)


def alias(address: str) -> Callable[[Generators, Sequence[Any]], list[Body]] | None:
    """Return the function that makes the events of messages to one of Resolume's addresses, or None."""
    address = address.removesuffix("/values")
    for pattern, find in ALIASES:
        if match := re.fullmatch(pattern, address):
            make = find(*match.groups())
            return None if make is None else partial(_make, make)
    return None


def _make(make: Make, generators: Generators, arguments: Sequence[Any]) -> list[Body]:
    """Return the events. Resolume counts relative to the level where a string comes first; this does not."""
    if any(isinstance(argument, str) and argument != "a" for argument in arguments):
        raise Refused("only values that are meant as they are, not relative ones")
    numbers = [float(argument) for argument in arguments if isinstance(argument, (int, float))]
    return make(generators, numbers[0] if numbers else 1.0)
