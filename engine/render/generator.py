"""A generator in ONNX: a frame job and a rung of the quality ladder in, a picture out.

The manifest says what the files are; nothing here knows one generator from another. The order of the
latent's way is that of the StyleGAN papers: z, mapping, style mixing (Karras et al. 2019, section 3.1),
the pull of a projected picture, truncation (ibid., appendix B), directions (GANSpace, Harkonen et al. 2020),
synthesis.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from io import BytesIO
from math import acos, isfinite, prod, sin, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engine import library
from engine.core.jobs import FrameJob
from engine.core.parameters import BEND, BENDS
from models import manifest
from models.providers import usable_providers

Floats = NDArray[Any]  # float32
_KEPT = 32  # mapped style seeds, arcs and labels kept for the frames to come
_ROTATE = [knob.name for knob in BEND].index("rotate")
# Half precision halves the work of a GPU and gains a CPU nothing; bytes are what a CPU is fastest with.
PRECISIONS = {"CPUExecutionProvider": ("int8", "fp32", "fp16"), "CUDAExecutionProvider": ("fp16", "fp32")}


def choose_provider(wanted: str) -> str:
    """Return the provider for `auto`, `cuda` or `cpu`: CUDA where it is wanted and usable."""
    if wanted == "cpu" or "CUDAExecutionProvider" not in usable_providers():
        return "CPUExecutionProvider"
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA's libraries may have come as wheels
    return "CUDAExecutionProvider"


def open_session(path: Path, provider: str, threads: int) -> Any:
    """Return a session on the bytes of a file, so that no graph can name a second one.

    What is not shipped is checked first, as at its import. Raise ValueError where it won't do.
    """
    data = path.read_bytes()
    if not path.resolve().is_relative_to(library.WEIGHTS):
        from models.importers import check  # onnx, which a shipped generator need not wait for

        check.parse(data)
    return session_of(data, provider, threads)


def session_of(data: bytes, provider: str = "CPUExecutionProvider", threads: int = 1) -> Any:
    """Return a session on a graph, with the options that all playing has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what matters is raised
    providers = list(dict.fromkeys((provider, "CPUExecutionProvider")))
    return onnxruntime.InferenceSession(data, options, providers=providers)


@lru_cache(maxsize=64)
def normals(seed: int, size: int) -> Floats:
    """Return `size` standard normals of a seed, the same on every machine (Philox, Salmon et al. 2011)."""
    drawn = np.random.Generator(np.random.Philox(key=seed)).standard_normal(size, np.float32)
    drawn.flags.writeable = False
    return drawn


# The samples of a high-dimensional normal lie close to a sphere; a straight line between two of them cuts
# through its empty inside, an arc does not (Shoemake 1985; White 2016, arXiv:1609.04468).
def slerp(a: Floats, b: Floats, share: float) -> Floats:
    """Return the point `share` of the way along the arc from a to b, its length between theirs."""
    return _along(*_arc(a, b), share)


def _arc(a: Floats, b: Floats) -> tuple[Floats, float]:
    """Return the ends of an arc, (2, Z), and the angle between them in radians."""
    cosine = float(a @ b) / sqrt(float(a @ a) * float(b @ b))
    return np.stack([a, b]), acos(min(1.0, max(-1.0, cosine)))


def _along(ends: Floats, angle: float, share: float) -> Floats:
    """Return the point `share` of the way along an arc."""
    whole = sin(angle)
    if whole < 1e-4 or not isfinite(share):  # the same place, or opposite ones: no arc is the shortest
        weights = 1.0 - share, share
    else:
        weights = sin((1.0 - share) * angle) / whole, sin(share * angle) / whole
    found: Floats = np.array(weights, np.float32) @ ends
    return found


@lru_cache(maxsize=_KEPT)
def _walk(seed_a: int, seed_b: int, size: int) -> tuple[Floats, float]:
    """Return the arc between the normals of two seeds."""
    return _arc(normals(seed_a, size), normals(seed_b, size))


