"""Import: somebody's model file becomes a folder among the user's models, made by a process of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from errno import EEXIST, ENOTEMPTY
from pathlib import Path
from secrets import token_hex
from threading import Timer
from typing import Any

from engine import library
from engine.core.parameters import BENDS
from models import manifest

MINUTES = 20.0  # the longest that an import may take
_PART = re.compile(r"\.[0-9a-f]{8}\.part")  # what the name of an unfinished folder ends with
_SPARING = {  # of address space, which is limited
    "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "2",
    # glibc: what is freed goes back at once, above 1 MB, and comes in large pages
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}  # fmt: skip


class ImportFailed(ValueError):
    """A file that can't be imported; one line that says why."""

    def __init__(self, why: str) -> None:
        super().__init__(" ".join(why.split()))


@dataclass(frozen=True)
class Request:
    """What to import, and what its user has said about it."""

    file: Path
    name: str
    title: str = ""
    bends: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("int8", "fp16")
    licence: str = "unstated"
    dry: bool = False
    replace: bool = False
    hints: Mapping[str, Any] = field(default_factory=dict)
    minutes: float = MINUTES


@dataclass(frozen=True)
class Question:
    """What the file leaves open; `option` settles it, with one of `answers`."""

    text: str
    option: str
    answers: tuple[str, ...]


Ask = Callable[[Question], str | None]  # None: there is nobody to ask
Progress = Callable[[float, str], None]


def run(request: Request, ask: Ask, progress: Progress) -> dict[str, Any]:
    """Import a file; return what was found (a dry run), or made. Raise ImportFailed.

    What is made appears as a whole, under its name, or not at all.
    """
    if not manifest.is_name(request.name):
        raise ImportFailed(f"--name {request.name}: letters, digits, dots, dashes and underscores, up to 100")
    if (library.WEIGHTS / request.name).exists():
        raise ImportFailed(f"--name {request.name}: a shipped model is called so; choose another")
    if len(request.bends) > BENDS:
        raise ImportFailed(f"--bend {','.join(request.bends)}: {BENDS} layers are the most")
    if not request.file.is_file():
        raise ImportFailed(f"{request.file}: there is no such file")
    place = library.user_folder()
    final = place / request.name
    if final.exists() and not (request.replace or request.dry):
        raise ImportFailed(f"{final}: is there already; --replace, or another --name")
    if request.dry:
        return _answered(request, place, ask, progress)
    try:
        with _workplace(place, request.name) as part:
            made = _answered(request, part, ask, progress)
            if request.replace and final.exists():
                os.replace(final, _unfinished(place, request.name))
            os.rename(part, final)
    except OSError as error:
        if error.errno in (ENOTEMPTY, EEXIST):  # an import of the same name was through before this one
            raise ImportFailed(f"{final}: is there already; --replace, or another --name") from None
        raise ImportFailed(f"{error.filename or place}: {error.strerror or error}") from None
    return {**made, "folder": str(final)}


def _unfinished(place: Path, name: str) -> Path:
    """Return a path that nobody else uses, for a folder that is no model."""
    return place / f"{name}.{token_hex(4)}.part"


# Two imports of one name must not write into one folder, and one that was killed can't take away its own. So
# each works in a folder that no other has, and holds a lock on it that ends with its process, whatever ends
# that; who comes next takes away what nobody holds.
@contextmanager
def _workplace(place: Path, name: str) -> Iterator[Path]:
    """Make a folder to work in and hold it until the block ends; what is left of it then goes."""
    _sweep(place)
    part = _unfinished(place, name)
    bare = part.with_suffix("")  # no sweep sees it before it is held
    bare.mkdir(parents=True)
    held = _hold(bare)
    bare.rename(part)
    try:
        yield part
    finally:
        if held is not None:
            os.close(held)
        shutil.rmtree(part, ignore_errors=True)
        _sweep(place)


