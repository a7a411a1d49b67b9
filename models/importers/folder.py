"""Writes what an importer has read as a model folder that the engine plays."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models import directions, manifest, precision, quantise
from models.importers import relay
from models.importers.graph import Graph
from models.importers.network import BEND, CheckpointError, Network
from models.importers.relay import THREADS, Feed

Floats = NDArray[np.float32]
Inputs = Mapping[str, Sequence[int]]  # shapes by name
Progress = Callable[[float, str], None]  # share of the whole, and what is being done

LEAST_RUNG = 64  # px: smaller ones help nobody, unless there is nothing larger
RUNGS = 3
LEAST_DB = 30.0  # an int8 twin further from fp32 is left out
LEAST_GAIN = 0.9  # and so is one that takes more than this share of fp32's time here
CALIBRATION_S, ERROR_S, SHEET_S = 4.0, 1.0, 8.0  # worth of pictures, at fp32's speed, within the counts below
CALIBRATION, PICTURES, SHEET = (4, 48), (2, 8), (2, 4)  # SHEET: a side of the contact sheet
CLOUDS = 16  # pictures that an image network is calibrated with
CELL = 128  # px of a picture on it at most
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
    run = precision.session(path, threads=THREADS)
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

    heights = ladder(network)
    part = _part(progress, 0.05, 0.25)
    rungs: dict[int, Original] = {}
    for number, height in enumerate(heights):
        part(number / len(heights), f"{height} px")
        graph = network.synthesis(height, bends=wish.bends)
        feed = partial(draw.feed, _shapes(graph), np.random.default_rng(height))
        rungs[height] = write_original(graph, folder, f"synthesis-{height}", feed)
        golden |= rungs[height].golden
    limits = _calibrate(network, folder, wish, rungs, draw, _part(progress, 0.3, 0.35))
    entries, notes = [], []
    for number, (height, rung) in enumerate(rungs.items()):

        def half(path: Path, height: int = height, rung: Original = rung) -> Graph | None:
            twin = network.synthesis(height, bends=wish.bends, half=True)
            if twin.kind == "float16":
                twin.write(path)
                return twin
            path.write_bytes(precision.fp16(rung.path.read_bytes()))
            return None

        def bytewise(path: Path, height: int = height) -> None:
            plain = network.synthesis(height, bends=wish.bends, plain=True)
            plain.rewritten(partial(quantise.quantised, limits=limits)).write(path)

        part = _part(progress, 0.65 + 0.35 * number / len(heights), 0.35 / len(heights))
        versions, left_out = write_twins(rung, {"int8": bytewise, "fp16": half}, wish.precisions, part)
        entries.append(rung.entry(str(height), versions))
        notes += left_out
    np.savez_compressed(folder / "golden.npz", **golden)  # type: ignore[arg-type]
    names = [f"bend_{layer}" for layer in wish.bends]
    declared = {name for rung in rungs.values() for name in rung.inputs}
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
        "mapping": {**manifest.entry(path), "opset": mapping.opset, "inputs": inputs, "output": "w"},
        "rungs": entries,
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


@dataclass(frozen=True)
class Original:
    """A graph in fp32 as it was written, and the pictures that it made of some feeds."""

    path: Path
    inputs: Mapping[str, tuple[int, ...]]
    output: str
    opset: int
    feeds: Sequence[Feed]
    pictures: Sequence[NDArray[Any]]
    best_s: float  # time of a picture

    @property
    def golden(self) -> Feed:
        """The first feed and its picture, named as the manifest's golden arrays are."""
        named = {**self.feeds[0], self.output: self.pictures[0]}
        return {f"{self.path.stem}/{name}": value for name, value in named.items()}

    def entry(self, name: str, versions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the manifest's entry of the rung that it is."""
        height, width = self.pictures[0].shape[:2]
        return {
            "name": name,
            "opset": self.opset,
            "inputs": {each: list(shape) for each, shape in self.inputs.items()},
            "output": self.output,
            "height": height,
            "width": width,
            "versions": list(versions),
        }


def write_original(graph: Graph, folder: Path, stem: str, feed: Callable[[int], Feed]) -> Original:
    """Write a graph in fp32 and try it. Raise CheckpointError where it gives one picture for all feeds."""
    path = folder / f"{stem}.onnx"
    graph.write(path)
    (output,) = graph.outputs
    feeds = [feed(number) for number in range(PICTURES[0])]
    found, best_s = relay.run(path, graph, feeds)
    if not np.any(found[0][output] != found[1][output]):
        raise CheckpointError(f"{stem}: the picture is the same for different inputs")
    more = [feed(number) for number in range(PICTURES[0], _worth(ERROR_S, best_s, PICTURES))]
    found += relay.run(path, graph, more)[0] if more else []
    pictures = [each[output] for each in found]
    return Original(path, _shapes(graph), output, graph.opset, [*feeds, *more], pictures, best_s)


def _worth(wanted_s: float, best_s: float, bounds: tuple[int, int]) -> int:
    """Return how many pictures take so long, within bounds."""
    return max(bounds[0], min(bounds[1], int(wanted_s / max(best_s, 1e-6))))


# A lower rung is the beginning of the best one, with the same values under the same names. So what goes
# through all of them is learnt on the best rung from a few latents, and from many on the rung that the
# contact sheet shows; both at once, for the pictures are there anyway.
def _calibrate(
    network: Network,
    folder: Path,
    wish: Wish,
    rungs: Mapping[int, Original],
    draw: _Latents,
    progress: Progress,
) -> dict[str, quantise.Range]:
    """Write contact.png; return the ranges of what convolutions are fed with and give, if int8 is wanted."""
    shown = min((height for height in rungs if height >= CELL), default=max(rungs))
    limits: dict[str, quantise.Range] = {}
    for number, height in enumerate(dict.fromkeys((max(rungs), shown))):
        progress(number / 2, f"{height} px, looking")
        best_s, watched = rungs[height].best_s, "int8" in wish.precisions
        side = isqrt(_worth(SHEET_S, best_s, (SHEET[0] ** 2, SHEET[1] ** 2))) if height == shown else 0
        count = max(side**2, _worth(CALIBRATION_S, best_s, CALIBRATION) if watched else 0)
        if not count:
            continue
        graph = network.synthesis(height, bends=wish.bends, plain=watched)
        rng = np.random.default_rng(7)
        feeds = [draw.feed(rungs[height].inputs, rng, number) for number in range(count)]
        pictures, seen = look(graph, folder, feeds, watched)
        limits = quantise.united(limits, seen)
        if side:
            _contact_sheet(folder, pictures[: side**2], side)
    return limits


def look(
    graph: Graph, folder: Path, feeds: Sequence[Feed], watched: bool
) -> tuple[list[NDArray[Any]], dict[str, quantise.Range]]:
    """Return a graph's pictures and, where `watched`, the ranges that its int8 twin needs."""
    names: list[str] = []

    def watch(nodes: Sequence[Any], constants: Any) -> tuple[list[Any], dict[str, Any]]:
        names.extend(quantise.activations(quantise.convolutions(nodes, constants)))
        return quantise.watched(nodes, names), dict(constants)

    (picture,) = graph.outputs
    if watched:
        graph = graph.rewritten(watch)
        graph.outputs |= {node.output[0]: ("float32", ()) for node in quantise.watches(names)}
    path = folder / "looking.onnx"
    graph.write(path)
    found, _ = relay.run(path, graph, feeds)
    path.unlink()
    rows = [[each[node.output[0]] for node in quantise.watches(names)] for each in found]
    return [each[picture] for each in found], quantise.ranges(names, rows) if names else {}


def write_twins(
    original: Original,
    twins: Mapping[str, Callable[[Path], Graph | None]],
    wanted: Sequence[str],
    progress: Progress,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Write the twins that are wanted and worth it; return all entries, and what was left out.

    What writes a twin returns its graph, or None where it has no seams to run it by.
    A twin in int8 is compared as this machine plays it, one in fp16 as it is written: rounded after each
    node, as on other machines.
    """
    stem = original.path.stem
    versions, notes = [{**manifest.entry(original.path), "precision": "fp32"}], []
    for number, name in enumerate(each for each in ("int8", "fp16") if each in wanted):
        progress(0.5 * number, f"{stem.removeprefix('synthesis-')} px, {name}")
        path = original.path.with_stem(f"{stem}-{name}")
        try:
            graph = twins[name](path)
            found, best_s = relay.run(path, graph, original.feeds, optimised=name == "int8")
            far = precision.apart(original.pictures, [each[original.output] for each in found])
            problem = _problem(name, far, best_s / original.best_s)
        except Exception as error:  # a converter that does not know an operator: fp32 plays all the same
            problem = " ".join(str(error).split())[:120]
        if problem:
            path.unlink(missing_ok=True)
            notes.append(f"{stem}: no {name}: {problem}")
        else:
            versions.append(precision.twin_entry(path, name, far))
    return versions, notes


def _problem(name: str, far: precision.Error, share: float) -> str:
    """Return why a twin is left out, "" where it stays; `share` is its time over fp32's."""
    if far.psnr_db < LEAST_DB:
        return f"{far.psnr_db:.1f} dB from fp32, {LEAST_DB:g} are the least"
    if name == "int8" and share > LEAST_GAIN:
        return f"it takes {share:.0%} of fp32's time on this machine"
    return ""


def _contact_sheet(folder: Path, pictures: Sequence[NDArray[Any]], side: int) -> None:
    """Write contact.png: pictures of the generator, so many a side."""
    scale = min(1.0, CELL / max(pictures[0].shape[:2]))
    size = (max(1, round(pictures[0].shape[1] * scale)), max(1, round(pictures[0].shape[0] * scale)))
    small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]
    rows = [np.hstack(small[row * side : (row + 1) * side]) for row in range(side)]
    _, data = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    (folder / "contact.png").write_bytes(data.tobytes())


def write_effect(
    network: Callable[..., Graph], folder: Path, wish: Wish, facts: Mapping[str, Any], progress: Progress
) -> manifest.Effect:
    """Write an image network's folder and return its checked manifest. Raise CheckpointError.

    `network(plain=...)` returns its graph; `plain` is that of network.Synthesis.
    """
    progress(0.1, "image network")
    graph = network(plain=False)
    shape = tuple(int(side) for side in graph.inputs["image"])
    rng = np.random.default_rng(0)
    feeds: list[Feed] = [{"image": _clouds(rng, shape, 1.0 + number % 9)} for number in range(CLOUDS)]
    original = write_original(graph, folder, "effect", lambda number: feeds[number])

    def bytewise(path: Path) -> None:
        plain = network(plain=True)
        _, limits = look(plain, folder, feeds, watched=True)
        plain.rewritten(partial(quantise.quantised, limits=limits)).write(path)

    def half(path: Path) -> None:
        path.write_bytes(precision.fp16(original.path.read_bytes()))

    versions, notes = write_twins(original, {"int8": bytewise, "fp16": half}, wish.precisions, progress)
    np.savez_compressed(folder / "golden.npz", **original.golden)  # type: ignore[arg-type]
    meaning = {"image": MEANING["image"], "styled": MEANING["image"]}
    written = {
        **_head(wish, "effect", "an image network", meaning),
        "rung": original.entry(str(original.pictures[0].shape[0]), versions),
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
    return manifest.read(folder)  # each file was hashed as it was written


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
