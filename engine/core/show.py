"""A show file: parsed, checked whole, and explained where it is wrong."""

import json
import re
import tomllib
from collections.abc import Container
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.core.parameters import INDEX, INSTRUMENTS, NETWORKS, PARAMETERS, level_named
from engine.core.tracks import Track, track
from engine.core.units import TICKS_PER_SECOND

PRESET_NAME: Final = re.compile(r"[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]{0,58}[^\x00-\x20\x7f])?")


LEAST_STEP: Final = 0.001  # between the numbers of two cues


class ShowError(ValueError):
    """A show file is wrong: one line for each error says where, what was found and what would be right."""


class _Misplaced(ValueError):
    """What is wrong at a place within the table, or the list of tables, that is checked."""

    def __init__(self, message: str, *place: str | int) -> None:
        super().__init__(message)
        self.place = place


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


def _parameter_name(name: str, *place: str) -> str:
    if name not in INDEX:
        near = get_close_matches(name, INDEX, 1)
        raise _Misplaced(f"no parameter {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""), *place)
    return name


def _level(name: str, level: Any) -> Any:
    if not isinstance(level, str):
        return level
    choices = PARAMETERS[INDEX[_parameter_name(name, name)]].choices
    if level not in choices:
        near = get_close_matches(level, choices, 1)
        right = f"did you mean {near[0]!r}?" if near else f"it is to be {', '.join(choices) or 'a number'}"
        raise _Misplaced(f"{level!r}: {right}", name)
    return level_named(name, level)


def _choices_by_name(levels: Any) -> Any:
    """Choices may be named: `"musician.mode" = "duet"`."""
    if not isinstance(levels, dict):
        return levels
    _in_quotes(levels, ())
    return {name: _level(name, level) for name, level in levels.items()}


def _in_quotes(table: dict[str, Any], keys: Container[str]) -> None:
    """Raise ValueError for a parameter's name without quotes: to TOML its dot begins a table within."""
    for name, value in table.items():
        for key in value if isinstance(value, dict) else ():
            if key not in keys:
                raise ValueError(f'{name}.{key}: a name with a dot is to be in quotes, as in "walk.speed"')


def _levels_fit(levels: dict[str, float]) -> dict[str, float]:
    for name, level in levels.items():
        parameter = PARAMETERS[INDEX[_parameter_name(name, name)]]
        if not parameter.minimum <= level <= parameter.maximum:
            span = f"{parameter.minimum:g} to {parameter.maximum:g} {parameter.unit}".rstrip()
            raise _Misplaced(f"{level:g} is outside {span}", name)
    return levels


_CHOICES_TOO: Final[dict[str, Any]] = {"additionalProperties": {"type": ["number", "string"]}}


def _address(address: str) -> str:
    match = re.fullmatch(r"[^\s:]+:(\d{1,5})", address)
    if not match or not 0 < int(match[1]) < 65536:
        raise ValueError(f"{address!r} is no host:port, as in 127.0.0.1:9000")
    return address


class Part(_Table):
    """Which instrument plays the notes of a source."""

    source: str = Field("*", description="pattern of source names: midi:*, keys, performer, musician")
    channel: int = Field(0, ge=0, le=16, description="1 to 16, or 0 for every channel")
    instrument: Literal[INSTRUMENTS]  # type: ignore[valid-type]


class Sound(_Table):
    """The sound device and the instruments."""

    device: Literal["auto", "jack", "miniaudio", "none"] = "auto"
    block: int = Field(256, ge=32, le=4096, description="frames a block, where the device lets us choose")
    device_latency_ms: Annotated[float, Field(ge=0, le=1000)] | Literal["reported"] | None = Field(
        None, description="how much of the contract is the device's own: a figure, or what it reports"
    )
    soundfont: str | None = Field(None, description="an .sf2 file in place of the built-in instruments")
    parts: tuple[Part, ...] = ()


class Tempo(_Table):
    """The transport."""

    bpm: float = Field(96.0, ge=20, le=300)
    beats_per_bar: int = Field(4, ge=1, le=16)
    link: bool = Field(False, description="join the Ableton Link session on the network")
    audio: bool = Field(False, description="follow the beat of the music at the sound input")


class Performer(_Table):
    """A recorded performance or MIDI file that plays while nobody else does."""

    file: str
    attract_s: float = Field(60.0, gt=0, description="it comes back after so long without live input")


class Osc(_Table):
    """OSC in and out, and what is known of it, as host:port."""

    listen: str | None = Field("127.0.0.1:9000", description="where to listen; other machines reach 0.0.0.0")
    send: tuple[str, ...] = ()
    query: str | None = Field(None, description="where OSCQuery answers, say 127.0.0.1:8771; else nowhere")

    @field_validator("listen", "send", "query")
    @classmethod
    def _host_and_port(cls, value: Any) -> Any:
        if value == "none":
            return None
        for address in [value] if isinstance(value, str) else value or ():
            _address(address)
        return value


class Web(_Table):
    """The page that the show is played from."""

    enabled: bool = True
    listen: str = Field("127.0.0.1:8770", description="host:port; other machines reach 0.0.0.0:8770")
    hosts: tuple[str, ...] = Field((), description="names by which other machines know this one")

    _listen_at = field_validator("listen")(_address)

    @field_validator("hosts")
    @classmethod
    def _names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?", host):
                raise ValueError(f"{host!r} is no host's name, as in stage.local")
        return hosts


class Midi(_Table):
    """MIDI out."""

    out: str | None = Field(None, description="part of the name of the port that hears the musician")
    clock: bool = Field(False, description="send MIDI clock there too")


class Controller(_Table):
    """A controller whose knobs, faders and pads have names, default routes and lamps."""

    map: str = Field(min_length=1, description="a map that comes with Chladni, or your own: mine.toml")
    ports: str | None = Field(None, min_length=3, description="part of its ports' names, if not the map's")


class Blackout(_Table):
    """The blackout: the picture goes to black, whatever the levels are."""

    fade_s: float = Field(0.5, ge=0, le=60, description="to black, and back")
    sound: bool = Field(False, description="the sound fades with the picture")


class Safety(_Table):
    """Limits for the audience's sake."""

    flashes_per_second: float = Field(3.0, ge=0, le=25, description="of the strobe (WCAG 2.3.1: three)")


class Picture(_Table):
    """What the show looks at: its encoder projects it into the latent space (see the parameter `picture`)."""

    source: str = Field(min_length=1, description="a picture, a folder of pictures, or camera:0")
    every_s: float = Field(8.0, ge=0.1, le=86_400, description="how long each picture of a folder stays")
    smooth_ms: float = Field(500.0, ge=0, le=60_000, description="time constant towards what it sees")


class Audio(_Table):
    """The sound input that the show listens to (see the sources /audio/...)."""

    device: str = Field(
        "auto", min_length=1, description="part of a JACK port's or device's name, or a sound file (a loop)"
    )
    latency_ms: float = Field(
        40.0, ge=10, le=1000, description="from sound to event: buffer and analysis inside"
    )
    gate_db: float = Field(-60.0, ge=-120, le=0, description="softer than that is silence")
    ceiling_db: float | None = Field(
        None, ge=-90, le=6, description="the loudest, level 1; else it is learned as the show goes on"
    )


class Network(_Table):
    """An image network, picture to picture, between the generator and the effects."""

    name: str = Field(description="a model; the parameter network.1 is the strength of the first, and so on")


class Route(_Table):
    """Which input moves which parameter, through which curve, and when."""

    source: str = Field(alias="from", min_length=1, description="pattern of source addresses: /midi/*/cc/1")
    to: Annotated[str, Field(description="a parameter's name")]
    deadzone: float = Field(0.0, ge=0, lt=1, description="so near to its rest the input counts as at rest")
    rest: float = Field(0.0, ge=0, le=1, description="middle of the deadzone: 0.5 for a stick")
    invert: bool = Field(False, description="turn the input round, ahead of the curve")
    press: Literal["toggle", "momentary", "trigger"] | None = Field(
        None, description="take the input as a button, down from one half on"
    )
    curve: Literal["linear", "exponential", "s", "table"] = "linear"
    points: tuple[tuple[float, float], ...] = Field(
        (), max_length=64, description="of the curve table: [input, output], both 0 to 1, input ascending"
    )
    range: tuple[float, float] | None = Field(None, description="levels at 0 and 1; else the parameter's")
    smooth: Literal["one-pole", "one-euro", "slew"] = "one-pole"
    smooth_ms: float = Field(
        20.0, ge=0, le=60_000, description="time constant towards a new level; of slew: time for the range"
    )
    quick_ms: float = Field(
        10.0, gt=0, le=60_000, description="of one-euro: time constant at a speed of one range a second"
    )
    mode: Literal["set", "add"] = Field("set", description="set the level, or add to it")
    pickup: bool = Field(False, description="let a knob take the level over only where it passes it")
    cues: tuple[float | str, ...] = Field((), description="only in these cues: 2, or '2-4'; none: in all")

    _to_exists = field_validator("to")(_parameter_name)

    @field_validator("cues", mode="before")
    @classmethod
    def _one_or_many(cls, cues: Any) -> Any:
        return tuple(cues) if isinstance(cues, list | tuple) else (cues,)

    @field_validator("cues")
    @classmethod
    def _spans(cls, cues: tuple[float | str, ...]) -> tuple[float | str, ...]:
        for each in cues:
            _span(each)
        return cues

    @field_validator("points")
    @classmethod
    def _points_ascend(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        inputs = [x for x, _ in points]
        if inputs != sorted(set(inputs)) or not all(0.0 <= each <= 1.0 for pair in points for each in pair):
            raise ValueError(f"points are to be 0 to 1, input ascending, found {[list(p) for p in points]}")
        return points

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.curve == "table") != (len(self.points) >= 2):
            raise ValueError('curve = "table" and two points or more go together: points = [[0, 0], [1, 1]]')
        if any(self.deadzone >= side for side in (self.rest, 1.0 - self.rest) if side > 0.0):
            raise ValueError(f"a deadzone of {self.deadzone:g} leaves nothing on a side of {self.rest:g}")
        if self.smooth == "one-euro" and self.smooth_ms < self.quick_ms:
            raise ValueError(f"smooth_ms is to be quick_ms = {self.quick_ms:g} or more, and slower at rest")
        if self.pickup and (self.press or self.mode == "add"):
            raise ValueError("pickup is for a knob that sets a level: leave out press and mode = 'add'")
        return self

    @cached_property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """The first and the last number of each group of cues in which the route plays; none: in all."""
        return tuple(_span(each) for each in self.cues)

    @cached_property
    def span(self) -> tuple[float, float]:
        """The levels at 0 and at 1."""
        parameter = PARAMETERS[INDEX[self.to]]
        return self.range or (parameter.minimum, parameter.maximum)


def _span(cues: float | str) -> tuple[float, float]:
    if not isinstance(cues, str):
        return cues, cues
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:-\s*(\d+(?:\.\d+)?)\s*)?", cues)
    if not match or float(match[2] or match[1]) < float(match[1]):
        raise ValueError(f"{cues!r} are no cues, as in 2, or '2-4'")
    return float(match[1]), float(match[2] or match[1])


