"""The small picture that pages show: what the audience sees, as JPEG."""

import json
import time
from typing import Any, Final

from engine.clock import monotonic_us
from engine.core.jobs import Caption
from engine.workers.links import PREVIEW_SIZE, WebLink

QUALITY: Final = 72
_SHARE: Final = 0.08  # of a core: the rest of what pictures may take goes into sending them
_PATIENCE_US: Final = 1e6


class Preview:
    """The latest picture; `look` asks for the next ones, `take` makes a JPEG where there is a new one."""

    def __init__(self, link: WebLink) -> None:
        self._link = link
        self.jpeg = b""
        self.count = 0
        self._seen_us = 0
        self._cost_s = 0.0

    def look(self, fps: float) -> None:
        """Want pictures for the next second, so many a second at most, fewer where they cost too much."""
        board = self._link.board
        board["look_every_us"] = 1e6 * max(1.0 / fps, self._cost_s / _SHARE)
        board["look_until_us"] = monotonic_us() + _PATIENCE_US

    def take(self) -> None:
        """Make a JPEG of the newest picture, unless it was made already."""
        frame = self._link.frames.newest(1 << 62)
        if frame is None or frame.ready_us == self._seen_us:
            return
        self._seen_us = frame.ready_us
        began_s = time.thread_time()
        line = self._link.line.read()
        self.jpeg = _jpeg(frame.pixels, int(self._link.board["held"]), line[1] if line else b"")
        self._cost_s += (time.thread_time() - began_s - self._cost_s) / 8.0
        self.count += 1


def _jpeg(pixels: Any, held: int, line: bytes) -> bytes:
    """Return a JPEG of a picture, uint8 (height, width, 3) RGB, fitted and written upon as on the screen."""
    import cv2  # here: it takes 30 MB, and most never look
    import numpy as np

    from engine.render.scale import cover

    cv2.setNumThreads(1)
    seen = np.empty((*PREVIEW_SIZE[::-1], 3), np.uint8)
    cover(np.ascontiguousarray(pixels), held, seen)
    if line:
        from engine.render.caption import write

        write(seen, Caption(*json.loads(line)))
    done, data = cv2.imencode(".jpg", seen[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    return bytes(data) if done else b""
