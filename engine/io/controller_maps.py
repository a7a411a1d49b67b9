"""Controller maps: files that name the knobs, faders and pads of controllers, what each does, its lamps."""

import re
import tomllib
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.core.parameters import INDEX
from engine.core.show import Show, line_of

FOLDER: Final = Path(__file__).resolve().parents[1] / "controllers"
MAX_MESSAGE: Final = 16  # bytes of a message that sets a controller up (see links.MIDI_OUT)
NOTE_ON, CC = 0x90, 0xB0
_MAX_BYTES: Final = 1 << 20


class MapError(ValueError):
    """There is no such map, or it is wrong; the text is one line that says why."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _numbers(spans: Any) -> Any:
    """Return the numbers of spans, in their order: `"0-7"`, or `["81-88", "71-78"]`."""
    numbers: list[int] = []
    for span in (spans,) if isinstance(spans, str | int) else spans:
        match = re.fullmatch(r"([0-9]{1,3})(?:-([0-9]{1,3}))?", str(span))
        if not match or int(match[2] or match[1]) > 127:
            raise ValueError(f"{span!r} is no span of 0 to 127, as in '0-7'")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(numbers)


class Lamp(_Table):
    """One look of a lamp: the value that is sent, the channel where that says how it is lit."""

    value: int = Field(ge=0, le=127)
    channel: int = Field(0, ge=0, le=16, description="0: that of the controller")
    blinks: bool = Field(False, description="twice a second, by our sending")


class Light(_Table):
    """How the lamps or rings of a control are lit; `note` or `cc` where they hear other numbers than it has.

    `on` says that a cue or generator plays, that a button is on, or, of a column of pads, that the level
    is as high; `next` is the cue, or the generator, that comes, `there` one that can be had. A ring shows
    its level between `low` and `high`.
    """

    note: tuple[int, ...] = ()
    cc: tuple[int, ...] = ()
    off: Lamp = Lamp(value=0)
    there: Lamp | None = None
    next: Lamp | None = None
    on: Lamp | None = None
    low: int = Field(0, ge=0, le=127)
    high: int = Field(0, ge=0, le=127)

    _spans = field_validator("note", "cc", mode="before")(_numbers)

    @field_validator("off", "there", "next", "on", mode="before")
    @classmethod
    def _value_alone(cls, lamp: Any) -> Any:
        return {"value": lamp} if isinstance(lamp, int) else lamp


Does = Literal[
    "cue", "generator", "preset", "go", "back", "hold", "blackout", "release", "tap", "start", "stop",
    "continue",
]  # fmt: skip


class Control(_Table):
    """Knobs, faders or pads of one kind: the source `/controller/<map>/<name>`, and `/1`, `/2` ... behind it.

    It `does` something when it is pressed, the first the first cue, generator or preset and so on; `to` are
    the parameters that each moves. Either is left to the show where that has a route from the source.
    Pads in `columns` are faders: the lowest of a column is 0, the highest 1.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")
    note: tuple[int, ...] = ()
    cc: tuple[int, ...] = ()
    columns: int = Field(0, ge=0, le=64)
    to: tuple[str, ...] = ()
    does: Does | None = None
    light: Light | None = None

    _spans = field_validator("note", "cc", mode="before")(_numbers)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.note) == bool(self.cc):
            raise ValueError("a control has either note or cc")
        if self.columns and (len(self.note) % self.columns or len(self.note) <= self.columns):
            raise ValueError(f"{len(self.note)} pads make no {self.columns} columns of two or more")
        if len(self.to) > self.count or not all(name in INDEX for name in self.to):
            raise ValueError("to names a parameter for each, no more")
        lamps = self.light and (self.light.note or self.light.cc)
        if lamps and len(lamps) != len(self.note or self.cc):
            raise ValueError(f"{len(lamps)} lamps for {len(self.note or self.cc)} knobs or pads")
        return self

    @property
    def count(self) -> int:
        """How many sources it is."""
        return self.columns or len(self.note or self.cc)

    def addresses(self, map_name: str) -> list[str]:
        """Return the addresses of its sources; where there is one alone it has no number."""
        alone = f"/controller/{map_name}/{self.name}"
        return [f"{alone}/{number}" for number in range(1, self.count + 1)] if self.count > 1 else [alone]

    def fader_at(self, place: int) -> tuple[int, float]:
        """Return the column of the pad at a place in `note`, and the level that it sets."""
        rows = len(self.note) // self.columns
        return place % self.columns, 1.0 - place // self.columns / (rows - 1)


