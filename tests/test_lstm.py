"""The musician's training and export: from music or text to a step that gives what PyTorch gives."""

import csv
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models import (  # noqa: E402
    alphabet,
    checkpoint,
    conditions,
    export,
    judge_lstm,
    lstm,
    manifest,
    material,
    ngrams,
    train_lstm,
)
from models.manifest import Conditions  # noqa: E402
from models.material import Material  # noqa: E402

pytestmark = pytest.mark.train

SMALL = lstm.Shape(layers=2, hidden=16, embedding=8)
EVERYTHING = Conditions(densities=(1.0, 4.0, 16.0), pitch_classes=True, bar_beats=4, styles=("a", "b"))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve MIDI files of scales by three hands, with pedal, and the table that tells whose they are."""
    folder = tmp_path_factory.mktemp("pieces")
    rows = [("file", "hand", "mood")]
    for number in range(12):
        track = mido.MidiTrack()
        for step in range(200):
            pitch = 48 + number + (step * 7) % 24
            if step % 8 == 0:
                track.append(mido.Message("control_change", control=64, value=127 * (step // 8 % 2)))
            track.append(mido.Message("note_on", note=pitch, velocity=40 + step % 60, time=30))
            track.append(mido.Message("note_off", note=pitch, time=90))
        mido.MidiFile(tracks=[track]).save(folder / f"{number}.mid")
        rows.append((f"{number}.mid", f"hand {number % 3}", "glad/fast" if number % 2 else "sad, slow"))
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def music(pieces: Path) -> Material:
    return material.music([pieces], "mood", "hand")


@contextmanager
def terminated_after(updates: int) -> Iterator[None]:
    """Send this process SIGTERM at a number of Adam's updates."""
    done = 0
    step = torch.optim.Adam.step

    def counted(adam: Any) -> None:
        nonlocal done
        done += 1
        if done == updates:
            signal.raise_signal(signal.SIGTERM)
        step(adam)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", counted)
        yield


