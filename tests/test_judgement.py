"""The judgement: a shipped generator against its own pictures, and sets that are wrong on purpose."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from models import checkpoint, judge_gan, judgement, pictures, train_gan  # noqa: E402
from models.descriptors import Pixels, Texture  # noqa: E402

pytestmark = pytest.mark.train

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "models" / "weights" / "impressionism"
COUNT = 150


@pytest.fixture(autouse=True)
def _short_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_gan, "WALKS", 2)
    monkeypatch.setattr(judge_gan, "FRAMES", 9)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that the shipped generator draws, as if they were somebody's photographs."""
    folder = tmp_path_factory.mktemp("collection")
    made = judge_gan.source(SHIPPED)
    seeds = range(10_000, 10_000 + COUNT)
    drawn = made.pictures([judge_gan.Moment(seed, seed, 0.0, seed % 3, 0.5) for seed in seeds], 1.0)
    for number, each in enumerate(drawn):
        Image.fromarray(each).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def sets(collection: Path) -> tuple[Pixels, Pixels]:
    """The training pictures and the held-out ones, at 64 px."""
    data = pictures.read(collection, 64)
    pixels = data.pixels.permute(0, 2, 3, 1).numpy()
    return pixels[~data.held.numpy()], pixels[data.held.numpy()]


def judge(made: Pixels, sets: tuple[Pixels, Pixels]) -> judgement.Judgement:
    return judgement.judge(made, made, judgement.crossfades(made, 5, 2), *sets)


def test_a_generator_that_draws_the_collection_passes(collection: Path) -> None:
    made = judge_gan.source(SHIPPED)
    found, _, _ = judge_gan.judge(made, pictures.read(collection, made.side))
    assert found.made.precision > 0.5
    assert found.made.recall > 0.5
    assert 0.7 < found.made.diversity < 1.4
    assert not found.failures


def test_a_collapsed_generator_fails(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Truncated to nothing, it draws its average whatever the latent is; only the noise differs."""
    line = [str(SHIPPED), "--images", str(collection), "--psi", "0", "--sheet", str(tmp_path / "sheet.png")]
    assert judge_gan.main(line) == 1
    printed = capsys.readouterr().out
    assert re.search(r"^\| recall \| 0\.\d\d \| 0\.\d\d \|$", printed, re.MULTILINE)
    assert re.search(r"^FAILED: collapsed: diversity 0\.\d\d", printed, re.MULTILINE)
    assert Image.open(tmp_path / "sheet.png").size[0] > 8 * judge_gan.TILE


def test_a_training_is_judged_and_its_collapse_is_found(collection: Path, tmp_path: Path) -> None:
    train_gan.train(collection, tmp_path, size=32, steps=1)
    data = pictures.read(collection, 32)
    found, drawn, walked = judge_gan.judge(judge_gan.source(tmp_path), data)
    assert drawn.shape[1:] == walked[0].shape[1:] == (32, 32, 3)
    assert found.made.precision < 0.2 < found.yardstick.precision
    assert not found.failures
    tensors, facts = checkpoint.load(tmp_path)
    deaf = {name: torch.zeros_like(each) if ".mapping." in name else each for name, each in tensors.items()}
    checkpoint.save(tmp_path, deaf, facts)  # whatever the latent is, w is the same
    found, _, _ = judge_gan.judge(judge_gan.source(tmp_path), data)
    assert any("collapsed" in failure for failure in found.failures)


def test_a_line_of_the_curve_tells_the_same_from_few_pictures(collection: Path) -> None:
    everything = pictures.read(collection, 128)
    _, held = pictures.parted(everything)
    line = judge_gan.brief(judge_gan.source(SHIPPED), held)
    assert line.keys() == {"swd", "precision", "recall", "diversity"}
    assert min(line["precision"], line["recall"]) > 0.4
    assert 0.6 < line["diversity"] < 1.6
    fewer = replace(held, pixels=held.pixels[:10], labels=held.labels[:10])
    assert judge_gan.brief(judge_gan.source(SHIPPED), fewer) == {}


def test_a_few_pictures_again_and_again_are_a_collapse(sets: tuple[Pixels, Pixels]) -> None:
    few = sets[1][np.arange(len(sets[1])) % 4]
    grain = np.random.default_rng(0).normal(0, 3, few.shape)
    found = judge((few + grain).clip(0, 255).astype(np.uint8), sets)
    assert found.made.recall < 0.2 < found.yardstick.recall
    assert any("collapsed" in failure for failure in found.failures)


def test_training_pictures_learned_by_heart_are_found(sets: tuple[Pixels, Pixels]) -> None:
    learned = sets[0][: len(sets[1]), :, ::-1]  # as training shows them, mirrored by chance
    grain = np.random.default_rng(0).normal(0, 6, learned.shape)
    found = judge((learned + grain).clip(0, 255).astype(np.uint8), sets)
    assert found.made.copied > 0.9
    assert any("memorised" in failure for failure in found.failures)
    assert not judge(sets[1], sets).failures


@pytest.mark.parametrize(
    ("spoil", "level"),
    [
        (lambda x: np.stack([cv2.GaussianBlur(each, (0, 0), 1.0) for each in x]), 64),
        (lambda x: (x + np.random.default_rng(0).normal(0, 15, x.shape)).clip(0, 255).astype(np.uint8), 64),
        (lambda x: (x * [1.0, 0.8, 0.6]).astype(np.uint8), 16),
        (
            lambda x: np.roll(x.reshape(-1, 4, 16, 4, 16, 3), (1, 2), (1, 3))[:, [2, 0, 3, 1]].reshape(
                x.shape
            ),
            16,
        ),
    ],
    ids=["blurred", "noisy", "tinted", "shuffled"],
)
def test_what_is_wrong_with_pictures_shows_in_the_figures(
    sets: tuple[Pixels, Pixels], spoil: object, level: int
) -> None:
    found = judge(spoil(sets[1]), sets)  # type: ignore[operator]
    assert found.made.precision < 0.75 * found.yardstick.precision
    assert found.made.swd[level] > 2 * found.yardstick.swd[level]
    assert not found.failures


def test_a_distribution_is_at_no_distance_from_itself(sets: tuple[Pixels, Pixels]) -> None:
    same = judgement.sliced_wasserstein(sets[1], judgement.patches(sets[1]))
    assert max(same.values()) == 0
    points = Texture(sets[0])(sets[1])
    assert judgement.precision_recall(points, points) == (1.0, 1.0)


def test_a_jump_in_a_walk_is_seen() -> None:
    frames = np.linspace(0, 200, 21)[:, None, None, None] * np.ones((1, 8, 8, 3))
    step, jump, path = judgement.smoothness([frames.astype(np.uint8)])
    assert (step, jump, path) == pytest.approx((10, 1, 1), rel=0.01)
    frames[10:] += 50
    assert judgement.smoothness([frames.astype(np.uint8)])[1] == pytest.approx(6, rel=0.01)


@pytest.mark.parametrize(
    ("folder", "images", "message"),
    [("tests", "docs", "no manifest.json"), (SHIPPED, "docs", "pictures found, 16 or more needed")],
)
def test_wrong_input_gets_one_clear_line(
    folder: object, images: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge_gan.main([str(folder), "--images", str(ROOT / images)]) == 2
    assert message in capsys.readouterr().err
