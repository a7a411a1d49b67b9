"""A StyleGAN2-like generator for the stage, with its discriminator.

Designed after Karras et al. 2020 (arXiv:1912.04958), with three changes for real-time play on a CPU: the
convolution kernels are constants (the activations are scaled, not the weights), upsampling is bilinear, and
the noise of each resolution is an input. Each level convolves before it upsamples, so its first convolution
costs a quarter. Every resolution has its head, and the heads add up: an early one shows the same picture.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Channels by resolution. The generator's are chosen for speed (multiples of 16, 0.37 GMAC at 128 px); the
# discriminator never plays, so it may be wider where that is cheap.
GENERATOR_CHANNELS = {4: 128, 8: 128, 16: 128, 32: 96, 64: 48, 128: 16, 256: 16}
DISCRIMINATOR_CHANNELS = {4: 192, 8: 192, 16: 128, 32: 96, 64: 48, 128: 16, 256: 16}

HE = math.sqrt(2)  # keeps the variance through a rectifier (He et al. 2015, arXiv:1502.01852)


@dataclass(frozen=True)
class Shape:
    """What fixes the networks' weights: the picture's side in pixels, the latents, the number of classes."""

    size: int
    classes: int = 0
    z_dim: int = 256
    w_dim: int = 256

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the side of each level in pixels: 4, 8, ..., size."""
        return tuple(2**power for power in range(2, self.size.bit_length()))

    @property
    def num_ws(self) -> int:
        """Return the number of styles: one for each convolution, so one at 4 px, two on each level above."""
        return 2 * len(self.sizes) - 1


def activate(x: Tensor) -> Tensor:
    """Return the leaky ReLU of x; the factor that keeps the variance stands in the weights (HE)."""
    return F.leaky_relu(x, 0.2)


def upsample(x: Tensor) -> Tensor:
    """Return x at twice the size."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def downsample(x: Tensor) -> Tensor:
    """Return x at half the size."""
    return F.avg_pool2d(x, 2)


# Equalised learning rate (Karras et al. 2018, arXiv:1710.10196): weights are drawn from N(0, 1) and scaled by
# He's constant when they are used. Adam's steps have about the same size for every weight, so in this way
# all layers learn equally fast, whatever their fan-in.


class Linear(nn.Module):
    """A linear layer with equalised learning rate; `rate` slows it down further, `gain` scales its output."""

    def __init__(
        self, inputs: int, outputs: int, bias: float = 0.0, gain: float = 1.0, rate: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.gain, self.rate = gain * rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs) to (batch, outputs)."""
        return F.linear(x, self.weight * self.gain, self.bias * self.rate)


class Convolution(nn.Module):
    """A convolution with equalised learning rate that keeps the picture's size."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain, self.padding = HE / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, H, W)."""
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.padding)


# Weight demodulation with constant weights. StyleGAN2 scales input channel i of each kernel by a style s_i
# and divides each output channel by the norm of what results. Convolution is linear, so the s_i may as well
# scale the activations, and the norm, sqrt(sum_i s_i^2 sum_k w_oik^2), divides the output: a small
# matrix product with the squared weights. The kernel stays a constant, and the convolution a plain one.


class StyledConvolution(nn.Module):
    """A convolution whose input channels are weighted by a style; its output is normalised for it."""

    def __init__(self, inputs: int, outputs: int, w_dim: int) -> None:
        super().__init__()
        self.style = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.strength = nn.Parameter(torch.zeros(()))
        self.gain = 1 / math.sqrt(inputs * 9)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map x (batch, inputs, H, W), w (batch, w_dim), noise (batch, 1, H, W) to (batch, outputs, H, W)."""
        weight = self.weight * self.gain
        style = self.style(w)  # (batch, inputs)
        norm = HE * torch.rsqrt(style.square() @ weight.square().sum((2, 3)).t() + 1e-8)  # (batch, outputs)
        x = F.conv2d(x * style[:, :, None, None], weight, padding=1) * norm[:, :, None, None]
        if noise is not None:
            x = x + noise * self.strength
        return activate(x + self.bias[None, :, None, None])


class Head(nn.Module):
    """`toRGB`: a 1 x 1 convolution to three channels, its input weighted by a style."""

    def __init__(self, inputs: int, w_dim: int) -> None:
        super().__init__()
        self.style = Linear(w_dim, inputs, bias=1.0)
        self.colour = Convolution(inputs, 3, 1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x (batch, inputs, H, W) and w (batch, w_dim) to (batch, 3, H, W)."""
        picture: Tensor = self.colour(x * self.style(w)[:, :, None, None])
        return picture


RATE = 0.01  # of the mapping's learning (Karras et al. 2019, arXiv:1812.04948)


