"""Picture to latent: files and cameras, an encoder in its process, and the event that brings a projection."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine import library, offline
from engine.core import events as ev
from engine.core.advance import advance, attracting
from engine.core.events import Event
from engine.core.jobs import FrameJob
from engine.core.latent import frame_job
from engine.core.parameters import EFFECTS
from engine.core.show import Show
from engine.core.state import PICTURE, ShowState, initial
from engine.io.pictures import Files, fitted, open_source, problem
from engine.io.window import Headless
from engine.recording import read
from engine.render.generator import Generator, normals
from engine.session import Session, Stage
from engine.workers import picture as worker
from engine.workers.links import (
    PictureLink,
    pack_job,
    pack_projection,
    picture_link,
    unpack_job,
    unpack_projection,
    unpack_text,
)
from engine.workers.shared import SPAWN
from models import manifest

SHIPPED = library.WEIGHTS / "impressionism"
RED, BLUE = (220, 30, 30), (30, 30, 220)


def plain(path: Path, colour: tuple[int, int, int]) -> Path:
    cv2.imwrite(str(path), np.full((50, 80, 3), colour[::-1], np.uint8))
    return path


def show(**changes: object) -> Show:
    plain_show = {"title": "t", "musician": None, "picture": {"source": "camera:0", "smooth_ms": 300}}
    return Show.model_validate(plain_show | changes)


def run(a_show: Show, ticks: int, happened: dict[int, ev.Body]) -> list[ShowState]:
    states, state = [], initial(a_show)
    for tick in range(ticks):
        now = [Event(tick, 0, PICTURE, tick, happened[tick])] if tick in happened else []
        state = advance(a_show, state, now)
        states.append(state)
    return states


FIRST, SECOND = ev.Projection("impressionism", 0.5, "02fe"), ev.Projection("impressionism", 0.5, "0402")


def test_the_latent_is_there_at_first_and_then_glides_from_picture_to_picture() -> None:
    states = run(show(), 1200, {10: FIRST, 250: SECOND})
    assert frame_job(show(), states[0]).z == ()
    assert frame_job(show(), states[15]).z == (1.0, -1.0)
    way = [state.sight.z for state in states[256:]]
    assert all(-1.0 < second < 1.0 for _, second in way[:40])
    assert way == sorted(way)
    assert way[-1] == (2.0, 1.0)


def test_another_generators_latent_is_not_shown_and_a_camera_is_no_player() -> None:
    other = show(generator="planets", performer={"file": "x.mid"})
    states = run(other, 20, {3: FIRST})
    assert frame_job(other, states[-1]).z == ()
    assert attracting(other, states[-1])
    assert states[-1].faults == 0


def test_the_level_moves_the_latent_towards_the_picture() -> None:
    generator = Generator(SHIPPED, "cpu")
    z = tuple(normals(77, generator.manifest.z_dim).tolist())
    job = FrameJob(
        tick=8, seed_a=1, seed_b=2, blend=0.4, style_seed=5, mix=(0.0, 0.0, 0.0), psi=0.8, noise=0.0,
        noise_seed=3, label=(1.0, *[0.0] * 15), directions=(0.0,) * 10,
        effects=tuple(effect.default for effect in EFFECTS), z=z,
    )  # fmt: skip
    walk, seen = generator.styles(job), generator.styles(replace(job, seed_a=77, seed_b=77, z=()))
    np.testing.assert_allclose(generator.styles(replace(job, picture=1.0)), seen, atol=1e-4)
    np.testing.assert_allclose(
        generator.styles(replace(job, picture=0.25)), walk + 0.25 * (seen - walk), atol=1e-4
    )
    assert np.array_equal(generator.styles(replace(job, picture=1.0, z=z[:-1])), walk)  # of another network
    assert unpack_job(pack_job(replace(job, picture=0.5), 7, 9.0)) == (replace(job, picture=0.5), 7, 9.0)


def test_a_projection_is_exact_to_its_steps_and_survives_ring_and_log() -> None:
    z = np.random.default_rng(0).standard_normal(64)
    body = worker.projection("impressionism", z)
    state = run(show(), 2, {0: body})[-1]
    assert np.abs(np.array(state.sight.target) - z).max() <= body.step / 2 + 1e-12
    assert unpack_projection(pack_projection(body)) == body
    line = json.dumps(ev.encode(body))
    assert ev.decode(json.loads(line)) == body
    assert len(line) < 250
    assert worker.projection("x", np.zeros(3)) == ev.Projection("x", 0.0, "000000")


@pytest.mark.parametrize("levels", ["", "0", "0g", "00" * 513, 7])
def test_a_log_holds_no_other_levels(levels: object) -> None:
    with pytest.raises(ValueError, match="levels"):
        ev.decode(["Projection", "impressionism", 0.1, levels])


def test_a_folder_is_shown_in_turn_and_what_is_no_picture_is_named(tmp_path: Path) -> None:
    plain(tmp_path / "1.png", RED)
    (tmp_path / "2.png").write_text("no picture")
    plain(tmp_path / "3.jpg", BLUE)
    source = Files(tmp_path, 0.0)
    first = source.look()
    assert first is not None
    assert tuple(first[0, 0]) == RED
    assert source.look() is None
    assert "2.png: this is no picture" in str(source.reason)
    assert source.look() is not None
    assert source.reason is None
    shutil.rmtree(tmp_path)
    assert source.look() is None
    assert "No such file" in str(source.reason)


def test_a_file_is_seen_once_until_it_changes(tmp_path: Path) -> None:
    source = open_source(str(plain(tmp_path / "a.png", RED)), 1.0)
    assert source.look() is not None
    assert source.look() is None
    plain(tmp_path / "a.png", BLUE)
    os.utime(tmp_path / "a.png", (1, 1))
    picture = source.look()
    assert picture is not None
    assert tuple(picture[0, 0]) == BLUE
    source.again()
    assert source.look() is not None


def test_a_camera_that_is_not_there_is_told_and_tried_again() -> None:
    source = open_source("camera:97", 1.0)
    assert source.look() is None
    assert "camera:97 gives no picture" in str(source.reason)
    source.reason = None
    assert source.look() is None
    assert source.reason is None  # not before its time


def test_the_middle_of_a_picture_fits() -> None:
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 200
    assert fitted(wide, 8, 8).min() == 200
    assert fitted(wide, 64, 32).shape == (64, 32, 3)
    assert fitted(wide[:1, :1], 8, 8).shape == (8, 8, 3)


def test_what_cannot_be_looked_at_is_known_before_the_curtain(tmp_path: Path) -> None:
    assert problem("camera:0") is None
    assert problem(str(plain(tmp_path / "a.png", RED))) is None
    assert problem(str(tmp_path)) is None
    assert "no such picture" in str(problem("nowhere.png"))
    (tmp_path / "empty").mkdir()
    assert "no pictures in it" in str(problem(str(tmp_path / "empty")))


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped generator with an encoder: the mean of each colour, times a matrix."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("weights") / "impressionism"
    shutil.copytree(SHIPPED, folder)
    data = json.loads((folder / manifest.FILE).read_text())
    matrix = np.random.default_rng(0).standard_normal((3, data["z_dim"])).astype(np.float32) / 200
    make, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        make.make_node("Cast", ["picture"], ["levels"], to=kinds.FLOAT),
        make.make_node("ReduceMean", ["levels", "axes"], ["colours"], keepdims=0),
        make.make_node("Reshape", ["colours", "row"], ["means"]),
        make.make_node("MatMul", ["means", "matrix"], ["z"]),
    ]
    constants = {"axes": np.array([0, 1]), "row": np.array([1, 3]), "matrix": matrix}
    graph = make.make_graph(
        nodes,
        "encoder",
        [make.make_tensor_value_info("picture", kinds.UINT8, [16, 16, 3])],
        [make.make_tensor_value_info("z", kinds.FLOAT, [1, data["z_dim"]])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(folder / "encoder.onnx"))
    entry = {"opset": 18, "inputs": {"picture": [16, 16, 3]}, "output": "z"}
    data["encoder"] = manifest.entry(folder / "encoder.onnx") | entry
    (folder / manifest.FILE).write_text(json.dumps(data))
    return folder


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[tuple[PictureLink, Path]]:
    """A worker's process that looks at a red picture."""
    path = plain(tmp_path / "a.png", RED)
    link = picture_link()
    config = worker.PictureConfig(str(path), 1.0)
    process = SPAWN.Process(target=worker.run, args=(link, config), daemon=True)
    process.start()
    try:
        yield link, path
        link.board["stop"] = 1.0
        process.join(5.0)
        assert process.exitcode == 0
    finally:
        process.kill()


