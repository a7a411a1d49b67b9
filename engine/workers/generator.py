"""The generator's process: frame jobs in, finished pictures out, on the rung that keeps their deadlines."""

import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import parent_process
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from engine.clock import monotonic_us
from engine.core.jobs import FrameJob
from engine.core.parameters import DIRECTIONS, EFFECTS
from engine.workers.gentle import gently
from engine.workers.links import GENERATOR_CELLS, PROVIDERS, GeneratorLink, pack_text, unpack_job
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
_OVERDUE_TIMES = 5.0  # where an understudy waits, no more than this, if the frame would be late besides
_IDLE_US = 50e3  # beyond the longest wait for a job: who has not come round by then will not
_CHECK_US = 1e6  # between two looks whether a known latent still gives the picture that it gave
_CHECK_ROOM = 3.0  # times what it takes must be left until the next frame is due
_ROUNDING = 2  # of 255: a GPU may round differently from run to run
_GPU_US, _GPU_LONGEST_US = 20e6, 600e6  # until a lost GPU is tried again, doubled each time


_CUE_S = 0.5  # between two looks of an understudy whether it is still wanted
_LAST_TICK = 1 << 62

_KNOWN = FrameJob(  # a job to warm with, and to check by
    0, 0, 1, 0.5, 2, (0.0, 0.0, 0.0), 0.7, 1.0, 3, (1.0,), (0.0,) * DIRECTIONS,
    tuple(effect.default for effect in EFFECTS),
)  # fmt: skip


@dataclass(frozen=True)
class GeneratorConfig:
    """Which generator to play, and on what."""

    folder: Path
    provider: str = "auto"
    nice: int = 10
    threads: int = 1
    networks: tuple[Path, ...] = ()  # folders of the image networks behind it


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


def _be_done(board: Board, due_us: float, most_us: float) -> None:
    """Tell the supervisor when what begins should long be done, and how much of the processor it may take."""
    board["overdue_used_s"] = process_time() + most_us / 1e6
    board["overdue_us"] = due_us


# A network that has gone wrong without an error (a bit flipped in memory, a driver that returns the picture
# before, NaN cast to bytes) looks like any other. So a known latent is made again each second, when there is
# time, and must give what it gave the first time.
class Checker:
    """Compares the picture of a known job with the one that the same rung gave first."""

    def __init__(self) -> None:
        self._first: dict[int, NDArray[Any]] = {}
        self._checked_us = 0.0

    def due(self, now_us: float) -> bool:
        """Tell whether it is time."""
        return now_us - self._checked_us > _CHECK_US

    def agrees(self, generator: "Generator", rung: int) -> bool:
        """Make the known picture; return whether it is what it was."""
        import cv2

        self._checked_us = monotonic_us()
        picture = generator.frame(_KNOWN, rung)
        first = self._first.setdefault(rung, picture.copy())
        return first.shape == picture.shape and cv2.norm(first, picture, cv2.NORM_INF) <= _ROUNDING


