"""What is wrong with a show file, and what in it can have no effect, as far as it shows before it plays."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import filter as matching
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from engine import library
from engine.core.contract import shortest_sound_ms
from engine.core.events import Go, GoTo
from engine.core.parameters import INSTRUMENTS
from engine.core.show import Route, Show, ShowError, line_of, parse
from engine.io import controller_maps, performer, pictures
from engine.io.capture import is_file
from engine.show_file import ShowFile
from engine.workers.sound import WAY_MS
from models import manifest

WCAG_FLASHES: Final = 3.0  # a second (WCAG 2.3.1)
_HAND: Final = ("velocity", "pitch", "gate", "interval", "density")
_AUDIO_SOURCES: Final = tuple(
    f"/audio/{name}" for name in ("level", "low", "mid", "high", "onset", "brightness", "beat", "tempo")
)
_OPEN: Final = ("/osc/", "/keys/", "/chladni/parameter/", "/modulator/")  # any name may follow


@dataclass(frozen=True, order=True)
class Finding:
    """Something found at a line of a show file: an error, which keeps it from playing, or a warning."""

    line: int
    text: str
    error: bool


Place = tuple[str | int, ...]
Found = Iterator[tuple[Place, str]]


def check(file: ShowFile) -> list[Finding]:
    """Return everything that is found, in the order of the file. Raise ShowError where it can't be read."""
    text = file.read()
    try:
        show = parse(text, str(file.path))
    except ShowError as error:
        return sorted(_parsed(line, file.path) for line in str(error).splitlines())
    looks = (*((look, True) for look in _ERRORS), *((look, False) for look in _WARNINGS))
    findings = {
        Finding(line_of(text, list(place)), f"{_key(place)}: {said}", error)
        for look, error in looks
        for place, said in look(show, file.path.parent)
    }
    return sorted(findings)


def _parsed(line: str, path: Path) -> Finding:
    """Return what the parser says as a finding."""
    number, _, said = line.removeprefix(f"{path}:").partition(": ")
    return Finding(int(number), said, True) if number.isdigit() else Finding(1, line, True)


