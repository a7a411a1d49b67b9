"""All that makes a picture of a job: the generator, the image networks behind it, the effects."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.core.jobs import FrameJob
from engine.render.effects import Effects
from engine.render.generator import Generator
from engine.render.networks import Networks


class Maker:
    """A generator's folder and those of image networks, ready to play; `Generator` says what may raise."""

    def __init__(
        self, folder: Path, networks: Sequence[Path] = (), provider: str = "auto", threads: int = 1
    ) -> None:
        self.generator = Generator(folder, provider, threads=threads)
        self.networks = Networks(networks, provider, threads)
        self.effects = Effects(self.generator.height, self.generator.width)

    def picture(self, job: FrameJob) -> NDArray[np.uint8]:
        """Return the finished picture of a job at its best, uint8 (height, width, 3) RGB."""
        pixels = self.networks.apply(self.generator.frame(job, 0), job.networks)
        return self.effects.apply(pixels, job.effects)