HEARING: Final = ("follower", "adsr")  # kinds of modulators that listen to a source
_MODULATOR_KEYS: Final = {  # beside name and kind
    "lfo": ("shape", "beats", "seconds", "phase"),
    "random walk": ("reach", "beats", "seconds"),
    "steps": ("steps", "beats", "seconds"),
    "follower": ("from", "attack_ms", "release_ms"),
    "adsr": ("from", "attack_ms", "decay_ms", "sustain", "release_ms"),
}


class Modulator(_Table):
    """A source that moves by itself: `/modulator/<name>`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$", description="of /modulator/<name>")
    kind: Literal["lfo", "random walk", "steps", "follower", "adsr"]
    shape: Literal["sine", "triangle", "saw", "square"] = Field("sine", description="of an lfo")
    beats: float | None = Field(
        None, gt=0, le=4096, description="a period of an lfo, or one step; 1 beat where nothing is said"
    )
    seconds: float | None = Field(None, gt=0, le=86_400, description="the same, in place of beats")
    phase: float = Field(0.0, ge=0, le=1, description="where an lfo begins")
    steps: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field((), max_length=256)
    reach: float = Field(0.25, ge=0, le=1, description="the most that one step of a random walk moves")
    source: str = Field(
        "/notes/velocity", alias="from", min_length=1, description="what a follower or an adsr listens to"
    )
    attack_ms: float = Field(10.0, gt=0, le=60_000, description="time up")
    decay_ms: float = Field(200.0, gt=0, le=60_000, description="time from the top of an adsr to its sustain")
    sustain: float = Field(0.7, ge=0, le=1, description="share of the top that an adsr stays at")
    release_ms: float = Field(400.0, gt=0, le=60_000, description="time down")

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> Self:
        own = _MODULATOR_KEYS[self.kind]
        for key, field in type(self).model_fields.items():
            name = field.alias or key
            if key not in ("name", "kind", *own) and name not in own and getattr(self, key) != field.default:
                raise ValueError(f"kind {self.kind} has no {name}; it has {', '.join(own)}")
        if self.kind == "steps" and not self.steps:
            raise ValueError("kind steps needs steps = [0.0, 0.5, ...]")
        if self.beats is not None and self.seconds is not None:
            raise ValueError("beats and seconds: one of them is enough; beats keep step with the transport")
        return self

    @property
    def address(self) -> str:
        """The source that it is."""
        return f"/modulator/{self.name}"


class Sensor(_Table):
    """What is done to the values of sensors before anything hears them."""

    source: str = Field(alias="from", min_length=1, description="pattern of source addresses: /osc/distance*")
    median: Literal[1, 3, 5, 7, 9] = Field(1, description="of so many values the middle one counts")
    bounds: tuple[float, float] | None = Field(
        None, alias="range", description="its least and greatest value, which become 0 and 1"
    )
    calibrate: bool = Field(False, description="learn the least and the greatest value, from range on")
    reset: str | None = Field(None, min_length=1, description="source that has it learn anew, at one half")
    timeout_s: float | None = Field(None, gt=0, le=86_400, description="silent for so long, it goes to rest")
    rest: float = Field(0.0, ge=0, le=1, description="where it rests")
    rest_ms: float = Field(1000.0, ge=0, le=600_000, description="time constant on its way there")
    presence: bool = Field(True, description="a value of it is a sign that somebody is there")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.bounds and self.bounds[0] >= self.bounds[1]:
            raise ValueError(f"range = {list(self.bounds)} is to ascend; invert the route instead")
        if self.reset and not self.calibrate:
            raise ValueError("reset is for what has been learned: calibrate = true")
        return self


UNITS: Final = ("s", "beats", "bars")
FADE_S: Final = 2.0  # of a cue that says nothing

Seconds = Annotated[float, Field(ge=0, le=86_400)]
Beats = Annotated[float, Field(ge=0, le=100_000)]


class CueFade(_Table):
    """How one parameter fades in a cue, where it does so otherwise than the rest."""

    s: Seconds | None = None
    beats: Beats | None = None
    bars: Beats | None = None
    curve: Literal["linear", "exponential", "s"] | None = None

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if len(given := [unit for unit in UNITS if getattr(self, unit) is not None]) > 1:
            raise ValueError(f"{' and '.join(given)}: one of them is enough")
        return self


class Cue(_Table):
    """What changes at a GO, and how long that takes; what it leaves out stays as earlier cues set it."""

    number: float = Field(description="may have decimals: 2.5 lies between 2 and 3")
    name: str = ""
    fade_s: Seconds | None = Field(None, description=f"over which its levels are reached; else {FADE_S:g} s")
    fade_beats: Beats | None = None
    fade_bars: Beats | None = None
    curve: Literal["linear", "exponential", "s"] = Field("s", description="of its fades")
    fades: dict[str, CueFade] = Field({}, description="by parameter, where one fades otherwise")
    follow_s: Seconds | None = Field(None, description="the next cue goes so long after the fade has ended")
    follow_beats: Beats | None = None
    follow_bars: Beats | None = None
    autofollow_s: Seconds | None = Field(None, description="the next cue goes so long after this GO")
    autofollow_beats: Beats | None = None
    autofollow_bars: Beats | None = None
    snap: Literal["none", "beat", "bar"] = Field("none", description="its GO waits for the next one")
    block: bool = Field(False, description="a whole scene: what it leaves out goes to where it begins")
    asserts: bool = Field(
        False, alias="assert", description="moves its whole look, and takes it from whoever holds it"
    )
    generator: str | None = Field(None, description="a model that is to play from here, swapped in live")
    text: str | None = Field(
        None, max_length=100, description="beginning of a line to be written; empty: any"
    )
    levels: dict[str, float] = Field({}, json_schema_extra=_CHOICES_TOO)

    _choices_by_name = field_validator("levels", mode="before")(_choices_by_name)
    _levels_fit = field_validator("levels")(_levels_fit)

    @field_validator("fades", mode="before")
    @classmethod
    def _names_in_quotes(cls, fades: Any) -> Any:
        if isinstance(fades, dict):
            unknown = {name: fade for name, fade in fades.items() if name not in INDEX}
            _in_quotes(unknown, CueFade.model_fields)
        return fades

    @field_validator("fades")
    @classmethod
    def _fades_exist(cls, fades: dict[str, CueFade]) -> dict[str, CueFade]:
        for name in fades:
            _parameter_name(name, name)
        return fades

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        for keys in (("fade",), ("follow", "autofollow")):
            names = [f"{key}_{unit}" for key in keys for unit in UNITS]
            if len(given := [name for name in names if getattr(self, name) is not None]) > 1:
                raise ValueError(f"{' and '.join(given)}: one of them is enough")
        return self


class Preset(_Table):
    """A named set of levels, to be recalled at any time."""

    name: str = Field(description="1 to 60 characters")
    levels: dict[str, float] = Field({}, json_schema_extra=_CHOICES_TOO)

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not PRESET_NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r}: a preset's name is one line of 1 to 60 characters")
        return name

    _choices_by_name = field_validator("levels", mode="before")(_choices_by_name)
    _levels_fit = field_validator("levels")(_levels_fit)


class Morph(_Table):
    """The pad that mixes four presets, by the parameters morph.x and morph.y."""

    corners: tuple[str, str, str, str] = Field(
        description="presets: lower left (0, 0), lower right (1, 0), upper left (0, 1), upper right (1, 1)"
    )


class Show(_Table):
    """A whole show."""

    title: str
    seed: int = Field(1, ge=0, lt=2**63)
    fps: int = Field(30, ge=12, le=120)
    sound_ms: float = Field(25.0, ge=1, le=2000, description="input to ear")
    picture_ms: float = Field(100.0, ge=10, le=2000, description="input to screen")
    tight: Literal["play", "sync"] = Field(
        "play", description="play: sound as soon as it may; sync: with the frame that answers the same input"
    )
    opening: float | None = Field(None, description="number of the cue that begins by itself at the curtain")
    generator: str = "impressionism"
    swap_s: float = Field(1.0, ge=0, le=60, description="crossfade of a swap of generators that no cue makes")
    musician: str | None = "piano"
    text: str | None = Field(None, description="a model that writes lines at cues")
    sound: Sound = Sound()
    tempo: Tempo = Tempo()
    osc: Osc = Osc()
    web: Web = Web()
    midi: Midi = Midi()
    blackout: Blackout = Blackout()
    safety: Safety = Safety()
    performer: Performer | None = None
    picture: Picture | None = None
    audio: Audio | None = None
    controller: tuple[Controller, ...] = Field((), max_length=8)
    network: tuple[Network, ...] = Field((), max_length=NETWORKS)
    sensor: tuple[Sensor, ...] = ()
    modulator: tuple[Modulator, ...] = ()
    route: tuple[Route, ...] = ()
    cue: tuple[Cue, ...] = ()
    precedence: dict[str, Literal["LTP", "HTP", "performer", "cue", "hand"]] = Field(
        {}, description="what wins when two things move one parameter; default: of those that are not named"
    )
    preset: tuple[Preset, ...] = ()
    morph: Morph | None = None

    @field_validator("fps")
    @classmethod
    def _whole_ticks(cls, fps: int) -> int:
        if TICKS_PER_SECOND % fps:
            rates = ", ".join(str(n) for n in range(12, 121) if TICKS_PER_SECOND % n == 0)
            raise ValueError(f"{fps} does not divide {TICKS_PER_SECOND}; these do: {rates}")
        return fps

    @field_validator("musician", "text")
    @classmethod
    def _none_is_nobody(cls, name: str | None) -> str | None:
        return None if name == "none" else name

    @model_validator(mode="after")
    def _a_frame_fits_the_contract(self) -> Self:
        if self.picture_ms < 1000.0 / self.fps:
            raise ValueError(
                f"picture_ms = {self.picture_ms:g} is less than a frame; at {self.fps} fps it is to be "
                f"{1000.0 / self.fps:.0f} or more, and the time to make the picture besides"
            )
        return self

    @model_validator(mode="after")
    def _cues_that_are_named_are_there(self) -> Self:
        numbers = [cue.number for cue in self.cue]
        there = ", ".join(f"{number:g}" for number in numbers) or "none"
        if self.opening is not None and self.opening not in numbers:
            raise _Misplaced(f"no cue {self.opening:g}; there are {there}", "opening")
        for place, route in enumerate(self.route):
            for first, last in route.spans:
                if not any(first <= number <= last for number in numbers):
                    found = f"{first:g}" if first == last else f"{first:g}-{last:g}"
                    raise _Misplaced(f"no cue {found}; there are {there}", "route", place, "cues")
        return self

    @model_validator(mode="after")
    def _cues_ascend(self) -> Self:
        for place, (before, after) in enumerate(pairwise(cue.number for cue in self.cue), 1):
            if after - before < 0.9 * LEAST_STEP:
                step = f" by {LEAST_STEP:g} or more" if after > before else ""
                found = f"cue numbers are to ascend{step}, found {before:g}, {after:g}"
                raise _Misplaced(found, "cue", place, "number")
        return self

    @field_validator("precedence")
    @classmethod
    def _precedence_exists(cls, precedence: dict[str, Any]) -> dict[str, Any]:
        for name, wins in precedence.items():
            if name != "default" and PARAMETERS[INDEX[_parameter_name(name, name)]].choices and wins == "HTP":
                raise _Misplaced("'HTP': of two choices none is the higher; take 'LTP'", name)
        return precedence

    @model_validator(mode="after")
    def _presets_differ(self) -> Self:
        names = [preset.name for preset in self.preset]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise _Misplaced(f"there is another preset {name!r}", "preset", place, "name")
        return self

    @model_validator(mode="after")
    def _corners_are_presets(self) -> Self:
        names = [preset.name for preset in self.preset]
        for corner in self.morph.corners if self.morph else ():
            if corner not in names:
                near = get_close_matches(corner, names, 1)
                right = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
                raise _Misplaced(f"no preset {corner!r}; {right}", "morph", "corners")
        return self

    @model_validator(mode="after")
    def _is_ready(self) -> Self:
        _ = self.tracks, self.generators  # of 500 cues they take milliseconds: not at the first GO
        return self

    @property
    def frame_ticks(self) -> int:
        """Length of a frame in ticks."""
        return TICKS_PER_SECOND // self.fps

    @model_validator(mode="after")
    def _modulators_are_known(self) -> Self:
        names = [modulator.name for modulator in self.modulator]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise _Misplaced(f"there is another modulator {name!r}", "modulator", place, "name")
        sources = [("route", n, route.source) for n, route in enumerate(self.route)]
        sources += [("modulator", n, each.source) for n, each in enumerate(self.modulator)]
        for table, place, source in sources:
            addresses = [modulator.address for modulator in self.modulator]
            if source.startswith("/modulator/") and not any(fnmatchcase(a, source) for a in addresses):
                near = get_close_matches(source, addresses, 1)
                remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
                raise _Misplaced(f"no modulator {source!r}; {remedy}", table, place, "from")
        return self

    @cached_property
    def listening(self) -> "Listening":
        """What listens to sources."""
        return Listening(
            tuple(route.source for route in self.route),
            tuple(each.source if each.kind in HEARING else "" for each in self.modulator),
            tuple(sensor.source for sensor in self.sensor),
            tuple(sensor.reset or "" for sensor in self.sensor),
        )

    @cached_property
    def additions(self) -> dict[int, tuple[int, ...]]:
        """The numbers of the routes that add to a parameter, by the parameter's index."""
        adding = [(INDEX[route.to], n) for n, route in enumerate(self.route) if route.mode == "add"]
        return {index: tuple(n for to, n in adding if to == index) for index, _ in adding}

    @cached_property
    def conditional(self) -> tuple[int, ...]:
        """The numbers of the routes that add in some cues only."""
        return tuple(n for n, route in enumerate(self.route) if route.cues and route.mode == "add")

    @cached_property
    def tracks(self) -> dict[int, Track[float]]:
        """What the cue list makes of each parameter that it moves, by the parameter's number."""
        sets: dict[int, list[tuple[int, float]]] = {}
        for cue in self.cue:
            sets.update((INDEX[name], []) for name in cue.levels if INDEX[name] not in sets)
        for place, cue in enumerate(self.cue):
            levels = {INDEX[name]: level for name, level in cue.levels.items()}
            for index in sets if cue.block else levels:
                sets[index].append((place, levels.get(index, begins(self, index))))
        return {index: track(begins(self, index), sets[index]) for index in sorted(sets)}

    @cached_property
    def generators(self) -> Track[str]:
        """Which generator the cue list has playing, where any cue names one."""
        some = any(cue.generator for cue in self.cue)
        names = (cue.generator or (self.generator if cue.block and some else None) for cue in self.cue)
        return track(self.generator, ((place, name) for place, name in enumerate(names) if name))

    @cached_property
    def presets(self) -> dict[str, tuple[tuple[int, float], ...]]:
        """The levels of each preset by its name, as (parameter, level)."""
        return {
            preset.name: tuple((INDEX[name], level) for name, level in preset.levels.items())
            for preset in self.preset
        }

    @cached_property
    def precedences(self) -> tuple[str, ...]:
        """What wins, for each parameter."""
        default = self.precedence.get("default", "LTP")
        return tuple(
            self.precedence.get(parameter.name, "LTP" if parameter.choices and default == "HTP" else default)
            for parameter in PARAMETERS
        )

    @cached_property
    def highest(self) -> dict[int, int]:
        """The parameters under HTP, each with the place of the performer's own base of it."""
        numbers = [number for number, wins in enumerate(self.precedences) if wins == "HTP"]
        return {number: len(PARAMETERS) + place for place, number in enumerate(numbers)}


