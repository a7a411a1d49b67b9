"""OSC messages, translated into event bodies."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import isfinite
from typing import Any, Final

from engine.core.events import Body, Control
from engine.io.commands import PREFIX, Make, Refused, command
from engine.io.resolume import alias

_RESOLUME: Final = ("/composition/", "/layer")


def bodies(address: str, arguments: Sequence[Any], generators: Sequence[str] = ()) -> list[Body]:
    """Return the events of one message.

    Commands, and the levels of parameters, have their addresses under `/chladni/` (`engine.io.commands`);
    Resolume's addresses are aliases of some (`engine.io.resolume`), for which `generators` are the names
    of those that are here. Of any other message each number is a source: `/osc<address>`, and for the second
    and later ones `/osc<address>:1`, `:2`. True and infinitum are 1, false is 0; strings, blobs, times,
    colours and nil say nothing there. Raise ValueError where a number is not finite, or a command has no
    meaning.
    """
    for argument in arguments:
        if isinstance(argument, float) and not isfinite(argument):
            raise Refused("not a finite number")
    return _translator(address)(generators, arguments)


@lru_cache(maxsize=4096)
def _translator(address: str) -> Callable[[Sequence[str], Sequence[Any]], list[Body]]:
    if address.startswith(PREFIX) and (make := command(address)):
        return partial(_commands, make)
    if address.startswith(_RESOLUME) and (stands_for := alias(address)):
        return stands_for
    return partial(_sources, f"/osc{address}")


def _commands(make: Make, _: Sequence[str], arguments: Sequence[Any]) -> list[Body]:
    return make(arguments)


def _sources(name: str, _: Sequence[str], arguments: Sequence[Any]) -> list[Body]:
    numbers = [number for number in arguments if isinstance(number, (int, float))]  # bool is an int
    return [
        Control(f"{name}:{place}" if place else name, float(number)) for place, number in enumerate(numbers)
    ]
