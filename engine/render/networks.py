"""The image networks of a show in ONNX: a picture and their strengths in, a picture out."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clock import monotonic_us
from engine.render.generator import PRECISIONS, choose_provider, open_session
from engine.render.scale import crossfade
from models import manifest

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB
_WARM_RUNS = 3


class Networks:
    """Image networks in the order in which they are applied, ready to play.

    `folders` are those of their models. One whose strength is 0 does not run. `best_us` is the best time of
    each. Raise ValueError where a folder is not what its manifest says.
    """

    def __init__(self, folders: Sequence[Path], provider: str = "auto", threads: int = 1) -> None:
        self._threads = threads
        self._effects = []
        for folder in folders:
            found = manifest.load(folder)
            if not isinstance(found, manifest.Effect):
                raise ValueError(f"{folder}: a {found.kind}, where an effect is wanted")
            self._effects.append(found)
        self._open(choose_provider(provider))

    def _open(self, provider: str) -> None:
        self._sessions = [
            open_session(effect.path(effect.rung.version(PRECISIONS[provider]).file), provider, self._threads)
            for effect in self._effects
        ]
        self.best_us = [min(self._time(number) for _ in range(_WARM_RUNS)) for number in range(len(self))]

    def __len__(self) -> int:
        return len(self._effects)

    def _time(self, number: int) -> float:
        begun_us = monotonic_us()
        self._run(number, np.zeros(self._effects[number].rung.inputs["image"], np.uint8))
        return monotonic_us() - begun_us

    def _run(self, number: int, pixels: Pixels) -> Pixels:
        output: Pixels
        (output,) = self._sessions[number].run([self._effects[number].rung.output], {"image": pixels})
        return output

    def expected_us(self, strengths: Sequence[float]) -> float:
        """Return what the networks of these strengths take together at best."""
        return sum(us for us, strength in zip(self.best_us, strengths, strict=False) if strength > 0.0)

    def apply(self, pixels: Pixels, strengths: Sequence[float]) -> Pixels:
        """Return the picture after each network, mixed in by its strength, 0 to 1.

        A network works at its own size; its result is at least as large as what came in.
        """
        for number, strength in zip(range(len(self)), strengths, strict=False):
            if strength > 0.0:
                height, width, _ = self._effects[number].rung.inputs["image"]
                small = pixels.shape[0] >= height
                how = cv2.INTER_AREA if small else cv2.INTER_LINEAR
                work = (
                    pixels
                    if pixels.shape[:2] == (height, width)
                    else cv2.resize(pixels, (width, height), interpolation=how)
                )
                pixels = crossfade(pixels, self._run(number, np.ascontiguousarray(work)), strength)
        return pixels

    def fall_to_cpu(self) -> None:
        """Leave the GPU for good."""
        self._open("CPUExecutionProvider")