@pytest.mark.parametrize(("cell", "attention"), [("gru", 5), ("rnn", 0)])
def test_a_resumed_musician_is_the_uninterrupted_one_and_its_steps_give_what_pytorch_gives(
    music: Material, tmp_path: Path, cell: lstm.Cell, attention: int
) -> None:
    shape = lstm.Shape(cell, 2, 16, 8, attention=attention)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train_lstm.train(music, whole, steps=6, shape=shape)
    with terminated_after(3):
        train_lstm.train(music, halves, steps=6, shape=shape)
    assert checkpoint.load(halves)[1]["step"] == 3
    train_lstm.train(music, halves, steps=6, shape=shape, resume=True)
    (one, _), (other, facts) = checkpoint.load(whole), checkpoint.load(halves)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    assert len((halves / "curve.csv").read_text().splitlines()) == len(facts["curve"]) + 1

    made = export.export(whole, "scales", tmp_path, wanted="fp32")
    assert isinstance(made, manifest.Musician)
    assert made.conditions == music.layout
    assert made.conditions.styles == ("glad", "sad")
    musician = lstm.Musician(lstm.Shape(**facts["shape"])).eval()
    musician.load_state_dict(checkpoint.unpack("model", one))
    rng = torch.Generator().manual_seed(3)
    events = torch.randint(388, (64,), generator=rng)
    asked = torch.rand(64, 1, made.conditions.width, generator=rng)
    with torch.no_grad():
        expected, after = musician(events[:, None], asked, musician.silence(1))
    state = {name: torch.zeros(made.step.inputs[name]) for name in made.step.state}
    for event, columns, logits in zip(events, asked, expected, strict=True):
        found = export.run(made.path("step.onnx"), {"event": event[None], "condition": columns, **state})
        np.testing.assert_allclose(found[0], logits.numpy(), atol=1e-4)
        state = {name: torch.from_numpy(each) for name, each in zip(state, found[1:], strict=True)}
    torch.testing.assert_close(state["h"], after[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_window_is_as_many_steps_whatever_attention_looks_back_on(cell: lstm.Cell) -> None:
    torch.manual_seed(0)
    musician = lstm.Musician(lstm.Shape(cell, 2, 16, 8, conditions=3, attention=5)).eval()
    events, asked = torch.randint(388, (23, 4)), torch.randn(23, 4, 3)
    with torch.no_grad():
        whole, _ = musician(events, asked, musician.silence(4))
        state, parts = musician.silence(4), []
        for begin, end in ((0, 1), (1, 2), (2, 3), (3, 11), (11, 12), (12, 14), (14, 23)):
            logits, state = musician(events[begin:end], asked[begin:end], state)
            parts.append(logits)
        forgetful, _ = musician(events[1:], asked[1:], musician.silence(4))
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(forgetful[1], whole[2], atol=1e-4)  # what was before does matter


def test_an_int8_step_is_near_the_musician(music: Material, tmp_path: Path) -> None:
    train_lstm.train(music, tmp_path / "run", steps=3, shape=SMALL)
    small = export.export(tmp_path / "run", "small", tmp_path)
    exact = export.export(tmp_path / "run", "exact", tmp_path, wanted="fp32")
    assert isinstance(small, manifest.Musician)
    assert small.step.precision == "int8"
    assert small.step.inputs == exact.step.inputs  # type: ignore[union-attr]
    golden = np.load(small.path(small.golden.file))
    inputs = {name: torch.from_numpy(golden[f"step/{name}"]) for name in small.step.inputs}
    for name, found in zip(
        ("logits", "h_out", "c_out"), export.run(small.path("step.onnx"), inputs), strict=True
    ):
        apart = np.abs(found - golden[f"step/{name}"]).max()
        assert 0.0 < apart < 0.1 * np.abs(golden[f"step/{name}"]).max() + 0.02, name


def test_text_becomes_a_model_of_its_characters(tmp_path: Path) -> None:
    (tmp_path / "songs.txt").write_text("\n\n".join(f"Ein Lied, {n}\nso süß\n" for n in range(40)), "utf-8")
    text = material.text(tmp_path / "songs.txt")
    assert len(text.held) == 4
    train_lstm.train(text, tmp_path / "run", steps=2, shape=SMALL)
    made = export.export(tmp_path / "run", "songs", tmp_path)
    assert isinstance(made, manifest.Text)
    assert set("\nEin Lied, soüß") <= set(made.characters)
    assert "condition" not in made.step.inputs
    line = text.line(text.held[0], None).classes
    assert "".join(made.characters[number] for number in line) == text.held[0]


def test_whole_groups_are_held_back_and_styles_are_told(music: Material) -> None:
    hands = [
        {int(work.name.removesuffix(".mid")) % 3 for work in works} for works in (music.train, music.held)
    ]
    assert len(hands[1]) == 1
    assert not hands[0] & hands[1]
    line = music.line(music.train[0], None)
    styles = line.conditions[:, -2:]
    assert (styles == styles[0]).all()
    assert styles[0].sum() == 1


def test_a_condition_tells_of_the_music_to_come() -> None:
    notes = [alphabet.Note(0.25 * n, 0.1, 60 + 4 * (n % 2), 80) for n in range(16)]
    classes = np.array([alphabet.VELOCITY - 1, *alphabet.encode(notes)])
    asked = material.asked_for(classes, EVERYTHING, "b").astype(np.float64)
    assert asked.shape == (len(classes), EVERYTHING.width)
    first = conditions.columns(EVERYTHING, 4.0, [6, 0, 0, 0, 6, *[0] * 7], 0.0, (0, 1))
    np.testing.assert_allclose(asked[0], first[0], atol=1e-3)
    np.testing.assert_allclose(asked[:-3, 3:15].sum(1), 1.0, atol=1e-3)
    assert asked[-1, :15].sum() == 1.0  # nothing is to come: the lowest density, no pitch class


def test_a_density_glides_and_zeros_ask_for_nothing() -> None:
    layout = EVERYTHING
    assert conditions.columns(layout).shape == (1, layout.width)
    assert not conditions.columns(layout).any()
    np.testing.assert_allclose(conditions.columns(layout, density=8.0)[0, :3], [0, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(conditions.columns(layout, density=1e9)[0, :3], [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(
        conditions.columns(layout, beat=5.5)[0, 15:19], [-1, 0, -0.7071, 0.7071], atol=1e-3
    )
    assert not conditions.columns(layout, styles=(0.0, 0.0)).any()
    with pytest.raises(ValueError, match="2 would be right"):
        conditions.columns(layout, styles=(1.0,))


def test_a_checkpoint_of_another_shape_is_refused(music: Material, tmp_path: Path) -> None:
    train_lstm.train(music, tmp_path, steps=1, shape=SMALL)
    with pytest.raises(ValueError, match="the checkpoint is of"):
        train_lstm.train(music, tmp_path, steps=1, resume=True)
    train_lstm.train(music, tmp_path / "next", steps=1, shape=SMALL, start=tmp_path)


def test_a_terminated_training_leaves_a_checkpoint(pieces: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.train_lstm", "--midi", str(pieces), "--out", str(tmp_path)]
    root = Path(__file__).parents[1]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=root, **output) as process:  # type: ignore[call-overload]
        try:
            while "unigram" not in process.stdout.readline():  # printed once the signals are taken
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert checkpoint.load(tmp_path)[1]["kind"] == "lstm"


def test_ngrams_are_counted_as_a_table_of_them_would() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 5, 3000), rng.integers(0, 5, 2000)
    for n in (1, 3, 7):
        table = {tuple(one[at : at + n]) for at in range(len(one) - n + 1)}
        assert len(np.unique(ngrams.hashes(one, n))) == len(table)
    assert ngrams.longest_shared(one, other) < 20
    other[100:140] = one[500:540]
    assert 40 <= ngrams.longest_shared(one, other) < 50
    assert ngrams.repeated_share(np.tile(np.arange(50), 4), 8) == pytest.approx(1 - 50 / 193)
    assert ngrams.bits(one, other[:100], 1, 5) == pytest.approx(np.log2(5), abs=0.05)
    walk = np.cumsum(rng.integers(1, 3, 4000)) % 12  # one bit an event, given the one before
    assert ngrams.bits(walk[:3000], walk[3000:], 3, 12) == pytest.approx(1.0, abs=0.05)


def test_a_distance_is_how_far_one_has_to_be_moved() -> None:
    sample = np.random.default_rng(0).normal(60.0, 10.0, 5000)
    assert judge_lstm.distance(sample, sample) == 0.0
    assert judge_lstm.distance(sample, sample + 3.0) == pytest.approx(3.0)


def test_a_judgement_has_every_part(music: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_lstm, "GENERATED", (2, 300))
    train_lstm.train(music, tmp_path / "run", steps=3, shape=SMALL)
    export.export(tmp_path / "run", "small", tmp_path)
    run, best = tmp_path / "run", tmp_path / "run" / "best"
    report = judge_lstm.judge(music, run, [best], tmp_path / "small", 300)
    told = {f"{each}, conditions told" for each in (run, best)}
    assert set(report["bits"]) == {"unigram", "5-gram", str(run), str(best)} | told
    assert 0 < report["bits"]["5-gram"]["event"] < report["bits"]["unigram"]["event"]
    assert report["exported"]["played"]["event"] == pytest.approx(report["bits"][str(run)]["event"], abs=0.1)
    assert set(report["distances"]["velocity"]) == {"generated", "held out"}
    assert report["copying"]["held out"]["longest n-gram shared with training, largest"] > 8
