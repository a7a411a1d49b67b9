"""Checks each part of the product on this machine, and says what to do about what is missing."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from engine.devices import ANSWER_S, LIBRARIES, MODULES, NO_ANSWER, PROBES, Unanswered, ask, devices
from engine.library import WEIGHTS, folder_of, names

__all__ = ["Check", "as_table", "devices", "doctor", "exit_code"]

PYTHON: Final = (3, 11)
DISK_MB: Final = 500  # a film of ten minutes in good quality, and a night of recordings
OPTIONAL: Final = ("moderngl", "miniaudio", "JACK-Client", "python-rtmidi", "tinysoundfont", "aalink")
_LIMITS: Final = (
    "put '@audio - rtprio 95' and '@audio - memlock unlimited' into /etc/security/limits.d/audio.conf, "
    "join the group (sudo usermod -aG audio $USER) and log in again"
)


@dataclass(frozen=True)
class Check:
    """One part: what was found, and what to do where it is not `ok`. Without the essential ones no play."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    essential: bool = False


def doctor(recordings: Path, timeout_s: float = ANSWER_S) -> list[Check]:
    """Check everything; `recordings` is where performances are to be recorded.

    What does no work for `timeout_s` and has not answered hangs.
    """
    answers = ask(PROBES, timeout_s)
    checks = [
        _python(),
        *_installed(answers["installed"]),
        _providers(answers["providers"]),
        *_models(),
        _display(answers["displays"]),
        _opengl(answers["opengl"]),
        _jack(answers["jack"]),
        _sound(answers, "sound device", "sound out", "connect one, or start jackd -r -d dummy"),
        _sound(
            answers, "sound input", "sound in", "needed only by a show that listens ([audio]): connect one"
        ),
        _governor(),
        _midi(answers),
        _folder(recordings),
        _disk(recordings),
    ]
    slow = "run chladni doctor again; what gives no answer then, too, hangs, and is to be restarted"
    return [replace(c, remedy=slow) if c.found.startswith(NO_ANSWER) else c for c in checks]


def _python() -> Check:
    wanted = ".".join(map(str, PYTHON))
    ok = sys.version_info >= PYTHON
    return Check("Python", ok, platform.python_version(), f"install Python {wanted} or newer", essential=True)


def _installed(answer: Any) -> Iterator[Check]:
    if isinstance(answer, Unanswered):
        yield Check("installation", False, answer, "pip install --force-reinstall chladni")
        return
    for distribution, trouble in answer["modules"].items():
        needed = [package for library, package in LIBRARIES.items() if library in trouble]
        remedy = f"sudo apt install {needed[0]}" if needed else f"pip install {distribution}"
        found = trouble or _version(distribution)
        yield Check(distribution, not trouble, found, remedy, distribution not in OPTIONAL)
    if sys.platform.startswith("linux"):
        for library, package in LIBRARIES.items():
            there = answer["libraries"][library]
            yield Check(library, there, "found" if there else "not found", f"sudo apt install {package}")
        granted = answer["realtime"]
        yield Check("real-time rights", granted, "granted" if granted else "refused", _LIMITS)


def _version(distribution: str) -> str:
    variants = [distribution, f"{distribution}-gpu", distribution.removesuffix("-headless")]
    for name in variants:  # onnxruntime and OpenCV come under several names
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return f"{MODULES[distribution]}, version unknown"


def _providers(answer: Any) -> Check:
    name = "providers"
    if isinstance(answer, Unanswered):
        return Check(name, False, answer, "pip install --force-reinstall onnxruntime-gpu")
    if Path("/proc/driver/nvidia/version").exists() and "CUDAExecutionProvider" not in answer:
        return Check(name, False, "an NVIDIA GPU without CUDA's libraries", "pip install 'chladni[cuda]'")
    return Check(name, bool(answer), ", ".join(answer) or "none", "pip install onnxruntime", essential=True)


