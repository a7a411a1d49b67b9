"""Generators swapped during a show: loaded beside the playing one, entered between two frames, or refused."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pythonosc.osc_message import OscMessage
from pythonosc.osc_packet import OscPacket
from pythonosc.udp_client import SimpleUDPClient
from staged import first_light, playing, until

from engine import library, offline
from engine.casting import together
from engine.core.events import Enter, Event, Refuse, Swap
from engine.core.jobs import FrameJob
from engine.core.show import Show
from engine.core.state import STAGE
from engine.recording import Recording, read
from engine.render.maker import Maker
from engine.render.scale import crossfade
from engine.session import Session
from engine.workers.shared import Frame, FrameStore
from models import manifest

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent
SHIPPED = library.WEIGHTS / "impressionism"


def copy_model(folder: Path, name: str) -> Path:
    """Copy the shipped generator to the models folder, with an average of its own; return its folder."""
    shutil.copytree(SHIPPED, folder / name)
    statistics = folder / name / "statistics.npz"
    with np.load(statistics) as arrays:
        changed = {key: -value if key.startswith("w_avg") else value for key, value in arrays.items()}
    np.savez(statistics, **changed)
    path = folder / name / manifest.FILE
    data = json.loads(path.read_text()) | {"name": name, "statistics": manifest.entry(statistics)}
    path.write_text(json.dumps(data))
    return folder / name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a generator that plays, and one of which a file is not what it was."""
    folder = tmp_path_factory.mktemp("models")
    copy_model(folder, "twin")
    broken = copy_model(folder, "broken")
    with (broken / "statistics.npz").open("r+b") as file:
        file.write(b"broken")
    return folder


class Osc:
    """A controller: sends to the engine, and hears which generator enters or is refused."""

    def __init__(self) -> None:
        self._heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._heard.bind(("127.0.0.1", 0))
        self._heard.settimeout(60.0)
        self._waiting: list[OscMessage] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.send = SimpleUDPClient("127.0.0.1", self.port).send_message
        self.hears = self._heard.getsockname()[1]

    def await_message(self, address: str) -> list:
        """Return the arguments of the next message to an address."""
        while True:
            while not self._waiting:
                self._waiting = [timed.message for timed in OscPacket(self._heard.recv(4096)).messages]
            message = self._waiting.pop(0)
            if message.address == address:
                return message.params

    def await_pictures(self, count: int) -> None:
        """Return once so many pictures more have been seen, in time or late: the machine may be busy."""
        due, _, _, held = self.await_message("/chladni/frames")
        begun = seen = due - held
        while seen < begun + count:
            due, _, _, held = self.await_message("/chladni/frames")
            seen = due - held


def perform(
    models: Path,
    folder: Path,
    script: Callable[[Osc], None],
    cue: str = "twin",
    generator: str = "impressionism",
    network: str = "",
) -> dict:
    """Play a show whose cue names another generator until the script is through; return its report."""
    osc = Osc()
    show = folder / "show.toml"
    show.write_text(
        'title = "Swap"\nmusician = "none"\npicture_ms = 250\n'
        f'osc = {{ listen = "127.0.0.1:{osc.port}", send = ["127.0.0.1:{osc.hears}"] }}\n'
        f'[[cue]]\nnumber = 1\nfade_s = 0.5\ngenerator = "{cue}"\n'
        "levels = { hue = 90.0 }\n"
    )
    bare = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "engine", "play", show, "--headless", "--no-web", "--device", "none"]
    command += ["--generator", generator, "--recordings", folder, "--report", folder / "report.json"]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env=bare | {"CHLADNI_MODELS": str(models)},
    )  # fmt: skip
    try:
        osc.await_pictures(10)
        script(osc)
        osc.await_pictures(10)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "Traceback" not in output, output
    return json.loads((folder / "report.json").read_text())


def replayed(models: Path, recording: str, seconds: float, report: Path) -> dict:
    """Perform so much of a recording again; return the report."""
    command = [sys.executable, "-m", "engine", "replay", recording, "--headless"]
    command += ["--seconds", str(seconds), "--report", str(report)]
    env = os.environ | {"CHLADNI_MODELS": str(models)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text())


def test_a_cue_swaps_in_what_stands_by_and_what_is_broken_is_refused(models: Path, tmp_path: Path) -> None:
    def script(osc: Osc) -> None:
        osc.send("/chladni/generator", "broken")
        assert osc.await_message("/chladni/generator/refused")[0] == "broken"
        osc.send("/chladni/go", [])
        assert osc.await_message("/chladni/generator") == ["twin"]

    report = perform(models, tmp_path, script)
    refused, entered = report["picture"]["swaps"]
    assert refused["generator"] == "broken"
    assert "statistics.npz: SHA-256" in refused["refused"]
    assert entered["generator"] == report["picture"]["generator"] == "twin"
    assert any("SHA-256" in warning for warning in report["warnings"])
    recording = read(report["recording"])
    assert [type(e.body) for e in recording.events if e.source == STAGE] == [Refuse, Enter]
    again = replayed(models, report["recording"], entered["at_s"] + 0.5, tmp_path / "again.json")
    assert [swap["at_s"] for swap in again["picture"]["swaps"]] == [refused["at_s"], entered["at_s"]]
    assert again["picture"]["generator"] == "twin"
    verdict = offline.verify(recording)
    assert verdict.differs_at is None
    assert verdict.agreed == verdict.seconds > 2


