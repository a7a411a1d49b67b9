"""Training and export, from a folder of pictures to a graph that gives what PyTorch gives."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from models import (  # noqa: E402
    checkpoint,
    export,
    gan,
    manifest,
    pictures,
    train_gan,
)

pytestmark = pytest.mark.train
torch.set_num_threads(1)  # the steps are small, and other work would hold up the slower of two threads

MODES = ("RGB", "L", "RGBA", "P", "CMYK")


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


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an export measure on few pictures."""
    monkeypatch.setattr(export, "CALIBRATION", 6)
    monkeypatch.setattr(export, "MEASURED", 3)


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


def test_a_resumed_game_is_the_uninterrupted_one_and_exports(paintings: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    options = {"size": 64, "steps": 3, "label": "colour", "batch": 4}
    train_gan.train(paintings, whole, **options)
    with terminated_after(2 * 2):
        train_gan.train(paintings, halves, **options)
    assert checkpoint.load(halves)[1]["step"] == 2
    train_gan.train(paintings, halves, resume=True, **options)
    assert_same(whole, halves)
    tensors, facts = checkpoint.load(whole)
    assert facts["pictures_seen"] == 3 * 4
    assert facts["classes"] == ["blue", "red"]
    (sheet,) = whole.glob("sheet-*.png")
    assert Image.open(sheet).size == (8 * 64, 6 * 64)
    assert Image.open(whole / "curves.png").width > 0
    assert list((whole / "events").glob("events.out.tfevents.*"))

    made = export.export(whole, "paint", tmp_path, classes=["red", "blue"])
    assert isinstance(made, manifest.Generator)
    assert made.classes == ("red", "blue")
    assert [rung.name for rung in made.rungs] == ["64", "32", "16"]
    assert [version.precision for version in made.rungs[0].versions] == ["fp32", "int8", "fp16"]
    shape = gan.Shape(64, 2)
    z = torch.randn(8, shape.z_dim, generator=torch.Generator().manual_seed(9))
    trained = gan.Generator(shape)
    trained.load_state_dict(checkpoint.unpack("average", tensors))
    blue = torch.tensor([[1.0, 0.0]]).expand(8, -1)
    with torch.no_grad():
        w = trained.mapping(z, blue)
        noise = gan.draw_noise(1, shape.sides, torch.Generator().manual_seed(2))
        images = [export.Picture(trained.synthesis)(each.expand(1, shape.num_ws, -1), *noise) for each in w]
    (found,) = export.run(made.path("mapping.onnx"), {"z": z, "label": blue.flip(1)})
    np.testing.assert_allclose(found, w.numpy(), atol=1e-3)
    for each, image in zip(w, images, strict=True):
        inputs = export.named(each.repeat(1, shape.num_ws, 1), noise)
        (found,) = export.run(made.path("synthesis-64.onnx"), inputs)
        assert np.abs(found.astype(int) - image.numpy().astype(int)).max() <= 1
    with pytest.raises(ValueError, match="green"):
        export.export(whole, "paint", tmp_path, classes=["red", "green"])


def test_a_game_begins_from_an_autoencoder_and_another_from_what_it_shipped(
    paintings: Path, tmp_path: Path
) -> None:
    vae, game, tuned = tmp_path / "vae", tmp_path / "game", tmp_path / "tuned"
    options = {"size": 64, "steps": 1, "batch": 4}
    train_gan.train(paintings, vae, model="vae", **options)
    assert Image.open(vae / "pairs.png").size == (8 * 64, 2 * 64)
    train_gan.train(paintings, game, source=str(vae), **options)
    before, after = checkpoint.load(vae)[0], checkpoint.load(game)[0]
    encoder = checkpoint.unpack("encoder", before)
    assert encoder
    learned = checkpoint.unpack("encoder", after)
    assert any(
        not torch.equal(value, learned[name]) for name, value in encoder.items()
    )  # it goes on learning
    made = export.export(game, "shipped", tmp_path, with_checkpoint=True)
    assert isinstance(made, manifest.Generator)
    assert made.encoder is not None
    assert made.checkpoint is not None
    picture = torch.zeros(64, 64, 3, dtype=torch.uint8)
    (z,) = export.run(made.path(made.encoder.file), {"picture": picture})
    assert z.shape == (1, made.z_dim)
    kept = checkpoint.load(tmp_path / "shipped")[0]
    assert all(value.dtype == torch.float16 for value in kept.values())
    train_gan.train(paintings, tuned, source=str(tmp_path / "shipped"), label="colour", **options)
    name = "synthesis.levels.0.after.weight"
    assert torch.allclose(
        checkpoint.load(tuned)[0]["average." + name], kept["average." + name].float(), atol=0.1
    )
    with pytest.raises(ValueError, match="--from nobody: neither a folder"):
        train_gan.train(paintings, tmp_path / "m", source="nobody", **options)
    with pytest.raises(ValueError, match="--preset"):
        train_gan.train(paintings, tmp_path / "m", source=str(game), preset="M", **options)


def test_every_size_joins_in_turn() -> None:
    scales = [64, 128, 256]
    assert {train_gan.scale_at(0.4, step, scales) for step in range(8)} == {64}
    assert [train_gan.scale_at(0.6, step, scales) for step in range(4)] == [64, 128, 64, 128]
    assert [train_gan.scale_at(0.9, step, scales) for step in range(4)] == [64, 128, 64, 256]
    assert [train_gan.scale_at(1.0, step, [64]) for step in range(2)] == [64, 64]


def test_a_window_is_a_part_of_the_whole(paintings: Path) -> None:
    shape = gan.Shape(256)
    torch.manual_seed(1)
    generator = gan.Generator(shape)
    for level in generator.synthesis.levels[3:]:
        torch.nn.init.normal_(level.head.colours.weight)  # silent until it joins the game
    ws = torch.randn(1, shape.num_ws, shape.w_dim)
    corner = (6, 10)
    with torch.no_grad():
        wholes, _ = generator.synthesis(ws, [torch.zeros(1, 1, side, side) for side in shape.sides])
        sides = train_gan.levels_of(shape, 256)
        parts, _ = generator.synthesis(ws, [torch.zeros(1, 1, side, side) for side in sides], corner)
    assert parts[-1].shape[-1] == 64
    cut = train_gan.seen(wholes[-1], 256, corner, 64)
    inner = slice(28, 36)  # a window's edge is padded with zeros, where the whole goes on
    torch.testing.assert_close(parts[-1][..., inner, inner], cut[..., inner, inner], atol=1e-3, rtol=1e-3)


def test_a_new_size_begins_without_a_jump() -> None:
    shape = gan.Shape(128)
    torch.manual_seed(1)
    generator = gan.Generator(shape)
    ws = torch.randn(2, shape.num_ws, shape.w_dim)
    noise = gan.draw_noise(2, shape.sides, torch.Generator().manual_seed(0))
    with torch.no_grad():
        *_, below, grown = generator.synthesis(ws, noise)[0]
        assert torch.equal(gan.upsample(below), grown)


def test_a_picture_varies_with_the_latent_and_every_noise() -> None:
    shape = gan.Shape(256)
    torch.manual_seed(1)
    generator = gan.Generator(shape)
    with torch.no_grad():
        generator.synthesis.first_strength.fill_(0.5)
        for level in generator.synthesis.levels:
            level.strength.fill_(0.5)
            torch.nn.init.normal_(level.head.colours.weight)
        ws = generator.mapping(torch.randn(2, shape.z_dim))[:, None].expand(-1, shape.num_ws, -1)
        noise = [torch.zeros(1, 1, side, side) for side in shape.sides]
        pictures = generator.synthesis(ws, noise)[0][-1]
        assert not torch.allclose(pictures[0], pictures[1], atol=0.1)
        for number, each in enumerate(noise):
            other = [*noise[:number], torch.randn_like(each), *noise[number + 1 :]]
            moved = generator.synthesis(ws, other)[0][-1]
            assert not torch.allclose(moved, pictures, atol=0.1), each.shape


def test_the_plain_minimax_loss_trains_too(paintings: Path, tmp_path: Path) -> None:
    train_gan.train(paintings, tmp_path, size=32, steps=1, loss="minimax", batch=4)
    assert checkpoint.load(tmp_path)[1]["loss"] == "minimax"


def test_two_processes_train_one_generator(paintings: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["--images", str(paintings), "--out", str(tmp_path), "--size", "32", "--batch", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*program, "-m", "models.train_gan", *options, "--minutes", "0.02"]
    subprocess.run(command, cwd=root, env=environment, check=True, timeout=100, capture_output=True)
    facts = checkpoint.load(tmp_path)[1]
    assert facts["pictures_seen"] == facts["step"] * 4 * 2


def test_gradients_are_those_of_both_processes_together(tmp_path: Path) -> None:
    script = tmp_path / "mean.py"
    script.write_text(
        "import torch\n"
        "from models import parallel\n"
        "parallel.start()\n"
        "weights = [torch.zeros(2, 3, requires_grad=True), torch.zeros(1, requires_grad=True)]\n"
        "(weights[0] * (parallel.rank() + 1)).sum().backward()\n"
        "parallel.average_gradients(weights)\n"
        "assert torch.equal(weights[0].grad, torch.full((2, 3), 1.5)), weights[0].grad\n"
        "assert parallel.most(float(parallel.rank()), 5.0) == [1.0, 5.0]\n"
        "parallel.finish()\n"
    )
    root = Path(__file__).parents[1]
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*program, str(script)], cwd=root, check=True, timeout=100, capture_output=True)


