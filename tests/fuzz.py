"""What comes from outside, made wrong on purpose: targets, their seed corpus, and the long run of both.

    python tests/fuzz.py midi --runs 10000000          # or osc, shows, recordings, manifests, onnx
    python tests/fuzz.py osc --seconds 600

A target takes bytes and raises what the product would not survive. `tests/test_fuzz.py` runs each for a
moment; here atheris (libFuzzer, guided by the branches that an input takes) runs one for as long as is asked,
and ends with the number of inputs tried.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "models" / "weights" / "impressionism"
MAX_BYTES = 256
_TICK_PACKETS = 64  # MIDI or OSC messages before the core closes a tick
_LOGGED_PACKETS = 16  # every so many are written and read as the recording does
_WATCHED_PACKETS = 1 << 20  # between two looks at what has grown
_READERS = ["engine.io", "engine.core.show", "engine.recording", "models.manifest"]  # whose branches guide


class Stage:
    """The core behind a device: takes what the targets make of their bytes, and must not grow by it."""

    def __init__(self) -> None:
        from engine.core.advance import close, open_tick, receive
        from engine.core.events import Event, decode, encode
        from engine.core.show import parse
        from engine.core.state import initial

        routes = '[[route]]\nfrom = "/osc*"\nto = "hue"\n[[route]]\nfrom = "/midi/*"\nto = "psi"\n'
        cues = "[[cue]]\nnumber = 1\nfade_s = 1\nlevels = { psi = 1, hue = 9 }\n"
        cues += '[[cue]]\nnumber = 2\nsnap = "bar"\nfollow_beats = 1\n[[cue]]\nnumber = 3\nblock = true\n'
        self._show = parse('title = "Fuzzed"\n' + routes + cues, "fuzzed")
        self._state = initial(self._show)
        self._close, self._open, self._receive = close, open_tick, receive
        self._event, self._decode, self._encode = Event, decode, encode
        self._packets = 0
        self._most = 0

    def take(self, source: str, bodies: Sequence[object]) -> None:
        """Have the core receive what one message means."""
        for number, body in enumerate(bodies):
            if self._packets % _LOGGED_PACKETS == 0:
                assert self._decode(json.loads(json.dumps(self._encode(body)))) == body, "not as recorded"
            event = self._event(self._state.tick, 0, source, number, body)
            self._state = self._receive(self._show, self._state, event)
        self._packets += 1
        if self._packets % _TICK_PACKETS == 0:
            self._state = self._open(self._close(self._show, self._state))
        if self._packets % _WATCHED_PACKETS == 0:
            size = len(repr(self._state))
            assert self._packets < 3 * _WATCHED_PACKETS or size < 2 * self._most, "the state grows"
            self._most = max(self._most, size)
            print(f"{self._packets:,} messages, a state of {size:,} characters", file=sys.stderr, flush=True)


def midi() -> Callable[[bytes], None]:
    """Bytes of a port, in pieces: never stuck, and at rest once the port is gone."""
    from engine.io.midi import Translator
    from engine.io.midi_bytes import MidiParser

    stage = Stage()
    rest = Translator().release()

    def target(data: bytes) -> None:
        parser, translator = MidiParser(), Translator()
        cut = data[0] % len(data) if data else 0
        for piece in (data[:cut], data[cut:]):
            for message in parser.feed(piece):
                stage.take("midi:fuzzed", translator.bodies(message))
        assert parser.feed(b"\x90\x3c\x40")[-1] == b"\x90\x3c\x40", "the parser is stuck"
        stage.take("midi:fuzzed", translator.release())
        assert translator.release() == rest, "the port is not at rest"

    return target


def osc() -> Callable[[bytes], None]:
    """One packet: read whole or refused."""
    from engine.io import osc_bytes
    from engine.io.osc_messages import bodies

    stage = Stage()

    def target(data: bytes) -> None:
        try:
            messages = osc_bytes.read(data)
        except osc_bytes.PacketError:
            return
        assert len(messages) <= osc_bytes.MAX_MESSAGES
        for tag, address, arguments in messages:
            assert 0 <= tag < 1 << 64
            assert len(arguments) <= len(data)
            try:
                made = bodies(address, arguments, ("impressionism", "planets"))
            except ValueError:
                continue
            stage.take("osc", made)

    return target


def shows() -> Callable[[bytes], None]:
    """A show file: parsed, or one error; what is parsed plays."""
    from engine.core.advance import advance
    from engine.core.show import ShowError, parse
    from engine.core.state import initial

    def target(data: bytes) -> None:
        try:
            show = parse(data.decode("utf-8", "replace"), "fuzzed.toml")
        except ShowError as error:
            if not str(error).startswith("fuzzed.toml"):
                raise
            return
        state = initial(show)
        for _ in range(4):
            state = advance(show, state, ())

    return target


def recordings() -> Callable[[bytes], None]:
    """A recording: read, or one error; what is read and short enough is verified."""
    from engine.offline import verify
    from engine.recording import RecordingError, read

    path = Path(tempfile.mkdtemp(prefix="chladni-fuzz-")) / "fuzzed.chladni"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        try:
            recording = read(path)
        except RecordingError as error:
            if not str(error).startswith(str(path)):
                raise
            return
        if recording.end_tick < 500:
            verify(recording)

    return target


def manifests() -> Callable[[bytes], None]:
    """A manifest beside the real files: loaded, or one error."""
    from models import manifest

    folder = Path(tempfile.mkdtemp(prefix="chladni-fuzz-")) / "model"
    shutil.copytree(WEIGHTS, folder)

    def target(data: bytes) -> None:
        (folder / manifest.FILE).write_bytes(data)
        with suppress(manifest.ManifestError):
            manifest.load(folder)

    return target


# ONNX Runtime reads a graph in C++, where an input can take the process down. In the product that process is
# the generator's, and the supervisor brings it back; so here each graph is given a process of its own: one
# that dies of it is counted, one that hangs fails the run.
def onnx() -> Callable[[bytes], None]:
    """A graph whose manifest vouches for it: played, refused with ValueError, or the end of one process."""
    import onnxruntime  # noqa: F401 (before the forks)

    import engine.render.generator  # noqa: F401
    from models import manifest

    folder = Path(tempfile.mkdtemp(prefix="chladni-fuzz-")) / "model"
    shutil.copytree(WEIGHTS, folder)
    told = json.loads((folder / manifest.FILE).read_text())

    def target(data: bytes) -> None:
        (folder / told["mapping"]["file"]).write_bytes(data)
        entry = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
        told["mapping"] |= entry
        (folder / manifest.FILE).write_text(json.dumps(told))
        child = os.fork()
        if not child:
            signal.alarm(20)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            os._exit(_play_once(folder))
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) != signal.SIGALRM, "it hangs"
            deaths.append(os.WTERMSIG(status))

    return target


deaths: list[int] = []  # the signals by which graphs have ended their process


def _play_once(folder: Path) -> int:
    from engine.core.jobs import FrameJob
    from engine.core.parameters import DIRECTIONS, EFFECTS
    from engine.render.generator import Generator

    effects = tuple(effect.default for effect in EFFECTS)
    job = FrameJob(0, 0, 1, 0.5, 2, (0.0,) * 3, 0.7, 1.0, 3, (1.0,), (0.0,) * DIRECTIONS, effects)
    try:
        Generator(folder, "cpu").frame(job, 0)
    except Exception:  # as the worker takes it
        return 1
    return 0


TARGETS: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "midi": midi, "osc": osc, "shows": shows, "recordings": recordings, "manifests": manifests, "onnx": onnx,
}  # fmt: skip


_MIDI_SEEDS = (
    "90 3c 40 3e 40 f8 3e 00 80 3c 00",  # running status, a clock in it
    "b0 01 7f b0 21 05 b0 07 64 b0 40 7f",  # 14 bits, volume, pedal
    "e0 00 40 e0 7f 7f",
    "b0 63 01 b0 62 02 b0 06 10 b0 26 20 b0 60 00",  # NRPN
    "b0 65 00 b0 64 06 b0 06 0f 91 3c 7f d1 40 e1 01 02",  # an MPE zone
    "f0 7e 7f 09 01 f7 c0 05 a0 3c 30 fa f8 f8 fc fb",  # SysEx, the transport
    "b0 79 00 b0 7b 00 b0 65 7f b0 64 7f f2 01 02",
)


def corpus(name: str) -> list[bytes]:
    """Return the seeds of a target: whole, valid and various."""
    match name:
        case "midi":
            return [bytes.fromhex(line) for line in _MIDI_SEEDS]
        case "osc":
            return _osc_seeds()
        case "shows":
            return [path.read_bytes() for path in sorted((ROOT / "shows").glob("*.toml"))] + [
                b'title = "A"\n', b'title = "B"\nfps = 60\n[[cue]]\nnumber = 1\nlevels = { hue = 3 }\n',
            ]  # fmt: skip
        case "recordings":
            lines = (ROOT / "shows" / "first_light.chladni").read_bytes().splitlines(keepends=True)
            return [b"".join(lines[:count]) for count in (1, 2, 40)] + [lines[0] + b'["end",480]\n']
        case "manifests":
            folders = (ROOT / "models" / "weights").glob("*/manifest.json")
            return [path.read_bytes() for path in sorted(folders)]
        case _:
            return [(WEIGHTS / "mapping.onnx").read_bytes()]


def _osc_seeds() -> list[bytes]:
    def text(value: str) -> bytes:
        raw = value.encode() + b"\0"
        return raw + b"\0" * (-len(raw) % 4)

    fader = text("/1/fader1") + text(",f") + struct.pack(">f", 0.5)
    note = text("/chladni/note") + text(",iif") + struct.pack(">iif", 1, 60, 0.7)
    rich = text("/x") + text(",ihdsbTF[NI]c") + struct.pack(">iqd", 1, 2, 3.0) + text("four")
    rich += struct.pack(">i", 5) + b"fifth\0\0\0" + struct.pack(">i", 65)
    level = text("/chladni/parameter/hue") + text(",f") + struct.pack(">f", 30.0)
    generator = text("/chladni/generator") + text(",s") + text("impressionism")
    cue = text("/chladni/cue/2/go") + text(",T")
    preset = text("/chladni/preset/dusk/recall") + text(",f") + struct.pack(">f", 0.2)
    column = text("/composition/columns/1/connect") + text(",i") + struct.pack(">i", 1)
    fader_level = text("/chladni/fader/hue") + text(",f") + struct.pack(">f", 0.5)
    both = b"#bundle\0" + struct.pack(">Q", 1)
    both += b"".join(struct.pack(">i", len(each)) + each for each in (fader, note))
    nested = b"#bundle\0" + struct.pack(">Q", 1 << 40) + struct.pack(">i", len(both)) + both
    return [
        fader,
        note,
        rich,
        level,
        generator,
        text("/chladni/go"),
        both,
        nested,
        cue,
        preset,
        column,
        fader_level,
    ]


def main() -> None:
    """Fuzz one target with atheris."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seconds", type=int, default=0)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import atheris

    with atheris.instrument_imports(include=_READERS):
        target = TARGETS[arguments.target]()
    seeds = Path(tempfile.mkdtemp(prefix="chladni-corpus-"))
    for number, seed in enumerate(corpus(arguments.target)):
        (seeds / f"{number}").write_bytes(seed)
    longest = max(MAX_BYTES, *map(len, corpus(arguments.target)))
    options = [f"-runs={arguments.runs}", f"-max_total_time={arguments.seconds}", f"-max_len={longest}"]
    found = ROOT / "build" / "fuzz"
    found.mkdir(parents=True, exist_ok=True)
    options += ["-print_final_stats=1", "-rss_limit_mb=2048", "-timeout=300", f"-artifact_prefix={found}/"]
    atheris.Setup([sys.argv[0], *options, str(seeds)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
