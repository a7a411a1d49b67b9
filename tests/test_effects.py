"""The effects on the CPU and as shaders, held side by side on a picture of Chladni's own kind."""

from collections.abc import Iterator
from contextlib import suppress
from ctypes import CDLL
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.core.jobs import Caption
from engine.core.parameters import EFFECTS
from engine.render.caption import write
from engine.render.effects import Effects, held_zoom

Pixels = NDArray[np.uint8]

SIZE = 128
# Where both round and sample differently a pixel may be off; a picture that looks alike is not. Mean and
# 99th percentile of the difference, of 255. Bilinear fractions are 1/32 in OpenCV, 1/256 in GL.
MEAN, MOST = 0.5, 3.0
NEUTRAL = {effect.name: effect.default for effect in EFFECTS}
ALONE = {
    "neutral": {},
    "feedback": {"feedback": 0.8, "feedback.zoom": 1.03, "feedback.rotate": 4.0},
    "feedback inwards": {"feedback": 0.9, "feedback.zoom": 0.95, "feedback.rotate": -3.0},
    "kaleidoscope": {"kaleidoscope": 6.4},
    "hue": {"hue": 120.0},
    "saturation": {"saturation": 2.0},
    "contrast": {"contrast": 1.8},
    "bloom": {"bloom": 1.2, "bloom.threshold": 0.4},
    "crossfade": {"crossfade": 0.6},
    "strobe": {"strobe": 0.7},
    "blackout": {"blackout": 0.3},
}
TOGETHER = {
    name: value
    for changes in (*ALONE.values(), {"strobe": 0.2, "feedback": 0.6, "hue": -40.0})
    for name, value in changes.items()
}


def levels(changes: dict[str, float]) -> tuple[float, ...]:
    """Return the levels of all effects with some changed."""
    return tuple((NEUTRAL | changes).values())


def figure(phase: float, size: int = SIZE) -> Pixels:
    """Return a nodal figure of a square plate in three colours, uint8 (size, size, 3)."""
    y, x = np.mgrid[0:size, 0:size] / size * np.pi
    modes = ((3, 5), (2, 3), (4, 1))
    waves = [np.cos(m * x + phase) * np.cos(n * y) - np.cos(n * x) * np.cos(m * y + phase) for m, n in modes]
    return (255 * np.exp(-3.0 * np.square(np.stack(waves, axis=-1)))).astype(np.uint8)


@pytest.fixture(scope="module")
def context() -> Iterator[object]:
    """Yield a GL context without a window."""
    moderngl = pytest.importorskip("moderngl")
    try:
        context = moderngl.create_context(standalone=True, backend="egl", require=330)
    except Exception as error:
        pytest.skip(f"no GL library: {error}")
    yield context
    context.release()
    with suppress(OSError):  # a context that stays current keeps a window's GL of this process away
        CDLL("libEGL.so.1").eglReleaseThread()


def on_cpu(pictures: list[Pixels], changes: list[dict[str, float]]) -> Pixels:
    """Return the last of a series of pictures."""
    effects = Effects(SIZE, SIZE)
    for picture, change in zip(pictures, changes, strict=True):
        result = effects.apply(picture, levels(change))
    return result.copy()


def on_gpu(context: object, pictures: list[Pixels], changes: list[dict[str, float]]) -> Pixels:
    """Return the last of a series of pictures as shaders make it."""
    from engine.render.shaders import Stage

    stage = Stage(context, SIZE, SIZE)
    target = context.simple_framebuffer((SIZE, SIZE), 3)  # type: ignore[attr-defined]
    for picture, change in zip(pictures, changes, strict=True):
        stage.apply(picture, levels(change))
    stage.show(target, (SIZE, SIZE), upright=False)
    return np.frombuffer(target.read(components=3, alignment=1), np.uint8).reshape(SIZE, SIZE, 3)


@pytest.mark.parametrize("changes", [*ALONE.values(), TOGETHER], ids=[*ALONE, "together"])
def test_both_look_alike(context: object, changes: dict[str, float]) -> None:
    pictures = [figure(0.1 * step) for step in range(7)]
    series = [{}] * 3 + [changes] * 4  # what is remembered is remembered from before the effect
    cpu, gpu = on_cpu(pictures, series), on_gpu(context, pictures, series)
    difference = np.abs(cpu.astype(int) - gpu.astype(int))
    assert difference.mean() < MEAN
    assert np.percentile(difference, 99) < MOST
    changed = np.abs(cpu.astype(int) - pictures[-1].astype(int)).mean()
    assert (changed > 4.0) == bool(changes)


def test_neutral_levels_pass_the_picture_itself() -> None:
    picture = figure(0.0)
    assert Effects(SIZE, SIZE).apply(picture, levels({})) is picture


