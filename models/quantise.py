"""A graph's convolutions in bytes: u8 activations by s8 weights, between QuantizeLinear and DequantizeLinear.

ONNX Runtime's own quantiser does the same (and more) in eight copies of the model and as many files; a
generator of 120 MB took it 2.3 GB and a minute. Here a graph is its nodes and its constants, and those are
fetched one at a time, by whoever writes them: so weights that lie in a file stay there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Feed = Mapping[str, NDArray[Any]]
Fetch = Callable[[], NDArray[Any]]
Constants = Mapping[str, Fetch]
Range = tuple[float, float]
Ranges = Mapping[str, Range]  # the least and the greatest of a value, 0 within

PICTURE = 4  # channels of a picture at most
LEVELS = 63  # of a weight, to both sides: seven bits, see models/precision.py
_ENDS = ("ReduceMin", "ReduceMax")


# A head's few channels are the picture itself: in 256 steps of their whole range it shows bands, and it costs
# next to nothing as it is.
def convolutions(nodes: Sequence[NodeProto], constants: Constants) -> list[NodeProto]:
    """Return the convolutions among nodes whose kernel is a float32 constant, and no head."""
    found = []
    for node in nodes:
        if node.op_type == "Conv" and all(name in constants for name in node.input[1:] if name):
            kernel = constants[node.input[1]]()
            if kernel.dtype == np.float32 and len(kernel) > PICTURE:
                found.append(node)
    return found


def activations(chosen: Sequence[NodeProto]) -> list[str]:
    """Return the names of what goes into convolutions and comes out, each once."""
    return list(dict.fromkeys(name for node in chosen for name in (node.input[0], node.output[0])))


def watches(names: Sequence[str]) -> list[NodeProto]:
    """Return nodes that give the least and the greatest of each of some values, as scalars."""
    return [helper.make_node(end, [name], [f"{name}/{end}"], keepdims=0) for name in names for end in _ENDS]


def watched(nodes: Sequence[NodeProto], names: Sequence[str]) -> list[NodeProto]:
    """Return nodes with the watches of some values, each right behind what gives it; inputs' first."""
    made = {value for node in nodes for value in node.output}
    found = watches([name for name in names if name not in made])
    for node in nodes:
        found += [node, *watches([name for name in node.output if name in names])]
    return found


def ranges(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Range]:
    """Return the ranges of values from what their watches gave, a row for each feed."""
    found = np.array(rows, np.float64)  # (feeds, 2 names)
    least, greatest = found[:, ::2].min(0), found[:, 1::2].max(0)
    pairs = zip(least.tolist(), greatest.tolist(), strict=True)
    return {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in zip(names, pairs, strict=True)}


def united(one: Ranges, other: Ranges) -> dict[str, Range]:
    """Return the ranges of all that either knows; what both know is as wide as both together."""
    found = dict(one)
    for name, (low, high) in other.items():
        before = found.get(name, (low, high))
        found[name] = min(low, before[0]), max(high, before[1])
    return found


