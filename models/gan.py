"""A StyleGAN2-like generator for the stage, with its discriminator and its encoder.

Designed after Karras et al. 2020 (arXiv:1912.04958), changed for real-time play on a CPU: the convolution
kernels are constants (the activations are scaled, not the weights), upsampling is bilinear, noise is an
input, and a picture is twice as large as the features it is made of (a head gives twelve channels, which are
three colours at four places). Every level has its head, and the heads add up: an early one shows the same
picture with less detail.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Channels of the generator by the side of its features; multiples of 16, which the CPU's kernels want. One
# picture of 256 px takes 0.6 GMAC with S and 1.8 with M, one of 512 px 1.1 and 3.0.
PRESETS = {
    "S": {4: 128, 8: 128, 16: 128, 32: 96, 64: 48, 128: 32, 256: 16, 512: 16},
    "M": {4: 512, 8: 384, 16: 256, 32: 192, 64: 96, 128: 48, 256: 32, 512: 16},
}
MODULATED = 64  # px; features above this side have a style no more: they are textures of what is there
VIEW = 64  # px; what discriminator and encoder see, a whole picture made small or a window of a large one
VIEW_CHANNELS = {
    4: 128,
    8: 128,
    16: 96,
    32: 64,
}  # of discriminator and encoder, by the side of their features

HE = math.sqrt(2)  # keeps the variance through a rectifier (He et al. 2015, arXiv:1502.01852)


@dataclass(frozen=True)
class Shape:
    """What fixes the networks' weights: the picture's side in pixels, classes, the preset, the latents."""

    size: int
    classes: int = 0
    preset: str = "S"
    z_dim: int = 64
    w_dim: int = 128

    @property
    def sides(self) -> tuple[int, ...]:
        """Return the side of each level's features in pixels: 4, 8, ..., half the picture's."""
        return tuple(2**power for power in range(2, self.size.bit_length() - 1))

    @property
    def num_ws(self) -> int:
        """Return the number of styles: one at 4 px, two on each level above that has styles."""
        return 2 * sum(side <= MODULATED for side in self.sides) - 1

    @property
    def view(self) -> int:
        """Return the side in pixels of what discriminator and encoder see."""
        return min(VIEW, self.size)


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
    """A 3 x 3 convolution with equalised learning rate that keeps the picture's size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = HE / math.sqrt(inputs * 9)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, H, W)."""
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=1)


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
        self.gain = 1 / math.sqrt(inputs * 9)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x (batch, inputs, H, W) and w (batch, w_dim) to (batch, outputs, H, W)."""
        weight = self.weight * self.gain
        style = self.style(w)  # (batch, inputs)
        norm = HE * torch.rsqrt(style.square() @ weight.square().sum((2, 3)).t() + 1e-8)  # (batch, outputs)
        x = F.conv2d(x * style[:, :, None, None], weight, padding=1)
        return x * norm[:, :, None, None] + self.bias[None, :, None, None]


class Head(nn.Module):
    """`toRGB` at twice the size: four places of three colours out of each place of the features.

    The four begin alike (Aitken et al. 2017, arXiv:1707.02937), or their grid is seen for long.
    """

    def __init__(self, inputs: int, silent: bool) -> None:
        super().__init__()
        self.colours = Convolution(inputs, 12)
        with torch.no_grad():
            first = self.colours.weight[::4] * (0.0 if silent else 0.5)
            self.colours.weight.copy_(first.repeat_interleave(4, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, 3, 2 H, 2 W)."""
        return F.pixel_shuffle(self.colours(x), 2)


# Of the mapping's learning: 0.01 in Karras et al. 2019 (arXiv:1812.04948), who train a hundred times longer
RATE = 0.1


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
    """One level of the synthesis: convolve, upsample, convolve, add noise; and its head.

    The first convolution works at the smaller size, for a quarter of the cost. `w_dim` is 0 without style.
    """

    def __init__(self, inputs: int, outputs: int, w_dim: int, silent: bool) -> None:
        super().__init__()
        pairs = ((inputs, outputs), (outputs, outputs))
        self.before, self.after = (
            StyledConvolution(*pair, w_dim) if w_dim else Convolution(*pair) for pair in pairs
        )
        self.strength = nn.Parameter(torch.zeros(()))
        self.head = Head(outputs, silent)
        self.styled = w_dim > 0

    def forward(self, x: Tensor, ws: list[Tensor], noise: Tensor) -> Tensor:
        """Map x (batch, inputs, H, W), two ws or none, noise (batch, 1, 2 H, 2 W) to twice the size."""
        x = upsample(activate(self.before(x, *ws[:1])))
        return activate(self.after(x, *ws[1:]) + noise * self.strength)


# StyleGAN begins with a constant, so that what lies where must be told by which channels are weighted. A
# long training learns that; a short one shows one composition in all colours (11,000 pictures into one on
# 2,500 paintings). Here w also says at the first 4 x 4 places what is there, as z does in FastGAN (Liu et
# al. 2021, arXiv:2101.04775).


