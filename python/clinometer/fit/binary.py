"""Two-valued labels: recoding them, mean differences, the scale of LDA, and logistic regression (theory 10.1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.threads import applied
from clinometer.engine.inputs import Call, run
from clinometer.engine.population import Population

from .descent import Metric, minimise, softplus
from .quality import scores_of
from .scale import column_scale, null_space, without_null
from .scatter import FoldScatter
from .solve import penalty_unit

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


def fit_logistic(
    call: Call, p: Population, fold: Ints, labels: Floats, scatter: FoldScatter, grid: Floats
) -> tuple[Floats, Floats, Floats, list[int]]:
    """Directions (m, d), fold directions (F, m, d), intercepts (m,) and the penalty chosen for each label.

    All labels and folds are fitted together: a step is one pass for scores and one for the gradient.
    """
    problem = _Problem(call, p, fold, labels, scatter)
    m, F = labels.shape[1], scatter.n_folds
    u, b = np.zeros((m * (F + 1), scatter.d)), np.zeros(m * (F + 1))
    best, chosen = np.full(m, np.inf), [0] * m
    kept_u, kept_b = u.copy(), b.copy()
    scale = problem.scale
    sigma = scatter.sigma(None) * np.outer(scale, scale)
    for a in np.argsort(-grid, kind="stable").tolist():  # from the strongest penalty, each start near the last fit
        problem.alpha = float(grid[a])
        metric = Metric(sigma / 4 + problem.alpha * problem.unit[-1] * np.eye(len(sigma)))
        u, b = minimise(problem.loss, u, b, metric, intercept=True, what="method='logistic'", exact=call.in_double)
        held = problem.held_out(u, b)
        for j in np.flatnonzero(held < best):
            best[j], chosen[j] = held[j], a
            own = slice(j * (F + 1), (j + 1) * (F + 1))
            kept_u[own], kept_b[own] = u[own], b[own]
    if (grid == 0).all():
        kept_u = _of_least_norm(kept_u, scatter, scale)
    shaped = (kept_u * scale).reshape(m, F + 1, -1)
    return shaped[:, F], np.moveaxis(shaped[:, :F], 0, 1), kept_b.reshape(m, F + 1)[:, F], chosen


def _of_least_norm(u: Floats, scatter: FoldScatter, scale: Floats) -> Floats:
    """Fits (m (F + 1), d) without a penalty, less what the rows behind each say nothing about."""
    shaped = u.reshape(-1, scatter.n_folds + 1, scatter.d)
    for f in range(scatter.n_folds + 1):
        sigma = scatter.sigma(f if f < scatter.n_folds else None)
        shaped[:, f] = without_null(shaped[:, f], null_space(sigma * np.outer(scale, scale), scatter.cutoff)[-1])
    return shaped.reshape(u.shape)


class _Problem:
    """Losses of every label (m) and fold (F, then all rows), label by label; u is over `scale`."""

    def __init__(self, call: Call, p: Population, fold: Ints, labels: Floats, scatter: FoldScatter) -> None:
        self.call, self.p, self.alpha = replace(call, population=p, within=True, progress=None), p, 0.0
        self.pooled = scatter.between is not None
        self.F, self.m = scatter.n_folds, labels.shape[1]
        self.y = np.nan_to_num(labels[p.rows])
        self.at = p.on_rows(fold)
        self.base = p.row_weight() * p.on_rows(p.prompt_weight())
        variances = [np.diagonal(scatter.sigma(f)) for f in (*range(self.F), None)]
        self.unit = np.tile([penalty_unit(v) for v in variances], self.m)
        self.scale = column_scale(variances[-1])

    def _weight(self, f: int) -> Floats:
        """Weights of the rows that fit f is trained on, summing to 1."""
        w = self.base if f == self.F else np.where(self.at == f, 0.0, self.base)
        return np.asarray(w / max(w.sum(), 1e-300))

    def _centred(self, t: Floats) -> Floats:
        p = self.p
        if self.pooled:  # any one number would do: the intercept takes it back
            return np.asarray(t - applied(t, self.base))
        return np.asarray(t - p.on_rows(p.sums(p.row_weight() * t)))

    def loss(self, u: Floats, b: Floats) -> tuple[Floats, Floats, Floats]:
        """Mean log-loss + ridge/2 |u|^2 with its gradients, for each label and fold."""
        z = scores_of(self.call, u * self.scale)
        ridge = self.alpha * self.unit
        value, slope = ridge / 2 * (u * u).sum(axis=1), np.empty(len(u))
        for i in range(len(u)):
            w, y = self._weight(i % (self.F + 1)), self.y[:, i // (self.F + 1)]
            t = self._centred(z[:, i]) + b[i]
            value[i] += applied(softplus(t) - y * t, w)
            if self.alpha == 0 and ((2 * y - 1) * t)[w > 0].min() > 0:
                raise ValueError(
                    "alpha=0: the labels are separable by a direction, so the fit has no finite norm; "
                    "use alpha='cv' or a number > 0"
                )
            residual = w * (_sigmoid(t) - y)
            slope[i] = residual.sum()
            z[:, i] = self._pull(residual)
        rows = run(self.call, [_core.WeightedRows(u.shape[1], np.ascontiguousarray(z))], population=self.p)[0]
        return value, rows.finish()["sum"] * self.scale + ridge[:, None] * u, slope

    def _pull(self, residual: Floats) -> Floats:
        """d/du of centred scores: the residuals, less their sum in the prompt spread by base weight."""
        if self.pooled:
            return np.asarray(residual - self.base * residual.sum())
        of_prompt = self.p.sums(residual)
        return np.asarray(residual - self.p.row_weight() * self.p.on_rows(of_prompt))

    def held_out(self, u: Floats, b: Floats) -> Floats:
        """Mean log-loss of each label on the rows held out of its fold fits, (m,)."""
        z = scores_of(self.call, u * self.scale)
        out = np.zeros(self.m)
        for j in range(self.m):
            for f in range(self.F):
                i = j * (self.F + 1) + f
                t = self._centred(z[:, i]) + b[i]
                w = np.where(self.at == f, self.base, 0.0)
                out[j] += applied(softplus(t) - self.y[:, j] * t, w)
        return out


def _sigmoid(z: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(z))
