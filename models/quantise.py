"""A graph's convolutions in bytes: u8 activations by s8 weights, between QuantizeLinear and DequantizeLinear.

ONNX Runtime's own quantiser does the same (and more) in eight copies of the model and as many files; a
generator of 120 MB took it 2.3 GB and a minute. This one keeps two copies, and calibrates an optimised graph.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Feed = Mapping[str, NDArray[Any]]
Range = tuple[float, float]

PICTURE = 4  # channels of a picture at most
LEVELS = 63  # of a weight, to both sides: seven bits, see models/precision.py


# A head's few channels are the picture itself: in 256 steps of their whole range it shows bands, and it costs
# next to nothing as it is.
def convolutions(model: ModelProto) -> list[NodeProto]:
    """Return the convolutions of a graph whose kernel is a float32 constant, and no head."""
    constants = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    return [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and node.input[1] in constants
        and constants[node.input[1]].dims[0] > PICTURE
        and (*node.input, "")[2] in {*constants, ""}
    ]


def ranges(model: ModelProto, names: Sequence[str], feeds: Sequence[Feed]) -> dict[str, Range]:
    """Return the least and the greatest that occurs in each of some values over the feeds, 0 within."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    ends = [f"{name}/{end}" for name in names for end in ("ReduceMin", "ReduceMax")]
    for end in ends:
        name, _, operator = end.rpartition("/")
        watched.graph.node.append(helper.make_node(operator, [name], [end], keepdims=0))
        watched.graph.output.append(helper.make_tensor_value_info(end, TensorProto.FLOAT, ()))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    data = watched.SerializeToString()
    del watched
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    del data
    found = np.array([session.run(ends, dict(feed)) for feed in feeds], np.float64)  # (feeds, 2 names)
    least, greatest = found[:, ::2].min(0), found[:, 1::2].max(0)
    pairs = zip(least.tolist(), greatest.tolist(), strict=True)
    return {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in zip(names, pairs, strict=True)}


class _Rewriter:
    """Writes a graph's nodes anew, with passages through bytes; each constant is made once."""

    def __init__(self, model: ModelProto, limits: Mapping[str, Range]) -> None:
        self._graph, self._limits = model.graph, limits
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
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
        ends = [self._constant(f"{name}/scale", np.float32(scale)), self._constant(f"{name}/zero", zero)]
        self.nodes.append(helper.make_node("QuantizeLinear", [source, *ends], [f"{name}/bytes"]))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}/bytes", *ends], [to]))
        self._made[name] = to
        return to

    def convolution(self, node: NodeProto) -> None:
        """Write a convolution whose input, kernel, bias and output are bytes; its output keeps its name."""
        x, kernel, bias = (*node.input, "")[:3]
        output = node.output[0]
        inputs = [self._made.get(x) or self.passage(x, x, f"{x}/passed")]
        weight = numpy_helper.to_array(self._constants[kernel])  # (outputs, inputs / group, ...)
        scale = np.maximum(np.abs(weight).reshape(len(weight), -1).max(1), 1e-12) / LEVELS
        if kernel not in self._made:
            levels = np.rint(weight / scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.int8)
            self._made[kernel] = self._channels(kernel, levels, scale)
        inputs.append(self._made[kernel])
        if bias:  # in the steps of the products, which are 32 bits wide
            steps = scale * self.scale(x)
            value = np.rint(numpy_helper.to_array(self._constants[bias]) / steps)
            levels = value.clip(-(2.0**31), 2.0**31 - 1).astype(np.int32)
            inputs.append(self._channels(f"{output}/bias", levels, steps))
        written = NodeProto()
        written.CopyFrom(node)
        del written.input[:]
        written.input.extend(inputs)
        written.output[0] = f"{output}/float"
        self.nodes.append(written)
        self.passage(f"{output}/float", output, output)

    def _channels(self, name: str, levels: NDArray[Any], scale: NDArray[Any]) -> str:
        """Return a constant of whole numbers with a scale for each of its first dimension, as floats."""
        inputs = [
            self._constant(f"{name}/levels", levels),
            self._constant(f"{name}/scales", scale.astype(np.float32)),
            self._constant(f"{name}/zeros", np.zeros(len(scale), levels.dtype)),
        ]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}/real"], axis=0))
        return f"{name}/real"

    def _constant(self, name: str, value: Any) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def quantise(model: ModelProto, calibration: Sequence[Feed]) -> bytes:
    """Return the model, which is used up, with its convolutions quantised; all else stays as it is.

    The activations' ranges are those that occur with the feeds of `calibration`.
    """
    chosen = convolutions(model)
    names = list(dict.fromkeys(name for node in chosen for name in (node.input[0], node.output[0])))
    if names:
        rewriter = _Rewriter(model, ranges(model, names, calibration))
        outputs = {node.output[0] for node in chosen}
        for node in model.graph.node:
            if node.output and node.output[0] in outputs:
                rewriter.convolution(node)
            else:
                rewriter.nodes.append(node)
        _replace(model, rewriter.nodes)
    return bytes(model.SerializeToString())


def _replace(model: ModelProto, nodes: Sequence[NodeProto]) -> None:
    """Give a model other nodes, and let go of the constants that none of them reads."""
    graph = model.graph
    written = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(written)
    read = set(_read(graph)) | {value.name for value in graph.output}
    for number in reversed(range(len(graph.initializer))):
        if graph.initializer[number].name not in read:
            del graph.initializer[number]


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the names that a graph reads, and those that the graphs within it do."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _read(inner)
                yield from (value.name for value in inner.output)
