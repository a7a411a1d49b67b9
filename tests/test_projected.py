"""A discriminator that sees through a classifier: it is the published one, and the game with it is a game."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from models import checkpoint, gan, projected, train_gan  # noqa: E402

pytestmark = pytest.mark.train
torch.set_num_threads(1)

# Mean and deviation of the features after the stem and after each stage, of the picture below, as the package
# efficientnet_lite_pytorch 0.1.0 gives them for the same weights.
PUBLISHED = (
    (2.0574, 1.6730), (-0.4459, 5.9235), (1.1304, 7.5177), (-0.1210, 7.2079),
    (0.0110, 7.2547), (-0.2434, 5.6547), (0.3441, 5.3832), (-0.0026, 1.9975),
)  # fmt: skip


def ramps() -> torch.Tensor:
    """A picture of 128 px: red grows to the right, green downwards, blue is their product."""
    ramp = torch.linspace(-1, 1, 128)
    red, green = ramp[None].expand(128, -1), ramp[:, None].expand(-1, 128)
    return torch.stack([red, green, red * green])[None]


def test_the_classifier_is_the_published_one() -> None:
    projection = projected.Projection()
    x = projection.stem(ramps())
    found = [(x.mean().item(), x.std().item())]
    for stage in projection.stages:
        x = stage(x)
        found.append((x.mean().item(), x.std().item()))
    assert x.shape == (1, 320, 4, 4)
    assert found == [pytest.approx(pair, abs=2e-4) for pair in PUBLISHED]


def test_nothing_of_the_projection_learns_or_is_kept() -> None:
    projection = projected.Projection()
    assert not list(projection.parameters())
    assert not projection.state_dict()
    again = projected.Projection()
    for one, other in zip(projection(ramps()), again(ramps()), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("classes", [0, 3])
def test_each_depth_judges_sixteen_places(classes: int) -> None:
    torch.manual_seed(0)
    pictures = torch.randn(4, 3, 64, 64, requires_grad=True)
    features = projected.Projection()(pictures)
    assert [tuple(each.shape[1:]) for each in features] == [
        (channels, side, side) for channels, side in zip(projected.MIXED, (32, 16, 8, 4), strict=True)
    ]
    discriminator = projected.Discriminator(gan.Shape(64, classes))
    labels = torch.eye(max(classes, 1))[torch.arange(4) % max(classes, 1)]
    scores = discriminator(*features, label=labels)
    assert scores.shape == (4, 64)
    (slope,) = torch.autograd.grad(scores.sum(), pictures)
    assert slope.abs().amax((1, 2, 3)).min() > 0  # every picture is told what is wrong with it


def test_a_resumed_game_is_the_uninterrupted_one(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(16):
        pixels = torch.randint(0, 256, (64, 64, 3), generator=rng, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(pictures / f"{number}.png")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    options = {"size": 64, "batch": 4}
    train_gan.train(pictures, tmp_path / "vae", model="vae", steps=1, **options)
    options |= {"discriminator": "projected", "source": str(tmp_path / "vae")}
    train_gan.train(pictures, whole, steps=2, **options)
    train_gan.train(pictures, halves, steps=1, **options)
    train_gan.train(pictures, halves, steps=2, resume=True, **options)
    first, second = checkpoint.load(whole), checkpoint.load(halves)
    assert (first[1]["discriminator"], first[1]["loss"]) == ("projected", "hinge")
    for name, value in first[0].items():
        assert torch.equal(value, second[0][name]), name
    assert any(name.startswith("adam.generator.") for name in first[0])
    assert first[1]["encoder"]
    with pytest.raises(ValueError, match="discriminator projected, not plain"):
        train_gan.train(pictures, halves, size=64, batch=4, steps=3, resume=True)
