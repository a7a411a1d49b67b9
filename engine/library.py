"""Where the models are: a name in a show becomes a folder and its manifest."""

from pathlib import Path
from typing import TypeVar

from models import manifest

WEIGHTS = Path(manifest.__file__).resolve().parent / "weights"

Kind = TypeVar("Kind", manifest.Generator, manifest.Musician, manifest.Text)


class NoModel(ValueError):
    """A show names a model that is not here, or one that can't do what it is named for."""


def names() -> list[str]:
    """Return the names of the models that are here."""
    return sorted(folder.parent.name for folder in WEIGHTS.glob(f"*/{manifest.FILE}"))


def find(name: str, kind: type[Kind]) -> tuple[Path, Kind]:
    """Return the folder and manifest of a model. Raise NoModel, naming those that are here."""
    if name not in names():
        raise NoModel(f"there is no model {name!r} here; there are: {', '.join(names()) or 'none'}")
    found = manifest.load(WEIGHTS / name)
    if not isinstance(found, kind):
        raise NoModel(f"{name!r} is a {found.kind}, and a {kind.__name__.lower()} is wanted")
    return WEIGHTS / name, found