class ControllerMap(_Table):
    """A whole map. `ports` stands in the names of the controller's MIDI ports, in and out."""

    title: str
    ports: str = Field(min_length=3)
    channel: int = Field(1, ge=1, le=16)
    setup: tuple[bytes, ...] = Field((), description="messages, in hex, when it appears")
    farewell: tuple[bytes, ...] = Field((), description="and when the show ends")
    control: tuple[Control, ...]
    name: str = ""

    @field_validator("setup", "farewell", mode="before")
    @classmethod
    def _messages(cls, lines: Any) -> Any:
        messages = tuple(bytes.fromhex(line) for line in lines)
        for message in messages:
            if not 0 < len(message) <= MAX_MESSAGE or message[0] < 0x80:
                raise ValueError(f"{message.hex(' ')} is no message of up to {MAX_MESSAGE} bytes")
        return messages

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [control.name for control in self.control]
        heard = [f"note {n}" for control in self.control for n in control.note]
        heard += [f"cc {n}" for control in self.control for n in control.cc]
        for what in (names, heard):
            if twice := [each for each in what if what.count(each) > 1]:
                raise ValueError(f"{twice[0]} stands there twice")
        return self

    @property
    def heard(self) -> dict[tuple[int, int], tuple[Control, int]]:
        """What each message is of: (kind, note or controller number) to a control and the place in it."""
        return {
            (NOTE_ON if control.note else CC, number): (control, place)
            for control in self.control
            for place, number in enumerate(control.note or control.cc)
        }


def names() -> list[str]:
    """Return the names of the maps that come with Chladni."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


@lru_cache(maxsize=16)
def load(name: str, folder: Path | None = None) -> ControllerMap:
    """Return a map that comes with Chladni, or, where the name ends in .toml, that file. Raise MapError.

    `folder` is where such a file lies, if its path is not absolute.
    """
    if not name.endswith(".toml") and name not in names():
        raise MapError(f"no controller map {name!r}; there are {', '.join(names())}, or your own: mine.toml")
    path = (folder or Path()) / name if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise MapError(f"{path}: too large for a controller map")
        text = path.read_text(encoding="utf-8")
        return ControllerMap.model_validate(tomllib.loads(text) | {"name": path.stem})
    except ValidationError as error:
        first = error.errors()[0]
        place = [part for part in first["loc"] if isinstance(part, str | int)]
        key = ".".join(map(str, place)) or "map"
        message = first["msg"].removeprefix("Value error, ")
        raise MapError(f"{path}:{line_of(text, place)}: {key}: {message}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, MapError):
            raise
        raise MapError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def with_default_routes(show: Show, folder: Path | None = None) -> Show:
    """Return the show with the routes of its controllers behind its own. Raise MapError.

    A source that the show routes itself gets none. Knobs and faders pick a level up where they pass it.
    """
    routes = [
        {"from": address, "to": parameter, "pickup": not control.columns}
        for controller_map in (load(each.map, folder) for each in show.controller)
        for control in controller_map.control
        for address, parameter in zip(control.addresses(controller_map.name), control.to, strict=False)
        if not any(fnmatchcase(address, route.source) for route in show.route)
    ]
    if not routes:
        return show
    whole = show.model_dump(by_alias=True)
    return Show.model_validate(whole | {"route": [*whole["route"], *routes]})
