"""ONNX files that ask for other files, other code, endless loops or all the memory: refused in one line."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from engine import importing
from models.importers import check, job
from models.importers.network import CheckpointError
from tests.networks import Build, generator


def external(location: str) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        tensor = model.graph.initializer[1]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def external_unmarked(model: ModelProto) -> None:
    model.graph.initializer[1].external_data.add(key="location", value="/etc/passwd")


def external_attribute(model: ModelProto) -> None:
    tensor = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["hidden"], value=tensor))


def external_in_a_branch(model: ModelProto) -> None:
    tensor = TensorProto(name="deep", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["b"], value=tensor)], "branch", [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])],
    )  # fmt: skip
    condition = numpy_helper.from_array(np.array(True), "condition")
    model.graph.initializer.append(condition)
    model.graph.node.append(
        helper.make_node("If", ["condition"], ["chosen"], then_branch=branch, else_branch=branch)
    )


def lying(dims: list[int]) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        del model.graph.initializer[1].dims[:]
        model.graph.initializer[1].dims.extend(dims)

    return change


def lying_typed(model: ModelProto) -> None:
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0, 2.0])


def text_constant(model: ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="words", data_type=TensorProto.STRING, dims=[1 << 40]))


def sparse(model: ModelProto) -> None:
    values = helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))


def sparse_in_disguise(model: ModelProto) -> None:
    sparse(model)
    node = helper.make_node("Constant", [], ["huge"], value_float=1.0)  # which type says that it is
    node.attribute[0].sparse_tensor.CopyFrom(model.graph.sparse_initializer.pop())
    model.graph.node.insert(0, node)


def external_in_a_list(model: ModelProto) -> None:
    tensor = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[4])
    tensor.external_data.add(key="location", value="/proc/self/mem")
    node = helper.make_node("Identity", ["z"], ["same"])
    node.attribute.add(name="unread", type=onnx.AttributeProto.TENSORS).tensors.append(tensor)
    model.graph.node.append(node)


def external_constant_of_a_branch(model: ModelProto) -> None:
    external_in_a_branch(model)
    for attribute in model.graph.node[-1].attribute:
        attribute.g.initializer.append(attribute.g.node[0].attribute[0].t)
        del attribute.g.node[0].attribute[:]


def below_zero(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, -(1 << 40)]))


def own_function_in_the_standard_domain(model: ModelProto) -> None:
    relu, opsets = helper.make_node("Relu", ["a"], ["b"]), [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("ai.onnx", "Relu2", ["a"], ["b"], [relu], opsets))
    model.graph.node.append(helper.make_node("Relu2", ["z"], ["out"]))


def foreign_domain(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))
    model.graph.node.append(helper.make_node("Shell", ["z"], ["out"], domain="evil.ops"))


def contributed(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Gelu", ["z"], ["out"], domain="com.microsoft"))


def unknown_operator(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("PyOp", ["z"], ["out"]))


def body(name: str) -> onnx.GraphProto:
    nodes = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])]
    values = {
        "i": (TensorProto.INT64, []), "go": (TensorProto.BOOL, []), "x": (TensorProto.FLOAT, None),
        "on": (TensorProto.BOOL, []), "y": (TensorProto.FLOAT, None),
    }  # fmt: skip
    made = {key: helper.make_tensor_value_info(key, *value) for key, value in values.items()}
    return helper.make_graph(nodes, name, [made["i"], made["go"], made["x"]], [made["on"], made["y"]])


def loop(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.int64(2**62), "times"))
    model.graph.node.append(helper.make_node("Loop", ["times", "", "z"], ["looped"], body=body("body")))


def scan(model: ModelProto) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"])], "scan",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [16])],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [16])],
    )  # fmt: skip
    model.graph.node.append(helper.make_node("Scan", ["z"], ["scanned"], body=inner, num_scan_inputs=1))


def deep(levels: int) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        made = helper.make_tensor_value_info("n", TensorProto.FLOAT, [1])
        leaf = helper.make_graph([helper.make_node("Identity", ["z"], ["n"])], "leaf", [], [made])
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        inner = leaf
        for _ in range(levels):
            node = helper.make_node("If", ["yes"], ["n"], then_branch=inner, else_branch=leaf)
            inner = helper.make_graph([node], "level", [], [made])
        model.graph.node.append(helper.make_node("If", ["yes"], ["n0"], then_branch=inner, else_branch=leaf))

    return change


def recursion(model: ModelProto) -> None:
    call = helper.make_node("Again", ["a"], ["b"], domain="own")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", "Again", ["a"], ["b"], [call], opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.append(helper.make_node("Again", ["z"], ["again"], domain="own"))


def many(count: int) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        model.graph.node.extend([helper.make_node("Identity", ["z"], [f"n{i}"]) for i in range(count)])

    return change


def many_constants(model: ModelProto) -> None:
    one = numpy_helper.from_array(np.float32(1.0), "one")
    model.graph.initializer.extend([one] * 20_001)


def chance(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Bernoulli", ["z"], ["coin"]))


def training(model: ModelProto) -> None:
    model.training_info.add()


def future(model: ModelProto) -> None:
    model.opset_import[0].version = 9999


REFUSED: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    "an absolute path": (external("/etc/passwd"), "lies in another file"),
    "a path upwards": (external("../../secret.bin"), "lies in another file"),
    "a symbolic link beside it": (external("link.bin"), "lies in another file"),
    "a path that is not marked as one": (external_unmarked, "lies in another file"),
    "a path in a node": (external_attribute, "lies in another file"),
    "a path in a branch": (external_in_a_branch, "lies in another file"),
    "a path to memory": (external("*/_ORT_MEM_ADDR_/*"), "lies in another file"),
    "a path with an end in its middle": (external("weights\0/../../secret"), "lies in another file"),
    "a path in a list that nobody reads": (external_in_a_list, "lies in another file"),
    "a path in a constant of a branch": (external_constant_of_a_branch, "lies in another file"),
    "dimensions too large": (lying([1 << 31, 1 << 31]), "is said to have"),
    "dimensions too small": (lying([1]), "is said to have"),
    "dimensions below zero": (lying([-4, -4]), "has the shape"),
    "fewer values than dimensions": (lying_typed, "is said to have"),
    "text": (text_constant, "of type STRING"),
    "a sparse constant": (sparse, "sparse"),
    "a sparse constant that says it is a number": (sparse_in_disguise, "sparse"),
    "an input below zero": (below_zero, "has the shape"),
    "a function in the standard domain": (own_function_in_the_standard_domain, "functions of its own"),
    "operators of somebody's own": (foreign_domain, "domain 'evil.ops'"),
    "operators of ONNX Runtime's own": (contributed, "domain 'com.microsoft'"),
    "an operator that is none": (unknown_operator, "is no operator"),
    "a loop of 2^62 rounds": (loop, "repeats a graph"),
    "a scan": (scan, "repeats a graph"),
    "branches in branches": (deep(6), "deep"),
    "a function that calls itself": (recursion, "functions of its own"),
    "too many nodes": (many(20_001), "more than 20000 nodes"),
    "too many constants": (many_constants, "20000 constants"),
    "a coin": (chance, "random"),
    "a training graph": (training, "training"),
    "an opset of the future": (future, "opset 9999"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_hostile_graph_is_refused_before_anything_runs(
    change: Callable[[ModelProto], None], message: str, tmp_path: Path
) -> None:
    model = generator()
    check.parse(model.SerializeToString())  # as it is, it is taken
    change(model)
    with pytest.raises(CheckpointError, match=message) as refused:
        check.parse(model.SerializeToString())
    assert "\n" not in str(refused.value)


def field(number: int, data: bytes) -> bytes:
    """Return a field of protobuf that holds a message."""
    size, digits = len(data), b""
    while size > 127:
        size, digits = size >> 7, digits + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + digits + bytes([size]) + data


def nested(levels: int) -> bytes:
    """Return a model whose graph has a node with an attribute with a graph, and so on."""
    data = b""
    for _ in range(levels):
        data = field(1, field(5, field(6, data)))  # GraphProto.node, NodeProto.attribute, AttributeProto.g
    return field(7, data)  # ModelProto.graph


NO_GRAPHS = [b"", bytes(100), b"PK\3\4 no model", os.urandom(4096), b"\x0a" * 5000, nested(2000)]


@pytest.mark.parametrize("data", NO_GRAPHS, ids=["empty", "zeros", "zip", "chance", "fields", "nested"])
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="no ONNX file"):
        check.parse(data)


def refusal(data: bytes) -> str:
    """Return why a graph is refused, empty if it is not."""
    try:
        check.cost(check.parse(data), {"z": (1, 16)})
    except CheckpointError as refused:
        return str(refused)
    return ""


def test_a_file_cut_off_anywhere_is_refused_or_whole_in_itself() -> None:
    data = generator().SerializeToString()
    said = [refusal(data[:end]) for end in range(0, len(data), max(1, len(data) // 200))]
    assert not any("\n" in text for text in said)
    assert said.count("") < 5  # cut between two fields, where what is left may be a model


def test_any_byte_changed_raises_nothing_else() -> None:
    data = generator().SerializeToString()
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(data)
        for at in rng.integers(0, 2000, 3):  # where the nodes are: the rest are weights
            changed[at] = rng.integers(0, 256)
        assert "\n" not in refusal(bytes(changed))


def costly(*nodes: tuple[str, list[str], dict[str, object]], shape: list[int]) -> ModelProto:
    build = Build()
    x = build.input("z", (1, 16))
    build.constant(np.array(shape, np.int64), "shape")
    build.constant(np.ones((64, 64, 3, 3), np.float32), "kernel")
    for operator, inputs, attributes in nodes:
        x = build.node(operator, *(x if name == "x" else name for name in inputs), **attributes)
    build.node("Identity", x, to="image")
    build.output("image", [1, 3, 8, 8])  # a lie
    return build.model()


COSTLY = {
    "a constant of 4 TB": costly(("ConstantOfShape", ["shape"], {}), shape=[1024, 1024, 1024, 1024]),
    "a picture blown up": costly(
        ("Reshape", ["x", "c2"], {}), ("Expand", ["x", "shape"], {}), shape=[1, 16, 1 << 20, 1 << 20]
    ),
    "a picture padded": costly(("Pad", ["x", "shape"], {}), shape=[0, 0, 1 << 40, 1 << 40]),
    "a tile": costly(("Tile", ["x", "shape"], {}), shape=[1 << 20, 1 << 20]),
    "a convolution of many multiply-adds": costly(
        ("ConstantOfShape", ["shape"], {}),
        ("Conv", ["x", "kernel"], {"pads": [1, 1, 1, 1]}),
        shape=[1, 64, 4096, 4096],
    ),
}


@pytest.mark.parametrize("model", COSTLY.values(), ids=COSTLY.keys())
def test_what_would_take_too_much_is_refused_by_its_shapes(model: ModelProto) -> None:
    if "c2" in {name for node in model.graph.node for name in node.input}:
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 16, 1, 1]), "c2"))
    parsed = check.parse(model.SerializeToString())
    with pytest.raises(CheckpointError, match=r"the most|do not fit") as refused:
        check.cost(parsed, {"z": (1, 16)})
    assert "\n" not in str(refused.value)


def import_failing(file: Path, models: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> str:
    """Import a file that can't be; return the one line that says why, with nothing left behind."""
    monkeypatch.setenv("CHLADNI_MODELS", str(models))
    with pytest.raises(importing.ImportFailed) as failed:
        importing.run(
            importing.Request(file, "x", **changes), lambda question: None, lambda share, what: None
        )
    assert not models.exists() or not list(models.iterdir())
    assert "\n" not in str(failed.value)
    return str(failed.value)


