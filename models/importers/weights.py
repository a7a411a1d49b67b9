"""The weights of one network by name; what is missing, misshapen or left over is an error that names it."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.importers.containers import AnyTensor, Checkpoint, SafeTensor
from models.importers.network import CheckpointError
from models.importers.pickles import Record, walk
from models.importers.tensors import Tensor

Floats = NDArray[np.float32]
Fetch = Callable[[], Floats]
SHOWN = 4  # names in an error


class Weights:
    """A state dict, with the attributes of its modules where the file has them."""

    def __init__(
        self,
        where: str,
        tensors: Mapping[str, AnyTensor],
        most_bytes: int,
        attributes: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        self.where, self._most_bytes = where, most_bytes
        self._tensors = dict(tensors)
        self._attributes = attributes or {}
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self, pattern: str) -> list[re.Match[str]]:
        """Return the matches of a pattern with whole names, in the order of the file."""
        return [found for name in self._tensors if (found := re.fullmatch(pattern, name))]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a weight."""
        return self._get(name).shape

    def take(self, name: str, *shape: int) -> Fetch:
        """Return what fetches a weight as float32, once its shape is what it should be."""
        found = self._get(name)
        if found.shape != shape:
            raise self.error(f"{name} has the shape {found.shape}, {shape} would be right")
        self._taken.add(name)
        return lambda: np.ascontiguousarray(found.array())

    def number(self, name: str) -> float:
        """Return a weight that is one number."""
        return float(self.take(name, *self.shape(name))().reshape(1)[0])

    def ignore(self, pattern: str) -> None:
        """Count the weights of a pattern as taken: they belong to training alone."""
        self._taken.update(found[0] for found in self.names(pattern))

    def attribute(self, module: str, name: str, default: Any) -> Any:
        """Return an attribute of a module, where the file has it and it is of the type of the default.

        Where the default is None it may be any number.
        """
        found = self._attributes.get(module, {}).get(name, default)
        number = default is None or isinstance(default, float)
        return found if isinstance(found, (int, float) if number else type(default)) else default

    @property
    def has_attributes(self) -> bool:
        """Whether the file says more of its modules than their weights."""
        return bool(self._attributes)

    # A thousand tensors may lie on one storage. No generator's do, and together they must fit the file: so a
    # small file makes no large graph.
    def finish(self, architecture: str) -> None:
        """Raise CheckpointError where weights are left over, or are together more than the file holds."""
        total = sum(tensor.bytes for tensor in self._tensors.values())
        if total > self._most_bytes:
            raise self.error(
                f"{total} bytes of weights in a file of {self._most_bytes}: they lie on each other"
            )
        left = sorted(set(self._tensors) - self._taken)
        if left:
            more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
            raise self.error(
                f"{architecture} has no use for {', '.join(left[:SHOWN])}{more}; it is another network, or of"
                " another version"
            )

    def error(self, what: str) -> CheckpointError:
        """Return an error about these weights."""
        return CheckpointError(f"{self.where}: {what}")

    def _get(self, name: str) -> AnyTensor:
        if name not in self._tensors:
            raise self.error(f"the weight {name} is missing")
        return self._tensors[name]


def of_dict(where: str, data: Mapping[Any, Any], most_bytes: int, prefix: str = "") -> Weights:
    """Return the weights of a state dict; what lies around tensors in it is left out.

    `prefix` selects a part, and a `module.` that torch's DataParallel puts before every name is cut off.
    """
    tensors = {
        name.removeprefix("module.").removeprefix(prefix): value
        for name, value in data.items()
        if isinstance(name, str) and isinstance(value, (Tensor, SafeTensor))
        and name.removeprefix("module.").startswith(prefix)
    }  # fmt: skip
    return Weights(where, tensors, most_bytes)


def of_module(where: str, module: Record, most_bytes: int) -> Weights:
    """Return the weights and the attributes of a pickled network."""
    tensors: dict[str, AnyTensor] = {}
    attributes: dict[str, dict[str, Any]] = {}
    for path, found in walk(module):
        if not isinstance(found.state, dict):
            raise CheckpointError(f"{where}: module {path or 'of the network'} has no state")
        attributes[path] = {name: value for name, value in found.state.items() if isinstance(name, str)}
        for kept in ("_parameters", "_buffers"):
            inside = found.state.get(kept)
            for name, value in inside.items() if isinstance(inside, dict) else ():
                if isinstance(value, Tensor):
                    tensors[f"{path}.{name}" if path else name] = value
    return Weights(where, tensors, most_bytes, attributes)


# Where generators lie in the checkpoints of known trainers, the averaged one first; "" is the file itself.
PLACES = (
    ("G_ema", ""), ("g_ema", ""), ("GAN", "GE."), ("GAN", "G."), ("state_dict", ""), ("g", ""), ("G", ""),
    ("", "GE."), ("", ""),
)  # fmt: skip


def candidates(checkpoint: Checkpoint) -> Iterable[Weights]:
    """Yield the weights of whatever in a checkpoint may be a generator, the likeliest first."""
    data = checkpoint.data
    for place, prefix in PLACES:
        found = data if not place else data.get(place) if isinstance(data, dict) else None
        if place == "g" and isinstance(data, dict) and isinstance(found, dict):
            found = averaged(found, data.get("g_ema"))
        if isinstance(found, Record):
            yield of_module(str(checkpoint.path), found, checkpoint.bytes)
        elif isinstance(found, dict):
            if isinstance(data, dict) and "latent_avg" in data:  # rosinality's converter puts it beside
                found = {**found, "latent_avg": data["latent_avg"]}
            yield of_dict(str(checkpoint.path), found, checkpoint.bytes, prefix)


# FastGAN's training checkpoints hold the averaged generator as a list of parameters in the order of the
# network's own, without names, and beside it the state dict of the network that learns.
BUFFERS = ("weight_u", "weight_v", "running_mean", "running_var", "num_batches_tracked")


def averaged(data: dict[Any, Any], average: Any) -> dict[Any, Any]:
    """Return a state dict with its parameters from a list of averages, where they fit."""
    names = [name for name in data if isinstance(name, str) and name.rpartition(".")[2] not in BUFFERS]
    if not isinstance(average, list) or len(average) != len(names):
        return data
    pairs = dict(zip(names, average, strict=True))
    fits = all(isinstance(value, Tensor) and getattr(data[name], "shape", None) == value.shape
               for name, value in pairs.items())  # fmt: skip
    return {**data, **pairs} if fits else data
