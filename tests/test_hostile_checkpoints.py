"""Hostile checkpoints: each is refused with one clear line, nothing in it runs, and memory stays bounded.

Three things watch that nothing runs: a file that the payloads would touch, an environment variable that
source text would set, and Python's own audit events, which tell of every import, compilation, unpickled
name and process.
"""

import io
import os
import struct
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import CANARY, Golden, nvlabs, safetensors, torch_bytes, torch_file

from models import importers
from models.importers import CheckpointError

MOST_BYTES = 200 << 20  # of memory while a file is refused
FORBIDDEN = ("import", "compile", "exec", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.putenv",
             "subprocess.Popen", "pickle.find_class", "marshal.loads", "socket.connect", "ctypes.dlopen",
             "os.remove", "os.rename", "shutil.rmtree")  # fmt: skip


class Watch:
    """Python's audit events of one thread while it is on."""

    def __init__(self) -> None:
        self.thread = 0
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: Any) -> None:
        if self.thread == threading.get_ident() and event in FORBIDDEN:
            self.seen.append(f"{event} {arguments}"[:200])


WATCH = Watch()


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Read a good file of each container, so that whatever is imported late is there."""
    folder, golden = tmp_path_factory.mktemp("warm"), Golden("rosinality")
    importers.read(torch_file(folder / "a.pt", {"g_ema": golden.tensors()}))
    importers.read(torch_file(folder / "b.pt", {"g_ema": golden.tensors()}, legacy=True))
    importers.read(safetensors(folder / "c.safetensors", golden))
    importers.read(nvlabs(folder / "d.pkl", Golden("stylegan2-skip")))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Yield the file that a payload would touch; it must not be there in the end."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()
    assert CANARY not in os.environ


def refused(path: Path) -> str:
    """Return the line with which a file is refused; nothing runs meanwhile, and memory stays bounded."""
    tracemalloc.start()
    WATCH.seen.clear()
    WATCH.thread = threading.get_ident()
    try:
        with pytest.raises(CheckpointError) as caught:
            importers.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        WATCH.thread = 0
        tracemalloc.stop()
    line = str(caught.value)
    assert WATCH.seen == []
    assert peak < MOST_BYTES
    assert line.startswith(str(path))
    assert line.isprintable()
    assert len(line) < 700
    return line.removeprefix(str(path))


# A pickle is put together here instruction by instruction, as an attacker would.


def text(words: str) -> bytes:
    return b"X" + struct.pack("<I", len(words.encode())) + words.encode()


def data(content: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(content)) + content


def name(full: str) -> bytes:
    module, _, last = full.rpartition(".")
    return b"c" + module.encode() + b"\n" + last.encode() + b"\n"


def stack_name(full: str) -> bytes:
    module, _, last = full.rpartition(".")
    return text(module) + text(last) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def program(*parts: bytes, protocol: int = 2) -> bytes:
    return bytes([0x80, protocol]) + b"".join(parts) + b"."


def attacks(canary: Path) -> dict[str, bytes]:
    """Return pieces of pickle that try to run code, by what they try."""
    command, source = text(f"touch {canary}"), text(f"open({str(canary)!r}, 'w')")
    integer = b"K\x00"
    rebuild = name("numpy.core.multiarray._reconstruct")
    array = call(rebuild, name("numpy.ndarray"), b"K\x00\x85", data(b"b"))
    typed = name("torch._tensor._rebuild_from_type_v2")
    meta = b"}" + text("state") + b"}s" + text("module_src") + source + b"s"
    return {
        "reduce os.system": call(name("os.system"), command),
        "reduce posix.system, protocol 4": call(stack_name("posix.system"), command),
        "reduce nt.system of another system": call(name("nt.system"), command),
        "eval": call(name("builtins.eval"), source),
        "exec of Python 2": call(name("__builtin__.execfile"), source),
        "getattr chain": call(call(name("builtins.getattr"), call(name("builtins.__import__"), text("os")),
                                   text("system")), command),
        "import_module": call(name("importlib.import_module"), text("antigravity")),
        "partial": call(name("functools.partial"), name("os.system"), command),
        "attrgetter": call(name("operator.attrgetter"), text("system")),
        "methodcaller": call(name("operator.methodcaller"), text("system"), command),
        "subprocess": call(name("subprocess.Popen"), b"(" + command + b"l"),
        "new subprocess with keywords": name("subprocess.Popen") + b")}" + text("args") + command + b"s\x92",
        "new object": name("code.InteractiveInterpreter") + b")\x81}b",
        "setstate gadget": name("functools.partial") + b")\x81(" + name("os.system") + b"(" + command
        + b"t}NtbR",
        "build on a class": name("models.importers.pickles.Record") + b"}" + text("state") + integer + b"sb",
        "build on a module": call(name("sys.modules.__getitem__"), text("os")) + b"}b",
        "INST": b"(" + command + b"ios\nsystem\n",
        "OBJ": b"(" + name("os.system") + command + b"o",
        "extension code": b"\x82\x01",
        "codecs": call(name("_codecs.decode"), data(b"abc"), text("rot13")),
        "dill": call(name("dill._dill._create_function"), call(name("dill._dill._create_code"), integer)),
        "dill's import": call(name("dill._dill._import_module"), text("os")),
        "cloudpickle": call(name("cloudpickle.cloudpickle._make_function"), name("types.CodeType")),
        "Python's own call": call(name("operator.call"), name("os.system"), command),
        "a name behind a known module": call(stack_name("torch._utils.os.system"), command),
        "a module without a name": call(text("") + text("os.system") + b"\x93", command),
        "a name that looks like another": call(stack_name("\u202e\uff4f\u200bs\0.system"), command),
        "a call of an object": name("my.Shell") + b")\x81" + command + b"\x85R",
        "joblib": call(name("joblib.numpy_pickle.load"), text(str(canary))),
        "joblib's wrapper": name("joblib.numpy_pickle.NumpyArrayWrapper") + b")\x81}b" + b"\xff" * 8,
        "numpy's runstring": call(name("numpy.testing._private.utils.runstring"), source, b"}"),
        "numpy.load": call(name("numpy.load"), text(str(canary)), b"N", b"\x88"),
        "torch.hub": call(name("torch.hub.load"), text("a/b"), text("c")),
        "torch.load": call(name("torch.load"), text(str(canary))),
        "torch's own rebuilder": call(typed, name("os.system"), b"N", command + b"\x85", b"N"),
        "a rebuilder of another's": call(typed, name("torch.load"), b"N", command + b"\x85", b"N"),
        "hooks of a tensor": call(name("torch.nn.modules.module.register_module_forward_hook"),
                                  name("os.system")),
        "persistent source that is called": call(
            call(name("torch_utils.persistence._reconstruct_persistent_obj"), meta), command),
        "an object array": array + b"(K\x01K\x01\x85" + call(name("numpy.dtype"), text("O8")) + b"\x89]"
        + call(name("os.system"), command) + b"atb",
        "pty": call(name("pty.spawn"), command),
        "webbrowser": call(name("webbrowser.open"), text("http://127.0.0.1/")),
        "ctypes": call(name("ctypes.CDLL"), text("libc.so.6")),
        "a name with escapes": call(name("os\x1b[2J.system\x1b[31m"), command),
    }  # fmt: skip


NAMES = tuple(attacks(Path("canary")))


def places(attack: bytes) -> dict[str, tuple[str, bytes]]:
    """Return files that hold a piece of pickle: alone, in a snapshot, in archives, in a storage's archive."""
    snapshot = program(b"}", text("G_ema"), b"}", text("a"), attack, b"ss", protocol=4)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", program(b"}", text("g_ema"), attack, b"s"))
    head = torch_bytes_before()
    inner = head + program(attack)
    return {
        "alone": ("a.pkl", program(attack)),
        "in a snapshot": ("b.pkl", snapshot),
        "in an archive": ("c.pt", buffer.getvalue()),
        "in an archive before 1.6": ("d.pt", inner),
        "in a storage": ("e.pkl", program(call(name("torch.storage._load_from_bytes"), data(inner)))),
    }