class Synthesis(nn.Module):
    """The synthesis ws -> picture, one level after another, from features of 4 x 4 that follow w."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.view = shape.view
        channels = [PRESETS[shape.preset][side] for side in shape.sides]
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.start = Linear(shape.w_dim, channels[0] * 16)
        nn.init.zeros_(self.start.weight)  # so that a checkpoint from before it goes on as it was
        self.first = StyledConvolution(channels[0], channels[0], shape.w_dim)
        self.first_strength = nn.Parameter(torch.zeros(()))
        self.first_head = Head(channels[0], silent=False)
        # A level above the view joins the game late. Its head begins at zero, so that nothing jumps.
        self.levels = nn.ModuleList(
            Level(inputs, outputs, shape.w_dim if side <= MODULATED else 0, silent=2 * side > shape.view)
            for side, (inputs, outputs) in zip(shape.sides[1:], pairwise(channels), strict=True)
        )

    def forward(
        self, ws: Tensor, noise: list[Tensor], corner: tuple[int, int] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Map ws (batch, num_ws, w_dim) to pictures (batch, 3, side, side), smallest first, about -1 to 1.

        Return the picture of each level, and what each head added to it. `noise` has one (batch, 1, side,
        side) for each level wanted; the synthesis ends where the noise does. With `corner`, pictures above
        the view are windows as large as the noise, and their row and column at the last level before them.
        """
        styles = list(ws.unbind(1))
        x = self.constant + self.start(styles[0]).unflatten(1, self.constant.shape[1:])
        x = activate(self.first(x, styles[0]) + noise[0] * self.first_strength)
        details = [self.first_head(x)]
        pictures = [details[0]]
        for number, each in enumerate(noise[1:]):
            level = cast(Level, self.levels[number])
            picture = pictures[-1]
            if corner is not None and picture.shape[-1] == self.view:
                (top, left), side = corner, each.shape[-1] // 2
                x = x[:, :, top : top + side, left : left + side]
                picture = picture[:, :, 2 * top : 2 * (top + side), 2 * left : 2 * (left + side)]
            x = level(x, styles[2 * number + 1 : 2 * number + 3], each)
            details.append(level.head(x))
            pictures.append(upsample(picture) + details[-1])
        return pictures, details


class Generator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.mapping = Mapping(shape)
        self.synthesis = Synthesis(shape)


class Block(nn.Module):
    """One resolution of the view: convolve, halve, convolve, beside a short cut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.before = Convolution(inputs, inputs)
        self.after = Convolution(inputs, outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, H / 2, W / 2)."""
        y = activate(self.after(downsample(activate(self.before(x)))))
        shorter: Tensor = (y + self.short(downsample(x))) / HE
        return shorter


class View(nn.Module):
    """What discriminator and encoder make of a picture: features of 4 x 4."""

    def __init__(self, side: int) -> None:
        super().__init__()
        sides = [2**power for power in range((side // 2).bit_length() - 1, 1, -1)]
        channels = [VIEW_CHANNELS[each] for each in sides]
        self.first = Convolution(12, channels[0])
        self.blocks = nn.ModuleList(Block(inputs, outputs) for inputs, outputs in pairwise(channels))

    def forward(self, picture: Tensor) -> Tensor:
        """Map pictures (batch, 3, side, side) to (batch, 128, 4, 4)."""
        x = activate(self.first(F.pixel_unshuffle(picture, 2)))
        for block in self.blocks:
            x = block(x)
        return x


class Discriminator(nn.Module):
    """Tells how real a picture of the view's size looks."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = VIEW_CHANNELS[4]
        self.view = View(shape.view)
        self.mix = Convolution(channels + 1, channels)
        self.dense = Linear(channels * 16, channels, gain=HE)
        self.score = Linear(channels, 1)
        self.embedding = Linear(shape.classes, channels) if shape.classes else None

    def forward(self, picture: Tensor, label: Tensor | None = None) -> Tensor:
        """Map pictures (batch, 3, side, side) and labels (batch, classes) to scores (batch, 1).

        With classes, the score is also projected on the class (Miyato and Koyama 2018, arXiv:1802.05637).
        """
        x = activate(self.mix(with_spread(self.view(picture))))
        x = activate(self.dense(x.flatten(1)))
        score: Tensor = self.score(x)
        if self.embedding is not None:
            score = score + (x * self.embedding(label)).sum(1, keepdim=True) / math.sqrt(x.shape[1])
        return score


class Encoder(nn.Module):
    """The encoder of a VAE (Kingma and Welling 2014, arXiv:1312.6114): from a picture to its latent."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.view = View(shape.view)
        self.dense = Linear(VIEW_CHANNELS[4] * 16, 2 * shape.z_dim)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Map pictures (batch, 3, view, view) to mean and log variance of z, (batch, z_dim) each."""
        mean, spread = self.dense(self.view(picture).flatten(1)).chunk(2, dim=1)
        return mean, spread


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


def draw_noise(batch: int, sides: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    """Return noise for levels of the given sides, (batch, 1, side, side) each, from N(0, 1)."""
    return [torch.randn(batch, 1, side, side, generator=generator, device=generator.device) for side in sides]
