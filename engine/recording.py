"""The recording of a performance: events only, one JSON list a line, appended as it is played.

    {"chladni": 1, "title": ..., "show": {...}, "started": "2026-11-23T20:15:00+00:00"}
    [tick, offset, source, sequence, [kind, field, ...]]
    ["digest", tick, "..."]                                  once a second
    ["end", tick]

A power cut costs at most the last second: lines are flushed to the disk twice a second, and a torn last
line is left out when the file is read.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any

from pydantic_core import to_json

from engine.core.events import Event, Mark, decode, encode
from engine.core.show import MAX_JSON, Show
from engine.core.units import SAMPLE_RATE, TICKS_PER_SECOND

SUFFIX = ".chladni"
FLUSH_S = 0.5
MAX_LINE = 3 * MAX_JSON  # characters; of a revised show each may be escaped
MAX_OFFSET = 10 * SAMPLE_RATE
MAX_TICK = 400 * 24 * 3600 * TICKS_PER_SECOND  # over a year of playing


class RecordingError(ValueError):
    """A recording can't be read; the text says where and why."""


@dataclass(frozen=True)
class Recording:
    """A recording, read. `end_tick` is where it ends; `torn` tells that its last line was cut off."""

    title: str
    show: Show
    events: tuple[Event, ...]
    digests: dict[int, str]
    end_tick: int
    torn: bool

    def takes(self) -> list[tuple[str, int, int]]:
        """Return name, first tick and end of each take; one without an end lasts to the next mark."""
        marks = [(event.tick, event.body) for event in self.events if isinstance(event.body, Mark)]
        ends = [*(tick for tick, _ in marks[1:]), self.end_tick]
        return [(body.name, tick, end) for (tick, body), end in zip(marks, ends, strict=False) if body.begins]

    def by_tick(self) -> dict[int, list[Event]]:
        """Return the events of each tick in their logged order."""
        ticks: defaultdict[int, list[Event]] = defaultdict(list)
        for event in self.events:
            ticks[event.tick].append(event)
        return ticks


def default_folder() -> Path:
    """Return where recordings lie: `$CHLADNI_RECORDINGS`, else `recordings` in the present folder."""
    return Path(os.environ.get("CHLADNI_RECORDINGS", "recordings"))


class Recorder:
    """Appends to a recording from a thread of its own; a full or read-only disk costs the recording alone.

    `event` and `digest` only append a line to a list. `problem` holds the reason while lines can't be
    written; they are kept, up to `MAX_KEPT` bytes, and written as soon as that is possible again; `lost`
    counts the rest.
    """

    MAX_KEPT = 64_000_000

    def __init__(self, path: Path, show: Show) -> None:
        self.path = path
        self.problem: str | None = None
        self.lost = 0
        started = datetime.now(UTC).isoformat(timespec="seconds")
        header = {"chladni": 1, "title": show.title, "show": show.model_dump(mode="json", by_alias=True)}
        self._lines = [_line(header | {"started": started})]
        self._kept = bytearray()
        self._position = 0
        self._stop = Signal()
        self._thread = Thread(target=self._write, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def event(self, event: Event) -> None:
        """Append an event."""
        self._append((event.tick, event.offset, event.source, event.sequence, encode(event.body)))

    def digest(self, tick: int, digest: str) -> None:
        """Append the digest of the state after `tick` ticks."""
        self._append(("digest", tick, digest))

    def close(self, tick: int) -> None:
        """Append the end and wait until everything is on the disk, at most two seconds."""
        self._append(("end", tick))
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    # At once, and not in the writer's thread: half a second of events kept for it would be so much for the
    # garbage collector to walk, and the core would have to wait for the interpreter while they are encoded.
    def _append(self, line: tuple[Any, ...]) -> None:
        self._lines.append(_line(line))

    def _write(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(FLUSH_S)
            lines, count = self._lines, len(self._lines)
            if len(self._kept) < self.MAX_KEPT:
                self._kept += b"".join(lines[:count])
            else:
                self.lost += count
            del lines[:count]
            try:
                self._flush()
                self.problem = None
            except OSError as error:
                self.problem = f"{self.path}: {error.strerror or error}"

    def _flush(self) -> None:
        """Write what is kept at its place in the file, over what a failed attempt may have left there."""
        if not self._kept:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "r+b" if self._position else "wb") as file:
            file.seek(self._position)
            file.write(self._kept)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        self._position += len(self._kept)
        self._kept.clear()


# Pydantic's encoder takes an eighth of the standard library's time (0.7 us in place of 5.7, measured), and
# the numbers read back as the same bits.
def _line(line: Any) -> bytes:
    return to_json(line) + b"\n"


def read(path: str | Path) -> Recording:
    """Read a recording. Raise RecordingError, naming file and line, for what is none."""
    path = Path(path)
    try:
        file = open(path, encoding="utf-8", errors="replace", newline="\n")  # noqa: SIM115
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from None
    with file:
        lines = _lines(file, path)
        header = next(lines, None)
        if header is None:
            raise RecordingError(f"{path}: the file is empty")
        show = _show(path, header[1])
        events: list[Event] = []
        digests: dict[int, str] = {}
        end_tick, torn, last = 0, False, 1
        for number, data in lines:
            last = number
            if data is None:
                torn = True
                continue
            try:
                tick = _take(data, events, digests)
            except (ValueError, TypeError) as error:
                raise RecordingError(f"{path}:{number}: {error}") from None
            end_tick = max(end_tick, tick)
    torn = torn or last == 1
    return Recording(show.title, show, tuple(events), digests, end_tick, torn)


def _lines(file: Any, path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number, parsed line); a torn last line as None. Raise for a broken line before it."""
    broken = 0
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if broken:
            raise RecordingError(f"{path}:{broken}: this line is no JSON")
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            if number == 1:
                raise RecordingError(f"{path}:1: this is no recording: the first line is no JSON") from None
            broken = number
    if broken:
        yield broken, None


def _show(path: Path, header: Any) -> Show:
    if not isinstance(header, dict) or header.get("chladni") != 1 or "show" not in header:
        raise RecordingError(f"{path}:1: this is no recording of format 1")
    try:
        return Show.model_validate(header["show"])
    except ValueError as error:
        raise RecordingError(f"{path}:1: its show is wrong: {error}") from None


def _take(data: Any, events: list[Event], digests: dict[int, str]) -> int:
    """Take one line into `events` or `digests` and return the tick that it reaches."""
    match data:
        case ["digest", int(tick), str(digest)] if 0 <= tick <= MAX_TICK:
            digests[tick] = digest
            return tick
        case ["end", int(tick)] if 0 <= tick <= MAX_TICK:
            return tick
        case [int(tick), int(offset), str(source), int(sequence), body] if 0 <= tick <= MAX_TICK:
            if abs(offset) > MAX_OFFSET:
                raise ValueError(f"offset {offset} is more than ten seconds off its tick")
            if events and tick < events[-1].tick:
                raise ValueError(f"tick {tick} comes after tick {events[-1].tick}")
            events.append(Event(tick, offset, source, sequence, decode(body)))
            return tick
    raise ValueError(f"neither an event nor a digest: {str(data)[:80]}")
