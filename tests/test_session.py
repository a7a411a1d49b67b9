"""Whole performances: started by the command, played, killed in parts, recorded, verified and rendered."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from threading import enumerate as enumerate_threads

import psutil
import pytest
from staged import ask, free_port, playing, until

from engine.io.video import probe
from engine.priority import BESIDE, CORE, become_realtime
from engine.recording import RecordingError, read

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "engine"]
BARE = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}


def chladni(*arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=BARE
    )


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Begin a headless performance whose recording goes to `folder`."""
    return subprocess.Popen(
        [
            *COMMAND,
            "play",
            "shows/first_light.toml",
            "--headless",
            "--no-web",
            "--device",
            "none",
            "--recordings",
            str(folder),
        ]
        + [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=BARE,
    )


def finish(process: subprocess.Popen[str], timeout: float = 40) -> str:
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return output


def workers(process: subprocess.Popen[str], count: int = 3) -> list[psutil.Process]:
    """Wait until the performance has its worker processes; return them in the order of their starts."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = [
            child
            for child in psutil.Process(process.pid).children()
            if "resource_tracker" not in " ".join(child.cmdline())
        ]
        if len(children) >= count:
            return sorted(children, key=lambda child: (child.create_time(), child.pid))
        time.sleep(0.05)
    raise AssertionError("the workers did not start")


def recorded_ticks(folder: Path) -> int:
    """Return how far the recording in a folder reaches; 0 before there is one."""
    try:
        return max((read(path).end_tick for path in folder.glob("*.chladni")), default=0)
    except RecordingError:  # its first line is being written
        return 0


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Play first_light for some seconds; return its recording and its report."""
    folder = tmp_path_factory.mktemp("played")
    output = finish(start(folder, "--seconds", 6, "--report", folder / "report.json"))
    assert "recording" in output, output
    report = json.loads((folder / "report.json").read_text())
    return Path(report["recording"]), report


def test_the_report_has_its_keys_and_adds_up(played: tuple[Path, dict]) -> None:
    _, report = played
    assert report["provider"] in ("CPUExecutionProvider", "CUDAExecutionProvider")
    assert report["seconds"] == pytest.approx(6, abs=1)
    picture = report["picture"]
    assert picture["fps"] == 30
    assert picture["due"] == picture["shown"] + picture["late"]
    assert picture["due"] >= 5 * 30
    assert report["sound"]["contract_ms"] == 25
    assert {"device", "rate", "block", "underruns"} <= report["sound"].keys()
    for part in ("picture", "sound"):
        assert {"p50", "p99", "p999", "max"} <= report[part]["deviation_ms"].keys()
        assert report[part]["deviation_ms"]["count"] > 5
    assert report["events"]["in"] > 10
    assert report["events"]["dropped"] == 0
    assert report["core"]["ticks"] == pytest.approx(6 * 240, abs=2)
    assert 0 < report["core"]["share"] < 1
    assert {"main", "generator", "sound", "musician"} == report["cpu_share"].keys()
    assert all(memory > 10 for memory in report["memory_mb"].values())
    assert report["first_frame_s"] > 0


def test_the_performance_verifies_without_models(played: tuple[Path, dict]) -> None:
    path, _ = played
    result = chladni("verify", path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"all \d digests agree", result.stdout)


def test_a_tampered_performance_does_not_verify(played: tuple[Path, dict], tmp_path: Path) -> None:
    lines = played[0].read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if '"NoteOn"' in line)
    data = json.loads(lines[at])
    data[4][2] = (data[4][2] + 1) % 128
    lines[at] = json.dumps(data)
    (tmp_path / "b.chladni").write_text("\n".join(lines) + "\n")
    result = chladni("verify", tmp_path / "b.chladni")
    assert result.returncode == 1
    assert "differs at" in result.stdout


def test_render_is_frame_exact_with_sound(played: tuple[Path, dict], tmp_path: Path) -> None:
    path, _ = played
    film = tmp_path / "film.mp4"
    result = chladni("render", path, "-o", film, "--size", "320x180", "--fps", 24, "--quality", "draft")
    assert result.returncode == 0, result.stderr
    video = probe(film)
    assert (video.width, video.height, video.fps) == (320, 180, 24)
    assert video.frames == read(path).end_tick // 10
    assert video.sound_seconds == pytest.approx(video.seconds, abs=0.1)


