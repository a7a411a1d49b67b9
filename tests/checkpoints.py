"""Writes checkpoints the way their trainers do, from arrays: what the tests of the importers read."""

import io
import json
import pickle
import sys
import types
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

GOLDEN = Path(__file__).parent / "golden" / "importers"
CANARY = "chladni_canary"  # an environment variable that no test may ever find set
SOURCE = f"import os\nos.environ[{CANARY!r}] = 'the source in a checkpoint ran'\n"


def draw(
    name: str, shape: tuple[int, ...], seed: int, offset: float, scale: float, positive: bool
) -> np.ndarray:
    """Return the numbers of a recipe: normals of a stream of their own for each name."""
    rng = np.random.Generator(np.random.Philox(key=[zlib.crc32(name.encode()), seed]))
    drawn = rng.standard_normal(shape).astype(np.float32)
    drawn = np.abs(drawn) if positive else drawn
    return np.asarray(np.float32(offset) + np.float32(scale) * drawn, np.float32)


class Golden:
    """A golden file: a recipe for weights, and what the published code made of them."""

    def __init__(self, case: str) -> None:
        with np.load(GOLDEN / f"{case}.npz", allow_pickle=False) as file:
            self.arrays = {name: file[name] for name in file.files}
        meta = json.loads(self.arrays["meta"].tobytes())
        self.seed = meta["seed"]
        self.weights = {
            name: draw(name, tuple(shape), self.seed, *rule) for name, shape, *rule in meta["recipe"]
        }
        kept = (name for name in self.arrays if name.startswith("stored/"))
        self.weights |= {name.removeprefix("stored/"): self.arrays[name] for name in kept}
        attributes = self.arrays.get("attributes")
        self.attributes = json.loads(attributes.tobytes()) if attributes is not None else {}

    def noise(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return the noise that the published code was given, where its own is not in the weights."""
        return draw(name, shape, self.seed, 0.0, 1.0, False)

    def tensors(self) -> "OrderedDict[str, torch.Tensor]":
        """Return the weights as a state dict."""
        return OrderedDict((name, torch.from_numpy(array.copy())) for name, array in self.weights.items())


class Module:
    """A module that is pickled as `torch_utils.persistence` does it: its state, and its source as text."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name, self.state = class_name, state

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.class_name,
                "state": self.state}  # fmt: skip
        return _reconstruct_persistent_obj, (meta,)


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> Any:
    raise AssertionError("a checkpoint was unpickled")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
_reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"


def module(tensors: dict[str, torch.Tensor], attributes: dict[str, Any], path: str = "") -> Module:
    """Return the tree of modules of a state dict, buffers and parameters apart as in NVlabs' networks."""
    buffers = ("resample_filter", "w_avg", "noise_const", "magnitude_ema", "up_filter", "down_filter",
               "freqs", "phases", "transform")  # fmt: skip
    state: dict[str, Any] = {"training": False, **attributes.get(path, {})}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    state |= {"_parameters": OrderedDict(), "_buffers": OrderedDict(), "_backward_hooks": OrderedDict()}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(first, {})[rest] = tensor
        elif name in buffers:
            state["_buffers"][name] = tensor
        else:
            state["_parameters"][name] = torch.nn.Parameter(tensor)
    places = {name: f"{path}.{name}" if path else name for name in parts}
    state["_modules"] = OrderedDict(
        (name, module(inside, attributes, places[name])) for name, inside in parts.items()
    )
    return Module("Generator", state)


def nvlabs(path: Path, golden: Golden) -> Path:
    """Write a network snapshot as NVlabs' trainers do."""
    kept = {name: sys.modules.get(name) for name in ("torch_utils", "torch_utils.persistence")}
    fake = types.ModuleType("torch_utils.persistence")
    fake._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    sys.modules |= {"torch_utils": types.ModuleType("torch_utils"), "torch_utils.persistence": fake}
    try:
        network = module(golden.tensors(), golden.attributes)
        snapshot = {"G": None, "D": None, "G_ema": network, "augment_pipe": None,
                    "training_set_kwargs": {"path": "pictures.zip", "use_labels": False}}  # fmt: skip
        path.write_bytes(pickle.dumps(snapshot))
    finally:
        for name, before in kept.items():
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before
    return path


def torch_file(path: Path, data: Any, legacy: bool = False) -> Path:
    """Write an archive of torch in its newer or its older format."""
    torch.save(data, path, _use_new_zipfile_serialization=not legacy)
    return path


def safetensors(path: Path, golden: Golden) -> Path:
    """Write the weights alone."""
    save_file({name: tensor.contiguous() for name, tensor in golden.tensors().items()}, path)
    return path


def torch_bytes(data: Any) -> bytes:
    """Return an archive of torch in its newer format."""
    buffer = io.BytesIO()
    torch.save(data, buffer)
    return buffer.getvalue()
