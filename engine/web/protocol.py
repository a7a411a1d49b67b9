"""What a page may say: each message checked against its form before anything looks at it.

Names are looked up in the lists of what there is. So nothing that comes over the network ever names a file,
a module or an event that was not already here.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from engine.core.events import (
    Back,
    Blackout,
    Body,
    Control,
    Go,
    GoTo,
    Hold,
    Mark,
    Recall,
    Store,
    Swap,
    Tap,
)
from engine.core.parameters import INDEX, level_named
from engine.core.patch import OWN_ADDRESS
from engine.core.show import PRESET_NAME

SOURCE: Final = "web"
MAX_MESSAGE: Final = 16_000  # bytes
Name = TypeVar("Name", str, float)
_NAME: Final = Field(min_length=1, max_length=100)


class Wrong(ValueError):
    """A message can't be obeyed; the text is one line for whoever sent it, under the number `id`."""

    def __init__(self, reason: str, id: int | None = None) -> None:
        super().__init__(reason)
        self.id = id


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: int = Field(ge=0, lt=1 << 53)


class _Numbered(BaseModel):
    id: int


class Set(_Message):
    """Move a parameter to a level in its own unit, or to a choice by its name."""

    do: Literal["set"]
    parameter: str = _NAME
    value: float | Annotated[str, Field(max_length=100)]


class Act(_Message):
    """What needs no more than its name."""

    do: Literal["go", "back", "tap", "ping", "unlearn"]


class Goto(_Message):
    """Begin the cue of that number."""

    do: Literal["goto"]
    number: float


class Switch(_Message):
    """Hold the fades, or black the picture out, and take it back."""

    do: Literal["hold", "blackout"]
    on: bool


class Keep(_Message):
    """Keep the present levels as a preset."""

    do: Literal["store"]
    preset: str = _NAME


class Fetch(_Message):
    """Fade to the levels of a preset."""

    do: Literal["recall"]
    preset: str = _NAME
    fade_s: float = Field(2.0, ge=0, le=3600)


class Take(_Message):
    """Begin or end a take, a part of the recording that has a name."""

    do: Literal["take"]
    on: bool
    name: str = Field("take", max_length=100)


class Render(_Message):
    """Make a film of the latest take of that name, or of all that was recorded so far."""

    do: Literal["render"]
    take: str | None = Field(None, max_length=100)


class Edit(_Message):
    """Add a table to the show file (no index), replace one, or remove it (no value).

    `was` is what stood there when it was looked at: an entry that has moved meanwhile is not mistaken for it.
    """

    do: Literal["edit"]
    table: Literal["route", "cue", "preset", "modulator", "sensor"]
    index: int | None = Field(None, ge=0, le=10_000)
    value: dict[str, Any] | None = None
    was: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _was_seen(self) -> Self:
        if self.index is not None and self.was is None:
            raise ValueError("an index needs was: the entry as it was told")
        return self


class SwapTo(_Message):
    """Have another generator play."""

    do: Literal["swap"]
    generator: str = _NAME


class Learn(_Message):
    """Tell the first source that moves clearly from here on."""

    do: Literal["learn"]
    parameter: str = _NAME


class Look(_Message):
    """Send pictures, so many a second at most."""

    do: Literal["preview"]
    on: bool
    fps: float = Field(10.0, ge=0.2, le=15.0)


Message = Annotated[
    Set | Act | Goto | Switch | Keep | Fetch | Take | Render | Edit | SwapTo | Learn | Look,
    Field(discriminator="do"),
]
_ANY: Final[TypeAdapter[Any]] = TypeAdapter(Message)
_ACTS: Final[dict[str, Body]] = {"go": Go(), "back": Back(), "tap": Tap()}
HARMLESS: Final = ("ping", "preview")  # what those may ask who only look on


def asked(data: bytes) -> Any:
    """Return what a page asks of the main process. Raise Wrong."""
    return read(data.rstrip(b"\0").decode())


def read(text: str) -> Any:
    """Return the message of a text. Raise Wrong."""
    try:
        return _ANY.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        raise Wrong(f"{where}: {first['msg']}" if where else first["msg"], _id(text)) from None


def _id(text: str) -> int | None:
    """Return the number of a message that is wrong otherwise."""
    try:
        return _Numbered.model_validate_json(text).id
    except ValidationError:
        return None


@dataclass(frozen=True)
class Known:
    """The names of what there is, beside the parameters."""

    generators: Collection[str] = ()
    presets: Collection[str] = ()
    cues: Collection[float] = ()


def body(message: Any, there: Known) -> Body:
    """Return the event that a message stands for. Raise Wrong where it names what is not there."""
    match message:
        case Act(do=name) if name in _ACTS:
            return _ACTS[name]
        case Set(parameter=name, value=value):
            return Control(f"{OWN_ADDRESS}{known(name, INDEX, 'parameter')}", level(name, value))
        case Goto(number=number):
            return GoTo(known(number, there.cues, "cue"))
        case Switch(do=name, on=on):
            return (Hold if name == "hold" else Blackout)(float(on))
        case Keep(preset=name):
            return Store(proper(name))
        case Take(on=on, name=name):
            return Mark(proper(name), int(on))
        case Fetch(preset=name, fade_s=fade_s):
            return Recall(known(name, there.presets, "preset"), fade_s)
        case SwapTo(generator=name):
            return Swap(known(name, there.generators, "generator"))
    raise Wrong(f"{message.do} is no event")


def proper(name: str) -> str:
    """Return the name of a preset or a take as it is to be kept. Raise Wrong."""
    if not PRESET_NAME.fullmatch(name):
        raise Wrong("a name is one line of 1 to 60 characters")
    return name


def level(name: str, value: float | str) -> float:
    """Return a level as a number; choices may be named."""
    if isinstance(value, float):
        return value
    found = level_named(name, value)
    if found is None:
        raise Wrong(f"{name} has no choice {value!r}")
    return found


def known(name: Name, names: Collection[Name], kind: str) -> Name:
    """Return the name, which is to be one of those that there are. Raise Wrong."""
    if name not in names:
        raise Wrong(f"there is no {kind} {name!r} here")
    return name
