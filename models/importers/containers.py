"""Opens a checkpoint as data: a pickle, an archive of torch (both of its formats), or safetensors.

The file is mapped into memory, and tensors are views of the map until somebody asks for their numbers. No
member of an archive is ever unpacked to a place, so its name can lead nowhere; none may be compressed, as
torch compresses none, so none can swell.
"""

import mmap
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from models.importers import pickles
from models.importers.network import CheckpointError
from models.importers.tensors import KINDS, Storage, Tensor, TensorError

MAGIC = 0x1950A86A20F9469CFC6C  # of torch's format before 1.6: torch/serialization.py
MOST_DIRECTORY = 16 << 20  # bytes of a list of members or of tensors, some 100,000 of them
MOST_MEMBERS = 65_000


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds, as data: dicts, lists, numbers, text, `Tensor`s and inert `Record`s."""

    path: Path
    format: str  # for people
    bytes: int
    data: Any
    metadata: Mapping[str, str]  # of safetensors


@dataclass(frozen=True)
class SafeTensor:
    """A tensor in a safetensors file, read when it is asked for."""

    path: Path
    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """How many bytes its elements take in the file."""
        return int(prod(self.shape)) * np.dtype(KINDS[self.kind]).itemsize

    def array(self) -> NDArray[Any]:
        """Return the tensor as float32."""
        with safe_open(self.path, framework="numpy") as file:
            found: NDArray[Any] = file.get_tensor(self.name)
        return found.astype(np.float32, copy=False)


def open_checkpoint(path: Path) -> Checkpoint:
    """Return what a checkpoint file holds; nothing in it is executed. CheckpointError says why not."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    if path.stat().st_size < 16:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes, too short for a checkpoint")
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    where = str(path)
    metadata: dict[str, str] = {}
    head = bytes(data[:9])
    if head[:4] == b"PK\x03\x04":
        form, found = "torch archive", _archive(data, path)
    elif head[0] == 0x80 and head[1] <= 5:
        form, found = _pickle(data, where)
    elif head[8:] == b"{" or path.suffix == ".safetensors":
        form = "safetensors"
        found, metadata = _safetensors(path)
    else:
        raise CheckpointError(
            f"{path}: neither a pickle nor an archive of torch nor safetensors; it begins with {head[:8]!r}"
        )
    return Checkpoint(path, form, len(data), found, metadata)


def _pickle(data: memoryview, where: str) -> tuple[str, Any]:
    budget = pickles.Budget()
    first, _ = pickles.load(data, where, _nested(where), budget=budget)
    if isinstance(first, int) and first == MAGIC:
        return "torch archive before 1.6", _legacy(data, where, budget)
    return "pickle", first


def _nested(where: str) -> Any:
    """Return what reads an archive within a pickle: the form in which a storage is pickled on its own."""

    def read(data: memoryview, budget: pickles.Budget) -> Any:
        if budget.depth <= 0:
            raise CheckpointError(f"{where}: an archive in an archive in a pickle")
        budget.depth -= 1
        found = _legacy(data, where, budget)
        budget.depth += 1
        return found

    return read


def _storage(pid: Any) -> tuple[Storage, str]:
    """Return the storage that a persistent identity describes, still empty, and its key."""
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise pickles.Refused("an identity that is no storage's")
    _, kind, key, _, count = pid[:5]
    if not isinstance(key, str) or not isinstance(count, int) or count < 0 or (len(pid) == 6 and pid[5]):
        raise pickles.Refused("a storage that doesn't say what it is")
    return Storage(pickles.storage_kind(kind), count), key


def _agreed(storage: Storage, known: Storage) -> Storage:
    """Return the storage of a key that was named before; Refused where it was said to be another."""
    if (storage.kind, storage.count) != (known.kind, known.count):
        raise pickles.Refused(
            f"a storage of {known.count} {known.kind} that is said to have {storage.count} {storage.kind} too"
        )
    return known


def _legacy(data: memoryview, where: str, budget: pickles.Budget) -> Any:
    """Return what an archive in torch's older format holds: five pickles, then the storages one by one."""
    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        storage, key = _storage(pid)
        return _agreed(storage, storages.setdefault(key, storage))

    nested = _nested(where)
    parts, at = [], 0
    for _ in range(5):
        part, at = pickles.load(data, where, nested, at, budget, persistent)
        parts.append(part)
    magic, _, system, found, keys = parts
    if magic != MAGIC or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(f"{where}: not a little-endian archive of torch")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError(f"{where}: the list of its storages is none")
    for key in keys:
        if key not in storages or storages[key].data:
            raise CheckpointError(f"{where}: storage {key[:40]!r} is there without being used, or twice")
        size = storages[key].count * np.dtype(KINDS[storages[key].kind]).itemsize
        if at + 8 + size > len(data) or struct.unpack_from("<q", data, at)[0] != storages[key].count:
            raise CheckpointError(f"{where}: storage {key[:40]!r} is not the {size} bytes that it should be")
        storages[key].fill(data[at + 8 : at + 8 + size])
        at += 8 + size
    if missing := [key for key in storages if key not in set(keys)]:
        raise CheckpointError(f"{where}: storage {missing[0][:40]!r} is missing")
    return found


