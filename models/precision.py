"""The precisions of a graph: its int8 and fp16 twins, each with its error against the fp32 original.

Any ONNX graph that makes pictures will do: nothing here knows one network from another, or needs PyTorch.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models import manifest
from models.quantise import quantise

Feed = Mapping[str, NDArray[Any]]  # input name -> array
LARGE = 1024  # values of a constant that are worth a node which widens them


@dataclass(frozen=True)
class Error:
    """How far a twin's pictures are from the original's."""

    psnr_db: float  # over all pictures; the peak is 255, or the original's range where it is not bytes
    max_error: float  # of one value
    pictures: int


def session(graph: bytes | Path, optimised: bool = True, threads: int = 1) -> Any:
    """Return a session on the CPU; without optimisation it computes node by node as written.

    A graph that is read from a file takes half the memory until it is loaded.
    """
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # it keeps twice what a large picture takes
    # Each node as soon as it can run: what watches a value does so while the value is there anyway.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what matters is raised
    source = str(graph) if isinstance(graph, Path) else graph
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def folded(graph: bytes) -> bytes:
    """Return a graph with all that does not depend on its inputs computed; it may run anywhere still.

    A kernel that is the product of a weight and a gain becomes one constant, without which it stays fp32.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


# Seven bits for the weights. Without VNNI an x86 CPU multiplies unsigned by signed bytes in pairs and adds
# each pair in 16 bits, saturating: 2 x 255 x 127 does not fit, 2 x 255 x 63 does. So eight-bit weights give
# other pictures on such a machine than on one with VNNI (43.1 dB against fp32 where exact arithmetic gives
# 43.5, on the first shipped generator); seven-bit ones give 42.9 dB on both.
def int8(graph: bytes, calibration: Sequence[Feed]) -> bytes:
    """Return the int8 twin of a graph: its convolutions in u8 activations and s8 weights, QDQ, per channel.

    The activations' ranges are those that occur with the feeds of `calibration`; 30 or more, as varied as
    what will be played. All else stays fp32: quantised too, it loses 6 dB and gains no time.
    """
    return lighter(quantise(onnx.load_from_string(folded(graph)), calibration))


# Beside kernels in bytes, the styles' matrices are half of the file. Half precision is enough to keep them
# in; ONNX Runtime widens them once, while it loads, so that playing is as fast as before.
def lighter(graph: bytes) -> bytes:
    """Return a graph whose larger fp32 constants are kept in half precision; it computes in fp32."""
    model = onnx.load_from_string(graph)
    widened = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or prod(tensor.dims) < LARGE:
            continue
        value = numpy_helper.to_array(tensor)
        if np.abs(value).max() > np.finfo(np.float16).max:
            continue
        name, half = tensor.name, f"{tensor.name}/half"
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), half))
        widened.append(helper.make_node("Cast", [half], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*widened, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


# A recurrent step multiplies one vector by every weight, so that it waits for the memory that the weights lie
# in: a quarter of the bytes is a quarter of the wait, with VNNI or without.
def int8_step(graph: bytes) -> bytes:
    """Return the int8 twin of a graph of LSTMs and matrix products; activations are quantised as they come.

    The cells' sums and the state stay fp32. Weights have seven bits, for the reason above.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # 14 MB, and no import of a GAN needs it

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            onnx.load_from_string(folded(graph)),
            path,
            op_types_to_quantize=["LSTM", "MatMul", "Gemm"],
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


def fp16(graph: bytes) -> bytes:
    """Return the half precision twin of a graph; its inputs and outputs keep their types."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # it brings all of the quantiser

    model = onnx.load_from_string(folded(graph))
    del model.graph.value_info[:]
    known = {each.name: each for each in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        # The scales of Resize stay fp32. Shared ones would be converted twice under one name, so each
        # Resize gets its own.
        if node.op_type == "Resize" and len(node.input) > 2 and node.input[2] in known:
            own = model.graph.initializer.add()
            own.CopyFrom(known[node.input[2]])
            own.name = node.input[2] = f"scales_{number}"
    half: bytes = convert_float_to_float16(model, keep_io_types=True).SerializeToString()
    return half


def apart(expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> Error:
    """Return how far pictures are from those that were expected."""
    peak = 255.0 if expected[0].dtype == np.uint8 else float(np.max(expected) - np.min(expected))
    differences = np.asarray(expected, np.float64) - found
    mean_square = max(float(np.mean(np.square(differences))), 1e-12)
    return Error(
        float(10 * np.log10(peak**2 / mean_square)), float(np.max(np.abs(differences))), len(expected)
    )


def error(graph: bytes, twin: bytes, feeds: Sequence[Feed]) -> Error:
    """Return the error of a twin's first output over some feeds, the worse of two ways to run it.

    As written, the arithmetic is exact (int8) or rounded after each node (fp16), as on other machines;
    optimised, it is what this machine plays.
    """
    expected = _pictures(graph, True, feeds)
    ways = [apart(expected, _pictures(twin, optimised, feeds)) for optimised in (False, True)]
    return Error(min(way.psnr_db for way in ways), max(way.max_error for way in ways), len(feeds))


def _pictures(graph: bytes, optimised: bool, feeds: Sequence[Feed]) -> list[NDArray[Any]]:
    runner = session(graph, optimised)
    return [runner.run(None, dict(feed))[0] for feed in feeds]


def write(
    folder: Path,
    stem: str,
    graph: bytes,
    calibration: Sequence[Feed],
    feeds: Sequence[Feed],
    wanted: Sequence[str] = manifest.PRECISIONS,
) -> list[dict[str, Any]]:
    """Write a graph in the precisions wanted and return the manifest's entry of each.

    The files are `<stem>.onnx` for fp32 and `<stem>-<precision>.onnx`; errors are those over `feeds`.
    """
    entries = []
    for precision in wanted:
        if precision == "fp32":
            path = folder / f"{stem}.onnx"
            path.write_bytes(graph)
            entries.append({**manifest.entry(path), "precision": precision})
            continue
        twin = int8(graph, calibration) if precision == "int8" else fp16(graph)
        path = folder / f"{stem}-{precision}.onnx"
        path.write_bytes(twin)
        entries.append(twin_entry(path, precision, error(graph, twin, feeds)))
    return entries


def twin_entry(path: Path, precision: str, far: Error) -> dict[str, Any]:
    """Return the manifest's entry of a twin."""
    described = {"precision": precision, "psnr_db": round(far.psnr_db, 1), "max_error": far.max_error}
    return {**manifest.entry(path), **described}