def torch_bytes_before() -> bytes:
    """Return what torch's older archives begin with: magic, version, system."""
    magic = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
    return (program(b"\x8a\x0a" + magic) + program(b"M\xe9\x03")
            + program(b"}" + text("little_endian") + b"\x88s"))  # fmt: skip


@pytest.mark.parametrize("attack", NAMES)
def test_code_is_refused_wherever_it_lies_and_never_runs(attack: str, tmp_path: Path, canary: Path) -> None:
    for where, (file, content) in places(attacks(canary)[attack]).items():
        path = tmp_path / file
        path.write_bytes(content)
        line = refused(path)
        assert line, where


def test_the_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(program(call(name("os.system"), text("true"))))
    assert "it names os.system" in refused(path)
    path.write_bytes(program(call(name("my.code.run"), text("true"))))
    assert "it calls my.code.run" in refused(path)
    path.write_bytes(program(name("dnnlib.tflib.network.Network") + b")\x81}b", protocol=3))
    assert "legacy.py" in refused(path)


def test_the_source_in_a_snapshot_never_runs(tmp_path: Path, canary: Path) -> None:
    path = nvlabs(tmp_path / "a.pkl", Golden("stylegan2-skip"))
    assert CANARY.encode() in path.read_bytes()
    WATCH.seen.clear()
    WATCH.thread = threading.get_ident()
    try:
        network = importers.read(path)
    finally:
        WATCH.thread = 0
    assert WATCH.seen == []
    assert network.num_ws == 8


