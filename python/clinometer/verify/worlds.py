"""The worlds the claims are measured in."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.dump import Dump, open_dump
from clinometer.engine.passes import moments

Floats = NDArray[np.float64]


def generator(seed: int) -> np.random.Generator:
    """Every claim draws from a seed of its own."""
    return np.random.default_rng(20_240_000 + seed)


@cache
def _nodes(m: int) -> tuple[Floats, Floats]:
    x, w = np.polynomial.hermite_e.hermegauss(m)
    return x, w / w.sum()


def gaussian_grid(sigma: Floats, mean: Floats | None = None, m: int = 40) -> Dump:
    """One prompt of quadrature nodes for phi ~ N(mean, sigma), d <= 2: with base="logprob" sums are integrals."""
    d = len(sigma)
    x, w = _nodes(m)
    grid = np.stack(np.meshgrid(*[x] * d, indexing="ij"), axis=-1).reshape(-1, d)
    mass = np.stack(np.meshgrid(*[np.log(w)] * d, indexing="ij"), axis=-1).reshape(-1, d).sum(axis=1)
    values, vectors = np.linalg.eigh(sigma)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    phi = grid @ root + (0.0 if mean is None else mean)
    return open_dump(phi, prompt_ids=np.zeros(len(phi), int), columns={"logprob": mass})


def covariance(source: Any, **options: Any) -> Floats:
    """The covariance of the moments pass."""
    found = moments(source, **options).covariance
    assert found is not None
    return found


def prompts(n_prompts: int, n: int) -> NDArray[np.int64]:
    """Ids of prompts of n rows each."""
    return np.repeat(np.arange(n_prompts), n)


def random_rows(seed: int, n_prompts: int = 40, n: int = 9, d: int = 4) -> tuple[Floats, NDArray[np.int64]]:
    """Correlated rows with large prompt means."""
    rng = generator(seed)
    ids = prompts(n_prompts, n)
    phi = (
        rng.standard_normal((len(ids), d)) @ rng.standard_normal((d, d))
        + 5.0 * rng.standard_normal((n_prompts, d))[ids]
    )
    return phi, ids


def demeaned(x: Floats, ids: NDArray[np.int64]) -> Floats:
    """Less the mean of its prompt, by definition and not by the package."""
    count = np.bincount(ids)
    if x.ndim == 2:
        return np.stack([demeaned(c, ids) for c in x.T], axis=1)
    return np.asarray(x - (np.bincount(ids, weights=x) / count)[ids])


def tilted(t: Floats, ids: NDArray[np.int64], lam: float) -> Floats:
    """p inside every prompt, proportional to exp(lam t), written out."""
    top = np.full(ids.max() + 1, -np.inf)
    np.maximum.at(top, ids, t)
    e = np.exp(lam * (t - top[ids]))
    return np.asarray(e / np.bincount(ids, weights=e)[ids])


def kl_of(p: Floats, ids: NDArray[np.int64]) -> float:
    """Mean KL of p to the uniform distribution of every prompt, written out."""
    n = np.bincount(ids)[ids]
    terms = np.where(p > 0.0, p * np.log(np.where(p > 0.0, p, 1.0) * n), 0.0)
    return float(terms.sum() / (ids.max() + 1))
