"""Training and export, from a folder of pictures to a graph that gives what PyTorch gives."""

import csv
import signal
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


def test_a_wrong_checkpoint_is_refused(paintings: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint here"):
        train_gan.train(paintings, tmp_path, size=32, steps=1, resume=True)
    (tmp_path / checkpoint.FILE).write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match="not a checkpoint"):
        train_gan.train(paintings, tmp_path, size=32, steps=1, resume=True)
    checkpoint.save(tmp_path, {}, {"shape": {"hidden": 16}})
    with pytest.raises(ValueError, match="the checkpoint is of"):
        train_gan.train(paintings, tmp_path, size=32, steps=1, resume=True)