def test_crossfade_goes_to_the_picture_of_the_moment_it_left_zero() -> None:
    pictures = [figure(0.3 * step) for step in range(4)]
    for first in ({}, {"contrast": 1.5}):
        effects = Effects(SIZE, SIZE)
        effects.apply(pictures[0], levels(first))
        before = effects.apply(pictures[1], levels(first)).copy()
        effects.apply(pictures[2], levels(first | {"crossfade": 0.4}))
        assert np.array_equal(effects.apply(pictures[3], levels(first | {"crossfade": 1.0})), before)


def test_feedback_fades_to_black_and_survives_a_change_of_size() -> None:
    effects = Effects(SIZE, SIZE)
    change = levels({"feedback": 0.9, "feedback.decay": 0.95})
    black = np.zeros((SIZE, SIZE, 3), np.uint8)
    effects.apply(figure(0.0), change)
    first = effects.apply(black, change).mean()
    small = effects.apply(np.zeros((64, 64, 3), np.uint8), change)
    assert small.shape == (64, 64, 3)
    assert 0.5 * first < small.mean() < first  # the trail came along
    for _ in range(60):
        last = effects.apply(black, change)
    assert last.max() == 0  # eight bits would have left a ghost


def test_feedback_carries_a_spot_outwards_and_around() -> None:
    effects = Effects(SIZE, SIZE)
    spot = np.zeros((SIZE, SIZE, 3), np.uint8)
    spot[63:65, 94:96] = 255  # 31 pixels to the right of the centre
    effects.apply(spot, levels({}))
    change = levels({"feedback": 0.9, "feedback.zoom": 1.1, "feedback.rotate": 10.0, "feedback.decay": 1.0})
    weights = effects.apply(np.zeros_like(spot), change)[..., 0].astype(float)
    y, x = np.mgrid[0:SIZE, 0:SIZE] - (SIZE - 1) / 2
    x, y = (weights * x).sum() / weights.sum(), (weights * y).sum() / weights.sum()
    assert np.hypot(x, y) == pytest.approx(1.1 * 31.0, abs=0.5)
    assert np.degrees(np.arctan2(y, x)) == pytest.approx(10.0, abs=1.0)  # y is down: with the clock


def test_grey_keeps_its_colour_whatever_the_hue() -> None:
    grey = np.full((SIZE, SIZE, 3), 90, np.uint8)
    turned = Effects(SIZE, SIZE).apply(grey, levels({"hue": 77.0, "saturation": 2.5}))
    assert np.abs(turned.astype(int) - 90).max() <= 1


def test_a_held_picture_moves_at_once_and_stays_near() -> None:
    zooms = [held_zoom(held) for held in range(10_000)]
    assert zooms[0] == 1.0
    assert zooms[1] > 1.003
    assert min(zooms) > 0.85
    assert max(zooms) < 1.15
    assert all(a != b for a, b in pairwise(zooms))


@pytest.mark.parametrize("place", [(0.5, 0.85), (0.0, 0.02), (0.97, 1.0)], ids=["middle", "corner", "edge"])
@pytest.mark.parametrize("line", ["Sand", "die Nacht war kalt und alle Wasser schliefen"])
def test_a_line_is_written_alike(context: object, line: str, place: tuple[float, float]) -> None:
    from engine.render.shaders import Stage

    caption = Caption(line, 0.8, 0.12, *place)
    cpu = figure(0.2, 2 * SIZE)
    write(cpu, caption)
    stage = Stage(context, 2 * SIZE, 2 * SIZE)
    target = context.simple_framebuffer((2 * SIZE, 2 * SIZE), 3)  # type: ignore[attr-defined]
    stage.apply(figure(0.2, 2 * SIZE), levels({}))
    stage.show(target, (2 * SIZE, 2 * SIZE), upright=False)
    stage.write(target, (2 * SIZE, 2 * SIZE), caption, upright=False)
    gpu = np.frombuffer(target.read(components=3, alignment=1), np.uint8).reshape(2 * SIZE, 2 * SIZE, 3)
    difference = np.abs(cpu.astype(int) - gpu.astype(int))
    assert difference.mean() < MEAN
    assert np.percentile(difference, 99) < MOST
    changed = np.abs(cpu.astype(int) - figure(0.2, 2 * SIZE).astype(int)).max(axis=2)
    assert changed.max() > 100
    rows = np.flatnonzero(changed.max(axis=1) > 60)
    assert abs(rows.mean() / (2 * SIZE) - place[1]) < 0.12, "where it is wanted"


def test_nothing_is_written_without_a_line() -> None:
    picture = figure(0.0)
    write(picture, Caption("", 1.0, 0.1, 0.5, 0.5))
    write(picture, Caption("unseen", 0.0, 0.1, 0.5, 0.5))
    assert np.array_equal(picture, figure(0.0))
