"""The computer's keyboard, mouse and game controllers as events.

Keys are known by their place, named as on a US keyboard, so the piano has the same shape on every layout.
Two pairs of rows are two manuals, whites below and blacks above, as in trackers; F and H belong to the
window (fullscreen, head-up display) and are no notes. H would be a black key of the lower manual: that one
begins at G, so what lies under H is D sharp, which the upper manual has as well (its 3):

    upper   q 2 w 3 e r 5 t 6 y 7 u i 9 o 0 p [ = ]      C to G, from middle C where nothing is shifted
    lower   z s x d c v g b   n m k , l . ; /            G to B, an octave and a third from below middle C

Left and right shift the octave, down and up the velocity, space is Go, backspace Back, return Tap. Tab holds
and goes on, the key above it (left of 1) blacks out and releases. A cue's number on the numeric keypad and
its Enter go to that cue. F1 to F12 swap to the generators that are here, in the order of their names. Every
other key is a control, `/keys/<name>`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from engine.core import events
from engine.core.events import Body, Control

# Scancodes are usage IDs of the USB HID keyboard page (HID Usage Tables 1.12, section 10), as in SDL.
RETURN, ESCAPE, BACKSPACE, SPACE, RIGHT, LEFT, DOWN, UP = 40, 41, 42, 44, 79, 80, 81, 82
_SIGNS: Final = {"-": 45, "=": 46, "[": 47, "]": 48, ";": 51, "'": 52, ",": 54, ".": 55, "/": 56}
SCANCODES: Final = (
    {letter: 4 + place for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    | {digit: 30 + place for place, digit in enumerate("1234567890")}
    | _SIGNS
)
FULLSCREEN, HUD = SCANCODES["f"], SCANCODES["h"]

_UPPER: Final = "q2w3er5t6y7ui9o0p[=]"  # from C4, note 60, each a semitone up
_LOWER: Final = "zsxdcvgb"  # from G3, note 55, to D4
_LOWER_ON: Final = "nmk,l.;/"  # from E4, note 64; between them lies the D sharp that H is not
NOTES: Final = (
    {SCANCODES[key]: 60 + step for step, key in enumerate(_UPPER)}
    | {SCANCODES[key]: 55 + step for step, key in enumerate(_LOWER)}
    | {SCANCODES[key]: 64 + step for step, key in enumerate(_LOWER_ON)}
)
TAB, GRAVE = 43, 53
_COMMANDS: Final[dict[int, Callable[[], Body]]] = {
    SPACE: events.Go,
    BACKSPACE: events.Back,
    RETURN: events.Tap,
    TAB: lambda: events.Hold(-1.0),
    GRAVE: lambda: events.Blackout(-1.0),
}
KEYPAD_ENTER: Final = 88
KEYPAD: Final = {89 + place: digit for place, digit in enumerate("1234567890.")}
_LONGEST: Final = 8  # signs of a cue's number
_CUE_NUMBER: Final = re.compile(r"\d+(\.\d*)?|\.\d+")
_SILENT: Final = {*_COMMANDS, *KEYPAD, KEYPAD_ENTER, LEFT, RIGHT, DOWN, UP}  # nothing follows from letting go
_CHANNEL: Final = 1
_OCTAVES: Final = (-4, 3)
_VELOCITY_STEP: Final = 0.1
_WHEEL_STEP: Final = 1 / 32

_F1: Final = 58  # to F12, 69

SOURCE: Final = "keys"


class Keys:
    """The keyboard between events: what sounds, the octave, the velocity. Source `keys`, channel 1.

    `generators` are the names behind the function keys.
    """

    def __init__(self, generators: Sequence[str] = ()) -> None:
        self._swaps = {_F1 + place: name for place, name in enumerate(generators[:12])}
        self._held: dict[int, int] = {}  # note by scancode: the octave may change while a key is down
        self._octave = 0
        self._velocity = 0.8
        self._number = ""  # of a cue, as far as it has been typed

    def down(self, scancode: int, name: str) -> list[Body]:
        """Return what follows from a key going down; `name` is what its system calls it."""
        if scancode in KEYPAD:
            self._number = (self._number + KEYPAD[scancode])[-_LONGEST:]
            return []
        number, self._number = self._number, ""
        if scancode == KEYPAD_ENTER:
            return [events.GoTo(float(number))] if _CUE_NUMBER.fullmatch(number) else []
        if scancode in NOTES:
            note = NOTES[scancode] + 12 * self._octave
            if not 0 <= note <= 127 or scancode in self._held:
                return []
            self._held[scancode] = note
            return [events.NoteOn(_CHANNEL, note, self._velocity)]
        if scancode in _COMMANDS:
            return [_COMMANDS[scancode]()]
        if scancode in self._swaps:
            return [events.Swap(self._swaps[scancode])]
        if scancode in (LEFT, RIGHT):
            step = 1 if scancode == RIGHT else -1
            self._octave = min(_OCTAVES[1], max(_OCTAVES[0], self._octave + step))
            return []
        if scancode in (DOWN, UP):
            step_up = _VELOCITY_STEP if scancode == UP else -_VELOCITY_STEP
            self._velocity = min(1.0, max(_VELOCITY_STEP, round(self._velocity + step_up, 2)))
            return []
        return [Control(_address(name, scancode), 1.0)]

    def up(self, scancode: int, name: str) -> list[Body]:
        """Return what follows from a key going up."""
        if scancode in NOTES:
            note = self._held.pop(scancode, None)
            return [] if note is None else [events.NoteOff(_CHANNEL, note, 0.0)]
        if scancode in _SILENT or scancode in self._swaps:
            return []
        return [Control(_address(name, scancode), 0.0)]

    def release(self) -> list[Body]:
        """Return what follows from losing the keyboard: silence, if anything sounded."""
        if not self._held:
            return []
        self._held.clear()
        return [events.Release()]


def _address(name: str, scancode: int) -> str:
    return f"/keys/{name.replace(' ', '_') or scancode}"


class Mouse:
    """The mouse's wheel, kept as a level from 0 to 1 in steps of 1/32, starting at one half."""

    def __init__(self) -> None:
        self._wheel = 0.5

    def wheel(self, steps: float) -> Body:
        """Return the wheel's new level after so many steps away from the player."""
        self._wheel = min(1.0, max(0.0, self._wheel + _WHEEL_STEP * steps))
        return Control("/mouse/wheel", self._wheel)

    @staticmethod
    def move(x: float, y: float, width: int, height: int) -> list[Body]:
        """Return the pointer's place in a window of so many pixels, 0 to 1 from the top left."""
        return [
            Control("/mouse/x", min(1.0, max(0.0, x / max(1, width - 1)))),
            Control("/mouse/y", min(1.0, max(0.0, y / max(1, height - 1)))),
        ]

    @staticmethod
    def button(number: int, down: bool) -> Body:
        """Return a button's level; 1 is the left one."""
        return Control(f"/mouse/button/{number}", float(down))


def pad_axis(pad: int, axis: int, value: float) -> Body:
    """Return a controller's axis, -1..1, as a level; controllers count from 1, axes from 0."""
    return Control(f"/pad/{pad}/axis/{axis}", min(1.0, max(0.0, (value + 1.0) / 2.0)))


def pad_button(pad: int, button: int, down: bool) -> Body:
    """Return a controller's button as a level; buttons count from 0."""
    return Control(f"/pad/{pad}/button/{button}", float(down))


def pad_hat(pad: int, hat: int, x: int, y: int) -> list[Body]:
    """Return a controller's cross, each direction -1, 0 or 1, as two levels: 0, 1/2 or 1."""
    return [Control(f"/pad/{pad}/hat/{hat}/x", (x + 1) / 2), Control(f"/pad/{pad}/hat/{hat}/y", (y + 1) / 2)]
