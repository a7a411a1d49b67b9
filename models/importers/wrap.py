"""Somebody's ONNX network between our inputs and our output: ws to bytes, or bytes to bytes."""

from collections.abc import Iterator, Mapping
from functools import cache, partial

import numpy as np
from onnx import ModelProto, TensorProto, compose, helper, numpy_helper, version_converter

from models import precision
from models.importers import check
from models.importers.graph import IR, OPSET, Graph, Value
from models.importers.network import CheckpointError, Network
from models.importers.roles import Roles, Shape, inputs_of, open_session

_PREFIX = "network/"  # before every name of theirs, so that none is one of ours
_RANDOM = ("RandomNormal", "RandomNormalLike")


class Wrapped(Graph):
    """A graph with a finished model inside; what is around it uses operators that every opset has alike."""

    def __init__(self, name: str, model: ModelProto) -> None:
        super().__init__(name)
        self._inner = compose.add_prefix(model, _PREFIX)
        self._dtypes = {each.name: each.dtype for each in inputs_of(model)}
        self.bytes_in: set[str] = set()  # inputs of uint8

    def feed(self, value: Value, name: str, shape: Shape) -> None:
        """Give the inner model's input a value, in its own shape and type."""
        shaped = self.node("Reshape", value, self.constant(shape, "int64"))
        kind = helper.np_dtype_to_tensor_dtype(self._dtypes[name])
        self._nodes.append(helper.make_node("Cast", [shaped], [_PREFIX + name], to=kind))

    def embed(self, output: str) -> Value:
        """Add the inner model, whose inputs have all been fed; return its output as float32."""
        self._nodes.extend(self._inner.graph.node)
        for tensor in self._inner.graph.initializer:
            self.weights(tensor.name, partial(numpy_helper.to_array, tensor))
        return self.node("Cast", _PREFIX + output, to=TensorProto.FLOAT)

    @property
    def opset(self) -> int:
        """The version of the operators, the inner model's."""
        return int(next(each.version for each in self._inner.opset_import))

    def pieces(self) -> Iterator[bytes]:
        """Yield the model's bytes, in the inner model's opset."""
        first, *constants = super().pieces()
        frame = ModelProto.FromString(first)
        del frame.opset_import[:]
        frame.opset_import.extend(self._inner.opset_import)
        frame.ir_version = max(IR, self._inner.ir_version)
        for value in frame.graph.input:
            if value.name in self.bytes_in:
                value.type.tensor_type.elem_type = TensorProto.UINT8
        yield frame.SerializeToString()
        yield from constants


# Quantisation by channel needs opset 13, and what is written here is 18; an old graph is brought up to it
# where that can be done and changes nothing.
def modern(model: ModelProto) -> ModelProto:
    """Return the model in our opset where its operators allow it, else as it is."""
    version = next(each.version for each in model.opset_import)
    if version >= OPSET:
        return model
    try:
        converted = version_converter.convert_version(model, OPSET)
        converted = check.parse(converted.SerializeToString())
        open_session(converted)
    except Exception:  # of the converter, in whatever operator it does not know
        return model
    return converted


def folded(model: ModelProto) -> ModelProto:
    """Return the model with all that does not depend on its inputs computed, as quantisers want it."""
    found = ModelProto()
    found.ParseFromString(precision.folded(model.SerializeToString()))
    return found