@lru_cache(maxsize=_KEPT)
def soft_label(label: tuple[float, ...], classes: int) -> Floats:
    """Return a label over `classes` that sums to 1, (1, classes); what the generator lacks is cut off.

    A label of nothing that the generator has becomes its last class.
    """
    found = np.zeros((1, classes), np.float32)
    kept = min(len(label), classes)
    found[0, :kept] = label[:kept]
    total = float(found.sum())
    if total <= 0.0:
        found[0, -1] = total = 1.0
    found /= np.float32(total)
    found.flags.writeable = False
    return found


# StyleGAN3 draws on a plane that its Fourier features give coordinates to (Karras et al. 2021, section 3.2).
# Its input maps places on the picture to places on the plane, so it is the inverse of what is seen to move.
def plane(x: float, y: float, rotate: float, zoom: float) -> Floats:
    """Return the inverse (3, 3) of: enlarge by `zoom`, turn clockwise by degrees, move by (x, y) widths."""
    c, s = np.cos(np.radians(rotate)), np.sin(np.radians(rotate))
    seen = np.array([[zoom * c, -zoom * s, x], [zoom * s, zoom * c, y], [0.0, 0.0, 1.0]])
    return np.linalg.inv(seen).astype(np.float32)


def _bend(layer: int, job: FrameJob) -> Floats:
    """Return the input (9,) of a bent layer."""
    row = np.array(job.bends[layer * len(BEND) : (layer + 1) * len(BEND)], np.float32)
    row[_ROTATE] *= -1.0  # a knob turns clockwise, a graph as mathematics does
    return row


