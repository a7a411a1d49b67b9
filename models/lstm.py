"""The musician's network: an LSTM over event classes whose state goes in and out explicitly."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.alphabet import EVENTS

State = tuple[Tensor, Tensor]  # h and c, (layers, batch, hidden) each


@dataclass(frozen=True)
class Shape:
    """What fixes the network's weights."""

    layers: int = 2
    hidden: int = 256
    embedding: int = 128
    classes: int = EVENTS


class Musician(nn.Module):
    """Predicts the next event from those before it."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.classes, shape.embedding)
        self.lstm = nn.LSTM(shape.embedding, shape.hidden, shape.layers, dropout=dropout)
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(shape.hidden, shape.classes)

    def forward(self, events: Tensor, state: State) -> tuple[Tensor, State]:
        """Map events (time, batch) and the state before them to logits (time, batch, classes) and state."""
        x, state = self.lstm(self.drop(self.embedding(events)), state)
        return self.output(self.drop(x)), state

    def silence(self, batch: int) -> State:
        """Return the state before the first event."""
        zero = torch.zeros(self.shape.layers, batch, self.shape.hidden)
        return zero, zero.clone()
