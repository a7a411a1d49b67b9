"""Draws the musician's next event from its logits."""

import numpy as np


def draw(logits: np.ndarray, temperature: float, top_p: float, uniform: float) -> int:
    """Return a class drawn from logits (classes,) by nucleus sampling (arXiv:1904.09751).

    Of the distribution at `temperature`, only the likeliest classes that together hold `top_p` take part.
    `uniform`, from [0, 1), decides among them, so that the same number draws the same class.
    """
    scaled = (logits - logits.max()) / max(temperature, 1e-3)
    weights = np.exp(scaled)
    order = np.argsort(-weights, kind="stable")
    mass = np.cumsum(weights[order])
    kept = int(np.searchsorted(mass, min(top_p, 1.0) * mass[-1])) + 1
    kept = min(kept, len(mass))
    chosen = int(np.searchsorted(mass[:kept], uniform * mass[kept - 1], side="right"))
    return int(order[min(chosen, kept - 1)])
