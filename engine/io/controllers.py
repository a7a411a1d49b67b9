"""Controllers with a map: their messages, translated into event bodies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from engine.core import presets
from engine.core.events import Body, Control, Recall, Swap
from engine.core.patch import is_patched
from engine.core.show import Show
from engine.core.state import ShowState
from engine.io import controller_maps
from engine.io.commands import command
from engine.io.controller_maps import CC, NOTE_ON, ControllerMap
from engine.io.midi import Translator

Look = Callable[[], tuple[Show, ShowState]]
_NOTE_OFF: Final = 0x80
_STATE_OF: Final[dict[str, Callable[[ShowState], float]]] = {  # what a button turns on and off, as it is now
    "hold": lambda state: float(state.held),
    "blackout": lambda state: state.dark.end,
}


def does(what: str, number: int, show: Show, state: ShowState, generators: Sequence[str]) -> list[Body]:
    """Return the events of a button: the one with that number, from 0, of those that do the same."""
    if what == "cue":
        here = [f"/chladni/cue/{cue.number!r}/go" for cue in show.cue[number : number + 1]]
        return [body for address in here for body in _command(address)]
    if what == "generator":
        return [Swap(name) for name in generators[number : number + 1]]
    if what == "preset":
        return [Recall(name, 0.0) for name in presets.names(show, state)[number : number + 1]]
    if what in _STATE_OF:
        return _command(f"/chladni/{what}", 0.0 if _STATE_OF[what](state) >= 0.5 else 1.0)
    return _command(f"/chladni/{what}")


def _command(address: str, *arguments: float) -> list[Body]:
    make = command(address)
    return make(arguments) if make else []


class ControllerTranslator:
    """One controller's messages to event bodies; what its map does not name is translated as of any port.

    A knob, fader or pad is the source that its map names, 0 to 1. One that does something does it when it
    is pressed, unless the show has a route from it.
    """

    def __init__(self, controller_map: ControllerMap, look: Look, generators: Sequence[str]) -> None:
        self._channel = controller_map.channel - 1
        self._look, self._generators = look, generators
        self._plain = Translator()
        self._down: set[str] = set()  # the pads that are pressed
        self._heard = {
            key: (control, place, control.addresses(controller_map.name))
            for key, (control, place) in controller_map.heard.items()
        }

    def bodies(self, message: bytes) -> tuple[Body, ...]:
        """Return what one whole message, as `MidiParser` yields it, means to the core."""
        kind = message[0] & 0xF0
        named = None
        if len(message) == 3 and message[0] & 0x0F == self._channel:
            named = self._heard.get((NOTE_ON if kind == _NOTE_OFF else kind, message[1]))
        if named is None:
            return self._plain.bodies(message)
        control, place, addresses = named
        value = 0.0 if kind == _NOTE_OFF else message[2] / 127
        if control.columns:
            column, level = control.fader_at(place)
            return (Control(addresses[column], level),) if value else ()
        address = addresses[place]
        pressed = value > 0.0 and address not in self._down
        if kind != CC or control.does:
            (self._down.add if value else self._down.discard)(address)
        done: list[Body] = []
        if control.does and pressed:
            show, state = self._look()
            if not is_patched(show, address):
                done = does(control.does, place, show, state, self._generators)
        return (Control(address, value), *done)

    def release(self) -> tuple[Body, ...]:
        """Return what brings all that this port has moved back to rest: it was lost, or reset."""
        held = [Control(address, 0.0) for address in sorted(self._down)]
        self._down.clear()
        return (*self._plain.release(), *held)


@dataclass(frozen=True)
class Controllers:
    """The controllers that a show names, and which ports are theirs."""

    maps: tuple[ControllerMap, ...]
    look: Look
    generators: tuple[str, ...] = ()

    def translator(self, port: str) -> ControllerTranslator | Translator:
        """Return what translates the messages of a port with that name."""
        for each in self.maps:
            if each.ports.casefold() in port.casefold():
                return ControllerTranslator(each, self.look, self.generators)
        return Translator()


def of_show(show: Show, look: Look, generators: Sequence[str]) -> Controllers:
    """Return the controllers of a show that `controller_maps.with_default_routes` has read."""
    maps = tuple(
        each if controller.ports is None else each.model_copy(update={"ports": controller.ports})
        for controller in show.controller
        for each in (controller_maps.load(controller.map),)
    )
    return Controllers(maps, look, tuple(generators))
