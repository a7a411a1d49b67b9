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
LOWER = ("int8",)  # precisions of the lower rungs, which are for CPUs that are short of time
GOLDEN = 4  # latents, or events
CALIBRATION, MEASURED = 48, 64  # pictures that set the ranges of int8, and that the errors are taken over
MOST_PSI, MOST_NOISE = 1.2, 1.5  # what int8 must bear
COARSE, MIDDLE = 8, 16  # px of features; so far styles are coarse, middle (Karras et al. 2019, figure 3)
HEARD = 64  # events before the one of the golden vectors
TOLERANCE = {"w": 1e-3, "z": 2e-2, "image": 1.0, "logits": 1e-3, "h_out": 1e-4, "c_out": 1e-4}
TOLERANCE |= {"ring_out": 1e-4, "place_out": 0.0}
INT8_TOLERANCE = {"logits": 1.0, "h_out": 0.1, "c_out": 0.5, "ring_out": 0.1}

GENERATOR_MEANING = {
    "z": "latent, drawn from N(0, 1)",
    "label": "weight of each class, one-hot or any mixture that sums to 1",
    "w": "style: truncate with w_avg + psi * (w - w_avg)",
    "ws": "one w for each convolution, from 4 px upwards",
    "noise": "grain of the features of that many px, N(0, 1) times the wanted strength; zeros for none",
    "image": "uint8 (height, width, 3), RGB",
    "picture": "uint8 (height, width, 3), RGB, of which the encoder gives the z",
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
        picture = self.synthesis(ws, list(noise))[0][-1]
        levels: Tensor = (picture[0].permute(1, 2, 0) * 127.5 + 128).clamp(0, 255)
        return levels.to(torch.uint8)


class Latent(nn.Module):
    """The encoder of one picture."""

    def __init__(self, encoder: gan.Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, picture: Tensor) -> Tensor:
        """Map a picture, uint8 (view, view, 3), to the mean of its z, (1, z_dim)."""
        mean: Tensor = self.encoder(picture.float().permute(2, 0, 1)[None] / 127.5 - 1)[0]
        return mean


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


# PyTorch's exporter writes into each node the lines of code that it came from, with the paths of the machine
# that trained: they are nobody's business, and a twentieth of a small network.
def bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model, changed in place, without what its exporter noted about its making."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    functions = [node for function in model.functions for node in function.node]
    for part in (model, graph, *graph.node, *graph.initializer, *values, *model.functions, *functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


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
    graph = bare(onnx.load(str(path)))
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))
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


Case = tuple[dict[str, Tensor], dict[str, Tensor]]  # inputs, and what PyTorch makes of them


def check(path: Path, cases: list[Case], tolerance: dict[str, float] = TOLERANCE) -> None:
    """Compare ONNX Runtime with PyTorch; ValueError where they differ too much."""
    runner = precision.session(path.read_bytes())
    most = 0.0
    for inputs, expected in cases:
        outputs = runner.run(list(expected), {name: value.numpy() for name, value in inputs.items()})
        for (name, wanted), found in zip(expected.items(), outputs, strict=True):
            apart = float(np.abs(found.astype(np.float64) - wanted.numpy().astype(np.float64)).max())
            if apart > tolerance[name]:
                raise ValueError(f"{path}: {name} differs by {apart}, {tolerance[name]} would be right")
            most = max(most, apart)
    print(f"{path.name}: differs from PyTorch by {most:.2g} at most, {len(cases)} tried")


def feeds(
    generator: gan.Generator, sides: tuple[int, ...], count: int, seed: int
) -> list[dict[str, np.ndarray]]:
    """Return inputs of the synthesis as varied as on stage: latents, classes, truncation and noise."""
    shape = generator.shape
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(count, shape.z_dim, generator=rng)
    labels = torch.eye(shape.classes)[torch.arange(count) % shape.classes] if shape.classes else None
    w = generator.mapping(z, labels)
    psi = MOST_PSI * torch.rand(count, 1, generator=rng)
    w = w.mean(0) + psi * (w - w.mean(0))
    found = []
    for row in w:
        strength = MOST_NOISE * torch.rand((), generator=rng)
        noise = [strength * each for each in gan.draw_noise(1, sides, rng)]
        found.append(named(row[None, None].repeat(1, shape.num_ws, 1), noise))
    return [{name: value.numpy() for name, value in feed.items()} for feed in found]


def named(ws: Tensor, noise: list[Tensor]) -> dict[str, Tensor]:
    """Return the inputs of the synthesis by name."""
    return {"ws": ws} | {f"noise_{each.shape[-1]}": each for each in noise}


