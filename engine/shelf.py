"""The models on the shelf: listed, shown, verified against their hashes, removed."""

import shutil
from collections.abc import Callable

from engine import library
from models import manifest

Answer = tuple[str, int]  # the text, and the exit status


def listed(name: str | None) -> Answer:
    """Return a line for each model."""
    rows = []
    for each in library.names() if name is None else [name]:
        folder = library.folder_of(each)
        where = "shipped" if folder.parent == library.WEIGHTS else str(folder)
        try:
            model = manifest.read(folder)
            rows.append((each, type(model).__name__.lower(), _size(model), model.licence, where))
        except manifest.ManifestError as error:
            rows.append((each, "unusable", "", "", str(error)))
    wide = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, wide, strict=False)), row[4]]) for row in rows
    ]
    return "\n".join(lines) or f"none; import one into {library.user_folder()}", 0


def _size(model: manifest.Model) -> str:
    if isinstance(model, manifest.Generator):
        best = model.rungs[0]
        return f"{best.width} x {best.height}"
    if isinstance(model, manifest.Effect):
        height, width, _ = model.rung.inputs["image"]
        return f"{width} x {height} to {model.rung.width} x {model.rung.height}"
    return ""


def shown(name: str | None) -> Answer:
    """Return what a model's manifest says."""
    model = manifest.read(library.folder_of(_named(name)))
    lines = [
        f"{model.title} ({type(model).__name__.lower()})",
        f"licence     {model.licence}",
        f"provenance  {model.provenance}",
        *(f"credit      {credit}" for credit in model.credits),
        f"files       {sum(file.bytes for file in model.files()) / 1e6:.1f} MB in {model.path('')}",
    ]
    if isinstance(model, manifest.Generator):
        inputs = {name for rung in model.rungs for name in rung.inputs}
        knobs = [f"bend.{number} ({layer})" for number, layer in enumerate(model.bends, 1)]
        knobs += [f"{each}.*" for each in ("transform", "noise") if any(i.startswith(each) for i in inputs)]
        lines.append(f"latents     z {model.z_dim}, w {model.w_dim}, {model.num_ws} styles")
        lines.append(f"classes     {', '.join(model.classes) or 'none'}")
        lines.append(f"knobs       psi, mix.*, direction.*, {', '.join(knobs)}".rstrip(", "))
    rungs = model.rungs if isinstance(model, manifest.Generator) else ()
    for rung in (model.rung,) if isinstance(model, manifest.Effect) else rungs:
        versions = [
            each.precision + ("" if each.psnr_db is None else f" ({each.psnr_db} dB)")
            for each in rung.versions
        ]
        lines.append(f"rung        {rung.width} x {rung.height}: {', '.join(versions)}")
    return "\n".join(lines), 0


def verified(name: str | None) -> Answer:
    """Return for each model whether every file is the one that its manifest means."""
    lines, status = [], 0
    for each in library.names() if name is None else [name]:
        try:
            manifest.load(library.folder_of(each))
            lines.append(f"ok    {each}")
        except manifest.ManifestError as error:
            lines.append(f"FAIL  {each}: {error}")
            status = 1
    return "\n".join(lines), status


def removed(name: str | None) -> Answer:
    """Remove one of the user's models. Raise NoModel for one that is shipped, or not here."""
    folder = library.folder_of(_named(name))
    if folder.parent == library.WEIGHTS:
        raise library.NoModel(f"{name!r} is shipped and stays")
    folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
    return f"removed {folder}", 0


def _named(name: str | None) -> str:
    if name is None:
        raise library.NoModel(f"which model? There are: {', '.join(library.names())}")
    return name


ACTIONS: dict[str, Callable[[str | None], Answer]] = {
    "list": listed,
    "show": shown,
    "verify": verified,
    "remove": removed,
}
