"""Writes what an importer has read as a model folder that the engine plays."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from models import directions, manifest, precision
from models.importers.graph import Graph
from models.importers.network import BEND, CheckpointError, Network
from models.importers.roles import Roles

Floats = NDArray[np.float32]
Feed = dict[str, NDArray[Any]]
Inputs = Mapping[str, Sequence[int]]  # shapes by name
Progress = Callable[[float, str], None]  # share of the whole, and what is being done

LEAST_RUNG = 64  # px: smaller ones help nobody, unless there is nothing larger
RUNGS = 3
LEAST_DB = 30.0  # an int8 twin further from fp32 is left out
LEAST_GAIN = 0.9  # and so is one that takes more than this share of fp32's time here
CALIBRATION_S, ERROR_S = 4.0, 1.0  # worth of pictures, at fp32's speed, within the counts below
CALIBRATION, PICTURES = (6, 48), (1, 8)
SHEET, CELL = 4, 128  # pictures a side of the contact sheet, px of each at most
PSI = 0.7
TOLERANCE = {"w": 1e-3, "image": 2.0}

MEANING = {
    "z": "latent, drawn from N(0, 1)",
    "label": "weight of each class, one-hot or any mixture that sums to 1",
    "w": "style: truncate with w_avg + psi * (w - w_avg)",
    "ws": "one w for each layer",
    "noise": "N(0, 1) times the wanted strength; zeros for none",
    "psi": "truncation, by the network itself",
    "transform": "inverse (3, 3) of what happens to the picture, in its widths, about its centre",
    "bend": ", ".join(name for name, _ in BEND),
    "image": "uint8 (height, width, 3), RGB",
}


@dataclass(frozen=True)
class Wish:
    """What is to be made of a network. `classes` names its classes, `bends` the layers to be bent."""

    name: str
    title: str
    source: str  # the file's name, and its SHA-256
    bends: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = manifest.PRECISIONS
    licence: str = "unstated"


def _shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a rung's inputs, all fixed."""
    return {name: tuple(int(side) for side in shape) for name, shape in graph.inputs.items()}


def ladder(network: Network) -> tuple[int, ...]:
    """Return the heights of the rungs that are written, best first."""
    return tuple(height for height in network.heights if height >= LEAST_RUNG)[:RUNGS] or network.heights[:1]


def check_wish(network: Network, wish: Wish) -> None:
    """Raise CheckpointError where a wish asks for what the network lacks."""
    layers = [layer.name for layer in network.layers]
    for name in wish.bends:
        if name not in layers:
            raise CheckpointError(
                f"--bend {name}: it has the layers {', '.join(layers) or 'that bend: none'}"
            )
    if len(wish.bends) > len(set(wish.bends)):
        raise CheckpointError(f"--bend {','.join(wish.bends)}: each layer once")
    if wish.classes and len(wish.classes) != network.classes:
        raise CheckpointError(f"--classes names {len(wish.classes)}, the network has {network.classes}")


class _Latents:
    """Draws what a rung is fed with, from the mapping and the statistics of w."""

    def __init__(self, network: Network, run: Any, statistics: Mapping[str, Floats]) -> None:
        self._network, self._run = network, run
        self._average = statistics["w_avg_by_class" if network.classes else "w_avg"].reshape(
            -1, network.w_dim
        )

    def z(self, rng: np.random.Generator, number: int) -> Feed:
        """Return the mapping's inputs of one latent; classes take turns."""
        feed: Feed = {"z": rng.standard_normal((1, self._network.z_dim), np.float32)}
        if self._network.classes:
            feed["label"] = np.eye(self._network.classes, dtype=np.float32)[[number % self._network.classes]]
        return feed

    def feed(self, inputs: Inputs, rng: np.random.Generator, number: int) -> Feed:
        """Return the inputs of a rung's graph for one latent, truncated, its knobs at rest."""
        (w,) = self._run.run(None, self.z(rng, number))
        average = self._average[number % len(self._average)]
        w = average + np.float32(PSI) * (w - average)
        feed: Feed = {}
        for name, shape in inputs.items():
            if name == "ws":
                feed[name] = np.broadcast_to(w[:, None], shape).astype(np.float32)
            elif name.startswith("noise"):
                feed[name] = rng.standard_normal(shape).astype(np.float32)
            elif name.startswith("bend_"):
                feed[name] = np.array([rest for _, rest in BEND], np.float32)
            else:
                feed[name] = (
                    np.eye(3, dtype=np.float32) if name == "transform" else np.ones(shape, np.float32)
                )
        return feed


