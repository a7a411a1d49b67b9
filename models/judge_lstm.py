"""Judges a musician: `python -m models.judge_lstm RUN --midi DIR ... [--against RUN] [--model FOLDER]`.

What it says of the music held back, in bits; how what it plays differs from what was played, in distances;
what it repeats and copies; and what a step of the exported model costs. The options that say what to read are
those of the training, and must be the same.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from models import alphabet, checkpoint, conditions, manifest, ngrams, works
from models.alphabet import Note
from models.lstm import Musician, Shape
from models.material import Line, Material
from models.recurrence import Recurrence
from models.sampling import draw
from models.train_lstm import add_material, held_out_bits, take_material

TEMPERATURE, TOP_P = 1.0, 0.99  # as a show begins
GENERATED: Final = (16, 3000)  # pieces, events of each
PHRASE: Final = 8  # notes whose repetition counts
PLAYED_BITS: Final = 20_000  # held-out events that the exported step is asked about
QUANTILES: Final = (np.arange(1000) + 0.5) / 1000
WARM: Final = 500  # steps before the clock runs


def load(folder: Path) -> tuple[Musician, dict[str, Any]]:
    """Return the network of a checkpoint and its facts; ValueError where there is none."""
    tensors, facts = checkpoint.load(folder)
    model = Musician(Shape(**facts["shape"])).eval()
    model.load_state_dict(checkpoint.unpack("model", tensors))
    return model, facts


def code_lengths(what: Material, runs: dict[str, Path]) -> dict[str, Any]:
    """Return bits per event and per note of all that was held back, under simpler models and each run."""
    train = np.concatenate([what.line(piece, None).classes for piece in what.train])
    held = np.concatenate([what.line(piece, None).classes for piece in what.held])
    events_a_note = len(held) / max(int((held < alphabet.NOTE_OFF).sum()), 1)
    table: dict[str, Any] = {}
    for name, n in (("unigram", 1), ("5-gram", 5)):
        event = ngrams.bits(train, held, n, what.classes)
        table[name] = {"event": event, "note": event * events_a_note}
    for name, folder in runs.items():
        model, facts = load(folder)
        for told in (False, True) if model.condition is not None else (False,):
            bits = held_out_bits(model, what, None, told)
            told_name = f"{name}, conditions told" if told else name
            table[told_name] = {"event": bits.event, "note": bits.note}
        table[name] |= {key: facts[key] for key in ("events_seen", "cpu_seconds", "seconds")}
    if what.facts["kind"] == "text":
        table = {name: {key: row[key] for key in row if key != "note"} for name, row in table.items()}
    return table


@torch.no_grad()
def sample(model: Musician, what: Material, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return GENERATED pieces from silence, sampled as on stage; drums hear the beat, no more is asked."""
    pieces, length = GENERATED
    event = np.full(pieces, alphabet.VELOCITY - 1)  # a second of silence, as every line begins
    steps, state = np.zeros(pieces), model.silence(pieces)
    lines = np.zeros((length, pieces), np.int64)
    for row in tqdm(lines, desc="sampling", unit=" steps", mininterval=2):
        beats = steps * alphabet.STEP_S * works.BPM / 60.0
        asked = np.concatenate([conditions.columns(what.layout, beat=beat) for beat in beats])
        known: Tensor | None = torch.from_numpy(asked)[None] if model.condition is not None else None
        logits, state = model(torch.from_numpy(event)[None], known, state)
        event = np.array([draw(one, TEMPERATURE, TOP_P, rng.random()) for one in logits[0].numpy()])
        shifts = (event >= alphabet.TIME_SHIFT) & (event < alphabet.VELOCITY)
        steps += np.where(shifts, event - alphabet.TIME_SHIFT + 1, 0)
        row[:] = event
    return list(lines.T)


def features(notes: list[Note]) -> dict[str, NDArray[np.float64]]:
    """Return what the histograms are of, each in its unit, for the notes of one piece."""
    onsets, lengths, pitches, velocities = np.array(notes, np.float64).T
    seconds = np.arange(0.0, onsets[-1] + 1e-9, 1.0)
    return {
        "pitch (semitones)": pitches,
        "duration (s)": lengths,
        "velocity": velocities,
        "inter-onset (s)": np.diff(np.sort(onsets)),
        "notes per second": np.diff(np.searchsorted(onsets, [*seconds, seconds[-1] + 1.0])).astype(float),
    }


# The earth mover's distance between two distributions on a line is the mean distance of their quantiles: how
# far, in the unit of the axis, the one has to be moved to become the other.
def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the earth mover's distance of two samples."""
    return float(np.abs(np.quantile(one, QUANTILES) - np.quantile(other, QUANTILES)).mean())


def distances(pieces: dict[str, list[list[Note]]], drums: bool) -> dict[str, dict[str, float]]:
    """Return how far generated and held-back pieces are from those trained on, by feature."""
    gathered = {}
    for name, several in pieces.items():
        each = [features(notes) for notes in several if len(notes) > 1]
        gathered[name] = {key: np.concatenate([one[key] for one in each]) for key in each[0]}
    wanted = [key for key in gathered["train"] if not (drums and key.startswith("duration"))]
    return {
        key: {
            "generated": distance(gathered["generated"][key], gathered["train"][key]),
            "held out": distance(gathered["held out"][key], gathered["train"][key]),
        }
        for key in wanted
    }