def _models() -> Iterator[Check]:
    from models.manifest import load

    if not names():
        yield Check("models", False, f"none in {WEIGHTS}", "install chladni again", essential=True)
    for name in names():
        shipped = folder_of(name).parent == WEIGHTS
        try:
            load(folder_of(name))
            yield Check(f"model {name}", True, "files and hashes agree")
        except (OSError, ValueError) as error:
            own = f"chladni models remove {name}, and import it again"
            remedy = (
                f"install chladni again, or name another model than {name} in the show" if shipped else own
            )
            yield Check(f"model {name}", False, str(error), remedy, essential=shipped)


def _display(answer: Any) -> Check:
    remedy = "none needed: play writes a film; for the window set DISPLAY, or start it with xvfb-run"
    if isinstance(answer, Unanswered) or not answer["sizes"]:
        return Check("display", False, str(answer) if isinstance(answer, Unanswered) else "none", remedy)
    sizes = ", ".join(f"{width} x {height}" for width, height in answer["sizes"])
    return Check("display", True, f"{sizes} ({answer['driver']})")


def _opengl(answer: Any) -> Check:
    if isinstance(answer, Unanswered):
        remedy = "sudo apt install libgl1 libegl1 (without it the effects run on the CPU)"
        return Check("OpenGL", False, answer, remedy)
    return Check("OpenGL", True, answer["renderer"])


def _jack(answer: Any) -> Check:
    if isinstance(answer, Unanswered):
        remedy = "jackd -R -d alsa -r 48000 -p 128 (without it miniaudio plays)"
        return Check("JACK server", False, answer, remedy)
    found = f"{answer['rate']} Hz, blocks of {answer['block']}, "
    realtime = answer["realtime"]
    return Check("JACK server", realtime, found + ("real-time" if realtime else "not real-time"), _LIMITS)


def _sound(answers: dict[str, Any], name: str, way: str, remedy: str) -> Check:
    jack, miniaudio = answers["jack"], answers["miniaudio"]
    found = ["JACK"] if not isinstance(jack, Unanswered) and jack[way] else []
    if not isinstance(miniaudio, Unanswered):
        found += [f"{each} ({backend})" for backend, listed in miniaudio[way].items() for each in listed]
    shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    return Check(name, bool(found), shown or "none", remedy)


def _governor() -> Check:
    files = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    governors = {file.read_text().strip() for file in files}
    ok = governors <= {"performance"}
    found = ", ".join(sorted(governors)) or "not ours to choose on this machine"
    return Check("CPU frequency", ok, found, "sudo cpupower frequency-set -g performance")


def _midi(answers: dict[str, Any]) -> Check:
    backends = {name: answers[name] for name in ("jack", "rtmidi", "pygame midi")}
    usable = {name: answer for name, answer in backends.items() if not isinstance(answer, Unanswered)}
    if "jack" not in usable and "rtmidi" not in usable:
        remedy = "sudo modprobe snd-seq, or start a JACK server (jackd -r -d dummy)"
        return Check("MIDI", False, backends["rtmidi"], remedy)
    ports = sorted({port for answer in usable.values() for port in answer["midi in"]})
    return Check("MIDI", True, f"{', '.join(usable)}; ports in: {', '.join(ports) or 'none'}")


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


def _folder(recordings: Path) -> Check:
    place = _existing(recordings)
    ok = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    found = f"{recordings} {'can' if ok else 'cannot'} be written"
    return Check(
        "recordings", ok, found, f"mkdir -p {recordings} && chmod u+rwx {recordings}", essential=True
    )


def _disk(recordings: Path) -> Check:
    free_mb = shutil.disk_usage(_existing(recordings)).free / 1e6
    return Check(
        "disk room", free_mb > DISK_MB, f"{free_mb / 1000:.1f} GB", f"free {DISK_MB} MB for recordings"
    )


def exit_code(checks: list[Check]) -> int:
    """Return 0 if a show can be played, 1 if something essential is missing."""
    return int(any(check.essential and not check.ok for check in checks))


def as_table(checks: list[Check]) -> str:
    """Return the checks as a table, what to do about each trouble below its line."""
    wide = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = "ok  " if check.ok else "FAIL" if check.essential else "warn"
        lines.append(f"{mark}  {check.name:{wide}}  {' '.join(check.found.split())}")
        if not check.ok:
            lines.append(f"{'':{wide + 8}}-> {check.remedy}")
    return "\n".join(lines)
