"""The doctor and the list of devices, on whatever machine this is."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import doctor as checks
from engine.devices import LIBRARIES, PROBES, Unanswered, as_text, ask, devices
from engine.doctor import Check, as_table, doctor, exit_code
from engine.library import names

pytestmark = pytest.mark.live

LONG_S = 30.0  # other tests may keep the machine busy


def hangs() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60.0)


def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def works() -> str:
    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        pass
    return "at last"


def raises() -> None:
    raise OSError("no such driver")


def answers() -> dict[str, int]:
    print("noise of a library")
    return {"ports": 3}


def test_a_probe_that_hangs_or_crashes_costs_its_own_answer() -> None:
    begin = time.monotonic()
    found = ask({"hangs": hangs, "crashes": crashes, "raises": raises, "answers": answers}, timeout_s=1.5)
    assert time.monotonic() - begin < 30.0  # even where others keep the machine busy
    assert found["answers"] == {"ports": 3}
    assert isinstance(found["hangs"], Unanswered)
    assert found["hangs"] == "no answer in 1.5 s"
    assert found["crashes"] == "crashed"
    assert found["raises"] == "no such driver"


def test_a_probe_that_works_on_its_answer_is_waited_for() -> None:
    assert ask({"works": works, "hangs": hangs}, timeout_s=1.5) == {
        "works": "at last", "hangs": "no answer in 1.5 s"
    }  # fmt: skip


def test_the_doctor_sees_this_machine(tmp_path: Path) -> None:
    found = {check.name: check for check in doctor(tmp_path / "recordings", LONG_S)}
    assert found["Python"].ok
    for part in ("numpy", "onnxruntime", "pygame", "av", "opencv-python-headless"):
        assert found[part].ok, found[part]
    parts = ("display", "OpenGL", "JACK server", "sound device", "sound input", "real-time rights", "MIDI")
    for part in (*parts, "providers"):
        assert part in found
    assert found["recordings"].ok
    assert found["disk room"].ok
    assert all(check.ok or check.remedy for check in found.values())
    assert not (tmp_path / "recordings").exists()  # looking changes nothing
    for name in names():
        assert found[f"model {name}"].ok, found[f"model {name}"]
    assert "CPUExecutionProvider" in found["providers"].found


def test_nothing_of_onnx_runtime_in_this_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, engine.doctor as d\n"
        "if __name__ == '__main__':\n"
        "    d.doctor(pathlib.Path(sys.argv[1]))\n"
        "    print([m for m in sys.modules if m in ('onnxruntime', 'pygame', 'jack', 'torch')])\n"
    )
    script = tmp_path / "look.py"
    script.write_text(code)
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True, text=True, timeout=60, cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


def test_only_what_is_essential_fails() -> None:
    fine = Check("a", True, "found", essential=True)
    warning = Check("b", False, "none", "buy one")
    failure = Check("c", False, "none", "install c", essential=True)
    assert exit_code([fine, warning]) == 0
    assert exit_code([fine, warning, failure]) == 1
    table = as_table([fine, warning, failure])
    assert [line.split()[0] for line in table.splitlines()] == ["ok", "warn", "->", "FAIL", "->"]
    assert "-> buy one" in table


def test_a_missing_system_library_names_its_package() -> None:
    trouble = "ImportError: libasound.so.2: cannot open shared object file: No such file or directory"
    modules = {"python-rtmidi": trouble, "numpy": "ModuleNotFoundError: numpy"}
    libraries = dict.fromkeys(LIBRARIES, False)
    answer = {"modules": modules, "libraries": libraries, "realtime": False}
    rtmidi, numpy, *others = checks._installed(answer)
    assert "sudo apt install libjack-jackd2-0" in {check.remedy for check in others}
    assert (rtmidi.remedy, rtmidi.essential) == ("sudo apt install libasound2", False)
    assert (numpy.remedy, numpy.essential) == ("pip install numpy", True)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    check = checks._folder(tmp_path / "file" / "recordings")
    assert not check.ok
    assert check.essential
    if os.geteuid():  # root may write everywhere
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        assert not checks._folder(tmp_path / "recordings").ok


def server_name(server: subprocess.Popen[bytes]) -> str:
    return str(list(server.args)[3])


@pytest.fixture
def jack_server() -> Iterator[subprocess.Popen[bytes]]:
    name = f"chladni-doctor-{os.getpid()}"
    server = subprocess.Popen(
        ["jackd", "-r", "-n", name, "-d", "dummy", "-r", "48000", "-p", "128"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        ready = ["jack_wait", "-s", name, "-w", "-t", "10"]
        subprocess.run(ready, check=True, timeout=15, capture_output=True)
        yield server
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.jack
def test_a_running_jack_server_is_seen(
    jack_server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", server_name(jack_server))
    answer = ask({"jack": PROBES["jack"]}, LONG_S)["jack"]
    assert not isinstance(answer, Unanswered), answer
    assert (answer["rate"], answer["block"], answer["realtime"]) == (48000, 128, False)
    assert "system:playback_1" in answer["sound out"]
    assert "system:capture_1" in answer["sound in"]
    check = checks._jack(answer)
    assert not check.ok
    assert "not real-time" in check.found
    assert "rtprio" in check.remedy


@pytest.mark.screen
def test_a_screen_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=(theirs,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    try:
        with os.fdopen(ours) as pipe:
            monkeypatch.setenv("DISPLAY", f":{pipe.readline().strip()}")
        monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
        found = ask({name: PROBES[name] for name in ("displays", "opengl")}, LONG_S)
        assert found["displays"] == {"driver": "x11", "sizes": [[800, 600]]}
        assert not isinstance(found["opengl"], Unanswered), found["opengl"]
        assert checks._display(found["displays"]).found == "800 x 600 (x11)"
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.jack
def test_a_server_that_hangs_is_not_waited_for(
    jack_server: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", server_name(jack_server))
    jack_server.send_signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        found = {check.name: check for check in doctor(tmp_path)}
        assert time.monotonic() - begin < 30.0  # even where others keep the machine busy
    finally:
        jack_server.send_signal(signal.SIGCONT)
    assert found["JACK server"].found == "no answer in 4 s"
    assert "again" in found["JACK server"].remedy
    assert found["numpy"].ok


def test_devices_are_ready_for_json_and_for_reading() -> None:
    found = json.loads(json.dumps(devices(LONG_S)))
    assert set(found) == {"MIDI", "displays", "sound", "sound in", "providers"}
    assert "CPUExecutionProvider" in found["providers"]["ONNX Runtime"]
    assert "ONNX Runtime" in as_text(found)
