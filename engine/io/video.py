"""Films with sound: written with exact time stamps, and asked for their size and length."""

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

# H.264 comes from x264 (GPL), which lies in the FFmpeg inside the av wheel; PyAV itself is BSD.
CONTAINERS: Final = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
# x264's preset and constant rate factor (18 is seen as lossless, 23 is its default), AAC's bits a second
QUALITY: Final = {
    "draft": ("ultrafast", 26, 128_000),
    "good": ("veryfast", 19, 192_000),
    "best": ("slow", 16, 320_000),
}


class VideoWriter:
    """An H.264 and AAC film. Picture n is shown from n / fps, sample m heard from m / rate, both from 0.

    The file appears under its own name when `close` is done: until then it grows under a hidden name in
    the same folder, which an exception inside `with` removes. Raise ValueError for a size, suffix or
    quality that cannot be, OSError where the file cannot be written.
    """

    def __init__(
        self, path: Path | str, width: int, height: int, fps: Fraction | int, rate: int = 48_000,
        quality: str = "good", threads: int = 0,
    ) -> None:  # fmt: skip
        self.path = Path(path)
        if self.path.suffix.lower() not in CONTAINERS:
            raise ValueError(f"{self.path.name}: a film's name ends in {', '.join(CONTAINERS)}")
        if width < 2 or height < 2 or width % 2 or height % 2:
            raise ValueError(f"{width} x {height}: H.264 in 4:2:0 needs an even width and height")
        if fps <= 0:
            raise ValueError(f"{fps} pictures a second: it is to be above 0")
        if quality not in QUALITY:
            raise ValueError(f"quality {quality!r}: it is to be {', '.join(QUALITY)}")
        preset, rate_factor, bit_rate = QUALITY[quality]
        self.width, self.height, self.fps, self.rate = width, height, Fraction(fps), rate
        self.pictures = self.samples = 0
        self._partial = self.path.with_name(f".{self.path.name}.part")
        container = CONTAINERS[self.path.suffix.lower()]
        # An index in front of the film lets a browser begin to play before it has all of it.
        options = {} if container == "matroska" else {"movflags": "+faststart"}
        self._file = av.open(str(self._partial), "w", format=container, options=options)
        self._picture: Any = self._file.add_stream(
            "libx264", rate=self.fps, options={"preset": preset, "crf": str(rate_factor)}
        )
        self._picture.width, self._picture.height, self._picture.pix_fmt = width, height, "yuv420p"
        codec = self._picture.codec_context
        codec.time_base, codec.thread_count = 1 / self.fps, threads  # 0: as many as it likes
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG  # ITU-R BT.709, 16..235
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._sound: Any = self._file.add_stream("aac", rate=rate)
        self._sound.layout, self._sound.bit_rate = "stereo", bit_rate
        try:
            self._file.start_encoding()
        except (OSError, ValueError):
            self.discard()
            raise

    def picture(self, pixels: NDArray[np.uint8]) -> None:
        """Append a picture, RGB uint8 (height, width, 3)."""
        if pixels.shape != (self.height, self.width, 3):
            raise ValueError(f"a picture of {pixels.shape}, it is to be ({self.height}, {self.width}, 3)")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG,
            dst_color_primaries=ColorPrimaries.BT709, dst_color_trc=ColorTrc.BT709,
        )  # fmt: skip
        frame.pts, frame.time_base = self.pictures, 1 / self.fps
        self.pictures += 1
        self._file.mux(self._picture.encode(frame))

    def sound(self, block: NDArray[np.float32]) -> None:
        """Append sound, float32 (samples, 2), full scale at 1."""
        if block.ndim != 2 or block.shape[1] != 2:
            raise ValueError(f"a block of {block.shape}, it is to be (samples, 2)")
        if not len(block):
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T, np.float32), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self.samples, Fraction(1, self.rate)
        self.samples += len(block)
        self._file.mux(self._sound.encode(frame))

    def close(self) -> None:
        """Write what the encoders still hold and give the film its name."""
        try:
            self._file.mux(self._picture.encode(None))
            self._file.mux(self._sound.encode(None))
            self._file.close()
        except BaseException:
            self.discard()
            raise
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Give the film up and leave nothing behind."""
        with suppress(av.FFmpegError):
            self._file.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


@dataclass(frozen=True)
class Video:
    """What a film is: `frames` were counted, `seconds` and `sound_seconds` are the ends of its streams."""

    width: int
    height: int
    fps: Fraction
    frames: int
    seconds: float
    sound_seconds: float


def probe(path: Path | str) -> Video:
    """Return what a film is, every packet of it counted. Raise OSError or ValueError if it is none."""
    frames, ends = 0, {"video": 0.0, "audio": 0.0}
    with av.open(str(path)) as file:
        if not file.streams.video:
            raise ValueError(f"{path}: no picture in it")
        picture = file.streams.video[0]
        for packet in file.demux():
            kind = packet.stream.type
            if packet.pts is None or kind not in ends:
                continue  # the empty packet at the end of a stream
            frames += kind == "video"
            end = (packet.pts + (packet.duration or 0)) * packet.time_base
            ends[kind] = max(ends[kind], float(end))
        fps = picture.average_rate or Fraction(0)
        return Video(picture.width, picture.height, fps, frames, ends["video"], ends["audio"])
