"""Exports a checkpoint to a playable folder: `python -m models.export CHECKPOINT_DIR --name NAME ...`.

The folder holds ONNX graphs, golden vectors (inputs and the outputs that PyTorch gave for them) and the
manifest; it is all that playing needs.
"""

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from models import checkpoint, directions, gan, lstm, manifest, precision, works

WEIGHTS = Path(__file__).parent / "weights"
OPSET = 18
RUNGS = 3  # the last head and the two below it
LEAST_RUNG = 32  # px
GOLDEN = 4  # latents, or events
COARSE, MIDDLE = 8, 32  # px: up to here styles are coarse, up to here middle (Karras et al. 2019, figure 3)
HEARD = 64  # events before the one of the golden vectors
TOLERANCE = {"w": 1e-3, "image": 1.0, "logits": 1e-3, "h_out": 1e-4, "c_out": 1e-4}
TOLERANCE |= {"ring_out": 1e-4, "place_out": 0.0}
INT8_TOLERANCE = {"logits": 1.0, "h_out": 0.1, "c_out": 0.5, "ring_out": 0.1}

GENERATOR_MEANING = {
    "z": "latent, drawn from N(0, 1)",
    "label": "weight of each class, one-hot or any mixture that sums to 1",
    "w": "style: truncate with w_avg + psi * (w - w_avg)",
    "ws": "one w for each convolution, from 4 px upwards",
    "noise": "grain of the level of that many px, N(0, 1) times the wanted strength; zeros for none",
    "image": "uint8 (height, width, 3), RGB",
}
MUSICIAN_MEANING = {
    "event": "int64, the class of what just happened",
    "condition": "what is asked for, as conditions says; zeros ask for nothing",
    "h": "output of each layer",
    "c": "cells of each layer",
    "ring": "outputs of the last layer that attention looks back on",
    "place": "row of the ring that is written next",
    "logits": "of the classes of what comes next",
}

MUSICIAN = {"kind": "musician", "alphabet": "performance-388", "time_shift_ms": 10, "velocity_bins": 32}
DRUMS = {"channel": 10, "note_offs": False, "bpm": works.BPM}
TEXT = {"kind": "text"}


class Picture(nn.Module):
    """The synthesis up to one rung, with a tail that makes screen-ready bytes."""

    def __init__(self, synthesis: gan.Synthesis) -> None:
        super().__init__()
        self.synthesis = synthesis

    def forward(self, ws: Tensor, *noise: Tensor) -> Tensor:
        """Map ws (1, num_ws, w_dim) and noise (1, 1, side, side) each to uint8 (height, width, 3)."""
        picture = self.synthesis(ws, list(noise))[-1]
        levels: Tensor = (picture[0].permute(1, 2, 0) * 127.5 + 128).clamp(0, 255)
        return levels.to(torch.uint8)


