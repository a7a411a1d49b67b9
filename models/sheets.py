"""Pictures for a model card, by `python -m models.sheets NAME`: a sheet, directions, rungs, a walk as a film.

All of them pass through the engine's own player, as a show would see them; the table of rungs is printed.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from engine import library, offline
from engine.core.events import Event, Go
from engine.core.jobs import FrameJob
from engine.core.parameters import DIRECTIONS, EFFECTS
from engine.core.show import Show
from engine.core.units import TICKS_PER_SECOND
from engine.recording import Recording
from engine.render.generator import Generator
from engine.render.maker import Maker
from models import manifest, sheet
from models.sheet import Pixels

PSI = 0.7  # the show's default
TILE = 128  # px
DEVIATIONS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
COMPARED = 64  # latents that rungs are compared on
WALK_S, WALK_FPS = 30.0, 30


def job(seed: int, label: int, classes: int) -> FrameJob:
    """Return the picture of a seed and a class, truncated, without noise and effects."""
    return FrameJob(
        tick=0, seed_a=seed, seed_b=seed, blend=0.0, style_seed=0, mix=(0.0, 0.0, 0.0), psi=PSI, noise=0.0,
        noise_seed=0, label=tuple(float(number == label) for number in range(classes)), directions=(),
        effects=tuple(effect.default for effect in EFFECTS),
    )  # fmt: skip


def jobs(generator: Generator, count: int) -> list[FrameJob]:
    """Return jobs of the first seeds, the classes in turn."""
    classes = len(generator.manifest.classes)
    return [job(seed, seed % max(classes, 1), classes) for seed in range(count)]


def overview(generator: Generator) -> Pixels:
    """Return 8 x 8 pictures, the classes by columns in turn."""
    return sheet.grid([sheet.tile(generator.frame(each), TILE) for each in jobs(generator, 64)])


def directions(generator: Generator) -> Image.Image:
    """Return a strip for each direction, from -3 to 3 deviations, all from one picture a class."""
    rows = []
    for number in range(DIRECTIONS):
        start = jobs(generator, DIRECTIONS)[number]
        strip = []
        for deviation in DEVIATIONS:
            moved = tuple(deviation if other == number else 0.0 for other in range(DIRECTIONS))
            strip.append(generator.frame(replace(start, directions=moved)))
        rows.append((f"direction.{number + 1}\n-3 to 3", strip))
    return sheet.captioned(rows, TILE)


def enlarged(picture: Pixels, height: int, width: int) -> Pixels:
    """Return a rung's picture as the screen shows it beside the best one's."""
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def rung_differences(generator: Generator, count: int = COMPARED) -> dict[str, float]:
    """Return how far each rung's pictures are from the best one's: the mean over all values, in levels."""
    size, found = (generator.height, generator.width), dict[str, float]()
    best = [generator.frame(each, 0) for each in jobs(generator, count)]
    for number, rung in enumerate(generator.manifest.rungs):
        shown = (enlarged(generator.frame(each, number), *size) for each in jobs(generator, count))
        apart = [cv2.absdiff(one, other).mean() for one, other in zip(best, shown, strict=True)]
        found[rung.name] = float(np.mean(apart))
    return found


def rungs(generator: Generator, differences: dict[str, float]) -> Image.Image:
    """Return the same pictures by each rung, enlarged, a row for each."""
    rows = []
    for number, (name, apart) in enumerate(differences.items()):
        shown = [generator.frame(each, number) for each in jobs(generator, 8)]
        large = [enlarged(each, generator.height, generator.width) for each in shown]
        rows.append((f"rung {name}\n{apart:.1f} levels", large))
    return sheet.captioned(rows, TILE)


def walk(folder: Path, generator: Generator, path: Path, seconds: float = WALK_S) -> None:
    """Render a walk through all classes: a show without effects and without a player."""
    classes = max(len(generator.manifest.classes), 1)
    stay_s = seconds / classes
    cues = [
        {
            "number": number + 1,
            "fade_s": min(stay_s / 2, 4.0),
            "follow_s": stay_s,
            "levels": {"class": number},
        }
        for number in range(min(classes, 16))
    ]
    levels = {"walk.speed": 0.5, "psi": PSI, "noise": 0.3}
    cues[0] |= {"fade_s": 0.0, "levels": levels | {"class": 0}}
    name = generator.manifest.name
    show = Show.model_validate({"title": name, "generator": name, "musician": None, "cue": cues})
    start = Event(0, 0, "keys", 0, Go())
    recording = Recording(name, show, (start,), {}, round(seconds * TICKS_PER_SECOND), False)
    side = 2 * max(generator.height, 256)
    with tqdm(total=round(seconds * WALK_FPS), desc="walk", unit="frame", disable=None) as bar:

        def progress(done: int, _: int) -> None:
            bar.update(done - bar.n)

        maker = Maker(folder, provider="cpu")
        offline.render(recording, lambda _: maker, path, (side, side), WALK_FPS, "good", progress)


def make(folder: Path, out: Path, seconds: float = WALK_S) -> dict[str, float]:
    """Make everything for a model folder in `out`; return how far its rungs are apart."""
    generator = Generator(folder, "cpu")
    sheet.save(overview(generator), out / "sheet.jpg")
    sheet.save(directions(generator), out / "directions.jpg")
    differences = rung_differences(generator)
    sheet.save(rungs(generator, differences), out / "rungs.jpg")
    walk(folder, generator, out / "walk.mp4", seconds)
    return differences


def table(differences: dict[str, float]) -> str:
    """Return the differences of the rungs as a table in Markdown."""
    lines = ["| rung | mean absolute difference from the best, enlarged, of 255 levels |", "| --- | --- |"]
    return "\n".join(lines + [f"| {name} | {apart:.1f} |" for name, apart in differences.items()])


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and make the pictures; bad input ends with one clear error."""
    parser = argparse.ArgumentParser(prog="python -m models.sheets", description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a generator's name, or a model folder")
    parser.add_argument("--out", type=Path, help="where the pictures go (docs/models/NAME)")
    parser.add_argument("--seconds", type=float, default=WALK_S, help="of the walk")
    options = parser.parse_args(argv)
    try:
        is_folder = (Path(options.name) / manifest.FILE).is_file()
        folder = Path(options.name) if is_folder else library.find(options.name, manifest.Generator)[0]
        out = options.out or Path("docs") / "models" / folder.resolve().name
        differences = make(folder, out, options.seconds)
    except (ValueError, OSError) as error:
        print(f"sheets: {error}", file=sys.stderr)
        return 2
    print(table(differences))
    print(f"\n{out}: sheet.jpg, directions.jpg, rungs.jpg, walk.mp4")
    return 0


if __name__ == "__main__":
    sys.exit(main())
