"""Reads a pickle as data: an interpreter of its instructions that has no instruction which calls anything.

A pickle is a program for a small stack machine, and some of its instructions (REDUCE, BUILD, NEWOBJ) tell
Python's own unpickler to import any function and to call it. Here they only look names up in the table
`KNOWN`: tensors, arrays and containers become ours; objects of other classes become inert records; a call of
anything else is refused, and so is every name of Python's own library that is not in the table.
"""

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from models.importers.network import CheckpointError
from models.importers.tensors import KINDS, Storage, Tensor, TensorError, contiguous

MOST_INSTRUCTIONS = 500_000  # a whole snapshot of a 1024 px StyleGAN2 (both networks, the average) has 67,000
MOST_TEXT = 16 << 20  # bytes of strings, the networks' own sources among them: 0.1 MB in that snapshot
MOST_INTEGER = 64  # bytes
MOST_NAME = 300  # characters of module and name
NESTED = "torch.storage._load_from_bytes"
TYPED = "torch._tensor._rebuild_from_type_v2"

TENSORFLOW = (
    "it holds a network of the TensorFlow StyleGAN; convert it with `python legacy.py --source=OLD.pkl "
    "--dest=NEW.pkl` of the repository stylegan2-ada-pytorch or stylegan3, then import NEW.pkl"
)
ADVICE = {
    "dnnlib.tflib.network.Network": TENSORFLOW,
    "tfutil.Network": "it holds a network of the TensorFlow progressive GAN, which has no importer",
}


@dataclass(eq=False)
class Name:
    """A class or function that the file names. Only the name is here."""

    name: str


@dataclass(eq=False)
class Record:
    """An object of a class that is not ours, inert: what the file says of it, and no behaviour."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)  # of a subclass of dict
    elements: list[Any] = field(default_factory=list)  # of a subclass of list


@dataclass(eq=False)
class Kind:
    """A numpy dtype while it is read."""

    code: str
    order: str = "<"

    def name(self) -> str:
        """Return which of `KINDS` this is."""
        for name, code in KINDS.items():
            if code[1:] == self.code and self.order in "<|=" and name != "bfloat16":
                return name
        raise TensorError(
            f"numbers of numpy's type {(self.order + self.code)[:20]!r}; little-endian ones are read"
        )


@dataclass
class Budget:
    """What a file may still use up, its nested pickles included."""

    instructions: int = MOST_INSTRUCTIONS
    text: int = MOST_TEXT
    depth: int = 1  # of archives in pickles: a snapshot holds one for each of its storages


class Refused(ValueError):
    """An instruction that won't be followed; why."""


def storage_kind(name: Any) -> str:
    """Return which of `KINDS` a torch storage class or dtype has, by its name."""
    words = {
        "FloatStorage": "float32", "HalfStorage": "float16", "DoubleStorage": "float64",
        "BFloat16Storage": "bfloat16", "ByteStorage": "uint8", "CharStorage": "int8", "ShortStorage": "int16",
        "IntStorage": "int32", "LongStorage": "int64", "BoolStorage": "bool", "UntypedStorage": "uint8",
    }  # fmt: skip
    root, _, last = (name.name if isinstance(name, Name) else "").rpartition(".")
    if root not in ("torch", "torch.cuda", "torch.storage") or last not in words:
        raise Refused(f"a storage of type {last or 'unknown'}, which is not read")
    return words[last]


# What the calls in a checkpoint mean. Each takes the arguments that the file gives and returns data.


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    return Tensor(storage, tuple(shape), tuple(strides), offset)


def _array(*_: Any) -> Tensor:
    return Tensor(Storage("float32", 0), (0,), (1,))


def _from_buffer(data: Any, kind: Kind, shape: Any, order: Any) -> Tensor:
    return contiguous(_stored(data, kind), shape, fortran=order == "F")


def _scalar(kind: Kind, data: Any) -> Any:
    stored = _stored(data, kind)
    if stored.count != 1:
        raise TensorError(f"a number of {stored.count} numbers")
    return np.frombuffer(stored.data, KINDS[stored.kind])[0].item()


