"""Checkpoints of rosinality's stylegan2-pytorch, read into the StyleGAN2 of stylegan2.py.

https://github.com/rosinality/stylegan2-pytorch, `model.py`: the same network as NVlabs' under other names,
without classes and without clamping. Its checkpoints hold `g_ema`, and `latent_avg` where they were
converted from TensorFlow; a training checkpoint has none, and the average is estimated.
"""

from dataclasses import replace
from math import sqrt

from models.importers import parts, stylegan2
from models.importers.network import Network
from models.importers.parts import Floats, Linear
from models.importers.stylegan2 import Block, Convolution, Head, Synthesis
from models.importers.weights import Fetch, Weights

RATE = 0.01  # learning rate multiplier of the mapping: lr_mlp in model.py


def read(weights: Weights) -> Network:
    """Return the network of a checkpoint of rosinality's generator."""
    w_dim = weights.shape("conv1.conv.modulation.weight")[1]
    count = len(weights.names(r"to_rgbs\.\d+\.conv\.weight"))
    if count >= stylegan2.MOST_BLOCKS:
        raise weights.error(f"it has {count + 1} resolutions; at most {stylegan2.MOST_BLOCKS} are read")
    dense = tuple(
        _linear(weights, f"style.{number}", w_dim, w_dim, RATE)
        for number in range(1, 1 + len(weights.names(r"style\.\d+\.weight")))
    )
    grain: dict[str, Fetch] = {}
    first = weights.shape("input.input")[1]
    blocks = [_block(weights, 0, first, w_dim, grain)]
    for number in range(1, count + 1):
        blocks.append(_block(weights, number, blocks[-1].convolutions[-1].outputs, w_dim, grain))
    raw = weights.take("input.input", 1, first, 4, 4)
    synthesis = Synthesis(lambda: raw()[0], tuple(blocks), 3, w_dim, 2 * count + 2)
    w_avg = weights.take("latent_avg", w_dim) if "latent_avg" in weights else None
    mapping = parts.MappingLayers(w_dim, w_dim, 0, None, dense)
    weights.ignore(r".*\.kernel")
    weights.finish("rosinality's StyleGAN2")
    return stylegan2.network("StyleGAN2 (rosinality)", synthesis, mapping, w_avg, grain, {"clamp": None})


def _block(weights: Weights, number: int, inputs: int, w_dim: int, grain: dict[str, Fetch]) -> Block:
    """Return the block of 4 * 2 ** number px."""
    side = 4 * 2**number
    names = ["conv1"] if number == 0 else [f"convs.{2 * number - 2}", f"convs.{2 * number - 1}"]
    convolutions = []
    for place, name in enumerate(names):
        _, outputs, _, size, _ = weights.shape(f"{name}.conv.weight")
        index = max(0, 2 * number - 1) + place
        noise = f"noise_b{side}_conv{place if number else 1}"
        if f"noises.noise_{index}" in weights:
            grain[noise] = weights.take(f"noises.noise_{index}", 1, 1, side, side)
        convolutions.append(
            Convolution(
                f"b{side}.conv{place if number else 1}",
                _linear(weights, f"{name}.conv.modulation", w_dim, inputs),
                _weight(weights, f"{name}.conv.weight", outputs, inputs, size),
                weights.take(f"{name}.activate.bias", outputs), inputs, outputs, size, side,
                up=place == 0 and number > 0, noise=noise, strength=weights.number(f"{name}.noise.weight"),
                activation="lrelu", gain=1.0, clamp=None,
            )
        )  # fmt: skip
        inputs = outputs
    name = f"to_rgbs.{number - 1}" if number else "to_rgb1"
    raw = weights.take(f"{name}.bias", 1, 3, 1, 1)
    scaled = _linear(weights, f"{name}.conv.modulation", w_dim, inputs)
    head = Head(
        f"b{side}.torgb",
        replace(scaled, gain=scaled.gain / sqrt(inputs), bias_gain=1 / sqrt(inputs)),
        _weight(weights, f"{name}.conv.weight", 3, inputs, 1),
        lambda: raw().reshape(3),
        None,
    )
    kernels = [_kernel(weights, f"{each}.kernel") for each in (f"{names[0]}.conv.blur", f"{name}.upsample")]
    return Block(side, tuple(convolutions), head, None, *kernels)


def _kernel(weights: Weights, name: str) -> Floats:
    """Return a filter, which the file has with its gain, with a sum of one."""
    kernel = stylegan2.read_kernel(weights, name)
    total = kernel.sum()
    if not total > 0:
        raise weights.error(f"{name} adds up to {total}, which is no filter")
    even: Floats = kernel / total
    return even


def _linear(weights: Weights, name: str, inputs: int, outputs: int, rate: float = 1.0) -> Linear:
    bias = weights.take(f"{name}.bias", outputs)
    return Linear(name, weights.take(f"{name}.weight", outputs, inputs), bias, rate / sqrt(inputs), rate)


def _weight(weights: Weights, name: str, outputs: int, inputs: int, size: int) -> Fetch:
    """Return a convolution's weights without their leading dimension of one."""
    raw = weights.take(name, 1, outputs, inputs, size, size)
    return lambda: raw()[0]
