"""How fast a checkpoint's import is beside a plain export of it: the same weights, as they are published.

One thread, one picture at a time, in turns, as in `chladni bench generators`.
"""

import json
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bench_generators import measure, processor
from engine.render.generator import session_of
from models.importers import CheckpointError, Network, read
from models.importers.graph import Graph

FEWEST, MOST = 10, 200  # pictures of each
WARM = 2  # pictures that are not counted


def _make(graph: Graph, inputs: dict[str, NDArray[Any]]) -> "partial[list[NDArray[Any]]]":
    feed = {name: inputs[name] for name in graph.inputs}
    return partial(session_of(graph.serialise()).run, ["image"], feed)


def _inputs(network: Network, graph: Graph) -> dict[str, NDArray[Any]]:
    """Return styles of a latent and noise."""
    rng = np.random.default_rng(0)
    found = {
        name: rng.standard_normal([int(side) for side in shape], np.float32)
        for name, shape in graph.inputs.items()
    }
    mapping = network.mapping()
    feed = {
        name: rng.standard_normal((1, int(shape[1])), np.float32) for name, shape in mapping.inputs.items()
    }
    (w,) = session_of(mapping.serialise()).run(None, feed)
    return found | {"ws": np.broadcast_to(w[:, None], found["ws"].shape)}


def run(file: Path, seconds: float, report: Path | None) -> int:
    """Measure, print, and write the figures to `report` as JSON; return the exit status.

    Raise CheckpointError for a file that is none, or whose network is published as we play it.
    """
    network = read(file)
    if network.grouped is None:
        raise CheckpointError(
            f"{file}: {network.architecture} has no grouped convolutions to measure against"
        )
    height = network.heights[0]
    ours = network.synthesis(height)
    inputs = _inputs(network, ours)
    makes: dict[str, Any] = {
        "ours": _make(ours, inputs),
        "ours, without minimal filtering": _make(network.synthesis(height, plain=True), inputs),
        "plain export, grouped convolutions": _make(network.grouped(height), inputs),
    }
    begun = perf_counter()
    pictures = {name: make()[0].astype(float) for name, make in makes.items()}
    runs = min(MOST, max(FEWEST, round(len(makes) * seconds / (perf_counter() - begun))))
    print(f"{processor()}\n{network.architecture}, {height} px, fp32, one thread, {runs} pictures each\n")
    times = measure(makes, runs, WARM)
    base = times["ours"][0]
    print(f"  {'':<38}{'p50 ms':>8}{'p99 ms':>8}{'x ours':>8}{'apart':>8}")
    figures = []
    for name, (p50_ms, p99_ms) in times.items():
        apart = float(np.abs(pictures[name] - pictures["ours"]).mean())
        print(f"  {name:<38}{p50_ms:>8.1f}{p99_ms:>8.1f}{p50_ms / base:>8.2f}{apart:>8.3f}")
        figures.append({"what": name, "p50_ms": p50_ms, "p99_ms": p99_ms, "levels_apart": apart})
    if report:
        found = {"processor": processor(), "network": network.architecture, "px": height, "runs": runs}
        report.write_text(json.dumps({**found, "figures": figures}, indent=2) + "\n", encoding="utf-8")
    return 0
