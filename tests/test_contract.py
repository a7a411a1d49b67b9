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
from staged import until

from engine.core.events import Answers, Control, Go, NoteOn, Release
from engine.recording import read

pytestmark = pytest.mark.live

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


def _server(name: str, realtime: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a server; return it once it answers, or has given up."""
    command = ["jackd", "-n", name, realtime, "-d", "dummy", "-r", "48000", "-p", "256"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: server.poll() is not None or "system:playback_1" in ports(environment))
    return server


@pytest.fixture
def jack_environment() -> Iterator[dict[str, str]]:
    """Start a JACK server of our own, with the dummy driver, real-time where that is granted."""
    assert shutil.which("jackd"), "the tests need jackd2: make packages"
    name = f"chladni-{os.getpid()}"
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"JACK_DEFAULT_SERVER": name, "JACK_NO_START_SERVER": "1"}
    server = _server(name, "-R", environment)
    if server.poll() is not None:
        server = _server(name, "-r", environment)
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
@pytest.mark.timeout(150)
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
            until(lambda: "Chladni:out_1" in ports(jack_environment), 40)
            until(lambda: list(tmp_path.glob("*.chladni")), 40)
            SimpleUDPClient("127.0.0.1", listen).send_message("/chladni/go", [])
            sequencer = subprocess.Popen(
                ["jack_midiseq", "Sequencer", str(PERIOD), "1000", str(STICK), "2000"],
                env=jack_environment,
                stdout=subprocess.DEVNULL,
            )
            until(lambda: "Chladni:in_1" in ports(jack_environment), 20)  # the engine has found it
            probe = subprocess.run(
                [sys.executable, "tests/probe.py", "7", "Sequencer:out", "Chladni:out_1"],
                cwd=ROOT,
                env=jack_environment,
                capture_output=True,
                text=True,
                timeout=40,
                check=True,
            )
            sequencer.kill()
            until(lambda: "Chladni:in_1" not in ports(jack_environment), 20)  # and has missed it
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
@pytest.mark.timeout(150)
def test_the_musician_plays_out_through_midi(jack_environment: dict[str, str], tmp_path: Path) -> None:
    """`jack_midi_dump`, named by the show, hears notes and clock without being connected by hand."""
    show = tmp_path / "out.toml"
    text = SHOW.format(sound_ms=25, musician="piano", listen=free_port(), send=free_port())
    show.write_text(text.replace('out = "catcher"', 'out = "catcher"\nclock = true'))
    heard = tmp_path / "dump.txt"
    with heard.open("w") as dump:
        catcher = subprocess.Popen(
            ["stdbuf", "-oL", "jack_midi_dump", "catcher"], env=jack_environment, stdout=dump
        )
        command = [sys.executable, "-m", "engine", "play", show, "--headless", "--recordings", tmp_path]
        engine = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=jack_environment)
        try:
            until(lambda: " f8" in heard.read_text(), 40)
            begun = time.monotonic()
            until(lambda: " 90 " in heard.read_text(), 30)
            until(lambda: heard.read_text().count(" f8") > 200, 10)
            took_s = time.monotonic() - begun
            engine.send_signal(signal.SIGINT)
            assert engine.wait(15) == 0
        finally:
            engine.kill()
            catcher.terminate()
            catcher.wait(5)
    pulses = heard.read_text().count(" f8")
    assert pulses < 96 * (took_s + 5), "24 a beat, at 240 beats a minute"


@pytest.mark.jack
@pytest.mark.timeout(150)
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
        until(lambda: list(tmp_path.glob("*.chladni")), 40)
        SimpleUDPClient(
            "127.0.0.1", int(text.split("listen = ")[1].split(":")[1].split('"')[0])
        ).send_message("/chladni/go", [])
        probe = subprocess.run(
            [sys.executable, "tests/harmony_probe.py", "16"],
            cwd=ROOT, env=jack_environment, capture_output=True, text=True, timeout=40, check=True,
        )  # fmt: skip
        engine.send_signal(signal.SIGINT)
        assert engine.wait(15) == 0
    finally:
        engine.kill()
    measured = json.loads(probe.stdout)
    distances = [distance for answers in measured["distances"] for distance in answers]
    answered = sum(bool(answers) for answers in measured["distances"])
    assert answered >= 14 - 2 * measured["jumps"], measured
    exact = sum(distance == 960 for distance in distances)
    assert exact >= len(distances) - 4 * measured["jumps"], measured
    events = read(json.loads((tmp_path / "report.json").read_text())["recording"]).events
    prepared = sum(isinstance(event.body, Answers) for event in events)
    assert prepared >= 13, "most of them as the model prepared"
