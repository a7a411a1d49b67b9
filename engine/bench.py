"""What this machine holds without a miss: the largest generator, the highest rate, the smallest contract."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import library
from engine.core.show import Show, parse
from engine.io.performer import Performer, load
from engine.io.window import Headless
from engine.report import collect
from engine.session import Session, Stage
from models import manifest

RATES = (120, 60, 48, 40, 30, 24, 15)
# Pairs of contracts, picture and sound, tried from the slack to the tight; each falls out by itself.
CONTRACTS_MS = (
    (150.0, 50.0),
    (100.0, 25.0),
    (80.0, 20.0),
    (65.0, 15.0),
    (50.0, 12.0),
    (40.0, 10.0),
    (33.0, 8.0),
)
_SMALL = (640, 360)


@dataclass(frozen=True)
class Figure:
    """One run: what was asked, and whether picture and sound held."""

    generator: str
    fps: int
    picture_ms: float
    sound_ms: float
    late: int
    underruns: int
    late_notes: int
    rung: int
    inference_ms: float
    core_share: float

    @property
    def picture_holds(self) -> bool:
        """No late frame, at full quality."""
        return self.late == 0 and self.rung == 0

    @property
    def sound_holds(self) -> bool:
        """No underrun and no late note."""
        return self.underruns == 0 and self.late_notes == 0


def _measure(show: Show, performer: Performer | None, seconds: float) -> Figure:
    session = Session(show, Stage(seconds=seconds, performer=performer), Headless(_SMALL))
    session.run()
    report = collect(session)
    picture, sound = report["picture"], report["sound"]
    return Figure(
        show.generator,
        show.fps,
        show.picture_ms,
        show.sound_ms,
        picture["late"],
        sound["underruns"],
        sound["late"],
        picture["rung"],
        picture["inference_ms"],
        report["core"]["share"],
    )


def _print(figure: Figure) -> None:
    print(
        f"  {figure.generator:<16}{figure.fps:>4} fps  picture {figure.picture_ms:>5.0f} ms"
        f" {'holds' if figure.picture_holds else f'{figure.late} late, rung {figure.rung}':<18}"
        f" sound {figure.sound_ms:>4.0f} ms"
        f" {'holds' if figure.sound_holds else f'{figure.underruns} underruns, {figure.late_notes} late':<24}"
        f" inference {figure.inference_ms:.1f} ms",
        flush=True,
    )


def _generators() -> list[str]:
    """Return the names of the generators that are here, the largest picture first."""
    best = {name: library.look(name, manifest.Generator)[1].rungs[0] for name in library.generators()}
    sizes = {name: rung.height * rung.width for name, rung in best.items()}
    return sorted(sizes, key=lambda name: sizes[name], reverse=True)


def run(show_path: Path, seconds: float, report: Path | None) -> int:
    """Measure, print what holds, and write every figure to `report` as JSON. Return 0 if anything holds."""
    show = parse(show_path.read_text(encoding="utf-8"), str(show_path))
    show = show.model_copy(update={"osc": show.osc.model_copy(update={"listen": None, "send": ()})})
    demo = load(show_path.parent / show.performer.file) if show.performer else None
    figures: list[Figure] = []

    def measure(**changes: Any) -> Figure:
        performer = Performer(demo, loop=True) if demo else None
        figure = _measure(show.model_copy(update=changes), performer, seconds)
        figures.append(figure)
        _print(figure)
        return figure

    print(f"each line plays {show.title!r} for {seconds:g} s, headless", flush=True)
    fastest: dict[str, int] = {}
    for name in _generators():
        for fps in RATES:
            if measure(generator=name, fps=fps, picture_ms=150.0, sound_ms=50.0).picture_holds:
                fastest[name] = fps
                break
    picture_ms = sound_ms = None
    holding = next((name for name in fastest if fastest[name] >= show.fps), show.generator)
    picture_going = sound_going = True
    for contract in CONTRACTS_MS:
        figure = measure(generator=holding, picture_ms=contract[0], sound_ms=contract[1])
        picture_going = picture_going and figure.picture_holds
        sound_going = sound_going and figure.sound_holds
        picture_ms = contract[0] if picture_going else picture_ms
        sound_ms = contract[1] if sound_going else sound_ms
        if not (picture_going or sound_going):
            break
    print("\nwithout a miss this machine holds:")
    for name, fps in fastest.items():
        print(f"  generator {name} at {fps} fps")
    print(f"  {show.fps} fps at contracts of {picture_ms or '-'} ms (picture), {sound_ms or '-'} ms (sound)")
    if report:
        report.write_text(json.dumps([vars(figure) for figure in figures], indent=2), encoding="utf-8")
    if not (fastest and picture_ms and sound_ms):
        print("nothing holds: is something else using this machine?", file=sys.stderr)
        return 1
    return 0
