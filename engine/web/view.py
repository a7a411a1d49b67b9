"""What a page is told: functions of the show, its state and its counters."""

import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from engine.core import cues, parameters
from engine.core.blackout import darkness
from engine.core.curves import CURVES
from engine.core.parameters import PARAMETERS
from engine.core.show import Show
from engine.core.state import ShowState
from engine.core.transport import beat_at
from engine.core.units import TICK_SAMPLES, TICKS_PER_SECOND

MAX_INPUTS: Final = 24
MAX_WARNINGS: Final = 12
MAX_TAKES: Final = 24
_MAX_NOTES: Final = 128
_LEVELS: Final = struct.Struct(f"<q{len(PARAMETERS)}d")
_GROUPS: Final = (
    ("Latent walk", parameters.LATENT),
    ("Generator", parameters.GENERATOR),
    ("Networks", parameters.NETWORK),
    ("Effects", parameters.EFFECTS),
    ("Stage", parameters.STAGE),
    ("Sound", parameters.SOUND),
    ("Musician", parameters.MUSICIAN),
    ("Text", parameters.TEXT),
    ("Morph", parameters.MORPH),
)
_GROUP_OF: Final = {each.name: group for group, members in _GROUPS for each in members}
# Upper ends of the histogram's bins, in ms; the last bin takes the rest.
EDGES_MS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.7, 33.3)


@dataclass(frozen=True)
class Counters:
    """What the edges have counted, as the main process reads it off them.

    `inputs` are (address, value, tick) of the sources heard last, the newest first.
    """

    due: int = 0
    shown: int = 0
    late: int = 0
    held: int = 0
    underruns: int = 0
    dropped: int = 0
    peaks: tuple[float, float] = (0.0, 0.0)
    latency: tuple[int, ...] = ()
    inputs: Sequence[tuple[str, float, int]] = ()
    refused: str = ""
    recording: str | None = None
    takes: Sequence[tuple[str, int, int | None]] = ()  # name, first tick, and end if it has ended
    render: tuple[str, float] | None = None  # the film, and how much of it is done
    trouble: str = ""  # what is wrong with the show file as it stands, one line an error
    warnings: Sequence[str] = ()


def pack_levels(state: ShowState) -> bytes:
    """Return the tick and the levels, as `unpack_levels` reads them."""
    return _LEVELS.pack(state.tick, *state.levels)


def unpack_levels(data: bytes) -> tuple[int, tuple[float, ...]]:
    """Return the tick and the levels."""
    tick, *levels = _LEVELS.unpack(data)
    return tick, tuple(levels)


def hello(
    show: Show, revision: int, path: str, generators: Sequence[str], presets: Sequence[str], own_routes: int
) -> dict[str, Any]:
    """Return what a page needs to know once, and again when the show has been revised.

    The first `own_routes` of the show are the file's; those behind them come from maps of controllers.
    """
    told = show.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {
        "revision": revision,
        "show": {
            "title": show.title, "fps": show.fps, "sound_ms": show.sound_ms, "picture_ms": show.picture_ms,
            "generator": show.generator, "path": path,
        },
        "parameters": [
            asdict(each) | {"group": _GROUP_OF.get(each.name, "Others"), "wins": wins}
            for each, wins in zip(PARAMETERS, show.precedences, strict=True)
        ],
        "generators": list(generators),
        "curves": list(CURVES),
        "cues": _numbered(told.get("cue", ())),
        "routes": _numbered(told.get("route", ())),
        "own_routes": own_routes,
        "modulators": _numbered(told.get("modulator", ())),
        "sensors": _numbered(told.get("sensor", ())),
        "presets": list(presets),
        "kept": _numbered(told.get("preset", ())),
        "morph": told.get("morph"),
        "schema": Show.model_json_schema(by_alias=True),
    }  # fmt: skip


def _numbered(tables: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [table | {"index": index} for index, table in enumerate(tables)]


def state(show: Show, now: ShowState, seen: Counters) -> dict[str, Any]:
    """Return what a page is told ten times a second."""
    beat = beat_at(now.transport, now.tick * TICK_SAMPLES)
    name, begun, ended = seen.takes[-1] if seen.takes else ("", 0, 0)
    take = {"name": name, "since_s": (now.tick - begun) / TICKS_PER_SECOND} if ended is None else None
    return {
        "type": "state",
        "cue": now.cue,
        "next": cues.upcoming(show, now),
        "held": now.held,
        "dark": darkness(show, now),
        "fading": cues.fading(now),
        "beat": beat,
        "bpm": now.transport.bpm,
        "bar": beat / show.tempo.beats_per_bar // 1.0,
        "meters": {
            "due": seen.due, "shown": seen.shown, "late": seen.late, "held": seen.held,
            "underruns": seen.underruns, "dropped": seen.dropped, "sound": seen.peaks,
            "latency": {"edges_ms": EDGES_MS, "counts": seen.latency},
        },
        "inputs": [
            (address, value, max(now.tick - tick, 0) / TICKS_PER_SECOND)
            for address, value, tick in seen.inputs[:MAX_INPUTS]
        ],
        "moved_by": [(index, by.name) for index, by in enumerate(now.moved_by) if by.name],
        "modulated": [modulation.value for modulation in now.modulations],
        "musician": {"notes": _notes(now)},
        "generator": {"playing": now.cast.playing, "wanted": now.cast.wanted, "refused": seen.refused},
        "recording": {
            "path": seen.recording, "seconds": now.tick / TICKS_PER_SECOND, "take": take,
            "takes": [each[0] for each in seen.takes[-MAX_TAKES:]],
        },
        "render": seen.render and {"path": seen.render[0], "share": seen.render[1]},
        "trouble": seen.trouble,
        "warnings": list(seen.warnings[-MAX_WARNINGS:]),
    }  # fmt: skip


def _notes(now: ShowState) -> list[tuple[float, float, int, float, int]]:
    """Return the musician's plan: first beat, length in beats, note, velocity, whether it is committed."""
    per_tick = now.transport.bpm / (60.0 * TICKS_PER_SECOND)
    return [
        (
            beat_at(now.transport, note.tick * TICK_SAMPLES + note.offset), note.length_ticks * per_tick,
            note.note, note.velocity, int(note.tick < now.musician.committed),
        )
        for note in now.musician.plan[:_MAX_NOTES]
    ]  # fmt: skip