def test_a_name_that_is_nobody_s_is_refused_and_named(models: Path, tmp_path: Path) -> None:
    def script(osc: Osc) -> None:
        osc.send("/chladni/generator", "nobody")
        osc.await_message("/chladni/generator/refused")

    report = perform(models, tmp_path, script)
    (refused,) = report["picture"]["swaps"]
    assert "no model 'nobody' here; there are: broken, " in refused["refused"]
    assert report["picture"]["generator"] == "impressionism"


def test_the_display_says_who_is_loaded_who_plays_and_why_somebody_does_not(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHLADNI_MODELS", str(models))

    def displayed(session: Session, *words: str) -> bool:
        return any(all(word in line for word in words) for line in session.hud)

    with playing(tmp_path, first_light(), attended=True) as session:
        session.inbox.put(session.clock.now(), "keys", Swap("broken"))
        until(lambda: displayed(session, "generator impressionism", "broken refused: ", "SHA-256"), 30)
        session.inbox.put(session.clock.now(), "keys", Swap("twin"))
        until(lambda: displayed(session, "generator impressionism", "twin is being loaded"), 30)
        until(lambda: displayed(session, "generator twin"), 60)
        assert not displayed(session, "refused")


def swapped(fade_ticks: int) -> Recording:
    """A recording in which twin enters at the tenth frame."""
    bodies = ((40, Swap("twin")), (80, Enter("twin", fade_ticks)))
    events = tuple(Event(tick, 0, STAGE, number, body) for number, (tick, body) in enumerate(bodies))
    return Recording("Swap", Show(title="Swap", musician=None), events, {}, 240, False)


class Watched(Maker):
    """A maker whose pictures are kept."""

    def picture(self, job: FrameJob) -> np.ndarray:
        made[self.name, job.tick] = pixels = super().picture(job).copy()
        return pixels


made: dict[tuple[str, int], np.ndarray] = {}


@pytest.mark.parametrize("fade_ticks", [0, 80])
def test_a_film_shows_who_played_and_both_while_they_faded(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fade_ticks: int
) -> None:
    monkeypatch.setenv("CHLADNI_MODELS", str(models))
    made.clear()

    def makers(name: str) -> Maker:
        maker = Watched(library.find(name, manifest.Generator)[0], provider="cpu")
        maker.name = name
        return maker

    film = tmp_path / "film.mp4"
    offline.render(swapped(fade_ticks), makers, film, (64, 36), 30, "draft", lambda done, of: None)
    ticks = {name: {tick for who, tick in made if who == name} for name in ("impressionism", "twin")}
    assert min(ticks["twin"]) == 88
    assert max(ticks["impressionism"]) == 80 + (fade_ticks - 8 if fade_ticks else 0)
    assert ticks["impressionism"] | ticks["twin"] == set(range(8, 241, 8))
    assert np.abs(made["twin", 240].astype(float) - made["impressionism", 80]).mean() > 5.0


def test_a_crossfade_is_the_one_the_other_and_the_larger_size() -> None:
    dark, light = np.zeros((8, 8, 3), np.uint8), np.full((16, 16, 3), 200, np.uint8)
    assert crossfade(dark, light, 0.5).shape == (16, 16, 3)
    assert (crossfade(dark, light, 0.25) == 50).all()
    assert (crossfade(light, dark, 1.0) == 0).all()


def test_of_two_frames_the_newer_is_shown_and_of_one_tick_both() -> None:
    stores = [FrameStore(16, 16, 4) for _ in range(2)]
    light, dark = np.full((16, 16, 3), 200, np.uint8), np.zeros((8, 8, 3), np.uint8)
    stores[0].write(8, 1, light, 0, 0, False, (), 1.0)
    stores[0].write(16, 2, light, 0, 0, False, (), 0.75)
    stores[1].write(16, 2, dark, 0, 0, False, (), 0.25)
    stores[1].write(24, 3, dark, 0, 0, False, (), 1.0)

    def shown(tick: int) -> Frame | None:
        return together([frame for store in stores if (frame := store.newest(tick))])

    assert shown(7) is None
    seen = [shown(tick) for tick in (8, 16, 24)]
    assert [frame and (frame.tick, int(frame.pixels.mean())) for frame in seen] == [
        (8, 200),
        (16, 150),
        (24, 0),
    ]


def test_names_do_not_leave_the_folder(monkeypatch: pytest.MonkeyPatch, models: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("CHLADNI_MODELS", str(models))
    for name in ("../" + models.name + "/twin", "twin/../twin", ".", "", "/", "twin.part"):
        with pytest.raises(library.NoModel, match="no model"):
            library.find(name, manifest.Generator)
    assert library.find("twin", manifest.Generator)[0] == models / "twin"
    monkeypatch.setenv("CHLADNI_MODELS", str(tmp_path))
    assert "twin" not in library.names()


def test_a_shipped_model_is_hidden_by_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy_model(tmp_path, "impressionism")
    monkeypatch.setenv("CHLADNI_MODELS", str(tmp_path))
    assert library.find("impressionism", manifest.Generator)[0] == SHIPPED


def test_a_job_says_how_much_of_the_picture_it_is() -> None:
    from engine.workers.links import pack_job, unpack_job
    from tests.test_generator import JOB

    job = replace(JOB, share=0.25, transform=(0.1, 0.2, 3.0, 1.5), networks=(0.5, 0.0, 0.0, 1.0))
    assert unpack_job(pack_job(job, 3, 1e6)) == (job, 3, 1e6)
