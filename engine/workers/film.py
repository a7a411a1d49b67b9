"""The process that renders a film of what was recorded, behind everything else, while the show goes on."""

import signal
import time
from multiprocessing import parent_process
from pathlib import Path
from typing import Final

from engine import priority, recording
from engine.workers.links import TEXT, pack_text
from engine.workers.shared import SPAWN, Board, Ring

CELLS: Final = ("done", "frames", "finished")
NICE: Final = 19
SIZE: Final = (1280, 720)


class Film:
    """A film that is being made, or has been."""

    def __init__(self, source: Path, path: Path, span: tuple[int, int]) -> None:
        self.path, self.says = path, Ring(TEXT, 4)
        self._board = Board(CELLS)
        arguments = (self._board, self.says, source, path, span)
        self._process = SPAWN.Process(target=run, args=arguments, name="chladni film", daemon=True)
        self._process.start()
        priority.give_way(self._process, NICE)

    @property
    def running(self) -> bool:
        """Whether it is still being made."""
        return self._process.is_alive()

    def told(self) -> tuple[str, float]:
        """Return the film's file, and how much of it is done: 1 once it is whole, -1 if it was given up."""
        share = min(self._board["done"] / (self._board["frames"] or 1.0), 0.99)  # the file comes at the end
        if not self.running:
            share = 1.0 if self._board["finished"] else -1.0
        return str(self.path), share

    def stop(self) -> None:
        """Give it up, where it is not done."""
        if self.running:
            self._process.terminate()
            self._process.join(1.0)
            self.path.with_name(f".{self.path.name}.part").unlink(missing_ok=True)


def run(board: Board, says: Ring, source: Path, film: Path, span: tuple[int, int]) -> None:
    """Render the ticks `span` of a recording that is still being written; say what is in the way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _render(board, source, film, span)
        board["finished"] = 1.0
    except Exception as error:  # whatever it is costs this film, and is to be told
        says.push(pack_text(f"film {film.name}: {error}"))


def _render(board: Board, source: Path, film: Path, span: tuple[int, int]) -> None:
    import cv2

    from engine import offline

    cv2.setNumThreads(1)
    time.sleep(2.0 * recording.FLUSH_S)  # until what was played up to now is in the file
    read = recording.read(source)

    parent = parent_process()

    def progress(done: int, frames: int) -> None:
        if parent and not parent.is_alive():
            raise RuntimeError("the show is over")
        board["done"], board["frames"] = done, frames

    makers = offline.makers(read.show, "cpu")
    offline.render(read, makers, film, SIZE, read.show.fps, "good", progress, span, threads=1)
