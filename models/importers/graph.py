"""An ONNX graph while it is written: names, nodes and constants, whose values are fetched one at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.quantise import read_by

OPSET = 18
IR = 9  # version of the format, the lowest that goes with the opset
Array = NDArray[Any]
Fetch = Callable[[], Array]
Value = str  # the name of a tensor in the graph
Constants = Mapping[str, Fetch]
Rewrite = Callable[[Sequence[onnx.NodeProto], Constants], tuple[list[onnx.NodeProto], dict[str, Fetch]]]
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


class Graph:
    """A graph that grows node by node. Each call of `node` returns the name of what the node gives.

    `kind` is the type of its pictures and of the weights that work on them; styles are float32 always.
    """

    def __init__(self, name: str, half: bool = False) -> None:
        self.name = name
        self.kind = "float16" if half else "float32"
        self.inputs: dict[str, tuple[int | str, ...]] = {}
        self.outputs: dict[str, tuple[str, tuple[int | str, ...]]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._prefix = ""
        self._constants: dict[str, Fetch] = {}
        self._small: dict[tuple[str, bytes, tuple[int, ...]], Value] = {}
        self._seams: list[Mapping[Value, tuple[int, ...]]] = []
        self._entering: set[Value] = set()  # inputs of the graph's kind

    def input(self, name: str, *shape: int | str) -> Value:
        """Declare an input of float32; a word in the shape is a free dimension."""
        self.inputs[name] = shape
        return name

    def output(self, value: Value, name: str, kind: str, *shape: int | str) -> None:
        """Declare a value as an output of the given type and shape."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs[name] = (kind, shape)

    def node(self, operator: str, *values: Value, **attributes: Any) -> Value:
        """Add a node and return its first output."""
        return self.nodes(operator, 1, *values, **attributes)[0]

    def nodes(self, operator: str, outputs: int, *values: Value, **attributes: Any) -> list[Value]:
        """Add a node with several outputs and return them."""
        names = [f"{self._prefix}{operator.lower()}_{len(self._nodes)}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(values), names, **attributes))
        return names

    def constant(self, value: Any, kind: str = "float32") -> Value:
        """Return the name of a small constant; the same one is kept once."""
        array = np.ascontiguousarray(value, dtype=kind).reshape(np.shape(value))
        key = (kind, array.tobytes(), array.shape)
        if key not in self._small:
            self._small[key] = self.weights(f"constant_{len(self._small)}", lambda: array)
        return self._small[key]

    def weights(self, name: str, fetch: Fetch) -> Value:
        """Return the name of a constant whose value is fetched when the graph is written."""
        if name in self._constants:
            raise ValueError(f"the graph has a constant {name} already")
        self._constants[name] = fetch
        return name

    def large(self, name: str, fetch: Fetch) -> Value:
        """Return the name of weights that work on pictures, in the graph's kind."""
        return self.weights(name, lambda: fetch().astype(self.kind, copy=False))

    def branch(self, name: str) -> "Graph":
        """Return a graph that sees this one's values, for `choose`; its constants are kept in this one."""
        inner = Graph(name)
        inner.kind, inner._constants, inner._small = self.kind, self._constants, self._small
        inner._prefix = f"{self._prefix}{name}_{len(self._nodes)}_"
        return inner

    def choose(self, condition: Value, branch: tuple["Graph", Value], otherwise: Value) -> Value:
        """Return the value of a branch where the condition holds, and another value where it doesn't."""
        inner, value = branch
        kind = helper.make_empty_tensor_value_info
        passed = self.branch("passed")
        same = passed.node("Identity", otherwise)
        taken = helper.make_graph(inner._nodes, inner.name, [], [kind(value)])
        left = helper.make_graph(passed._nodes, passed.name, [], [kind(same)])
        return self.node("If", condition, then_branch=taken, else_branch=left)

    def to_picture(self, value: Value) -> Value:
        """Return a float32 value in the graph's kind."""
        return value if self.kind == "float32" else self.node("Cast", value, to=TYPES[self.kind])

    def to_float(self, value: Value) -> Value:
        """Return a value of the graph's kind in float32."""
        return value if self.kind == "float32" else self.node("Cast", value, to=TensorProto.FLOAT)

    def seam(self, passing: Mapping[Value, tuple[int, ...]]) -> None:
        """Say that nothing but these values, of these shapes, passes from what is written to the rest."""
        self._seams.append(passing)

    # Who runs a graph part by part needs the memory of one part's weights and pictures. The numbers are the
    # same, but for what the runtime makes of neighbours that it sees together.
    def parts(self) -> list["Graph"]:
        """Return graphs of which each takes what those before it give: this one, cut at its seams."""
        if not self._seams:
            return [self]
        made = {value: number for number, node in enumerate(self._nodes) for value in node.output}
        cuts = [0, *(1 + max(made[value] for value in passing) for passing in self._seams), len(self._nodes)]
        pieces = [self._nodes[begin:end] for begin, end in pairwise(cuts)]
        passed = {value: shape for passing in self._seams for value, shape in passing.items()}
        found = []
        for piece in pieces:
            other, used = Graph(self.name), set(read_by(piece))
            other.kind, other._nodes = self.kind, piece
            other._constants = {name: fetch for name, fetch in self._constants.items() if name in used}
            inside = {value for node in piece for value in node.output}
            other._entering = (passed.keys() & used) - inside
            other.inputs = {name: shape for name, shape in self.inputs.items() if name in used}
            other.inputs |= {name: passed[name] for name in passed if name in other._entering}
            other.outputs = {name: (self.kind, passed[name]) for name in passed if name in inside}
            other.outputs |= {name: what for name, what in self.outputs.items() if name in inside}
            found.append(other)
        return found

    # Messages of protobuf that follow each other in a file are merged by whoever reads it, fields that repeat
    # one after the other (protobuf.dev, Encoding, "Last One Wins"). So a model of any size is written
    # one constant at a time, without a second copy of its weights in memory.
    def pieces(self) -> Iterator[bytes]:
        """Yield the model's bytes: everything but the constants, then each constant."""
        declare = helper.make_tensor_value_info
        kinds = {name: TYPES[self.kind if name in self._entering else "float32"] for name in self.inputs}
        inputs = [declare(name, kinds[name], shape) for name, shape in self.inputs.items()]
        outputs = [declare(name, TYPES[kind], shape) for name, (kind, shape) in self.outputs.items()]
        frame = helper.make_graph(self._nodes, self.name, inputs, outputs)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(frame, opset_imports=opset, producer_name="chladni", ir_version=IR)
        yield model.SerializeToString()
        for name, fetch in self._constants.items():
            piece = onnx.ModelProto()
            piece.graph.initializer.append(numpy_helper.from_array(fetch(), name))
            yield piece.SerializeToString()

    def write(self, path: Path) -> None:
        """Write the model to a file."""
        with path.open("wb") as file:
            for piece in self.pieces():
                file.write(piece)

    def serialise(self) -> bytes:
        """Return the model as bytes, for a session that needs no file."""
        return b"".join(self.pieces())

    @property
    def opset(self) -> int:
        """The version of the operators."""
        return OPSET

    def rewritten(self, rewrite: Rewrite) -> Self:
        """Return a graph of the same inputs and outputs, with the nodes and constants made of this one's."""
        other = copy(self)
        other._nodes, other._constants = rewrite(self._nodes, self._constants)
        other._small, other.outputs = {}, dict(self.outputs)
        return other
