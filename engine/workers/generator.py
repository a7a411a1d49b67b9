"""The generator's process: frame jobs in, finished pictures out, on the rung that keeps their deadlines."""

import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from engine.clock import monotonic_us
from engine.core.jobs import FrameJob
from engine.core.parameters import DIRECTIONS, EFFECTS
from engine.workers.links import PROVIDERS, GeneratorLink, pack_text, unpack_job
from engine.workers.shared import Board

if TYPE_CHECKING:
    from engine.render.generator import Generator
    from engine.render.maker import Maker

_WAIT_S = 0.05
_WARM_RUNS = 3  # the first allocates, the others measure
_FULL = 0.85  # share of the room that a frame may take before a rung is left
_CROWDED = 0.5  # share of its time that a generator has while another plays too
_EASY = 0.7  # share of the room that a better rung must be expected to need for it to be tried
_PATIENCE, _LONGEST_PATIENCE = 60, 1920  # frames in a row with room for it, before a better rung is tried
_OUTLIER = 3.0  # a frame that took longer than so many times the best was interrupted: how long says little
_GAIN = 0.1  # of the exponential means, about the last ten frames
_LOADING_US = 120e6  # so long may loading take, and so long the warming of each rung
_FRAME_US, _FRAME_TIMES = 10e6, 20.0  # a frame may take the first, or so many times what is expected of it


@dataclass(frozen=True)
class GeneratorConfig:
    """Which generator to play, and on what; `ahead`: it is loaded while another plays."""

    folder: Path
    provider: str = "auto"
    nice: int = 10
    threads: int = 1
    networks: tuple[Path, ...] = ()  # folders of the image networks behind it
    ahead: bool = False


# Each rung has its best time ever, which is a fact about the network and the machine; what the rest of the
# machine does to it now is one number, the pressure, by which all rungs' times are stretched. The pressure
# is kept as a mean and a deviation, as TCP keeps its round trip (Jacobson 1988), so an unsteady machine
# leaves more headroom. A rung is left at once when a frame on it is not expected to fit its room, and tried
# again only after a while of ease; the while doubles each time the attempt fails.
class Ladder:
    """Chooses the rung of each frame. `best_us` are the times of the rungs as warmed, best quality first."""

    def __init__(self, best_us: Sequence[float]) -> None:
        self._best_us = list(best_us)
        self._pressure, self._deviation = 1.0, 0.0
        self._ease = self._since_climb = 0
        self._patience = _PATIENCE
        self.rung = 0

    @property
    def stretch(self) -> float:
        """By how much more than at best a frame is to be reckoned with."""
        return self._pressure + 2.0 * self._deviation

    def expected_us(self, rung: int) -> float:
        """Return the time that a frame is to be reckoned with."""
        return self._best_us[rung] * self.stretch

    def choose(self, period_us: float, ahead_us: float) -> int:
        """Return the rung for a frame: one is wanted every `period_us`, this one `ahead_us` from now."""
        last = len(self._best_us) - 1
        late_anyway = ahead_us < self.expected_us(last)
        room_us = period_us if late_anyway else min(period_us, ahead_us)
        self._since_climb += 1
        if self.rung < last and self.expected_us(self.rung) > _FULL * room_us:
            if self._since_climb < 4 * _PATIENCE:
                self._patience = min(2 * self._patience, _LONGEST_PATIENCE)
            while self.rung < last and self.expected_us(self.rung) > _FULL * room_us:
                self.rung += 1
            self._ease = 0
        elif self.rung > 0 and self.expected_us(self.rung - 1) < _EASY * room_us:
            self._ease += 1
            if self._ease >= self._patience:
                self.rung -= 1
                self._ease = self._since_climb = 0
        else:
            self._ease = 0
            if self._since_climb > _LONGEST_PATIENCE:
                self._patience = _PATIENCE
        return self.rung

    def squeeze(self, room_us: float) -> int:
        """Return the best rung, none better than the present one, for a frame with so little room.

        The ladder stays as it is: it is for a while, and climbing takes patience.
        """
        rungs = range(self.rung, len(self._best_us))
        return next((rung for rung in rungs if self.expected_us(rung) <= _FULL * room_us), rungs[-1])

    def learn(self, rung: int, took_us: float) -> None:
        """Learn what a frame took."""
        self._best_us[rung] = best_us = min(self._best_us[rung], took_us)
        error = min(took_us / best_us, _OUTLIER) - self._pressure
        self._pressure += _GAIN * error
        self._deviation += _GAIN * (abs(error) - self._deviation)


# Nothing can be said while ONNX Runtime works, and a thread that said it all the same would make a hung call
# look alive. So the sign of life before a long task is dated ahead, to when the task must be over: from
# then on silence means what it always does.
def _ask_for_patience(board: Board, us: float) -> None:
    """Tell the supervisor not to expect a sign of life for so long."""
    board["heartbeat_us"] = monotonic_us() + us


# Linux keeps the niceness of each thread, and one that has made itself nicer can't go back. So a generator
# that is loaded beside a playing one is loaded by a thread of its own, the nicest there is, and played by
# another, of the playing generators' niceness.
def _yield_to_all() -> None:
    """Take the processor only where nobody else wants it (on Linux, this thread alone)."""
    if sys.platform == "linux":
        os.nice(19)


