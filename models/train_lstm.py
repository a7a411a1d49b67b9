"""Trains the musician: `python -m models.train_lstm --midi DIR --minutes 25 --out DIR [--resume]`.

Truncated backpropagation through time with the state carried from one window to the next; whole works are
held back for validation, and the figure that counts is their bits per event.
"""

import argparse
import hashlib
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from models import checkpoint, midi
from models.allocator import keep_freed_memory
from models.alphabet import EVENTS, Note, encode
from models.autocast import autocast
from models.lstm import Musician, Shape
from models.stopping import stop_requests

BATCH = 16  # streams
WINDOW = 128  # events of one backpropagation
LEARNING_RATE = 2e-3  # at first; falls to a tenth along half a cosine
CLIP = 1.0  # norm of the gradient
DROPOUT = 0.1
HELD_OUT = 10  # one work in so many is held back
VALIDATION_EVENTS = 2048  # of each held-out work
CHECKPOINT_S = 180.0


def split(works: dict[str, list[Note]]) -> tuple[list[list[Note]], list[list[Note]]]:
    """Return the works for training and those held back, chosen by the hash of their names, so for good."""
    names = sorted(works, key=lambda name: hashlib.sha256(name.encode()).digest())
    held = names[: max(1, len(names) // HELD_OUT)]
    return [works[name] for name in sorted(set(works) - set(held))], [works[name] for name in sorted(held)]


def streams(works: list[list[Note]], seed: int, epoch: int) -> Tensor:
    """Return one epoch as (time, BATCH) events: the works varied, shuffled and laid end to end."""
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(works))
    events = np.concatenate([encode(midi.varied(works[number], rng)) for number in order])
    events = np.resize(events, max(len(events), BATCH * (WINDOW + 1)))  # too little music goes round
    length = len(events) // BATCH
    return torch.from_numpy(events[: length * BATCH].reshape(BATCH, length).T.astype(np.int64))


@torch.no_grad()
def bits_per_event(model: Musician, works: list[list[Note]]) -> float:
    """Return the mean code length of the works' first events under the model, side by side as a batch."""
    model.eval()
    lines = [torch.tensor(encode(work)[: VALIDATION_EVENTS + 1]) for work in works]
    events = torch.nn.utils.rnn.pad_sequence(lines, padding_value=-100)  # (time, works)
    logits, _ = model(events[:-1].clamp(min=0), model.silence(len(works)))
    nats = F.cross_entropy(logits.reshape(-1, EVENTS), events[1:].reshape(-1), ignore_index=-100)
    model.train()
    return float(nats) / math.log(2)


def unigram_bits(train: list[list[Note]], held: list[list[Note]]) -> float:
    """Return the held-out bits per event under the plain frequencies of training: what to be better than."""
    count = np.bincount(np.concatenate([encode(work) for work in train]), minlength=EVENTS) + 1.0
    events = np.concatenate([encode(work)[1 : VALIDATION_EVENTS + 1] for work in held])
    return float(-np.log2(count / count.sum())[events].mean())


def train(
    folder: Path,
    out: Path,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    seed: int = 0,
    shape: Shape | None = None,
) -> None:
    """Train on the MIDI files below `folder` until the budget (`minutes` or `steps` in all) is used up.

    `out` receives the checkpoint with the lowest held-out bits under `best`, and the last one. ValueError
    where the files or the checkpoint won't do. With `steps`, an interrupted run that is resumed ends with the
    weights of an uninterrupted one.
    """
    works, held = split(midi.read_works(folder))
    shape = shape or Shape()
    torch.manual_seed(seed)
    model = Musician(shape, DROPOUT)
    adam = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    state = model.silence(BATCH)
    facts: dict[str, Any] = {
        "kind": "lstm",
        "shape": asdict(shape),
        "seed": seed,
        "works": len(works),
        "works_held": len(held),
        "unigram_bits": round(unigram_bits(works, held), 4),
        "step": 0,
        "events_seen": 0,
        "seconds": 0.0,
        "epoch": 0,
        "window": 0,
        "curve": [],
    }
    if resume:
        tensors, known = checkpoint.load(out)
        if known.get("shape") != facts["shape"]:
            raise ValueError(f"{out}: the checkpoint is of {known.get('shape')}, not {facts['shape']}")
        facts = known
        model.load_state_dict(checkpoint.unpack("model", tensors))
        checkpoint.set_adam(adam, checkpoint.unpack("adam", tensors))
        state = (tensors["h"], tensors["c"])
        torch.set_rng_state(tensors["rng"])
    (out / "best").mkdir(parents=True, exist_ok=True)

    def save() -> None:
        weights = checkpoint.pack("model", model.state_dict())
        bits = round(bits_per_event(model, held), 4)
        facts["curve"].append([facts["events_seen"], bits])
        if bits <= min(known for _, known in facts["curve"]):
            checkpoint.save(out / "best", weights, facts)
        adams = checkpoint.pack("adam", checkpoint.adam_tensors(adam))
        rest = {"rng": torch.get_rng_state(), "h": state[0], "c": state[1]}
        checkpoint.save(out, weights | adams | rest, facts)
        bar.write(f"{facts['events_seen']} events seen, {bits} bits per event held out")

    def progress() -> float:
        spent = facts["step"] / steps if steps else facts["seconds"] / (60 * (minutes or 25.0))
        return min(float(spent), 1.0)

    bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed} {postfix}", mininterval=2)
    saved = time.monotonic()
    events = streams(works, seed, facts["epoch"])
    with stop_requests() as stop:
        bar.write(f"{len(works)} works, {len(held)} held out; unigram {facts['unigram_bits']} bits per event")
        while progress() < 1 and not stop():
            began = time.monotonic()
            at = facts["window"] * WINDOW
            if at + 1 >= len(events):
                facts["epoch"] += 1
                facts["window"] = at = 0
                events = streams(works, seed, facts["epoch"])
                state = model.silence(BATCH)
            past, future = events[at : at + WINDOW], events[at + 1 : at + WINDOW + 1]
            with autocast():
                logits, after = model(past[: len(future)], state)
            state = (after[0].detach().float(), after[1].detach().float())
            loss = F.cross_entropy(logits.float().reshape(-1, EVENTS), future.reshape(-1))
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            for group in adam.param_groups:
                group["lr"] = LEARNING_RATE * (0.55 + 0.45 * math.cos(math.pi * progress()))
            adam.step()
            facts["step"] += 1
            facts["window"] += 1
            facts["events_seen"] += future.numel()
            facts["seconds"] += time.monotonic() - began
            bar.update(100 * progress() - bar.n)
            if facts["step"] % 20 == 0:
                rate = future.numel() / (time.monotonic() - began)
                bar.set_postfix(
                    epoch=facts["epoch"], bits=round(loss.item() / math.log(2), 3), rate=round(rate)
                )
            if time.monotonic() - saved > CHECKPOINT_S:
                save()
                saved = time.monotonic()
    save()
    bar.close()


def main() -> int:
    """Read the command line and train; bad input ends with one clear error."""
    parser = argparse.ArgumentParser(prog="python -m models.train_lstm", description=__doc__.splitlines()[0])
    parser.add_argument("--midi", type=Path, required=True, dest="folder", help="folder of MIDI files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--minutes", type=float, default=25.0, help="training time in all, resumed runs too")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    keep_freed_memory()
    try:
        train(**options)
    except ValueError as error:
        print(f"train_lstm: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