def _hold(folder: Path) -> int | None:
    """Lock a folder and return what is to be closed to let it go; None where somebody else holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: what an import that was killed has left there stays
        return None
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened


def _sweep(place: Path) -> None:
    """Take away the unfinished folders that nobody holds."""
    for folder in place.glob("*.part"):
        if not _PART.search(folder.name) or folder.is_symlink():
            continue
        with suppress(OSError):  # it went meanwhile
            if (held := _hold(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def _answered(request: Request, folder: Path, ask: Ask, progress: Progress) -> dict[str, Any]:
    """Run the import, asking what it asks, until it is through."""
    while True:
        answer = _run_child(request, folder, progress)
        if "question" not in answer:
            break
        question = Question(**answer["question"])
        said = ask(question)
        if said is None:
            raise ImportFailed(
                f"{request.file}: {question.text}; say --{question.option} {' | '.join(question.answers)}"
            )
        request = told(request, question.option, said)
    if "error" in answer:
        raise ImportFailed(f"{request.file}: {answer['error'].removeprefix(f'{request.file.absolute()}: ')}")
    found: dict[str, Any] = answer.get("found") or answer["made"]
    return found


def told(request: Request, option: str, said: str) -> Request:
    """Return the request with an option of the import set; ImportFailed where that is no value for it."""
    if option == "classes":
        return replace(request, classes=tuple(name.strip() for name in said.split(",")))
    value: Any = said
    try:
        if option == "range":
            low, high = (float(end) for end in said.split(","))
            if not low < high:
                raise ValueError
            value = (low, high)
        elif option == "size":
            value = int(said)
            if not 16 <= value <= 4096:
                raise ValueError
    except ValueError:
        wanted = {"range": "two numbers, as -1,1", "size": "pixels, 16 to 4096"}[option]
        raise ImportFailed(f"--{option} {said}: {wanted}, would be right") from None
    return replace(request, hints={**request.hints, option: value})


def _run_child(request: Request, folder: Path, progress: Progress) -> dict[str, Any]:
    """Do the import in a process of its own and return its last answer."""
    job = {
        "file": str(request.file.absolute()),
        "folder": str(folder),
        "name": request.name,
        "title": request.title or request.name,
        "bends": request.bends,
        "classes": request.classes,
        "precisions": request.precisions,
        "licence": request.licence,
        "dry": request.dry,
        "hints": dict(request.hints),
    }
    root = str(Path(manifest.__file__).parent.parent)
    last: dict[str, Any] = {}
    # -P: nothing in the models folder, where the child works, is ever taken for a module.
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(
        [sys.executable, "-P", "-m", "models.importers.job"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=folder if folder.is_dir() else None,
        env={**os.environ, "PYTHONPATH": root, **_SPARING},
    ) as child:  # fmt: skip
        expired = Timer(60.0 * request.minutes, child.kill)
        expired.start()
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(job))
            child.stdin.close()
            for line in child.stdout:
                last = json.loads(line)
                if "progress" in last:
                    progress(last["progress"], last["what"])
            status = child.wait()
        finally:
            in_time = expired.is_alive()
            expired.cancel()
            child.kill()
        errors.seek(0)
        problems = errors.read().strip().splitlines()
    if not in_time:
        return {"error": f"not through after {request.minutes:g} minutes; --minutes gives it more"}
    return {"error": _end(status, problems)} if "progress" in last or not last else last


def _end(status: int, problems: list[str]) -> str:
    """Return why a process ended without an answer, as far as can be told."""
    if any(sign in " ".join(problems[-3:]) for sign in ("MemoryError", "bad_alloc")):
        return "it needs more memory than such a file may"
    if -status == signal.SIGKILL:
        return "the import was killed, by somebody or for want of memory"
    what = f"signal {-status}" if status < 0 else f"status {status}"
    return f"the import ended with {what}" + (f": {problems[-1][:200]}" if problems else "")