def test_replay_performs_it_again(played: tuple[Path, dict], tmp_path: Path) -> None:
    path, _ = played
    result = chladni("replay", path, "--headless", "--seconds", 3, "--report", tmp_path / "r.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["events"]["in"] >= sum(event.tick < 3 * 240 for event in read(path).events) > 3
    assert report["picture"]["shown"] > 30


def test_killed_workers_come_back_and_it_still_verifies(tmp_path: Path) -> None:
    port = free_port()
    process = start(tmp_path, "--health", port, "--report", tmp_path / "report.json")
    first = workers(process)[:3]
    until(lambda: ask(port)[0] == 200, 40)
    for worker in first:
        worker.kill()
    until(lambda: ask(port)[1].get("restarts", 0) >= 3, 40)
    shown = ask(port)[1].get("shown", 0)
    until(lambda: ask(port)[1].get("shown", 0) > shown + 30, 40)
    process.send_signal(signal.SIGINT)
    output = finish(process)
    report = json.loads((tmp_path / "report.json").read_text())
    assert {name: report["restarts"][name] for name in ("generator", "sound", "musician")} == {
        "generator": 1, "sound": 1, "musician": 1,
    }, output  # fmt: skip
    assert report["core"]["ticks"] == pytest.approx(report["seconds"] * 240, rel=0.1), "it kept time"
    assert report["sound"]["rate"] == 48_000
    assert chladni("verify", report["recording"]).returncode == 0


def test_killed_outright_nothing_is_left_behind(tmp_path: Path) -> None:
    process = start(tmp_path)
    children = workers(process)
    until(lambda: recorded_ticks(tmp_path) > 240, 40)
    process.kill()
    process.wait(5)
    _, left = psutil.wait_procs(children, timeout=5)
    ended = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)  # and not fetched yet by whoever inherits orphans here
    assert all(child.status() in ended for child in left), "workers end with the main process"
    recording = read(next(tmp_path.glob("*.chladni")))
    assert recording.end_tick > 240


def test_signals_report_and_end_it_cleanly(tmp_path: Path) -> None:
    process = start(tmp_path)
    until(lambda: recorded_ticks(tmp_path) > 0, 40)
    process.send_signal(signal.SIGUSR1)
    assert process.stdout
    output = ""
    while "deviation, ms" not in output:
        output += process.stdout.readline()
        assert process.poll() is None, output
    process.send_signal(signal.SIGINT)
    output += finish(process)
    assert output.count("deviation, ms") == 2, output
    assert process.returncode == 0
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("play", "none.toml"), "none.toml: No such file"),
        (("play", "README.md"), "README.md:"),
        (("play", "shows/first_light.toml", "--headless", "--generator", "nobody"), "no model 'nobody' here"),
        (("play", "shows/first_light.toml", "--headless", "--perform", "README.md"), "README.md"),
        (("verify", "README.md"), "README.md:1: this is no recording"),
        (
            ("play", "shows/first_light.toml", "--headless", "--picture-ms", "20"),
            "--picture-ms: picture_ms = 20 is",
        ),
        (("play", "shows/first_light.toml", "--headless", "--block", "7"), "--block: Input should be"),
    ],
)
def test_wrong_input_gets_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    result = chladni(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("play", "shows/first_light.toml", "--seconds", "nan"), "'nan' is no number above 0"),
        (("play", "shows/first_light.toml", "--report", "nowhere/r.json"), "can't be written"),
        (("render", "shows/first_light.chladni", "-o", "film.xyz"), "'film.xyz' is no film"),
        (("render", "shows/first_light.chladni", "-o", "film.mp4", "--fps", "31"), "invalid choice: 31"),
    ],
)
def test_wrong_options_are_told_before_anything_plays(arguments: tuple[str, ...], message: str) -> None:
    result = chladni(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_long_contract_shows_every_frame(tmp_path: Path) -> None:
    """Frames wait in the store for as long as the contract says."""
    output = finish(start(tmp_path, "--seconds", 4, "--picture-ms", 900, "--report", tmp_path / "r.json"))
    picture = json.loads((tmp_path / "r.json").read_text())["picture"]
    assert picture["shown"] > 2 * 30, output


def test_a_show_shorter_than_a_second_verifies(tmp_path: Path) -> None:
    finish(start(tmp_path, "--seconds", 0.7))
    (recording,) = tmp_path.glob("*.chladni")
    assert chladni("verify", recording).returncode == 0


def test_without_a_recording_the_show_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    output = finish(start(tmp_path / "file", "--seconds", 3, "--report", tmp_path / "r.json"))
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["recording"] is None
    assert report["picture"]["shown"] > 30
    assert output.count("warning: ") == 1, output
    assert "Traceback" not in output


def test_no_thread_of_the_show_can_be_put_aside_while_the_core_waits_for_it(tmp_path: Path) -> None:
    """All that Python has started for the show have a priority, below the core's."""
    probe = Thread(target=lambda: (become_realtime(CORE), allowed.append(os.sched_getscheduler(0))))
    allowed: list[int] = []
    probe.start()
    probe.join()
    before = {int(number) for number in os.listdir("/proc/self/task")}
    with playing(tmp_path):
        time.sleep(0.2)
        names = {thread.native_id: thread.name for thread in enumerate_threads()}
        ours = {names[number]: number for number in names if number and number not in before}
        found = {name: os.sched_getparam(number).sched_priority for name, number in ours.items()}
    if allowed[0] == os.SCHED_OTHER:
        pytest.skip("no real-time rights here")
    assert found.pop("core") == CORE
    assert {"watch", "midi", "recorder"} <= found.keys()
    assert set(found.values()) == {BESIDE}


def test_schema_and_shipped_demo() -> None:
    assert json.loads(chladni("schema").stdout)["title"] == "Show"
    for recording in ("shows/first_light.chladni", "tests/golden/everything.chladni"):
        result = chladni("verify", recording)
        assert result.returncode == 0, f"{result.stdout} (a change on purpose? see tests/golden/restamp.py)"
