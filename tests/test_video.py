"""Films: written, opened again and compared, picture by picture and to the sample."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from engine.io.video import QUALITY, Video, VideoWriter, probe
from engine.render.scale import fit

WIDTH, HEIGHT, RATE = 320, 180, 48_000
RNG = np.random.default_rng(7)


def pictures(count: int) -> list[np.ndarray]:
    """Soft fields of strong colours that differ from picture to picture."""
    field = RNG.integers(0, 256, (4, 7, 3), dtype=np.uint8)
    return [fit(np.roll(field, number, 1), WIDTH, HEIGHT) for number in range(count)]


def click(samples: int, at: int) -> np.ndarray:
    """A band-limited click whose peak lies on sample `at`."""
    sound = np.zeros((samples, 2), np.float32)
    offsets = np.arange(-60, 61)
    sound[at - 60 : at + 61] = (0.8 * np.hanning(121) * np.sinc(offsets / 8.0))[:, None]
    return sound


def read(path: Path) -> tuple[list[av.VideoFrame], np.ndarray]:
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
    with av.open(str(path)) as film:
        sound = np.concatenate([frame.to_ndarray() for frame in film.decode(audio=0)], axis=1)
    return frames, sound


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / (np.mean((a.astype(float) - b) ** 2) + 1e-9)))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("fps", [Fraction(30), Fraction(30_000, 1001), Fraction(60)])
def test_what_goes_in_comes_out(tmp_path: Path, suffix: str, fps: Fraction) -> None:
    path = tmp_path / f"film{suffix}"
    made, flash = pictures(30), 15
    made[flash] = np.full_like(made[0], 255)
    samples = round(30 / fps * RATE)
    at = round(flash / fps * RATE)  # the click sounds as the white picture appears
    sound = click(samples, at)
    with VideoWriter(path, WIDTH, HEIGHT, fps) as film:
        for number, picture in enumerate(made):
            film.picture(picture)
            film.sound(sound[round(number / fps * RATE) : round((number + 1) / fps * RATE)])
        assert not path.exists()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]

    frames, heard = read(path)
    assert len(frames) == 30
    tolerance = 0.0006 if suffix == ".mkv" else 1e-9  # Matroska counts milliseconds
    for number, frame in enumerate(frames):
        assert abs(float(frame.pts * frame.time_base - number / fps)) < tolerance
    assert min(psnr(a.to_ndarray(format="rgb24"), b) for a, b in zip(frames, made, strict=True)) > 36
    assert frames[flash].to_ndarray(format="gray").min() > 245
    assert int(np.argmax(np.abs(heard[0]))) == at
    assert heard[:, at] == pytest.approx(0.8, abs=0.02)

    film = probe(path)
    assert (film.width, film.height, film.frames) == (WIDTH, HEIGHT, 30)
    assert float(film.fps) == pytest.approx(float(fps), rel=2e-3)
    assert film.seconds == pytest.approx(float(30 / fps), abs=2e-3)
    assert film.sound_seconds == pytest.approx(float(30 / fps), abs=1024 / RATE)


def test_sound_and_picture_are_interleaved_and_the_index_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, 30, quality="draft") as film:
        for picture in pictures(90):
            film.picture(picture)
            film.sound(np.zeros((1600, 2), np.float32))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as opened:
        packets = sorted((p.pos, float(p.dts * p.time_base), p.stream.type) for p in opened.demux() if p.size)
    times, kinds = [time for _, time, _ in packets], [kind for *_, kind in packets]
    assert max(before - after for before, after in pairwise(times)) < 1.0
    assert kinds.index("audio") < 60
    assert kinds.index("video") < 60


def test_every_quality_is_better_than_the_one_before(tmp_path: Path) -> None:
    made = pictures(10)
    noisy = [np.clip(p + RNG.normal(0, 12, p.shape), 0, 255).astype(np.uint8) for p in made]
    found = []
    for quality in QUALITY:
        path = tmp_path / f"{quality}.mp4"
        with VideoWriter(path, WIDTH, HEIGHT, 30, quality=quality) as film:
            for picture in noisy:
                film.picture(picture)
        with av.open(str(path)) as opened:
            frames = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
        found.append(np.mean([psnr(a, b) for a, b in zip(frames, noisy, strict=True)]))
    assert found == sorted(found)


def test_an_interrupted_film_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"the film before")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, WIDTH, HEIGHT, 30) as film:  # noqa: PT012
        film.picture(pictures(1)[0])
        raise KeyboardInterrupt
    assert path.read_bytes() == b"the film before"
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize(
    ("name", "width", "height", "quality", "says"),
    [
        ("film.avi", 320, 180, "good", r"ends in \.mp4, \.mov, \.mkv"),
        ("film", 320, 180, "good", r"ends in \.mp4"),
        ("film.mp4", 321, 180, "good", "321 x 180.*even"),
        ("film.mp4", 320, 0, "good", "320 x 0.*even"),
        ("film.mp4", 320, 180, "superb", "'superb'.*draft, good, best"),
    ],
)
def test_a_wrong_wish_is_named(
    tmp_path: Path, name: str, width: int, height: int, quality: str, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        VideoWriter(tmp_path / name, width, height, 30, quality=quality)
    assert not list(tmp_path.iterdir())


def test_wrong_arrays_and_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        VideoWriter(tmp_path / "nowhere" / "film.mp4", 320, 180, 30)
    film = VideoWriter(tmp_path / "film.mp4", 320, 180, 30)
    with pytest.raises(ValueError, match=r"\(180, 320, 3\)"):
        film.picture(np.zeros((320, 180, 3), np.uint8))
    with pytest.raises(ValueError, match=r"\(samples, 2\)"):
        film.sound(np.zeros((2, 1600), np.float32))
    film.discard()
    assert not list(tmp_path.iterdir())
    with VideoWriter(tmp_path / "empty.mp4", 320, 180, 30) as film:
        film.picture(np.zeros((180, 320, 3), np.uint8))
    assert probe(tmp_path / "empty.mp4") == Video(320, 180, Fraction(30), 1, 1 / 30, 0.0)
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises((OSError, ValueError)):
        probe(tmp_path / "text.mp4")


def test_probe_counts(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, 25) as film:
        for picture in pictures(25):
            film.picture(picture)
        film.sound(np.zeros((24_000, 2), np.float32))
    assert probe(path) == Video(WIDTH, HEIGHT, Fraction(25), 25, 1.0, 0.5)


def test_fit_covers_and_keeps_the_aspect() -> None:
    square = np.zeros((64, 64, 3), np.uint8)
    square[:, 32:] = 255
    square.flags.writeable = False  # as the frame store gives it
    out = np.empty((180, 320, 3), np.uint8)
    assert fit(square, 320, 180, out) is out
    assert out[:, :150].max() == 0
    assert out[:, 170:].min() == 255
    tall = fit(square, 90, 160)
    assert tall[:, :42].max() == 0
    assert tall[:, 48:].min() == 255
    disc = ((np.indices((64, 64)) - 31.5) ** 2).sum(0) < 14**2
    scaled = fit(np.repeat(disc[..., None], 3, 2).astype(np.uint8) * 255, 320, 180)[..., 0] > 127
    assert np.ptp(np.nonzero(scaled.any(0))[0]) == np.ptp(np.nonzero(scaled.any(1))[0])  # still round
    assert np.array_equal(fit(square, 64, 64), square)
    assert fit(square, 16, 16).shape == (16, 16, 3)
    with pytest.raises(ValueError, match="it is to be 320 x 180"):
        fit(square, 320, 180, np.empty((320, 180, 3), np.uint8))