def run(
    link: GeneratorLink, config: GeneratorConfig, cue: Semaphore | None = None, beside: bool = False
) -> None:
    """Make pictures until told to stop, or until the parent process is gone.

    Whether they get their effects here or are left to shaders is asked of the board for each. Whoever comes
    `beside` a playing one loads gently. An understudy (its `cue` has not been given yet) loads, warms and
    waits; until it has its cue it has a board of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    board, parent = link.board, parent_process()
    understudy = cue is not None and not cue.acquire(block=False)
    rehearsal = replace(link, board=Board(GENERATOR_CELLS)) if understudy else link
    _ask_for_patience(rehearsal.board, _LOADING_US)
    with suppress(OSError, AttributeError):  # not on this system
        os.setpriority(os.PRIO_PROCESS, 0, config.nice)
    try:
        load = partial(_load, rehearsal, config)
        maker, best_us = gently(load) if beside else load()
    except Exception as error:
        link.says.push(pack_text(str(error)))
        raise SystemExit(1) from None
    if understudy:
        assert cue is not None
        board["understudy"] = 1.0
        while not cue.acquire(timeout=_CUE_S):
            if board["stop"] or (parent is not None and not parent.is_alive()):
                return
        for cell in ("provider", "inference_us", "least_us"):
            board[cell] = rehearsal.board[cell]
        _go_on(link, maker)
    _play(link, maker, Ladder(best_us))


def _play(link: GeneratorLink, maker: "Maker", ladder: Ladder) -> None:
    """Make the picture of each job as it comes."""
    board, parent = link.board, parent_process()
    generator, networks = maker.generator, maker.networks
    checker, began_us = Checker(), monotonic_us()
    board["gpu_lost"] = board["gpu_lost"] if generator.provider == "CPUExecutionProvider" else 0.0
    board["heartbeat_us"] = monotonic_us()
    board["ready"] = 1.0
    waiting: list[tuple[FrameJob, int, float]] = []
    last_frame, last_deadline_us, period_us = -1, 0.0, 1e6
    while not board["stop"] and (parent is None or parent.is_alive()):
        board["heartbeat_us"] = monotonic_us()
        _be_done(board, monotonic_us() + _WAIT_S * 1e6 + _IDLE_US, _IDLE_US)
        waiting.extend(unpack_job(record) for record in link.jobs.pop_all())
        if not waiting:
            left_us = last_deadline_us + period_us - monotonic_us()
            if checker.due(monotonic_us()) and left_us > _CHECK_ROOM * ladder.expected_us(ladder.rung):
                _check(link, generator, checker, ladder)
            _retry_gpu(board, began_us)
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
        expected_us = ladder.expected_us(rung) + networks_us
        most_us = _OVERDUE_TIMES * expected_us
        _be_done(board, max(deadline_us - period_us / 2.0, now_us + most_us), most_us)
        _ask_for_patience(board, max(_FRAME_US, _FRAME_TIMES * expected_us))
        try:
            took_us = make(link, maker, job, frame, rung)
        except Exception:  # whatever ONNX Runtime or CUDA throws: the show goes on, on the CPU
            board.add("errors")
            board["overdue_us"] = 0.0
            if generator.fall_to_cpu():
                networks.fall_to_cpu()
                board.add("gpu_lost")
                ladder, checker, began_us = _land(link, generator), Checker(), monotonic_us()
            elif board["understudy"]:
                os._exit(1)  # at once: it may do better
            link.jobs.wait(_WAIT_S)
        else:
            ladder.learn(rung, took_us)


def _go_on(link: GeneratorLink, maker: "Maker") -> None:
    """Remember the last picture of whoever was there before, for the effects that feed it back."""
    frame = link.frames.newest(_LAST_TICK)
    if frame is not None and not frame.raw:
        maker.effects.remember(frame.pixels)


def _check(link: GeneratorLink, generator: "Generator", checker: Checker, ladder: Ladder) -> None:
    """Make the known picture on the present rung; end this process if it is not what it was."""
    most_us = _OVERDUE_TIMES * ladder.expected_us(ladder.rung)
    _be_done(link.board, monotonic_us() + _IDLE_US + most_us, most_us)
    try:
        agrees = checker.agrees(generator, ladder.rung)
    except Exception:  # the next frame will raise it again, and be counted
        agrees = True
    if not agrees:
        link.board.add("errors")
        link.says.push(pack_text("a known picture came out differently: its process is replaced"))
        os._exit(1)


# What a GPU loses it loses for the whole process. So who fell to the CPU makes way, after a while, for an
# understudy, which has asked for a GPU afresh; one that got none makes way again, later each time.
def _retry_gpu(board: Board, began_us: float) -> None:
    """End this process if a GPU was lost long enough ago and an understudy waits."""
    lost = board["gpu_lost"]
    wait_us = min(_GPU_US * 2.0 ** min(lost - 1.0, 10.0), _GPU_LONGEST_US)
    if lost and board["understudy"] and monotonic_us() - began_us > wait_us:
        board.add("gpu_lost")
        os._exit(0)


def _land(link: GeneratorLink, generator: "Generator") -> Ladder:
    """Return a ladder for a generator that has just lost its GPU, at its lowest rung.

    Only that one is warmed, so that pictures come again within half a second; the others are taken to need
    more as they have more pixels.
    """
    sizes = [rung.height * rung.width for rung in generator.manifest.rungs]
    (least_us,) = _warm(link, generator, [len(sizes) - 1])
    ladder = Ladder([least_us * size / sizes[-1] for size in sizes])
    ladder.rung = len(sizes) - 1
    return ladder


def make(link: GeneratorLink, maker: "Maker", job: FrameJob, frame: int, rung: int) -> float:
    """Make one picture and store it; return what it took in microseconds, image networks aside."""
    board = link.board
    begun_us = monotonic_us()
    pixels = maker.generator.frame(job, rung)
    made, wanted = pixels.shape, maker.generator.manifest.rungs[rung]
    if made != (wanted.height, wanted.width, 3):
        raise ValueError(f"a picture of shape {made}, where {wanted.height} x {wanted.width} was promised")
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
    """Load and warm all that makes a picture, for good; return it and the best time of each rung."""
    import cv2

    from engine.render.maker import Maker

    cv2.setNumThreads(config.threads)
    maker = Maker(config.folder, config.networks, config.provider, config.threads)
    best_us = _warm(link, maker.generator)
    gc.collect()
    gc.freeze()
    return maker, best_us


def _warm(link: GeneratorLink, generator: "Generator", rungs: Sequence[int] = ()) -> list[float]:
    """Run each rung (all of them if none are named) a few times; return its best time in microseconds."""
    best_us = []
    for rung in rungs or range(generator.rungs):
        _ask_for_patience(link.board, _LOADING_US)
        times_us = []
        for _ in range(_WARM_RUNS):
            begun_us = monotonic_us()
            try:
                generator.frame(_KNOWN, rung)
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
