"""Pairs of responses, both orders of each, and what a preference for the first place does to them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["clustered_mean", "debiased", "pair_scores", "within_prompt_pairs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def within_prompt_pairs(n: int, wanted: int | None, prompt_id: Any, seed: int) -> Ints:
    """Distinct pairs (P, 2) of n responses: a random cycle through all of them, then longer strides of it.

    None wants the cycle: n pairs, or 1 of two responses. The draw depends on the prompt's id and the seed alone.
    """
    if n < 2:
        return np.zeros((0, 2), np.int64)
    digest = hashlib.sha256(f"{seed}:{prompt_id}".encode("utf-8", "surrogatepass")).digest()
    order = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(n)
    count = min((n if n > 2 else 1) if wanted is None else wanted, n * (n - 1) // 2)
    strides = range(1, n // 2 + 1)
    found = [(order[i], order[(i + s) % n]) for s in strides for i in range(n // 2 if 2 * s == n else n)]
    return np.array(found[:count], np.int64)


def debiased(first: Floats, second: Floats, units: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """Preference without the pull of the first place, and that pull with its error.

    Parameters
    ----------
    first, second : (P, K) log-odds, nats, for the reply that stands first: of response a before b, and of b before a
    units : (P,) prompts, the independent units of errors

    Returns
    -------
    preference (P, K) of a over b in nats, (first - second)/2: a constant pull cancels pair by pair
    bias (K,), mean of (first + second)/2, nats towards the first place, and its standard error (K,)
    """
    bias, se = clustered_mean((first + second) / 2, units)
    return (first - second) / 2, bias, se


def clustered_mean(x: Floats, units: NDArray[Any]) -> tuple[Floats, Floats]:
    """Mean of x (P, K) over rows that are not NaN, and its standard error over independent units (G of them)."""
    known = ~np.isnan(x)
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, x, 0).sum(axis=0) / count
        _, at = np.unique(units, return_inverse=True)
        sums = np.zeros((at.max(initial=-1) + 1, x.shape[1]))
        np.add.at(sums, at, np.where(known, x - mean, 0))
        there = np.zeros_like(sums)
        np.add.at(there, at, known)
        g = (there > 0).sum(axis=0)
        se = np.sqrt(np.where(g > 1, g / (g - 1), np.nan) * (sums**2).sum(axis=0)) / count
    return mean, se


def pair_scores(n: int, pairs: Ints, preference: Floats) -> Floats:
    """Scores (n, K) whose differences fit the preferences (P, K) of pairs best in least squares, of mean 0.

    A response in no pair scores 0, the mean.
    """
    design = np.zeros((len(pairs), n))
    design[np.arange(len(pairs)), pairs[:, 0]] = 1
    design[np.arange(len(pairs)), pairs[:, 1]] = -1
    if not len(pairs):
        return np.zeros((n, preference.shape[1]))
    return np.asarray(np.linalg.lstsq(design, preference, rcond=None)[0], np.float64)
