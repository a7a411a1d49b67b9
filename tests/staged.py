"""A whole performance inside a test, whose parts can be reached and broken while it plays."""

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from engine.core.show import Show, parse
from engine.io.performer import Performer, load
from engine.io.window import Headless, Presenter
from engine.session import Session, Stage
from engine.show_file import ShowFile
from engine.workers.web import WebConfig

ROOT = Path(__file__).resolve().parent.parent
SHOW = ROOT / "shows" / "first_light.toml"


def first_light(device: str = "none", osc: str | None = None) -> Show:
    """Return the demonstration with another sound device and OSC port."""
    show = parse(SHOW.read_text(), str(SHOW))
    sound = show.sound.model_copy(update={"device": device})
    return show.model_copy(update={"sound": sound, "osc": show.osc.model_copy(update={"listen": osc})})


def performer() -> Performer:
    """Return what plays the demonstration by itself."""
    return Performer(load(SHOW.with_suffix(".chladni")), loop=True)


@contextmanager
def playing(
    folder: Path,
    show: Show | None = None,
    presenter: Presenter | None = None,
    attended: bool = False,
    file: ShowFile | None = None,
    page: WebConfig | None = None,
) -> Iterator[Session]:
    """Play until the block ends; the session is handed over once the first frame has been shown.

    An attended show is not played by its recorded performer.
    """
    performing = None if attended else performer()
    stage = Stage(recording=folder / "show.chladni", performer=performing, file=file, page=page)
    session = Session(show or first_light(), stage, presenter or Headless((640, 360)))
    thread = Thread(target=session.run, name="performance")
    thread.start()
    try:
        until(lambda: session.presentation.first_shown_us is not None, 30)
        yield session
    finally:
        session.stop.set()
        thread.join(20)
        assert not thread.is_alive(), "the session does not end"


def until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait for a condition; return how long it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it did not come about in time"
        time.sleep(0.005)
    return time.monotonic() - begun


def kill(session: Session, name: str, number: int) -> int:
    """Send a signal to a worker's process; return its id."""
    worker = next(each for each in session.workers if each.name == name)
    pid = worker.pid
    assert pid is not None
    os.kill(pid, number)
    return pid


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def ask(port: int, path: str = "/healthz") -> tuple[int, dict[str, object]]:
    """Return the status and the JSON that a performance answers of its health; status 0 where nobody does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()) if path == "/healthz" else {}
    except OSError:
        return 0, {}
