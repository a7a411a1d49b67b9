"""Measures generated pictures against training pictures, with held-out pictures as the yardstick."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.descriptors import Pixels, Points, Texture, distances, layout

PATCHES = 128  # of each picture and level, 7 x 7 x 3 (Karras et al. 2018, arXiv:1710.10196, section 5)
PATCH = 7  # px
PROJECTIONS = 256
LEAST_LEVEL = 16  # px
NEIGHBOURS = 3  # radius of a picture's neighbourhood (Kynkaanniemi et al. 2019, arXiv:1904.06991, section 3)
COPY_NEIGHBOURS = 10
COPY_SHARE = 0.5
COLLAPSED = 1 / 3  # of the diversity of real pictures; collapsed on purpose, sets had 0.00 to 0.05
COPIED = 0.05  # more than the yardstick's


@dataclass(frozen=True)
class Figures:
    """What is measured of a set of pictures, against the training pictures.

    `swd` is the sliced Wasserstein distance x 1000 by level in px. `copied` is the share of pictures that are
    suspiciously near to one training picture; `diversity`, without noise, the distance of a picture to the
    nearest other one of its set, over that of training pictures. Of a walk: `step`, the median difference of
    successive frames in levels of 255; `jump`, the largest over the median; `path`, the sum of all steps over
    the difference of the two ends.
    """

    swd: dict[int, float]
    precision: float
    recall: float
    copied: float
    diversity: float
    step: float
    jump: float
    path: float


@dataclass(frozen=True)
class Judgement:
    """The figures of generated pictures, those of held-out ones, and what failed, a line for each."""

    made: Figures
    yardstick: Figures
    failures: tuple[str, ...]


def pyramid(picture: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Return a picture's Laplacian pyramid (Burt and Adelson 1983), finest first, (side, side, 3) each."""
    levels: list[NDArray[np.float32]] = []
    image: NDArray[Any] = picture.astype(np.float32)
    while len(image) > LEAST_LEVEL:
        small = cv2.pyrDown(image)
        levels.append(np.subtract(image, cv2.pyrUp(small, dstsize=image.shape[1::-1]), dtype=np.float32))
        image = small
    return [*levels, image]


def patches(pixels: Pixels) -> dict[int, Points]:
    """Return PATCHES patches at random places of each level of each picture's pyramid.

    By the level's side: (count x PATCHES, 3, 7 x 7).
    """
    rng, found = np.random.default_rng(0), dict[int, list[NDArray[np.float32]]]()
    for picture in pixels:
        for level in pyramid(picture):
            windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(0, 1))
            rows, columns = rng.integers(0, len(windows), (2, PATCHES))
            found.setdefault(len(level), []).append(windows[rows, columns].reshape(PATCHES, 3, -1))
    return {side: np.concatenate(parts) for side, parts in found.items()}


