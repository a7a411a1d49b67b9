"""The importers against the published code: golden vectors, every container, every rung, bends.

`tests/golden/importers/*.npz` were made with the repositories of the networks' authors
(NVlabs/stylegan2-ada-pytorch d72cc7d, NVlabs/stylegan3 c233a91, rosinality/stylegan2-pytorch bef283a,
lucidrains/lightweight-gan efbec45, and FastGAN-pytorch's models.py) on a CPU, their reference operators and
float32: a small network was built, every weight set to the numbers of the recipe in the file (`draw` in
checkpoints.py; filters, which are designed and not learned, are stored as they were), the network set to
evaluation, and z, w, ws, the noise and the picture kept.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from checkpoints import CANARY, GOLDEN, Golden, nvlabs, safetensors, torch_file

from models import importers, precision, quantise
from models.importers import CheckpointError, Network, parts, relay
from models.importers.folder import look
from models.importers.graph import Graph
from models.importers.network import BEND

CASES = sorted(path.stem for path in GOLDEN.glob("*.npz"))
CLOSE = 1e-4  # mean difference, of the picture's standard deviation; the promise is 1e-3 of its range


def write(folder: Path, golden: Golden, case: str) -> Path:
    """Write the checkpoint of a case the way its trainer does."""
    if case.startswith("stylegan"):
        return nvlabs(folder / "network-snapshot.pkl", golden)
    tensors = golden.tensors()
    if case == "rosinality":
        namespace = argparse.Namespace(size=16, path=Path("pictures"), lr=0.002)
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))]).state_dict()
        return torch_file(folder / "010000.pt", {"g": tensors, "g_ema": tensors, "g_optim": optimizer,
                                                 "args": namespace, "ada_aug_p": 0.3})  # fmt: skip
    if case == "fastgan":
        return torch_file(
            folder / "50000.pth", {"g": {f"module.{n}": t for n, t in tensors.items()}, "d": {}}
        )
    both = {f"{which}.{name}": tensor * (1 if which == "GE" or not tensor.is_floating_point() else 2)
            for which in ("G", "GE") for name, tensor in tensors.items()}  # fmt: skip
    return torch_file(folder / "model_10.pt", {"GAN": both, "version": "1.2.1", "G_scaler": {}})


def run(graph: Graph, feed: dict[str, np.ndarray]) -> np.ndarray:
    """Return what ONNX Runtime makes of the inputs that the graph has."""
    session = onnxruntime.InferenceSession(graph.serialise(), providers=["CPUExecutionProvider"])
    given = {name: feed[name] for name in graph.inputs}
    (output,) = session.run(None, given)
    return output


def feed_of(golden: Golden, network: Network) -> dict[str, np.ndarray]:
    """Return the inputs of the synthesis that the published code had."""
    noises = {
        name: network.grain[name]() if name in network.grain else golden.noise(name, shape)
        for name, shape in network.noises.items()
    }
    bends = {
        f"bend_{layer.name}": np.array([rest for _, rest in BEND], np.float32) for layer in network.layers
    }
    extra = {"transform": golden.arrays["transform"]} if network.transform else {}
    return {"ws": golden.arrays["ws"], **noises, **bends, **extra}


def apart(found: np.ndarray, golden: Golden, name: str = "image") -> float:
    """Return the mean difference from the published code, in its standard deviations."""
    step = int(golden.arrays.get("step", 1))
    wanted = golden.arrays[name]
    return float(np.abs(found[:, :, ::step, ::step] - wanted).mean() / wanted.std())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.mark.parametrize("case", CASES)
def test_mapping_and_synthesis_are_those_of_the_published_code(case: str, folder: Path) -> None:
    golden = Golden(case)
    network = importers.read(write(folder, golden, case))
    inputs = {name: golden.arrays[name] for name in ("z", "label") if name in golden.arrays}
    np.testing.assert_allclose(run(network.mapping(), inputs), golden.arrays["w"], atol=1e-4)
    feed = feed_of(golden, network)
    for height in network.heights:
        name = f"image_{height}" if height != network.heights[0] else "image"
        if name in golden.arrays:
            for plain in (False, True):
                graph = network.synthesis(height, pixels=False, plain=plain)
                assert apart(run(graph, feed), golden, name) < CLOSE
            halved = apart(run(network.synthesis(height, pixels=False, half=True), feed), golden, name)
            assert halved < 0.02  # 35 dB for pictures that fill their range
    assert CANARY not in os.environ


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("stylegan2", "rosinality"))])
def test_what_an_import_is_measured_against_makes_the_same_picture(case: str, folder: Path) -> None:
    golden = Golden(case)
    network = importers.read(write(folder, golden, case))
    assert network.grouped is not None
    graph, feed = network.grouped(network.heights[0]), feed_of(golden, network)
    kernels = {node.input[1] for node in onnx.load_from_string(graph.serialise()).graph.node
               if node.op_type == "Conv"}  # fmt: skip
    assert any(name.startswith("div") for name in kernels)  # of the style, not constants
    ours = run(network.synthesis(network.heights[0]), feed)
    assert np.abs(run(graph, feed).astype(int) - ours).max() <= 1


@pytest.mark.parametrize("case", CASES)
def test_graphs_are_sound_and_pictures_fill_bytes(case: str, folder: Path) -> None:
    golden = Golden(case)
    network = importers.read(write(folder, golden, case))
    feed = feed_of(golden, network)
    for height in (network.heights[0], network.heights[-1]):
        graph = network.synthesis(height)
        onnx.checker.check_model(onnx.load_from_string(graph.serialise()), full_check=True)
        picture = run(graph, feed)
        assert picture.shape == (height, height, 3)
        assert picture.dtype == np.uint8
        exact = run(network.synthesis(height, pixels=False), feed)[0]
        if len(exact) == 3:
            low = 0.0 if case.startswith("lightweight") else -1.0
            levels = (exact.transpose(1, 2, 0) - low) / (1 - low) * 255 + 0.5
            assert np.abs(levels.clip(0, 255).astype(np.uint8).astype(int) - picture).max() <= 1
    assert network.style_groups["coarse"][0] == 0
    assert network.style_groups["fine"][1] == network.num_ws
    assert set(network.grain) <= set(network.noises)


@pytest.mark.parametrize("case", ["stylegan2-skip", "stylegan3-t", "fastgan", "lightweight-gan"])
def test_a_bend_at_rest_changes_nothing_and_each_number_of_it_something(case: str, folder: Path) -> None:
    golden = Golden(case)
    network = importers.read(write(folder, golden, case))
    layer = network.layers[2].name
    feed = feed_of(golden, network)
    plain = run(network.synthesis(network.heights[0], pixels=False), feed)
    bent = network.synthesis(network.heights[0], pixels=False, bends=(layer,))
    session = onnxruntime.InferenceSession(bent.serialise(), providers=["CPUExecutionProvider"])
    rest = feed[f"bend_{layer}"]
    for number in (None, *range(len(BEND))):
        knobs = rest.copy()
        if number is not None:
            knobs[number] += 0.5
        given = {name: feed[name] for name in bent.inputs} | {f"bend_{layer}": knobs}
        (picture,) = session.run(None, given)
        assert np.array_equal(picture, plain) == (number is None)


def test_a_bend_turns_and_moves_as_it_says() -> None:
    graph = Graph("bent")
    x = graph.input("x", 1, 4, 8, 8)
    graph.output(importers.parts.bend(graph, x, "b8", 4, 8), "image", "float32", 1, 4, 8, 8)
    picture = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    names = [name for name, _ in BEND]

    def bent(**moved: float) -> np.ndarray:
        knobs = np.array([moved.get(name, rest) for name, rest in BEND], np.float32)
        return run(graph, {"x": picture, "bend_b8": knobs})

    assert names[:5] == ["scale", "shift", "rotate", "across", "down"]
    np.testing.assert_allclose(bent(scale=2.0, shift=0.5), 2 * picture + 0.5, atol=1e-5)
    np.testing.assert_allclose(bent(rotate=90.0), np.rot90(picture, axes=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(bent(across=0.25)[..., 2:], picture[..., :-2], atol=1e-5)
    np.testing.assert_allclose(bent(down=0.25)[:, :, 2:], picture[:, :, :-2], atol=1e-5)
    silent = bent(suppress_2=1.0)
    assert not silent[:, 1].any()
    np.testing.assert_allclose(silent[:, [0, 2, 3]], picture[:, [0, 2, 3]], atol=1e-5)


def test_every_container_of_one_network_gives_the_same_graph(folder: Path) -> None:
    golden = Golden("rosinality")
    tensors = golden.tensors()
    average = torch.arange(24.0)
    files = {
        "zip": torch_file(folder / "a.pt", {"g_ema": {n: t.half().float() for n, t in tensors.items()}}),
        "before 1.6": torch_file(
            folder / "b.pt",
            {"g_ema": {n: t.half().double() for n, t in tensors.items()}, "latent_avg": average},
            legacy=True,
        ),
        "float16": torch_file(folder / "c.pt", {n: t.half() for n, t in tensors.items()}),
    }
    networks = {name: importers.read(path) for name, path in files.items()}
    written = {name: network.synthesis(4).serialise() for name, network in networks.items()}
    assert written["before 1.6"] == written["float16"] == written["zip"]
    assert {name for name, network in networks.items() if network.w_avg is not None} == {"before 1.6"}
    assert np.array_equal(networks["before 1.6"].w_avg, average.numpy())
    bfloat = importers.read(torch_file(folder / "d.pt", {n: t.bfloat16() for n, t in tensors.items()}))
    assert apart(run(bfloat.synthesis(16, pixels=False), feed_of(golden, bfloat)), golden) < 0.1


def test_weights_without_attributes_are_enough(folder: Path) -> None:
    for case in ("stylegan2-skip", "stylegan3-r-classes"):
        golden = Golden(case)
        network = importers.read(safetensors(folder / f"{case}.safetensors", golden))
        feed = feed_of(golden, network)
        assert apart(run(network.synthesis(network.heights[0], pixels=False), feed), golden) < CLOSE


def test_lower_rungs_are_the_lower_heads(folder: Path) -> None:
    golden = Golden("stylegan2-skip")
    network = importers.read(write(folder, golden, "stylegan2-skip"))
    assert network.heights == (32, 16, 8, 4)
    feed = feed_of(golden, network)
    pictures = [run(network.synthesis(height, pixels=False), feed) for height in network.heights]
    for large, small in pairwise(pictures):
        assert small.shape[2] * 2 == large.shape[2]
        shrunk = large.reshape(1, 3, small.shape[2], 2, small.shape[2], 2).mean((3, 5))
        assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.2
    assert importers.read(write(folder, Golden("stylegan2-orig-grey"), "stylegan2-orig")).heights == (16,)
    for asked in ({"height": 20}, {"height": 32, "bends": ("b64",)}):
        with pytest.raises(CheckpointError):
            network.synthesis(**asked)


def test_a_lower_rung_is_quantised_by_what_the_best_one_showed(folder: Path) -> None:
    golden = Golden("stylegan2-skip-clamp-64")
    network = importers.read(write(folder, golden, "stylegan2-skip-clamp-64"))
    feed = feed_of(golden, network)
    best = network.synthesis(64, plain=True)
    (picture,), limits = look(best, folder, [{name: feed[name] for name in best.inputs}], watched=True)
    assert np.array_equal(picture, run(best, feed))
    assert not (folder / "looking.onnx").exists()
    for height in (64, 32):
        plain = network.synthesis(height, plain=True)
        known = quantise.ranges(["x"], [[0.0, 1.0]])
        same = plain.rewritten(partial(quantise.quantised, limits=known))
        assert np.array_equal(run(same, feed), run(plain, feed))
        twin = plain.rewritten(partial(quantise.quantised, limits=limits))
        kernels = onnx.load_from_string(twin.serialise()).graph.initializer
        assert sum(len(each.dims) == 4 and each.data_type == onnx.TensorProto.INT8 for each in kernels) > 2
        assert precision.apart([run(plain, feed)], [run(twin, feed)]).psnr_db > 30


def test_ranges_of_two_rungs_are_as_wide_as_both() -> None:
    one = quantise.ranges(["a", "b"], [[1.0, 2.0, -3.0, -1.0], [-1.0, 1.0, -2.0, -1.0]])
    assert one == {"a": (-1.0, 2.0), "b": (-3.0, 0.0)}
    assert quantise.united(one, {"a": (-0.5, 1.0), "b": (-1.0, 4.0), "c": (0.0, 1.0)}) == {
        "a": (-1.0, 2.0),
        "b": (-3.0, 4.0),
        "c": (0.0, 1.0),
    }


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is in memory")
def test_what_was_read_of_a_checkpoint_does_not_stay_in_memory(tmp_path: Path) -> None:
    path = torch_file(tmp_path / "a.pt", {"x": torch.ones(8 << 20)})
    checkpoint = importers.open_checkpoint(path)
    assert checkpoint.data["x"].array().sum() == 8 << 20
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.endswith(str(path)))
    resident_kb = int(next(line for line in lines if line.startswith("Rss:")).split()[1])
    assert resident_kb < 1024


CHANGES: dict[str, tuple[Callable[[Golden], Any], str]] = {
    "missing": (lambda g: g.weights.pop("synthesis.b16.conv0.bias"), "synthesis.b16.conv0.bias is missing"),
    "left over": (lambda g: g.weights.update({"synthesis.b16.extra": np.zeros(2, np.float32)}), "b16.extra"),
    "misshapen": (
        lambda g: g.weights.update({"synthesis.b8.conv1.bias": np.zeros(7, np.float32)}),
        "synthesis.b8.conv1.bias has the shape (7,), (32,) would be right",
    ),
    "unknown activation": (
        lambda g: g.attributes.update({"synthesis.b8.conv1": {"activation": "mish"}}),
        "'mish'",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_do_not_fit_are_named(change: str, tmp_path: Path) -> None:
    golden = Golden("stylegan2-skip")
    alter, words = CHANGES[change]
    alter(golden)
    with pytest.raises(CheckpointError) as caught:
        importers.read(nvlabs(tmp_path / "a.pkl", golden))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_importing_needs_no_torch(tmp_path: Path) -> None:
    path = write(tmp_path, Golden("stylegan2-skip"), "stylegan2-skip")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from models import importers\n"
        f"network = importers.read(Path({str(path)!r}))\n"
        f"network.synthesis(32).write(Path({str(tmp_path / 'a.onnx')!r}))\n"
    )
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)
    network = importers.read(path)
    assert (tmp_path / "a.onnx").read_bytes() == network.synthesis(32).serialise()


def test_minimal_filtering_is_the_convolution() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 130, 16, 16)).astype(np.float32)
    weight = (rng.standard_normal((128, 130, 3, 3)) / np.sqrt(9 * 130)).astype(np.float32)
    found = []
    for plain in (False, True):
        graph = Graph("convolution")
        value = importers.parts.convolve(graph, graph.input("x", 1, 130, 16, 16), "c", lambda: weight,
                                         (130, 128), 16, plain)  # fmt: skip
        graph.output(value, "y", "float32", 1, 128, 16, 16)
        found.append(run(graph, {"x": x}))
    assert 0 < np.abs(found[0] - found[1]).max() < 1e-4


def test_a_large_picture_is_filtered_in_strips_without_a_seam() -> None:
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((128, 128, 3, 3)).astype(np.float32)
    picture = rng.standard_normal((1, 128, 80, 80)).astype(np.float32)
    found = []
    for plain in (False, True):
        graph = Graph("strips")
        x = graph.input("x", *picture.shape)
        graph.output(
            parts.convolve(graph, x, "c", lambda: weight, (128, 128), 80, plain),
            "y",
            "float32",
            *picture.shape,
        )
        assert (b"Slice" in graph.serialise()) != plain
        found.append(run(graph, {"x": picture}))
    assert np.abs(found[0] - found[1]).max() < 1e-4 * np.abs(found[1]).max()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("case", ["stylegan2-skip-clamp-64", "rosinality"])
def test_a_graph_run_part_by_part_gives_what_it_gives_as_one(case: str, half: bool, folder: Path) -> None:
    golden = Golden(case)
    network = importers.read(write(folder, golden, case))
    bent = network.layers[-2].name
    graph = network.synthesis(network.heights[0], bends=(bent,), half=half)
    feed = feed_of(golden, network)
    feeds = [{**feed, f"bend_{bent}": np.array([2.0, *(rest for _, rest in BEND[1:])], np.float32)}, feed]
    path = folder / "whole.onnx"
    graph.write(path)
    found, best_s = relay.run(path, graph, feeds, optimised=False)
    assert len(graph.parts()) == len(network.heights) > 2
    assert best_s > 0
    for given, each in zip(feeds, found, strict=True):
        whole = precision.session(path, optimised=False).run(
            None, {name: given[name] for name in graph.inputs}
        )
        assert list(each) == ["image"]
        apart = np.abs(each["image"].astype(int) - whole[0])
        assert apart.max() <= int(half)  # a seam rounds to fp16, within a graph nothing need
    assert not np.array_equal(found[0]["image"], found[1]["image"])
    assert not list(folder.glob("tmp*"))