def _archive(data: memoryview, path: Path) -> Any:
    """Return what an archive of torch holds: a zip file of one pickle and a member for each storage."""
    members = _members(data, path)
    roots = [name.removesuffix("data.pkl") for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(roots) != 1:
        raise CheckpointError(f"{path}: a zip file with {len(roots)} members data.pkl; torch writes one")
    (root,) = roots
    if root + "constants.pkl" in members:
        raise CheckpointError(f"{path}: a TorchScript program; a checkpoint holds weights (a state dict)")
    if (order := members.get(root + "byteorder")) is not None and bytes(order[:16]) != b"little":
        raise CheckpointError(f"{path}: big-endian; only little-endian checkpoints are read")
    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        storage, key = _storage(pid)
        if key not in storages:
            member = members.get(f"{root}data/{key}")
            if member is None:
                raise pickles.Refused(f"storage {key[:40]!r} is missing")
            storage.fill(member)
            storages[key] = storage
        return _agreed(storage, storages[key])

    found, _ = pickles.load(members[root + "data.pkl"], str(path), _nested(str(path)), persistent=persistent)
    return found


def _members(data: memoryview, path: Path) -> dict[str, memoryview]:
    """Return the members of a zip file by name, each a view of the file."""
    try:
        _check_directory(data)
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
        members: dict[str, memoryview] = {}
        free = 0  # where the member before it ends
        for info in sorted(infos, key=lambda info: info.header_offset):
            name = info.filename[:80]
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise ValueError(f"member {name!r} is compressed, and torch compresses none")
            if info.flag_bits & 1:
                raise ValueError(f"member {name!r} is encrypted")
            if info.filename in members:
                raise ValueError(f"two members are called {name!r}")
            if info.header_offset < free:
                raise ValueError(f"member {name!r} lies on the one before it")
            signature, name_size, extra_size = struct.unpack_from("<4s22xHH", data, info.header_offset)
            start = info.header_offset + 30 + name_size + extra_size
            free = start + info.file_size
            if signature != b"PK\x03\x04" or free > len(data):
                raise ValueError(f"member {name!r} is not where the list of members says")
            members[info.filename] = data[start:free]
        return members
    except (*pickles.BROKEN, zipfile.BadZipFile, struct.error, OSError, EOFError) as error:
        raise CheckpointError(
            f"{path}: not a whole zip file ({' '.join(str(error).split())[:200]})"
        ) from None


def _check_directory(data: memoryview) -> None:
    """Raise ValueError where the list of a zip file's members is larger than any checkpoint needs."""
    tail = bytes(data[-66_000:])
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        raise ValueError("the list of its members is missing: it is cut short")
    members, size = struct.unpack_from("<10xHI", tail, end)
    record = tail.rfind(b"PK\x06\x06", 0, end)  # of zip64
    if record >= 0:
        members, size = struct.unpack_from("<32xQQ", tail, record)
    if members > MOST_MEMBERS or size > MOST_DIRECTORY:
        raise ValueError(f"{members} members, and no checkpoint has as many")


def _safetensors(path: Path) -> tuple[dict[str, SafeTensor], dict[str, str]]:
    kinds = {
        "F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16", "U8": "uint8", "I8": "int8",
        "I16": "int16", "I32": "int32", "I64": "int64", "BOOL": "bool",
    }  # fmt: skip
    try:
        with path.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
        if header > MOST_DIRECTORY:
            raise TensorError(f"a list of tensors of {header} bytes, and no checkpoint has one as long")
        with safe_open(path, framework="numpy") as file:
            found = {}
            for name in file.keys():  # noqa: SIM118
                slice_ = file.get_slice(name)
                kind = slice_.get_dtype()
                if kind not in kinds:
                    raise TensorError(f"{name[:80]} is of type {kind}, which is not read")
                found[name] = SafeTensor(path, name, kinds[kind], tuple(slice_.get_shape()))
            return found, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a safetensors file ({' '.join(str(error).split())[:200]})"
        ) from None


AnyTensor = Tensor | SafeTensor
