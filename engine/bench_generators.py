"""How fast generators are on this machine: each rung of those that are here, our export among other engines.

One thread and one picture at a time, as on stage. What is compared takes turns, picture by picture, so that
whatever else the machine does slows all of it alike.
"""

import json
import logging
import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine import library
from engine.core.jobs import FrameJob
from engine.core.parameters import EFFECTS
from engine.render.generator import Generator, session_of
from models import manifest

if TYPE_CHECKING:
    from models.peers import Contender, Make

COMPARED_PX = 256
LARGE_PX = 512
WARM = 5  # pictures that are not counted
RUNS_PER_S = 20  # of --seconds: 200 pictures of each at its default
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8")  # as Linux names them
JOB = FrameJob(
    tick=0, seed_a=1, seed_b=2, blend=0.5, style_seed=3, mix=(0.0, 0.0, 0.0), psi=0.7, noise=1.0,
    noise_seed=4, label=(1.0,), directions=(), effects=tuple(effect.default for effect in EFFECTS),
)  # fmt: skip


@dataclass(frozen=True)
class Speed:
    """How long pictures took, in ms, and how far the last was from what it is held against, in levels."""

    what: str
    precision: str
    p50_ms: float
    p99_ms: float
    levels_apart: float | None = None


def processor() -> str:
    """Return the processor's name and which instructions for 8-bit products it has, as far as it tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    parts = (line.partition(":") for line in lines)
    facts = {key.strip(): value.strip() for key, _, value in parts}
    flags = [flag for flag in FLAGS if flag in facts.get("flags", "").split()]
    vnni = "" if any("vnni" in flag or "amx" in flag for flag in flags) else "; no VNNI, so int8 gains less"
    return f"{facts.get('model name', platform.machine())}, {' '.join(flags) or 'no AVX2'}{vnni}"


def measure(makes: Mapping[str, "Make"], runs: int, warm: int = WARM) -> dict[str, tuple[float, float]]:
    """Return the median and the 99th percentile in ms of makers of pictures that take turns."""
    took: dict[str, list[float]] = {name: [] for name in makes}
    for run in range(warm + runs):
        for name, make in makes.items():
            begun = perf_counter()
            make()
            if run >= warm:
                took[name].append(1000.0 * (perf_counter() - begun))
    return {name: (float(np.median(each)), float(np.percentile(each, 99))) for name, each in took.items()}


def _first(runner: Any, output: str, feed: dict[str, Any]) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = runner.run([output], feed)[0]
    return pixels


def ladder(name: str, runs: int) -> list[Speed]:
    """Return how fast each rung of a generator is in each precision that it has for a CPU."""
    folder, found = library.find(name, manifest.Generator)
    player = Generator(folder, "cpu")
    makes: dict[str, Make] = {}
    keys = []
    for number, rung in enumerate(found.rungs):
        feed = player.feed(JOB, number)
        for version in rung.versions:
            if version.precision == "fp16":  # gains nothing on a CPU, and is not played there
                continue
            runner = session_of(found.path(version.file).read_bytes())
            make = partial(_first, runner, rung.output, feed)
            key = f"{name} {rung.name} {version.precision}"
            makes[key] = make
            keys.append((f"{name}, rung {rung.name}", version.precision, key))
    times = measure(makes, runs)
    return [Speed(what, kind, *times[key]) for what, kind, key in keys]


def _print_ladder(speeds: Sequence[Speed]) -> None:
    print(f"  {'rung':<44}{'':<8}{'p50 ms':>8}{'p99 ms':>8}")
    for speed in speeds:
        print(f"  {speed.what:<44}{speed.precision:<8}{speed.p50_ms:>8.2f}{speed.p99_ms:>8.2f}", flush=True)


def compare(found: Sequence["Contender"], runs: int) -> list[Speed]:
    """Return how fast each engine is, and how far its picture is from that of our fp32."""
    ready = {f"{each.engine} {each.precision}": each for each in found if each.make}
    makes = {name: each.make for name, each in ready.items() if each.make}
    pictures = {name: make().astype(float) for name, make in makes.items()}
    times = measure(makes, runs)
    ours = pictures["ours fp32"]
    return [
        Speed(each.engine, each.precision, *times[name], float(np.abs(pictures[name] - ours).mean()))
        for name, each in ready.items()
    ]


def _print_comparison(speeds: Sequence[Speed], missing: Sequence["Contender"]) -> None:
    base = {speed.precision: speed.p50_ms for speed in speeds if speed.what == "ours"}
    print(f"  {'engine':<38}{'':<6}{'p50 ms':>8}{'p99 ms':>8}{'x ours fp32':>13}{'x int8':>8}{'apart':>8}")
    for speed in speeds:
        ratios = f"{speed.p50_ms / base['fp32']:>13.2f}{speed.p50_ms / base['int8']:>8.2f}"
        print(
            f"  {speed.what:<38}{speed.precision:<6}{speed.p50_ms:>8.2f}{speed.p99_ms:>8.2f}{ratios}"
            f"{speed.levels_apart:>8.2f}"
        )
    for each in missing:
        print(f"  {each.engine:<38}{each.precision:<6}skipped: {each.missing}")


def run(seconds: float, report: Path | None) -> int:
    """Measure, print, and write every figure to `report` as JSON; return the exit status."""
    runs = max(round(seconds * RUNS_PER_S), 10)
    figures: dict[str, Any] = {"processor": processor(), "runs": runs, "ladders": [], "peers": []}
    print(f"{figures['processor']}\none thread, {runs} pictures each\n", flush=True)
    for name in library.generators():
        speeds = ladder(name, runs // 2)
        _print_ladder(speeds)
        figures["ladders"] += [vars(speed) for speed in speeds]
    lacking = [name for name in ("torch", "onnx", "onnxscript") if find_spec(name) is None]
    if lacking:
        print(f"\nother engines: skipped, {', '.join(lacking)} not installed (pip install 'chladni[train]')")
    else:
        logging.disable(logging.WARNING)  # of exporters and compilers, about what is not needed here
        warnings.simplefilter("ignore")
        figures["peers"] = _against_peers(runs)
    if report:
        report.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _against_peers(runs: int) -> list[dict[str, Any]]:
    from models import peers

    generator = peers.random_generator(COMPARED_PX)
    print(
        f"\nthe same network of {COMPARED_PX} px, random weights; `apart` in levels from ours in fp32",
        flush=True,
    )
    found = list(peers.contenders(peers.network(generator, COMPARED_PX)))
    speeds = compare(found, runs)
    _print_comparison(speeds, [each for each in found if each.make is None])
    print(f"\nrungs of the design at {LARGE_PX} px, random weights", flush=True)
    generator = peers.random_generator(LARGE_PX)
    makes: dict[tuple[str, str], Make] = {}
    for rung in (LARGE_PX, LARGE_PX // 2, LARGE_PX // 4):
        of = peers.network(generator, rung)
        for kind, graph in (("int8", of.int8), ("fp32", of.fp32)):
            makes[f"{LARGE_PX} px, rung {rung}", kind] = peers.onnx_runtime(graph, of.arrays)
    times = measure({f"{what} {kind}": make for (what, kind), make in makes.items()}, runs // 2)
    rungs = [Speed(what, kind, *times[f"{what} {kind}"]) for what, kind in makes]
    _print_ladder(rungs)
    return [vars(speed) for speed in (*speeds, *rungs)]
