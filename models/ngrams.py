"""N-grams of event classes by their hashes: a smoothed model, and the longest that two sequences share."""

import math

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]  # (n,)
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_RANDOM = np.random.default_rng(0).integers(0, 1 << 64, 1024, np.uint64)  # one number a class


def hashes(classes: Classes, n: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each n-gram, (len - n + 1,), equal for equal n-grams of up to 1,024 classes.

    Sums of random numbers, one a class, times powers of the base, each shifted back to its own beginning, all
    modulo 2^64.
    """
    if n > len(classes):
        return np.zeros(0, np.uint64)
    up = np.cumprod(np.full(len(classes), _BASE))
    down = np.cumprod(np.full(len(classes), _INVERSE))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_RANDOM[classes] * up)])
    each: NDArray[np.uint64] = (sums[n:] - sums[:-n]) * down[: len(classes) - n + 1]
    return each


# Witten and Bell's interpolation (1991): the more different events have followed a context, the more the next
# shorter context is trusted. p_n(x | c) = (count(c, x) + kinds(c) p_(n-1)(x | c')) / (count(c) + kinds(c)).
def bits(train: Classes, held: Classes, n: int, classes: int) -> float:
    """Return the bits per event of `held`, from its n-th event on, under the n-gram model of `train`."""
    p = np.full(len(held) - n + 1, 1.0 / classes)
    for order in range(1, n + 1):
        seen, times = np.unique(hashes(train, order), return_counts=True)
        count = _looked_up(seen, times, hashes(held, order)[n - order :])
        first = np.unique(hashes(train, order), return_index=True)[1]
        contexts = _contexts(train, order)
        known, each = np.unique(contexts, return_counts=True)
        known_kinds, kinds_each = np.unique(contexts[first], return_counts=True)
        of_held = _contexts(held, order)[n - order :]
        total = _looked_up(known, each, of_held)
        kinds = _looked_up(known_kinds, kinds_each, of_held)
        p = np.where(total > 0, (count + kinds * p) / np.maximum(total + kinds, 1), p)
    return float(-np.log2(p).mean())


def _contexts(classes: Classes, order: int) -> NDArray[np.uint64]:
    """Return the hash of the order - 1 events before the last of each n-gram."""
    if order == 1:
        return np.zeros(len(classes), np.uint64)
    return hashes(classes, order - 1)[: len(classes) - order + 1]


def _looked_up(
    keys: NDArray[np.uint64], values: NDArray[np.int64], wanted: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Return the value of each wanted key, 0 where there is none; `keys` are sorted."""
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    found: NDArray[np.int64] = np.where(keys[at] == wanted, values[at], 0)
    return found


def longest_shared(one: Classes, other: Classes) -> int:
    """Return the length of the longest n-gram in both, by bisection: parts of what is shared are shared."""
    low, high = 0, min(len(one), len(other)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        shared = np.isin(hashes(one, middle), hashes(other, middle)).any()
        low, high = (middle, high) if shared else (low, middle)
    return low


def repeated_share(classes: Classes, n: int) -> float:
    """Return the share of n-grams that have occurred before in the same sequence."""
    each = hashes(classes, n)
    return 1.0 - len(np.unique(each)) / len(each) if len(each) else math.nan
