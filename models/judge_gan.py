"""Judges a generator: `python -m models.judge_gan FOLDER --images DIR`, a model folder or a training's --out.

Prints one table and writes one sheet. The exit status is 1 where the generator fails: it has collapsed, or
has learned its pictures by heart.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from engine.core.jobs import FrameJob
from engine.core.parameters import EFFECTS
from engine.render.generator import Generator, normals, slerp
from models import checkpoint, gan, judgement, manifest, pictures, sheet
from models.descriptors import Pixels, distances, layout, resized

PSI = 1.0  # the whole space: truncation would trade recall for precision
WALKS, FRAMES = 5, 76  # 75 steps from seed to seed: a frame each at 30 fps, 96 bpm and the default walk.speed
BRIEF, FEW = 64, 12  # held-out pictures that a line of a training's curve takes: at most, at least
TILE = 96  # px, on the sheet
AVERAGED = 512  # latents that the average w of a checkpoint is taken of
BATCH = 25
WALK_SEED, NOISE_SEED = 1 << 32, 1 << 33


@dataclass(frozen=True)
class Moment:
    """A place in the latent space: `blend` of the way from one seed to another, a class, a noise strength."""

    seed_a: int
    seed_b: int
    blend: float
    label: int
    noise: float


class Source(Protocol):
    """A generator, however it is stored."""

    classes: tuple[str, ...]
    side: int

    def pictures(self, moments: Sequence[Moment], psi: float) -> Pixels:
        """Return the picture of each moment, uint8 (moments, side, side, 3)."""
        ...


class Exported:
    """A model folder, through the engine's own player."""

    def __init__(self, folder: Path) -> None:
        self._generator = Generator(folder, "cpu")
        self.classes = self._generator.manifest.classes
        self.side = self._generator.height

    def pictures(self, moments: Sequence[Moment], psi: float) -> Pixels:
        """Return the picture of each moment, uint8 (moments, side, side, 3)."""
        return np.stack([self._generator.frame(self._job(moment, psi), 0) for moment in moments])

    def _job(self, moment: Moment, psi: float) -> FrameJob:
        return FrameJob(
            tick=0, seed_a=moment.seed_a, seed_b=moment.seed_b, blend=moment.blend, style_seed=0,
            mix=(0.0, 0.0, 0.0), psi=psi, noise=moment.noise, noise_seed=NOISE_SEED + moment.seed_a,
            label=tuple(float(number == moment.label) for number in range(len(self.classes))), directions=(),
            effects=tuple(effect.default for effect in EFFECTS),
        )  # fmt: skip


