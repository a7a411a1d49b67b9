"""The lamps and rings of controllers: the show's state, as MIDI to them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from threading import Event as Signal
from threading import Thread
from typing import Final

from engine.clock import Clock, monotonic_us
from engine.core import cues, presets
from engine.core.parameters import INDEX, PARAMETERS
from engine.core.show import Listening, Show
from engine.core.state import ShowState
from engine.core.transport import beat_at
from engine.core.units import TICK_SAMPLES
from engine.io.controller_maps import CC, NOTE_ON, Control, ControllerMap, Lamp, Light
from engine.io.controllers import Look
from engine.io.midi_ports import MidiOut

Key = tuple[int, int]  # kind, note or controller number: the lamp, on whatever channel
_LOOK_S: Final = 0.05
# To a controller in one look: 320 a second, a third of what a MIDI cable carries. A grid is lit in 0.2 s.
MAX_MESSAGES: Final = 16
_BLINK_US: Final = 250_000.0  # on, then as long off
_ROUNDING: Final = 1e-3  # of a fader of pads: a level that is set by a pad lights it
_BEAT_SHARE: Final = 0.25  # of a beat that the lamp of a tap button is lit


@dataclass(frozen=True)
class _Now:
    """What lamps show: the show at this moment, and what of it many of them ask for."""

    show: Show
    state: ShowState
    generators: Sequence[str]
    next_cue: int
    presets: int


def lights(
    controller_map: ControllerMap,
    show: Show,
    state: ShowState,
    generators: Sequence[str],
    lit: bool = True,
) -> dict[Key, tuple[int, int]]:
    """Return channel, from 0, and value of each lamp and ring; `lit` says in which half blinking ones are."""
    now = _Now(show, state, generators, cues.upcoming(show, state), len(presets.names(show, state)))
    told: dict[Key, tuple[int, int]] = {}
    for control in controller_map.control:
        light = control.light
        if light is None:
            continue
        kind = NOTE_ON if light.note or (control.note and not light.cc) else CC
        addresses = control.addresses(controller_map.name)
        for place, number in enumerate(light.note or light.cc or control.note or control.cc):
            lamp = _lamp(now, control, light, place, addresses)
            if lamp.blinks and not lit:
                lamp = light.off
            told[kind, number] = (lamp.channel or controller_map.channel) - 1, lamp.value
    return told


def _lamp(now: _Now, control: Control, light: Light, place: int, addresses: Sequence[str]) -> Lamp:
    """Return how the lamp at a place of a control looks."""
    there, on = light.there or light.off, light.on or light.there or light.off
    match control.does:
        case None if control.columns:
            column, floor = control.fader_at(place)
            return on if _level(now, addresses[column]) >= floor - _ROUNDING else light.off
        case None if light.high:
            return Lamp(value=light.low + round(_level(now, addresses[place]) * (light.high - light.low)))
        case None:
            return on if _level(now, addresses[place]) >= 0.5 else light.off
        case "cue":
            looks = {now.next_cue: light.next or there, now.state.cue: on}
            return looks.get(place, there) if place < len(now.show.cue) else light.off
        case "generator":
            if place >= len(now.generators):
                return light.off
            cast = now.state.cast
            looks_of = {cast.wanted: light.next or there, cast.playing: on}
            return looks_of.get(now.generators[place], there)
        case "preset":
            return there if place < now.presets else light.off
        case button:
            return on if _IS_ON[button](now) else light.off


_IS_ON: Final[dict[str, Callable[[_Now], bool]]] = {
    "go": lambda now: now.next_cue >= 0,
    "back": lambda now: now.state.cue > 0,
    "hold": lambda now: now.state.held,
    "blackout": lambda now: now.state.dark.end >= 0.5,
    "release": lambda now: now.state.dark.end >= 0.5,
    "tap": lambda now: beat_at(now.state.transport, now.state.tick * TICK_SAMPLES) % 1.0 < _BEAT_SHARE,
    "start": lambda now: now.state.transport.running,
    "stop": lambda now: not now.state.transport.running,
    "continue": lambda now: now.state.transport.running,
}


def _level(now: _Now, address: str) -> float:
    """Return where the parameter that a source moves is, 0 to 1 between the ends of the first route to it."""
    number = _first_route(now.show.listening, address)
    if number < 0:
        return 0.0
    route = now.show.route[number]
    index = INDEX[route.to]
    low, high = route.range or (PARAMETERS[index].minimum, PARAMETERS[index].maximum)
    share = (now.state.levels[index] - low) / (high - low) if high != low else 0.0
    return min(max(1.0 - share if route.invert else share, 0.0), 1.0)


@lru_cache(maxsize=1024)
def _first_route(listening: Listening, address: str) -> int:
    return next((n for n, pattern in enumerate(listening.routes) if fnmatchcase(address, pattern)), -1)


@dataclass(eq=False)
class _Surface:
    """A controller's map, the port that its lamps hear, and what they were told since that opened."""

    controller_map: ControllerMap
    out: MidiOut
    opened: int = 0
    told: dict[Key, tuple[int, int]] = field(default_factory=dict)


class Lights:
    """Lights controllers from `start` to `stop`, twenty times a second, from a thread of its own.

    Only what has changed is sent, a few messages a look; when a controller appears it is set up, and all of
    its lamps are told.
    """

    def __init__(
        self,
        maps: Sequence[ControllerMap],
        outs: Sequence[MidiOut],
        clock: Clock,
        look: Look,
        generators: Sequence[str],
    ) -> None:
        self._surfaces = [_Surface(*pair) for pair in zip(maps, outs, strict=True)]
        self._clock, self._look, self._generators = clock, look, generators
        self._stop = Signal()
        self._thread = Thread(target=self._run, name="lights", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Put every lamp out, leave the controllers as they were found, and close the ports."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        for surface in self._surfaces:
            lamps = surface.told.items()
            dark = [bytes((kind | channel, number, 0)) for (kind, number), (channel, _) in lamps]
            farewell = surface.controller_map.farewell if surface.opened else ()
            surface.out.stop((*dark, *farewell), silence=False)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            lit = monotonic_us() // _BLINK_US % 2.0 == 0.0
            for surface in self._surfaces:
                with suppress(Exception):  # on stage nothing raises: the next look is another
                    self._light(surface, lit)

    def _light(self, surface: _Surface, lit: bool) -> None:
        now = self._clock.now()
        if surface.opened != surface.out.opened:
            surface.opened = surface.out.opened
            surface.told.clear()
            for message in surface.controller_map.setup:
                surface.out.send(now, message)
            return
        if not surface.opened:
            return
        wanted = lights(surface.controller_map, *self._look(), self._generators, lit)
        news = [(key, lamp) for key, lamp in wanted.items() if surface.told.get(key) != lamp]
        for (kind, number), (channel, value) in news[:MAX_MESSAGES]:
            surface.out.send(now, bytes((kind | channel, number, value)))
            surface.told[kind, number] = channel, value
