"""Pictures to look at: a file, the files of a folder in turn, or a camera."""

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (height, width, 3), RGB

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
REOPEN_S: Final = 2.0  # between two attempts at a camera that gives nothing
_CAMERA: Final = re.compile(r"camera:(\d{1,3})")


def problem(source: str) -> str | None:
    """Return why a source can't be looked at, known before it is; None where there is nothing to say."""
    path = Path(source)
    if _CAMERA.fullmatch(source) or path.is_file():
        return None
    if not path.is_dir():
        return f"{source!r}: no such picture or folder; a camera is called camera:0"
    return None if _files(path) else f"{source!r}: no pictures in it ({' '.join(sorted(SUFFIXES))})"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


class Source(Protocol):
    """Something to look at; `reason` tells why there is nothing to be seen of it."""

    reason: str | None

    def look(self) -> Pixels | None:
        """Return what is to be seen, or None where that is nothing new."""
        ...

    def again(self) -> None:
        """Let what was seen last count as new."""
        ...


class Files:
    """A file, seen again whenever it changes; or a folder, each file of it for `every_s`, new ones too."""

    def __init__(self, path: Path, every_s: float) -> None:
        self._path, self._every_s = path, every_s
        self._next, self._turn_s = -1, 0.0
        self._seen: tuple[Path, int] | None = None
        self.reason: str | None = None

    def look(self) -> Pixels | None:
        """Return what is to be seen, or None where that is nothing new."""
        try:
            path = self._present()
            stamp = path, path.stat().st_mtime_ns
            if stamp == self._seen:
                return None
            self._seen = stamp
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        except (OSError, cv2.error, IndexError) as error:
            self.reason = f"{self._path}: {getattr(error, 'strerror', None) or 'no picture'}"
            return None
        self.reason = None if picture is not None else f"{path}: this is no picture that can be read"
        return None if picture is None else np.asarray(picture[:, :, ::-1])

    def _present(self) -> Path:
        if not self._path.is_dir():
            return self._path
        files = _files(self._path)
        if self._next < 0 or time.monotonic() >= self._turn_s:
            self._next, self._turn_s = self._next + 1, time.monotonic() + self._every_s
        return files[self._next % len(files)]

    def again(self) -> None:
        """Let what was seen last count as new."""
        self._seen = None


class Camera:
    """A camera, opened again and again while it gives nothing."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._capture: Any = None
        self._tried_s = -REOPEN_S
        self.reason: str | None = None

    def look(self) -> Pixels | None:
        """Return the present frame, or None while there is none."""
        if self._capture is None:
            if time.monotonic() - self._tried_s < REOPEN_S:
                return None
            self._tried_s = time.monotonic()
            self._capture = cv2.VideoCapture(self._number)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one of a second ago
        taken, frame = False, None
        with suppress(cv2.error):
            taken, frame = self._capture.read()
        if not taken or frame is None or frame.ndim != 3:
            self._capture.release()
            self._capture = None
            self.reason = f"camera:{self._number} gives no picture; it is tried again every {REOPEN_S:g} s"
            return None
        self.reason = None
        return np.asarray(frame[:, :, ::-1])

    def again(self) -> None:
        """Every frame is new."""


def open_source(source: str, every_s: float) -> Source:
    """Return what a show looks at; nothing raises here, `reason` tells later."""
    camera = _CAMERA.fullmatch(source)
    return Camera(int(camera[1])) if camera else Files(Path(source), every_s)


def fitted(picture: Pixels, height: int, width: int) -> Pixels:
    """Return the middle of a picture in the proportions wanted, averaged down (or drawn up) to the size."""
    rows, columns = picture.shape[:2]
    scale = min(rows / height, columns / width)
    used = max(round(height * scale), 1), max(round(width * scale), 1)
    top, left = (rows - used[0]) // 2, (columns - used[1]) // 2
    cut = np.ascontiguousarray(picture[top : top + used[0], left : left + used[1]])
    way = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cut, (width, height), interpolation=way), np.uint8)
