"""Trains the musician: `python -m models.train_lstm --midi DIR ... --minutes 30 --out DIR [--resume]`.

`--midi` takes folders of MIDI files, MusicXML scores and Chladni's recordings; `--text FILE` trains on
characters instead. Truncated backpropagation through time with the state carried from one window to the next;
whole works or performers are held back, and the figure that counts is their bits per event.
"""

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from models import checkpoint, material
from models.allocator import keep_freed_memory
from models.alphabet import NOTE_OFF
from models.autocast import autocast
from models.lstm import CELLS, Musician, Shape
from models.manifest import Conditions
from models.material import Line, Material
from models.stopping import stop_requests

BATCH: Final = 16  # streams
WINDOW: Final = 64  # events of one backpropagation
LEARNING_RATE: Final = 2e-3  # of Adam
CLIP: Final = 1.0  # norm of the gradient
VALIDATION_EVENTS: Final = 2048  # of each held-out piece, while training
CHECKPOINT_S: Final = 180.0
NOTHING_ASKED, GROUP_LEFT_OUT, ALWAYS_KNOWN_LEFT_OUT = 0.5, 0.5, 0.1


@dataclass(frozen=True)
class Bits:
    """Mean code length of held-out pieces: bits per event, and per note where the events are music."""

    event: float
    note: float


