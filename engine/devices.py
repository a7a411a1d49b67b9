"""What this machine offers a show, each part of it asked in a process of its own."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from ctypes import CDLL, RTLD_GLOBAL
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

import psutil

from engine.clock import monotonic_us
from engine.workers.shared import SPAWN

NO_ANSWER: Final = "no answer"
ANSWER_S: Final = 4.0  # a server, driver or library that lets itself be waited for so long counts as hanging
LONGEST_S: Final = 60.0  # so long may a probe work on its answer
LOOK_S: Final = 0.2
_WORK: Final = 0.08  # share of a processor from which on a probe is at work, and not asleep between two polls
NULL_DEVICE: Final = "Discard all samples"
REALTIME_PRIORITY: Final = 10  # jackd's own default (jackd(1), --realtime-priority)

_OF_NVIDIA: Final = ("CUDAExecutionProvider", "TensorrtExecutionProvider")

# Module by distribution, as pyproject.toml lists them.
MODULES: Final = {
    "numpy": "numpy", "onnxruntime": "onnxruntime", "pydantic": "pydantic", "pygame": "pygame",
    "mido": "mido", "opencv-python-headless": "cv2", "av": "av",
    "psutil": "psutil", "miniaudio": "miniaudio", "moderngl": "moderngl",
    "aiohttp": "aiohttp", "zeroconf": "zeroconf",
    "JACK-Client": "jack", "python-rtmidi": "rtmidi", "tinysoundfont": "tinysoundfont", "aalink": "aalink",
}  # fmt: skip
# Shared libraries that the modules above load, and the Debian or Ubuntu package of each.
LIBRARIES: Final = {
    "libjack.so.0": "libjack-jackd2-0",
    "libasound.so.2": "libasound2",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libatomic.so.1": "libatomic1",
}


def _installed() -> dict[str, Any]:
    return {"modules": _modules(), "libraries": _libraries(), "realtime": _realtime()}


def _modules() -> dict[str, str]:
    """Return what is wrong with each module, nothing where it can be imported."""
    found = {}
    for distribution, module in MODULES.items():
        try:
            import_module(module)
            found[distribution] = ""
        except Exception as error:  # a module may raise whatever it likes while it is imported
            found[distribution] = f"{type(error).__name__}: {error}"
    return found


def _libraries() -> dict[str, bool]:
    found = {}
    for library in LIBRARIES:
        with suppress(OSError):
            CDLL(library)
            found[library] = True
    return {library: found.get(library, False) for library in LIBRARIES}


def _jack() -> dict[str, Any]:
    import jack

    try:
        client = jack.Client("chladni-devices", no_start_server=True)
    except jack.JackOpenError as error:
        raise ConnectionError("no JACK server runs") from error
    names: dict[str, list[str]] = {
        kind: [port.name for port in client.get_ports(is_output=output, is_input=not output, **{flag: True})]
        for kind, output, flag in (
            ("midi in", True, "is_midi"), ("midi out", False, "is_midi"),
            ("sound in", True, "is_audio"), ("sound out", False, "is_audio"),
        )
    }  # fmt: skip
    server = {"rate": client.samplerate, "block": client.blocksize, "realtime": bool(client.realtime)}
    client.close()
    return server | names


def _rtmidi() -> dict[str, list[str]]:
    import rtmidi

    apis = [api for api in rtmidi.get_compiled_api() if api != rtmidi.API_UNIX_JACK]  # asked by _jack
    return {
        "midi in": [name for api in apis for name in rtmidi.MidiIn(api).get_ports()],
        "midi out": [name for api in apis for name in rtmidi.MidiOut(api).get_ports()],
    }


def _pygame_midi() -> dict[str, list[str]]:
    from pygame import midi

    midi.init()
    infos = [midi.get_device_info(number) for number in range(midi.get_count())]
    return {
        "midi in": [name.decode(errors="replace") for _, name, is_input, *_ in infos if is_input],
        "midi out": [name.decode(errors="replace") for _, name, _, is_output, _ in infos if is_output],
    }


def _miniaudio() -> dict[str, dict[str, list[str]]]:
    import miniaudio

    found: dict[str, dict[str, list[str]]] = {"sound out": {}, "sound in": {}}
    for backend in miniaudio.get_enabled_backends():
        if backend.name in ("NULL", "CUSTOM"):
            continue
        with suppress(miniaudio.MiniaudioError):
            there = miniaudio.Devices([backend])
            for way, listed in (("sound out", there.get_playbacks()), ("sound in", there.get_captures())):
                names = [device["name"] for device in listed]
                # ALSA's own null device stands in every list, even where there is no card.
                found[way][backend.name] = [name for name in names if not name.startswith(NULL_DEVICE)]
    return found


def _displays() -> dict[str, Any]:
    import pygame

    pygame.display.init()
    driver = pygame.display.get_driver()
    sizes = [] if driver in ("dummy", "offscreen") else pygame.display.get_desktop_sizes()
    return {"driver": driver, "sizes": [list(size) for size in sizes]}


def _opengl() -> dict[str, str]:
    import moderngl
    import pygame

    pygame.display.init()
    pygame.display.set_mode((16, 16), pygame.OPENGL | pygame.HIDDEN)
    info = moderngl.create_context().info
    return {"renderer": info["GL_RENDERER"], "version": info["GL_VERSION"]}


def _providers() -> list[str]:
    """Return the providers that can be loaded: a GPU's needs its driver, and its libraries too."""
    import onnxruntime

    from models.providers import usable_providers

    providers = usable_providers()
    if "CUDAExecutionProvider" in providers and sys.platform.startswith("linux"):
        onnxruntime.preload_dlls()
        parts = Path(onnxruntime.__file__).parent / "capi"
        try:
            CDLL(str(parts / "libonnxruntime_providers_shared.so"), mode=RTLD_GLOBAL)
            CDLL(str(parts / "libonnxruntime_providers_cuda.so"), mode=os.RTLD_LAZY)
        except OSError:
            providers = [name for name in providers if name not in _OF_NVIDIA]
    return providers


