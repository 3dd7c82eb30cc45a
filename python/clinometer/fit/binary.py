"""Two-valued labels: recoding them, mean differences, and the scale of LDA (theory 10.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.population import Population

from .scatter import FoldScatter

__all__ = ["binary_labels", "lda_scale", "mean_gap", "shares"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def binary_labels(values: Floats, p: Population, names: tuple[str, ...], method: str) -> Floats:
    """Labels as 0 and 1, NaN kept; anything but two values in the rows that count is refused."""
    out = np.full_like(values, np.nan)
    for j, name in enumerate(names):
        column = values[p.rows, j]
        levels = np.unique(column[~np.isnan(column)])
        if len(levels) != 2:
            shown = f"{len(levels)} values" if len(levels) != 1 else f"the one value {levels[0]:g}"
            raise ValueError(
                f"method={method!r} needs two-valued labels; values: {name!r} has {shown}. "
                "Use method='ridge', or cut the values at a threshold"
            )
        known = ~np.isnan(values[:, j])
        out[known, j] = values[known, j] == levels[1]
    return out


def shares(labels: Floats, p: Population, fold: Ints, n_folds: int) -> tuple[Floats, Floats]:
    """Share of ones (m,) under the rows' weights, and without each fold (F, m)."""
    weight = p.row_weight() * p.on_rows(p.prompt_weight())
    at = p.on_rows(fold)
    mass = np.bincount(at, weight, n_folds)
    ones = np.stack([np.bincount(at, weight * np.nan_to_num(y[p.rows]), n_folds) for y in labels.T], axis=1)
    rest = mass.sum() - mass
    without = (ones.sum(axis=0) - ones) / np.where(rest > 0, rest, 1.0)[:, None]
    return ones.sum(axis=0) / mass.sum(), without


def mean_gap(whole: Floats, parts: Floats, labels: Floats, p: Population, fold: Ints) -> tuple[Floats, Floats]:
    """mu_1 - mu_0 of prompt-centred rows from c = Cov(phi, y): it is c / (q (1 - q))."""
    q, without = shares(labels, p, fold, len(parts))
    return whole / _spread(q)[:, None], parts / _spread(without)[..., None]


def lda_scale(
    whole: Floats, parts: Floats, scatter: FoldScatter, labels: Floats, p: Population, fold: Ints
) -> tuple[Floats, Floats]:
    """LDA from ridge: Sigma_w = Sigma - c c'/(q (1 - q)), so Sigma_w^-1 (mu_1 - mu_0) = u / (q (1 - q) - c'u)."""
    q, without = shares(labels, p, fold, len(parts))

    def scaled(u: Floats, q: Floats, f: int | None) -> Floats:
        left = _spread(q) - (scatter.part(f)[1] * u).sum(axis=1)
        return np.asarray(u / _positive(left)[:, None])

    return scaled(whole, q, None), np.stack([scaled(u, without[f], f) for f, u in enumerate(parts)])


def _spread(q: Floats) -> Floats:
    return _positive(q * (1 - q))


def _positive(x: Floats) -> Floats:
    """x, and 1 where rounding or one class alone leaves nothing: the direction is then zero or known to scale only."""
    return np.where(x > 1e-12, x, 1.0)
