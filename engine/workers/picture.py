"""The process that looks at pictures: projects each, in one pass, to a latent of the playing generator."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.clock import monotonic_us
from engine.core.events import MAX_Z, Projection
from engine.workers.links import PictureLink, pack_projection, pack_text
from models import manifest

if TYPE_CHECKING:
    from engine.io.pictures import Pixels

LOOK_S = 0.2  # between two looks; the core glides from one to the next
PATIENCE_US = 20e6  # a camera may take so long to open
SAME = 0.05  # of z, whose values are about 1: a camera's noise moves it less, and is not worth an event


@dataclass(frozen=True)
class PictureConfig:
    """What to look at: see engine.core.show.Picture."""

    source: str
    every_s: float
    nice: int = 10


class Encoder:
    """The encoder of a generator folder. Raise ValueError where it has none."""

    def __init__(self, folder: Path) -> None:
        # Here, since the main process imports this module, and not ONNX Runtime.
        from engine.render.generator import open_session

        model = manifest.load(folder)
        found = model.encoder if isinstance(model, manifest.Generator) else None
        if found is None:
            raise ValueError(f"{model.name} has no encoder: the show's picture leaves it as it is")
        self.name = model.name
        (self._input, (self._height, self._width, _)), *_ = found.inputs.items()
        self._output = found.output
        self._session: Any = open_session(model.path(found.file), "CPUExecutionProvider", threads=1)

    def z(self, picture: "Pixels") -> NDArray[np.float64]:
        """Return the latent (Z,) of a picture of any size, uint8 (height, width, 3)."""
        from engine.io.pictures import fitted

        feed = {self._input: fitted(picture, self._height, self._width)}
        (z,) = self._session.run([self._output], feed)
        found: NDArray[np.float64] = np.asarray(z, np.float64).reshape(-1)[:MAX_Z]
        return found


def projection(generator: str, z: NDArray[np.float64]) -> Projection:
    """Return the event that brings a latent: rounded to 127 steps either way."""
    step = float(np.abs(z).max()) / 127.0
    levels = np.rint(z / step) if step else np.zeros_like(z)
    return Projection(generator, step, levels.astype(np.int8).tobytes().hex())


def run(link: PictureLink, config: PictureConfig) -> None:
    """Look, project and tell until told to stop, or until the parent process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # a camera that is not there is reported once, by us
    board, parent = link.board, parent_process()
    with suppress(OSError, AttributeError):  # not on this system
        os.nice(config.nice)
    import cv2

    from engine.io.pictures import open_source

    cv2.setNumThreads(1)
    source = open_source(config.source, config.every_s)
    encoder: Encoder | None = None
    last: NDArray[np.float64] | None = None
    board["ready"] = 1.0
    while not board["stop"] and (parent is None or parent.is_alive()):
        board["heartbeat_us"] = monotonic_us() + PATIENCE_US
        for (folder,) in link.asked.pop_all():
            encoder, last = _encoder(link, Path(folder.rstrip(b"\0").decode())), None
            source.again()
        try:
            last = _look(link, source.look() if encoder else None, encoder, last)
        except Exception:  # on stage nothing raises: this picture is lost
            board.add("unread")
        if source.reason:
            link.says.push(pack_text(source.reason))
            source.reason = None
        board["heartbeat_us"] = monotonic_us()
        link.asked.wait(LOOK_S)


def _encoder(link: PictureLink, folder: Path) -> Encoder | None:
    try:
        return Encoder(folder)
    except Exception as error:  # whatever ONNX Runtime has against a graph is to be told
        link.says.push(pack_text(f"picture: {error}"))
        return None


def _look(
    link: PictureLink, picture: "Pixels | None", encoder: Encoder | None, last: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Project what was seen; return the latent that was told last."""
    if picture is None or encoder is None:
        return last
    z = encoder.z(picture)
    if not np.isfinite(z).all():
        link.board.add("unread")
        return last
    if last is not None and np.abs(z - last).max() < SAME:
        return last
    link.seen.push(*pack_projection(projection(encoder.name, z)))
    link.board.add("projected")
    return z
