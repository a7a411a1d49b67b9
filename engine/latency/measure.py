"""One measurement: a performance played by the command itself, and the two rulers laid against it."""

import gc
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine import priority
from engine.core.contract import sound_contract_ms
from engine.core.show import Show
from engine.latency.analysis import taken_down
from engine.latency.ruler import Ruler, loop_frames
from engine.latency.screen import Screen
from engine.latency.servers import jack_server, within, x_server
from engine.latency.stress import stress

_CURTAIN_S: Final = 15.0
_SETTLE_S: Final = 1.5
_SWITCH_S: Final = 1e-4  # the longest that this thread may keep the interpreter from a client's callback


@dataclass(frozen=True)
class Setting:
    """What is measured, and how: `options` go to `chladni play`.

    `hears` is the port that is listened to. Where that is a card's capture port, `cable` names the playback
    port that it is wired to: what that way takes by itself is measured first, and taken off.
    """

    show: Path
    notes: int = 1000
    seed: int = 1
    kinds: tuple[str, ...] = ()
    hears: str = "Chladni:out_1"
    cable: str | None = None
    options: tuple[str, ...] = ()


def measure(setting: Setting, show: Show, progress: Callable[[float], None]) -> dict[str, Any]:
    """Return the measurement as plain data; times in ms. `show` is the one that the options leave.

    A JACK server (dummy driver) and an X server are started where there are none. RuntimeError says what is
    missing; without any screen only the sound is measured.
    """
    with ExitStack() as stack:
        server = stack.enter_context(jack_server())
        screen = stack.enter_context(closing(Screen())) if stack.enter_context(x_server()) else None
        cable_frames = loop_frames(setting.cable, setting.hears) if setting.cable else 0
        ruler = Ruler(setting.notes, setting.seed, setting.hears, "midi" in setting.kinds)
        stack.callback(ruler.close)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        report = Path(folder) / "report.json"
        engine = stack.enter_context(_engine(setting, folder, report))
        ruler.open()
        _await_curtain(engine, ruler, screen)
        port = int(show.osc.listen.rsplit(":", 1)[1]) if show.osc.listen else 0
        with stress(setting.kinds, port), _unhindered():
            ruler.start()
            while ruler.share < 1.0:
                progress(ruler.share)
                if engine.poll() is not None:
                    raise RuntimeError(f"the performance ended by itself: {_last_words(folder)}")
                with suppress(Exception):  # the port is not there just now
                    ruler.listen()
                time.sleep(0.1)
        heard = ruler.stop()
        sightings, unread = screen.stop() if screen else ([], 0)
        engine.send_signal(signal.SIGINT)
        engine.wait(20)
        own = json.loads(report.read_text(encoding="utf-8"))
    taken = taken_down(heard, sightings, show, cable_frames)
    return {
        "title": show.title, "when": time.strftime("%Y-%m-%d %H:%M:%S"), "server": server,
        "notes": setting.notes, "stress": list(setting.kinds), "tight": show.tight, "fps": show.fps,
        "sound_contract_ms": sound_contract_ms(show), "picture_contract_ms": show.picture_ms,
        "options": list(setting.options), "cable_frames": cable_frames, **taken, "unread": unread,
        "jumps": heard.jumps, "engine": own,
    }  # fmt: skip


@contextmanager
def _unhindered() -> Iterator[None]:
    """Let nothing in this process hold up the ruler's clients: they share its interpreter."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.disable()
    priority.become_realtime(priority.SOUND_KEEPER)
    try:
        yield
    finally:
        priority.become_ordinary()
        gc.enable()
        sys.setswitchinterval(interval_s)


@contextmanager
def _engine(setting: Setting, folder: str, report: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable, "-m", "engine", "play", str(setting.show), "--marker", "--perform", "none",
        "--musician", "none", "--device", "jack", "--recordings", folder, "--report", str(report),
        *setting.options,
    ]  # fmt: skip
    with open(Path(folder) / "words", "wb") as words:
        engine = subprocess.Popen(command, stdout=words, stderr=words)
    try:
        yield engine
    finally:
        if engine.poll() is None:
            engine.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                engine.wait(10)
        if engine.poll() is None:
            engine.kill()
            engine.wait()


def _last_words(folder: str) -> str:
    lines = (Path(folder) / "words").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _await_curtain(engine: subprocess.Popen[bytes], ruler: Ruler, screen: Screen | None) -> None:
    """Wait until the engine plays and, where there is a screen, its marker is seen; then let it settle."""

    def listening() -> bool:
        with suppress(Exception):
            ruler.listen()
            return True
        return engine.poll() is not None

    if not within(_CURTAIN_S, listening) or engine.poll() is not None:
        raise RuntimeError("the engine did not come up within 15 s; chladni play says why")
    if screen:
        screen.start()
        if not within(_CURTAIN_S, lambda: screen.found):
            raise RuntimeError("no marker is seen on the screen: is the window hidden, or its corner?")
    time.sleep(_SETTLE_S)