# A network that draws its noise itself gives another picture each time, and no replay could show it again. So
# its draws become inputs, as the noise of a StyleGAN is, with the knob that goes with them.
def noise_as_inputs(model: ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Make every RandomNormal and RandomNormalLike of a model an input, in place.

    Raise CheckpointError where one lies in an inner graph, or its shape is not known, or its mean is not 0.
    """
    kept = []
    for node in model.graph.node:
        if node.op_type not in _RANDOM:
            kept.append(node)
            continue
        settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        shape, name = shapes.get(node.output[0]), node.output[0]
        if shape is None or settings.get("mean", 0.0) != 0.0:
            raise CheckpointError(f"node {node.name or name!r} draws noise of a shape that nothing tells")
        scale = helper.make_tensor(f"{name}/scale", TensorProto.FLOAT, (), [settings.get("scale", 1.0)])
        model.graph.initializer.append(scale)
        model.graph.input.append(helper.make_tensor_value_info(f"{name}/noise", TensorProto.FLOAT, shape))
        kept.append(helper.make_node("Mul", [f"{name}/noise", scale.name], [f"{name}/scaled"]))
        kind = settings.get("dtype", TensorProto.FLOAT)
        kept.append(helper.make_node("Cast", [f"{name}/scaled"], [name], to=kind))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    if any(node.op_type in _RANDOM for graph in check.graphs(model.graph) for node in graph.node):
        raise CheckpointError("it draws random numbers in a branch of If, which no replay could draw again")


def _split(graph: Graph, value: Value, start: int, end: int, axis: int) -> Value:
    return graph.node("Gather", value, graph.constant(np.arange(start, end), "int64"), axis=axis)


def network(model: ModelProto, roles: Roles, classes: int, facts: Mapping[str, object]) -> Network:
    """Return an ONNX generator as a network without a mapping: its latents are the styles.

    A label of `classes` follows the latents in w, so truncation towards the average of a class keeps it.
    """
    latent = roles.shapes[roles.latent]
    num_ws = latent[1] if len(latent) == 3 else 1
    even = cache(partial(folded, model))
    z_dim = latent[2] if len(latent) == 3 else latent[1]

    def mapping() -> Graph:
        graph = Graph("mapping")
        z = graph.input("z", "batch", z_dim)
        w = graph.node("Concat", z, graph.input("label", "batch", classes), axis=1) if classes else z
        graph.output(w, "w", "float32", "batch", z_dim + classes)
        return graph

    def synthesis(
        height: int,
        *,
        bends: tuple[str, ...] = (),
        half: bool = False,
        pixels: bool = True,
        plain: bool = False,
    ) -> Graph:
        if height != roles.height or bends:
            raise CheckpointError(f"an ONNX file has its own {roles.height} px, and no layers to bend")
        graph = Wrapped(f"synthesis-{height}", even() if plain else model)
        ws = graph.input("ws", 1, num_ws, z_dim + classes)
        graph.feed(_split(graph, ws, 0, z_dim, 2), roles.latent, latent)
        if roles.label:
            first = _split(graph, _split(graph, ws, 0, 1, 1), z_dim, z_dim + classes, 2)
            shape = roles.shapes[roles.label]
            whole = len(shape) < 2 or shape[1] == 1
            graph.feed(graph.node("ArgMax", first, axis=2) if whole else first, roles.label, shape)
        if roles.psi:
            graph.feed(graph.input("psi", 1), roles.psi, roles.shapes[roles.psi])
        for number, name in enumerate(roles.noises):
            shape = roles.shapes[name]
            graph.feed(graph.input(f"noise_{number:02d}", *shape), name, shape)
        _to_bytes(graph, graph.embed(roles.output), roles)
        return graph

    return Network(
        architecture="ONNX",
        z_dim=z_dim,
        w_dim=z_dim + classes,
        num_ws=num_ws,
        classes=classes,
        heights=(roles.height,),
        style_groups=_thirds(num_ws),
        mapping=mapping,
        mapped=False,
        synthesis=synthesis,
        w_avg=None,
        noises={f"noise_{number:02d}": roles.shapes[name] for number, name in enumerate(roles.noises)},
        facts=dict(facts),
    )


def _thirds(num_ws: int) -> dict[str, tuple[int, int]]:
    """Return style groups that nothing is known about: all of them coarse, or three equal parts."""
    ends = (num_ws, num_ws, num_ws) if num_ws < 3 else (num_ws // 3, 2 * num_ws // 3, num_ws)
    starts = (0, *ends[:2])
    return dict(zip(("coarse", "middle", "fine"), zip(starts, ends, strict=True), strict=True))


def effect(model: ModelProto, roles: Roles, plain: bool = False) -> Graph:
    """Return an image network from `image`, uint8 (height, width, 3), to `styled` of the roles' size."""
    graph = Wrapped("effect", folded(model) if plain else model)
    batch, *sides = roles.shapes[roles.picture]
    height, width = sides[1:] if roles.layout == "nchw" else sides[:2]
    low, high = roles.range
    image = graph.input("image", height, width, 3)
    graph.bytes_in.add(image)
    x = graph.node("Cast", image, to=TensorProto.FLOAT)
    x = graph.node("Mul", x, graph.constant((high - low) / 255.0))
    x = graph.node("Add", x, graph.constant(low))
    if roles.layout == "nchw" or batch == 3:  # each colour by itself
        x = graph.node("Transpose", x, perm=[2, 0, 1])
    graph.feed(x, roles.picture, roles.shapes[roles.picture])
    _to_bytes(graph, graph.embed(roles.output), roles, each_colour=batch == 3)
    return graph


def _to_bytes(graph: Graph, picture: Value, roles: Roles, each_colour: bool = False) -> None:
    """Declare a float picture of the roles' layout, channels and range as the output `image`, uint8."""
    height, width, channels = roles.height, roles.width, roles.channels
    low, high = roles.range
    planes = roles.layout == "nchw" or each_colour
    count = 3 if each_colour else channels
    shape = (count, height, width) if planes else (height, width, count)
    x = graph.node("Reshape", picture, graph.constant(shape, "int64"))
    if planes:
        x = graph.node("Transpose", x, perm=[1, 2, 0])
    if count != 3:
        x = graph.node("Concat", x, x, x, axis=2) if count == 1 else _split(graph, x, 0, 3, 2)
    scale = 255.0 / (high - low)
    x = graph.node("Add", graph.node("Mul", x, graph.constant(scale)), graph.constant(0.5 - low * scale))
    x = graph.node("Min", graph.node("Max", x, graph.constant(0.0)), graph.constant(255.0))
    name = "styled" if "image" in graph.inputs else "image"
    graph.output(graph.node("Cast", x, to=TensorProto.UINT8), name, "uint8", height, width, 3)
