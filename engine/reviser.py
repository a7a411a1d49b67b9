"""The show file while the show plays: a change of it becomes a revision."""

import os
from collections.abc import Callable, Mapping
from threading import Event as Signal
from threading import Lock
from typing import Any

from engine import editing, reading
from engine.core.events import Revise
from engine.core.revision import merged
from engine.core.show import Show, ShowError, from_json
from engine.reading import Reading
from engine.show_file import ShowFile

_POLL_S = 0.1


# The file is looked at ten times a second, by its time, size and number: that costs nothing, needs no
# library, and sees a file that an editor wrote beside it and put in its place. It is read once two looks have
# found it the same, so that half a file is not taken for a wrong one. It all happens on a thread of its own.
class Reviser:
    """Watches the file of the show that plays.

    `put` gets a Revise for each text that is a show. `trouble` is what is wrong with the present text, one
    line for each error, "" for nothing; `say` is told of that, and of what waits for the next start.
    `own_routes` is how many routes the file has: those of the show behind them are its controllers'.
    """

    def __init__(
        self, file: ShowFile, show: Show, put: Callable[[Revise], None], say: Callable[[str], None]
    ) -> None:
        self._file, self._put, self._say = file, put, say
        self._lock = Lock()
        self._show, self._wanted = show, show  # as it plays, and as the file has it
        self._kept: tuple[str, ...] = ()  # what the file has otherwise than it plays
        self._text = self._read()
        self.own_routes = reading.own_routes(self._text)
        self.trouble = ""

    def says(self, show: Show) -> bool:
        """Return whether a show is what the file says, as far as that can be played."""
        return show == self._show

    def run(self, stop: Signal) -> None:
        """Watch until `stop` is set."""
        seen, before = None, self._mark()
        while not stop.wait(_POLL_S):
            now = self._mark()
            if now != seen and now == before and now is not None:
                seen = now
                with self._lock:
                    self._look()
            before = now

    def edit(
        self,
        table: str,
        index: int | None,
        value: Mapping[str, Any] | None,
        was: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Change an entry of the file, and play on with it; return what is wrong with that, if something is.

        `engine.editing.edit` says which; `was` is what whoever asks has seen there, as `told_entry` tells it.
        A text that has not been played yet is not written over.
        """
        with self._lock:
            try:
                text = self._file.read()
                if text != self._text:
                    return self.trouble or f"{self._file.path} has just been changed: look again"
                if table == "route" and index is not None and index >= self.own_routes:
                    return "this route comes from a controller's map: one that you add takes its place"
                if was is not None and was != told_entry(self._wanted, table, index):
                    return f"another {table} stands there by now, or it was changed: look again"
                made = reading.read(self._file, text, (table, index, value))
                if self._file.read() != text:
                    return f"{self._file.path} is being changed by somebody else: look again"
                editing.write(self._file.path, made.text)
            except ValueError as error:
                return str(error)
            except OSError as error:
                return f"{self._file.path}: {error.strerror or error}"
            self._take(made)
        return None

    def _mark(self) -> tuple[int, int, int] | None:
        """Return what differs when the file has been written, None while there is none."""
        try:
            found = os.stat(self._file.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> str:
        try:
            return self._file.read()
        except ShowError:
            return ""

    def _look(self) -> None:
        try:
            text = self._file.read()
            if text == self._text and not self.trouble:  # touched, or written by `edit`
                return
            self._take(reading.read(self._file, text))
        except ShowError as error:
            self.trouble = str(error)
            self._say(self.trouble)

    def _take(self, made: Reading) -> None:
        """Have a show played that is right."""
        wanted = from_json(made.show)  # read here, and not by the core
        self._text, self.own_routes, self.trouble = made.text, made.own_routes, ""
        if wanted == self._wanted:
            return
        self._put(Revise(made.show))
        self._wanted, kept_before = wanted, self._kept
        self._show, self._kept = merged(self._show, wanted)
        if self._kept and self._kept != kept_before:
            self._say(f"{self._file.path}: {', '.join(self._kept)}: stays as it was until the next start")


def told_entry(show: Show, table: str, index: int | None) -> dict[str, Any] | None:
    """Return an entry of a list of tables as pages are told it, None where there is none."""
    entries = getattr(show, table)
    if index is None or not 0 <= index < len(entries):
        return None
    told: dict[str, Any] = entries[index].model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return told