class Trained:
    """A generator in training, at the size that it plays at."""

    def __init__(self, generator: gan.Generator, classes: Sequence[str], side: int) -> None:
        self._generator, self._shape = generator, generator.shape
        self._device = next(generator.parameters()).device
        self.classes, self.side = tuple(classes), side

    def _w(self, z: Sequence[np.ndarray], labels: Sequence[int]) -> torch.Tensor:
        one_hot = torch.eye(len(self.classes))[list(labels)].to(self._device) if self.classes else None
        w: torch.Tensor = self._generator.mapping(torch.from_numpy(np.stack(z)).to(self._device), one_hot)
        return w

    @torch.no_grad()
    def pictures(self, moments: Sequence[Moment], psi: float) -> Pixels:
        """Return the picture of each moment, uint8 (moments, side, side, 3)."""
        seeds = range(AVERAGED)
        every = [seed % max(len(self.classes), 1) for seed in seeds]
        average = self._w([normals(seed, self._shape.z_dim) for seed in seeds], every).mean(0)
        batches = [moments[start : start + BATCH] for start in range(0, len(moments), BATCH)]
        return np.concatenate([self._batch(batch, average, psi) for batch in batches])

    def _batch(self, moments: Sequence[Moment], average: torch.Tensor, psi: float) -> Pixels:
        z_dim = self._shape.z_dim
        z = [slerp(normals(each.seed_a, z_dim), normals(each.seed_b, z_dim), each.blend) for each in moments]
        w = self._w(z, [each.label for each in moments])
        ws = (average + psi * (w - average))[:, None].expand(-1, self._shape.num_ws, -1)
        levels = tuple(side for side in self._shape.sides if 2 * side <= self.side)
        strength = torch.tensor([each.noise for each in moments], dtype=torch.float32)[:, None, None, None]
        rng = torch.Generator().manual_seed(NOISE_SEED + moments[0].seed_a)
        drawn = gan.draw_noise(len(moments), levels, rng)
        noise = [(strength * each).to(self._device) for each in drawn]
        shots = self._generator.synthesis(ws, noise)[0][-1]
        pixels: Pixels = (shots * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return pixels


def _trained(folder: Path) -> Trained:
    tensors, facts = checkpoint.load(folder)
    if facts["kind"] not in ("gan", "vae"):
        raise ValueError(f"{folder}: the checkpoint of a {facts['kind']}, where a gan is wanted")
    generator = gan.Generator(gan.Shape(**facts["shape"]))
    generator.load_state_dict(checkpoint.unpack("average", tensors))
    return Trained(generator, facts["classes"], facts["playing"])


def source(folder: Path) -> Source:
    """Return the generator of a model folder or of a training's folder; ValueError where there is neither."""
    if (folder / manifest.FILE).is_file():
        return Exported(folder)
    if (folder / checkpoint.FILE).is_file():
        return _trained(folder)
    raise ValueError(f"{folder}: no {manifest.FILE} (of a model), nor {checkpoint.FILE} (of a training)")


def labels_for(made: Source, data: pictures.Pictures, count: int) -> list[int]:
    """Return a class for each of `count` pictures: as held-out ones have them, or in turn."""
    if not (made.classes and data.classes):
        return [number % max(len(made.classes), 1) for number in range(count)]
    held = data.labels[data.held].argmax(1).tolist()
    return [held[number % len(held)] for number in range(count)]


def moments_of(labels: Sequence[int]) -> list[Moment]:
    """Return a moment for each label: a seed of its own, noise of any strength up to 1 as in training."""
    strengths = np.random.default_rng(0).random(len(labels)).tolist()
    labelled = enumerate(zip(labels, strengths, strict=True))
    return [Moment(seed, seed, 0.0, label, strength) for seed, (label, strength) in labelled]


def walk(number: int, label: int) -> list[Moment]:
    """Return the moments of a walk from seed to seed, without noise."""
    a, b = WALK_SEED + number, WALK_SEED + number + 1
    return [Moment(a, b, step / (FRAMES - 1), label, 0.0) for step in range(FRAMES)]


def judge(
    made: Source, data: pictures.Pictures, psi: float = PSI
) -> tuple[judgement.Judgement, Pixels, list[Pixels]]:
    """Judge a generator against pictures of its size; return the pictures and walks that were judged, too."""
    pixels = data.pixels.permute(0, 2, 3, 1).numpy()
    known, held = pixels[~data.held.numpy()], pixels[data.held.numpy()]
    labels = labels_for(made, data, len(held))
    moments = moments_of(labels)
    drawn, still = (made.pictures(each, psi) for each in (moments, [replace(m, noise=0.0) for m in moments]))
    walked = [made.pictures(walk(number, labels[number]), psi) for number in range(WALKS)]
    return judgement.judge(drawn, still, walked, known, held), drawn, walked


def brief(made: Source, held: pictures.Pictures) -> dict[str, float]:
    """Return a line for a training's curve, against some held-out pictures; nothing where they are few."""
    count = min(len(held.pixels), BRIEF)
    if count < FEW:
        return {}
    some = torch.linspace(0, len(held.pixels) - 1, count).long()
    real = resized(held.pixels[some].permute(0, 2, 3, 1).numpy(), made.side)
    labels = held.labels[some].argmax(1).tolist() if held.classes else [0] * count
    moments = moments_of(labels)
    drawn, still = (made.pictures(each, PSI) for each in (moments, [replace(m, noise=0.0) for m in moments]))
    return judgement.brief(drawn, still, real)


def sheet_of(drawn: Pixels, walked: list[Pixels], data: pictures.Pictures) -> Image.Image:
    """Return the sheet of a judgement: what was drawn, real pictures, the nearest pairs, walks."""
    pixels = data.pixels.permute(0, 2, 3, 1).numpy()
    known, held = pixels[~data.held.numpy()], pixels[data.held.numpy()]
    near = judgement.copies(layout(drawn), layout(judgement.mirrored(known)))
    closest = np.argsort(near)[:8]
    nearest = distances(layout(drawn[closest]), layout(judgement.mirrored(known))).argmin(1)
    steps = np.linspace(0, FRAMES - 1, 8).astype(int)
    rows = [("generated" if row == 0 else "", drawn[8 * row : 8 * row + 8]) for row in range(6)]
    rows += [("held-out\npictures" if row == 0 else "", held[8 * row : 8 * row + 8]) for row in range(2)]
    rows += [("nearest to\na training picture", drawn[closest])]
    rows += [("that picture", judgement.mirrored(known)[nearest])]
    rows += [("walk from seed\nto seed" if row == 0 else "", walked[row][steps]) for row in range(2)]
    return sheet.captioned(rows, TILE)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and judge; bad input ends with one clear error."""
    parser = argparse.ArgumentParser(prog="python -m models.judge_gan", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a model folder or the --out of training")
    parser.add_argument("--images", type=Path, required=True, help="the pictures that it was trained on")
    parser.add_argument("--label", help="column of index.csv that holds the class, such as artist")
    parser.add_argument("--psi", type=float, default=PSI, help="truncation (1: the whole space)")
    parser.add_argument("--sheet", type=Path, default=Path("judgement.png"), help="where the sheet goes")
    options = parser.parse_args(argv)
    began = time.monotonic()
    try:
        made = source(options.folder)
        data = pictures.read(options.images, made.side, options.label, made.classes if options.label else ())
        found, drawn, walked = judge(made, data, options.psi)
    except ValueError as error:
        print(f"judge_gan: {error}", file=sys.stderr)
        return 2
    sheet.save(sheet_of(drawn, walked, data), options.sheet)
    held = int(data.held.sum())
    print(
        f"{options.folder}: {held} pictures of {made.side} px, psi {options.psi:g}, {len(data.held) - held}"
        f" training pictures; {time.monotonic() - began:.0f} s; the sheet is {options.sheet}\n"
    )
    print(judgement.table(found))
    for failure in found.failures:
        print(f"\nFAILED: {failure}")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