def tensor(
    shape: bytes, strides: bytes, offset: bytes = b"K\x00", kind: str = "Float", count: bytes = b"K\x04"
) -> bytes:
    """Return a piece of pickle: a tensor over a storage, of four floats in the archive."""
    storage = b"(" + text("storage") + name(f"torch.{kind}Storage") + text("0") + text("cpu") + count + b"tQ"
    return call(name("torch._utils._rebuild_tensor_v2"), storage, offset, shape, strides, b"\x89", b"N")


def bombs() -> dict[str, bytes]:
    """Return pieces of pickle that ask for too much, or lie."""
    many = b"(" + b"N" * 100_000 + b"lq\x00"
    pairs = b"(" + b"K\x01N\x86" * 30_000 + b"lq\x00"
    rebuild = name("numpy.core.multiarray._reconstruct")
    array = call(rebuild, name("numpy.ndarray"), b"K\x00\x85", data(b"b"))
    return {
        "a text of 4 GB": b"X\xff\xff\xff\xffabc",
        "bytes of 2 ** 63": b"\x8e" + struct.pack("<Q", 2**63) + b"abc",
        "bytes of 2 ** 64 - 1": b"\x8e" + b"\xff" * 8,
        "an integer of 2 GB": b"\x8b\xff\xff\xff\x7f\x01",
        "a negative integer size": b"\x8b\xff\xff\xff\xff\x01",
        "lists without end": b"]" * 510_000,
        "dicts without end": b"}" * 510_000,
        "marks without end": b"(" * 510_000,
        "deep lists": b"]" + b"]" * 100_000 + b"a" * 100_000,
        "deep tuples as a key": b"}" + b")" + b"\x85" * 100_000 + b"Ns",
        "deep tuples in a set": b"\x8f(" + b")" + b"\x85" * 100_000 + b"\x90",
        "laughs": b"]q\x00" + b"".join(
            b"0]q" + bytes([n + 1]) + b"(" + (b"h" + bytes([n])) * 10 + b"e" for n in range(60)
        ),
        "a list that holds itself": b"]q\x00h\x00a",
        "copies of a list": many + (call(name("torch.Size"), b"h\x00") * 400),
        "copies of a dict": pairs + call(name("collections.OrderedDict"), b"h\x00") * 400,
        "copies of a text": text("a" * 100_000) + b"q\x00"
        + call(name("_codecs.encode"), b"h\x00", text("latin1")) * 400,
        "tuples of tuples as a shape": tensor(b"K\x01q\x00" + b"h\x00h\x00\x86q\x00" * 60, b"K\x01\x85"),
        "tuples of tuples as an identity": b"Nq\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"Q",
        "a dict copied from itself": b"}q\x00" + (
            b"0" + call(name("collections.OrderedDict"), b"h\x00") + b"q\x00K\x01K\x02s"
        ) * 50_000,
        "a storage of two kinds": tensor(b"K\x02\x85", b"K\x01\x85") + b"0"
        + tensor(b"K\x02\x85", b"K\x01\x85", kind="Double", count=b"K\x02"),
        "a stack that runs empty": b"00000",
        "an empty tuple of three": b"N\x87",
        "a memo never set": b"h\x07",
        "items without a dict": b"NNNs",
        "a dict of odd length": b"(Nd",
        "a state for a number": b"K\x01}b",
        "a tensor larger than its storage": tensor(b"K\x05\x85", b"K\x01\x85"),
        "a tensor of stride 0": tensor(b"J\x00\x00\x00\x40\x85", b"K\x00\x85"),
        "a tensor beyond its storage": tensor(b"K\x02\x85", b"K\x01\x85", b"K\x03"),
        "a negative stride": tensor(b"K\x02\x85", b"J\xff\xff\xff\xff\x85", b"K\x01"),
        "a shape of text": tensor(text("a") + b"\x85", b"K\x01\x85"),
        "a shape of laughs": tensor(b"]q\x00(" + b"h\x00" * 9 + b"e\x85", b"K\x01\x85"),
        "a tensor of many dimensions": tensor(b"(" + b"K\x01" * 99 + b"t", b"(" + b"K\x01" * 99 + b"t"),
        "a storage of another type": b"(" + text("storage") + name("torch.QInt8Storage") + text("0")
        + text("cpu") + b"K\x04tQ",
        "a storage that is not there": b"(" + text("storage") + name("torch.FloatStorage") + text("../../0")
        + text("cpu") + b"K\x04tQ",
        "a storage of another size": b"(" + text("storage") + name("torch.FloatStorage") + text("0")
        + text("cpu") + b"K\x05tQ",
        "an identity that is a number": b"K\x01Q",
        "an array that is shorter than its shape": array + b"(K\x01J\x00\x00\x00\x40\x85"
        + call(name("numpy.dtype"), text("f4")) + b"\x89" + data(b"1234") + b"tb",
        "an unknown protocol": b"\x80\x09N",
        "nothing": b"",
    }  # fmt: skip


