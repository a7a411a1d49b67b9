"""Checkpoints: one safetensors file that holds every tensor, with the other facts as JSON in its header."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "checkpoint.safetensors"


def save(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the checkpoint of `folder`; the one before it stays whole until the new one is."""
    unfinished = folder / (FILE + ".part")
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(whole, unfinished, metadata={"facts": json.dumps(facts)})
    unfinished.replace(folder / FILE)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the facts of the checkpoint in `folder`; ValueError says why where it cannot."""
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{path}: no checkpoint here; train first, or name the folder given as --out")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a checkpoint of this program ({error})") from error


def pack(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with `prefix.` before each name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def unpack(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix.`, without it."""
    return {
        name.removeprefix(prefix + "."): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix + ".")
    }


def adam_tensors(optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """Return Adam's moments and step counts, named `parameter number.moment`."""
    states = optimizer.state_dict()["state"]
    return {f"{number}.{name}": value for number, state in states.items() for name, value in state.items()}


def set_adam(optimizer: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    """Give Adam back what `adam_tensors` returned.

    Each moment is laid out in memory like its parameter: the fused Adam walks both as they lie there.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".")
        like = parameters[int(number)]
        laid_out = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(number), {})[name] = laid_out
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