def next_of(ring: object) -> tuple[object, ...]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if records := ring.pop_all():  # type: ignore[attr-defined]
            assert len(records) == 1
            return records[0]
        time.sleep(0.02)
    raise AssertionError("nothing came")


def test_the_worker_projects_what_it_sees_and_says_what_it_cannot(
    seeing: Path, looking: tuple[PictureLink, Path]
) -> None:
    link, path = looking
    link.asked.push(str(SHIPPED).encode())
    assert "impressionism has no encoder" in unpack_text(next_of(link.says))
    link.asked.push(str(seeing).encode())
    red = unpack_projection(next_of(link.seen))
    assert red.generator == "impressionism"
    expected = worker.Encoder(seeing).z(np.full((20, 20, 3), RED, np.uint8))
    assert worker.projection("impressionism", expected) == red
    plain(path, tuple(level + 1 for level in RED))  # type: ignore[arg-type]
    os.utime(path, (1, 1))
    time.sleep(3 * worker.LOOK_S)
    assert not link.seen.pop_all()  # too little to be worth an event
    plain(path, BLUE)
    os.utime(path, (2, 2))
    assert unpack_projection(next_of(link.seen)).levels != red.levels
    path.write_text("no picture")
    os.utime(path, (3, 3))
    assert "no picture that can be read" in unpack_text(next_of(link.says))
    assert link.board["unread"] == 0


def test_a_show_that_looks_at_a_picture_replays_without_the_model(
    seeing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "WEIGHTS", seeing.parent)
    source = str(plain(tmp_path / "a.png", RED))
    a_show = show(picture={"source": source}, sound={"device": "none"}, osc={"listen": "none"})
    recording = tmp_path / "r.chladni"
    session = Session(a_show, Stage(provider="cpu", seconds=6.0, recording=recording), Headless((64, 64)))
    session.run()
    assert session.presentation.due > 30
    monkeypatch.setattr(library, "WEIGHTS", tmp_path)  # no model is here
    played = read(recording)
    (event,) = (event for event in played.events if isinstance(event.body, ev.Projection))
    verdict = offline.verify(played)
    assert verdict.differs_at is None
    assert verdict.agreed == verdict.seconds >= 6
    *_, (_, last) = offline.play(played)
    assert frame_job(a_show, last).z == last.sight.target != ()
    assert last.sight.generator == event.body.generator == "impressionism"
