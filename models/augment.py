"""Differentiable augmentation for small collections of pictures (Zhao et al. 2020, arXiv:2006.10738).

Real and generated pictures pass through the same random changes before the discriminator sees them, so that
it cannot learn the few real ones by heart, and the generator is not taught the changes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures (batch, 3, side, side) with colour, place and a patch of each changed at random."""
    return cut_out(shift(recolour(pictures, generator), generator), generator)


def recolour(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return x with brightness moved by up to 0.5, saturation and contrast scaled by up to 2 and 1.5."""
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, generator=generator, device=x.device)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    mean: Tensor = x.mean((1, 2, 3), keepdim=True)
    changed: Tensor = (x - mean) * (contrast + 0.5) + mean
    return changed


def shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return x with each picture moved by up to an eighth of its side, black where nothing was."""
    batch, channels, side, _ = x.shape
    most = side // 8
    x = F.pad(x, [most] * 4)
    moves = torch.randint(0, 2 * most + 1, (2, batch, 1), generator=generator, device=x.device)
    down, right = moves + torch.arange(side, device=x.device)
    x = x.gather(2, down[:, None, :, None].expand(-1, channels, -1, side + 2 * most))
    return x.gather(3, right[:, None, None, :].expand(-1, channels, side, -1))


def cut_out(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return x with a square of half the side blackened somewhere, partly outside at times."""
    side = x.shape[-1]
    middle = torch.randint(0, side + 1, (2, len(x), 1), generator=generator, device=x.device)
    rows, columns = (torch.arange(side, device=x.device) - middle).abs() < side // 4  # (batch, side) each
    whole: Tensor = ~(rows[:, None, :, None] & columns[:, None, None, :])
    return x * whole