def _key(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


# What keeps a show from playing.


def _models(show: Show, folder: Path) -> Found:
    wanted: list[tuple[Place, str | None, type[manifest.Model]]] = [
        (("generator",), show.generator, manifest.Generator),
        (("musician",), show.musician, manifest.Musician),
        (("text",), show.text, manifest.Text),
    ]
    wanted += [(("cue", n, "generator"), cue.generator, manifest.Generator) for n, cue in enumerate(show.cue)]
    wanted += [(("network", n, "name"), each.name, manifest.Effect) for n, each in enumerate(show.network)]
    for place, name, kind in wanted:
        if name and (problem := _missing(name, kind)):
            yield place, problem


@lru_cache(maxsize=64)
def _missing(name: str, kind: type[manifest.Model]) -> str | None:
    try:
        library.find(name, kind)
    except ValueError as error:
        return str(error)
    return None


def _files(show: Show, folder: Path) -> Found:
    if show.sound.soundfont and not (folder / show.sound.soundfont).is_file():
        yield ("sound", "soundfont"), f"there is no file {folder / show.sound.soundfont}"
    if show.performer:
        try:
            performer.load(folder / show.performer.file)
        except ValueError as error:
            yield ("performer", "file"), str(error)
    if show.picture:
        source = show.picture.source
        problem = pictures.problem(source if source.startswith("camera:") else str(folder / source))
        if problem:
            yield ("picture", "source"), problem
    if show.audio and is_file(show.audio.device) and not (folder / show.audio.device).is_file():
        yield ("audio", "device"), f"there is no file {folder / show.audio.device}"
    for number, each in enumerate(show.controller):
        try:
            controller_maps.load(each.map, folder)
        except controller_maps.MapError as error:
            yield ("controller", number, "map"), str(error)


# What plays, and can have no effect.


def _sources(show: Show, folder: Path) -> Found:
    known = _addresses(show, folder)
    for table in ("sensor", "modulator", "route"):
        for number, entry in enumerate(getattr(show, table)):
            if entry.source and (problem := _unheard(show, entry.source, known)):
                yield (table, number, "from"), problem


def _unheard(show: Show, pattern: str, known: tuple[str, ...]) -> str | None:
    """Return why no event can come from a source, None where one can."""
    if matching(known, pattern):
        return None
    literal = pattern.partition("*")[0].partition("?")[0].partition("[")[0]
    if show.audio is None and matching(_AUDIO_SOURCES, pattern):
        return "the show does not listen: it has no [audio]"
    if show.musician is None and matching([f"/musician/{name}" for name in _HAND], pattern):
        return "the show has no musician"
    if literal.startswith("/osc/") and show.osc.listen is None:
        return "the show hears no OSC: osc.listen is none"
    if literal.startswith(_OPEN) or any(family.startswith(literal) for family in _OPEN):
        return None
    if literal.startswith("/midi/") and "/nrpn/" in pattern:
        return None
    near = get_close_matches(pattern, (*known, *_AUDIO_SOURCES), 1)
    return "no device sends this" + (f"; did you mean {near[0]!r}?" if near else "; docs/show.md lists them")


def _addresses(show: Show, folder: Path) -> tuple[str, ...]:
    """Return the addresses of the sources that there are, but for those whose names are free."""
    midi = (
        *(f"cc/{n}" for n in range(128)),
        *(f"poly/{n}" for n in range(128)),
        "bend",
        "pressure",
        "program",
    )
    pads = (
        *(f"axis/{n}" for n in range(16)), *(f"button/{n}" for n in range(32)),
        *(f"hat/{n}/{way}" for n in range(4) for way in "xy"),
    )  # fmt: skip
    hands = [hand for hand in ("notes", "performer", "musician") if hand != "musician" or show.musician]
    controls = []
    for each in show.controller:
        try:
            found = controller_maps.load(each.map, folder)
        except controller_maps.MapError:
            continue
        controls += [address for control in found.control for address in control.addresses(found.name)]
    return (
        *(f"/midi/{channel}/{name}" for channel in range(1, 17) for name in midi),
        *(f"/pad/{pad}/{name}" for pad in range(8) for name in pads),
        *("/mouse/x", "/mouse/y", "/mouse/wheel", "/beat", "/bar"),
        *(f"/mouse/button/{n}" for n in range(1, 6)),
        *(f"/{hand}/{name}" for hand in hands for name in _HAND),
        *(f"/notes/{name}" for name in INSTRUMENTS),
        *(_AUDIO_SOURCES if show.audio else ()),
        *controls,
    )


def _shadowed(show: Show, folder: Path) -> Found:
    for later, route in enumerate(show.route):
        for earlier, other in enumerate(show.route[:later]):
            if (
                route.to == other.to and route.mode == other.mode == "set"
                and _same_source(route, other) and _same_cues(show, route, other)
            ):  # fmt: skip
                yield (
                    ("route", later),
                    f"route[{earlier}] sets {route.to} from this source too; this one wins",
                )


def _same_source(one: Route, other: Route) -> bool:
    return fnmatchcase(one.source, other.source) or fnmatchcase(other.source, one.source)


def _same_cues(show: Show, one: Route, other: Route) -> bool:
    def plays(route: Route, number: float) -> bool:
        return not route.spans or any(first <= number <= last for first, last in route.spans)

    both = not (one.spans and other.spans)
    return both or any(plays(one, cue.number) and plays(other, cue.number) for cue in show.cue)


def _idle(show: Show, folder: Path) -> Found:
    """Yield what moves a parameter that nothing in this show has."""
    idle = _idle_because(show)
    moved: list[tuple[Place, str]] = [(("route", n, "to"), route.to) for n, route in enumerate(show.route)]
    for table in ("cue", "preset"):
        for number, entry in enumerate(getattr(show, table)):
            moved += [((table, number, "levels", name), name) for name in entry.levels]
    for place, name in moved:
        for prefix, why in idle.items():
            if name == prefix or name.startswith(f"{prefix}."):
                yield place, f"{name} moves nothing: {why}"


def _idle_because(show: Show) -> dict[str, str]:
    """Return what has no effect in this show, by the beginning of its name, and why."""
    named = {show.generator, *(cue.generator for cue in show.cue if cue.generator)}
    cast = [found for name in sorted(named) if (found := _generator(name))]
    inputs = {name for each in cast for rung in each.rungs for name in rung.inputs}
    bends = max((len(each.bends) for each in cast), default=0)
    whose = f"the generators of the show, {', '.join(sorted(named))}, have"
    have: dict[str, tuple[object, str]] = {
        "class": (any(each.classes for each in cast), f"{whose} no classes"),
        "noise": (any(name.startswith("noise") for name in inputs), f"{whose} no noise"),
        "transform": ("transform" in inputs, f"{whose} no transform"),
        **{f"bend.{n}": (n <= bends, f"{whose} {bends} bent layers") for n in range(1, 5)},
        "picture": (show.picture, "the show looks at nothing: it has no [picture]"),
        **{
            f"network.{n}": (n <= len(show.network), f"the show has {len(show.network)} image networks")
            for n in range(1, 5)
        },
        "musician": (show.musician, "the show has no musician"),
        "text": (show.text, "the show has no text model"),
        "morph": (show.morph, "the show has no [morph]"),
        "strobe": (show.safety.flashes_per_second, "flashes_per_second is 0"),
    }
    return {name: why for name, (there, why) in have.items() if not there and cast}


@lru_cache(maxsize=64)
def _generator(name: str) -> manifest.Generator | None:
    try:
        return library.look(name, manifest.Generator)[1]
    except ValueError:
        return None


def _cues(show: Show, folder: Path) -> Found:
    going = [_goes_on(cue) for cue in show.cue]
    if sum(going) >= 2 and going.count(False) == 1:
        number = going.index(False)
        yield ("cue", number), "every other cue follows on by itself; here the show stays until somebody's GO"
    if going and all(going) and show.opening is None and not _is_begun(show, folder):
        first = show.cue[0].number
        yield ("cue", 0), f"they follow on by themselves, but nobody begins them: opening = {first:g} would"
    for number, cue in enumerate(show.cue):
        if cue.text is not None and show.text is None:
            yield ("cue", number, "text"), "nobody writes it: the show has no text model"
        if _goes_on(cue) == 0.0 and going[number] and len(show.cue) > 1:
            yield ("cue", number), "it follows on at once and is never seen"


def _is_begun(show: Show, folder: Path) -> bool:
    """Tell whether the recorded performer gives a GO."""
    if show.performer is None:
        return False
    try:
        played = performer.load(folder / show.performer.file).events
    except ValueError:
        return True  # what is wrong with it is said elsewhere
    return any(isinstance(body, (Go, GoTo)) for _, body in played)


def _goes_on(cue: Any) -> bool:
    return any(
        getattr(cue, f"{kind}_{unit}") is not None
        for kind in ("follow", "autofollow")
        for unit in ("s", "beats", "bars")
    )


def _contract(show: Show, folder: Path) -> Found:
    if (shortest := shortest_sound_ms(show)) <= WAY_MS:
        yield (
            ("sound_ms",),
            f"{shortest:g} ms can't be kept: a note takes {WAY_MS:g} ms to the synth, and the device its own",
        )


def _safety(show: Show, folder: Path) -> Found:
    if (rate := show.safety.flashes_per_second) > WCAG_FLASHES:
        yield (
            ("safety", "flashes_per_second"),
            f"{rate:g} can harm: more than three a second provoke seizures",
        )


Look = Callable[[Show, Path], Found]
_ERRORS: Final[tuple[Look, ...]] = (_models, _files)
_WARNINGS: Final[tuple[Look, ...]] = (_contract, _sources, _shadowed, _idle, _cues, _safety)
