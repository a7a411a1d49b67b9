"""Where the models are: a name in a show becomes a folder and its manifest."""

import os
from pathlib import Path
from typing import TypeVar

from models import manifest

WEIGHTS = Path(manifest.__file__).resolve().parent / "weights"  # what is shipped

Kind = TypeVar("Kind", bound=manifest.Model)


class NoModel(ValueError):
    """A show names a model that is not here, or one that can't do what it is named for."""


def user_folder() -> Path:
    """Return where a user's own models lie: `$CHLADNI_MODELS`, else in the user's data (XDG)."""
    own = os.environ.get("CHLADNI_MODELS")
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(own).absolute() if own else Path(data) / "chladni" / "models"


def names() -> list[str]:
    """Return the names of the models that are here."""
    return sorted(_folders())


def _folders() -> dict[str, Path]:
    """Return the folder of each model by name; one that is shipped is hidden by no other."""
    found = [file.parent for place in (user_folder(), WEIGHTS) for file in place.glob(f"*/{manifest.FILE}")]
    return {folder.name: folder for folder in found if manifest.is_name(folder.name)}


def folder_of(name: str) -> Path:
    """Return the folder of a model. Raise NoModel, naming those that are here."""
    folders = _folders()
    if name not in folders:
        raise NoModel(f"there is no model {name!r} here; there are: {', '.join(sorted(folders)) or 'none'}")
    return folders[name]


def look(name: str, kind: type[Kind]) -> tuple[Path, Kind]:
    """Return the folder and manifest of a model, its files not looked at. Raise NoModel or ManifestError."""
    return _of_kind(name, manifest.read(folder_of(name)), kind)


def find(name: str, kind: type[Kind]) -> tuple[Path, Kind]:
    """Return the folder and manifest of a model, every file checked. Raise NoModel or ManifestError."""
    return _of_kind(name, manifest.load(folder_of(name)), kind)


def _of_kind(name: str, found: manifest.Model, kind: type[Kind]) -> tuple[Path, Kind]:
    if not isinstance(found, kind):
        raise NoModel(f"{name!r} is no {_kind(kind)}, but a model of kind {_kind(type(found))}")
    return folder_of(name), found


def _kind(model: type[manifest.Model]) -> str:
    return model.__name__.lower()


def generators() -> list[str]:
    """Return the names of the generators that are here; what can't be read is none."""
    found = []
    for name, folder in sorted(_folders().items()):
        try:
            model = manifest.read(folder)
        except manifest.ManifestError:
            continue
        if isinstance(model, manifest.Generator):
            found.append(name)
    return found
