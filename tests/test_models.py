"""The shipped models: each file gives its golden outputs, and a folder that was changed is refused."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from models import alphabet, conditions, manifest, sampling
from models.alphabet import Note

WEIGHTS = Path(__file__).parents[1] / "models" / "weights"
GENERATORS = ("impressionism", "planets")
MUSICIANS = ("piano", "drums", "songs")


@cache
def session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def play(path: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    """Return the outputs of a graph."""
    return session(path).run(None, inputs)


def generator(name: str) -> manifest.Generator:
    """Return a shipped generator's manifest."""
    model = manifest.load(WEIGHTS / name)
    assert isinstance(model, manifest.Generator)
    return model


def styles(model: manifest.Generator, seed: int, count: int, psi: float = 0.7) -> np.ndarray:
    """Return ws of `count` latents, truncated, the classes in turn: (count, 1, num_ws, w_dim)."""
    inputs = {"z": np.random.default_rng(seed).standard_normal((count, model.z_dim)).astype(np.float32)}
    if model.classes:
        inputs["label"] = np.eye(len(model.classes), dtype=np.float32)[np.arange(count) % len(model.classes)]
    (w,) = play(model.path(model.mapping.file), **inputs)
    average = np.load(model.path(model.statistics.file))["w_avg"]
    return np.repeat((average + psi * (w - average))[:, None, None], model.num_ws, axis=2)


def picture(model: manifest.Generator, rung: manifest.Rung, ws: np.ndarray) -> np.ndarray:
    """Return one rung's picture without noise."""
    silent = {name: np.zeros(shape, np.float32) for name, shape in rung.inputs.items() if name != "ws"}
    (image,) = play(model.path(rung.version().file), ws=ws, **silent)
    assert image.dtype == np.uint8
    assert image.shape == (rung.height, rung.width, 3)
    return image


def graphs(model: manifest.Manifest) -> Iterator[tuple[str, str, Iterable[str], float]]:
    """Yield each graph's golden name, its file, its inputs and what its precision may add to the error."""
    if isinstance(model, manifest.Musician | manifest.Text):
        yield "step", model.step.file, model.step.inputs, 0.0
        return
    yield "mapping", model.mapping.file, model.mapping.inputs, 0.0
    for rung in model.rungs:
        for version in rung.versions:
            yield f"synthesis-{rung.name}", version.file, rung.inputs, version.max_error or 0.0
    if model.encoder is not None:
        yield "encoder", model.encoder.file, model.encoder.inputs, 0.0


@pytest.mark.parametrize("name", GENERATORS + MUSICIANS)
def test_each_file_gives_its_golden_outputs(name: str) -> None:
    model = manifest.load(WEIGHTS / name)
    with np.load(model.path(model.golden.file)) as arrays:
        golden = dict(arrays)
    for stem, file, inputs, slack in graphs(model):
        runner = session(model.path(file))
        outputs = [output.name for output in runner.get_outputs()]
        assert {each.name for each in runner.get_inputs()} == set(inputs)
        found = runner.run(outputs, {key: golden[f"{stem}/{key}"] for key in inputs})
        for output, value in zip(outputs, found, strict=True):
            apart = np.abs(value.astype(np.float64) - golden[f"{stem}/{output}"].astype(np.float64)).max()
            assert apart <= model.golden.tolerance[output] + slack, (file, output)


@pytest.mark.parametrize("name", GENERATORS + MUSICIANS)
def test_the_folder_holds_what_the_manifest_names_and_a_card(name: str) -> None:
    model = manifest.load(WEIGHTS / name)
    assert model.name == name
    assert model.credits
    named = {file.file for file in model.files()}
    assert {path.name for path in (WEIGHTS / name).iterdir()} == named | {manifest.FILE, "card.md"}


@pytest.mark.parametrize(
    "path", sorted(WEIGHTS.glob("*/*.onnx")), ids=lambda path: str(path.relative_to(WEIGHTS))
)
def test_no_graph_tells_where_it_was_made(path: Path) -> None:
    assert b'.py", line ' not in path.read_bytes()


@pytest.mark.parametrize("name", GENERATORS)
def test_pictures_vary_with_the_latent_and_walk_smoothly(name: str) -> None:
    model = generator(name)
    rung = model.rungs[0]
    ws = styles(model, seed=3, count=4)
    pictures = [picture(model, rung, each).astype(np.float64) for each in ws]
    apart = [np.abs(one - other).mean() for one in pictures for other in pictures if one is not other]
    assert min(apart) > 4  # of 255 levels
    walk = [picture(model, rung, ws[0] + (ws[1] - ws[0]) * np.float32(step / 30)) for step in range(31)]
    steps = [np.abs(one.astype(float) - after).mean() for one, after in pairwise(walk)]
    assert max(steps) < 0.25 * np.abs(pictures[0] - pictures[1]).mean()