def write_rungs(
    generator: gan.Generator, size: int, folder: Path
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Write the synthesis up to `size` px and the heads below it; return manifest entries and golden vectors.

    Every rung takes the ws of the whole network, so that a switch needs no other input than less noise.
    """
    rungs: list[dict[str, Any]] = []
    golden: dict[str, np.ndarray] = {}
    picture = Picture(generator.synthesis)
    ladder = [side for side in reversed(generator.shape.sides) if 2 * side <= size][:RUNGS]
    for side in ladder:
        sides = tuple(each for each in generator.shape.sides if each <= side)
        measured = feeds(generator, sides, MEASURED, seed=1)
        tensors = [{name: torch.from_numpy(value) for name, value in feed.items()} for feed in measured]
        inputs, image = tensors[0], picture(*tensors[0].values())
        stem = f"synthesis-{2 * side}"
        path = folder / f"{stem}.onnx"
        written = write_graph(path, picture, inputs, ["image"])
        check(path, [(each, {"image": picture(*each.values())}) for each in tensors])
        graph = precision.lighter(precision.folded(path.read_bytes()))
        path.unlink()
        wanted = manifest.PRECISIONS if side == ladder[0] else LOWER
        calibration = feeds(generator, sides, CALIBRATION, seed=2)
        rungs.append(
            {
                "name": str(2 * side),
                "opset": written["opset"],
                "inputs": written["inputs"],
                "output": "image",
                "height": 2 * side,
                "width": 2 * side,
                "versions": precision.write(folder, stem, graph, calibration, measured, wanted),
            }
        )
        golden |= {f"{stem}/{name}": value.numpy() for name, value in {**inputs, "image": image}.items()}
    return rungs, golden


@torch.no_grad()
def export_gan(
    tensors: dict[str, Tensor],
    facts: dict[str, Any],
    folder: Path,
    classes: list[str] | None,
    size: int | None,
    with_checkpoint: bool,
) -> dict[str, Any]:
    """Write the graphs, statistics and golden vectors of an averaged generator; return its manifest.

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
    if size // 2 not in shape.sides:
        raise ValueError(f"--size {size}: the checkpoint has {[2 * side for side in shape.sides]}")

    rng = torch.Generator().manual_seed(1)
    inputs = {"z": torch.randn(GOLDEN, shape.z_dim, generator=rng)}
    if names:
        inputs["label"] = torch.eye(shape.classes)[torch.arange(GOLDEN) % shape.classes]
    w = generator.mapping(*inputs.values())
    path = folder / "mapping.onnx"
    mapping = {**write_graph(path, generator.mapping, inputs, ["w"], any_batch=True), "output": "w"}
    check(path, [(inputs, {"w": w})])
    golden = {f"mapping/{name}": value.numpy() for name, value in {**inputs, "w": w}.items()}
    rungs, shown = write_rungs(generator, size, folder)
    extras: dict[str, Any] = {}
    if facts["encoder"]:
        encoder = gan.Encoder(shape)
        encoder.load_state_dict(checkpoint.unpack("encoder", tensors))
        levels = torch.arange(shape.view * shape.view * 3) % 251
        inputs = {"picture": levels.reshape(shape.view, shape.view, 3).to(torch.uint8)}
        path, latent = folder / "encoder.onnx", Latent(encoder)
        extras["encoder"] = {**write_graph(path, latent, inputs, ["z"]), "output": "z"}
        z = latent(*inputs.values())
        check(path, [(inputs, {"z": z})])
        path.write_bytes(precision.fp16(path.read_bytes()))
        extras["encoder"] |= manifest.entry(path)
        golden |= {f"encoder/{name}": value.numpy() for name, value in {**inputs, "z": z}.items()}
    if with_checkpoint:
        kept = {
            name: value.half()
            for name, value in tensors.items()
            if name.startswith(("average.", "encoder.", "discriminator_"))
        }
        checkpoint.save(folder, kept, {**facts, "curve": []})
        extras["checkpoint"] = manifest.entry(folder / checkpoint.FILE)

    def mapped(z: np.ndarray, label: np.ndarray | None) -> np.ndarray:
        arrays = (z,) if label is None else (z, label)
        found: np.ndarray = generator.mapping(*map(torch.from_numpy, arrays)).numpy()
        return found

    statistics = directions.statistics(mapped, shape.z_dim, shape.classes)
    np.savez(folder / "statistics.npz", **statistics)  # type: ignore[arg-type]
    styled = [side for side in shape.sides if side <= gan.MODULATED]
    ends = [2 * sum(side <= most for side in styled) - 1 for most in (COARSE, MIDDLE)]
    meaning = {key for key in GENERATOR_MEANING if (names or key != "label") and (extras or key != "picture")}
    return {
        "kind": "generator",
        "meaning": {key: text for key, text in GENERATOR_MEANING.items() if key in meaning},
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
        **extras,
        "statistics": manifest.entry(folder / "statistics.npz"),
        "golden": write_golden(
            folder / "golden.npz",
            {**golden, **shown},
            {name: TOLERANCE[name] for name in ("w", "z", "image")},
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
    check(path, [(inputs, expected)])
    tolerance = {name: TOLERANCE[name] for name in outputs}
    if wanted == "int8":
        path.write_bytes(precision.int8_step(path.read_bytes()))
        written |= manifest.entry(path)
        tolerance = {name: INT8_TOLERANCE.get(name, TOLERANCE[name]) for name in outputs}
        check(path, [(inputs, expected)], tolerance)
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
    with_checkpoint: bool = False,
) -> manifest.Manifest:
    """Export the checkpoint in `source` to the folder `out`/`name` and return its checked manifest.

    With `with_checkpoint` the folder holds the weights to train on from too, in half precision. ValueError
    where the checkpoint, the class names or the size won't do, or a graph disagrees with PyTorch.
    """
    tensors, facts = checkpoint.load(source)
    folder, unfinished = out / name, out / (name + ".part")
    for each in (folder, unfinished):
        each.mkdir(parents=True, exist_ok=True)
    if facts["kind"] in ("gan", "vae"):
        written = export_gan(tensors, facts, unfinished, classes, size, with_checkpoint)
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
    parser.add_argument("--size", type=int, help="end at another size than was trained last")
    parser.add_argument(
        "--with-checkpoint",
        action="store_true",
        help="add what `train_gan --from` begins with, at half precision",
    )
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
