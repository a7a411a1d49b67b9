"""The synthesis of `models/gan.py` on several engines, from the same weights, to be measured side by side.

Each engine computes one picture at a time on one thread, as on stage, and gives it as the same bytes.
"""

import copy
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.render.generator import session_of
from models import export, gan, precision

Make = Callable[[], NDArray[np.uint8]]  # one picture, (height, width, 3)

CALIBRATION = 12  # feeds: enough for a network of random weights, whose int8 pictures nobody looks at


@dataclass(frozen=True)
class Contender:
    """An engine with a network in it, ready to make a picture, or why it can't be had."""

    engine: str
    precision: str
    make: Make | None
    missing: str = ""


@dataclass(frozen=True)
class Network:
    """A generator's synthesis up to one rung: in PyTorch, and exported as it is played."""

    picture: nn.Module
    feed: dict[str, Tensor]
    fp32: bytes
    int8: bytes

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the inputs as ONNX engines take them."""
        return {name: value.numpy() for name, value in self.feed.items()}


@torch.no_grad()
def network(generator: gan.Generator, side: int) -> Network:
    """Return the synthesis of a generator up to the rung of `side` px, exported in fp32 and in int8."""
    sides = tuple(each for each in generator.shape.sides if 2 * each <= side)
    feeds = export.feeds(generator, sides, CALIBRATION, seed=2)
    feed = {name: torch.from_numpy(value) for name, value in feeds[0].items()}
    picture = export.Picture(generator.synthesis)
    fp32 = graph_of(picture, feed)
    return Network(picture.eval(), feed, fp32, precision.int8(fp32, feeds))


def graph_of(picture: nn.Module, feed: dict[str, Tensor]) -> bytes:
    """Return a module as an ONNX graph with its constants folded, as the export writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.onnx"
        export.write_graph(path, picture, feed, ["image"])
        return precision.folded(path.read_bytes())


def random_generator(side: int) -> gan.Generator:
    """Return a generator of `side` px with random weights; how fast it is does not depend on them."""
    torch.manual_seed(0)
    return gan.Generator(gan.Shape(side)).eval()


# How StyleGAN2 itself is written (Karras et al. 2020, arXiv:1912.04958, section 2.2), and what an export of
# it as it stands contains: the style scales the kernel, the kernel is divided by its norm, and as each
# picture of a batch then has a kernel of its own, the batch becomes groups of one convolution. The picture
# is the same.
class Grouped(nn.Module):
    """A styled convolution as a grouped convolution by modulated kernels."""

    def __init__(self, plain: gan.StyledConvolution) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map x (batch, inputs, H, W) and w (batch, w_dim) to (batch, outputs, H, W)."""
        plain, (batch, _, height, width) = self.plain, x.shape
        kernels = plain.weight[None] * plain.gain * plain.style(w)[:, None, :, None, None]
        norms = gan.HE * torch.rsqrt(kernels.square().sum((2, 3, 4)) + 1e-8)  # (batch, outputs)
        kernels = (kernels * norms[:, :, None, None, None]).flatten(0, 1)
        x = F.conv2d(x.reshape(1, -1, height, width), kernels, padding=1, groups=batch)
        return x.reshape(batch, -1, height, width) + plain.bias[None, :, None, None]


def grouped(picture: nn.Module) -> nn.Module:
    """Return a copy of a network with every styled convolution as a grouped one."""
    copied = copy.deepcopy(picture)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, gan.StyledConvolution):
                setattr(module, name, Grouped(child))
    return copied


def onnx_runtime(graph: bytes, feed: dict[str, NDArray[Any]]) -> Make:
    """Return a graph in ONNX Runtime, with the options of the engine's player."""
    runner = session_of(graph)
    return lambda: runner.run(["image"], feed)[0]


def openvino(graph: bytes, feed: dict[str, NDArray[Any]]) -> Make:
    """Return a graph in OpenVINO, on one thread and told to hurry."""
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    compiled = core.compile_model(core.read_model(graph), "CPU", hints)
    request = compiled.create_infer_request()

    def make() -> NDArray[np.uint8]:
        request.infer(feed, share_inputs=True)
        return np.array(request.get_output_tensor(0).data)

    return make


@cache
def _compiled_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="chladni-")


def pytorch(picture: nn.Module, feed: dict[str, Tensor], compiled: bool = False) -> Make:
    """Return a module in PyTorch on one thread, channels last (faster here than first), compiled or not.

    What is compiled is kept for this process alone: a cache that two fill at once has been seen torn.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", _compiled_folder().name)
    module: Any = copy.deepcopy(picture).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    runner = torch.compile(module) if compiled else module

    def make() -> NDArray[np.uint8]:
        with torch.inference_mode():
            pixels: NDArray[np.uint8] = runner(*feed.values()).numpy()
        return pixels

    return make


def contenders(of: Network) -> Iterator[Contender]:
    """Yield every engine with the network in it: ours first; one that can't be had says why."""
    arrays = of.arrays
    has_openvino = find_spec("openvino") is not None
    lacking = "" if has_openvino else "openvino is not installed (pip install 'chladni[peers]')"
    yield _tried("ours", "fp32", lambda: onnx_runtime(of.fp32, arrays))
    yield _tried("ours", "int8", lambda: onnx_runtime(of.int8, arrays))
    plain = "grouped convolutions, ONNX Runtime"
    yield _tried(plain, "fp32", lambda: onnx_runtime(graph_of(grouped(of.picture), of.feed), arrays))
    yield _tried("PyTorch", "fp32", lambda: pytorch(of.picture, of.feed))
    yield _tried("PyTorch, compiled", "fp32", lambda: pytorch(of.picture, of.feed, compiled=True))
    yield _tried("OpenVINO", "fp32", lambda: openvino(of.fp32, arrays), lacking)
    yield _tried("OpenVINO", "int8", lambda: openvino(of.int8, arrays), lacking)


def _tried(engine: str, kind: str, load: Callable[[], Make], lacking: str = "") -> Contender:
    if lacking:
        return Contender(engine, kind, None, lacking)
    try:
        make = load()
        make()
    except (
        Exception
    ) as error:  # no compiler, a layer that an engine lacks: the others are measured all the same
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Contender(engine, kind, None, lines[0][:120])
    return Contender(engine, kind, make)