def streams(what: Material, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """Return one epoch, the pieces varied, shuffled and laid end to end in BATCH streams.

    Classes are int64 (time, BATCH), conditions float16 (time, BATCH, columns).
    """
    rng = np.random.default_rng((seed, epoch))
    lines = [what.line(what.train[number], rng) for number in rng.permutation(len(what.train))]
    classes = np.concatenate([line.classes for line in lines])
    asked = np.concatenate([line.conditions for line in lines])
    length = max(len(classes) // BATCH, WINDOW + 1)  # too little music goes round
    round_and_round = np.arange(length * BATCH) % len(classes)
    classes = classes[round_and_round].reshape(BATCH, length).T
    asked = asked[round_and_round].reshape(BATCH, length, -1).swapaxes(0, 1)
    return torch.from_numpy(np.ascontiguousarray(classes)), torch.from_numpy(np.ascontiguousarray(asked))


def groups(layout: Conditions) -> list[tuple[int, float]]:
    """Return the width of each group of columns, and how often it is left out where something is asked."""
    return [
        (len(layout.densities), GROUP_LEFT_OUT),
        (12 * layout.pitch_classes, GROUP_LEFT_OUT),
        (4 * (layout.bar_beats > 0), ALWAYS_KNOWN_LEFT_OUT),
        (len(layout.styles), ALWAYS_KNOWN_LEFT_OUT),
    ]


# Density and pitch classes tell of the music to come, so that a network that always sees them leans on them
# and is lost without. Half of the time it therefore sees neither, and each of them half of the rest. The beat
# and the style tell nothing of what follows; they are mostly there, on stage too.
def kept(layout: Conditions, rng: np.random.Generator) -> Tensor:
    """Return which columns each stream sees in a window, float32 (BATCH, columns)."""
    silent = rng.random((BATCH, 1)) < NOTHING_ASKED
    masks = []
    for width, left_out in groups(layout):
        off = rng.random((BATCH, 1)) < left_out
        if left_out == GROUP_LEFT_OUT:
            off |= silent
        masks.append(np.repeat(~off, width, 1))
    return torch.from_numpy(np.concatenate(masks, 1).astype(np.float32))


@torch.no_grad()
def held_out_bits(
    model: Musician, what: Material, most: int | None = VALIDATION_EVENTS, asked: bool = False
) -> Bits:
    """Return the code length of the held-out pieces, the first `most` events of each, side by side.

    With `asked` the conditions are told, otherwise nothing is asked for but the beat, which is always known.
    """
    model.eval()
    lines = sorted((what.line(piece, None) for piece in what.held), key=lambda line: len(line.classes))
    nats = events = notes = 0.0
    for first in range(0, len(lines), BATCH):
        batch = lines[first : first + BATCH]
        classes, conditions = padded(batch, most)
        if not asked:
            conditions = conditions * always_known(what.layout)
        state = model.silence(len(batch))
        for at in range(0, len(classes) - 1, WINDOW):
            future = classes[at + 1 : at + WINDOW + 1]
            past = classes[at : at + len(future)].clamp(min=0)
            logits, state = model(past, conditions[at : at + len(future)], state)
            nats += float(
                F.cross_entropy(logits.flatten(0, 1), future.flatten(), ignore_index=-100, reduction="sum")
            )
            events += float((future >= 0).sum())
            notes += float(((future >= 0) & (future < NOTE_OFF)).sum())
    model.train()
    bits = nats / math.log(2)
    return Bits(bits / events, bits / max(notes, 1.0))


def padded(lines: list[Line], most: int | None) -> tuple[Tensor, Tensor]:
    """Return lines side by side: classes (time, lines), -100 where one has ended, and conditions."""
    length = max(len(line.classes[: most and most + 1]) for line in lines)
    classes = np.full((length, len(lines)), -100)
    conditions = np.zeros((length, len(lines), lines[0].conditions.shape[1]), np.float32)
    for column, line in enumerate(lines):
        end = min(len(line.classes), length)
        classes[:end, column] = line.classes[:end]
        conditions[:end, column] = line.conditions[:end]
    return torch.from_numpy(classes), torch.from_numpy(conditions)


def always_known(layout: Conditions) -> Tensor:
    """Return 1 for the columns of the beat, 0 for the others, float32 (columns,)."""
    widths = [width for width, _ in groups(layout)]
    return torch.tensor(np.repeat([0.0, 0.0, 1.0, 0.0], widths), dtype=torch.float32)


def unigram(what: Material) -> tuple[Tensor, float]:
    """Return the logarithms of the frequencies in training, and the held-out bits per event under them."""
    lines = [what.line(piece, None).classes for piece in what.train]
    count = np.bincount(np.concatenate(lines), minlength=what.classes) + 1.0
    events = np.concatenate([what.line(p, None).classes[1 : VALIDATION_EVENTS + 1] for p in what.held])
    logarithms = np.log(count / count.sum())
    bits = float(-logarithms[events].mean() / math.log(2))
    return torch.from_numpy(logarithms.astype(np.float32)), bits


def train(
    what: Material,
    out: Path,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    seed: int = 0,
    shape: Shape | None = None,
    dropout: float = 0.1,
    rate: float = LEARNING_RATE,
    start: Path | None = None,
) -> None:
    """Train until the budget (`minutes` or `steps` in all) is used up.

    The learning rate falls from `rate` to a hundredth of it along half a cosine. `out` receives the
    checkpoint with the lowest held-out bits under `best`, the last one, and `curve.csv`. `start` is a
    checkpoint of the same shape whose weights are the first. ValueError where a checkpoint won't do. With
    `steps`, an interrupted run that is resumed ends with the weights of an uninterrupted one.
    """
    shape = replace(shape or Shape(), classes=what.classes, conditions=what.layout.width)
    torch.manual_seed(seed)
    model = Musician(shape, dropout)
    frequencies, bits_to_beat = unigram(what)
    with torch.no_grad():
        model.output.bias.copy_(frequencies)  # so that it begins as the unigram
    adam = torch.optim.Adam(model.parameters(), rate, fused=True)
    state = model.silence(BATCH)
    facts: dict[str, Any] = {
        **what.facts,
        "shape": asdict(shape),
        "seed": seed,
        "pieces": len(what.train),
        "pieces_held": len(what.held),
        "unigram_bits": round(bits_to_beat, 4),
        "step": 0,
        "events_seen": 0,
        "seconds": 0.0,  # of this clock on the wall
        "cpu_seconds": 0.0,  # of the processor
        "epoch": 0,
        "window": 0,
        "curve": [],
    }
    if start is not None:
        tensors, known = checkpoint.load(start)
        _same_shape(start, known, facts)
        model.load_state_dict(checkpoint.unpack("model", tensors))
    if resume:
        tensors, known = checkpoint.load(out)
        _same_shape(out, known, facts)
        facts = known
        model.load_state_dict(checkpoint.unpack("model", tensors))
        checkpoint.set_adam(adam, checkpoint.unpack("adam", tensors))
        state = tuple(tensors[f"state.{name}"] for name in shape.state)
        torch.set_rng_state(tensors["rng"])
    (out / "best").mkdir(parents=True, exist_ok=True)

    def save(trained: float) -> None:
        weights = checkpoint.pack("model", model.state_dict())
        bits = held_out_bits(model, what).event
        facts["curve"].append(
            [facts["events_seen"], round(facts["seconds"]), round(trained, 4), round(bits, 4)]
        )
        if bits <= min(row[-1] for row in facts["curve"]) + 5e-5:
            checkpoint.save(out / "best", weights, facts)
        adams = checkpoint.pack("adam", checkpoint.adam_tensors(adam))
        states = {f"state.{name}": part for name, part in zip(shape.state, state, strict=True)}
        checkpoint.save(out, weights | adams | states | {"rng": torch.get_rng_state()}, facts)
        write_curve(out / "curve.csv", facts["curve"])
        say(f"{facts['events_seen']} events seen, {bits:.3f} bits per event held out")

    def say(line: str) -> None:
        bar.write(line)
        sys.stdout.flush()  # who reads it through a pipe, or in a log, has it at once too

    def progress() -> float:
        spent = facts["step"] / steps if steps else facts["seconds"] / (60 * (minutes or 30.0))
        return min(float(spent), 1.0)

    bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed} {postfix}", mininterval=2)
    saved, recent = time.monotonic(), [0.0]
    classes, asked = streams(what, seed, facts["epoch"])
    with stop_requests() as stop:
        counts = f"{len(what.train)} pieces, {len(what.held)} held out"
        say(f"{counts}; unigram {facts['unigram_bits']} bits per event")
        while progress() < 1 and not stop():
            began, began_cpu = time.monotonic(), time.process_time()
            at = facts["window"] * WINDOW
            if at + 1 >= len(classes):
                facts["epoch"] += 1
                facts["window"] = at = 0
                classes, asked = streams(what, seed, facts["epoch"])
                state = model.silence(BATCH)
            future = classes[at + 1 : at + WINDOW + 1]
            rng = np.random.default_rng((seed, facts["epoch"], facts["window"]))
            seen = asked[at : at + len(future)].float() * kept(what.layout, rng)
            with autocast():
                logits, after = model(classes[at : at + len(future)], seen, state)
            state = tuple(part.detach().float() for part in after)
            loss = F.cross_entropy(logits.float().flatten(0, 1), future.flatten())
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            for group in adam.param_groups:
                group["lr"] = rate * (0.505 + 0.495 * math.cos(math.pi * progress()))
            adam.step()
            recent = [*recent[-99:], loss.item() / math.log(2)]
            facts["step"] += 1
            facts["window"] += 1
            facts["events_seen"] += future.numel()
            facts["seconds"] += time.monotonic() - began
            facts["cpu_seconds"] += time.process_time() - began_cpu
            bar.update(100 * progress() - bar.n)
            if facts["step"] % 20 == 0:
                pace = future.numel() / (time.monotonic() - began)
                bar.set_postfix(epoch=facts["epoch"], bits=round(float(np.mean(recent)), 3), rate=round(pace))
            if time.monotonic() - saved > CHECKPOINT_S:
                save(float(np.mean(recent)))
                saved = time.monotonic()
    save(float(np.mean(recent)))
    bar.close()


def _same_shape(folder: Path, known: dict[str, Any], facts: dict[str, Any]) -> None:
    if known.get("shape") != facts["shape"]:
        raise ValueError(f"{folder}: the checkpoint is of {known.get('shape')}, not {facts['shape']}")


def write_curve(path: Path, rows: list[list[float]]) -> None:
    """Write the learning curve as a table, for any program that plots."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["events", "seconds", "training bits per event", "held-out bits per event"])
        writer.writerows(rows)


def add_material(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to read."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--midi", type=Path, nargs="+", metavar="DIR", help="MIDI, MusicXML, recordings")
    source.add_argument(
        "--text", type=Path, metavar="FILE", help="text in UTF-8, pieces parted by empty lines"
    )
    parser.add_argument("--style", metavar="COLUMN", help="of the folder's table (.csv), or `folder`")
    parser.add_argument("--group", metavar="COLUMN", help="held back whole: performer, say; else each file")
    parser.add_argument("--drums", action="store_true", help="channel 10 alone, in beats")
    parser.add_argument("--plain", action="store_true", help="without conditions")


def take_material(options: dict[str, Any]) -> Material:
    """Read what the options of `add_material` name, and take them out."""
    folders, path = options.pop("midi"), options.pop("text")
    named = {name: options.pop(name) for name in ("style", "group", "drums", "plain")}
    return material.text(path) if path else material.music(folders, **named)


def main() -> int:
    """Read the command line and train; bad input ends with one clear error."""
    parser = argparse.ArgumentParser(prog="python -m models.train_lstm", description=__doc__.splitlines()[0])
    add_material(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--minutes", type=float, default=30.0, help="training time in all, resumed runs too")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--start", type=Path, metavar="DIR", help="a checkpoint whose weights are the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=LEARNING_RATE, help="of learning, at first")
    parser.add_argument("--dropout", type=float, default=0.1, help="more where the material is little")
    parser.add_argument("--cell", choices=list(CELLS), default=Shape.cell)
    fields: dict[str, Callable[[Any], Any]] = {
        "layers": int,
        "hidden": int,
        "embedding": int,
        "attention": int,
    }
    for name, kind in fields.items():
        parser.add_argument(f"--{name}", type=kind, default=getattr(Shape, name))
    options = vars(parser.parse_args())
    keep_freed_memory()
    shape = Shape(**{name: options.pop(name) for name in ("cell", *fields)})
    try:
        train(take_material(options), shape=shape, **options)
    except ValueError as error:
        print(f"train_lstm: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