HARMLESS = ("deep lists", "laughs", "a list that holds itself")  # small here, and no generator


@pytest.mark.parametrize("bomb", tuple(bombs()))
def test_bombs_and_lies_are_refused_within_bounds(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program(b"}", text("g_ema"), bombs()[bomb], b"s"))
        archive.writestr("archive/data/0", bytes(16))
    assert ("without a generator" in refused(path)) == (bomb in HARMLESS)


def archive_of(members: list[tuple[str, bytes]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return buffer.getvalue()


@cache
def zips() -> dict[str, bytes]:
    """Return zip files with tricks."""
    good = torch_bytes({"g_ema": Golden("rosinality").tensors()})
    empty = program(b"}")
    big = archive_of([("a/data.pkl", empty), ("a/data/0", bytes(64 << 20))], compression=zipfile.ZIP_DEFLATED)
    end = good.rfind(b"PK\x05\x06")
    record = good.rfind(b"PK\x06\x06")
    many = bytearray(good)
    many[end + 10 : end + 16] = struct.pack("<HI", 0xFFFF, 0x7FFFFFFF)
    if record >= 0:
        many[record + 32 : record + 48] = struct.pack("<QQ", 2**40, 2**50)
    start = good.index(b"PK\x01\x02")
    moved = bytearray(good)
    moved[start + 42 : start + 46] = struct.pack("<I", 7)
    overlapping, at, first = bytearray(good), start, 0
    while overlapping[at : at + 4] == b"PK\x01\x02":
        sizes = struct.unpack_from("<HHH", overlapping, at + 28)
        if b"/data/" in overlapping[at + 46 : at + 46 + sizes[0]]:
            first = first or struct.unpack_from("<I", overlapping, at + 42)[0]
            struct.pack_into("<I", overlapping, at + 42, first)
        at += 46 + sum(sizes)
    coded = bytearray(good)
    coded[start + 8] |= 1
    return {
        "a bomb": big,
        "cut in the middle": good[: len(good) // 2],
        "cut in the list of members": good[: end - 10],
        "a list of a million members": bytes(many),
        "a member that lies elsewhere": bytes(moved),
        "members that lie on each other": bytes(overlapping),
        "an encrypted member": bytes(coded),
        "no pickle": archive_of([("archive/other", b"x")]),
        "two pickles": archive_of([("a/data.pkl", empty), ("b/data.pkl", empty)]),
        "a way out": archive_of([("../../etc/data.pkl", program(call(name("os.system"), text("true"))))]),
        "a program of TorchScript": archive_of([("a/data.pkl", empty), ("a/constants.pkl", empty)]),
        "big-endian": archive_of([("a/data.pkl", empty), ("a/byteorder", b"big")]),
        "an archive of an archive": archive_of([("a/data.pkl", good)]),
        "nothing that is known": archive_of([("a/data.pkl", empty)]),
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("trick", tuple(zips()))
def test_tricks_of_zip_files_are_refused(trick: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(zips()[trick])
    refused(path)
    assert list(tmp_path.iterdir()) == [path]


def test_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with pytest.warns(UserWarning, match="Duplicate"):
        path.write_bytes(archive_of([("a/data.pkl", program(b"}"))] * 2))
    assert "two members" in refused(path)


def lies() -> dict[str, tuple[str, bytes]]:
    """Return files that are not what they seem."""
    header = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    size = struct.pack("<Q", len(header))
    legacy = io.BytesIO()
    torch.save({"g_ema": {"a": torch.zeros(100)}}, legacy, _use_new_zipfile_serialization=False)
    return {
        "empty": ("a.pkl", b""),
        "text": ("a.pkl", b"Not a checkpoint, only words about one."),
        "zeros": ("a.pt", bytes(1000)),
        "a protocol of text": ("a.pkl", b"cos\nsystem\n(S'true'\ntR.        "),
        "cut before 1.6": ("a.pt", legacy.getvalue()[:-50]),
        "another count before 1.6": (
            "a.pt",
            legacy.getvalue()[:-408] + struct.pack("<q", 2**40) + bytes(400),
        ),
        "a header of 2 ** 60": ("a.safetensors", struct.pack("<Q", 2**60) + header + bytes(16)),
        "tensors beyond the end": ("a.safetensors", size + header + bytes(8)),
        "a header that is not JSON": ("a.safetensors", size + b"x" * len(header) + bytes(16)),
        "a shape that lies": ("a.safetensors", size + header.replace(b"[4]", b"[5]") + bytes(16)),
        "no generator": ("a.safetensors", size + header + bytes(16)),
    }


@pytest.mark.parametrize("lie", tuple(lies()))
def test_files_that_lie_are_refused(lie: str, tmp_path: Path) -> None:
    file, content = lies()[lie]
    path = tmp_path / file
    path.write_bytes(content)
    refused(path)


def test_a_list_of_tensors_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 17 << 20) + b'{"__metadata__":{"a":"' + b"b" * (17 << 20))
    assert "a list of tensors of 17825792 bytes" in refused(path)


def test_a_good_checkpoint_cut_anywhere_is_refused(tmp_path: Path) -> None:
    golden = Golden("stylegan2-orig-grey")
    files = (nvlabs(tmp_path / "a.pkl", golden), safetensors(tmp_path / "a.safetensors", golden))
    for path in files:
        whole = path.read_bytes()
        for length in np.linspace(0, len(whole) - 2, 60).astype(int):
            path.write_bytes(whole[:length])
            refused(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing.pkl")
    assert "no such file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.pkl")
    assert "no such file" in refused(tmp_path / "pipe.pkl")


def test_weights_that_lie_on_each_other_are_refused(tmp_path: Path) -> None:
    tensors = Golden("rosinality").tensors()
    shared = torch.ones(max(tensor.numel() for tensor in tensors.values()))
    aliased = {name: shared[: tensor.numel()].view(tensor.shape) for name, tensor in tensors.items()}
    assert "lie on each other" in refused(torch_file(tmp_path / "a.pt", {"g_ema": aliased}))


def test_sizes_that_no_generator_has_are_refused(tmp_path: Path) -> None:
    golden = Golden("stylegan3-t")
    first = next(name for name in golden.weights if ".L0_" in name).split(".")[1]
    huge = {name.replace(first, "L0_99999999_16"): array for name, array in golden.weights.items()}
    golden.weights = huge
    assert "px" in refused(safetensors(tmp_path / "a.safetensors", golden))
    golden = Golden("stylegan2-skip")
    golden.weights["synthesis.b16.resample_filter"] = np.ones((500, 500), np.float32)
    assert "taps" in refused(nvlabs(tmp_path / "b.pkl", golden))
