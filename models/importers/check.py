"""The check that an ONNX file passes before anything runs it, or asks what it costs.

A graph is data too, but data that can ask for much: for other files, for code of other makers, for loops
without end, for more memory than there is. What is asked for is bounded here, from the bytes alone; what only
a run would show is left to the limits of the process that runs it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from models.importers.network import CheckpointError


@dataclass(frozen=True)
class Limits:
    """How much a graph may be; far above any picture network that could be played."""

    file_bytes: int = 1 << 30
    nodes: int = 20_000
    constants: int = 20_000
    depth: int = 4  # of graphs within graphs: the branches of If
    memory_bytes: int = 8 << 30
    macs: int = 4 << 40  # multiply-adds a picture: StyleGAN2 at 1,024 px has 0.15 T


LIMITS = Limits()
_DOMAINS = ("", "ai.onnx")
_REPEATS = ("Loop", "Scan", "SequenceMap")
_CHANCE = ("RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
_SKELETON = 1024  # elements: constants above are left out where only shapes matter


def parse(data: bytes, limits: Limits = LIMITS) -> ModelProto:
    """Return the checked model of a file's bytes. Raise CheckpointError, one line that says what is wrong."""
    if len(data) > limits.file_bytes:
        raise CheckpointError(
            f"{len(data) >> 20} MB, and {limits.file_bytes >> 20} MB are the most for an ONNX file"
        )
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError):
        raise CheckpointError("this is no ONNX file, or it is cut off or nested too deep") from None
    if not model.graph.node:
        raise CheckpointError("there is no graph in it: this is no ONNX file, or an empty one")
    _check_model(model, limits.depth)
    nodes, constants = 0, 0
    for graph in graphs(model.graph, limits.depth):
        nodes, constants = nodes + len(graph.node), constants + len(graph.initializer)
        if nodes > limits.nodes or constants > limits.constants:
            raise CheckpointError(
                f"more than {limits.nodes} nodes or {limits.constants} constants, which no network needs"
            )
        for tensor in graph.initializer:
            _check_tensor(tensor)
        if graph.sparse_initializer:
            raise CheckpointError("a sparse constant, which could be of any size; export it dense")
        for node in graph.node:
            _check_node(node)
    return model


def _check_model(model: ModelProto, depth: int) -> None:
    values = (*model.graph.input, *model.graph.output, *model.graph.initializer)
    if not all(isinstance(each.name, str) for each in values):
        raise CheckpointError("names in it are no text: it is damaged")
    for value in model.graph.input:
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        if min(sides, default=0) < 0:
            raise CheckpointError(f"input {value.name!r} has the shape {sides}")
    if model.functions:
        names = ", ".join(sorted({f"{each.domain}.{each.name}" for each in model.functions})[:3])
        raise CheckpointError(f"it has functions of its own ({names}); inline them: onnx.inliner")
    if model.training_info:
        raise CheckpointError("it has a training graph; export it for inference")
    used = sorted(
        {node.domain for graph in graphs(model.graph, depth) for node in graph.node} - set(_DOMAINS)
    )
    if used:
        raise CheckpointError(
            f"operators of the domain {used[0]!r}, and only those of ONNX itself are run; "
            "export it without custom operators, and before ONNX Runtime optimises it"
        )
    standard = [each.version for each in model.opset_import if each.domain in _DOMAINS]
    newest = onnx.defs.onnx_opset_version()
    if len(standard) != 1 or not 8 <= standard[0] <= newest:
        raise CheckpointError(
            f"opset {', '.join(map(str, standard)) or 'none'}, and one from 8 to {newest} would be right"
        )


def graphs(graph: GraphProto, depth: int = LIMITS.depth, level: int = 0) -> Iterator[GraphProto]:
    """Yield a graph and those within it. Raise CheckpointError where they lie too deep."""
    if level > depth:
        raise CheckpointError(f"graphs within graphs, more than {depth} deep")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs(inner, depth, level + 1)