# In one dimension the Wasserstein distance of two equally large sets is the mean difference of the sorted
# ones; the sliced distance averages it over random directions (Rabin et al. 2011). Karras et al. 2018 take it
# of small patches at each level of a Laplacian pyramid: the coarse level tells large forms and colours, each
# finer one the detail of that size alone. They normalise each set by its own colours; here both are by
# those of the training pictures, so that a cast or a loss of contrast counts.
def sliced_wasserstein(made: Pixels, known: dict[int, Points]) -> dict[int, float]:
    """Return the sliced Wasserstein distance x 1000 of pictures to the patches of as many, by level in px."""
    rng, found = np.random.default_rng(1), {}
    for side, ours in patches(made).items():
        mean = known[side].mean((0, 2), keepdims=True)
        deviation = known[side].std((0, 2), keepdims=True) + 1e-6
        directions = rng.standard_normal((ours[0].size, PROJECTIONS)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        one, other = (
            np.sort((((each - mean) / deviation).reshape(len(each), -1) @ directions).T)
            for each in (ours, known[side])
        )
        found[side] = float(1000 * np.abs(one - other).mean())
    return found


# Around each picture of a set lies a ball that reaches to its third neighbour; together they are the set's
# estimated manifold. Precision is the share of made pictures that lie in the training pictures' manifold,
# recall the share of training pictures that lie in the made ones' (Kynkaanniemi et al. 2019, equation 2).
def precision_recall(made: Points, known: Points) -> tuple[float, float]:
    """Return precision and recall of points against as many known ones."""
    radius_known, radius_made = (
        np.partition(distances(points, points), NEIGHBOURS, axis=1)[:, NEIGHBOURS] for points in (known, made)
    )
    apart = distances(made, known)
    precision = (apart <= radius_known[None]).any(axis=1).mean()
    recall = (apart <= radius_made[:, None]).any(axis=0).mean()
    return float(precision), float(recall)


# A copy is near to its original, but so is any plain picture to any other. What marks a copy is that it is
# far nearer to one picture than to all the rest (compare Lowe's ratio of neighbours, 2004, section 7.1).
def copies(made: Points, known: Points) -> NDArray[np.float32]:
    """Return of each point its distance to the nearest known one over that to the tenth nearest."""
    near = np.partition(distances(made, known), (0, COPY_NEIGHBOURS - 1), axis=1)
    return near[:, 0] / (near[:, COPY_NEIGHBOURS - 1] + 1e-6)


def mirrored(pixels: Pixels) -> Pixels:
    """Return the pictures and their mirror images, which training shows too."""
    return np.concatenate([pixels, pixels[:, :, ::-1]])


def spread(points: Points) -> float:
    """Return the median distance of a point to the nearest other one of its set."""
    return float(np.median(np.partition(distances(points, points), 1, axis=1)[:, 1]))


def smoothness(walk: Sequence[Pixels]) -> tuple[float, float, float]:
    """Return step, jump and path of walks, each (frames, side, side, 3); see Figures.

    A generator is played, so what counts is how evenly its picture moves while the latent does: the length
    of its path (Karras et al. 2019, arXiv:1812.04948, section 4.1), here in frames.
    """
    every, jumps, paths = [], [], []
    for frames in walk:
        steps = np.array([cv2.absdiff(one, after).mean() for one, after in pairwise(frames)])
        every.append(steps)
        jumps.append(steps.max() / max(np.median(steps), 1e-6))
        paths.append(steps.sum() / max(cv2.absdiff(frames[0], frames[-1]).mean(), 1e-6))
    return float(np.median(np.concatenate(every))), float(np.median(jumps)), float(np.median(paths))


def crossfades(pixels: Pixels, frames: int, count: int) -> list[Pixels]:
    """Return plain crossfades between neighbours of a set: the evenest and shortest way there is."""
    shares = np.linspace(0, 1, frames)[:, None, None, None]
    pairs = pairwise(pixels[: count + 1])
    return [((1 - shares) * one + shares * other + 0.5).astype(np.uint8) for one, other in pairs]


def judge(made: Pixels, still: Pixels, walk: Sequence[Pixels], known: Pixels, held: Pixels) -> Judgement:
    """Judge as many made pictures as there are held-out ones, and walks, against the training pictures.

    All are uint8 RGB of one size; `still` are the made pictures without noise, which must not stand in for a
    latent that has no effect; `known` are all training pictures, `held` those that are kept back. What
    compares sets takes as many of each. ValueError where there are too few to say anything.
    """
    count = len(held)
    if count <= COPY_NEIGHBOURS or len(known) < count or len(made) < count:
        raise ValueError(
            f"{len(made)} made, {len(known)} training and {count} held-out pictures: as many of the first two"
            f" as of the last are needed, and more than {COPY_NEIGHBOURS}"
        )
    even = known[np.linspace(0, len(known) - 1, count).astype(int)]
    texture = Texture(known)
    known_texture, known_layout = texture(even), layout(mirrored(known))
    known_patches, unit = patches(even), spread(layout(even))

    def figures(pixels: Pixels, still: Pixels, walks: Sequence[Pixels]) -> Figures:
        precision, recall = precision_recall(texture(pixels), known_texture)
        copied = float((copies(layout(pixels), known_layout) < COPY_SHARE).mean())
        swd = sliced_wasserstein(pixels, known_patches)
        diversity = spread(layout(still)) / max(unit, 1e-6)
        return Figures(swd, precision, recall, copied, diversity, *smoothness(walks))

    ours = figures(made[:count], still[:count], walk)
    yardstick = figures(held, held, crossfades(held, len(walk[0]), len(walk)))
    return Judgement(ours, yardstick, failures(ours, yardstick))


def brief(made: Pixels, still: Pixels, held: Pixels) -> dict[str, float]:
    """Return the figures that tell a training's trend, of as many made pictures as held-out ones, in seconds.

    `still` are the made pictures without noise. The distance is the mean over all levels.
    """
    texture = Texture(held)
    precision, recall = precision_recall(texture(made), texture(held))
    swd = float(np.mean(list(sliced_wasserstein(made, patches(held)).values())))
    diversity = spread(layout(still)) / max(spread(layout(held)), 1e-6)
    return {"swd": swd, "precision": precision, "recall": recall, "diversity": diversity}


def failures(made: Figures, yardstick: Figures) -> tuple[str, ...]:
    """Return why a generator must not be shipped, a line for each reason."""
    found = []
    if made.diversity < COLLAPSED:
        found.append(
            f"collapsed: diversity {made.diversity:.2f} of real pictures', {COLLAPSED:.2f} or more is wanted"
        )
    if made.copied > yardstick.copied + COPIED:
        found.append(
            f"memorised: {made.copied:.0%} of the pictures are near copies of training pictures,"
            f" {yardstick.copied:.0%} of the held-out ones are"
        )
    return tuple(found)


def table(judgement: Judgement) -> str:
    """Return a judgement as a table in Markdown, ready for a model card."""
    made, real = judgement.made, judgement.yardstick
    rows = [
        (f"sliced Wasserstein distance x 1000, {side} px", f"{made.swd[side]:.1f}", f"{real.swd[side]:.1f}")
        for side in made.swd
    ]
    mean = [float(np.mean(list(each.swd.values()))) for each in (made, real)]
    rows += [
        ("the same, mean", f"{mean[0]:.1f}", f"{mean[1]:.1f}"),
        ("precision", f"{made.precision:.2f}", f"{real.precision:.2f}"),
        ("recall", f"{made.recall:.2f}", f"{real.recall:.2f}"),
        ("near copies of training pictures", f"{made.copied:.1%}", f"{real.copied:.1%}"),
        ("diversity, training pictures 1", f"{made.diversity:.2f}", f"{real.diversity:.2f}"),
        ("step of a walk, levels a frame", f"{made.step:.2f}", f"{real.step:.2f}"),
        ("largest step over the median one", f"{made.jump:.2f}", f"{real.jump:.2f}"),
        ("path over the straight way", f"{made.path:.2f}", f"{real.path:.2f}"),
    ]
    head = ["| figure | generated | held-out pictures |", "| --- | --- | --- |"]
    return "\n".join(head + [f"| {name} | {ours} | {yardstick} |" for name, ours, yardstick in rows])