def run(link: GeneratorLink, config: GeneratorConfig) -> None:
    """Make pictures until told to stop, or until the parent process is gone.

    Whether they get their effects here or are left to shaders is asked of the board for each.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    board = link.board
    _ask_for_patience(board, _LOADING_US)
    with suppress(OSError, AttributeError):  # not on this system
        os.setpriority(os.PRIO_PROCESS, 0, config.nice)
    try:
        with ThreadPoolExecutor(1, initializer=_yield_to_all if config.ahead else None) as loader:
            maker, best_us = loader.submit(_load, link, config).result()
    except Exception as error:
        link.says.push(pack_text(str(error)))
        raise SystemExit(1) from None
    generator, networks = maker.generator, maker.networks
    ladder = Ladder(best_us)
    gc.collect()
    gc.freeze()
    board["heartbeat_us"] = monotonic_us()
    board["ready"] = 1.0
    parent = parent_process()
    waiting: list[tuple[FrameJob, int, float]] = []
    last_frame, last_deadline_us, period_us = -1, 0.0, 1e6
    while not board["stop"] and (parent is None or parent.is_alive()):
        board["heartbeat_us"] = monotonic_us()
        waiting.extend(unpack_job(record) for record in link.jobs.pop_all())
        if not waiting:
            link.jobs.wait(_WAIT_S)
            continue
        job, frame, deadline_us = waiting.pop(0)
        now_us = monotonic_us()
        least_us = ladder.expected_us(generator.rungs - 1)
        if waiting and deadline_us < now_us + least_us:
            board.add("skipped")
            continue
        if 0 < frame - last_frame < 60 and last_frame >= 0:
            period_us = (deadline_us - last_deadline_us) / (frame - last_frame)
        last_frame, last_deadline_us = frame, deadline_us
        room_us = period_us * (_CROWDED if board["crowded"] else 1.0)
        networks_us = networks.expected_us(job.networks) * ladder.stretch
        if networks_us and networks_us + least_us > _FULL * room_us:  # no rung would leave them the time
            board.add("left_out")
            networks_us, job = 0.0, replace(job, networks=())
        room_us -= networks_us
        ahead_us = deadline_us - now_us - networks_us
        rung = ladder.squeeze(room_us) if board["crowded"] else ladder.choose(room_us, ahead_us)
        _ask_for_patience(board, max(_FRAME_US, _FRAME_TIMES * (ladder.expected_us(rung) + networks_us)))
        try:
            took_us = _make(link, maker, job, frame, rung)
        except Exception:  # whatever ONNX Runtime or CUDA throws: the show goes on, on the CPU
            board.add("errors")
            if generator.fall_to_cpu():
                networks.fall_to_cpu()
                ladder = Ladder(_warm(link, generator))
            link.jobs.wait(_WAIT_S)
        else:
            ladder.learn(rung, took_us)


def _make(link: GeneratorLink, maker: "Maker", job: FrameJob, frame: int, rung: int) -> float:
    """Make one picture and store it; return what it took in microseconds, image networks aside."""
    board = link.board
    begun_us = monotonic_us()
    pixels = maker.generator.frame(job, rung)
    inferred_us = monotonic_us()
    pixels = maker.networks.apply(pixels, job.networks)
    networks_us = monotonic_us() - inferred_us
    raw = board["shaders"] > 0.0
    if not raw:
        pixels = maker.effects.apply(pixels, job.effects)
    link.frames.write(job.tick, frame, pixels, int(monotonic_us()), rung, raw, job.effects, job.share)
    height, width = pixels.shape[:2]
    took_us, mean_us = inferred_us - begun_us, board["inference_us"]
    board["inference_us"] = took_us if rung != board["rung"] else mean_us + _GAIN * (took_us - mean_us)
    board["rung"], board["height"], board["width"] = float(rung), float(height), float(width)
    return monotonic_us() - begun_us - networks_us


def _load(link: GeneratorLink, config: GeneratorConfig) -> "tuple[Maker, list[float]]":
    """Load and warm all that makes a picture; return it and the best time of each rung."""
    import cv2

    from engine.render.maker import Maker

    cv2.setNumThreads(config.threads)
    maker = Maker(config.folder, config.networks, config.provider, config.threads)
    return maker, _warm(link, maker.generator)


def _warm(link: GeneratorLink, generator: "Generator") -> list[float]:
    """Run each rung a few times; return its best time in microseconds."""
    job = FrameJob(
        0, 0, 1, 0.5, 2, (0.0, 0.0, 0.0), 0.7, 1.0, 3, (1.0,), (0.0,) * DIRECTIONS,
        tuple(effect.default for effect in EFFECTS),
    )  # fmt: skip
    best_us = []
    for rung in range(generator.rungs):
        _ask_for_patience(link.board, _LOADING_US)
        times_us = []
        for _ in range(_WARM_RUNS):
            begun_us = monotonic_us()
            try:
                generator.frame(job, rung)
            except Exception:
                link.board.add("errors")
                generator.fall_to_cpu()
            times_us.append(monotonic_us() - begun_us)
        best_us.append(min(times_us))
    link.board["provider"] = float(PROVIDERS.index(generator.provider))
    link.board["inference_us"], link.board["least_us"] = best_us[0], best_us[-1]
    return best_us


if __name__ == "__main__" and sys.argv[1:] == ["--providers"]:
    from models.providers import usable_providers

    print(json.dumps(usable_providers()))