class Generator:
    """A generator folder, ready to play.

    `provider` is `auto`, `cuda` or `cpu`; `rung` is loaded at once, others when first asked for. The mapping
    network always runs on the CPU: it takes a tenth of a millisecond, and its result is needed there.
    Raise ValueError where the folder is not what its manifest says.
    """

    def __init__(self, folder: Path, provider: str = "auto", rung: int = 0, threads: int = 1) -> None:
        m = manifest.load(folder)
        if not isinstance(m, manifest.Generator):
            raise ValueError(f"{folder}: a {m.kind}, where a generator is wanted")
        self.manifest = m
        self._threads = threads
        self.provider = choose_provider(provider)
        self._default_rung = rung
        self._knobs: dict[str, Callable[[FrameJob], Floats]] = {  # inputs that not every rung has
            "psi": lambda job: np.array([job.psi], np.float32),
            "transform": lambda job: plane(*job.transform),
            **{f"bend_{layer}": partial(_bend, number) for number, layer in enumerate(m.bends[:BENDS])},
        }
        self._truncates = "psi" in m.rungs[rung].inputs  # the network does it itself
        self._sessions: dict[int, Any] = {}
        self._mapping = open_session(m.path(m.mapping.file), "CPUExecutionProvider", threads)
        with np.load(BytesIO(m.path(m.statistics.file).read_bytes()), allow_pickle=False) as statistics:
            by_class = "w_avg_by_class" in statistics
            self._w_avg = statistics["w_avg_by_class" if by_class else "w_avg"].reshape(-1, m.w_dim)
            self._directions = statistics["directions"] * statistics["deviations"][:, None]  # (10, W)
        self._style = lru_cache(maxsize=_KEPT)(self._map_seed)
        self._average = lru_cache(maxsize=_KEPT)(self._average_of)
        self._noise_key: tuple[int, int, float] | None = None
        self._noise: dict[str, Floats] = {}
        self.session(rung)

    @property
    def rungs(self) -> int:
        """How many rungs the ladder has; 0 is the best."""
        return len(self.manifest.rungs)

    @property
    def height(self) -> int:
        """Height of the best rung's picture in pixels; no rung's is larger."""
        return max(rung.height for rung in self.manifest.rungs)

    @property
    def width(self) -> int:
        """Width of the best rung's picture in pixels; no rung's is larger."""
        return max(rung.width for rung in self.manifest.rungs)

    def frame(self, job: FrameJob, rung: int | None = None) -> NDArray[np.uint8]:
        """Return the picture of a job, uint8 (height, width, 3) RGB of that rung's size."""
        rung = self._default_rung if rung is None else rung
        (picture,) = self.session(rung).run([self.manifest.rungs[rung].output], self.feed(job, rung))
        pixels: NDArray[np.uint8] = picture
        return pixels

    def feed(self, job: FrameJob, rung: int) -> dict[str, Floats]:
        """Return the inputs of a rung's graph for a job."""
        feed = {"ws": self.styles(job), **self._noises(rung, job.noise_seed, job.noise)}
        inputs = self.manifest.rungs[rung].inputs
        return feed | {name: knob(job) for name, knob in self._knobs.items() if name in inputs}

    def session(self, rung: int) -> Any:
        """Return the session of a rung, loaded when it is first asked for."""
        if rung not in self._sessions:
            version = self.manifest.rungs[rung].version(PRECISIONS[self.provider])
            path = self.manifest.path(version.file)
            self._sessions[rung] = session = open_session(path, self.provider, self._threads)
            self.provider = session.get_providers()[0]  # ONNX Runtime itself turns to the CPU in need
        return self._sessions[rung]

    def fall_to_cpu(self) -> bool:
        """Leave the GPU for good; return whether there was one to leave."""
        if self.provider == "CPUExecutionProvider":
            return False
        self.provider = "CPUExecutionProvider"
        self._sessions.clear()
        return True

    def styles(self, job: FrameJob) -> Floats:
        """Return the styles of a job, (1, num_ws, W)."""
        m = self.manifest
        w = self.mapped(self.latent(job), job.label)
        ws = w[None].repeat(m.num_ws, 0)  # (num_ws, W)
        if any(job.mix):
            other = self._style(job.style_seed, job.label)
            for (first, end), share in zip(self._groups(), job.mix, strict=True):
                ws[first:end] += np.float32(share) * (other - w)
        if job.picture and len(job.z) == m.z_dim:
            seen = self.mapped(np.array(job.z, np.float32), job.label)
            ws += np.float32(job.picture) * (seen - ws)
        if not self._truncates:
            average = self._average(job.label)
            ws = average + np.float32(job.psi) * (ws - average)
        if any(job.directions):
            count = min(len(job.directions), len(self._directions))
            ws += np.array(job.directions[:count], np.float32) @ self._directions[:count]
        return ws[None].astype(np.float32, copy=False)

    def latent(self, job: FrameJob) -> Floats:
        """Return the place of a job on the walk, z (Z,)."""
        return _along(*_walk(job.seed_a, job.seed_b, self.manifest.z_dim), job.blend)

    def mapped(self, z: Floats, label: tuple[float, ...]) -> Floats:
        """Return w (W,) of z (Z,)."""
        feed = {"z": z[None]}
        if self.manifest.classes:
            feed["label"] = soft_label(label, len(self.manifest.classes))
        (w,) = self._mapping.run([self.manifest.mapping.output], feed)
        found: Floats = w.reshape(-1)
        return found

    # Truncated towards the average of all classes, pictures would lose their class on the way.
    def _average_of(self, label: tuple[float, ...]) -> Floats:
        """Return the average w (W,) of a label, where the generator knows one for each class; else of all."""
        average: Floats = self._w_avg  # (classes or 1, W)
        found: Floats = soft_label(label, len(average))[0] @ average if len(average) > 1 else average[0]
        return found

    def _groups(self) -> tuple[Sequence[int], ...]:
        groups = self.manifest.style_groups
        return groups.coarse, groups.middle, groups.fine

    def _map_seed(self, seed: int, label: tuple[float, ...]) -> Floats:
        return self.mapped(normals(seed, self.manifest.z_dim), label)

    def _noises(self, rung: int, seed: int, strength: float) -> dict[str, Floats]:
        """Return the noise inputs of a rung: one stream of normals, dealt from the smallest input up.

        Smaller rungs thus get the same noise as far as they go, and show the same picture.
        """
        if self._noise_key != (rung, seed, strength):
            shapes = self.manifest.rungs[rung].inputs
            named = sorted((prod(shape), name) for name, shape in shapes.items() if name.startswith("noise"))
            stream = normals(seed, sum(size for size, _ in named)) * np.float32(strength)
            ends = np.cumsum([size for size, _ in named], dtype=int)
            self._noise = {
                name: stream[end - size : end].reshape(shapes[name])
                for (size, name), end in zip(named, ends, strict=True)
            }
            self._noise_key = (rung, seed, strength)
        return self._noise
