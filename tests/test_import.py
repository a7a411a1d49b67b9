"""Imports, from the file to the show: any ONNX generator or image network, and StyleGAN's snapshots."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import psutil
import pytest

from engine import importing, library, offline
from engine.core.parameters import BEND, NETWORKS
from engine.recording import read
from engine.render.generator import Generator, plane
from engine.render.networks import Networks
from models import manifest, providers
from models.importers import check
from models.importers.network import CheckpointError
from models.importers.roles import Hints, Question, Roles, work_out
from tests.checkpoints import Golden, nvlabs
from tests.networks import Build, generator, image_network
from tests.staged import until
from tests.test_generator import JOB
from tests.test_swap import Osc, perform

ROOT = Path(__file__).parent.parent
LABEL = (0.0, 0.0, 1.0, *[0.0] * 13)


def roles(model: onnx.ModelProto, **hints: object) -> Roles:
    return work_out(check.parse(model.SerializeToString()), Hints(**hints))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (generator(), {"latent": "z", "layout": "nchw", "range": (-1.0, 1.0), "channels": 3, "height": 32}),
        (generator(last="Sigmoid", nhwc=True), {"layout": "nhwc", "range": (0.0, 1.0), "width": 32}),
        (generator(last="bytes", nhwc=True), {"range": (0.0, 255.0), "layout": "nhwc"}),
        (generator(last=""), {"range": (-1.0, 1.0)}),
        (generator(z="input_3", latent=(1, 16, 1, 1)), {"latent": "input_3"}),
        (generator(latent=("batch", 16)), {"latent": "z"}),
        (generator(latent=(1, 4, 16)), {"latent": "z"}),
        (generator(channels=1), {"channels": 1}),
        (generator(label="y", psi="truncation_psi", noise="n0"),
         {"label": "y", "psi": "truncation_psi", "noises": ("n0",), "latent": "z"}),
        (image_network(), {"picture": "input", "latent": "", "range": (0.0, 1.0), "height": 32}),
        (image_network(levels=255.0), {"range": (0.0, 255.0)}),
        (image_network("side", 2), {"picture": "input", "height": 512}),
    ],
)  # fmt: skip
def test_roles_are_worked_out(model: onnx.ModelProto, expected: dict[str, object]) -> None:
    found = roles(model)
    assert {name: getattr(found, name) for name in expected} == expected


def two_vectors() -> onnx.ModelProto:
    build = Build()
    x = build.node("Add", build.input("style", (1, 16)), build.input("content", (1, 16)))
    x = build.node(
        "Reshape", build.node("MatMul", x, build.weight(16, 3 * 16 * 16)), build.constant([1, 3, 16, 16])
    )
    build.node("Tanh", x, to="image")
    build.output("image", None)
    return build.model()


def test_what_stays_open_is_asked_and_an_answer_settles_it() -> None:
    with pytest.raises(Question, match=r"--latent style \| content") as asked:
        roles(two_vectors())
    assert asked.value.answers == ("style", "content")
    with pytest.raises(CheckpointError, match="there are: style, content"):
        roles(two_vectors(), latent="neither")
    found = roles(two_vectors(), latent="content")
    assert (found.latent, found.noises) == ("content", ("style",))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (image_network(batch=1, channels=1), "one channel of one picture"),
        (generator(latent=(1, "n")), "open side"),
    ],
)
def test_what_can_not_be_played_is_refused(model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        roles(model)


def test_a_picture_that_no_latent_moves_is_refused() -> None:
    model = generator()
    model.graph.initializer[1].raw_data = bytes(len(model.graph.initializer[1].raw_data))
    with pytest.raises(CheckpointError, match="same for different"):
        roles(model)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a generator that has everything, and an image network twice as large."""
    folder = tmp_path_factory.mktemp("models")
    files = {
        "full": generator(label="label", psi="psi", noise="grain", random=True, opset=11),
        "twice": image_network(32, 2),
        "grey": image_network(32, channels=1, batch="n"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHLADNI_MODELS", str(folder / "models"))
        for name, model in files.items():
            path = folder / f"{name}.onnx"
            onnx.save(model, path)
            wanted = (
                ("fp16",) if name == "full" else ("int8", "fp16")
            )  # the CPU plays int8 where there is one
            request = importing.Request(path, name, precisions=wanted)
            importing.run(request, lambda _: None, lambda share, what: None)
    return folder / "models"


def test_an_imported_generator_shows_what_the_network_makes(models: Path) -> None:
    played = Generator(models / "full", "cpu")
    m = played.manifest
    assert (m.z_dim, m.w_dim, m.classes) == (16, 21, ("0", "1", "2", "3", "4"))
    assert set(m.rungs[0].inputs) == {"ws", "psi", "noise_00", "noise_01"}
    job = replace(JOB, label=LABEL, noise=0.0, psi=0.8)
    theirs = onnxruntime.InferenceSession(
        generator(label="label", psi="psi", noise="grain").SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    z = played.styles(job)[0, 0, :16]
    feed = {
        "z": z[None], "label": np.eye(5, dtype=np.float32)[[2]], "psi": np.float32([0.8]),
        "grain": np.zeros((1, 1, 32, 32), np.float32),
    }  # fmt: skip
    (picture,) = theirs.run(None, feed)
    expected = ((picture[0].transpose(1, 2, 0) + 1.0) * 127.5).clip(0, 255)
    assert np.abs(played.frame(job).astype(float) - expected).max() <= 1.0
    assert np.abs(played.frame(replace(job, noise=1.0)).astype(float) - expected).max() > 5.0
    assert np.array_equal(played.frame(replace(job, noise=1.0)), played.frame(replace(job, noise=1.0)))
    assert np.abs(played.frame(replace(job, label=(1.0,))).astype(float) - expected).max() > 5.0
    assert np.abs(played.frame(replace(job, psi=0.1)).astype(float) - expected).max() > 5.0


def test_an_import_has_its_sheet_its_card_and_its_errors(models: Path) -> None:
    found = manifest.load(models / "full")
    assert isinstance(found, manifest.Generator)
    sheet = cv2.imread(str(models / "full" / "contact.png"))
    assert sheet.shape == (128, 128, 3)
    assert sheet.std() > 5.0
    assert all(version.psnr_db or version.precision == "fp32" for version in found.rungs[0].versions)
    assert {version.precision for version in found.rungs[0].versions} >= {"fp32", "fp16"}
    card = (models / "full" / "card.md").read_text()
    assert "full.onnx (SHA-256 " in card
    assert "dB" in card


def test_an_image_network_plays_at_its_own_size_and_by_its_strength(models: Path) -> None:
    networks = Networks([models / "twice", models / "grey"], "cpu")
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[8:24, 8:24] = (255, 128, 0)
    assert np.array_equal(networks.apply(pixels, (0.0,) * NETWORKS), pixels)
    whole = networks.apply(pixels, (1.0, 0.0))
    assert whole.shape == (64, 64, 3)
    assert np.abs(whole[32, 32].astype(int) - (0, 127, 255)).max() <= 1  # upside down in its values
    assert whole[0, 0].min() == 255
    half = networks.apply(pixels, (0.5, 0.0))
    assert np.abs(half[32, 32].astype(int) - 128).max() <= 2
    grey = networks.apply(pixels, (0.0, 1.0))
    assert np.abs(grey[16, 16].astype(int) - (0, 127, 255)).max() <= 1  # each colour by itself
    assert networks.expected_us((0.0, 1.0)) == networks.best_us[1] > 0.0
    assert networks.expected_us((0.0,) * NETWORKS) == 0.0


def chladni(models: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine", *map(str, arguments)], capture_output=True, text=True, timeout=90,
        cwd=ROOT, stdin=subprocess.DEVNULL, env=os.environ | {"CHLADNI_MODELS": str(models), "DISPLAY": ""},
    )  # fmt: skip


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    onnx.save(generator(label="label"), tmp_path / "g.onnx")
    told = chladni(tmp_path / "models", "import", tmp_path / "g.onnx", "--name", "g", "--dry-run")
    assert told.returncode == 0, told.stderr
    for line in ("ONNX", "32 px", "classes", "nchw", "-1 to 1"):
        assert line in told.stdout
    assert not (tmp_path / "models").exists()


def test_names_in_a_file_reach_the_terminal_as_text_and_no_more(tmp_path: Path) -> None:
    onnx.save(generator(z="z\x1b[2J\n\u202e"), tmp_path / "g.onnx")
    told = chladni(tmp_path / "models", "import", tmp_path / "g.onnx", "--name", "g", "--dry-run")
    assert "latent                   z [2J" in told.stdout
    assert all(line.isprintable() for line in told.stdout.splitlines())
    (tmp_path / "a\nb.pkl").write_bytes(b"\x80\x04" + bytes(20))
    failed = chladni(tmp_path / "models", "import", tmp_path / "a\nb.pkl", "--name", "g")
    assert failed.stderr.count("\n") == 1


def test_with_nobody_to_ask_the_options_are_named(tmp_path: Path) -> None:
    onnx.save(two_vectors(), tmp_path / "g.onnx")
    failed = chladni(tmp_path / "models", "import", tmp_path / "g.onnx", "--name", "g")
    assert failed.returncode == 1
    assert "which input takes the latents?; say --latent style | content" in failed.stderr
    assert failed.stderr.count("\n") == 1
    done = chladni(
        tmp_path / "models", "import", tmp_path / "g.onnx", "--name", "g", "--latent", "style", "--range=0,1",
        "--precisions", "fp32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = manifest.load(tmp_path / "models" / "g")
    assert isinstance(found, manifest.Generator)
    assert [version.precision for version in found.rungs[0].versions] == ["fp32"]


def test_a_label_of_whole_numbers_has_as_many_classes_as_its_table(tmp_path: Path) -> None:
    build = Build()
    chosen = build.node("Gather", build.weight(3, 16), build.input("class", ("n",), onnx.TensorProto.INT64))
    x = build.node("MatMul", build.node("Add", build.input("z", ("n", 16)), chosen), build.weight(16, 768))
    build.node("Tanh", build.node("Reshape", x, build.constant(np.array([-1, 3, 16, 16]))), to="image")
    build.output("image", None)
    onnx.save(build.model(), tmp_path / "g.onnx")
    brought = [tmp_path / "models", "import", tmp_path / "g.onnx", "--name", "g", "--dry-run"]
    asked = chladni(*brought)
    assert "how many classes does 'class' count?; say --classes" in asked.stderr
    failed = chladni(*brought, "--classes", "a,b,c,d")
    assert "--classes names 4, and 'class' has fewer" in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert chladni(*brought, "--classes", "a,b,c").returncode == 0


def test_somebody_who_is_there_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHLADNI_MODELS", str(tmp_path / "models"))
    onnx.save(two_vectors(), tmp_path / "g.onnx")
    asked: list[importing.Question] = []

    def ask(question: importing.Question) -> str:
        asked.append(question)
        return question.answers[-1]

    request = importing.Request(tmp_path / "g.onnx", "g", precisions=())
    importing.run(request, ask, lambda share, what: None)
    assert [question.option for question in asked] == ["latent"]
    assert library.find("g", manifest.Generator)[0] == tmp_path / "models" / "g"


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", ".hidden", "", "x.part", "impressionism"])
def test_a_name_that_is_none_or_taken_is_refused(tmp_path: Path, name: str) -> None:
    onnx.save(generator(), tmp_path / "g.onnx")
    with pytest.raises(importing.ImportFailed, match="--name"):
        importing.run(importing.Request(tmp_path / "g.onnx", name), lambda _: None, lambda share, what: None)


def test_a_model_is_replaced_only_on_request_and_an_unfinished_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHLADNI_MODELS", str(tmp_path / "models"))
    onnx.save(generator(), tmp_path / "g.onnx")
    request = importing.Request(tmp_path / "g.onnx", "g", precisions=())
    importing.run(request, lambda _: None, lambda share, what: None)
    with pytest.raises(importing.ImportFailed, match="--replace"):
        importing.run(request, lambda _: None, lambda share, what: None)
    importing.run(replace(request, replace=True), lambda _: None, lambda share, what: None)
    shutil.copytree(tmp_path / "models" / "g", tmp_path / "models" / "h.part")
    shipped = [folder.parent.name for folder in library.WEIGHTS.glob("*/manifest.json")]
    assert library.names() == sorted(["g", *shipped])


def test_of_two_imports_of_one_name_one_is_kept_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHLADNI_MODELS", str(tmp_path / "models"))
    onnx.save(generator(), tmp_path / "g.onnx")
    request = importing.Request(tmp_path / "g.onnx", "g", precisions=())
    both_work = threading.Barrier(2, timeout=30)

    def bring(_: int) -> str:
        begun: list[float] = []

        def progress(share: float, what: str) -> None:
            if not begun:
                begun.append(share)
                both_work.wait()

        try:
            return str(importing.run(request, lambda _: None, progress)["folder"])
        except importing.ImportFailed as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(bring, range(2)))
    final = tmp_path / "models" / "g"
    assert said == [str(final), f"{final}: is there already; --replace, or another --name"]
    assert manifest.load(final)
    assert list(final.parent.iterdir()) == [final]


BREAKS = {
    "interrupted": (lambda group, child: os.killpg(group, signal.SIGINT), "interrupted"),
    "told to end": (lambda group, child: os.kill(group, signal.SIGTERM), "interrupted"),
    "the child killed": (lambda group, child: os.kill(child, signal.SIGKILL), "was killed"),
    "killed": (lambda group, child: os.kill(group, signal.SIGKILL), ""),
}


@pytest.mark.parametrize(("end", "line"), BREAKS.values(), ids=BREAKS.keys())
def test_an_import_that_is_broken_off_leaves_nothing(
    tmp_path: Path, end: Callable[[int, int], None], line: str
) -> None:
    onnx.save(generator(), tmp_path / "g.onnx")
    models = tmp_path / "models"
    command = [sys.executable, "-m", "engine", "import", tmp_path / "g.onnx", "--name", "g"]
    process = subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
        env=os.environ | {"CHLADNI_MODELS": str(models)},
    )  # fmt: skip
    try:
        until(lambda: psutil.Process(process.pid).children(), 60)
        child = psutil.Process(process.pid).children()[0]

        def writes() -> bool:
            """Look while the child stands still, so that it can't be through before it is broken off."""
            child.suspend()
            found = bool(list(models.glob("g.*.part/*.onnx")))
            if not found:
                child.resume()
            return found

        until(writes, 60)
        end(process.pid, child.pid)
        with suppress(psutil.Error):  # it has ended
            child.resume()
        said = process.communicate(timeout=30)[1]
        child.wait(30)
    finally:
        process.kill()
    assert process.returncode
    assert said.count("\n") == (1 if line else 0)
    assert line in said
    if not line:  # nobody was left to tidy up: the next one does
        assert list(models.iterdir())
        importing._sweep(models)
    assert not list(models.iterdir())


def test_a_disk_that_is_full_is_said_and_loses_nothing(tmp_path: Path) -> None:
    onnx.save(generator(), tmp_path / "g.onnx")
    (tmp_path / "models" / "g").mkdir(parents=True)
    (tmp_path / "models" / "g" / "mine").touch()
    limited = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    command = [sys.executable, "-c", limited + "runpy.run_module('engine', run_name='__main__')", "import"]
    done = subprocess.run(
        [*command, tmp_path / "g.onnx", "--name", "g", "--replace"], capture_output=True, text=True,
        timeout=60, cwd=ROOT, env=os.environ | {"CHLADNI_MODELS": str(tmp_path / "models")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert [path.name for path in (tmp_path / "models").rglob("*")] == ["g", "mine"]


def test_models_are_listed_shown_verified_and_removed(models: Path, tmp_path: Path) -> None:
    own = tmp_path / "models"
    shutil.copytree(models, own)
    listed = chladni(own, "models")
    assert "full" in listed.stdout
    assert "32 x 32 to 64 x 64" in listed.stdout
    shown = chladni(own, "models", "show", "full").stdout
    assert "z 16, w 21, 1 styles" in shown
    assert "noise" in shown
    assert chladni(own, "models", "verify", "full").returncode == 0
    with (own / "full" / "mapping.onnx").open("ab") as file:
        file.write(b"x")
    verified = chladni(own, "models", "verify")
    assert verified.returncode == 1
    assert "FAIL  full" in verified.stdout
    assert "ok    twice" in verified.stdout
    assert chladni(own, "models", "remove", "full").returncode == 0
    assert not (own / "full").exists()
    kept = chladni(own, "models", "remove", "impressionism")
    assert kept.returncode == 1
    assert "shipped" in kept.stderr
    assert chladni(own, "models", "show", "../full").returncode == 1


def test_a_manifest_s_bent_layers_and_classes_can_be_named_by_hand(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    shutil.copytree(models / "full", folder)
    path = folder / manifest.FILE
    data = json.loads(path.read_text()) | {"classes": ["a", "b", "c", "d", "e"], "title": "Mine"}
    path.write_text(json.dumps(data))
    assert Generator(folder, "cpu").manifest.classes == ("a", "b", "c", "d", "e")
    data["rungs"][0]["inputs"]["bend_b8"] = [len(BEND)]
    path.write_text(json.dumps(data))
    with pytest.raises(manifest.ManifestError, match="input bend_b8"):
        manifest.load(folder)


def test_a_show_with_an_image_network_plays_the_imported_generator(models: Path, tmp_path: Path) -> None:
    def script(osc: Osc) -> None:
        osc.send("/chladni/parameter/network.1", 1.0)

    picture = perform(models, tmp_path, script, cue="full", generator="full", network="twice")["picture"]
    assert picture["generator"] == "full"
    assert picture["errors"] == 0


def test_what_a_provider_leaves_to_another_is_told_with_its_cost() -> None:
    data = generator().SerializeToString()
    found = providers.profile(data, {"z": np.zeros((1, 16), np.float32)}, "CPUExecutionProvider")
    assert "ConvTranspose" in {share.operator for share in found}
    assert all(share.us >= 0.0 and share.nodes >= 1 for share in found)
    assert providers.fallback(found, "CPUExecutionProvider") == ""
    moved = [
        replace(each, provider="CUDAExecutionProvider") if each.operator != "ConvTranspose" else each
        for each in found
    ]
    left = next(each for each in found if each.operator == "ConvTranspose")
    line = providers.fallback(moved, "CUDAExecutionProvider")
    total = sum(each.us for each in found)
    assert line.startswith(f"{left.nodes} nodes fall back from CUDAExecutionProvider: ConvTranspose; ")
    assert f"{left.us / 1e3:.2f} of {total / 1e3:.2f} ms" in line


def test_what_was_put_there_by_hand_is_checked_before_it_plays(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    shutil.copytree(models / "full", folder)
    model = onnx.load(str(folder / "mapping.onnx"))
    model.opset_import.append(onnx.helper.make_opsetid("evil.ops", 1))
    model.graph.node.append(onnx.helper.make_node("Shell", ["z"], ["out"], domain="evil.ops"))
    (folder / "mapping.onnx").write_bytes(model.SerializeToString())
    path = folder / manifest.FILE
    data = json.loads(path.read_text())
    data["mapping"] |= manifest.entry(folder / "mapping.onnx")
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"domain 'evil\.ops'"):
        Generator(folder, "cpu")


# StyleGAN, from a snapshot as its trainer writes it to the show.


@pytest.fixture(scope="module")
def ghosts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a StyleGAN2 of which two layers can be bent, and a StyleGAN3."""
    folder = tmp_path_factory.mktemp("ghosts")
    bends = {"stylegan2-skip-clamp-64": ("b16", "b32"), "stylegan3-t": ()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHLADNI_MODELS", str(folder / "models"))
        for name, (case, layers) in zip(("ghosts", "waves"), bends.items(), strict=True):
            path = nvlabs(folder / f"{case}.pkl", Golden(case))
            request = importing.Request(path, name, bends=layers, precisions=("fp16",))
            importing.run(request, lambda _: None, lambda share, what: None)
    return folder / "models"


def test_a_bent_layer_moves_with_its_own_knobs_and_rests_without(ghosts: Path) -> None:
    played = Generator(ghosts / "ghosts", "cpu")
    assert played.manifest.bends == ("b16", "b32")
    still = played.frame(JOB)
    assert np.array_equal(still, played.frame(replace(JOB, transform=(0.5, 0.0, 90.0, 2.0))))  # it has none
    for layer in range(2):
        for knob in range(len(BEND)):
            levels = list(JOB.bends)
            levels[layer * len(BEND) + knob] += 0.5 if BEND[knob].name != "rotate" else 40.0
            assert np.any(played.frame(replace(JOB, bends=tuple(levels))) != still), (layer, BEND[knob].name)
    third = [*JOB.bends]
    third[2 * len(BEND)] = 3.0
    assert np.array_equal(played.frame(replace(JOB, bends=tuple(third))), still)


def test_the_plane_of_a_stylegan3_moves_as_its_knobs_say(ghosts: Path) -> None:
    played = Generator(ghosts / "waves", "cpu")
    assert played.manifest.rungs[0].inputs["transform"] == (3, 3)
    still = played.frame(JOB).astype(float)
    side = still.shape[0]
    step = side // 8
    moved = played.frame(replace(JOB, transform=(step / side, 0.0, 0.0, 1.0))).astype(float)
    inner = slice(side // 4, 3 * side // 4)
    right, left = (
        np.abs(moved[inner, side // 4 + by : 3 * side // 4 + by] - still[inner, inner]).mean()
        for by in (step, -step)
    )
    assert right < 0.5 * left


def test_the_plane_turns_clockwise_and_grows() -> None:
    inverse = plane(0.25, 0.0, 90.0, 2.0)
    right = np.linalg.inv(inverse) @ (0.1, 0.0, 1.0)  # y points down: clockwise is from right to below
    np.testing.assert_allclose(right, (0.25, 0.2, 1.0), atol=1e-6)


def test_an_imported_checkpoint_is_played_and_swapped_to_live(ghosts: Path, tmp_path: Path) -> None:
    def script(osc: Osc) -> None:
        osc.send("/chladni/generator", "ghosts")
        assert osc.await_message("/chladni/generator") == ["ghosts"]

    report = perform(ghosts, tmp_path, script, cue="waves")
    (entered,) = report["picture"]["swaps"]
    assert entered["generator"] == report["picture"]["generator"] == "ghosts"
    recording = read(report["recording"])
    assert offline.verify(recording).differs_at is None


def test_a_show_that_names_no_image_network_says_so(models: Path, tmp_path: Path) -> None:
    show = tmp_path / "s.toml"
    show.write_text('title = "s"\n[[network]]\nname = "full"\n')
    played = chladni(models, "play", show, "--headless", "--device", "none", "--seconds", 1)
    assert played.returncode == 1
    assert "'full' is no effect, but a model of kind generator" in played.stderr
