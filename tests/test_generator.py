"""The shipped generator and its worker, with real ONNX files and a real process."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from engine.clock import monotonic_us
from engine.core.jobs import FrameJob
from engine.core.parameters import EFFECTS
from engine.render.generator import Generator, slerp, soft_label
from engine.workers import generator as worker
from engine.workers.links import PROVIDERS, GeneratorLink, generator_link, pack_job
from engine.workers.shared import SPAWN, Frame

pytestmark = pytest.mark.live

FOLDER = Path(__file__).resolve().parent.parent / "models" / "weights" / "impressionism"
PLANETS = FOLDER.parent / "planets"
NEUTRAL = tuple(effect.default for effect in EFFECTS)
JOB = FrameJob(
    tick=8, seed_a=11, seed_b=2**64 - 1, blend=0.3, style_seed=5, mix=(0.0, 0.0, 0.0), psi=0.8, noise=1.0,
    noise_seed=3, label=(1.0, *[0.0] * 15), directions=(0.0,) * 10, effects=NEUTRAL,
)  # fmt: skip


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(FOLDER, "cpu")


def test_every_rung_gives_a_picture_of_its_size(generator: Generator) -> None:
    for number, rung in enumerate(generator.manifest.rungs):
        picture = generator.frame(JOB, number)
        assert picture.shape == (rung.height, rung.width, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 1.0
    assert (generator.height, generator.width) == generator.frame(JOB).shape[:2]


def test_a_cpu_plays_bytes_and_a_gpu_half_precision_where_there_are_any() -> None:
    generator = Generator(PLANETS, "cpu")
    best = generator.manifest.rungs[0]
    feed = {"ws": generator.styles(JOB), **generator._noises(0, JOB.noise_seed, JOB.noise)}
    found = {
        version.precision: onnxruntime.InferenceSession(
            generator.manifest.path(version.file), providers=["CPUExecutionProvider"]
        ).run([best.output], feed)[0]
        for version in best.versions
    }
    assert set(found) == {"fp32", "int8", "fp16"}
    assert np.array_equal(generator.frame(JOB), found["int8"])
    assert not np.array_equal(found["fp32"], found["int8"])
    assert best.version(("fp16", "fp32")).precision == "fp16"
    assert generator.manifest.rungs[1].version(("fp16", "fp32")).precision == "int8"  # all that there is


def test_the_same_job_gives_the_same_picture_in_another_generator(generator: Generator) -> None:
    generator.frame(replace(JOB, seed_a=77, noise_seed=9))
    assert np.array_equal(generator.frame(JOB), Generator(FOLDER, "cpu").frame(JOB))


@pytest.mark.parametrize(
    "change",
    [
        {"seed_a": 12}, {"seed_b": 4}, {"blend": 0.9}, {"psi": 0.2}, {"directions": (2.0, *[0.0] * 9)},
        {"mix": (1.0, 0.0, 0.0)}, {"mix": (0.0, 1.0, 0.0)}, {"mix": (0.0, 0.0, 1.0)},
        {"noise_seed": 4}, {"noise": 0.0}, {"label": (0.0, 1.0)},
    ],
    ids=lambda change: "-".join(change),
)  # fmt: skip
def test_every_part_of_a_job_moves_the_latent_or_the_noise(
    generator: Generator, change: dict[str, object]
) -> None:
    changed = replace(JOB, **change)  # type: ignore[arg-type]
    if "noise" in str(change):
        feeds = [generator._noises(0, job.noise_seed, job.noise)["noise_4"].copy() for job in (JOB, changed)]
        assert not np.array_equal(feeds[0], feeds[1])
    else:
        assert not np.allclose(generator.styles(JOB), generator.styles(changed))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("level", [np.nan, np.inf, -np.inf])
def test_no_level_raises_or_outlives_its_job(generator: Generator, level: float) -> None:
    job = replace(JOB, mix=(0.5,) * 3, directions=(0.5,) * 10)
    before = generator.frame(job)
    fields = {"blend": level, "psi": level, "noise": level, "mix": (level,) * 3, "label": (level,)}
    for name, value in (*fields.items(), ("directions", (level,) * 10)):
        assert generator.frame(replace(job, **{name: value})).shape == before.shape  # type: ignore[arg-type]
        assert np.array_equal(generator.frame(job), before)


def test_only_a_gpu_is_left_for_the_cpu() -> None:
    generator = Generator(FOLDER, "cpu")
    before = generator.frame(JOB)
    assert not generator.fall_to_cpu()
    generator.provider = "CUDAExecutionProvider"
    assert generator.fall_to_cpu()
    assert np.array_equal(generator.frame(JOB), before)


def test_mixing_touches_its_own_group_alone(generator: Generator) -> None:
    plain = generator.styles(JOB)[0]
    first, end = generator.manifest.style_groups.middle
    mixed = generator.styles(replace(JOB, mix=(0.0, 1.0, 0.0)))[0]
    touched = np.any(plain != mixed, axis=1)
    assert touched.tolist() == [first <= number < end for number in range(len(plain))]
    other = generator.styles(replace(JOB, seed_a=JOB.style_seed, blend=0.0))[0]
    np.testing.assert_allclose(mixed[first:end], other[first:end], atol=1e-5)


def test_psi_0_is_the_average_and_a_direction_is_in_deviations(generator: Generator) -> None:
    average = generator.styles(replace(JOB, psi=0.0))
    np.testing.assert_allclose(average, generator.styles(replace(JOB, psi=0.0, seed_a=99)), atol=1e-6)
    moved = generator.styles(replace(JOB, psi=0.0, directions=(1.5, *[0.0] * 9)))
    with np.load(FOLDER / "statistics.npz") as statistics:
        length = 1.5 * statistics["deviations"][0]
    assert np.linalg.norm((moved - average)[0, 0]) == pytest.approx(length, rel=1e-3)


def test_slerp_keeps_the_length_and_takes_the_ends() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 512), np.float32)
    np.testing.assert_allclose(slerp(a, b, 0.0), a, atol=1e-6)
    np.testing.assert_allclose(slerp(a, b, 1.0), b, atol=1e-6)
    half = np.linalg.norm(slerp(a, b, 0.5))
    assert half == pytest.approx((np.linalg.norm(a) + np.linalg.norm(b)) / 2, rel=0.05)
    np.testing.assert_allclose(slerp(a, a, 0.5), a, atol=1e-6)
    assert slerp(a, b, 0.5).dtype == slerp(a, a, 0.5).dtype == np.float32


@pytest.mark.parametrize(
    ("label", "expected"),
    [((0.5, 0.5, 1.0), [0.5, 0.5]), ((1.0,), [1.0, 0.0]), ((), [0.0, 1.0]), ((0.0, 0.0, 1.0), [0.0, 1.0])],
)
def test_labels_are_cut_padded_and_summed_to_1(label: tuple[float, ...], expected: list[float]) -> None:
    np.testing.assert_allclose(soft_label(label, 2), [expected])


def test_the_ladder_leaves_a_rung_before_it_is_late_and_climbs_back_with_patience() -> None:
    ladder = worker.Ladder([18_000.0, 8_000.0, 3_000.0])
    period, ahead = 33_333.0, 60_000.0
    slow, rungs = 1.0, []
    for frame in range(900):
        slow = min(slow + 0.02, 2.2) if 100 < frame < 400 else 1.0  # the machine grows busy for a while
        rung = ladder.choose(period, ahead)
        took = ladder._best_us[rung] * slow
        assert took < period
        ladder.learn(rung, took)
        rungs.append(rung)
    assert set(rungs[:100]) == {0}
    assert set(rungs[200:460]) == {1}  # and for a while after the rush
    assert rungs[-1] == 0
    assert sum(a != b for a, b in pairwise(rungs)) == 2  # no hunting


def test_the_ladder_bears_one_interruption_and_a_frame_that_is_late_anyway() -> None:
    ladder = worker.Ladder([15_000.0, 5_000.0])
    for frame in range(100):
        ladder.learn(ladder.choose(33_333.0, 60_000.0), 90_000.0 if frame == 50 else 16_000.0)
    assert ladder.choose(33_333.0, -1.0) == 0
    assert ladder.choose(33_333.0, 12_000.0) == 1  # little is left: the better rung would be late


@contextmanager
def running(side: int = 256, shaders: bool = False) -> Iterator[GeneratorLink]:
    """Yield the link to a worker's process that is ready, with room for pictures of so many pixels square."""
    link = generator_link(side, side, 8)
    link.board["shaders"] = float(shaders)
    settings = worker.GeneratorConfig(FOLDER, provider="cpu")
    process = SPAWN.Process(target=worker.run, args=(link, settings), daemon=True)
    process.start()
    try:
        end = time.monotonic() + 30.0
        while not link.board["ready"]:
            assert process.is_alive()
            assert time.monotonic() < end
            time.sleep(0.01)
        yield link
    finally:
        link.board["stop"] = 1.0
        process.join(5.0)
        alive = process.is_alive()
        with suppress(ProcessLookupError):
            process.kill()
        assert not alive
        assert process.exitcode == 0


