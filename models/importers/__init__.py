"""Imports of other people's checkpoints: read as data, never executed, and written as ONNX graphs of our own.

`open_checkpoint(path)` reads the container (pickle, torch archive, safetensors) into plain data, its tensors
mapped from the file. `read(path)` finds the architecture, checks every weight by name and shape, and returns
a `Network` (see network.py). Both raise CheckpointError, one clear line.
"""

from collections.abc import Callable
from pathlib import Path

from models.importers import fastgan, lightweight_gan, rosinality, stylegan2, stylegan3
from models.importers.containers import Checkpoint, open_checkpoint
from models.importers.network import CheckpointError, Network
from models.importers.pickles import BROKEN
from models.importers.weights import Weights, candidates

__all__ = ["Checkpoint", "CheckpointError", "Network", "open_checkpoint", "read"]

# A weight that each architecture has and no other, and what reads it.
ARCHITECTURES: tuple[tuple[str, Callable[[Weights], Network]], ...] = (
    ("synthesis.b4.conv1.weight", stylegan2.read),
    ("synthesis.input.freqs", stylegan3.read),
    ("conv1.conv.modulation.weight", rosinality.read),
    ("initial_conv.0.weight", lightweight_gan.read),
    ("init.init.0.weight_orig", fastgan.read),
    ("init.init.0.weight", fastgan.read),
)


def read(path: Path) -> Network:
    """Return the generator of a checkpoint; CheckpointError where there is none that is known."""
    checkpoint = open_checkpoint(path)
    try:
        for weights in candidates(checkpoint):
            for sign, reader in ARCHITECTURES:
                if sign in weights:
                    return reader(weights)
    except CheckpointError:
        raise
    except BROKEN as error:
        raise CheckpointError(f"{path}: its weights don't fit together ({error})") from error
    raise CheckpointError(f"{path}: a {checkpoint.format} without a generator of a known kind")