def copying(pieces: dict[str, list[list[Note]]]) -> dict[str, Any]:
    """Return what is repeated within pieces and what is shared with those trained on.

    A phrase is the steps from pitch to pitch in the order of the onsets, so that a transposed copy is a copy.
    Held-back music is measured in portions of as many notes as the generated pieces have.
    """
    steps = {name: [_steps(notes) for notes in several] for name, several in pieces.items()}
    train = np.concatenate(steps["train"])
    length = int(np.median([len(each) for each in steps["generated"]]))
    held = steps["held out"]
    portions = [one[at : at + length] for one in held for at in range(0, len(one) - length, length)]
    compared = {"generated": steps["generated"], "held out": portions or held}
    table: dict[str, Any] = {"notes a portion": length}
    for name, several in compared.items():
        shared = [ngrams.longest_shared(one, train) for one in several]
        table[name] = {
            "longest n-gram shared with training, median": float(np.median(shared)),
            "longest n-gram shared with training, largest": max(shared),
            f"share of {PHRASE}-note phrases heard before in the piece": float(
                np.mean([ngrams.repeated_share(one, PHRASE) for one in several])
            ),
        }
    return table


def _steps(notes: list[Note]) -> NDArray[np.int64]:
    pitches = np.array([note.pitch for note in sorted(notes)])
    return np.diff(pitches) + 128


def exported(folder: Path) -> Recurrence:
    """Return an exported model, ready to play; ValueError where the folder holds none."""
    model = manifest.load(folder)
    if not isinstance(model, manifest.Musician | manifest.Text):
        raise ValueError(f"{folder}: of kind {model.kind}; a musician or a text would be right")
    return Recurrence(model)


def played_bits(folder: Path, lines: list[Line]) -> dict[str, float]:
    """Return the bits per event of the first held-out events under the exported step, nothing asked for."""
    model, nats, count = exported(folder), 0.0, 0
    for line in lines:
        state = model.silence
        for event, following in zip(line.classes[:-1], line.classes[1:], strict=True):
            logits, state = model.step(int(event), state)
            top = float(logits.max())
            nats += top + math.log(float(np.exp(logits - top).sum())) - float(logits[following])
            count += 1
            if count == PLAYED_BITS:
                return {"event": nats / count / math.log(2), "events": count}
    return {"event": nats / count / math.log(2), "events": count}


def endurance(folder: Path, steps: int) -> dict[str, float]:
    """Return what a step with its sampling costs over so many, and how much the process has grown."""
    model, rng, event = exported(folder), np.random.default_rng(1), 0
    state = model.silence
    spent = np.full(steps, -1)  # touched, so that it does not count as growth
    process = psutil.Process()
    before = 0
    for number in tqdm(range(-WARM, steps), desc="steps", mininterval=5):
        if number == 0:
            before = process.memory_info().rss
        began = time.perf_counter_ns()
        logits, state = model.step(event, state)
        event = draw(logits, TEMPERATURE, TOP_P, rng.random())
        spent[max(number, 0)] = time.perf_counter_ns() - began
    grown = process.memory_info().rss - before
    low, middle, high = np.percentile(spent / 1e3, [50, 99, 99.9])
    return {"steps": steps, "p50_us": low, "p99_us": middle, "p99.9_us": high, "grown_bytes": grown}


def judge(what: Material, run: Path, against: list[Path], model: Path | None, steps: int) -> dict[str, Any]:
    """Return the whole judgement, ready for JSON."""
    runs = {str(folder): folder for folder in (run, *against)}
    report: dict[str, Any] = {"bits": code_lengths(what, runs)}
    if model is not None:
        held = [what.line(piece, None) for piece in what.held]
        report["exported"] = {
            "played": played_bits(model, held),
            "step": endurance(model, steps),
        }
    if what.facts["kind"] == "text":
        return report
    drums = what.facts["drums"]
    played = sample(load(run)[0], what, np.random.default_rng(7))
    pieces = {
        "train": [list(work.notes) for work in what.train],
        "held out": [list(work.notes) for work in what.held],
        "generated": [alphabet.decode(line.tolist()) for line in played],
    }
    report["distances"] = distances(pieces, drums)
    report["copying"] = copying(pieces)
    return report


def main() -> int:
    """Read the command line and judge; bad input ends with one clear error."""
    parser = argparse.ArgumentParser(prog="python -m models.judge_lstm", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder with the checkpoint, as OUT/best")
    parser.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="RUN", help="other checkpoints"
    )
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="the exported model, to time its step")
    parser.add_argument("--steps", type=int, default=20_000, help="of the exported model")
    parser.add_argument("--out", type=Path, help="a file for the judgement, in JSON")
    add_material(parser)
    options = vars(parser.parse_args())
    try:
        out, what = options.pop("out"), take_material(options)
        report = judge(what, **options)
    except ValueError as error:
        print(f"judge_lstm: {error}", file=sys.stderr)
        return 2
    text = json.dumps(report, indent=1, default=float)
    print(text)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
