"""The contract from outside: MIDI from a client that is not ours, sound captured by another, through JACK."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pythonosc.osc_packet import OscPacket
from pythonosc.udp_client import SimpleUDPClient

from engine.core.events import Answers, Control, Go, NoteOn, Release
from engine.recording import read

ROOT = Path(__file__).parent.parent
PERIOD = 24_007  # frames between two notes of the sequencer: no multiple of a block or a tick
STICK = 37  # the shortest of the drums: true silence before the next

SHOW = """
title = "Probe"
fps = 30
sound_ms = {sound_ms}
musician = "{musician}"

[tempo]
bpm = 240

[osc]
listen = "127.0.0.1:{listen}"
send = ["127.0.0.1:{send}"]

[midi]
out = "catcher"

[[sound.parts]]
source = "midi:*"
instrument = "drums"

[[cue]]
number = 1
fade_s = 0
levels = {{ "sound.space" = 0.0, psi = 0.4, "musician.wait" = 1.0 }}
"""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {seconds} s")


@pytest.fixture
def jack_environment() -> Iterator[dict[str, str]]:
    """Start a JACK server of our own, with the dummy driver."""
    assert shutil.which("jackd"), "the tests need jackd2: make packages"
    name = f"chladni-{os.getpid()}"
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"JACK_DEFAULT_SERVER": name, "JACK_NO_START_SERVER": "1"}
    server = None
    for realtime in ("-R", "-r"):
        server = subprocess.Popen(
            ["jackd", "-n", name, realtime, "-d", "dummy", "-r", "48000", "-p", "256"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(1.0)
        if server.poll() is None:
            break
    assert server is not None
    assert server.poll() is None, "jackd does not start"
    yield environment
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()


def ports(environment: dict[str, str]) -> list[str]:
    listed = subprocess.run(
        ["jack_lsp"], env=environment, capture_output=True, text=True, timeout=10, check=False
    )
    return listed.stdout.split("\n")


@pytest.mark.jack
@pytest.mark.timeout(90)
def test_notes_from_a_foreign_client_are_heard_at_the_contract(
    jack_environment: dict[str, str], tmp_path: Path
) -> None:
    """Each captured onset lies exactly `sound_ms` after its note; a source that dies is released."""
    listen = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(0.2)
        show = tmp_path / "probe.toml"
        text = SHOW.format(sound_ms=20, musician="piano", listen=listen, send=ear.getsockname()[1])
        show.write_text(text.replace('musician = "piano"\n', ""))
        engine = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "engine",
                "play",
                str(show),
                "--headless",
                "--musician",
                "none",
                "--recordings",
                str(tmp_path),
                "--report",
                str(tmp_path / "report.json"),
            ],
            cwd=ROOT,
            env=jack_environment,
        )
        sequencer = None
        try:
            wait_for(lambda: "Chladni:out_1" in ports(jack_environment))
            wait_for(lambda: list(tmp_path.glob("*.chladni")))
            time.sleep(1.0)
            SimpleUDPClient("127.0.0.1", listen).send_message("/chladni/go", [])
            sequencer = subprocess.Popen(
                ["jack_midiseq", "Sequencer", str(PERIOD), "1000", str(STICK), "2000"],
                env=jack_environment,
                stdout=subprocess.DEVNULL,
            )
            wait_for(lambda: "Sequencer:out" in ports(jack_environment))
            time.sleep(1.0)
            probe = subprocess.run(
                [sys.executable, "tests/probe.py", "9", "Sequencer:out", "Chladni:out_1"],
                cwd=ROOT,
                env=jack_environment,
                capture_output=True,
                text=True,
                timeout=40,
                check=True,
            )
            sequencer.kill()
            time.sleep(1.0)
            engine.send_signal(signal.SIGINT)
            assert engine.wait(15) == 0
        finally:
            for process in (sequencer, engine):
                if process is not None:
                    process.kill()
        told = set()
        try:
            while True:
                told |= {timed.message.address for timed in OscPacket(ear.recv(4096)).messages}
        except TimeoutError:
            pass
    measured = json.loads(probe.stdout)
    distances = measured["distances"]
    assert measured["rate"] == 48_000
    assert len(distances) >= 10
    exact = sum(distance == 960 for distance in distances)
    assert exact >= len(distances) - 2 * measured["jumps"], distances  # a jump is a block that JACK skipped
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["sound"]["device"] == "jack"
    assert report["events"]["dropped"] == 0
    assert {"/chladni/note", "/chladni/beat", "/chladni/frames", "/chladni/parameter/psi"} <= told
    events = read(report["recording"]).events
    (source,) = {event.source for event in events if isinstance(event.body, NoteOn)}
    assert source.startswith("midi:Sequencer")
    assert [event.source for event in events if isinstance(event.body, Release)] == [source]
    assert Go() in [event.body for event in events]
    assert not [event for event in events if isinstance(event.body, Control)]


@pytest.mark.jack
@pytest.mark.timeout(60)
def test_the_musician_plays_out_through_midi(jack_environment: dict[str, str], tmp_path: Path) -> None:
    """`jack_midi_dump`, named by the show, hears notes and clock without being connected by hand."""
    show = tmp_path / "out.toml"
    text = SHOW.format(sound_ms=25, musician="piano", listen=free_port(), send=free_port())
    show.write_text(text.replace('out = "catcher"', 'out = "catcher"\nclock = true'))
    with open(tmp_path / "dump.txt", "w") as dump:
        catcher = subprocess.Popen(
            ["stdbuf", "-oL", "jack_midi_dump", "catcher"], env=jack_environment, stdout=dump
        )
        try:
            result = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "engine",
                    "play",
                    str(show),
                    "--headless",
                    "--seconds",
                    "8",
                    "--recordings",
                    str(tmp_path),
                ],
                cwd=ROOT,
                env=jack_environment,
                timeout=40,
                check=False,
            )
            time.sleep(0.5)
        finally:
            catcher.terminate()
            catcher.wait(5)
    assert result.returncode == 0
    heard = (tmp_path / "dump.txt").read_text()
    assert " 90 " in heard, heard[:500]
    assert heard.count(" f8") > 200, "24 pulses a beat, at 240 beats a minute, less what JACK skips"


@pytest.mark.jack
@pytest.mark.timeout(90)
def test_a_note_is_harmonised_at_the_contract(jack_environment: dict[str, str], tmp_path: Path) -> None:
    """The musician's answer to each note leaves through JACK exactly `sound_ms` after it, model and all."""
    show = tmp_path / "harmony.toml"
    text = SHOW.format(sound_ms=20, musician="piano", listen=free_port(), send=free_port())
    text = text.replace('instrument = "drums"', 'instrument = "piano"').replace("catcher", "Keyboard:ear")
    text = text.replace("fade_s = 0\n", "fade_s = 0\nfollow_s = 3600\n").replace(
        '"musician.wait" = 1.0', '"musician.mode" = "harmonise"'
    )
    show.write_text(text)
    engine = subprocess.Popen(
        [
            sys.executable, "-m", "engine", "play", str(show), "--headless", "--seconds", "40",
            "--recordings", str(tmp_path), "--report", str(tmp_path / "report.json"),
        ],
        cwd=ROOT, env=jack_environment,
    )  # fmt: skip
    try:
        wait_for(lambda: list(tmp_path.glob("*.chladni")), 20.0)
        SimpleUDPClient(
            "127.0.0.1", int(text.split("listen = ")[1].split(":")[1].split('"')[0])
        ).send_message("/chladni/go", [])
        probe = subprocess.run(
            [sys.executable, "tests/harmony_probe.py", "24"],
            cwd=ROOT, env=jack_environment, capture_output=True, text=True, timeout=40, check=True,
        )  # fmt: skip
        engine.send_signal(signal.SIGINT)
        assert engine.wait(15) == 0
    finally:
        engine.kill()
    measured = json.loads(probe.stdout)
    distances = [distance for answers in measured["distances"] for distance in answers]
    answered = sum(bool(answers) for answers in measured["distances"])
    assert answered >= 22 - 2 * measured["jumps"], measured
    exact = sum(distance == 960 for distance in distances)
    assert exact >= len(distances) - 4 * measured["jumps"], measured
    events = read(json.loads((tmp_path / "report.json").read_text())["recording"]).events
    prepared = sum(isinstance(event.body, Answers) for event in events)
    assert prepared >= 20, "most of them as the model prepared"