class _Rewriter:
    """Writes a graph's nodes anew, with passages through bytes; each constant is made once."""

    def __init__(self, constants: Constants, limits: Ranges) -> None:
        self.constants, self._limits = dict(constants), limits
        self._made: dict[str, str] = {}  # what stands for a value or a kernel
        self.nodes: list[NodeProto] = []

    def scale(self, name: str) -> float:
        """Return the step of an activation's bytes."""
        low, high = self._limits[name]
        return max(high - low, 1e-6) / 255.0

    def passage(self, source: str, name: str, to: str) -> str:
        """Let the value `source` pass through the bytes of the activation `name`; the result is `to`."""
        scale = self.scale(name)
        zero = np.uint8(round(-self._limits[name][0] / scale))
        ends = [self._small(f"{name}/scale", np.float32(scale)), self._small(f"{name}/zero", zero)]
        self.nodes.append(helper.make_node("QuantizeLinear", [source, *ends], [f"{name}/bytes"]))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}/bytes", *ends], [to]))
        self._made[name] = to
        return to

    def convolution(self, node: NodeProto) -> None:
        """Write a convolution whose input, kernel, bias and output are bytes; its output keeps its name."""
        x, kernel, bias = (*node.input, "")[:3]
        output = node.output[0]
        inputs = [self._made.get(x) or self.passage(x, x, f"{x}/passed")]
        fetch = self.constants[kernel]
        weight = fetch()
        scale = np.maximum(np.abs(weight).reshape(len(weight), -1).max(1), 1e-12) / LEVELS
        if kernel not in self._made:
            self._made[kernel] = self._channels(kernel, partial(_levels, fetch, scale), scale, np.int8)
        inputs.append(self._made[kernel])
        if bias:  # in the steps of the products, which are 32 bits wide
            steps = scale * self.scale(x)
            value = np.rint(self.constants[bias]() / steps).clip(-(2.0**31), 2.0**31 - 1).astype(np.int32)
            inputs.append(self._channels(f"{output}/bias", lambda: value, steps, np.int32))
        written = NodeProto()
        written.CopyFrom(node)
        del written.input[:]
        written.input.extend(inputs)
        written.output[0] = f"{output}/float"
        self.nodes.append(written)
        self.passage(f"{output}/float", output, output)

    def _channels(self, name: str, levels: Fetch, scale: NDArray[Any], kind: type) -> str:
        """Return a constant of whole numbers with a scale for each of its first dimension, as floats."""
        self.constants[f"{name}/levels"] = levels
        inputs = [
            f"{name}/levels",
            self._small(f"{name}/scales", scale.astype(np.float32)),
            self._small(f"{name}/zeros", np.zeros(len(scale), kind)),
        ]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}/real"], axis=0))
        return f"{name}/real"

    def _small(self, name: str, value: Any) -> str:
        array = np.asarray(value)
        self.constants[name] = lambda: array
        return name


def _levels(fetch: Fetch, scale: NDArray[Any]) -> NDArray[np.int8]:
    """Return a kernel in whole numbers of each output's scale."""
    weight = fetch()
    levels: NDArray[np.int8] = np.rint(weight / scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.int8)
    return levels


def quantised(
    nodes: Sequence[NodeProto], constants: Constants, limits: Ranges
) -> tuple[list[NodeProto], dict[str, Fetch]]:
    """Return a graph with its convolutions quantised, as far as their ranges are known; all else stays.

    Constants that nothing reads any more are left out.
    """
    known = [node for node in convolutions(nodes, constants) if set(activations([node])) <= set(limits)]
    outputs = {node.output[0] for node in known}
    rewriter = _Rewriter(constants, limits)
    for node in nodes:
        if node.output and node.output[0] in outputs:
            rewriter.convolution(node)
        else:
            rewriter.nodes.append(node)
    read = set(read_by(rewriter.nodes))
    return rewriter.nodes, {name: fetch for name, fetch in rewriter.constants.items() if name in read}


def read_by(nodes: Sequence[NodeProto]) -> Iterator[str]:
    """Yield the names of what nodes read, and those that the graphs within them do."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from read_by(inner.node)
                yield from (value.name for value in inner.output)


def quantise(model: ModelProto, calibration: Sequence[Feed]) -> bytes:
    """Return the model, which is used up, with its convolutions quantised; all else stays as it is.

    The activations' ranges are those that occur with the feeds of `calibration`.
    """
    graph = model.graph
    constants = {tensor.name: partial(numpy_helper.to_array, tensor) for tensor in graph.initializer}
    names = activations(convolutions(graph.node, constants))
    if names:
        found, kept = quantised(graph.node, constants, _watched(model, names, calibration))
        nodes = [NodeProto.FromString(node.SerializeToString()) for node in found]
        tensors = [numpy_helper.from_array(fetch(), name) for name, fetch in kept.items()]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(tensors)
    return bytes(model.SerializeToString())


def _watched(model: ModelProto, names: Sequence[str], feeds: Sequence[Feed]) -> dict[str, Range]:
    """Return the ranges of some values of a model over the feeds."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    nodes = watches(names)
    watched.graph.node.extend(nodes)
    watched.graph.output.extend(
        helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, ()) for node in nodes
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    data = watched.SerializeToString()
    del watched
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    del data
    return ranges(names, [session.run(None, dict(feed)) for feed in feeds])
