"""MIDI messages, translated into event bodies."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from engine.core import events
from engine.core.events import Body, Control, NoteOff, NoteOn, Pressure, Release

# Controller numbers (MIDI 1.0 Detailed Specification, table III) and registered parameters (table IIIa; MPE:
# M1-100-UM v1.1, section 2).
_DATA_MSB, _DATA_LSB, _SUSTAIN, _TIMBRE, _INCREMENT, _DECREMENT = 6, 38, 64, 74, 96, 97
_SELECT: Final = {99: ("nrpn", 0), 98: ("nrpn", 1), 101: ("rpn", 0), 100: ("rpn", 1)}
_RESET_CONTROLLERS: Final = 121
_SILENCE: Final = frozenset((120, 123, 124, 125, 126, 127))  # the mode messages imply all notes off
_BEND_RANGE, _MPE_ZONE, _NULL = 0, 6, 0x3FFF
_LOWER_MASTER, _UPPER_MASTER = 1, 16
_DEFAULT_RANGE, _MEMBER_RANGE = 2.0, 48.0  # semitones
_CENTRE: Final = 64 / 127


@dataclass(frozen=True, eq=False)
class _Dimension:
    """What a whole channel has besides its notes, and how an MPE member's value joins its master's."""

    rest: float
    body: Callable[[int, float], Body]
    join: Callable[[float, float], float]


_BENDS: Final = _Dimension(0.0, events.Bend, lambda member, master: member + master)
_PRESSURES: Final = _Dimension(0.0, lambda channel, value: Pressure(channel, -1, value), max)
_TIMBRES: Final = _Dimension(_CENTRE, events.Timbre, lambda a, b: min(max(a + b - _CENTRE, 0.0), 1.0))
_PEDALS: Final = _Dimension(0.0, events.Sustain, max)
_DIMENSIONS: Final = (_BENDS, _PRESSURES, _TIMBRES, _PEDALS)
_RESET: Final = (_BENDS, _PRESSURES, _PEDALS)  # by Reset All Controllers (RP-015)

_SYSTEM: Final[dict[int, tuple[Body, ...]]] = {
    0xF8: (events.ClockPulse(),),
    0xFA: (events.Start(),),
    0xFB: (events.Continue(),),
    0xFC: (events.Stop(),),
}


@dataclass(slots=True)
class _Wide:
    """A value of 7 or 14 bits.

    A controller that never sends the low byte (LSB) has 128 steps, high byte / 127, so its full travel
    reaches 1. From the first LSB on it has 16,384, and each high byte sets the low one to 0, as MIDI 1.0
    says: a sender that goes on with high bytes alone then ends at 0.992.
    """

    high: int = 0
    low: int | None = None

    def set_high(self, value: int) -> None:
        self.high = value
        self.low = None if self.low is None else 0

    def step(self, amount: int) -> None:
        """Move by the smallest step that the sender has shown."""
        if self.low is None:
            self.high = min(max(self.high + amount, 0), 127)
        else:
            self.high, self.low = divmod(min(max((self.high << 7 | self.low) + amount, 0), 0x3FFF), 128)

    @property
    def value(self) -> float:
        return self.high / 127 if self.low is None else (self.high << 7 | self.low) / 16383


class Translator:
    """One port's MIDI messages to event bodies.

    Every controller is a source: `/midi/<channel>/cc/<n>`, `.../nrpn/<n>`, `.../rpn/<n>`, `.../bend` (0.5
    is the centre), `.../pressure`, `.../poly/<note>`, `.../program`, each 0 to 1. Controllers 0 to 31 join
    with 32 to 63 into 14 bits once both have been seen (see `_Wide`); 32 to 63 stay sources of their own
    as well, for the boxes that use them as plain knobs.

    In an MPE zone (set by RPN 6 on channel 1 or 16) what the master channel does is joined onto every
    member channel: bends add, the higher pressure and pedal count, timbres add about their centre.
    """

    def __init__(self) -> None:
        self._rest()

    def _rest(self) -> None:
        """Be as at power-on."""
        channels = range(1, 17)
        self._values = {(dimension, each): dimension.rest for dimension in _DIMENSIONS for each in channels}
        self._told = dict(self._values)
        self._ranges = dict.fromkeys(channels, _DEFAULT_RANGE)
        self._zones: dict[int, tuple[int, ...]] = {_LOWER_MASTER: (), _UPPER_MASTER: ()}
        self._played: set[int] = set()  # channels that a note has been played on
        self._selected: dict[int, tuple[str, int]] = {}
        self._wide: dict[str, _Wide] = {}

    def bodies(self, message: bytes) -> tuple[Body, ...]:
        """Return what one whole message, as `MidiParser` yields it, means to the core."""
        status = message[0]
        if status < 0xF0:
            return _CHANNEL[status >> 4](self, (status & 0xF) + 1, *message[1:])
        if status == 0xF2:
            return (events.SongPosition(message[1] | message[2] << 7),)
        if status == 0xFF:
            return self.release()
        return _SYSTEM.get(status, ())

    def release(self) -> tuple[Body, ...]:
        """Return what brings all that this port has moved back to rest: it was lost, or reset."""
        moved = [key for key, told in self._told.items() if told != key[0].rest]
        self._rest()
        return (Release(), *(dimension.body(channel, dimension.rest) for dimension, channel in moved))

    def _note_off(self, channel: int, note: int, velocity: int) -> tuple[Body, ...]:
        return (NoteOff(channel, note, velocity / 127),)

    def _note_on(self, channel: int, note: int, velocity: int) -> tuple[Body, ...]:
        if velocity == 0:
            return self._note_off(channel, note, 64)  # MIDI 1.0: the release velocity of a note-on 0
        self._played.add(channel)
        return (*self._tell_all(channel), NoteOn(channel, note, velocity / 127))

    def _poly_pressure(self, channel: int, note: int, value: int) -> tuple[Body, ...]:
        level = value / 127
        return Pressure(channel, note, level), Control(f"/midi/{channel}/poly/{note}", level)

    def _pressure(self, channel: int, value: int) -> tuple[Body, ...]:
        control = Control(f"/midi/{channel}/pressure", value / 127)
        return (*self._move(_PRESSURES, channel, value / 127), control)

    def _bend(self, channel: int, low: int, high: int) -> tuple[Body, ...]:
        offset = (high << 7 | low) - 0x2000
        share = offset / (0x1FFF if offset > 0 else 0x2000)  # -1 to 1, both reached
        control = Control(f"/midi/{channel}/bend", 0.5 + 0.5 * share)
        return (*self._move(_BENDS, channel, share * self._ranges[channel]), control)

    def _program(self, channel: int, program: int) -> tuple[Body, ...]:
        return events.Program(channel, program), Control(f"/midi/{channel}/program", program / 127)

    def _controller(self, channel: int, number: int, value: int) -> tuple[Body, ...]:
        if number in _SELECT:
            self._select(channel, *_SELECT[number], value)
            return ()
        if number in _DATA_ENTRY and channel in self._selected:
            return self._enter_data(channel, number, value)
        if number in _SILENCE:
            for member in range(1, 17):
                self._values[_PEDALS, member] = self._told[_PEDALS, member] = 0.0
            return (Release(),)
        if number == _RESET_CONTROLLERS:
            moved = (self._move(dimension, channel, dimension.rest) for dimension in _RESET)
            return tuple(chain.from_iterable(moved))
        plain = Control(f"/midi/{channel}/cc/{number}", value / 127)
        if number in _MOVED_BY:
            return (*self._move(_MOVED_BY[number], channel, value / 127), plain)
        if number < 32:
            wide = self._wide.setdefault(plain.address, _Wide())
            wide.set_high(value)
            return (Control(plain.address, wide.value),)
        partner = f"/midi/{channel}/cc/{number - 32}"
        if number < 64 and partner in self._wide:
            self._wide[partner].low = value
            return plain, Control(partner, self._wide[partner].value)
        return (plain,)

    def _select(self, channel: int, kind: str, half: int, value: int) -> None:
        """Choose the (non-)registered parameter that data entry moves; 127, 127 chooses none."""
        before, number = self._selected.get(channel, (kind, _NULL))
        number = number if before == kind else _NULL
        number = value << 7 | number & 0x7F if half == 0 else number & 0x3F80 | value
        self._selected[channel] = (kind, number)
        if number == _NULL:
            del self._selected[channel]

    def _enter_data(self, channel: int, number: int, value: int) -> tuple[Body, ...]:
        kind, parameter = self._selected[channel]
        address = f"/midi/{channel}/{kind}/{parameter}"
        wide = self._wide.setdefault(address, _Wide())
        _DATA_ENTRY[number](wide, value)
        if kind == "rpn" and parameter == _BEND_RANGE:
            self._set_range(channel, wide.high + (wide.low or 0) / 100)
        elif kind == "rpn" and parameter == _MPE_ZONE and number == _DATA_MSB and channel in self._zones:
            self._set_zone(channel, min(value, 15))
            told = chain.from_iterable(self._tell_all(played) for played in sorted(self._played))
            return (*told, Control(address, wide.value))
        return (Control(address, wide.value),)

    def _set_range(self, channel: int, semitones: float) -> None:
        """Set the bend range of a channel; all members of a zone have the same."""
        members = next((zone for zone in self._zones.values() if channel in zone), (channel,))
        self._ranges.update(dict.fromkeys(members, semitones))

    def _set_zone(self, master: int, count: int) -> None:
        """Set up an MPE zone with `count` members (0: none); the other zone gives up what overlaps."""
        other = _LOWER_MASTER + _UPPER_MASTER - master
        step = 1 if master == _LOWER_MASTER else -1
        members = tuple(master + step * number for number in range(1, count + 1))
        left = () if other in members else tuple(c for c in self._zones[other] if c not in members)
        freed = {*self._zones[master], *self._zones[other]} - {*members, *left}
        self._zones = {master: members, other: left}
        self._ranges.update(dict.fromkeys((master, *freed), _DEFAULT_RANGE))
        self._ranges.update(dict.fromkeys(members, _MEMBER_RANGE))

    def _move(self, dimension: _Dimension, channel: int, value: float) -> tuple[Body, ...]:
        """Move a channel's dimension, and with it, if it is a master, that of the members in use."""
        self._values[dimension, channel] = value
        members = [member for member in self._zones.get(channel, ()) if member in self._played]
        return tuple(body for each in (channel, *members) for body in self._tell(dimension, each))

    def _tell_all(self, channel: int) -> tuple[Body, ...]:
        return tuple(body for dimension in _DIMENSIONS for body in self._tell(dimension, channel))

    def _tell(self, dimension: _Dimension, channel: int) -> tuple[Body, ...]:
        """Return the body that tells the channel's present value, or nothing where that is known."""
        value = self._values[dimension, channel]
        for master, members in self._zones.items():
            if channel in members:
                value = dimension.join(value, self._values[dimension, master])
        if value == self._told[dimension, channel]:
            return ()
        self._told[dimension, channel] = value
        return (dimension.body(channel, value),)


_MOVED_BY: Final = {_SUSTAIN: _PEDALS, _TIMBRE: _TIMBRES}
_DATA_ENTRY: Final[dict[int, Callable[[_Wide, int], Any]]] = {
    _DATA_MSB: _Wide.set_high,
    _DATA_LSB: lambda wide, value: setattr(wide, "low", value),
    _INCREMENT: lambda wide, _: wide.step(1),
    _DECREMENT: lambda wide, _: wide.step(-1),
}
_CHANNEL: Final[dict[int, Callable[..., tuple[Body, ...]]]] = {
    0x8: Translator._note_off, 0x9: Translator._note_on, 0xA: Translator._poly_pressure,
    0xB: Translator._controller, 0xC: Translator._program, 0xD: Translator._pressure, 0xE: Translator._bend,
}  # fmt: skip
