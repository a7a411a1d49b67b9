"""The file of a show that plays, read again: a long one in a process of its own."""

import json
import signal
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Final

from engine import casting, editing, priority
from engine.core.show import ShowError, as_json
from engine.library import NoModel
from engine.show_file import ShowFile
from engine.workers.shared import SPAWN
from models.manifest import ManifestError

LONG: Final = 20_000  # characters: about a hundred cues, read in 10 ms and edited in 20 (measured)
_NICE: Final = 19
_ANSWER_S: Final = 15.0  # the longest that it may take; half a second is usual

Edit = tuple[str, int | None, Mapping[str, Any] | None]


@dataclass(frozen=True)
class Reading:
    """A text that is a show, the show as JSON, and how many of its routes are the file's own."""

    text: str
    show: str
    own_routes: int


# Reading and editing 500 cues takes a fifth of a second of computing. The threads of the main process go
# before the generator, so a core that reads makes no pictures meanwhile: of 300 frames 7 were late for 16
# saves, 24 for 16 edits. A process that comes after all others takes the time that is left over: none was in
# 10 s of either, and 8 were where it went behind only once it had started (measured).
def read(file: ShowFile, text: str, edit: Edit | None = None) -> Reading:
    """Return what a text says, after an edit if there is one. Raise ShowError or EditError."""
    return (_read_beside if len(text) > LONG else _read)(file, text, edit)


def _read(file: ShowFile, text: str, edit: Edit | None) -> Reading:
    if edit:
        text = editing.edit(text, *edit)
    show = file.load(text)
    try:
        casting.check(show)
    except (NoModel, ManifestError) as error:
        raise ShowError(f"{file.path}: {error}") from None
    return Reading(text, as_json(show), own_routes(text))


def own_routes(text: str) -> int:
    """Return how many routes a text has itself: those of its controllers' maps come behind them."""
    try:
        return len(tomllib.loads(text).get("route", ()))
    except tomllib.TOMLDecodeError:
        return 0


def _read_beside(file: ShowFile, text: str, edit: Edit | None) -> Reading:
    plain = {key: each for key, each in file.options.items() if isinstance(each, str | int | float)}
    ours, theirs = SPAWN.Pipe()
    with ours:
        process = SPAWN.Process(
            target=_run, args=(theirs, replace(file, options=plain)), name="chladni show file", daemon=True
        )
        process.start()
        priority.give_way(process, _NICE)
        theirs.close()
        try:
            ours.send_bytes(json.dumps((text, edit)).encode())
            if not ours.poll(_ANSWER_S):
                raise ShowError(f"{file.path}: could not be read within {_ANSWER_S:g} s: save it again")
            answer = json.loads(ours.recv_bytes())
        except (EOFError, OSError):
            raise ShowError(f"{file.path}: the process that read it has ended: save it again") from None
        finally:
            process.kill()
            process.join()
    if "error" in answer:
        raise ShowError(answer["error"])
    return Reading(**answer)


def _run(asked: Connection, file: ShowFile) -> None:
    """Read one text, and answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    text, edit = json.loads(asked.recv_bytes())
    try:
        answer = vars(_read(file, text, edit))
    except ValueError as error:
        answer = {"error": str(error)}
    asked.send_bytes(json.dumps(answer).encode())