@dataclass(frozen=True, eq=False)
class Listening:
    """The patterns of sources that each table of a show listens to, "" for none.

    Compared by identity, so that it is a quick key.
    """

    routes: tuple[str, ...]
    modulators: tuple[str, ...]
    sensors: tuple[str, ...]
    resets: tuple[str, ...]


def begins(show: Show, parameter: int) -> float:
    """Return the level at which a parameter begins."""
    return show.tempo.bpm if parameter == INDEX["tempo"] else PARAMETERS[parameter].default


def parse(text: str, name: str) -> Show:
    """Return the show of a TOML text; `name` stands before each error. Raise ShowError."""
    try:
        data = json.dumps(tomllib.loads(text), default=str)  # a date is a text, and nothing takes one
        show = Show.model_validate_json(data, strict=True)  # a switch is no number, nor is a text
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        place = f"{name}:{line[1]}" if line else f"{name}:{text.count(chr(10)) + 1}"
        quotes = ": a text is to be in quotes" if str(error).startswith("Invalid value") else ""
        raise ShowError(f"{place}: this is no TOML: {error}{quotes}") from None
    except ValidationError as error:
        said: dict[str, list[str]] = {}  # by place: what may be of two kinds is wrong for each
        for item in error.errors():
            place, message = _explain(text, item)
            said.setdefault(place, []).append(message)
        lines = (f"{name}:{place}: {'; or '.join(messages)}" for place, messages in said.items())
        raise ShowError("\n".join(lines)) from None
    if (length := len(as_json(show))) > MAX_JSON:
        raise ShowError(f"{name}: {length:,} characters as JSON, more than a recording takes: {MAX_JSON:,}")
    return show