class OneStep(nn.Module):
    """One event of the musician."""

    def __init__(self, musician: lstm.Musician) -> None:
        super().__init__()
        self.musician = musician

    def forward(self, event: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Map event (1,), condition (1, columns) if there are any, and the state to logits and state."""
        columns, state = None, others
        if self.musician.condition is not None:
            columns, state = others[0][None], others[1:]
        logits, state = self.musician(event[:, None], columns, state)
        return (logits[0], *state)


def write_graph(
    path: Path, module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], any_batch: bool = False
) -> dict[str, Any]:
    """Write a module as one ONNX file; return its manifest entry. `any_batch` frees the first dimension."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    free = {0: batch} if any_batch else {}
    program: Any = torch.onnx.export(
        module.eval(),
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=outputs,
        opset_version=OPSET,
        dynamic_shapes=shapes_like(module, [free for _ in inputs]),
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    program.save(str(path), external_data=False)
    graph = onnx.load(str(path))
    onnx.checker.check_model(graph)
    opset = next(each.version for each in graph.opset_import if each.domain == "")
    shapes = {name: [1, *value.shape[1:]] if any_batch else [*value.shape] for name, value in inputs.items()}
    return {**manifest.entry(path), "opset": opset, "inputs": shapes}


def shapes_like(module: nn.Module, shapes: list[dict[int, Any]]) -> tuple[Any, ...]:
    """Return the dynamic shapes in the form of the module's arguments: its *noise or *others is one tuple."""
    return (shapes[0], tuple(shapes[1:])) if isinstance(module, Picture | OneStep) else tuple(shapes)


def write_golden(path: Path, arrays: dict[str, np.ndarray], tolerance: dict[str, float]) -> dict[str, Any]:
    """Write the golden vectors and return their manifest entry."""
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return {**manifest.entry(path), "tolerance": tolerance}


def run(path: Path, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    """Return what ONNX Runtime makes of the inputs."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return outputs


def check(
    path: Path,
    inputs: dict[str, Tensor],
    expected: dict[str, Tensor],
    tolerance: dict[str, float] = TOLERANCE,
) -> None:
    """Compare ONNX Runtime with PyTorch on the golden inputs; ValueError where they differ too much."""
    for (name, wanted), found in zip(expected.items(), run(path, inputs), strict=True):
        apart = np.abs(found.astype(np.float64) - wanted.numpy().astype(np.float64)).max()
        print(f"{path.name}: {name} differs from PyTorch by {apart:.2g} at most")
        if apart > tolerance[name]:
            raise ValueError(f"{path}: {name} differs by {apart}, {tolerance[name]} would be right")


@torch.no_grad()
def export_gan(
    tensors: dict[str, Tensor],
    facts: dict[str, Any],
    folder: Path,
    classes: list[str] | None,
    size: int | None,
) -> dict[str, Any]:
    """Write the graphs, statistics and golden vectors of a GAN's averaged generator; return its manifest.

    `classes` renames and orders the classes, each by a part of its name; `size` ends the synthesis at another
    level than the one trained last.
    """
    shape = gan.Shape(**facts["shape"])
    generator = gan.Generator(shape)
    generator.load_state_dict(checkpoint.unpack("average", tensors))
    names = classes or facts["classes"]
    order = [number for name in names for number, known in enumerate(facts["classes"]) if name in known]
    if sorted(order) != list(range(shape.classes)):
        raise ValueError(f"--classes {names}: each must be a part of one of {facts['classes']}")
    if generator.mapping.embedding is not None:
        weight = generator.mapping.embedding.weight
        weight.copy_(weight[:, order])
    size = size or facts["playing"]
    if size not in shape.sizes:
        raise ValueError(f"--size {size}: the checkpoint has {shape.sizes}")

    rng = torch.Generator().manual_seed(1)
    z = torch.randn(GOLDEN, shape.z_dim, generator=rng)
    inputs = {"z": z}
    if names:
        inputs["label"] = torch.eye(shape.classes)[torch.arange(GOLDEN) % shape.classes]
    w = generator.mapping(*inputs.values())
    path = folder / "mapping.onnx"
    mapping = {**write_graph(path, generator.mapping, inputs, ["w"], any_batch=True), "output": "w"}
    check(path, inputs, {"w": w})
    golden = {f"mapping/{name}": value.numpy() for name, value in {**inputs, "w": w}.items()}

    # Every rung takes the ws of the whole network, so that a switch needs no other input than less noise.
    rungs = []
    sides = [side for side in reversed(shape.sizes) if LEAST_RUNG <= side <= size][:RUNGS]
    for side in sides or [size]:
        levels = tuple(level for level in shape.sizes if level <= side)
        noise = [0.5 * grain for grain in gan.draw_noise(1, levels, rng)]
        inputs = {"ws": w[:1, None].repeat(1, shape.num_ws, 1)}
        inputs |= {f"noise_{level}": grain for level, grain in zip(levels, noise, strict=True)}
        picture = Picture(generator.synthesis)
        image = picture(*inputs.values())
        path = folder / f"synthesis-{side}.onnx"
        written = write_graph(path, picture, inputs, ["image"])
        opset, dimensions = written.pop("opset"), written.pop("inputs")
        rungs.append(
            {
                "name": str(side),
                "opset": opset,
                "inputs": dimensions,
                "output": "image",
                "height": side,
                "width": side,
                "versions": [{**written, "precision": "fp32"}],
            }
        )
        check(path, inputs, {"image": image})
        golden |= {f"{path.stem}/{name}": value.numpy() for name, value in {**inputs, "image": image}.items()}

    def mapped(z: np.ndarray, label: np.ndarray | None) -> np.ndarray:
        arrays = (z,) if label is None else (z, label)
        found: np.ndarray = generator.mapping(*map(torch.from_numpy, arrays)).numpy()
        return found

    statistics = directions.statistics(mapped, shape.z_dim, shape.classes)
    np.savez(folder / "statistics.npz", **statistics)  # type: ignore[arg-type]
    ends = [2 * sum(level <= side for level in shape.sizes) - 1 for side in (COARSE, MIDDLE)]
    return {
        "kind": "generator",
        "meaning": {key: text for key, text in GENERATOR_MEANING.items() if names or key != "label"},
        "z_dim": shape.z_dim,
        "w_dim": shape.w_dim,
        "num_ws": shape.num_ws,
        "classes": names,
        "style_groups": {
            "coarse": [0, ends[0]],
            "middle": ends,
            "fine": [ends[1], shape.num_ws],
        },
        "mapping": mapping,
        "rungs": rungs,
        "statistics": manifest.entry(folder / "statistics.npz"),
        "golden": write_golden(
            folder / "golden.npz", golden, {name: TOLERANCE[name] for name in ("w", "image")}
        ),
    }


@torch.no_grad()
def export_lstm(
    tensors: dict[str, Tensor], facts: dict[str, Any], folder: Path, wanted: str
) -> dict[str, Any]:
    """Write a musician's step graph in the precision wanted and its golden vectors; return its manifest."""
    shape = lstm.Shape(**facts["shape"])
    musician = lstm.Musician(shape).eval()
    musician.load_state_dict(checkpoint.unpack("model", tensors))
    rng = torch.Generator().manual_seed(1)
    heard = torch.randint(shape.classes, (HEARD, 1), generator=rng)
    _, state = musician(heard, None, musician.silence(1))
    inputs = {"event": torch.randint(shape.classes, (1,), generator=rng)}
    if shape.conditions:
        inputs["condition"] = torch.rand(1, shape.conditions, generator=rng)
    inputs |= dict(zip(shape.state, state, strict=True))
    outputs = ["logits", *(f"{name}_out" for name in shape.state)]
    step, path = OneStep(musician), folder / "step.onnx"
    written = write_graph(path, step, inputs, outputs)
    expected = dict(zip(outputs, step(*inputs.values()), strict=True))
    check(path, inputs, expected)
    tolerance = {name: TOLERANCE[name] for name in outputs}
    if wanted == "int8":
        path.write_bytes(precision.int8_step(path.read_bytes()))
        written |= manifest.entry(path)
        tolerance = {name: INT8_TOLERANCE.get(name, TOLERANCE[name]) for name in outputs}
        check(path, inputs, expected, tolerance)
    golden = {f"step/{name}": value.numpy() for name, value in {**inputs, **expected}.items()}
    ends = {"precision": wanted, "output": "logits", "state": {name: f"{name}_out" for name in shape.state}}
    kind = TEXT if facts["kind"] == "text" else MUSICIAN
    return {
        **kind,
        **{name: facts[name] for name in ("characters", "conditions", "notes") if name in facts},
        **(DRUMS if facts.get("drums") else {}),
        "meaning": {name: text for name, text in MUSICIAN_MEANING.items() if name in {*inputs, *outputs}},
        "step": written | ends,
        "golden": write_golden(folder / "golden.npz", golden, tolerance),
    }


def export(
    source: Path,
    name: str,
    out: Path,
    title: str | None = None,
    licence: str = "unstated",
    provenance: str = "unstated",
    credits: list[str] | None = None,
    classes: list[str] | None = None,
    size: int | None = None,
    wanted: str = "int8",
) -> manifest.Manifest:
    """Export the checkpoint in `source` to the folder `out`/`name` and return its checked manifest.

    ValueError where the checkpoint, the class names or the size won't do, or a graph disagrees with PyTorch.
    """
    tensors, facts = checkpoint.load(source)
    folder, unfinished = out / name, out / (name + ".part")
    for each in (folder, unfinished):
        each.mkdir(parents=True, exist_ok=True)
    if facts["kind"] == "gan":
        written = export_gan(tensors, facts, unfinished, classes, size)
    else:
        written = export_lstm(tensors, facts, unfinished, wanted)
    head = {
        "format": 1,
        "kind": written.pop("kind"),
        "name": name,
        "title": title or name,
        "licence": licence,
        "provenance": provenance,
        "credits": credits or [],
    }
    text = json.dumps({**head, **written}, indent=1, ensure_ascii=False) + "\n"
    (unfinished / manifest.FILE).write_text(text, encoding="utf-8")
    manifest.load(unfinished)
    for path in sorted(unfinished.iterdir()):
        path.replace(folder / path.name)
    unfinished.rmdir()
    return manifest.load(folder)


def main() -> int:
    """Read the command line and export; bad input ends with one clear error."""
    parser = argparse.ArgumentParser(prog="python -m models.export", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="CHECKPOINT_DIR", help="the --out of training")
    parser.add_argument("--name", required=True, help="name of the model and of its folder")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the folder goes")
    parser.add_argument("--title", help="name for people")
    parser.add_argument("--licence", default="unstated", help="of the weights, as an SPDX identifier")
    parser.add_argument("--provenance", default="unstated", help="what it was trained on, and how")
    parser.add_argument("--credit", action="append", dest="credits", help="what the data asks for; repeat")
    parser.add_argument("--classes", nargs="+", help="names and order, each a part of a class's name")
    parser.add_argument("--size", type=int, help="end at a smaller picture than was trained")
    parser.add_argument(
        "--precision", choices=["int8", "fp32"], default="int8", dest="wanted", help="of a step"
    )
    logging.disable(logging.WARNING)  # of PyTorch's exporter, about libraries that are not needed here
    warnings.simplefilter("ignore")  # of the same, about its own future
    try:
        made = export(**vars(parser.parse_args()))
    except ValueError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    size = sum(file.bytes for file in made.files())
    print(f"{made.path(manifest.FILE)}: {made.kind} of {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