@pytest.mark.parametrize("name", GENERATORS)
def test_every_rung_shows_the_same_picture(name: str) -> None:
    model = generator(name)
    latents = styles(model, seed=5, count=12)
    best = [picture(model, model.rungs[0], ws) for ws in latents]
    for rung in model.rungs[1:]:
        small = [cv2.resize(each, (rung.width, rung.height), interpolation=cv2.INTER_AREA) for each in best]
        shown = [picture(model, rung, ws).astype(float) for ws in latents]
        assert np.abs(np.array(small) - shown).mean() < 12, rung.name  # of 255 levels
        others = np.abs(np.array(small) - np.roll(shown, 1, axis=0)).mean()
        assert np.abs(np.array(small) - shown).mean() < others / 2, rung.name


@pytest.mark.parametrize("name", GENERATORS)
def test_every_precision_is_near_fp32(name: str) -> None:
    for rung in generator(name).rungs:
        for version in rung.versions:
            if version.precision == "fp32":
                assert version.psnr_db is None
            else:
                least = {"int8": 38.0, "fp16": 50.0}[version.precision]
                assert version.psnr_db is not None
                assert version.psnr_db >= least, (rung.name, version)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_directions_are_unit_and_apart(name: str) -> None:
    model = generator(name)
    with np.load(model.path(model.statistics.file)) as statistics:
        directions, deviations = statistics["directions"], statistics["deviations"]
        assert statistics["w_avg"].shape == (model.w_dim,)
        if model.classes:
            by_class = statistics["w_avg_by_class"]
            assert by_class.shape == (len(model.classes), model.w_dim)
            np.testing.assert_allclose(by_class.mean(0), statistics["w_avg"], atol=1e-5)
    assert directions.shape == (10, model.w_dim)
    np.testing.assert_allclose(directions @ directions.T, np.eye(10), atol=1e-4)
    assert (np.diff(deviations) <= 0).all()
    assert deviations[-1] > 0


def test_a_mapping_takes_any_batch_and_mixed_classes() -> None:
    model = generator("impressionism")
    z = np.random.default_rng(1).standard_normal((5, model.z_dim)).astype(np.float32)
    label = np.full((5, 3), 1 / 3, np.float32)
    (together,) = play(model.path(model.mapping.file), z=z, label=label)
    (alone,) = play(model.path(model.mapping.file), z=z[2:3], label=label[2:3])
    np.testing.assert_allclose(together[2:3], alone, atol=1e-5)


Change = Callable[[dict[str, Any]], object]
REFUSED: dict[str, tuple[Change, str]] = {
    "a path out of the folder": (lambda m: m["step"].update(file="../piano/step.onnx"), "step.file"),
    "an absolute path": (lambda m: m["step"].update(file="/etc/passwd"), "step.file"),
    "another drive": (lambda m: m["step"].update(file="C:step.onnx"), "step.file"),
    "a hidden file": (lambda m: m["step"].update(file=".step.onnx"), "step.file"),
    "another digest": (lambda m: m["step"].update(sha256="0" * 64), "SHA-256"),
    "another size": (lambda m: m["step"].update(bytes=1), "says 1"),
    "a file that is not there": (lambda m: m["step"].update(file="other.onnx"), "missing"),
    "a field that nobody knows": (lambda m: m.update(hook="code"), "hook"),
    "a field missing": (lambda m: m.pop("licence"), "licence"),
    "an unknown kind": (lambda m: m.update(kind="oracle"), "kind"),
    "a later format": (lambda m: m.update(format=2), "format"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_changed_manifest_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    folder = tmp_path / "piano"
    shutil.copytree(WEIGHTS / "piano", folder)
    assert manifest.load(folder).name == "piano"
    data = json.loads((folder / manifest.FILE).read_text())
    change(data)
    (folder / manifest.FILE).write_text(json.dumps(data))
    with pytest.raises(manifest.ManifestError, match=message):
        manifest.load(folder)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "piano"
    shutil.copytree(WEIGHTS / "piano", folder)
    path = folder / "step.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(manifest.ManifestError, match="SHA-256"):
        manifest.load(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "piano"
    shutil.copytree(WEIGHTS / "piano", folder)
    outside = tmp_path / "step.onnx"
    (folder / "step.onnx").rename(outside)
    (folder / "step.onnx").symlink_to(outside)
    with pytest.raises(manifest.ManifestError, match="outside its folder"):
        manifest.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000], ids=repr)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / manifest.FILE).write_text(text)
    with pytest.raises(manifest.ManifestError, match=r"manifest\.json"):
        manifest.load(tmp_path)
    with pytest.raises(manifest.ManifestError, match="cannot be read"):
        manifest.load(tmp_path / "nowhere")