def test_memory_that_only_a_run_would_ask_for_ends_the_child_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Build()
    z = build.input("z", (1, 16))
    size = build.node("Abs", build.node("Mul", z, build.constant(np.float32(1e5))))
    size = build.node("Slice", size, *(build.constant(np.array([n])) for n in (0, 4, 1)))
    build.nodes.append(helper.make_node("Cast", [size], ["sides4"], to=TensorProto.INT64))
    sides = build.node("Reshape", "sides4", build.constant(np.array([4])))
    build.node("ConstantOfShape", sides, to="image")
    build.output("image", None)
    path = tmp_path / "hungry.onnx"
    onnx.save(build.model(), path)
    said = import_failing(path, tmp_path / "models", monkeypatch)
    assert "run failed" in said or "memory" in said
    most_kib = job.MEMORY_BYTES >> 10
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < most_kib


def test_an_import_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "slow.onnx"
    onnx.save(generator(), path)
    assert "not through after" in import_failing(path, tmp_path / "models", monkeypatch, minutes=0.005)


def test_a_symbolic_link_is_no_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = generator()
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))
    (tmp_path / "link.bin").symlink_to(tmp_path / "secret.bin")
    external("link.bin")(model)
    path = tmp_path / "linked.onnx"
    path.write_bytes(model.SerializeToString())
    assert "lies in another file" in import_failing(path, tmp_path / "models", monkeypatch)