def _check_node(node: NodeProto) -> None:
    # Names that are no UTF-8 come out of protobuf as bytes.
    if not all(isinstance(each, str) for each in (node.op_type, node.domain, *node.input, *node.output)):
        raise CheckpointError("names in it are no text: it is damaged")
    where = f"node {node.name or (node.output[0] if node.output else '?')!r} ({node.op_type})"
    if node.op_type in _REPEATS:
        raise CheckpointError(f"{where} repeats a graph, for how long nothing can tell; export it unrolled")
    if node.op_type in _CHANCE:
        raise CheckpointError(f"{where} draws random numbers that no replay could draw again")
    if not onnx.defs.has(node.op_type):
        raise CheckpointError(f"{where} is no operator of ONNX")
    for attribute in node.attribute:
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:  # whatever it says that it is
            raise CheckpointError(f"{where}: a sparse constant, which could be of any size; export it dense")
        for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
            _check_tensor(tensor, where)


_FIELDS = {  # where the values of a type lie, if not in raw_data; complex ones have two numbers an element
    "float_data": (TensorProto.FLOAT, TensorProto.COMPLEX64),
    "double_data": (TensorProto.DOUBLE, TensorProto.COMPLEX128),
    "int64_data": (TensorProto.INT64,),
    "uint64_data": (TensorProto.UINT32, TensorProto.UINT64),
}
_PLAIN: dict[int, int] = {  # bytes an element
    TensorProto.FLOAT: 4, TensorProto.FLOAT16: 2, TensorProto.BFLOAT16: 2, TensorProto.DOUBLE: 8,
    TensorProto.INT8: 1, TensorProto.INT16: 2, TensorProto.INT32: 4, TensorProto.INT64: 8,
    TensorProto.UINT8: 1, TensorProto.UINT16: 2, TensorProto.UINT32: 4, TensorProto.UINT64: 8,
    TensorProto.BOOL: 1,
}  # fmt: skip


def _check_tensor(tensor: TensorProto, where: str = "") -> None:
    where = f"{where or 'constant'} {tensor.name!r}"
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise CheckpointError(
            f"{where} lies in another file; save the model in one: save_as_external_data=False"
        )
    if tensor.data_type not in _PLAIN:
        kind = (
            TensorProto.DataType.Name(tensor.data_type)
            if tensor.data_type in TensorProto.DataType.values()
            else "?"
        )
        raise CheckpointError(f"{where} is of type {kind}, which no picture network needs")
    if any(side < 0 for side in tensor.dims):
        raise CheckpointError(f"{where} has the shape {list(tensor.dims)}")
    wanted = prod(tensor.dims)
    if tensor.HasField("raw_data"):
        found, rest = divmod(len(tensor.raw_data), _PLAIN[tensor.data_type])
    else:
        field = next((name for name, kinds in _FIELDS.items() if tensor.data_type in kinds), "int32_data")
        found, rest = len(getattr(tensor, field)), 0
    if found != wanted or rest:
        raise CheckpointError(
            f"{where} is said to have {wanted} values ({list(tensor.dims)}), it has {found}"
        )


@dataclass(frozen=True)
class Cost:
    """What a run takes, as far as shapes tell: bytes at the peak and multiply-adds.

    `unknown` counts the values whose shape only a run will show.
    """

    memory_bytes: int
    macs: int
    unknown: int
    shapes: Mapping[str, tuple[int, ...]]  # of each value whose shape is known
    operators: Mapping[str, int]


def cost(model: ModelProto, inputs: Mapping[str, tuple[int, ...]], limits: Limits = LIMITS) -> Cost:
    """Return what a run with inputs of these shapes costs. Raise CheckpointError where it is too much."""
    inferred = _inferred(model, inputs)
    types: dict[str, tuple[int, int]] = {}  # bytes and rank are all that a liveness needs
    shapes: dict[str, tuple[int, ...]] = {}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        if tensor.HasField("shape") and all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
            types[value.name] = (prod(shapes[value.name]) * _PLAIN.get(tensor.elem_type, 8), len(dims))
    for tensor in model.graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
    size = {name: bytes_ for name, (bytes_, _) in types.items()}
    for name, bytes_ in size.items():
        if bytes_ > limits.memory_bytes:
            raise CheckpointError(
                f"{name!r}, {list(shapes[name])}, takes {bytes_ >> 20} MB; "
                f"{limits.memory_bytes >> 20} MB are the most"
            )
    weights = sum(prod(t.dims) * _PLAIN[t.data_type] for t in model.graph.initializer)
    peak, macs, unknown = _walk(model.graph, shapes, size)
    if weights + peak > limits.memory_bytes:
        raise CheckpointError(
            f"a run takes {(weights + peak) >> 20} MB, {limits.memory_bytes >> 20} MB are the most"
        )
    if macs > limits.macs:
        raise CheckpointError(
            f"a picture takes {macs / 1e12:.1f} T multiply-adds, {limits.macs / 1e12:.1f} T are the most"
        )
    operators = Counter(node.op_type for graph in graphs(model.graph, limits.depth) for node in graph.node)
    return Cost(weights + peak, macs, unknown, shapes, dict(operators))


