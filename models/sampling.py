"""Draws the musician's next event from its logits."""

import numpy as np


# Only a nucleus needs to be sorted. A class whose share is below (1 - top_p) / classes can be no part of it:
# all such classes together hold less than what the nucleus leaves out. What remains is a few dozen.
def draw(logits: np.ndarray, temperature: float, top_p: float, uniform: float) -> int:
    """Return a class drawn from logits (classes,) by nucleus sampling (arXiv:1904.09751).

    Of the distribution at `temperature`, only the likeliest classes that together hold `top_p` take part.
    `uniform`, from [0, 1), decides among them, so that the same number draws the same class.
    """
    weights = np.exp((logits - logits[logits.argmax()]) / max(temperature, 1e-3))
    top_p, whole = min(max(top_p, 1e-3), 1.0), float(np.add.reduce(weights))
    likely = (weights > (1.0 - top_p) * whole / len(weights)).nonzero()[0]
    weights = weights[likely]
    order = (-weights).argsort(kind="stable")
    mass = weights[order].cumsum()
    kept = min(int(mass.searchsorted(top_p * whole)) + 1, len(mass))
    chosen = int(mass[:kept].searchsorted(uniform * mass[kept - 1], side="right"))
    return int(likely[order[min(chosen, kept - 1)]])
