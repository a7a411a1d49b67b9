"""Measures the musician's cells on Bach's chorales: `python -m models.judge_chorales`, by the frame, in nats.

The published figures on the JSB chorales are 8.45 for an LSTM and 8.10 for a TCN (Bai et al. 2018,
arXiv:1803.01271, table 1). They are of Boulanger-Lewandowski's piano rolls (2012), which come as pickles
alone; this reads the same music from the scores in music21's package (`pip install --no-deps music21`) at run
time and writes it down in the same way, so that the figures are of one kind, and not of one split:

- every score of four parts and no more, as written, repeats once;
- transposed to C major or C minor by its key signature, by the nearest way;
- one frame a quarter note: which of the 88 keys from 21 to 108 sound at its beginning;
- six tenths of the pieces to train, two to choose when to stop, two to test, by the hash of the file's name;
- the frame after each frame is predicted, 88 independent probabilities; the figure is the mean over all
  frames of the negative log-likelihood of all 88, in nats.
"""

import argparse
import hashlib
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from models.lstm import CELLS, Cell

LOWEST, KEYS = 21, 88
TONICS = {"major": 0, "minor": 9}  # semitones of the tonic above C without accidentals
BATCH: Final = 8
DROPOUT: Final = 0.5  # there are only 20,000 frames
NOISE: Final = 0.1  # share of the keys' state that is dropped at the input
PATIENCE: Final = 30  # epochs without a better validation
LEARNING_RATE: Final = 2e-3


def rolls(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return the piano roll (frames, 88) of each chorale of four parts below a folder, by file name."""
    from partitura import load_musicxml, score

    found = {}
    for path in tqdm(sorted(folder.glob("*.mxl")), unit=" scores", mininterval=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = load_musicxml(path).parts
        keys = [key for part in parts for key in part.iter_all(score.KeySignature)]
        if len(parts) != 4 or not keys:
            continue
        tonic = (keys[0].fifths * 7 + TONICS.get(keys[0].mode or "major", 0)) % 12
        shift = -tonic if tonic <= 6 else 12 - tonic
        notes = np.concatenate([_rows(part.note_array()) for part in parts])
        start = np.floor(notes[:, 0].min())
        roll = np.zeros((int(np.ceil((notes[:, :2].sum(1)).max() - start)), KEYS), np.float32)
        for onset, length, pitch in notes:
            key = int(pitch) + shift - LOWEST
            first, end = np.ceil(onset - start - 1e-6), np.ceil(onset + length - start - 1e-6)
            if 0 <= key < KEYS:
                roll[int(first) : int(end), key] = 1.0
        found[path.name] = roll
    return found


def _rows(table: NDArray[np.void]) -> NDArray[np.float64]:
    return np.stack([table["onset_quarter"], table["duration_quarter"], table["pitch"]], -1).astype(float)


class Frames(nn.Module):
    """The musician's cells between 88 keys and 88 keys."""

    def __init__(self, cell: Cell, layers: int, hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(KEYS, hidden)
        self.cells = CELLS[cell](hidden, hidden, layers, dropout=DROPOUT if layers > 1 else 0.0)
        self.output = nn.Linear(hidden, KEYS)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames (time, batch, 88) to the logits of the frames after them."""
        heard = F.dropout(frames, NOISE, self.training)
        x, _ = self.cells(F.dropout(torch.relu(self.input(heard)), DROPOUT / 2, self.training))
        logits: Tensor = self.output(F.dropout(x, DROPOUT, self.training))
        return logits


def loss(model: Frames, pieces: list[Tensor]) -> tuple[Tensor, int]:
    """Return the negative log-likelihood of all frames but the first of each piece, and their number."""
    frames = nn.utils.rnn.pad_sequence(pieces)  # (time, batch, 88)
    lengths = torch.tensor([len(piece) - 1 for piece in pieces])
    real = (torch.arange(len(frames) - 1)[:, None] < lengths).float()
    each = F.binary_cross_entropy_with_logits(model(frames[:-1]), frames[1:], reduction="none").sum(-1)
    return (each * real).sum(), int(lengths.sum())


@torch.no_grad()
def nats_a_frame(model: Frames, pieces: list[Tensor]) -> float:
    """Return the mean negative log-likelihood of a frame."""
    model.eval()
    total, count = loss(model, pieces)
    model.train()
    return float(total) / count


def measure(folder: Path, cell: Cell, layers: int, hidden: int, seed: int = 0) -> tuple[float, float, int]:
    """Train until validation stops getting better; return its nats a frame, those of the test, the epochs."""
    found = rolls(folder)
    names = sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest())
    pieces = [torch.from_numpy(found[name]) for name in names]
    cuts = round(0.6 * len(pieces)), round(0.8 * len(pieces))
    train, held, test = pieces[: cuts[0]], pieces[cuts[0] : cuts[1]], pieces[cuts[1] :]
    print(f"{len(train)} chorales to train, {len(held)} to validate, {len(test)} to test")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Frames(cell, layers, hidden)
    adam = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    best, tested, best_epoch, epoch = np.inf, np.inf, 0, 0
    while epoch - best_epoch < PATIENCE:
        order = rng.permutation(len(train))
        for first in range(0, len(order), BATCH):
            total, count = loss(model, [train[number] for number in order[first : first + BATCH]])
            adam.zero_grad()
            (total / count).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
        epoch += 1
        validation = nats_a_frame(model, held)
        if validation < best:
            best, tested, best_epoch = validation, nats_a_frame(model, test), epoch
    return float(best), float(tested), best_epoch


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m models.judge_chorales", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--cell", choices=list(CELLS), default="lstm")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    options = vars(parser.parse_args())
    package = importlib.util.find_spec("music21")
    if package is None or not package.submodule_search_locations:
        print("judge_chorales: the scores are in music21: pip install --no-deps music21", file=sys.stderr)
        return 2
    scores = Path(package.submodule_search_locations[0]) / "corpus" / "bach"
    validation, test, epochs = measure(scores, **options)
    print(f"{options}: {test:.2f} nats a frame in the test, {validation:.2f} in validation, {epochs} epochs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