MAX_JSON: Final = 2_000_000  # characters of a show as JSON, one line of a recording; 500 cues have 250,000


def as_json(show: Show) -> str:
    """Return a whole show as compact JSON."""
    return show.model_dump_json(by_alias=True)


@lru_cache(maxsize=4)
def from_json(text: str) -> Show:
    """Return the show that `as_json` wrote. Raise ShowError.

    A long cue list takes milliseconds: who sends it to the core has read it with this before, and the core
    finds it read.
    """
    try:
        return Show.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "show"
        raise ShowError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


_WANTED = {  # in the words of TOML
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": 'a text: "..."',
    "bool_type": "true or false",
    "tuple_type": "a list: [ ... ], or [[ ... ]] above each table of a list",
    "model_type": "a table: [ ... ] above its keys",
    "model_attributes_type": "a table: [ ... ] above its keys",
    "dict_type": "a table: { key = value }",
}


def _explain(text: str, error: Any) -> tuple[str, str]:
    """Return the line and key of an error, and what is wrong there."""
    path = [part for part in error["loc"] if not _is_branch(part)]
    if isinstance(cause := error.get("ctx", {}).get("error"), _Misplaced):
        path = [*path, *cause.place]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    found = str(error["input"]).lower() if isinstance(error["input"], bool) else repr(error["input"])
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(path[-1]), _keys_beside(path), 1)
        message = "no such key" + (f"; did you mean {near[0]!r}?" if near else "")
    elif error["type"] == "missing":
        message = "this key is missing"
    elif error["type"] in _WANTED:
        message = f"this is to be {_WANTED[error['type']]}, found {found}"
    elif error["type"] == "too_long":
        message = f"this is to have {error['ctx']['max_length']} at most, found {found}"
    elif error["type"] != "value_error":
        message = f"{message}, found {found}"
    return f"{line_of(text, path)}: {key or 'show'}", message


