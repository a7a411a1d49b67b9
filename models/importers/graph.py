"""An ONNX graph while it is written: names, nodes and constants, whose values are fetched one at a time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR = 9  # version of the format, the lowest that goes with the opset
Array = NDArray[Any]
Value = str  # the name of a tensor in the graph
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


class Graph:
    """A graph that grows node by node. Each call of `node` returns the name of what the node gives."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: dict[str, tuple[int | str, ...]] = {}
        self.outputs: dict[str, tuple[str, tuple[int | str, ...]]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Callable[[], Array]] = {}
        self._small: dict[tuple[str, bytes, tuple[int, ...]], Value] = {}

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
        names = [f"{operator.lower()}_{len(self._nodes)}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(values), names, **attributes))
        return names

    def constant(self, value: Any, kind: str = "float32") -> Value:
        """Return the name of a small constant; the same one is kept once."""
        array = np.ascontiguousarray(value, dtype=kind).reshape(np.shape(value))
        key = (kind, array.tobytes(), array.shape)
        if key not in self._small:
            self._small[key] = self.weights(f"constant_{len(self._small)}", lambda: array)
        return self._small[key]

    def weights(self, name: str, fetch: Callable[[], Array]) -> Value:
        """Return the name of a constant whose value is fetched when the graph is written."""
        if name in self._constants:
            raise ValueError(f"the graph has a constant {name} already")
        self._constants[name] = fetch
        return name

    # Messages of protobuf that follow each other in a file are merged by whoever reads it, fields that repeat
    # one after the other (protobuf.dev, Encoding, "Last One Wins"). So a model of any size is written
    # one constant at a time, without a second copy of its weights in memory.
    def pieces(self) -> Iterator[bytes]:
        """Yield the model's bytes: everything but the constants, then each constant."""
        declare = helper.make_tensor_value_info
        inputs = [declare(name, TensorProto.FLOAT, shape) for name, shape in self.inputs.items()]
        outputs = [declare(name, TYPES[kind], shape) for name, (kind, shape) in self.outputs.items()]
        frame = helper.make_graph(self._nodes, self.name, inputs, outputs)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(frame, opset_imports=opset, producer_name="chladni", ir_version=IR)
        yield model.SerializeToString()
        for name, fetch in self._constants.items():
            piece = onnx.ModelProto()
            piece.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(fetch()), name))
            yield piece.SerializeToString()

    def write(self, path: Path) -> None:
        """Write the model to a file."""
        with path.open("wb") as file:
            for piece in self.pieces():
                file.write(piece)

    def serialise(self) -> bytes:
        """Return the model as bytes, for a session that needs no file."""
        return b"".join(self.pieces())

    def shapes(self) -> dict[str, Sequence[int | str]]:
        """Return the dimensions of each input by name."""
        return dict(self.inputs)
