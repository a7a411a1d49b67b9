"""The import itself, in a process of its own: `python -m models.importers.job`, a job in, lines of JSON out.

The job is one JSON object on standard input; the answers are objects on standard output, one a line:
{"progress": share, "what": ...}, and at the end {"found": {...}}, {"made": {...}}, {"question": {...}} or
{"error": "one line"}. Before anything of the file is looked at, the process limits its own memory.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, TextIO

MEMORY_BYTES = 3 << 30  # for Python, its libraries, and what a picture takes
MEMORY_CORE = 16 << 20  # for the stack of a thread on each
MEMORY_TIMES = 6  # the file's own size: its weights as they are, written, quantised and in two sessions
ONNX = (".onnx",)


def limit_memory(file: Path) -> None:
    """Give this process as much address space as the file may need, where the system can (not on Windows)."""
    try:
        import resource
    except ImportError:
        return
    size = file.stat().st_size if file.is_file() else 0
    limit = MEMORY_BYTES + MEMORY_CORE * (os.cpu_count() or 1) + MEMORY_TIMES * size
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(OSError, ValueError):  # macOS refuses
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(job: Mapping[str, Any], say: Any) -> dict[str, Any]:
    """Do a job and return its last answer. Raise CheckpointError or ValueError, one line each."""
    from models.importers.folder import Wish

    file, folder = Path(job["file"]), Path(job["folder"])
    wish = Wish(
        name=job["name"],
        title=job["title"],
        source=f"{file.name} (SHA-256 {_digest(file)})",
        bends=tuple(job["bends"]),
        classes=tuple(job["classes"]),
        precisions=("fp32", *job["precisions"]),
        licence=job["licence"],
    )
    progress = lambda share, what: say({"progress": round(share, 3), "what": what})  # noqa: E731
    task = _onnx if file.suffix.lower() in ONNX else _checkpoint
    return task(file, folder, wish, job, progress)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _checkpoint(file: Path, folder: Path, wish: Any, job: Mapping[str, Any], progress: Any) -> dict[str, Any]:
    from models.importers import read
    from models.importers.folder import check_wish, ladder, write_generator

    network = read(file)
    check_wish(network, wish)
    if job["dry"]:
        return {"found": _found(network, ladder(network))}
    return _made(write_generator(network, folder, wish, progress))


def _made(model: Any) -> dict[str, Any]:
    """Return what is to be told of a finished model, its card complete."""
    with model.path("card.md").open("a", encoding="utf-8") as card:
        card.writelines(f"\n{line}\n" for line in _gpu_lines(model))
    return {"made": {"kind": model.kind, "bytes": sum(file.bytes for file in model.files())}}


# CUDA maps far more addresses than it uses memory, so the limit goes before it comes. By then the graph has
# been checked, and has run within the limit.
def _gpu_lines(model: Any) -> list[str]:
    """Return, for each rung, what the GPU of this machine leaves to the CPU; nothing where there is none."""
    import numpy as np

    from models import providers

    provider = "CUDAExecutionProvider"
    if provider not in providers.usable_providers():
        return []
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    lines = []
    with np.load(model.path(model.golden.file), allow_pickle=False) as golden:
        for rung in model.rungs if model.kind == "generator" else (model.rung,):
            stem = rung.version(("fp32",)).file.removesuffix(".onnx")
            feed = {name: golden[f"{stem}/{name}"] for name in rung.inputs}
            data = model.path(rung.version(("fp16", "fp32")).file).read_bytes()
            try:
                line = providers.fallback(providers.profile(data, feed, provider), provider)
            except Exception as error:  # whatever a driver throws: it plays on the CPU all the same
                line = f"{provider} can't run it: {' '.join(str(error).split())[:200]}"
            lines += [f"{rung.name} px: {line}"] if line else []
    return lines


def _found(network: Any, heights: tuple[int, ...]) -> dict[str, Any]:
    """Return what a dry run tells of a generator."""
    return {
        "network": network.architecture,
        "picture": f"{network.heights[0]} px",
        "rungs": ", ".join(f"{height} px" for height in heights),
        "z, w, styles": f"{network.z_dim}, {network.w_dim}, {network.num_ws}",
        "classes": network.classes or "none",
        "noise inputs": len(network.noises) or "none",
        "transform": "yes" if network.transform else "no",
        "layers to bend": ", ".join(layer.name for layer in network.layers) or "none",
        **network.facts,
    }


def _onnx(file: Path, folder: Path, wish: Any, job: Mapping[str, Any], progress: Any) -> dict[str, Any]:
    from models.importers import check, wrap
    from models.importers.folder import check_wish, ladder, write_effect, write_generator
    from models.importers.network import CheckpointError, printable
    from models.importers.roles import Hints, Question, check_classes, work_out

    if file.stat().st_size > check.LIMITS.file_bytes:
        raise CheckpointError(f"{file}: larger than {check.LIMITS.file_bytes >> 20} MB")
    model = check.parse(file.read_bytes())
    hints = Hints(**job["hints"])
    wrap.noise_as_inputs(model, _shapes(model))
    roles = work_out(model, hints)
    cost = check.cost(model, roles.shapes)
    facts = {
        "inputs": printable(", ".join(f"{name} {shape}" for name, shape in roles.shapes.items())),
        "picture": f"{printable(roles.output)}: {roles.width} x {roles.height}, {roles.layout}, "
        f"{roles.channels} channels, {roles.range[0]:g} to {roles.range[1]:g}",
        "nodes": sum(cost.operators.values()),
        "multiply-adds a picture": f"{cost.macs / 1e9:.2f} G",
        "memory at the peak": f"{cost.memory_bytes / 1e6:.0f} MB"
        + (f", {cost.unknown} values of unknown size aside" if cost.unknown else ""),
    }
    if roles.picture:
        if job["dry"]:
            return {"found": {"kind": "an image network, picture to picture", **facts}}
        effect = partial(wrap.effect, wrap.modern(model), roles)
        return _made(write_effect(effect, folder, wish, facts, progress))
    label = roles.shapes.get(roles.label, ())
    classes = 0
    if roles.label:
        classes = label[1] if len(label) == 2 and label[1] > 1 else len(wish.classes)
        if not classes:
            raise Question(f"how many classes does {roles.label!r} count?", "classes", ("A,B,C",))
        if label[1:] != (classes,):
            check_classes(model, roles, classes)
    inputs = {"latent": roles.latent, "label": roles.label, "truncation": roles.psi}
    facts |= {what: printable(name or "none") for what, name in inputs.items()}
    network = wrap.network(wrap.modern(model), roles, classes, facts)
    check_wish(network, wish)
    if job["dry"]:
        return {"found": _found(network, ladder(network))}
    return _made(write_generator(network, folder, wish, progress))


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a model's noise would have, its inputs taken one at a time."""
    from models.importers import check, roles

    one = {
        each.name: tuple(side or 1 for side in each.shape)
        for each in roles.inputs_of(model)
        if prod(side or 1 for side in each.shape) < 1 << 28
    }
    return dict(check.cost(model, one).shapes)


def main(read: TextIO, write: TextIO) -> int:
    """Read a job, do it, write the answers; 0 if it could be done."""
    job = json.load(read)
    limit_memory(Path(job["file"]))

    def say(answer: Mapping[str, Any]) -> None:
        print(json.dumps(answer), file=write, flush=True)

    from models.importers.network import CheckpointError
    from models.importers.roles import Question

    try:
        say(run(job, say))
    except Question as question:
        say({"question": {"text": question.text, "option": question.option, "answers": question.answers}})
    except (CheckpointError, ValueError) as error:
        say({"error": " ".join(str(error).split())})
    except OSError as error:
        why = error.strerror or f"not written whole ({error}): is the disk full?"  # the latter of numpy
        say({"error": f"{error.filename or job['folder']}: {why}"})
    except MemoryError:
        say({"error": "it needs more memory than such a file may"})
    else:
        return 0
    return 1


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else prints does not disturb the answers
    sys.exit(main(sys.stdin, answers))
