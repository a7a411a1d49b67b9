"""The int8 and fp16 twins of a graph, made of a shipped generator."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from models import manifest, precision  # noqa: E402

WEIGHTS = Path(__file__).parents[1] / "models" / "weights"


@pytest.fixture(scope="module")
def graph() -> bytes:
    model = manifest.load(WEIGHTS / "impressionism")
    assert isinstance(model, manifest.Generator)
    return precision.folded(model.path(model.rungs[0].version().file).read_bytes())


@pytest.fixture(scope="module")
def feeds(graph: bytes) -> list[precision.Feed]:
    """Twenty feeds of styles and noise, as strong as on stage."""
    rng = np.random.default_rng(0)
    shapes = {each.name: each.shape for each in precision.session(graph).get_inputs()}
    with np.load(WEIGHTS / "impressionism" / "statistics.npz") as statistics:
        average, deviations = statistics["w_avg"], statistics["deviations"]
        directions = statistics["directions"] * deviations[:, None]
    found = []
    for _ in range(20):
        w = (average + rng.standard_normal(len(directions)) @ directions).astype(np.float32)
        noise = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        found.append({**noise, "ws": np.tile(w, (1, shapes["ws"][1], 1))})
    return found


def test_int8_is_small_and_the_same_in_exact_and_real_arithmetic(
    graph: bytes, feeds: list[precision.Feed]
) -> None:
    twin = precision.int8(graph, feeds[:12])
    weights = Counter(each.data_type for each in onnx.load_from_string(twin).graph.initializer if each.dims)
    assert weights[onnx.TensorProto.INT8] >= 8  # a kernel for each convolution
    assert weights[onnx.TensorProto.FLOAT16] >= 8  # the matrices of the styles
    assert len(twin) < 0.42 * len(graph)
    apart = precision.error(graph, twin, feeds[12:])
    assert apart.psnr_db > 38
    assert apart.pictures == 8
    plain, optimised = (
        precision.session(twin, way).run(None, feeds[15])[0].astype(int) for way in (False, True)
    )
    assert np.abs(plain - optimised).max() <= 1


def test_half_precision_keeps_inputs_and_output(graph: bytes, feeds: list[precision.Feed]) -> None:
    twin = precision.fp16(graph)
    assert len(twin) < 0.6 * len(graph)
    original, half = precision.session(graph), precision.session(twin)
    for one, other in zip(
        original.get_inputs() + original.get_outputs(), half.get_inputs() + half.get_outputs(), strict=True
    ):
        assert (one.name, one.type, one.shape) == (other.name, other.type, other.shape)
    apart = precision.error(graph, twin, feeds[12:])
    assert apart.psnr_db > 50
    assert apart.max_error <= 2


def test_another_picture_is_far_off(graph: bytes, feeds: list[precision.Feed]) -> None:
    apart = precision.error(graph, graph, feeds[:1])
    assert apart.max_error == 0
    moved = [{**feed, "ws": feed["ws"] * np.float32(1.2)} for feed in feeds]
    changed = onnx.load_from_string(graph)
    kernel = next(each for each in changed.graph.initializer if len(each.dims) == 4)
    kernel.raw_data = bytes(len(kernel.raw_data))
    assert precision.error(graph, changed.SerializeToString(), moved).psnr_db < 38
