"""Trains the GAN: `python -m models.train_gan --images DIR --size 128 --minutes 60 --out DIR [--resume]`.

The loop is the minimax game of Goodfellow et al. 2014 (arXiv:1406.2661, algorithm 1) in its six steps, played
coarse to fine: at 32 px first, then at each size up to the wanted one, which is many times faster on a CPU.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from models import checkpoint, pictures
from models.allocator import keep_freed_memory
from models.augment import augment
from models.autocast import autocast
from models.gan import Discriminator, Generator, Shape, downsample, draw_noise
from models.stopping import stop_requests

FIRST_SIZE = 32  # px; the game begins here
BATCH = 8  # pictures a step: on a CPU many small steps learn faster than few large ones
LEARNING_RATE = 0.002  # Karras et al. 2020; so are Adam's betas and the lazy interval of R1
BETAS = (0.0, 0.99)
R1_INTERVAL = 16  # steps
R1_SCALE = 0.0008  # weight = scale * size^2 / batch: StyleGAN2-ADA's heuristic x 4, as data are few
EMA_SHARE = 0.05  # half-life of the averaged generator as a share of the pictures seen, at most EMA_MOST
EMA_MOST = 10_000  # pictures (Karras et al. 2020)
MIXING = 0.5  # share of steps with style mixing (Karras et al. 2019 use 0.9 with far more pictures)
RUNG_WEIGHT = 5.0  # of the disagreement between the early heads and the last picture made small
CHECKPOINT_S = 180.0
SHEET = 48  # pictures on a sample sheet
PSI = 0.7  # truncation of the sample sheets

# How much the generator loses by the scores of its pictures. Both are minimised. `minimax` is the value of
# the game itself, whose gradient vanishes while the discriminator wins; `non-saturating` is Goodfellow's
# remedy in the same paper (section 3).
GENERATOR_LOSS: dict[str, Callable[[Tensor], Tensor]] = {
    "minimax": lambda scores: -F.softplus(scores).mean(),
    "non-saturating": lambda scores: F.softplus(-scores).mean(),
}


def sizes_of(size: int) -> list[int]:
    """Return the sizes that the game is played at, in order."""
    first = min(FIRST_SIZE, size)
    return [first * 2**power for power in range((size // first).bit_length())]


def size_at(progress: float, size: int) -> int:
    """Return the size to play at after a share of the budget: all have the same time."""
    sizes = sizes_of(size)
    return sizes[min(int(progress * len(sizes)), len(sizes) - 1)]


def fakes(
    generator: Generator, labels: Tensor, levels: tuple[int, ...], rng: torch.Generator
) -> list[Tensor]:
    """Return generated pictures of the wanted classes at each level, (batch, 3, side, side), by new latents.

    For some batches two latents are mixed, one for the coarse styles and one for the fine. The noise has any
    strength from 0 to 1, as it has on stage.
    """
    z = torch.randn(2, BATCH, generator.shape.z_dim, generator=rng)
    strength = torch.rand((), generator=rng)
    noise = [strength * each for each in draw_noise(BATCH, levels, rng)]
    cut = torch.randint(1, 2 * len(levels), (), generator=rng)
    mixed = torch.rand((), generator=rng) < MIXING
    late = ((torch.arange(generator.shape.num_ws) >= cut) & mixed)[None, :, None]
    with autocast():
        w, other = (generator.mapping(each, labels)[:, None] for each in z)
        ws = torch.where(late, other, w)  # (batch, num_ws, w_dim)
        return [picture.float() for picture in generator.synthesis(ws, noise)]


def judge(discriminator: Discriminator, shown: Tensor, labels: Tensor) -> Tensor:
    """Return the scores (batch, 1) of pictures."""
    with autocast():
        scores: Tensor = discriminator(shown.contiguous(memory_format=torch.channels_last), labels)
        return scores.float()


def train(
    images: Path,
    out: Path,
    size: int = 128,
    minutes: float | None = None,
    steps: int | None = None,
    label: str | None = None,
    loss: str = "non-saturating",
    resume: bool = False,
    seed: int = 0,
) -> None:
    """Train on the pictures in `images` until the budget (`minutes` or `steps` in all) is used up.

    `out` receives the checkpoint and the sample sheets. ValueError where the pictures or the checkpoint
    won't do. With `steps`, an interrupted run that is resumed ends with the weights of an uninterrupted one.
    """
    data = pictures.training(pictures.read(images, size, label))
    shape = Shape(size, len(data.classes))
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    generator = Generator(shape)
    discriminator = Discriminator(shape)
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(generator).requires_grad_(False)
    adam_g = torch.optim.Adam(generator.parameters(), LEARNING_RATE, BETAS, fused=True)
    adam_d = torch.optim.Adam(discriminator.parameters(), LEARNING_RATE, BETAS, fused=True)
    parts: dict[str, Generator | Discriminator] = {
        "generator": generator,
        "discriminator": discriminator,
        "average": average,
    }
    adams = {"adam_g": adam_g, "adam_d": adam_d}
    facts: dict[str, Any] = {
        "kind": "gan",
        "shape": asdict(shape),
        "classes": list(data.classes),
        "loss": loss,
        "seed": seed,
        "step": 0,
        "pictures_seen": 0,
        "seconds": 0.0,
        "playing": sizes_of(size)[0],
        "curve": [],
    }
    if resume:
        tensors, known = checkpoint.load(out)
        if {key: known.get(key) for key in ("shape", "classes")} != {
            key: facts[key] for key in ("shape", "classes")
        }:
            raise ValueError(f"{out}: the checkpoint is of {known.get('shape')}, not {facts['shape']}")
        facts = {**known, "loss": loss}
        for name, part in parts.items():
            part.load_state_dict(checkpoint.unpack(name, tensors))
        for name, adam in adams.items():
            checkpoint.set_adam(adam, checkpoint.unpack(name, tensors))
        rng.set_state(tensors["rng"])
    out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        tensors = {"rng": rng.get_state()}
        for name, part in parts.items():
            tensors |= checkpoint.pack(name, part.state_dict())
        for name, adam in adams.items():
            tensors |= checkpoint.pack(name, checkpoint.adam_tensors(adam))
        checkpoint.save(out, tensors, facts)
        sheet(average, facts["playing"]).save(out / f"sheet-{facts['pictures_seen']:07d}.png")

    def progress() -> float:
        spent = facts["step"] / steps if steps else facts["seconds"] / (60 * (minutes or 60.0))
        return min(float(spent), 1.0)

    bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed} {postfix}", mininterval=2)
    saved = shown_at = time.monotonic()
    shown_before = facts["pictures_seen"]
    with stop_requests() as stop:
        while progress() < 1 and not stop():
            began = time.monotonic()
            if size_at(progress(), size) > facts["playing"]:
                facts["playing"] *= 2
                for network in parts.values():
                    network.grow(facts["playing"])
            playing = facts["playing"]
            levels = tuple(side for side in shape.sizes if side <= playing)

            # 1 and 2. Sample a minibatch of latents, and one of real pictures (with their classes, mirrored
            #    by chance). A latent becomes a picture of the same class.
            chosen = torch.randint(len(data.pixels), (BATCH,), generator=rng)
            labels = data.labels[chosen]
            real = data.pixels[chosen].float() / 127.5 - 1
            mirrored = torch.rand(BATCH, 1, 1, 1, generator=rng) < 0.5
            real = F.adaptive_avg_pool2d(torch.where(mirrored, real.flip(3), real), playing)
            with torch.no_grad():
                fake = fakes(generator, labels, levels, rng)[-1]

            # 3. Ascend the discriminator's gradient of log D(x) + log(1 - D(G(z))), less the R1 penalty on
            #    its gradient at real pictures (Mescheder et al. 2018, arXiv:1801.04406) every sixteenth time.
            regularise = facts["step"] % R1_INTERVAL == 0
            shown = augment(real, rng).requires_grad_(regularise)
            score_real = judge(discriminator, shown, labels)
            score_fake = judge(discriminator, augment(fake, rng), labels)
            loss_d = F.softplus(-score_real).mean() + F.softplus(score_fake).mean()
            penalty = torch.zeros(())
            if regularise:
                (slope,) = torch.autograd.grad(score_real.sum(), shown, create_graph=True)
                penalty = slope.square().sum((1, 2, 3)).mean()
            r1 = R1_SCALE * playing**2 / BATCH / 2 * R1_INTERVAL
            adam_d.zero_grad()
            (loss_d + r1 * penalty).backward()
            adam_d.step()

            # 4. Repeat 1 to 3 k times: k = 1, as in the paper's experiments.

            # 5. Sample a minibatch of latents.
            labels = data.labels[torch.randint(len(data.pixels), (BATCH,), generator=rng)]
            shots = fakes(generator, labels, levels, rng)

            # 6. Descend the generator's gradient of its loss. Beside the game, each early head must show the
            #    last picture made small, so that all rungs agree: what a later head adds is detail alone.
            discriminator.requires_grad_(False)
            loss_g = GENERATOR_LOSS[loss](judge(discriminator, augment(shots[-1], rng), labels))
            discriminator.requires_grad_(True)
            small, apart = shots[-1], torch.zeros(())
            for shot in reversed(shots[3:-1]):  # from 32 px
                small = downsample(small)
                apart = apart + F.mse_loss(shot, small)
            adam_g.zero_grad()
            (loss_g + RUNG_WEIGHT * apart).backward()  # type: ignore[no-untyped-call]
            adam_g.step()

            with torch.no_grad():
                half_life = min(EMA_MOST, EMA_SHARE * (facts["pictures_seen"] + BATCH))
                keep = 0.5 ** (BATCH / half_life)
                torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1 - keep)

            facts["step"] += 1
            facts["pictures_seen"] += BATCH
            facts["seconds"] += time.monotonic() - began
            bar.update(100 * progress() - bar.n)
            if facts["step"] % R1_INTERVAL == 1:
                line = {
                    "pictures": facts["pictures_seen"],
                    "side": playing,
                    "loss_d": round(loss_d.item(), 3),
                    "loss_g": round(loss_g.item(), 3),
                    "r1": round((r1 / R1_INTERVAL * penalty).item(), 4),
                    "rungs": round(float(apart), 5),
                    "rate": round((facts["pictures_seen"] - shown_before) / (time.monotonic() - shown_at), 1),
                }
                shown_before, shown_at = facts["pictures_seen"], time.monotonic()
                bar.set_postfix(line)
            if time.monotonic() - saved > CHECKPOINT_S:
                facts["curve"].append(line)
                save()
                saved = time.monotonic()
    save()
    bar.close()


@torch.no_grad()
def sheet(generator: Generator, side: int, columns: int = 8) -> Image.Image:
    """Return a sheet of pictures at `side` px from fixed latents, the classes by columns in turn."""
    rng = torch.Generator().manual_seed(1)
    shape = generator.shape
    labels = torch.eye(shape.classes)[torch.arange(SHEET) % shape.classes] if shape.classes else None
    w = generator.mapping(torch.randn(SHEET, shape.z_dim, generator=rng), labels)
    middle = w.mean(0)
    ws = (middle + PSI * (w - middle))[:, None].expand(-1, shape.num_ws, -1)
    levels = tuple(size for size in shape.sizes if size <= side)
    shots = generator.synthesis(ws, [torch.zeros(1, 1, size, size) for size in levels])[-1]
    pixels = (shots * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    rows = pixels.reshape(-1, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    return Image.fromarray(np.ascontiguousarray(rows.reshape(-1, columns * side, 3)))


def main() -> int:
    """Read the command line and train; bad input ends with one clear error."""
    parser = argparse.ArgumentParser(prog="python -m models.train_gan", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures (subfolders too)")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and sample sheets")
    parser.add_argument("--size", type=int, default=128, choices=(32, 64, 128, 256), help="side in pixels")
    parser.add_argument("--minutes", type=float, default=60.0, help="training time in all, resumed runs too")
    parser.add_argument("--label", help="column of index.csv that holds the class, such as artist")
    parser.add_argument("--loss", choices=GENERATOR_LOSS, default="non-saturating")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    keep_freed_memory()
    try:
        train(**options)
    except ValueError as error:
        print(f"train_gan: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
