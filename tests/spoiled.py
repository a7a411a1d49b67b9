"""A generator's process that a test can spoil: run in place of `engine.workers.generator.run`.

Files in the folder $CHLADNI_SPOIL are the switches. `shape`, `nan` and `spin` spoil the process that finds
them, which takes them away: its pictures lack a row, its graph is fed with NaN, or it computes without end.
While `gpu` is there, the processor passes for a GPU.
"""

import os
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

import numpy as np

from engine.workers import generator
from engine.workers.links import GeneratorLink

GPU = "CUDAExecutionProvider"


class _OnGpu:
    """A session that says it is on the GPU, and fails when that is gone."""

    def __init__(self, session: Any, switch: Path) -> None:
        self._session, self._switch = session, switch

    def get_providers(self) -> list[str]:
        return [GPU]

    def run(self, *arguments: Any) -> Any:
        if not self._switch.exists():
            raise RuntimeError("CUDA failure 719: unspecified launch failure")
        return self._session.run(*arguments)


def run(
    link: GeneratorLink, config: generator.GeneratorConfig, cue: Semaphore | None = None, beside: bool = False
) -> None:
    """Be a generator's process that can be spoiled."""
    from engine.render import generator as render

    folder = Path(os.environ["CHLADNI_SPOIL"])
    made, fed, opened = render.Generator.frame, render.Generator.feed, render.open_session
    spoilt: set[str] = set()

    def frame(self: Any, *arguments: Any) -> Any:
        if link.board["ready"] and cue is not None:
            for switch in ("shape", "nan", "spin"):
                if (folder / switch).exists():
                    (folder / switch).unlink()
                    spoilt.add(switch)
        while "spin" in spoilt:
            pass
        picture = made(self, *arguments)
        return picture[:-1] if "shape" in spoilt else picture

    def feed(self: Any, *arguments: Any) -> Any:
        inputs = fed(self, *arguments)
        return inputs | {"ws": np.full_like(inputs["ws"], np.nan)} if "nan" in spoilt else inputs

    def session(path: Path, provider: str, threads: int) -> Any:
        found = opened(path, "CPUExecutionProvider", threads)
        return _OnGpu(found, folder / "gpu") if provider == GPU else found

    def providers() -> list[str]:
        return [GPU, "CPUExecutionProvider"] if (folder / "gpu").exists() else ["CPUExecutionProvider"]

    render.Generator.frame, render.Generator.feed = frame, feed  # type: ignore[method-assign]
    render.open_session, render.usable_providers = session, providers
    generator._GPU_US = 3e6
    generator.run(link, config, cue, beside)
