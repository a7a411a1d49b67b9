"""What the judgement sees of a picture: numbers from fixed filters, so that nothing has to be downloaded.

Two spaces. `Texture` tells how a picture is painted: the energy of oriented wavelets, place by place.
`layout` tells what is where: a thumbnail. What they see, measured at 64 px on the impressionists that the
README names, 400 held-out pictures against 400 others: precision and recall in `Texture`, and in `layout` the
distance to the nearest of the others (held-out pictures': 1) and to that of the same set (the others': 1).

    held-out pictures     0.79 0.84  1.00 0.98  | noise, 15 levels      0.23 0.00  1.00 0.99
    blurred, sigma 1 px   0.13 0.03  0.97 0.93  | contrast x 0.6        0.50 0.15  0.76 0.59
    grey                  0.00 0.00  0.94 0.82  | red + 25, blue - 25   0.59 0.75  1.05 0.97
    16 tiles shuffled     0.66 0.28  1.20 1.19  | 50 pictures repeated  0.87 0.00  1.03 0.03
    upside down           0.54 0.58  1.17 0.98  | copies of the others  1.00 1.00  0.03 1.00

So `layout` finds copies and collapse whatever the sharpness, `Texture` all the rest. Features of a random
convolutional network gave the blurred 0.74 and 0.83, the noisy 0.86 and 0.75, and so did not tell them apart
from held-out pictures. On maps of planets the order is the same, with less between the ends.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]  # (count, side, side, 3), RGB
Points = NDArray[np.float32]  # (count, dimensions)

SIDE = 64  # px: what is finer is judged by the sliced Wasserstein distance
THUMBNAIL = 16  # px
ORIENTATIONS = 4
WAVELENGTH = 4.0  # px, on each octave from 64 to 8 px
GRID = 4  # energies are pooled over 4 x 4 places, and over all
FLOOR = 0.01  # of an energy, a hundredth of the range: what is fainter counts as nothing
LOW_PASS = 3.0  # weight of the colours against one octave's energies
# Light, red against green, yellow against blue
_OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (1 / 2, -1 / 2, 0), (1 / 4, 1 / 4, -1 / 2))
_BATCH = 100


def _wavelets() -> Tensor:
    """Return Gabor wavelets, an even and an odd one for each orientation: (2 x ORIENTATIONS, 1, 7, 7)."""
    kernels = []
    for number in range(ORIENTATIONS):
        for phase in (0.0, np.pi / 2):
            kernel = cv2.getGaborKernel((7, 7), 2.0, number * np.pi / ORIENTATIONS, WAVELENGTH, 1.0, phase)
            kernel -= kernel.mean()
            kernels.append(kernel / np.linalg.norm(kernel))
    return torch.from_numpy(np.stack(kernels)).float()[:, None]


def resized(pixels: Pixels, side: int) -> Pixels:
    """Return pictures at `side` px, averaged over areas."""
    if pixels.shape[1] == side:
        return pixels
    return np.stack([cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA) for each in pixels])


# The first layer of a scattering transform (Bruna and Mallat 2013, arXiv:1203.1513): convolve with wavelets,
# take the modulus, average. It keeps the energy of each orientation and octave and forgets where exactly the
# strokes lie. The logarithm makes it see ratios, as the eye does: half the detail lost is as far as half the
# contrast lost. What is finer than the finest wavelet (checkerboards, grain) is the high-pass residue.
@torch.no_grad()
def _energies(pixels: Pixels) -> list[Tensor]:
    """Return the groups of features of pictures at SIDE px, (count, features of the group) each."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    x = torch.einsum("kc,bchw->bkhw", torch.tensor(_OPPONENT), x)
    wavelets = _wavelets()
    groups: list[Tensor] = []
    while x.shape[-1] >= 8:
        count, _, height, width = x.shape
        planes = F.pad(x.reshape(-1, 1, height, width), [3] * 4, mode="reflect")
        pairs = F.conv2d(planes, wavelets).reshape(-1, ORIENTATIONS, 2, height, width)
        moduli = (pairs.square().sum(2) + 1e-8).sqrt().reshape(count, -1, height, width)
        if not groups:
            around = F.avg_pool2d(F.pad(x, [1] * 4, mode="reflect"), 3, 1)
            moduli = torch.cat([moduli, (x - around).abs()], dim=1)
        pooled = (F.adaptive_avg_pool2d(moduli, GRID).flatten(1), moduli.mean((2, 3)), moduli.std((2, 3)))
        groups += [torch.log(each + FLOOR) for each in pooled]
        x = F.avg_pool2d(x, 2)
    return [*groups, F.adaptive_avg_pool2d(x, GRID).flatten(1), x.mean((2, 3))]


class Texture:
    """The texture space of a collection: its features standardised by `known`, each group of equal weight."""

    def __init__(self, known: Pixels) -> None:
        groups = self._groups(known)
        self._means = [group.mean(0) for group in groups]
        weights = [1.0] * (len(groups) - 2) + [LOW_PASS, 1.0]
        self._scales = [
            np.sqrt(weight / group.shape[1]) / (group.std(0) + 1e-6)
            for weight, group in zip(weights, groups, strict=True)
        ]

    @staticmethod
    def _groups(pixels: Pixels) -> list[Points]:
        small = resized(pixels, SIDE)
        parts = [_energies(small[start : start + _BATCH]) for start in range(0, len(small), _BATCH)]
        return [torch.cat(group).numpy() for group in zip(*parts, strict=True)]

    def __call__(self, pixels: Pixels) -> Points:
        """Return the points of pictures."""
        groups = zip(self._groups(pixels), self._means, self._scales, strict=True)
        return np.concatenate([(group - mean) * scale for group, mean, scale in groups], axis=1)


def layout(pixels: Pixels) -> Points:
    """Return the layout points of pictures, in levels of 255."""
    small = resized(pixels, THUMBNAIL).reshape(len(pixels), -1).astype(np.float32)
    return small / np.float32(np.sqrt(small.shape[1]))


def distances(one: Points, other: Points) -> NDArray[np.float32]:
    """Return the Euclidean distance of each point of one set to each of the other, (of one, of other)."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    found: NDArray[np.float32] = np.sqrt(np.maximum(squares, 0))
    return found
