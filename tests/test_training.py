"""Training and export, from a folder of pictures or MIDI files to a graph that gives what PyTorch gives."""

import csv
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from models import (  # noqa: E402
    checkpoint,
    export,
    gan,
    lstm,
    manifest,
    midi,
    pictures,
    train_gan,
    train_lstm,
)

pytestmark = pytest.mark.train

MODES = ("RGB", "L", "RGBA", "P", "CMYK")
SMALL = lstm.Shape(layers=1, hidden=16, embedding=8)


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of 70 x 66 px, red or blue, in all modes, with an index."""
    folder = tmp_path_factory.mktemp("paintings")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(20):
        colour = np.array([200, 40, 40] if number % 2 else [40, 40, 200])
        pixels = (colour + rng.integers(-30, 30, (66, 70, 3))).clip(0, 255).astype(np.uint8)
        mode = MODES[number % len(MODES)]
        name = f"{number:02d}." + ("jpg" if mode == "CMYK" else "png")
        Image.fromarray(pixels).convert(mode).save(folder / name)
        rows.append((name, "red" if number % 2 else "blue"))
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "colour"), *rows])
    return folder


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three MIDI files of scales, with pedal."""
    folder = tmp_path_factory.mktemp("pieces")
    for number in range(3):
        track = mido.MidiTrack()
        for step in range(1000):
            pitch = 48 + number + (step * 7) % 24
            if step % 8 == 0:
                track.append(mido.Message("control_change", control=64, value=127 * (step // 8 % 2)))
            track.append(mido.Message("note_on", note=pitch, velocity=40 + step % 60, time=30))
            track.append(mido.Message("note_off", note=pitch, time=90))
        mido.MidiFile(tracks=[track]).save(folder / f"{number}.mid")
    return folder


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


def assert_same(one: Path, other: Path) -> None:
    """Compare two checkpoints, every tensor bit for bit."""
    first, second = checkpoint.load(one)[0], checkpoint.load(other)[0]
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_resumed_gan_is_the_uninterrupted_one_and_exports(paintings: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train_gan.train(paintings, whole, size=64, steps=4, label="colour")  # two steps at 32 px, two at 64
    with terminated_after(2 * 3):
        train_gan.train(paintings, halves, size=64, steps=4, label="colour")
    assert checkpoint.load(halves)[1]["step"] == 3
    train_gan.train(paintings, halves, size=64, steps=4, label="colour", resume=True)
    assert_same(whole, halves)
    tensors, facts = checkpoint.load(whole)
    assert facts["pictures_seen"] == 4 * train_gan.BATCH
    assert facts["classes"] == ["blue", "red"]
    assert facts["playing"] == 64
    (sheet,) = whole.glob("sheet-*.png")
    assert Image.open(sheet).size == (8 * 64, 6 * 64)

    made = export.export(whole, "paint", tmp_path, classes=["red", "blue"])
    assert isinstance(made, manifest.Generator)
    assert made.classes == ("red", "blue")
    assert [rung.name for rung in made.rungs] == ["64", "32"]
    z = torch.randn(8, 256, generator=torch.Generator().manual_seed(9))
    trained = gan.Generator(gan.Shape(64, 2))
    trained.load_state_dict(checkpoint.unpack("average", tensors))
    blue = torch.tensor([[1.0, 0.0]]).expand(8, -1)
    with torch.no_grad():
        w = trained.mapping(z, blue)
        noise = gan.draw_noise(1, gan.Shape(64).sizes, torch.Generator().manual_seed(2))
        images = [export.Picture(trained.synthesis)(each.expand(1, 9, -1), *noise) for each in w]
    (found,) = export.run(made.path("mapping.onnx"), {"z": z, "label": blue.flip(1)})
    np.testing.assert_allclose(found, w.numpy(), atol=1e-3)
    grains = {f"noise_{each.shape[-1]}": each for each in noise}
    for each, image in zip(w, images, strict=True):
        inputs = {"ws": each.expand(1, 9, -1).contiguous(), **grains}
        (found,) = export.run(made.path("synthesis-64.onnx"), inputs)
        assert np.abs(found.astype(int) - image.numpy().astype(int)).max() <= 1
    with pytest.raises(ValueError, match="green"):
        export.export(whole, "paint", tmp_path, classes=["red", "green"])


def test_a_gan_grows_without_a_jump() -> None:
    shape = gan.Shape(32)
    torch.manual_seed(1)
    generator, discriminator = gan.Generator(shape), gan.Discriminator(shape)
    generator.grow(32)
    discriminator.grow(32)
    ws = torch.randn(2, shape.num_ws, shape.w_dim)
    noise = gan.draw_noise(2, shape.sizes, torch.Generator().manual_seed(0))
    with torch.no_grad():
        below, grown = generator.synthesis(ws, noise)[-2:]
        assert torch.equal(gan.upsample(below), grown)
        small = gan.downsample(grown)
        assert torch.allclose(discriminator(grown), discriminator(small), atol=1e-5)


def test_the_plain_minimax_loss_trains_too(paintings: Path, tmp_path: Path) -> None:
    train_gan.train(paintings, tmp_path, size=32, steps=1, loss="minimax")
    assert checkpoint.load(tmp_path)[1]["loss"] == "minimax"


def test_constant_weights_give_what_modulated_weights_give() -> None:
    torch.manual_seed(0)
    layer = gan.StyledConvolution(6, 4, 5)
    x, w = torch.randn(1, 6, 8, 8), torch.randn(1, 5)
    kernel = layer.weight * layer.gain * layer.style(w)[0, None, :, None, None]
    kernel = kernel / kernel.square().sum((1, 2, 3), keepdim=True).sqrt() * gan.HE
    expected = gan.activate(torch.nn.functional.conv2d(x, kernel, padding=1))
    torch.testing.assert_close(layer(x, w), expected, atol=1e-4, rtol=1e-4)


def test_a_resumed_musician_is_the_uninterrupted_one_and_exports(pieces: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train_lstm.train(pieces, whole, steps=6, shape=SMALL)
    with terminated_after(3):
        train_lstm.train(pieces, halves, steps=6, shape=SMALL)
    assert checkpoint.load(halves)[1]["step"] == 3
    train_lstm.train(pieces, halves, steps=6, shape=SMALL, resume=True)
    assert_same(whole, halves)

    made = export.export(whole, "scales", tmp_path)
    assert isinstance(made, manifest.Musician)
    tensors, _ = checkpoint.load(whole)
    musician = lstm.Musician(SMALL).eval()
    musician.load_state_dict(checkpoint.unpack("model", tensors))
    events = torch.randint(388, (64,), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected, (h, c) = musician(events[:, None], musician.silence(1))
    state = dict(zip(("h", "c"), musician.silence(1), strict=True))
    for event, logits in zip(events, expected, strict=True):
        found = export.run(made.path("step.onnx"), {"event": event[None], **state})
        np.testing.assert_allclose(found[0], logits.numpy(), atol=1e-4)
        state = {"h": torch.from_numpy(found[1]), "c": torch.from_numpy(found[2])}
    torch.testing.assert_close(state["h"], h, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(state["c"], c, atol=1e-4, rtol=1e-4)


def test_a_pedal_holds_notes_until_it_rises_or_they_are_struck_again(tmp_path: Path) -> None:
    tempo = mido.MetaMessage("set_tempo", tempo=500_000)
    lines = [
        mido.Message("control_change", control=64, value=127),
        mido.Message("note_on", note=60, velocity=80),
        mido.Message("note_off", note=60, time=480),
        mido.Message("note_on", note=64, velocity=81, time=480),
        mido.Message("note_on", note=60, velocity=82, time=480),
        mido.Message("control_change", control=64, value=0, time=480),
        mido.Message("note_on", note=64, velocity=0, time=480),
        mido.Message("note_off", note=60, time=480),
    ]
    mido.MidiFile(ticks_per_beat=480, tracks=[mido.MidiTrack([tempo, *lines])]).save(tmp_path / "a.mid")
    notes = midi.read_notes(tmp_path / "a.mid")
    assert [tuple(np.round(note, 6)) for note in notes] == [
        (0.0, 1.5, 60, 80),
        (1.0, 1.5, 64, 81),
        (1.5, 1.5, 60, 82),
    ]


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


def few(folder: Path) -> None:
    """One picture only."""
    Image.new("RGB", (64, 64)).save(folder / "only.png")


def small(folder: Path) -> None:
    """Enough pictures, one too small."""
    for number in range(16):
        Image.new("RGB", (64, 20 if number == 7 else 64)).save(folder / f"{number}.png")


def broken(folder: Path) -> None:
    """Enough pictures, one not a picture, one cut short."""
    for number in range(16):
        Image.new("RGB", (64, 64)).save(folder / f"{number}.png")
    (folder / "7.png").write_text("not a picture")
    (folder / "8.png").write_bytes((folder / "9.png").read_bytes()[:60])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (few, "1 pictures found, 16 or more needed"),
        (small, r"7\.png: 64 x 20 px"),
        (broken, r"(?s)7\.png: unreadable.*8\.png: unreadable"),
    ],
)
def test_bad_pictures_are_named_before_training(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path)
    with pytest.raises(ValueError, match=message):
        train_gan.train(tmp_path, tmp_path / "out", size=32, steps=1)
    assert not (tmp_path / "out").exists()


def test_bad_labels_are_named(paintings: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`artist` needed, found file, colour"):
        pictures.read(paintings, 32, "artist")
    with pytest.raises(ValueError, match="no such folder"):
        pictures.read(tmp_path / "nowhere", 32)
    small_index = tmp_path / "set"
    small_index.mkdir()
    for number in range(16):
        Image.new("RGB", (32, 32)).save(small_index / f"{number}.png")
    with pytest.raises(ValueError, match=r"index\.csv: not found"):
        pictures.read(small_index, 32, "artist")
    (small_index / "index.csv").write_text("file,artist\n0.png,Monet\n")
    with pytest.raises(ValueError, match=r"no row for .*1\.png"):
        pictures.read(small_index, 32, "artist")


def test_bad_midi_is_named(pieces: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 MIDI files with notes"):
        train_lstm.train(tmp_path, tmp_path / "out", steps=1)
    (tmp_path / "broken.mid").write_bytes((pieces / "0.mid").read_bytes()[:100])
    (tmp_path / "text.mid").write_text("not music")
    with pytest.raises(ValueError, match=r"(?s)broken\.mid.*text\.mid"):
        train_lstm.train(tmp_path, tmp_path / "out", steps=1)
    assert not (tmp_path / "out").exists()


def test_a_wrong_checkpoint_is_refused(paintings: Path, pieces: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint here"):
        train_gan.train(paintings, tmp_path, size=32, steps=1, resume=True)
    (tmp_path / checkpoint.FILE).write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match="not a checkpoint"):
        train_gan.train(paintings, tmp_path, size=32, steps=1, resume=True)
    train_lstm.train(pieces, tmp_path, steps=1, shape=SMALL)
    with pytest.raises(ValueError, match="the checkpoint is of"):
        train_lstm.train(pieces, tmp_path, steps=1, resume=True)
    with pytest.raises(ValueError, match="the checkpoint is of"):
        train_gan.train(paintings, tmp_path, size=32, steps=1, resume=True)
