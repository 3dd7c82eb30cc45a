"""Covariances of every prompt, and the bootstrap that draws prompts (theory 2, SE)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer.theory._arrays import Floats
from clinometer.theory._rows import Scored, ratio

__all__ = ["correlations", "interval", "per_prompt_grams", "resampled"]


def per_prompt_grams(s: Scored, columns: Floats, j: int | None = None) -> Floats:
    """Covariances (G, M, M) of the columns inside each prompt, ddof 0."""
    w = s.weights(j)
    x = w.centre(columns)
    M = x.shape[1]
    out = np.empty((w.p.n_prompts, M, M))
    for a in range(M):
        out[:, a, :] = w.total((w.row * x[:, a])[:, None] * x)
    return out


def correlations(gram: Floats) -> Floats:
    """Correlations of a covariance; NaN where a variance is 0."""
    sd = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    return np.clip(ratio(gram, np.outer(sd, sd)), -1.0, 1.0)


def resampled(omega: Floats, draws: int, random_state: int, cluster: NDArray[np.int64] | None = None) -> Floats:
    """Prompt weights (draws, G) of bootstrap samples of whole clusters."""
    labels = np.arange(len(omega)) if cluster is None else cluster
    C = int(labels.max()) + 1
    if C < 2:
        return np.full((1, len(omega)), np.nan)
    counts = np.random.default_rng(random_state).multinomial(C, np.full(C, 1.0 / C), size=draws)
    weight = omega * counts[:, labels]
    total = weight.sum(axis=1, keepdims=True)
    return np.asarray(weight / np.where(total > 0.0, total, np.nan))


def interval(boot: Floats) -> Floats:
    """95 % percentile interval over the first axis, put last; NaN if no draw is finite."""
    if np.isnan(boot).all():
        return np.full((*boot.shape[1:], 2), np.nan)
    return np.moveaxis(np.asarray(np.nanquantile(boot, [0.025, 0.975], axis=0)), 0, -1)
