"""Runs a written graph on some feeds, part by part where it has seams.

A generator's weights, laid out as the runtime likes them, its largest picture and the loading itself are five
times a checkpoint. Of one part at a time they are less than three times.
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import precision
from models.importers.graph import Graph

Feed = dict[str, NDArray[Any]]
THREADS = min(4, os.cpu_count() or 1)


def run(
    path: Path, graph: Graph | None, feeds: Sequence[Mapping[str, NDArray[Any]]], optimised: bool = True
) -> tuple[list[Feed], float]:
    """Return the outputs of the graph at `path` for each feed, and the best time of one, in seconds.

    `graph` is what was written there; None runs the file as one. All feeds go through a part before the next
    is loaded; what passes on lies in files beside `path` meanwhile.
    """
    parts = graph.parts() if graph else []
    found: list[Feed] = [{} for _ in feeds]
    passing: set[str] = set()
    best_s = 0.0
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for number in range(max(1, len(parts))):
            part = path
            if len(parts) > 1:
                part = Path(folder) / "part.onnx"
                parts[number].write(part)
            runner = precision.session(part, optimised, THREADS)
            later = {name for each in parts[number + 1 :] for name in each.inputs}
            times = []
            for place, (feed, kept) in enumerate(zip(feeds, found, strict=True)):
                taken = {
                    each.name: np.load(_file(folder, place, each.name))
                    if each.name in passing
                    else feed[each.name]
                    for each in runner.get_inputs()
                }
                begun = time.perf_counter()
                given = runner.run(None, taken)
                times.append(time.perf_counter() - begun)
                for name in passing - later:
                    _file(folder, place, name).unlink()
                for each, value in zip(runner.get_outputs(), given, strict=True):
                    if each.name in later:
                        np.save(_file(folder, place, each.name), value)
                    else:
                        kept[each.name] = value
            passing = (passing & later) | {each.name for each in runner.get_outputs()} & later
            best_s += min(times)
            del runner
    return found, best_s


def _file(folder: str, place: int, name: str) -> Path:
    """Return where a value waits for the next part, of one of the feeds."""
    return Path(folder) / f"{place}-{name}.npy"