def _is_branch(part: Any) -> bool:
    """Tell whether a step of an error's place is a branch of a union and not in the file."""
    return isinstance(part, str) and (part in ("float", "str") or part.startswith(("constrained", "literal")))


def _keys_beside(path: list[Any]) -> list[str]:
    model: Any = Show
    for part in path[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
    return [field.alias or key for key, field in getattr(model, "model_fields", {}).items()]


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [_model_in(inner) for inner in getattr(annotation, "__args__", ())]
    return next((model for model in found if model), None)


def line_of(text: str, path: list[Any]) -> int:
    """Return the number of the line that sets the key at `path`, or of the nearest table around it.

    tomllib keeps no positions, so this walks the table headers and the keys at line starts; a key within
    an inline table is found at the line of the outer key.
    """
    best, best_depth = 1, 0
    table: list[Any] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$", line)
        key = re.match(r'\s*([A-Za-z0-9_.-]+|"[^"]+")\s*=', line)
        if header:
            if header[1] == "[[":
                counts[header[2]] = counts.get(header[2], -1) + 1
            names = header[2].replace('"', "").split(".")
            table = []
            for end, part in enumerate(names, 1):
                index = counts.get(".".join(names[:end]))
                table += [part] if index is None else [part, index]
            here = table
        elif key:
            name = key[1]
            here = [*table, *([name.strip('"')] if name.startswith('"') else [name])]
        else:
            continue
        depth = 0
        while depth < min(len(here), len(path)) and here[depth] == path[depth]:
            depth += 1
        if depth in (len(here), len(path)) and depth > best_depth:
            best, best_depth = number, depth
    return best
