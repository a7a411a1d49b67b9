"""What this machine's ONNX Runtime can run networks on, and what falls back from there to the CPU."""

import ctypes
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

_RUNS = 4  # the first allocates


def usable_providers() -> list[str]:
    """Return ONNX Runtime's providers that this machine can use: CUDA only where there is a driver."""
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        lacking = {"CUDAExecutionProvider", "TensorrtExecutionProvider"}
    else:
        lacking = set()
    return [name for name in onnxruntime.get_available_providers() if name not in lacking]


@dataclass(frozen=True)
class Share:
    """What the nodes of one operator take of a picture, on the provider that runs them."""

    operator: str
    provider: str
    nodes: int
    us: float  # a run


def profile(data: bytes, feed: Mapping[str, NDArray[Any]], provider: str) -> list[Share]:
    """Return what each operator takes of a run of a graph, by the provider that it ran on."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        providers = list(dict.fromkeys((provider, "CPUExecutionProvider")))
        session = onnxruntime.InferenceSession(data, options, providers=providers)
        for _ in range(_RUNS):
            session.run(None, dict(feed))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return shares(events)


def shares(events: Sequence[Mapping[str, Any]]) -> list[Share]:
    """Return the shares of a profile of `_RUNS` runs, as ONNX Runtime writes it."""
    found: dict[tuple[str, str], tuple[set[str], float]] = {}
    for event in events:
        if event.get("cat") != "Node" or not str(event.get("name", "")).endswith("_kernel_time"):
            continue
        arguments = event.get("args", {})
        key = str(arguments.get("op_name", "?")), str(arguments.get("provider", "?"))
        nodes, us = found.get(key, (set(), 0.0))
        found[key] = nodes | {event["name"]}, us + float(event.get("dur", 0.0))
    return [Share(*key, len(nodes), us / _RUNS) for key, (nodes, us) in found.items()]


def fallback(found: Sequence[Share], provider: str) -> str:
    """Return what a provider leaves to another one, and what that costs, as one line; "" for nothing."""
    left = [each for each in found if each.provider != provider or each.operator.startswith("Memcpy")]
    if not left:
        return ""
    total = sum(each.us for each in found)
    us = sum(each.us for each in left)
    names = ", ".join(sorted({each.operator for each in left}))
    count = sum(each.nodes for each in left)
    return (
        f"{count} nodes fall back from {provider}: {names}; {us / 1e3:.2f} of {total / 1e3:.2f} ms a picture"
    )
