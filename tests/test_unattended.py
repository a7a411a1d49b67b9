"""A show that nobody attends: its unit, its heartbeat, its health, and the statuses that it ends with."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from staged import ask, free_port, until

from engine import service
from engine.__main__ import main
from engine.recording import SUFFIX

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parent.parent
PLAY = [sys.executable, "-m", "engine", "play", "--device", "none", "--generator", "impressionism"]
BARE = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}


def test_the_unit_is_one_that_systemd_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    show = tmp_path / '50 % "of" $it.toml'
    show.write_text('title = "Fifty"\n')
    assert main(["install-service", str(show)]) == 0
    path = tmp_path / "systemd" / "user" / service.NAME
    told = capsys.readouterr().out
    assert str(path) in told
    assert "WatchdogSec" in told
    if shutil.which("systemd-analyze"):
        command = ["systemd-analyze", "verify", "--user", str(path)]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
        complaints = [line for line in checked.stderr.splitlines() if service.NAME in line]
        assert not complaints
    assert main(["install-service", "--remove"]) == 0
    assert not path.exists()
    assert main(["install-service", str(tmp_path / "none.toml")]) == 1


def test_its_heart_beats_while_it_lives_and_health_is_told(tmp_path: Path) -> None:
    port, address = free_port(), str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(40)
        command = [*PLAY, "--headless", "--health", str(port), "--recordings", str(tmp_path)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=BARE | {"NOTIFY_SOCKET": address}, stdout=subprocess.DEVNULL
        )
        try:
            assert systemd.recv(4096).startswith(b"READY=1\nWATCHDOG=1\n")
            assert systemd.recv(4096).startswith(b"WATCHDOG=1\n")
            until(lambda: ask(port)[0] == 200, 20)
            status, told = ask(port)
            assert (status, told["alive"]) == (200, True)
            assert isinstance(told["ticks"], int)
            assert told["ticks"] > 240
            assert ask(port, "/etc/passwd")[0] == 404
            process.send_signal(signal.SIGSTOP)
            until(lambda: ask(port)[0] == 503, 20)
            assert ask(port)[1]["alive"] is False
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            heard = b""
            while not heard.startswith(b"STOPPING=1"):
                heard = systemd.recv(4096)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait(5)


@pytest.mark.parametrize(("arguments", "status"), [((), 3), (("--sound-ms", "x"), 2), (("none.toml",), 1)])
def test_the_status_says_whether_to_try_again(
    arguments: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    command = [*PLAY, *arguments, "--unattended", "--recordings", str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, env=BARE, capture_output=True, timeout=60).returncode == status


def test_the_newest_recordings_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}{SUFFIX}").write_text("")
        os.utime(tmp_path / f"{number}{SUFFIX}", (number, number))
    service.prune(tmp_path, SUFFIX, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"3{SUFFIX}", f"4{SUFFIX}"]
    service.prune(tmp_path / "none", SUFFIX, 2)
