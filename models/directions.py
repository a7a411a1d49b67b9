"""The statistics of w that a generator is played with: its mean, and its principal directions.

Any mapping network will do, as a function of arrays: z (count, z_dim) and, with classes, a one-hot label
(count, classes), to w (count, w_dim).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mapping = Callable[[Floats, Floats | None], Floats]

DIRECTIONS = 10
LATENTS = 10_000  # for each class


# GANSpace (Harkonen et al. 2020, arXiv:2004.02546): the principal components of w change a picture in ways
# that people have words for, the strongest first.
def statistics(mapping: Mapping, z_dim: int, classes: int = 0, latents: int = LATENTS) -> dict[str, Floats]:
    """Return the mean of w (of each class, and over them), its principal directions and their deviations.

    The directions are those of w less the mean of its class, so that a knob does not change the class:
    w_avg (w_dim,), directions (10, w_dim) of length one, deviations (10,); with classes, w_avg_by_class
    (classes, w_dim).
    """
    z = np.random.default_rng(0).standard_normal((latents, z_dim), np.float32)
    one_hot = np.eye(classes, dtype=np.float32)
    labels = [np.broadcast_to(row, (latents, classes)) for row in one_hot] if classes else [None]
    means, covariance = [], 0.0
    for label in labels:
        cloud = mapping(z, None if label is None else label.copy()).astype(np.float64)  # (latents, w_dim)
        means.append(cloud.mean(0))
        around = cloud - means[-1]
        covariance = covariance + around.T @ around / (latents * len(labels))
    variances, vectors = np.linalg.eigh(covariance)
    directions = vectors[:, ::-1].T[:DIRECTIONS]  # strongest first
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    found = {
        "w_avg": np.mean(means, axis=0),
        "directions": directions * np.sign(largest),
        "deviations": np.sqrt(variances[::-1][:DIRECTIONS].clip(0)),
    }
    if classes:
        found["w_avg_by_class"] = np.stack(means)
    return {name: value.astype(np.float32) for name, value in found.items()}
