"""The musician's network: a recurrent net over event classes whose state goes in and out explicitly."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.alphabet import EVENTS

Cell = Literal["rnn", "gru", "lstm"]
State = tuple[Tensor, ...]  # in the order of Shape.state

CELLS: dict[Cell, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
SCORE = 64  # width in which attention compares two states


@dataclass(frozen=True)
class Shape:
    """What fixes the network's weights; `attention` counts the states that it looks back on, 0 for none."""

    cell: Cell = "lstm"
    layers: int = 2
    hidden: int = 256
    embedding: int = 128
    classes: int = EVENTS
    conditions: int = 0  # columns
    attention: int = 0

    @property
    def state(self) -> dict[str, tuple[int, ...]]:
        """The parts of the state for a batch of one, by name, each all zeros before the first event."""
        layers = (self.layers, 1, self.hidden)
        parts: dict[str, tuple[int, ...]] = (
            {"h": layers, "c": layers} if self.cell == "lstm" else {"h": layers}
        )
        if self.attention:
            parts |= {"ring": (self.attention, 1, self.hidden), "place": (1, 1, 1)}
        return parts


# Additive attention (Bahdanau et al. 2015, arXiv:1409.0473) over the last N outputs of the top layer, as in
# Magenta's attention RNN: score_i = v . tanh(W past_i + U present), and the context is the mean of the past
# under the softmax of the scores. Magenta feeds the context back into the next step; here it joins the output
# alone, so that a whole window is trained at once. What has not been yet is zeros, which the scores learn to
# pass over. Attention does not ask for the order of the past, so that the state is a ring: each step writes
# one row, in the place of the oldest. Over a window of T steps the past of step t is rows t to t + N - 1 of
# the ring laid out from its oldest row, followed by the window.
class Attention(nn.Module):
    """The context of each state: what is worth recalling of the `span` states before it."""

    def __init__(self, hidden: int, span: int) -> None:
        super().__init__()
        self.span = span
        self.past = nn.Linear(hidden, SCORE)
        self.present = nn.Linear(hidden, SCORE, bias=False)
        self.score = nn.Linear(SCORE, 1, bias=False)

    def forward(self, x: Tensor, ring: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map x (time, batch, hidden), ring (span, batch, hidden) and place to context, ring and place."""
        rows = torch.arange(self.span)[:, None, None]  # (span, 1, 1)
        if len(x) == 1:
            scores = self.score(torch.tanh(self.past(ring) + self.present(x)))  # (span, batch, 1)
            context = (torch.softmax(scores, 0) * ring).sum(0, keepdim=True)
            ring = torch.where(rows == place, x, ring)
            return context, ring, torch.where(place + 1 < self.span, place + 1, 0.0)
        rows = (rows + place.long()) % self.span
        past = torch.cat([ring.gather(0, rows.expand_as(ring)), x])  # (span + time, batch, hidden)
        keys = self.past(past).unfold(0, self.span, 1)[:-1]  # (time, batch, SCORE, span)
        scores = torch.tanh(keys + self.present(x)[..., None]).movedim(2, 3) @ self.score.weight[0]
        weights = torch.softmax(scores, -1)  # (time, batch, span)
        context = torch.einsum("tbs,tbhs->tbh", weights, past.unfold(0, self.span, 1)[:-1])
        return context, past[-self.span :], torch.zeros_like(place)


class Musician(nn.Module):
    """Predicts the next event from those before it and from what is asked for."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.classes, shape.embedding)
        self.condition = (
            nn.Linear(shape.conditions, shape.embedding, bias=False) if shape.conditions else None
        )
        between = dropout if shape.layers > 1 else 0.0
        self.cells = CELLS[shape.cell](shape.embedding, shape.hidden, shape.layers, dropout=between)
        self.attention = Attention(shape.hidden, shape.attention) if shape.attention else None
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(shape.hidden * (2 if shape.attention else 1), shape.classes)

    def forward(self, events: Tensor, conditions: Tensor | None, state: State) -> tuple[Tensor, State]:
        """Map events (time, batch), conditions (time, batch, columns) and the state before them.

        Return logits (time, batch, classes) and the state after. Without conditions nothing is asked for.
        """
        x = self.embedding(events)
        if self.condition is not None and conditions is not None:
            x = x + self.condition(conditions)
        cells = 2 if self.shape.cell == "lstm" else 1
        x, after = self.cells(self.drop(x), state[:2] if cells == 2 else state[0])
        state_after: State = (after[0], after[1]) if cells == 2 else (after,)
        if self.attention is not None:
            context, *memory = self.attention(x, *state[cells:])
            x = torch.cat([x, context], -1)
            state_after = (*state_after, *memory)
        return self.output(self.drop(x)), state_after

    def silence(self, batch: int) -> State:
        """Return the state before the first event."""
        return tuple(
            torch.zeros(shape[0], batch if name != "place" else 1, shape[2])
            for name, shape in self.shape.state.items()
        )
