"""Lines of text: asked for at cues, written by a model, logged, and drawn into the film."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from engine.core import events as ev
from engine.core.advance import advance
from engine.core.events import Event
from engine.core.jobs import Write
from engine.core.parameters import INDEX
from engine.core.show import Show
from engine.core.state import STAGE, ShowState, initial
from engine.core.text import caption
from engine.workers.links import pack_write, poet_link, unpack_text
from engine.workers.poet import LONG, Poet, PoetConfig, run
from engine.workers.shared import SPAWN

CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz"
VERSE = "the sand draws what the string has sung\nand every note is a line on the plate\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a text model that has learnt which letter follows which in two lines; its state counts letters."""
    onnx = pytest.importorskip("onnx")
    size = len(CHARACTERS)
    pairs = np.full((size, size), 0.01)
    for a, b in pairwise(VERSE):
        pairs[CHARACTERS.index(a), CHARACTERS.index(b)] += 1.0
    table = onnx.numpy_helper.from_array(np.log(pairs).astype(np.float32), "table")
    one = onnx.numpy_helper.from_array(np.ones(1, np.float32), "one")
    make, letter, number = onnx.helper, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    value = make.make_tensor_value_info
    graph = make.make_graph(
        [
            make.make_node("Gather", ["table", "event"], ["logits"]),
            make.make_node("Add", ["n", "one"], ["n_out"]),
        ],
        "poet",
        [value("event", letter, [1]), value("n", number, [1])],
        [value("logits", number, [1, size]), value("n_out", number, [1])],
        [table, one],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    path = tmp_path_factory.mktemp("poet")
    (path / "step.onnx").write_bytes(model.SerializeToString())
    np.savez(path / "golden.npz", event=np.zeros(1))

    def file(name: str) -> dict[str, object]:
        data = (path / name).read_bytes()
        return {"file": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    manifest = {
        "format": 1, "kind": "text", "name": "poet", "title": "Poet", "licence": "Apache-2.0",
        "provenance": "made in a test", "credits": [], "characters": CHARACTERS,
        "step": file("step.onnx")
        | {"opset": 18, "inputs": {"event": [1], "n": [1]}, "output": "logits", "state": {"n": "n_out"}},
        "golden": file("golden.npz") | {"tolerance": {}},
    }  # fmt: skip
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_a_line_begins_as_it_is_told_and_ends(folder: Path) -> None:
    poet = Poet(folder)
    for seed in range(20):
        line = poet.write("the sand", 0.8, (seed,))
        assert line.startswith("the sand")
        assert "\n" not in line
        assert len(line) < LONG + 40
        assert line == poet.write("the sand", 0.8, (seed,))
    assert len({poet.write("", 0.8, (seed,)) for seed in range(20)}) > 5
    assert all(len(poet.write("", 1.6, (seed,))) >= 8 for seed in range(20))
    assert poet.write("THE ÜBER", 0.8, (1,)) == poet.write(" ", 0.8, (1,)).strip(), (
        "what it cannot read is left out"
    )


def test_its_process_writes_and_ends(folder: Path) -> None:
    link = poet_link()
    process = SPAWN.Process(target=run, args=(link, PoetConfig(folder, seed=5)), daemon=True)
    process.start()
    try:
        link.asked.push(*pack_write(Write(3, "and every", 0.5)))
        deadline, written = time.monotonic() + 20, []
        while not written and time.monotonic() < deadline:
            link.written.wait(0.1)
            written = link.written.pop_all()
        ((request, *text),) = written
        assert request == 3
        assert unpack_text(text) == Poet(folder).write("and every", 0.5, (5, 3))
        link.board["stop"] = 1.0
        process.join(5.0)
        assert process.exitcode == 0
    finally:
        process.kill()


SHOW = Show.model_validate(
    {
        "title": "lines",
        "text": "poet",
        "cue": [
            {
                "number": 1,
                "fade_s": 0,
                "text": "the",
                "levels": {"text.opacity": 1.0, "text.temperature": 0.4},
            },
            {"number": 2, "fade_s": 0},
            {"number": 3, "fade_s": 0, "text": "", "levels": {"blackout": 0.5}},
        ],
    }
)


def states(happened: dict[int, list[ev.Body]], ticks: int, show: Show = SHOW) -> Iterator[ShowState]:
    state = initial(show)
    for tick in range(ticks):
        source = {ev.Line: STAGE}
        events = [
            Event(tick, 0, source.get(type(body), "keys"), n, body)
            for n, body in enumerate(happened.get(tick, []))
        ]
        state = advance(show, state, events)
        yield state


def test_a_cue_asks_for_a_line_and_the_latest_request_is_answered() -> None:
    go, lines = [ev.Go()], {100: [ev.Line(1, " the  sand\nsings ")], 200: [ev.Line(7, "stray")]}
    played = list(
        states({10: go, 50: go, 150: go, 210: [ev.Line(1, "late")], 220: [ev.Line(2, "any")], **lines}, 300)
    )
    asked = [write for state in played for write in state.writes]
    assert [(write.request, write.begins) for write in asked] == [(1, "the"), (2, "")]
    assert [caption(SHOW, played[tick]).line for tick in (90, 120, 205, 215, 230)] == [
        "", "the sand sings", "the sand sings", "the sand sings", "any",
    ]  # fmt: skip
    assert caption(SHOW, played[120]).opacity == 1.0
    assert caption(SHOW, played[280]).opacity == 0.5, "blackout darkens it"
    assert played[-1].live_tick < 160, "a line is nobody's input"
    assert played[-1].levels[INDEX["text.temperature"]] == 0.4


def test_a_show_without_a_text_model_asks_for_nothing() -> None:
    show = SHOW.model_copy(update={"text": None})
    assert not [write for state in states({10: [ev.Go()]}, 20, show) for write in state.writes]


def test_a_line_is_seen_in_the_film_and_needs_no_model_there(tmp_path: Path) -> None:
    """Two recordings differ in one event, the line: their films differ where it is, and only there."""
    from engine.io.video import probe
    from engine.recording import Recorder

    films = []
    for line in ("", "the plate has learnt to draw"):
        path = tmp_path / f"{bool(line)}.chladni"
        recorder = Recorder(path, SHOW)
        recorder.start()
        for tick, body in ((0, ev.Go()), (1, ev.Line(1, line))):
            recorder.event(Event(tick, 0, "keys", tick, body))
        recorder.close(48)
        film = tmp_path / f"{bool(line)}.mp4"
        command = [sys.executable, "-m", "engine", "render", path, "-o", film, "--size", "320x180"]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        assert probe(film).frames == 6
        films.append(last_frame(film))
    difference = np.abs(films[0].astype(int) - films[1].astype(int)).max(axis=2)
    assert difference[140:170].max() > 80
    assert difference[:110].max() < 40


def last_frame(film: Path) -> np.ndarray:
    import av

    with av.open(str(film)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)][-1]