def await_frame(link: GeneratorLink, tick: int, seconds: float = 10.0) -> Frame:
    """Return the frame of a tick once it is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        frame = link.frames.newest(tick)
        if frame is not None and frame.tick == tick:
            return frame
        time.sleep(0.005)
    raise AssertionError(f"no frame for tick {tick}")


@pytest.mark.parametrize("shaders", [False, True])
def test_the_worker_makes_frames_with_effects_or_leaves_them_to_the_shaders(
    generator: Generator, shaders: bool
) -> None:
    effects = (*NEUTRAL[:-1], 1.0)  # blackout
    with running(shaders=shaders) as link:
        link.jobs.push(*pack_job(replace(JOB, effects=effects), 1, monotonic_us() + 1e6))
        frame = await_frame(link, JOB.tick)
        assert frame.raw == shaders
        assert frame.effects[: len(effects)] == effects
        if shaders:
            assert np.array_equal(frame.pixels, generator.frame(JOB, frame.rung))
        else:
            assert frame.pixels.max() == 0
        assert PROVIDERS[int(link.board["provider"])] == "CPUExecutionProvider"
        assert link.board["inference_us"] > 0.0
        assert abs(frame.ready_us - link.board["heartbeat_us"]) < 10e6


def test_the_shaders_may_go_and_come_while_it_plays() -> None:
    with running(shaders=True) as link:
        for frame, shaders in enumerate((True, False, True), 1):
            link.board["shaders"] = float(shaders)
            link.jobs.push(*pack_job(replace(JOB, tick=8 * frame), frame, monotonic_us() + 1e6))
            assert await_frame(link, 8 * frame).raw == shaders


def test_it_asks_for_patience_while_it_loads_and_in_a_frame_and_not_longer() -> None:
    link = generator_link(256, 256, 8)
    process = SPAWN.Process(
        target=worker.run, args=(link, worker.GeneratorConfig(FOLDER, provider="cpu")), daemon=True
    )
    ahead_s = {"loading": 0.0, "frame": 0.0}
    process.start()
    try:
        end = time.monotonic() + 30.0
        while not link.board["ready"] and time.monotonic() < end:
            ahead_s["loading"] = max(ahead_s["loading"], link.board["heartbeat_us"] / 1e6 - time.monotonic())
        for frame in range(1, 9):
            link.jobs.push(*pack_job(replace(JOB, tick=8 * frame), frame, monotonic_us() + 1e6))
        while ((last := link.frames.newest(64)) is None or last.tick < 64) and time.monotonic() < end:
            ahead_s["frame"] = max(ahead_s["frame"], link.board["heartbeat_us"] / 1e6 - time.monotonic())
        time.sleep(0.2)
        assert abs(link.board["heartbeat_us"] - monotonic_us()) < 1e6
        assert 60.0 < ahead_s["loading"] <= 120.0
        assert 8.0 < ahead_s["frame"] <= 60.0
    finally:
        process.kill()
        process.join(5.0)


def test_jobs_whose_deadline_has_passed_are_skipped_while_newer_ones_wait() -> None:
    with running() as link:
        now = monotonic_us()
        for frame in range(1, 6):
            deadline = now - 1e6 if frame < 5 else now + 1e6
            link.jobs.push(*pack_job(replace(JOB, tick=8 * frame), frame, deadline))
        await_frame(link, 40)
        assert 3 <= link.board["skipped"] <= 4  # the first may have been taken before the second came
        assert link.board["errors"] == 0


def test_what_fails_is_counted_and_the_worker_goes_on() -> None:
    with running(side=16) as link:  # no rung's picture fits
        for frame in (1, 2):
            link.jobs.push(*pack_job(JOB, frame, monotonic_us() + 1e6))
            end = time.monotonic() + 10.0
            while link.board["errors"] < frame and time.monotonic() < end:
                time.sleep(0.01)
            assert link.board["errors"] == frame


def test_the_providers_are_told_without_the_engine() -> None:
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "engine.workers.generator", "--providers"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=root)
    assert "CPUExecutionProvider" in json.loads(done.stdout)
