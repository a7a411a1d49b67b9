"""What a frame of the engine costs over the bare network: the same file, threads and inputs, taking turns."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Final

import numpy as np

from engine import library
from engine.core.advance import close, open_tick
from engine.core.jobs import FrameJob
from engine.core.latent import frame_job
from engine.core.parameters import EFFECTS
from engine.core.show import Show
from engine.core.state import initial
from engine.render.maker import Maker
from engine.workers.generator import make
from engine.workers.links import GeneratorLink, generator_link, pack_job, unpack_job
from models import manifest

SLOTS: Final = 8  # frames in the store
THREADS: Final = 1
WARM: Final = 20  # frames that are not counted
FRAMES_PER_S: Final = 30  # of --seconds


def run(show: Show, seconds: float, report: Path | None) -> int:
    """Print what each rung of the show's generator takes, bare and as a frame; write it as JSON too.

    A frame is all that the generator's process does for one, its effects at rest: the job taken from its
    ring, the walk's styles and noise, the network, the effects, and the picture stored where the window
    finds it. What is left out is the waiting. Bare is ONNX Runtime's `run` alone, on the inputs of that frame
    and in the same session; the mapping network, which a frame's way also leads through, is taken by itself.
    Times are of the processor, spent by this thread, which does it all: other work does not count in.
    """
    folder, found = library.find(show.generator, manifest.Generator)
    maker = Maker(folder, provider="cpu", threads=THREADS)
    generator = maker.generator
    jobs = _jobs(show, WARM + round(FRAMES_PER_S * seconds))
    link = generator_link(generator.height, generator.width, SLOTS)
    rows = []
    print(f"{found.name}, a frame over the bare network, one thread; ms of it, median / p99")
    for number, rung in enumerate(found.rungs):
        times_ms = {"bare": list[float](), "frame": list[float](), "mapping": list[float]()}
        for count, job in enumerate(jobs):
            feed, latent = generator.feed(job, number), generator.latent(job)
            link.jobs.push(*pack_job(job, count, 0.0))
            takes: dict[str, Callable[[], object]] = {
                "bare": partial(generator.session(number).run, [rung.output], feed),
                "frame": partial(_frame, link, maker, number),
                "mapping": partial(generator.mapped, latent, job.label),
            }
            for name, take in takes.items():
                began = thread_time()
                take()
                times_ms[name].append(1000.0 * (thread_time() - began))
        bare_ms, frame_ms, mapping_ms = (each[WARM:] for each in times_ms.values())
        ratio = median(frame_ms) / median(bare_ms)
        both = median(frame_ms) / (median(bare_ms) + median(mapping_ms))
        row = {"rung": rung.name, "bare_ms": bare_ms, "frame_ms": frame_ms, "mapping_ms": mapping_ms}
        rows.append(row | {"ratio": ratio, "ratio_with_mapping": both})
        figures = f"bare {_pair(bare_ms)}   frame {_pair(frame_ms)}   mapping {_pair(mapping_ms)}"
        print(f"  {rung.name:<8} {figures}   ratio {ratio:.3f}, over both networks {both:.3f}", flush=True)
    if report:
        report.write_text(json.dumps(rows), encoding="utf-8")
    return 0


def _frame(link: GeneratorLink, maker: Maker, rung: int) -> None:
    """Take the job that waits, and make its frame."""
    (record,) = link.jobs.pop_all()
    job, frame, _ = unpack_job(record)
    make(link, maker, job, frame, rung)


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
