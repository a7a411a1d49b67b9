"""Draws a network's next event from its logits."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_HALF = 2.0**-54  # half the step of a random number of 53 bits, which stands for all up to the next


def draw(logits: Array, temperature: float, top_p: float, uniform: float) -> int:
    """Return a class drawn from logits (classes,) by nucleus sampling (arXiv:1904.09751).

    Of the distribution at `temperature`, only the likeliest classes that together hold `top_p` take part.
    `uniform`, from [0, 1), decides among them, so that the same number draws the same class.
    """
    return pick(likelihoods(logits, temperature), top_p, uniform)


def likelihoods(logits: Array, temperature: float = 1.0) -> Array:
    """Return weights (classes,) in proportion to how likely each class is; the likeliest has 1."""
    above = logits - logits[logits.argmax()]
    weights: Array = np.exp(above if temperature == 1.0 else above / max(temperature, 1e-3))
    return weights


# Whether a class is of the nucleus can be told without sorting: those likelier than it hold less than
# `top_p`, as they do where it alone holds more than the nucleus leaves out. One is therefore drawn of all,
# and at the usual `top_p` it nearly always is of the nucleus. Where it is not, the place of `uniform` within
# what it drew is a number as random as `uniform` was, and decides in the nucleus alone. Classes that are as
# likely as each other are of it together.
def pick(weights: Array, top_p: float, uniform: float) -> int:
    """Return a class drawn from weights (classes,), not all 0, within their nucleus; as `draw` does."""
    mass = weights.cumsum(dtype=np.float64)
    whole = float(mass[-1])
    at, enough = min(uniform + _HALF, 1.0 - 2 * _HALF) * whole, min(max(top_p, 1e-3), 1.0) * whole
    chosen = min(int(mass.searchsorted(at, "right")), len(weights) - 1)
    share = float(weights[chosen])
    if share > whole - enough or (share > 0.0 and np.add.reduce(weights[weights > share]) < enough):
        return chosen
    place = 1.0 - (float(mass[chosen]) - at) / share if share > 0.0 else 0.0
    falling = np.sort(weights)[::-1]
    least = falling[min(int(falling.cumsum(dtype=np.float64).searchsorted(enough)), len(falling) - 1)]
    mass = np.where(weights >= least, weights, 0.0).cumsum(dtype=np.float64)
    chosen = int(mass.searchsorted(min(max(place, 0.0), 1.0) * mass[-1], "right"))
    return chosen if chosen < len(weights) else int(weights.argmax())