def test_constant_weights_give_what_modulated_weights_give() -> None:
    torch.manual_seed(0)
    layer = gan.StyledConvolution(6, 4, 5)
    x, w = torch.randn(1, 6, 8, 8), torch.randn(1, 5)
    kernel = layer.weight * layer.gain * layer.style(w)[0, None, :, None, None]
    kernel = kernel / kernel.square().sum((1, 2, 3), keepdim=True).sqrt() * gan.HE
    expected = torch.nn.functional.conv2d(x, kernel, padding=1)
    torch.testing.assert_close(layer(x, w), expected, atol=1e-4, rtol=1e-4)


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
    with pytest.raises(ValueError, match="--classes green: 0 classes have it"):
        pictures.read(paintings, 32, "colour", ["green"])
    with pytest.raises(ValueError, match="--weight green: no such class"):
        pictures.read(paintings, 32, "colour", (), {"green": 2.0})


def test_classes_are_chosen_and_weighted(paintings: Path) -> None:
    folder = tuple(sorted(pictures.read(paintings, 32, "colour").classes))
    assert folder == ("blue", "red")
    red = pictures.read(paintings, 32, "colour", ["re"] * 1 + ["blu"], {"re": 3.0})
    assert red.classes == ("re", "blu")
    assert red.shares.tolist() == [3.0] * 10 + [1.0] * 10
    assert red.labels[:10, 0].sum() == 10


def test_a_wrong_checkpoint_is_refused(paintings: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint here"):
        train_gan.train(paintings, tmp_path, size=32, steps=1, resume=True)
    (tmp_path / checkpoint.FILE).write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match="not a checkpoint"):
        train_gan.train(paintings, tmp_path, size=32, steps=1, resume=True)
    checkpoint.save(tmp_path, {}, {"shape": {"hidden": 16}})
    with pytest.raises(ValueError, match="the checkpoint is of"):
        train_gan.train(paintings, tmp_path, size=32, steps=1, resume=True)