def _inferred(model: ModelProto, inputs: Mapping[str, tuple[int, ...]]) -> ModelProto:
    """Return the model with shapes inferred, its larger constants left out: only their shapes matter."""
    skeleton = ModelProto()
    skeleton.ir_version = max(model.ir_version, 4)  # from 4 on a constant need not be an input too
    skeleton.opset_import.extend(model.opset_import)
    graph = skeleton.graph
    graph.node.extend(model.graph.node)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in constants:
            added = graph.input.add()
            added.CopyFrom(value)
            if value.name in inputs:
                set_shape(added, inputs[value.name])
    for tensor in model.graph.initializer:
        if prod(tensor.dims) <= _SKELETON:
            graph.initializer.add().CopyFrom(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for value in model.graph.output:
        added = graph.output.add()
        added.name = value.name
        added.type.tensor_type.elem_type = value.type.tensor_type.elem_type  # its shape may be a lie
    try:
        return onnx.shape_inference.infer_shapes(skeleton, strict_mode=True, data_prop=True)
    except Exception as error:
        raise CheckpointError(f"its shapes do not fit together: {first_line(error)}") from None


def set_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    """Give a value of a graph a shape."""
    value.type.tensor_type.shape.Clear()
    for side in shape:
        value.type.tensor_type.shape.dim.add().dim_value = side


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


# What is alive at once: a value from the node that makes it to the last that reads it. The nodes of a graph
# stand in an order in which they can run (ONNX IR, Graphs).
def _walk(
    graph: GraphProto, shapes: Mapping[str, tuple[int, ...]], size: Mapping[str, int]
) -> tuple[int, int, int]:
    """Return the bytes of the values at the peak, the multiply-adds, and how many values have no shape."""
    last = {name: number for number, node in enumerate(graph.node) for name in _read(node)}
    kept = {value.name for value in graph.output}
    alive = sum(size.get(value.name, 0) for value in graph.input)
    peak, macs, unknown = alive, 0, 0
    ends: dict[int, int] = {}
    for number, node in enumerate(graph.node):
        inner = [_walk(g, shapes, size) for a in node.attribute for g in ([a.g] if a.HasField("g") else [])]
        within = max((each[0] for each in inner), default=0)
        macs += multiply_adds(node, shapes) + max((each[1] for each in inner), default=0)
        unknown += sum(each[2] for each in inner)
        for name in filter(None, node.output):
            unknown += name not in size
            alive += size.get(name, 0)
            if name in last and name not in kept:
                ends[last[name]] = ends.get(last[name], 0) + size.get(name, 0)
        peak = max(peak, alive + within)
        alive -= ends.pop(number, 0)
    return peak, macs, unknown


def _read(node: NodeProto) -> Iterator[str]:
    """Yield the names that a node reads, its inner graphs' included."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                yield from _read(inner)


def multiply_adds(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the multiply-adds of a node, 0 where the shapes that it takes are unknown."""
    known = [shapes.get(name) for name in (*node.input[:2], *node.output[:1])]
    if len(known) < 3 or None in known:
        return 0
    x, weight, out = (shape for shape in known if shape is not None)
    if node.op_type == "Conv":  # (N, C, ...), (M, C / group, k, ...)
        return prod(out) * prod(weight[1:])
    if node.op_type == "ConvTranspose":  # (N, C, ...), (C, M / group, k, ...)
        return prod(x) * prod(weight[1:])
    if node.op_type == "MatMul":
        return prod(out) * (x[-1] if x else 1)
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return prod(out) * (x[0] if transposed else x[-1])
    return 0


def dtype_of(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    """Return the type of a value as numpy's. Raise CheckpointError where numpy has none."""
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    except (KeyError, ValueError):
        raise CheckpointError(f"{value.name!r} is no tensor of numbers") from None
