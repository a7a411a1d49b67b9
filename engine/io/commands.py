"""The commands of a show: the name and arguments of each, and the events that it makes.

OSC messages, the pads of controllers and whoever else asks for something by name make the same events here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from engine.core import patch
from engine.core.events import (
    MODEL_NAME,
    Back,
    Blackout,
    Body,
    Continue,
    Control,
    Go,
    GoTo,
    Hold,
    NoteOff,
    NoteOn,
    Recall,
    Release,
    SongPosition,
    Start,
    Stop,
    Store,
    Swap,
    Tap,
)
from engine.core.parameters import INDEX, PARAMETERS, level_named
from engine.core.show import PRESET_NAME

PREFIX: Final = "/chladni/"
PARAMETER: Final = patch.OWN_ADDRESS
FADER: Final = "/chladni/fader/"
SIXTEENTHS: Final = 4.0  # of a beat (MIDI 1.0, Song Position Pointer)
_MAX_NUMBER: Final = 1e6  # of a cue
Make = Callable[[Sequence[Any]], list[Body]]  # the events of a message's arguments; raises Refused


class Refused(ValueError):
    """A command's arguments have no meaning."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a command: its name, OSC type (f, i or s) and range, and what is meant without it.

    A number beyond the range counts as its end, unless it is not `held` there: then the command judges it.
    """

    name: str
    tag: str = "f"
    minimum: float = 0.0
    maximum: float = 1.0
    default: float | None = None  # None: it can't be left out
    held: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """What can be asked for.

    A part of the address in braces is an argument too, the first, a number or a name. A `button` is pressed
    by any message but one whose argument is 0: that is its release.
    """

    address: str
    meaning: str
    make: Callable[..., list[Body]]
    takes: tuple[Argument, ...] = ()
    button: bool = False


def _generator(name: str) -> list[Body]:
    if not MODEL_NAME.fullmatch(name):
        raise Refused(f"{name[:40]!r} is no name of a generator")
    return [Swap(name)]


def _note(channel: float, note: float, velocity: float) -> list[Body]:
    """Return a note; its velocity is whole, 0 to 127, or 0.0 to 1.0."""
    if not (1 <= channel < 17 and 0 <= note < 128):
        raise Refused("no such channel or note")
    share = velocity / 127 if type(velocity) is int else float(velocity)
    if share <= 0.0:
        return [NoteOff(int(channel), int(note), 0.5)]
    return [NoteOn(int(channel), int(note), min(share, 1.0))]


def _goto(number: float) -> list[Body]:
    if abs(number) > _MAX_NUMBER:
        raise Refused("no such cue")
    return [GoTo(float(number))]


def _position(beat: float) -> list[Body]:
    return [SongPosition(round(beat * SIXTEENTHS))]


def _morph(x: float, y: float) -> list[Body]:
    return [Control(f"{PARAMETER}morph.x", float(x)), Control(f"{PARAMETER}morph.y", float(y))]


_ON: Final = Argument("on", default=1.0)
_FADE: Final = Argument("fade_s", maximum=3600.0, default=0.0)
_NUMBER: Final = Argument("number", minimum=-_MAX_NUMBER, maximum=_MAX_NUMBER, held=False)

COMMANDS: Final = (
    Command("/chladni/go", "the next cue begins its fade", lambda: [Go()], button=True),
    Command("/chladni/back", "the cue before the present one begins its fade", lambda: [Back()], button=True),
    Command("/chladni/goto", "the cue of this number", _goto, (_NUMBER,)),
    Command(
        "/chladni/cue/{number}/go", "the cue of this number", _goto, button=True
    ),
    Command("/chladni/hold", "1 stops fades and follows where they are, 0 lets them go on",
            lambda on: [Hold(float(on))], (_ON,)),
    Command("/chladni/blackout", "1 takes the picture away and leaves the levels alone, 0 gives it back",
            lambda on: [Blackout(float(on))], (_ON,)),
    Command("/chladni/release", "gives the picture back", lambda: [Blackout(0.0)], button=True),
    Command("/chladni/preset/{name}/recall", "the levels of a preset, faded to",
            lambda name, fade_s: [Recall(name, float(fade_s))], (_FADE,), button=True),
    Command("/chladni/preset/{name}/store", "the present levels, under this name",
            lambda name: [Store(name)], button=True),
    Command("/chladni/morph", "the place between the four corners", _morph, (Argument("x"), Argument("y"))),
    Command("/chladni/generator", "another generator, swapped in live", _generator, (Argument("name", "s"),)),
    Command("/chladni/tap", "one tap of the tempo", lambda: [Tap()], button=True),
    Command("/chladni/start", "the transport, from the beginning", lambda: [Start()], button=True),
    Command("/chladni/stop", "the transport stops where it is", lambda: [Stop()], button=True),
    Command("/chladni/continue", "the transport goes on", lambda: [Continue()], button=True),
    Command("/chladni/position", "the transport is set to a beat", _position,
            (Argument("beat", maximum=4096.0),)),
    Command(
        "/chladni/note", "a key goes down; with the velocity 0 it goes up", _note,
        (
            Argument("channel", "i", 1, 16, held=False), Argument("note", "i", 0, 127, held=False),
            Argument("velocity", held=False),
        ),
    ),
    Command("/chladni/notes/off", "every key that was pressed over OSC goes up", lambda: [Release()],
            button=True),
)  # fmt: skip


def command(address: str) -> Make | None:
    """Return the function that makes the events of messages to an address, or None where it is no command's.

    Parameters are set by `/chladni/parameter/<name>`, in their own unit or by the name of a choice, and
    by `/chladni/fader/<name>`, 0 to 1 over their range.
    """
    if address.startswith(PARAMETER):
        return partial(_parameter, address)
    if address.startswith(FADER):
        return partial(_fader, address[len(FADER) :])
    words = address.split("/")
    for each in COMMANDS:
        parts = each.address.split("/")
        if len(parts) == len(words) and all(
            part == word or (part[:1] == "{" and word) for part, word in zip(parts, words, strict=True)
        ):
            within = [_from_address(*pair) for pair in zip(parts, words, strict=True) if pair[0][:1] == "{"]
            return None if None in within else partial(_make, each, within)
    return None


def _from_address(part: str, word: str) -> float | str | None:
    if part == "{name}":
        return word if PRESET_NAME.fullmatch(word) else None
    try:
        number = float(word)
    except ValueError:
        return None
    return number if abs(number) <= _MAX_NUMBER else None  # so neither is nan


def _make(wanted: Command, within: Sequence[float | str | None], arguments: Sequence[Any]) -> list[Body]:
    given: list[float | str | None] = [each for each in arguments if isinstance(each, (int, float, str))]
    if wanted.button and given[:1] == [0]:
        return []
    if len(given) < len(wanted.takes):
        given += [argument.default for argument in wanted.takes[len(given) :]]
    values = [_checked(argument, value) for argument, value in zip(wanted.takes, given, strict=False)]
    return wanted.make(*within, *values)


def _checked(argument: Argument, value: float | str | None) -> float | str:
    if value is None or isinstance(value, str) != (argument.tag == "s"):
        raise Refused(f"{argument.name} is to be of the type {argument.tag}")
    if isinstance(value, str) or not argument.held:
        return value
    return min(max(value, argument.minimum), argument.maximum)


def _parameter(address: str, arguments: Sequence[Any]) -> list[Body]:
    name = address[len(PARAMETER) :]
    for argument in arguments:
        level = level_named(name, argument) if isinstance(argument, str) else argument
        if isinstance(level, (int, float)):
            return [Control(address, float(level))]
    return []


def _fader(name: str, arguments: Sequence[Any]) -> list[Body]:
    if name not in INDEX:
        raise Refused(f"no parameter {name[:40]!r}")
    parameter = PARAMETERS[INDEX[name]]
    return [
        Control(PARAMETER + name, parameter.minimum + value * (parameter.maximum - parameter.minimum))
        for value in [value for value in arguments if isinstance(value, (int, float))][:1]
    ]
