"""The show file while the show plays: a change of it becomes a revision."""

import os
from collections.abc import Callable, Mapping
from threading import Event as Signal
from threading import Lock
from typing import Any

from engine import casting, editing
from engine.core.events import Revise
from engine.core.revision import merged
from engine.core.show import Show, ShowError, as_json, from_json
from engine.library import NoModel
from engine.show_file import ShowFile
from models.manifest import ManifestError

_POLL_S = 0.1


# The file is looked at ten times a second, by its time, size and number: that costs nothing, needs no
# library, and sees a file that an editor wrote beside it and put in its place. It is read once two looks have
# found it the same, so that half a file is not taken for a wrong one. It all happens on a thread of its own.
class Reviser:
    """Watches the file of the show that plays.

    `put` gets a Revise for each text that is a show. `trouble` is what is wrong with the present text, one
    line for each error, "" for nothing; `say` is told of that, and of what waits for the next start.
    """

    def __init__(
        self, file: ShowFile, show: Show, put: Callable[[Revise], None], say: Callable[[str], None]
    ) -> None:
        self._file, self._put, self._say = file, put, say
        self._lock = Lock()
        self._show, self._wanted = show, show  # as it plays, and as the file has it
        self._text = self._read()
        self.trouble = ""

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

    def edit(self, table: str, index: int | None, value: Mapping[str, Any] | None) -> str | None:
        """Change an entry of the file, and play on with it; return what is wrong with that, if something is.

        `engine.editing.edit` says which. A text that has not been played yet is not written over.
        """
        with self._lock:
            try:
                text = self._file.read()
                if text != self._text:
                    return self.trouble or f"{self._file.path} has just been changed: look again"
                made = editing.edit(text, table, index, value)
                loaded = self._load(made)
                if self._file.read() != text:
                    return f"{self._file.path} is being changed by somebody else: look again"
                editing.write(self._file.path, made)
            except ValueError as error:
                return str(error)
            except OSError as error:
                return f"{self._file.path}: {error.strerror or error}"
            self._take(made, loaded)
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
            self._take(text, self._load(text))
        except ShowError as error:
            self.trouble = str(error)
            self._say(self.trouble)

    def _load(self, text: str) -> tuple[Show, Show]:
        """Return the show of a text, and as it plays from here on. Raise ShowError."""
        wanted = self._file.load(text)
        show, _ = merged(self._show, wanted)
        try:
            casting.check(show)
        except (NoModel, ManifestError) as error:
            raise ShowError(f"{self._file.path}: {error}") from None
        return wanted, show

    def _take(self, text: str, loaded: tuple[Show, Show]) -> None:
        """Have a show played that is right."""
        wanted, show = loaded
        _, kept = merged(self._show, wanted)
        _, kept_before = merged(self._show, self._wanted)
        self._text, self.trouble = text, ""
        if wanted != self._wanted:
            said = as_json(wanted)
            from_json(said)  # read here, and not by the core
            self._put(Revise(said))
            self._wanted, self._show = wanted, show
        if kept and kept != kept_before:
            self._say(f"{self._file.path}: {', '.join(kept)}: stays as it was until the next start")