def test_style_groups_with_a_gap_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "impressionism"
    shutil.copytree(WEIGHTS / "impressionism", folder)
    data = json.loads((folder / manifest.FILE).read_text())
    data["style_groups"]["middle"][0] += 1
    (folder / manifest.FILE).write_text(json.dumps(data))
    with pytest.raises(manifest.ManifestError, match="style_groups"):
        manifest.load(folder)


events = st.lists(st.integers(0, alphabet.EVENTS - 1), max_size=200)


@st.composite
def note_lists(draw: st.DrawFn) -> list[Note]:
    """Notes on the grid and in the middle of the velocity bins, none struck while it sounds."""
    notes, free = [], dict.fromkeys(range(128), 0)
    for _ in range(draw(st.integers(0, 30))):
        pitch = draw(st.integers(0, 127))
        onset = free[pitch] + draw(st.integers(0, 300))
        length = draw(st.integers(1, 250))
        free[pitch] = onset + length
        velocity = alphabet.velocity_of(alphabet.velocity_event(draw(st.integers(1, 127))))
        notes.append(Note(onset * alphabet.STEP_S, length * alphabet.STEP_S, pitch, velocity))
    return sorted(notes)


@given(note_lists())
def test_notes_survive_the_alphabet(notes: list[Note]) -> None:
    coded = alphabet.encode(notes)
    assert all(0 <= event < alphabet.EVENTS for event in coded)
    found = alphabet.decode(coded)
    assert [(note.pitch, note.velocity) for note in found] == [(n.pitch, n.velocity) for n in notes]
    np.testing.assert_allclose([n[:2] for n in found], [n[:2] for n in notes], atol=1e-6)


@given(events)
def test_any_events_mean_notes_that_stay_the_same(sequence: list[int]) -> None:
    notes = alphabet.decode(sequence)
    again = alphabet.decode(alphabet.encode(notes))
    assert [(n.pitch, n.velocity) for n in again] == [(n.pitch, n.velocity) for n in notes]
    assert all(note.duration_s > 0 for note in notes)


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(ValueError, match="388"):
        alphabet.decode([388])


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=20), st.floats(0.05, 1.0))
@settings(max_examples=60, deadline=None)
def test_draws_follow_the_distribution_within_the_nucleus(values: list[float], top_p: float) -> None:
    logits = np.array(values, np.float32)
    weights = sampling.likelihoods(logits).astype(np.float64)
    likelier = np.array([weights[weights > weight].sum() for weight in weights])
    assume(np.abs(likelier / weights.sum() - top_p).min() > 1e-5)  # neither in it nor out of it
    nucleus = np.where(likelier < top_p * weights.sum(), weights, 0.0)
    drawn = [sampling.draw(logits, 1.0, top_p, (n + 0.5) / 2000) for n in range(2000)]
    assert nucleus[drawn].min() > 0.0
    shares = np.bincount(drawn, minlength=len(values)) / 2000
    assert np.abs(shares - nucleus / nucleus.sum()).max() < 0.03


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=40), st.floats(0, 1, exclude_max=True))
@example(values=[-0.0625, 0.0], uniform=0.0)
@example(values=[0.0, -0.0625], uniform=1.0 - 2.0**-53)
def test_a_cold_draw_is_the_likeliest(values: list[float], uniform: float) -> None:
    logits = np.array(values, np.float32)
    assert logits[sampling.draw(logits, 1.0, 1e-6, uniform)] >= logits.max() - 1e-3
    assert logits[sampling.draw(logits, 0.0, 1.0, uniform)] >= logits.max() - 0.05


def test_the_musician_plays_on_without_silence_or_stuck_notes() -> None:
    model = manifest.load(WEIGHTS / "piano")
    assert isinstance(model, manifest.Musician)
    runner = session(model.path(model.step.file))
    rng = np.random.default_rng(7)
    state = {name: np.zeros(model.step.inputs[name], np.float32) for name in model.step.state}
    unasked = conditions.columns(model.conditions)
    played, event = [], alphabet.velocity_event(64)
    for _ in range(3000):
        played.append(event)
        logits, *after = runner.run(None, {"event": np.array([event]), "condition": unasked, **state})
        state = dict(zip(state, after, strict=True))
        event = sampling.draw(logits[0], 0.9, 0.95, rng.random())
    notes = alphabet.decode(played)
    seconds = max(note.onset_s for note in notes)
    onsets = np.array([note.onset_s for note in notes])
    assert 1 < len(notes) / seconds < 40
    assert np.diff(onsets).max() < 8
    assert len({note.pitch for note in notes}) > 12
    assert np.median([note.duration_s for note in notes]) < 5
