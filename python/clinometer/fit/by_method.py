"""Fits of every method by group of values labelled on the same rows, and their out-of-fold quality (theory 10)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..inputs import Call, run
from ..population import Population
from .binary import lda_scale, mean_gap
from .curvature import Curvature, DenseCurvature, StreamedCurvature
from .krylov import ridge_by_passes
from .logistic import fit_logistic
from .out_of_fold import out_of_fold, scores_of
from .quality import Grouping, curvature_error, grouping, quality_of, stacked
from .result import EncodingQuality
from .scatter import FoldScatter, fold_scatter, label_groups
from .solve import ridge_path

__all__ = ["Fit", "fit_values", "quality_of_fits"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Fit:
    """Fits of all values as they come from their groups: full, by fold, and the vectors that predict by fold."""

    def __init__(self, J: int, n_folds: int, d: int) -> None:
        self.vectors, self.fold_vectors = np.zeros((J, d)), np.zeros((n_folds, J, d))
        self.predictors, self.unbiased = np.zeros((n_folds, J, d)), np.full((n_folds, J, d), np.nan)
        self.alpha, self.intercepts = np.zeros(J), np.zeros(J)
        self.curvature: dict[int, Curvature] = {}  # where u = (Sigma + ridge)^-1 c


def fit_values(
    call: Call, method: str, grid: Floats, fold: Ints, n_folds: int, *, within: bool, by_passes: bool
) -> Fit:  # fmt: skip
    values = np.asarray(call.values)
    out = Fit(call.n_values, n_folds, call.dump.dim)
    for group in label_groups(values):
        labels = values[:, group]
        p = call.population.labelled(labels[:, 0])
        rows, at = (p, fold) if within else _all_rows(p, fold)
        if by_passes:
            _fit_by_passes(out, group, call, grid, labels, rows, at)
            continue
        scatter = fold_scatter(call, labels, rows, at, n_folds)
        _fit_group(out, group, call, method, grid, scatter, labels, rows, at)
        if (unbiased := scatter.unbiased()) is not None:
            out.unbiased[:, group] = unbiased
    return out


def _fit_by_passes(
    out: Fit, group: list[int], call: Call, grid: Floats, labels: Floats, p: Population, fold: Ints
) -> None:
    """Fill in the ridge fits of a group without its matrices."""
    for g, j in enumerate(group):
        u, parts, chosen, ridge, operator = ridge_by_passes(
            call, p, fold, len(out.fold_vectors), labels[p.rows, g], grid
        )
        out.vectors[j], out.fold_vectors[:, j], out.predictors[:, j] = u, parts, parts
        out.alpha[j] = grid[chosen]
        out.curvature[j] = StreamedCurvature(operator, float(ridge[-1]))


def _all_rows(p: Population, fold: Ints) -> tuple[Population, Ints]:
    """Each fold as one prompt: covariances over all rows, about the mean of their fold."""
    rows = p.regrouped(fold)
    return rows, np.asarray(rows.ids, np.int64)


def _fit_group(
    out: Fit, group: list[int], call: Call, method: str, grid: Floats, scatter: FoldScatter, labels: Floats,
    p: Population, fold: Ints,
) -> None:  # fmt: skip
    """Fill in the fits of the values of a group, from one scatter."""
    if method == "logistic":
        whole, parts, intercepts, chosen = fit_logistic(call, p, fold, labels, scatter, grid)
        out.alpha[group], out.intercepts[group] = grid[chosen], intercepts
    elif method == "mean_difference":
        whole, parts = scatter.map(lambda sigma, c: c)
        whole, parts = mean_gap(whole, parts, labels, p, fold)
    else:
        paths = scatter.path(grid)
        chosen = [scatter.best(paths, g) for g in range(len(group))]
        used = np.unique(chosen)
        full = dict(zip(used.tolist(), ridge_path(*scatter.part(None), grid[used], scatter.cutoff), strict=True))
        whole = np.stack([full[a][g] for g, a in enumerate(chosen)])
        parts = np.stack([paths[:, a, g] for g, a in enumerate(chosen)], axis=1)
        out.alpha[group] = grid[chosen]
        if method == "lda":
            whole, parts = lda_scale(whole, parts, scatter, labels, p, fold)
    out.vectors[group], out.fold_vectors[:, group] = whole, parts
    own_scale = method in ("ridge", "least_squares")
    sigma = scatter.part(None)[0] if own_scale else None
    for g, j in enumerate(group):
        if sigma is not None:
            out.curvature[j] = DenseCurvature(sigma, scatter.cutoff, float(out.alpha[j]))
        out.predictors[:, j] = parts[:, g] if own_scale else scatter.calibrated(parts[:, g], g)


def quality_of_fits(call: Call, fit: Fit, fold: Ints, *, within: bool) -> EncodingQuality:
    """Out-of-fold quality of each value; a direction without the label's scale is given it by the rows it saw."""
    J = call.n_values
    known = ~np.isnan(fit.unbiased[0, :, 0])
    both = np.concatenate([fit.predictors, fit.unbiased[:, known]], axis=1)
    predicted = out_of_fold(call, both, fold)
    plain = {int(j): predicted[:, J + i] for i, j in enumerate(np.flatnonzero(known))}
    parts = []
    for j, s in enumerate(np.asarray(call.values).T):
        p = call.population.labelled(s)
        g, held = grouping(p, None if within else fold), np.nan_to_num(s[p.rows])
        moved, spread = None, 0.0
        if within and j in fit.curvature:
            moved = _moved_error(call, fit, j, g, held - predicted[:, j])
            u = fit.fold_vectors[:, j]
            spread = curvature_error(fit.curvature[j].gram(u))
        parts.append(quality_of(predicted[:, j], held, g, plain.get(j), moved, spread))
    return stacked(parts)


def _moved_error(call: Call, fit: Fit, j: int, g: Grouping, error: Floats) -> Floats:
    """How each row's label moves the squared error through the fit, h'H^-1 psi_i, (N,); two passes.

    h = -2 sum W e phi is the slope of the error in u, H = Sigma + ridge its curvature, psi_i = W e phi_i.
    """
    pull = g.weight * g.centred(error)
    quiet = replace(call, values=None, progress=None)
    state = _core.WeightedRows(call.dump.dim, np.ascontiguousarray(pull[:, None]))
    slope = -2 * run(quiet, [state], population=call.population)[0].finish()["sum"]
    v = fit.curvature[j].solve(slope)
    return np.asarray(pull * g.centred(scores_of(quiet, v)[:, 0]))