def write_generator(network: Network, folder: Path, wish: Wish, progress: Progress) -> manifest.Generator:
    """Write a generator's folder and return its checked manifest. Raise CheckpointError."""
    check_wish(network, wish)
    progress(0.0, "mapping")
    mapping = network.mapping()
    path = folder / "mapping.onnx"
    mapping.write(path)
    run = precision.session(path.read_bytes())
    latents = max(200, min(directions.LATENTS, 40_000 // max(1, network.classes)))

    def mapped(z: Floats, label: Floats | None) -> Floats:
        found: Floats = run.run(None, {"z": z} if label is None else {"z": z, "label": label})[0]
        return found

    statistics = directions.statistics(mapped, network.z_dim, network.classes, latents)
    if network.w_avg is not None and not network.classes:
        statistics["w_avg"] = network.w_avg
    np.savez(folder / "statistics.npz", **statistics)  # type: ignore[arg-type]
    draw = _Latents(network, run, statistics)
    golden = {f"mapping/{name}": value for name, value in draw.z(np.random.default_rng(1), 0).items()}
    golden["mapping/w"] = run.run(None, {k.removeprefix("mapping/"): v for k, v in golden.items()})[0]
    inputs: dict[str, list[int]] = {"z": [1, network.z_dim]}
    if network.classes:
        inputs["label"] = [1, network.classes]

    rungs, notes = [], []
    heights = ladder(network)
    for number, height in enumerate(heights):
        part = _part(progress, 0.05 + 0.85 * number / len(heights), 0.85 / len(heights))
        rung, arrays, left_out = _write_rung(network, folder, height, wish, draw, part)
        rungs.append(rung)
        golden |= arrays
        notes += left_out
    progress(0.9, "contact sheet")
    filling = [rung for rung in rungs if rung["height"] >= CELL]
    _contact_sheet(folder, (filling or rungs[:1])[-1], draw)
    np.savez_compressed(folder / "golden.npz", **golden)  # type: ignore[arg-type]
    names = [f"bend_{layer}" for layer in wish.bends]
    declared = {name for rung in rungs for name in rung["inputs"]}
    head = _head(
        wish, "generator", network.architecture,
        {key: text for key, text in MEANING.items() if key in ("z", "w", "ws", "image")
         or any(name.startswith(key) for name in (*inputs, *declared))},
    )  # fmt: skip
    written = {
        **head,
        "z_dim": network.z_dim,
        "w_dim": network.w_dim,
        "num_ws": network.num_ws,
        "classes": list(wish.classes) or [str(number) for number in range(network.classes)],
        "style_groups": {name: list(ends) for name, ends in network.style_groups.items()},
        "mapping": {**manifest.entry(path), "opset": _opset(path), "inputs": inputs, "output": "w"},
        "rungs": rungs,
        "statistics": manifest.entry(folder / "statistics.npz"),
        "bends": [layer for layer, name in zip(wish.bends, names, strict=True) if name in declared],
        "golden": {**manifest.entry(folder / "golden.npz"), "tolerance": TOLERANCE},
    }
    found = _finish(folder, written)
    assert isinstance(found, manifest.Generator)
    facts = {**network.facts, "rungs": ", ".join(f"{h} px" for h in heights)}
    (folder / "card.md").write_text(card(found, wish, facts, notes), encoding="utf-8")
    progress(1.0, "done")
    return found


def _part(progress: Progress, begun: float, span: float) -> Progress:
    """Return the progress of a part of the whole."""
    return lambda share, what: progress(begun + span * share, what)


def _write_rung(
    network: Network, folder: Path, height: int, wish: Wish, draw: _Latents, progress: Progress
) -> tuple[dict[str, Any], Feed, list[str]]:
    """Write one rung; return its entry, its golden arrays, and what was left out and why."""
    stem = f"synthesis-{height}"
    progress(0.0, f"{height} px")
    graph = network.synthesis(height, bends=wish.bends)
    shapes = _shapes(graph)
    data = graph.serialise()
    session = precision.session(data)
    rng = np.random.default_rng(height)
    first = draw.feed(shapes, rng, 0)
    (image,) = session.run(None, first)
    begun = time.perf_counter()
    (again,) = session.run(None, draw.feed(shapes, rng, 1))
    seconds = time.perf_counter() - begun
    if not np.any(image != again):
        raise CheckpointError(f"{height} px: the picture is the same for different latents")

    def feeds(bounds: tuple[int, int], worth_s: float) -> list[Feed]:
        count = max(bounds[0], min(bounds[1], int(worth_s / max(seconds, 1e-6))))
        return [draw.feed(shapes, rng, number) for number in range(count)]

    def half() -> bytes:
        twin = network.synthesis(height, bends=wish.bends, half=True)
        return twin.serialise() if twin.kind == "float16" else precision.fp16(data)

    def quantised() -> bytes:
        source = network.synthesis(height, bends=wish.bends, plain=True)
        return precision.int8(source.serialise(), calibration)

    calibration, pictures = feeds(CALIBRATION, CALIBRATION_S), feeds(PICTURES, ERROR_S)
    expected = [session.run(None, feed)[0] for feed in pictures]
    plain_s = _best_s(session, pictures[0])
    del session
    twins = {"int8": quantised, "fp16": half}
    versions, notes = write_versions(
        folder, stem, data, twins, pictures, expected, plain_s, wish.precisions, progress
    )
    high, wide = image.shape[:2]
    rung = {
        "name": str(height),
        "opset": _opset(folder / versions[0]["file"]),
        "inputs": {name: list(shape) for name, shape in shapes.items()},
        "output": "image",
        "height": high,
        "width": wide,
        "versions": versions,
    }
    golden = {f"{stem}/{name}": value for name, value in {**first, "image": image}.items()}
    return rung, golden, notes


def write_versions(
    folder: Path,
    stem: str,
    data: bytes,
    twins: Mapping[str, Callable[[], bytes]],
    pictures: Sequence[Feed],
    expected: Sequence[NDArray[Any]],
    plain_s: float,
    wanted: Sequence[str],
    progress: Progress,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Write fp32 and the twins that are wanted and worth it; return the entries, and what was left out.

    `expected` are fp32's pictures of the feeds `pictures`, `plain_s` is the best time of one in seconds.
    """
    path = folder / f"{stem}.onnx"
    path.write_bytes(data)
    versions, notes = [{**manifest.entry(path), "precision": "fp32"}], []
    for number, name in enumerate(each for each in ("int8", "fp16") if each in wanted):
        progress(0.2 + 0.4 * number, f"{stem.removeprefix('synthesis-')} px, {name}")
        try:
            twin = twins[name]()
            apart = precision.error(data, twin, pictures, expected)
        except Exception as error:  # a converter that does not know an operator: fp32 plays all the same
            notes.append(f"{stem}: no {name}: {' '.join(str(error).split())[:120]}")
            continue
        if apart.psnr_db < LEAST_DB:
            notes.append(f"{stem}: no {name}: {apart.psnr_db:.1f} dB from fp32, {LEAST_DB:g} are the least")
            continue
        if name == "int8" and (share := _best_s(precision.session(twin), pictures[0]) / plain_s) > LEAST_GAIN:
            notes.append(f"{stem}: no int8: it takes {share:.0%} of fp32's time on this machine")
            continue
        path = folder / f"{stem}-{name}.onnx"
        path.write_bytes(twin)
        far = {"psnr_db": round(apart.psnr_db, 1), "max_error": apart.max_error}
        versions.append({**manifest.entry(path), "precision": name, **far})
    return versions, notes


def _best_s(session: Any, feed: Feed) -> float:
    """Return the best time of a run in seconds."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - begun)
    return min(times)


def _opset(path: Path) -> int:
    model = onnx.load(str(path), load_external_data=False)
    return int(next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx")))


def _contact_sheet(folder: Path, rung: Mapping[str, Any], draw: _Latents) -> None:
    """Write contact.png: 16 pictures of the generator."""
    session = precision.session((folder / rung["versions"][0]["file"]).read_bytes())
    rng = np.random.default_rng(7)
    pictures = [session.run(None, draw.feed(rung["inputs"], rng, n))[0] for n in range(SHEET * SHEET)]
    scale = min(1.0, CELL / max(pictures[0].shape[:2]))
    size = (max(1, round(pictures[0].shape[1] * scale)), max(1, round(pictures[0].shape[0] * scale)))
    small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]
    rows = [np.hstack(small[row * SHEET : (row + 1) * SHEET]) for row in range(SHEET)]
    cv2.imwrite(str(folder / "contact.png"), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def write_effect(
    graph: Graph, roles: Roles, folder: Path, wish: Wish, facts: Mapping[str, Any], progress: Progress
) -> manifest.Effect:
    """Write an image network's folder and return its checked manifest. Raise CheckpointError."""
    progress(0.1, "image network")
    data = graph.serialise()
    shape = tuple(int(side) for side in graph.inputs["image"])
    rng = np.random.default_rng(0)
    feeds: list[Feed] = [{"image": _clouds(rng, shape, 1.0 + number % 9)} for number in range(16)]
    session = precision.session(data)
    expected = [session.run(None, feed)[0] for feed in feeds[:3]]
    picture, plain_s = expected[0], _best_s(session, feeds[0])
    del session
    twins = {"int8": lambda: precision.int8(data, feeds), "fp16": lambda: precision.fp16(data)}
    versions, notes = write_versions(
        folder, "effect", data, twins, feeds[:3], expected, plain_s, wish.precisions, progress
    )
    golden = {"effect/image": feeds[0]["image"], "effect/styled": picture}
    np.savez_compressed(folder / "golden.npz", **golden)
    high, wide = picture.shape[:2]
    meaning = {"image": MEANING["image"], "styled": MEANING["image"]}
    written = {
        **_head(wish, "effect", "an image network", meaning),
        "rung": {
            "name": str(high),
            "opset": _opset(folder / versions[0]["file"]),
            "inputs": {"image": list(shape)},
            "output": "styled",
            "height": high,
            "width": wide,
            "versions": versions,
        },
        "golden": {**manifest.entry(folder / "golden.npz"), "tolerance": {"styled": TOLERANCE["image"]}},
    }
    found = _finish(folder, written)
    assert isinstance(found, manifest.Effect)
    (folder / "card.md").write_text(card(found, wish, facts, notes), encoding="utf-8")
    progress(1.0, "done")
    return found


def _clouds(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> NDArray[np.uint8]:
    """Return soft coloured noise, uint8 of the shape, that reaches from black to white."""
    soft = cv2.GaussianBlur(rng.random(shape, np.float32), (0, 0), sigma)
    low, high = float(soft.min()), float(soft.max())
    return ((soft - low) * (255.0 / (high - low))).astype(np.uint8)


def _head(wish: Wish, kind: str, what: str, meaning: Mapping[str, str]) -> dict[str, Any]:
    return {
        "format": 1,
        "kind": kind,
        "name": wish.name,
        "title": wish.title,
        "licence": wish.licence,
        "provenance": f"{what}, imported from {wish.source}",
        "credits": [],
        "meaning": dict(meaning),
    }


def _finish(folder: Path, written: Mapping[str, Any]) -> manifest.Manifest:
    text = json.dumps(written, indent=1, ensure_ascii=False) + "\n"
    (folder / manifest.FILE).write_text(text, encoding="utf-8")
    return manifest.load(folder)


def card(
    found: manifest.Generator | manifest.Effect, wish: Wish, facts: Mapping[str, Any], notes: Sequence[str]
) -> str:
    """Return the model card: where it comes from, what it has, how far its precisions are from fp32."""
    rungs = found.rungs if isinstance(found, manifest.Generator) else (found.rung,)
    lines = [f"# {found.title}", "", f"{found.provenance}. Licence: {found.licence}.", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "| rung | precision | MB | from fp32 |", "| --- | --- | --- | --- |"]
    for rung in rungs:
        for version in rung.versions:
            apart = "" if version.psnr_db is None else f"{version.psnr_db} dB, {version.max_error:g} at most"
            lines.append(f"| {rung.name} px | {version.precision} | {version.bytes / 1e6:.1f} | {apart} |")
    lines += ["", *(f"- {note}" for note in notes), ""] if notes else [""]
    lines += [f"Who trained it, on what, and under which licence, the file does not say: {wish.source}."]
    return "\n".join(lines) + "\n"
