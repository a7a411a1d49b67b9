"""The poet: a text model in a process of its own that writes the lines which cues ask for."""

import gc
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Final

import numpy as np

from engine.clock import monotonic_us
from engine.core.text import LONGEST
from engine.workers.links import PoetLink, pack_text, unpack_write
from models import manifest
from models.recurrence import Recurrence
from models.sampling import Array, draw

TOP_P: Final = 0.95
SHORTEST: Final = 8  # characters: what ends before is no line
LONG: Final = 60  # characters: from here a line ends with its word
HEARTBEAT_S: Final = 0.05
_END: Final = "\n"


@dataclass(frozen=True)
class PoetConfig:
    """Which model writes, how far its process steps back, and the seed of its lines."""

    folder: Path
    nice: int = 10
    seed: int = 0


class Poet:
    """A text model, one character a step. Raise OSError or ValueError where the folder holds none."""

    def __init__(self, folder: Path) -> None:
        model = manifest.load(folder)
        if not isinstance(model, manifest.Text):
            raise ValueError(f"{folder} holds a {model.kind}; a text model would be right")
        self._recurrence = Recurrence(model)
        self.characters = model.characters

    # A line ends where the model ends it, or, when it has become long, with the word that it is in. What it
    # is to begin with is read before, letter by letter, as if the model had written it.
    def write(self, begins: str, temperature: float, seed: tuple[int, ...]) -> str:
        """Return a line that begins with some words, the same for the same seed."""
        rng = np.random.default_rng(seed)
        known = [character for character in begins if character in self.characters and character != _END]
        state, text = self._recurrence.silence, "".join(known)
        for character in (_END if _END in self.characters else " ", *known):
            logits, state = self._step(character, state)
        while len(text) < LONGEST:
            if len(text.strip()) < SHORTEST and _END in self.characters:
                logits[self.characters.index(_END)] = -np.inf
            character = self.characters[draw(logits, temperature, TOP_P, rng.random())]
            if character == _END or (character == " " and len(text) >= LONG):
                break
            text += character
            logits, state = self._step(character, state)
        return text.strip()

    def _step(self, character: str, state: Array) -> tuple[Array, Array]:
        logits, state = self._recurrence.step(self.characters.index(character), state)
        return np.nan_to_num(logits), state


def run(link: PoetLink, config: PoetConfig) -> None:
    """Write what is asked for until told to stop, or until the parent process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    board, parent = link.board, parent_process()
    with suppress(OSError):
        os.nice(config.nice)
    try:
        poet = Poet(config.folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise SystemExit(f"poet: {error}") from error
    gc.freeze()
    board["ready"] = 1.0
    while not board["stop"] and (parent is None or parent.is_alive()):
        board["heartbeat_us"] = monotonic_us()
        link.asked.wait(HEARTBEAT_S)
        for record in link.asked.pop_all():
            job = unpack_write(record)
            try:
                line = poet.write(job.begins, job.temperature, (config.seed & 0xFFFF_FFFF, job.request))
            except Exception:  # on stage nothing raises: this line is not written
                board.add("errors")
                continue
            link.written.push(job.request, pack_text(line))