class Mapping(nn.Module):
    """The mapping z -> w: a latent on the sphere, with the class embedded beside it, through three layers."""

    def __init__(self, shape: Shape, layers: int = 3) -> None:
        super().__init__()
        self.embedding = Linear(shape.classes, shape.z_dim) if shape.classes else None
        widths = [shape.z_dim * (2 if shape.classes else 1)] + [shape.w_dim] * layers
        self.layers = nn.ModuleList(
            Linear(inputs, outputs, gain=HE, rate=RATE) for inputs, outputs in pairwise(widths)
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map z (batch, z_dim) and a soft one-hot label (batch, classes) to w (batch, w_dim)."""
        x = on_sphere(z)
        if self.embedding is not None:
            x = torch.cat([x, on_sphere(self.embedding(label))], dim=1)
        for layer in self.layers:
            x = activate(layer(x))
        return x


def on_sphere(x: Tensor) -> Tensor:
    """Return x (batch, n) with each row scaled to a mean square of one."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class Level(nn.Module):
    """One resolution of the synthesis: convolve, upsample, convolve, and its head."""

    def __init__(self, inputs: int, outputs: int, w_dim: int) -> None:
        super().__init__()
        self.before = StyledConvolution(inputs, outputs, w_dim)
        self.after = StyledConvolution(outputs, outputs, w_dim)
        self.head = Head(outputs, w_dim)


class Synthesis(nn.Module):
    """The synthesis ws -> picture, one level after another, from a learned constant of 4 x 4.

    Each level has a learned grain to which the noise is added, so that without noise it still has a texture.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = [GENERATOR_CHANNELS[size] for size in shape.sizes]
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.first = StyledConvolution(channels[0], channels[0], shape.w_dim)
        self.first_head = Head(channels[0], shape.w_dim)
        self.levels = nn.ModuleList(
            Level(inputs, outputs, shape.w_dim) for inputs, outputs in pairwise(channels)
        )
        self.grains = nn.ParameterList(torch.randn(1, 1, size, size) for size in shape.sizes)

    def forward(self, ws: Tensor, noise: list[Tensor]) -> list[Tensor]:
        """Map ws (batch, num_ws, w_dim) to the pictures of each level, smallest first, about -1 to 1.

        `noise` has one (batch, 1, side, side) for each level wanted; the synthesis ends where the noise does.
        """
        noise = [grain + each for grain, each in zip(self.grains, noise, strict=False)]
        x: Tensor = self.first(self.constant.expand(len(ws), -1, -1, -1), ws[:, 0], noise[0])
        pictures = [self.first_head(x, ws[:, 0])]
        for number, each in enumerate(noise[1:]):
            level = cast(Level, self.levels[number])
            before, after = ws[:, 2 * number + 1], ws[:, 2 * number + 2]
            x = level.after(upsample(level.before(x, before)), after, each)
            pictures.append(upsample(pictures[-1]) + level.head(x, after))
        return pictures


# Growing. Played coarse to fine, the game must go on as if a new level were not there, and learn from there.
# So the layer that joins it to the rest begins at zero: no fade-in as in progressive growing is needed.


def silence(layer: Convolution) -> None:
    """Set a convolution to zero."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()


class Generator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.mapping = Mapping(shape)
        self.synthesis = Synthesis(shape)

    def grow(self, size: int) -> None:
        """Let the level of `size` px begin from nothing: its head adds zero to the picture below."""
        silence(cast(Level, self.synthesis.levels[self.shape.sizes.index(size) - 1]).head.colour)


class Block(nn.Module):
    """One resolution of the discriminator: convolve, halve, convolve."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.before = Convolution(inputs, inputs, 3)
        self.after = Convolution(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, H / 2, W / 2)."""
        return activate(self.after(downsample(activate(self.before(x)))))


class Discriminator(nn.Module):
    """Tells how real a picture looks; it sees it at every resolution (StyleGAN2's input skips)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        channels = [DISCRIMINATOR_CHANNELS[size] for size in shape.sizes]
        self.from_rgb = nn.ModuleList(Convolution(3, outputs, 1) for outputs in channels)
        self.blocks = nn.ModuleList(Block(inputs, outputs) for outputs, inputs in pairwise(channels))
        self.mix = Convolution(channels[0] + 1, channels[0], 3)
        self.dense = Linear(channels[0] * 16, channels[0], gain=HE)
        self.score = Linear(channels[0], 1)
        self.embedding = Linear(shape.classes, channels[0]) if shape.classes else None

    def forward(self, picture: Tensor, label: Tensor | None = None) -> Tensor:
        """Map pictures (batch, 3, side, side) and labels (batch, classes) to scores (batch, 1).

        With classes, the score is also projected on the class (Miyato and Koyama 2018, arXiv:1802.05637).
        """
        top = picture.shape[-1].bit_length() - 3  # the number of the level with this side
        x = activate(self.from_rgb[top](picture))
        for number in reversed(range(top)):
            picture = downsample(picture)
            x = self.blocks[number](x) + activate(self.from_rgb[number](picture))
        x = activate(self.mix(with_spread(x)))
        x = activate(self.dense(x.flatten(1)))
        score: Tensor = self.score(x)
        if self.embedding is not None:
            score = score + (x * self.embedding(label)).sum(1, keepdim=True) / math.sqrt(x.shape[1])
        return score

    def grow(self, size: int) -> None:
        """Let the level of `size` px begin from nothing: its block adds zero to what the level below sees."""
        silence(cast(Block, self.blocks[self.shape.sizes.index(size) - 1]).after)


def with_spread(x: Tensor, group: int = 4) -> Tensor:
    """Return x with one channel more: the mean standard deviation over groups of the batch.

    It lets the discriminator see a lack of variety (Karras et al. 2018, section 3).
    """
    batch, channels, height, width = x.shape
    group = math.gcd(batch, group)
    grouped = x.float().reshape(group, -1, channels, height, width)
    spread = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # (batch / group,)
    spread = spread.repeat(group)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat([x, spread.to(x.dtype)], dim=1)


def draw_noise(batch: int, sizes: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    """Return noise for each of the levels, (batch, 1, side, side) each, from N(0, 1)."""
    return [torch.randn(batch, 1, size, size, generator=generator) for size in sizes]