def _stored(data: Any, kind: Kind) -> Storage:
    name, view = kind.name(), _bytes(data)
    storage = Storage(name, len(view) // np.dtype(KINDS[name]).itemsize)
    storage.fill(view)
    return storage


def _bytes(data: Any) -> memoryview:
    if isinstance(data, str):  # protocol 2 has no bytes, and writes them as text
        return memoryview(data.encode("latin-1"))
    if not isinstance(data, memoryview):
        raise TensorError("an array without its bytes")
    return data


def _persistent(meta: Any) -> Record:
    """Return the record of an object of `torch_utils.persistence`; its source text is dropped unread."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise Refused("a persistent object without a state")
    name = meta.get("class_name")
    return Record(name[:MOST_NAME] if isinstance(name, str) else "", state=meta["state"])


def _object(kind: Any, *_: Any) -> Record:
    return Record(kind.name if isinstance(kind, Name) else "object")


def _inert(name: str) -> Callable[..., Record]:
    return lambda *arguments: Record(name, arguments)


def _pairs(items: Any = ()) -> dict[Any, Any]:
    return {_key(key): value for key, value in (items.items() if isinstance(items, dict) else items)}


def _set(elements: Any = ()) -> set[Any]:
    return set(map(_key, elements))


KNOWN: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "numpy.dtype": lambda code, *_: Kind(code if isinstance(code, str) else "?"),
    "collections.OrderedDict": _pairs,
    "collections.defaultdict": lambda *_: {},
    "_codecs.encode": lambda text, *_: _bytes(text),
    "copyreg._reconstructor": _object,
    "copy_reg._reconstructor": _object,
    **{f"{core}.multiarray._reconstruct": _array for core in ("numpy.core", "numpy._core")},
    **{f"{core}.multiarray.scalar": _scalar for core in ("numpy.core", "numpy._core")},
    **{f"{core}.numeric._frombuffer": _from_buffer for core in ("numpy.core", "numpy._core")},
    **{f"{builtins}.set": _set for builtins in ("builtins", "__builtin__")},
    **{f"{builtins}.frozenset": _set for builtins in ("builtins", "__builtin__")},
    **{
        name: _inert(name)
        for name in ("argparse.Namespace", "torch.device", "torch.serialization._get_layout",
                     "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath")
    },
}  # fmt: skip
VALUES = {  # names of Python's own that stand for a type, and are never called
    f"{builtins}.{name}" for builtins in ("builtins", "__builtin__") for name in
    ("dict", "list", "tuple", "int", "float", "bool", "str", "bytes", "object", "complex", "long", "unicode")
}  # fmt: skip
OWN = sys.stdlib_module_names | {"__builtin__", "copy_reg"}  # modules of Python itself
ONLY = "a checkpoint needs tensors, arrays and containers only, so nothing of it was run"


def _key(key: Any) -> Any:
    """Return a key that may enter a dict or set: hashing must not follow a file into its depths."""
    plain = (str, int, float, type(None))
    if isinstance(key, plain) or (isinstance(key, tuple) and all(isinstance(each, plain) for each in key)):
        return key
    raise Refused(f"a {type(key).__name__} as the key of a dict or in a set")


class _Machine:
    """The stack machine over one buffer."""

    def __init__(
        self, data: memoryview, at: int, budget: Budget,
        persistent: Callable[[Any], Any], nested: Callable[[memoryview, Budget], Any],
    ) -> None:  # fmt: skip
        self.data, self.at, self.budget = data, at, budget
        self.persistent, self.nested = persistent, nested
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        data, budget = self.data, self.budget
        while True:
            budget.instructions -= 1
            if budget.instructions < 0:
                raise Refused(f"more than {MOST_INSTRUCTIONS:,} instructions, which no checkpoint needs")
            if self.at >= len(data):
                raise Refused("it ends without saying so: it is cut short")
            code = data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                return self.pop()
            step = STEPS.get(code)
            if step is None:
                raise Refused(f"the instruction {code:#04x}, which no checkpoint needs")
            step(self)

    def take(self, count: int) -> memoryview:
        if count < 0 or count > len(self.data) - self.at:
            raise Refused(
                f"{count} bytes are announced and {len(self.data) - self.at} are there: it is cut short"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, count: int, coding: str = "utf-8") -> str:
        self.budget.text -= count
        if self.budget.text < 0:
            raise Refused(f"more than {MOST_TEXT >> 20} MB of text, which no checkpoint needs")
        return str(self.take(count), coding, "surrogatepass" if coding == "utf-8" else "strict")

    def line(self) -> str:
        window = bytes(self.data[self.at : self.at + MOST_NAME])
        length = window.find(b"\n")
        if length < 0:
            raise Refused("a name without an end")
        self.at += length + 1
        return window[:length].decode("utf-8", "replace")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or (self.marks and len(self.stack) <= self.marks[-1]):
            raise Refused("more is taken from the stack than lies on it")
        return self.stack.pop()

    def top(self) -> Any:
        self.push(value := self.pop())
        return value

    def since_mark(self) -> list[Any]:
        if not self.marks:
            raise Refused("a mark is missing")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > MOST_NAME:
            raise Refused("a name that is not one")
        full = f"{module}.{name}"
        if full in ADVICE:
            raise Refused(ADVICE[full])
        own = module.partition(".")[0] in OWN
        if own and full not in KNOWN and full not in VALUES:
            raise Refused(f"it names {full}; {ONLY}")
        self.push(Name(full))

    # A list that is made once can be handed to a thousand calls, each of which copies it. So whatever a call
    # may copy is paid for as if the file had spelt it out again.
    def call(self, function: Any, arguments: Any) -> Any:
        name = function.name if isinstance(function, Name) else "what is no function"
        if not isinstance(arguments, tuple):
            raise Refused("a call without arguments")
        for each in arguments:
            if isinstance(each, (list, tuple, dict, set)):
                self.budget.instructions -= len(each)
            elif isinstance(each, str):
                self.budget.text -= len(each)
        if name == NESTED:
            if len(arguments) != 1 or not isinstance(arguments[0], memoryview):
                raise Refused("a storage without its bytes")
            return self.nested(arguments[0], self.budget)
        if name == TYPED:  # a subclass of Tensor: what makes the tensor itself is among the arguments
            return self.call(arguments[0], arguments[2])
        if name not in KNOWN:
            raise Refused(f"it calls {name}; {ONLY}")
        if self.budget.instructions < 0 or self.budget.text < 0:
            raise Refused("calls that copy more than any checkpoint needs")
        return KNOWN[name](*arguments)

    def make(self, kind: Any, arguments: Any) -> None:
        if not isinstance(kind, Name) or not isinstance(arguments, tuple):
            raise Refused("an object without a class")
        self.push(self.call(kind, arguments) if kind.name in KNOWN else Record(kind.name, arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Record):
            target.state = state
        elif isinstance(target, Kind):
            order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
            target.order = order if isinstance(order, str) else "?"
        elif isinstance(target, Tensor) and isinstance(state, tuple) and len(state) == 5:
            _, shape, kind, fortran, data = state  # numpy.ndarray.__setstate__
            if not isinstance(kind, Kind) or not isinstance(shape, tuple):
                raise TensorError("an array that doesn't say what it is")
            self.budget.text -= len(data) if isinstance(data, str) else 0
            vars(target).update(vars(contiguous(_stored(data, kind), shape, bool(fortran))))
        elif not isinstance(target, (dict, Tensor)):  # of those, attributes beside the data: nothing to keep
            raise Refused(f"it gives a state to a {type(target).__name__}")

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        kept = target.items if isinstance(target, Record) else target
        if not isinstance(kept, dict) or len(values) % 2:
            raise Refused("items for what is no dict")
        pairs = iter(values)
        kept.update((_key(key), next(pairs)) for key in pairs)

    def extend(self, values: list[Any]) -> None:
        target = self.top()
        kept = target.elements if isinstance(target, Record) else target
        if not isinstance(kept, list):
            raise Refused("elements for what is no list")
        kept.extend(values)

    def add(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, set):
            raise Refused("elements for what is no set")
        target.update(map(_key, values))

    def remember(self, number: int) -> None:
        self.memo[number] = self.top()

    def recall(self, number: int) -> None:
        if number not in self.memo:
            raise Refused(f"memo {number}, which was never set")
        self.push(self.memo[number])

    def long(self, count: int) -> None:
        if not 0 <= count <= MOST_INTEGER:
            raise Refused(f"an integer of {count} bytes")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        self.name(module, name)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        self.push(self.call(function, arguments))

    def new(self, extra: bool = False) -> None:
        if extra:
            self.pop()  # keyword arguments of __new__
        arguments, kind = self.pop(), self.pop()
        self.make(kind, arguments)

    def tuple(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def pairs(self) -> None:
        values = self.since_mark()
        self.push({})
        self.set_items(values)

    def item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def protocol(self) -> None:
        if not 2 <= (found := self.number("B")) <= 5:
            raise Refused(f"pickle protocol {found}; 2 to 5 are read")


STEPS: dict[int, Callable[[_Machine], Any]] = {
    0x80: _Machine.protocol,
    0x95: lambda m: m.take(8),  # FRAME
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("0"): lambda m: m.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("2"): lambda m: m.push(m.top()),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.number("B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    0x8A: lambda m: m.long(m.number("B")),
    0x8B: lambda m: m.long(m.number("<i")),
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("X"): lambda m: m.push(m.text(m.number("<I"))),
    0x8C: lambda m: m.push(m.text(m.number("B"))),
    0x8D: lambda m: m.push(m.text(m.number("<Q"))),
    ord("T"): lambda m: m.push(m.text(m.number("<i"), "latin-1")),  # strings of Python 2
    ord("U"): lambda m: m.push(m.text(m.number("B"), "latin-1")),
    ord("B"): lambda m: m.push(m.take(m.number("<I"))),
    ord("C"): lambda m: m.push(m.take(m.number("B"))),
    0x8E: lambda m: m.push(m.take(m.number("<Q"))),
    0x96: lambda m: m.push(m.take(m.number("<Q"))),
    ord("]"): lambda m: m.push([]),
    ord("a"): lambda m: m.extend([m.pop()]),
    ord("e"): lambda m: m.extend(m.since_mark()),
    ord("l"): lambda m: m.push(m.since_mark()),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: m.tuple(1),
    0x86: lambda m: m.tuple(2),
    0x87: lambda m: m.tuple(3),
    ord("}"): lambda m: m.push({}),
    ord("d"): _Machine.pairs,
    ord("s"): _Machine.item,
    ord("u"): lambda m: m.set_items(m.since_mark()),
    0x8F: lambda m: m.push(set()),
    0x90: lambda m: m.add(m.since_mark()),
    0x91: lambda m: m.push(frozenset(map(_key, m.since_mark()))),
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: _Machine.stack_name,
    ord("R"): _Machine.reduce,
    0x81: _Machine.new,
    0x92: lambda m: m.new(extra=True),
    ord("b"): _Machine.build,
    ord("Q"): lambda m: m.push(m.persistent(m.pop())),
    ord("q"): lambda m: m.remember(m.number("B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.recall(m.number("B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
}


# What a file that lies can make of plain operations on its data.
BROKEN = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


def _no_storages(_: Any) -> Any:
    raise Refused("a storage outside an archive")


def load(
    data: memoryview, where: str, nested: Callable[[memoryview, Budget], Any], at: int = 0,
    budget: Budget | None = None, persistent: Callable[[Any], Any] = _no_storages,
) -> tuple[Any, int]:  # fmt: skip
    """Return what the pickle at `at` says, and where it ends; CheckpointError in one line where it won't do.

    `persistent` resolves the storages that an archive holds; `nested` reads an archive within the pickle.
    """
    machine = _Machine(data, at, budget or Budget(), persistent, nested)
    try:
        return machine.run(), machine.at
    except CheckpointError:
        raise
    except (*BROKEN, struct.error) as error:
        what = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"{where}: byte {machine.at}: {what}") from None


def walk(module: Record, most: int = 20_000) -> Iterator[tuple[str, Record]]:
    """Yield the modules of a network by their dotted name, the network itself first as ''.

    A file can make a module its own grandchild: what is more than `most` modules deep or wide ends here.
    """
    waiting = [("", module)]
    while waiting and most > 0:
        most -= 1
        path, found = waiting.pop()
        yield path, found
        children = found.state.get("_modules") if isinstance(found.state, dict) else None
        if isinstance(children, dict) and path.count(".") < 16:
            named = [
                (name, child)
                for name, child in islice(children.items(), most)
                if isinstance(child, Record) and isinstance(name, str) and len(name) < MOST_NAME
            ]
            waiting += [(f"{path}.{name}" if path else name, child) for name, child in reversed(named)]
