"""What a frame of the engine costs over the bare network: the same file, threads and inputs, taking turns."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from engine import library
from engine.core.advance import close, open_tick
from engine.core.jobs import FrameJob
from engine.core.latent import frame_job
from engine.core.parameters import EFFECTS
from engine.core.show import Show
from engine.core.state import initial
from engine.render.effects import Effects
from engine.render.generator import PRECISIONS, Generator, open_session
from engine.workers.shared import FrameStore
from models import manifest

PROVIDER: Final = "CPUExecutionProvider"
THREADS: Final = 1
WARM: Final = 20  # frames that are not counted
FRAMES_PER_S: Final = 30  # of --seconds


def run(show: Show, seconds: float, report: Path | None) -> int:
    """Print what each rung of the show's generator takes, bare and as a frame; write it as JSON too.

    A frame is all that the generator's process does for one, its effects at rest: the walk's styles and
    noise, the network, the effects, and the picture stored where the window finds it. What is left out is
    the waiting. Bare is ONNX Runtime's `run` alone, on the inputs of that frame.
    """
    folder, found = library.find(show.generator, manifest.Generator)
    generator = Generator(folder, "cpu", threads=THREADS)
    jobs = _jobs(show, WARM + round(FRAMES_PER_S * seconds))
    rows = []
    print(f"{found.name}, a frame over the bare network, one thread; ms, median / p99")
    for number, rung in enumerate(found.rungs):
        version = rung.version(PRECISIONS[PROVIDER])
        bare = open_session(found.path(version.file), PROVIDER, THREADS)
        effects = Effects(rung.height, rung.width)
        store = FrameStore(rung.height, rung.width)
        bare_ms, frame_ms = [], []
        for count, job in enumerate(jobs):
            feed = generator.feed(job, number)
            began = perf_counter()
            bare.run([rung.output], feed)
            between = perf_counter()
            pixels = effects.apply(generator.frame(job, number), job.effects)
            store.write(job.tick, count, pixels, 0, number, False, job.effects)
            ended = perf_counter()
            bare_ms.append(1000.0 * (between - began))
            frame_ms.append(1000.0 * (ended - between))
        bare_ms, frame_ms = bare_ms[WARM:], frame_ms[WARM:]
        ratio = median(frame_ms) / median(bare_ms)
        rows.append({"rung": rung.name, "bare_ms": bare_ms, "frame_ms": frame_ms, "ratio": ratio})
        figures = f"bare {_pair(bare_ms)}   frame {_pair(frame_ms)}   ratio {ratio:.3f}"
        print(f"  {rung.name:<12} {figures}", flush=True)
    if report:
        report.write_text(json.dumps(rows), encoding="utf-8")
    return 0


def _pair(times_ms: list[float]) -> str:
    return f"{median(times_ms):7.2f} / {np.quantile(times_ms, 0.99):7.2f}"


def _jobs(show: Show, count: int) -> list[FrameJob]:
    """Return the first frames of a show that nobody plays, its effects at rest."""
    state, jobs = initial(show), list[FrameJob]()
    rest = tuple(effect.default for effect in EFFECTS)
    while len(jobs) < count:
        state = open_tick(close(show, state))
        if state.tick % show.frame_ticks == 0:
            jobs.append(replace(frame_job(show, state), effects=rest))
    return jobs