def _realtime() -> bool:
    """Tell whether this process may run ahead of all others, by trying."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except (OSError, AttributeError):  # refused, or another system than Linux
        return False
    return True


PROBES: Final[dict[str, Callable[[], Any]]] = {
    "installed": _installed,
    "providers": _providers,
    "displays": _displays,
    "opengl": _opengl,
    "jack": _jack,
    "rtmidi": _rtmidi,
    "pygame midi": _pygame_midi,
    "miniaudio": _miniaudio,
}


class Unanswered(str):
    """Why a probe has found nothing."""


def _answer(probe: Callable[[], Any], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # JACK, ALSA and SDL tell their troubles to the terminal
        os.dup2(quiet, stream)
    try:
        pipe.send(probe())
    except Exception as error:  # whatever it was, it is the answer
        pipe.send(Unanswered(str(error).strip() or type(error).__name__))


# On a busy machine a first import alone may take seconds. So only time in which a probe is blocked counts
# against it: who computes, or waits for the processor or the disk, is at work on its answer.
class _Probe:
    """A probe in a process of its own, which is killed in the end."""

    def __init__(self, name: str, probe: Callable[[], Any]) -> None:
        self.name = name
        self.pipe, theirs = SPAWN.Pipe(duplex=False)
        self._process = SPAWN.Process(
            target=_answer, args=(probe, theirs), name=f"chladni {name}", daemon=True
        )
        self._process.start()
        theirs.close()
        self._worked_us, self._used_s = monotonic_us(), 0.0

    def blocked_s(self) -> float:
        """Return for how long the process has done no work, to be asked every `LOOK_S`."""
        try:
            process = psutil.Process(self._process.pid)
            times = process.cpu_times()
            waits = process.status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
        except psutil.Error:
            return 0.0  # it has ended: its pipe tells
        before_s, self._used_s = self._used_s, times.user + times.system
        if waits or self._used_s - before_s > _WORK * LOOK_S:
            self._worked_us = monotonic_us()
        return (monotonic_us() - self._worked_us) / 1e6

    def answer(self) -> Any:
        """Return what has come back."""
        try:
            return self.pipe.recv()
        except EOFError:
            return Unanswered("crashed")

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.join(0.1)


def ask(probes: dict[str, Callable[[], Any]], timeout_s: float = ANSWER_S) -> dict[str, Any]:
    """Return what each probe answers, or an `Unanswered` that tells why it does not.

    The probes run at once, so that a crash or a server that hangs costs its own answer, and `timeout_s` in
    which its probe does no work.
    """
    answers: dict[str, Any] = {name: Unanswered(f"{NO_ANSWER} in {timeout_s:g} s") for name in probes}
    until_us = monotonic_us() + LONGEST_S * 1e6
    asked = [_Probe(name, probe) for name, probe in probes.items()]
    waiting = asked
    while waiting and monotonic_us() < until_us:
        answered = wait([each.pipe for each in waiting], LOOK_S)
        answers |= {each.name: each.answer() for each in waiting if each.pipe in answered}
        waiting = [each for each in waiting if each.pipe not in answered and each.blocked_s() < timeout_s]
    for each in asked:
        each.end()
    return answers


def devices(timeout_s: float = ANSWER_S) -> dict[str, dict[str, Any]]:
    """Return the MIDI ports, displays, sound devices and providers of this machine, ready for JSON.

    Each list stands under its part and the way it was found; a string in its place tells why there is none.
    """
    wanted = ("jack", "rtmidi", "pygame midi", "miniaudio", "displays", "opengl", "providers")
    found = ask({name: PROBES[name] for name in wanted}, timeout_s)
    midi = {
        f"{way} ({name})": _plain(found[name], way)
        for way in ("midi in", "midi out")
        for name in ("jack", "rtmidi", "pygame midi")
    }
    screens = found["displays"]
    if not isinstance(screens, Unanswered):
        screens = [f"{width} x {height} ({screens['driver']})" for width, height in screens["sizes"]]
    return {
        "MIDI": midi,
        "displays": {"screens": _plain(screens), "OpenGL": _plain(found["opengl"], "renderer")},
        "sound": _sound(found, "sound out"),
        "sound in": _sound(found, "sound in"),
        "providers": {"ONNX Runtime": _plain(found["providers"])},
    }


def _sound(found: dict[str, Any], way: str) -> dict[str, Any]:
    backends = found["miniaudio"]
    others = {"miniaudio": backends} if isinstance(backends, Unanswered) else backends[way]
    jack = {"JACK": _plain(found["jack"], way)}
    return jack | {name: _plain(names) for name, names in others.items()}


def _plain(answer: Any, key: str = "") -> Any:
    if isinstance(answer, Unanswered):
        return str(answer)
    answer = answer[key] if key else answer
    return [answer] if isinstance(answer, str) else answer


def as_text(found: dict[str, dict[str, Any]]) -> str:
    """Return what `devices` found as lines to be read."""
    lines = []
    for part, ways in found.items():
        lines.append(part)
        for way, names in ways.items():
            told = [f"none: {names}"] if isinstance(names, str) else names or ["none"]
            lines += [f"  {way if not number else '':24}{name}" for number, name in enumerate(told)]
    return "\n".join(lines)
