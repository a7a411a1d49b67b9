"""Small ONNX networks for the tests: generators and image networks as other people's exporters write them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper


class Build:
    """A graph in the making; constants are drawn from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._rng = np.random.default_rng(seed)

    def input(self, name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, shape: Sequence[Any] | None, kind: int = TensorProto.FLOAT) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def constant(self, value: Any, name: str = "") -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, *shape: int) -> str:
        scale = 1.0 / np.sqrt(max(1, np.prod(shape) / max(shape)))
        return self.constant((scale * self._rng.standard_normal(shape)).astype(np.float32))

    def node(self, operator: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        output = to or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def model(self, opset: int = 17, domains: Sequence[str] = ()) -> ModelProto:
        graph = helper.make_graph(self.nodes, "test", self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def generator(
    z: str = "z",
    label: str = "",
    noise: str = "",
    psi: str = "",
    latent: tuple[Any, ...] = (1, 16),
    last: str = "Tanh",
    nhwc: bool = False,
    channels: int = 3,
    side: int = 32,
    opset: int = 17,
    random: bool = False,
) -> ModelProto:
    """A generator: latents (and a label) through a dense layer and two convolutions to a picture."""
    build = Build()
    width = int(np.prod([side for side in latent[1:] if isinstance(side, int)]))
    x = build.node("Reshape", build.input(z, latent), build.constant(np.array([1, width])))
    if psi:
        x = build.node("Mul", x, build.input(psi, (1,)))
    if label:
        classes = build.input(label, (1, 5))
        x, width = build.node("Concat", x, classes, axis=1), width + 5
    x = build.node("MatMul", x, build.weight(width, 8 * 8 * 8))
    x = build.node("Reshape", x, build.constant(np.array([1, 8, 8, 8])))
    while side > 8:
        kernel = build.weight(8, 8, 4, 4)
        x = build.node("Relu", build.node("ConvTranspose", x, kernel, strides=[2, 2], pads=[1, 1, 1, 1]))
        side //= 2
    if noise:
        x = build.node("Add", x, build.input(noise, (1, 1, 32, 32)))
    if random:
        x = build.node("Add", x, build.node("RandomNormalLike", x))
    x = build.node("Conv", x, build.weight(channels, 8, 3, 3), pads=[1, 1, 1, 1])
    if nhwc:
        x = build.node("Transpose", x, perm=[0, 2, 3, 1])
    if last == "bytes":
        x = build.node("Sigmoid", x)
        x = build.node("Mul", x, build.constant(np.float32(255.0)))
        build.nodes.append(helper.make_node("Cast", [x], ["image"], to=TensorProto.UINT8))
        build.output("image", None, TensorProto.UINT8)
    else:
        build.node(last, x, to="image") if last else build.node("Identity", x, to="image")
        build.output("image", None)
    return build.model(opset)


def image_network(
    side: int | str = 32, factor: int = 1, levels: float = 1.0, channels: int = 3, batch: int | str = 1
) -> ModelProto:
    """An image network: a blur, the picture upside down in its values, `factor` times as large."""
    build = Build()
    x = build.input("input", (batch, channels, side, side))
    kernel = np.zeros((channels, channels, 3, 3), np.float32)
    for channel in range(channels):
        kernel[channel, channel] = 1.0 / 9.0
    x = build.node("Conv", x, build.constant(kernel), pads=[1, 1, 1, 1])
    if factor > 1:
        scales = build.constant(np.array([1, 1, factor, factor], np.float32))
        x = build.node("Resize", x, "", scales, mode="nearest")
    build.node("Sub", build.constant(np.float32(levels)), x, to="output")
    build.output("output", None)
    return build.model()
