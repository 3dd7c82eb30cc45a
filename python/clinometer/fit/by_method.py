"""Fits of every method by group of values labelled on the same rows, and their out-of-fold quality (theory 10.1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.threads import shared
from clinometer.engine.fitted import EncodingQuality
from clinometer.engine.inputs import Call, run
from clinometer.engine.population import Population

from .binary import fit_logistic, lda_scale, mean_gap
from .curvature import Curvature, DenseCurvature, StreamedCurvature
from .krylov import Operator, ridge_by_passes
from .quality import Grouping, curvature_error, grouping, out_of_fold, quality_of, scores_of, stacked
from .scatter import FoldScatter, fold_scatter, label_groups

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
    """Fits of all values inside prompts; or over all rows, weighted omega_x w_i and about their one mean."""
    values = np.asarray(call.values)
    out = Fit(call.n_values, n_folds, call.dump.dim)
    for group in label_groups(values):
        labels = values[:, group]
        p = call.population.labelled(labels[:, 0])
        rows, at = (p, fold) if within else _by_fold(p, fold)
        if by_passes:
            operator = Operator(call, rows, at, np.append(np.arange(n_folds), -1), pooled=not within)
            _fit_by_passes(out, group, operator, grid, labels[rows.rows], at)
            continue
        scatter = fold_scatter(call, labels, rows, at, n_folds, pooled=not within)
        _fit_group(out, group, call, method, grid, scatter, labels, rows, at)
    return out


def _fit_by_passes(out: Fit, group: list[int], operator: Operator, grid: Floats, labels: Floats, fold: Ints) -> None:
    """Fill in the ridge fits of a group without its matrices."""
    for j, label in zip(group, labels.T, strict=True):
        u, parts, chosen, ridge = ridge_by_passes(operator, fold, len(out.fold_vectors), label, grid)
        out.vectors[j], out.fold_vectors[:, j], out.predictors[:, j] = u, parts, parts
        out.alpha[j] = grid[chosen]
        out.curvature[j] = StreamedCurvature(operator, float(ridge[-1]))


def _by_fold(p: Population, fold: Ints) -> tuple[Population, Ints]:
    """Each fold as one prompt."""
    rows = p.regrouped(fold)
    return rows, np.asarray(rows.ids, np.int64)


def _fit_group(
    out: Fit, group: list[int], call: Call, method: str, grid: Floats, scatter: FoldScatter, labels: Floats,
    p: Population, fold: Ints,
) -> None:  # fmt: skip
    """Fill in the fits of the values of a group, from one scatter."""
    by_path = method not in ("logistic", "mean_difference")
    paths, unbiased = scatter.fits(grid if by_path else grid[:0])
    if unbiased is not None:
        out.unbiased[:, group] = unbiased
    sigma = scatter.sigma(None)
    if method == "logistic":
        whole, parts, intercepts, chosen = fit_logistic(call, p, fold, labels, scatter, grid)
        out.alpha[group], out.intercepts[group] = grid[chosen], intercepts
    elif method == "mean_difference":
        crosses = np.stack([scatter.cross(f) for f in range(scatter.n_folds)])
        whole, parts = mean_gap(scatter.cross(None), crosses, labels, p, fold)
    else:
        chosen = scatter.best(paths)
        used = np.unique(chosen)
        full = dict(zip(used.tolist(), scatter.whole(grid[used]), strict=True))
        whole = np.stack([full[a][g] for g, a in enumerate(chosen)])
        parts = np.stack([paths[:, a, g] for g, a in enumerate(chosen)], axis=1)
        out.alpha[group] = grid[chosen]
        if method == "lda":
            whole, parts = lda_scale(whole, parts, scatter, labels, p, fold)
    out.vectors[group], out.fold_vectors[:, group] = whole, parts
    own_scale = method in ("ridge", "least_squares")
    same: dict[float, Curvature] = {}
    for g, j in enumerate(group):
        alpha = float(out.alpha[j])
        if own_scale:
            out.curvature[j] = same.setdefault(alpha, DenseCurvature(sigma, scatter.cutoff, alpha))
        out.predictors[:, j] = parts[:, g] if own_scale else scatter.calibrated(parts[:, g], g)


def quality_of_fits(
    call: Call, fit: Fit, fold: Ints, beside: Floats | None = None, *, within: bool
) -> tuple[EncodingQuality, Floats]:
    """Out-of-fold quality of each value; a direction without the label's scale is given it by the rows it saw.

    And scores (N, m) of the vectors `beside` (F, m, d), each prompt by those of its fold, from the same read.
    """
    J = call.n_values
    known = ~np.isnan(fit.unbiased[0, :, 0])
    every = [fit.predictors, fit.unbiased[:, known], *([] if beside is None else [beside])]
    n_own = J + int(known.sum())
    predicted, more = np.split(out_of_fold(call, np.concatenate(every, axis=1), fold), [n_own], axis=1)
    plain = {int(j): predicted[:, J + i] for i, j in enumerate(np.flatnonzero(known))}
    groups, labels = [], []
    for s in np.asarray(call.values).T:
        p = call.population.labelled(s)
        groups.append(grouping(p, None if within else fold))
        labels.append(np.nan_to_num(s[p.rows]))
    moved = _moved_errors(call, fit, groups, np.stack(labels, axis=1) - predicted[:, :J]) if within else {}
    parts = []
    for j, (g, held) in enumerate(zip(groups, labels, strict=True)):
        spread = curvature_error(fit.curvature[j].gram(fit.fold_vectors[:, j])) if j in moved else 0.0
        parts.append(quality_of(predicted[:, j], held, g, plain.get(j), moved.get(j), spread))
    return stacked(parts), more


def _moved_errors(call: Call, fit: Fit, groups: list[Grouping], error: Floats) -> dict[int, Floats]:
    """How each row's label changes the squared error through the fit, h'H^-1 psi_i, (N,); two passes for all values.

    h = -2 sum W e phi is the slope of the error in u, H = Sigma + ridge its curvature, psi_i = W e phi_i. Values
    that share H are solved for together. Of values whose fit has no such H there is none.
    """
    js = sorted(fit.curvature)
    if not js:
        return {}
    pull = np.stack([groups[j].weight * groups[j].centred(error[:, j]) for j in js], axis=1)
    quiet = replace(call, values=None, progress=None)
    state = _core.WeightedRows(call.dump.dim, pull)
    slope = -2 * run(quiet, [state], population=call.population)[0].finish()["sum"]
    v, kinds = np.empty_like(slope), list({id(h): h for h in fit.curvature.values()}.values())

    def solve(h: Curvature) -> None:
        own = [i for i, j in enumerate(js) if fit.curvature[j] is h]
        v[own] = h.solve(slope[own])

    shared(solve, kinds, call.n_threads)
    along = scores_of(quiet, v)
    return {j: np.asarray(pull[:, i] * groups[j].centred(along[:, i])) for i, j in enumerate(js)}
