"""Value directions from labels (theory 1, A1; 10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..inputs import Call, prepare, run
from ..population import Population
from .binary import binary_labels, lda_scale, mean_gap
from .curvature import Curvature, DenseCurvature, StreamedCurvature
from .krylov import ridge_by_passes
from .logistic import fit_logistic
from .options import ALPHAS, check_alpha, check_folds
from .out_of_fold import out_of_fold, scores_of
from .quality import Grouping, curvature_error, grouping, quality_of, stacked
from .result import DirectionFit, EncodingQuality
from .scale import in_range, in_units
from .scatter import FoldScatter, fold_scatter, label_groups
from .seen import prompt_keys
from .solve import ridge_path

__all__ = ["fit_value_direction"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BINARY = ("logistic", "lda", "mean_difference")
METHODS = ("ridge", "least_squares", *BINARY)
MEMORY = 16 * 2**30


def fit_value_direction(
    dump: Any, values: Any, *, method: str = "ridge", alpha: Any = "cv", folds: int = 5, pooled: bool = True,
    memory_limit: float = MEMORY, **options: Any,
) -> DirectionFit:  # fmt: skip
    """Fit u with s ~ <u, phi> inside prompts; quality and later scores are out of fold by prompt (theory 1, A1).

    Which is which (theory 10): least squares estimates u* and satisfies u'Sigma v = Cov(s, <v, phi>) for every v
    exactly on the rows; ridge breaks that identity and predicts better; the mean difference mu_1 - mu_0 of
    prompt-centred rows estimates Sigma u*, not u*; LDA is Sigma_w^-1 (mu_1 - mu_0), parallel to ridge at the same
    penalty; logistic regression of prompt-centred rows with one intercept has the scale of log-odds.

    Parameters
    ----------
    values : column names, (N,) or (N, J); NaN rows are left out of that value
    method : "ridge", "least_squares" (minimum norm), and for two-valued labels "logistic", "lda",
        "mean_difference"; the larger label counts as 1
    alpha : penalty in units of tr(Sigma)/d, for ridge, logistic (of the mean log-loss, on |u|^2/2) and lda:
        "cv" picks by out-of-fold error; or a number >= 0 (0: minimum norm)
    folds : prompts are dealt to folds by a hash of their id, or of their cluster where clusters are given
    pooled : also fit all rows without regard to prompts, for .pooled_quality; False saves that pass
    memory_limit : bytes; a ridge fit whose matrices need more, 32 folds d^2 at the peak, is solved by Lanczos steps on
        passes over the rows instead, to rounding and without rho2_debiased. alpha=0 and other methods need the matrices

    Returns
    -------
    DirectionFit with .vectors (J, d), .fold_vectors (F, J, d), .encoding_quality

    Cost: one pass (two with pooled) of N d^2 multiply-adds for each set of labelled rows and two of N d for the
    quality; (folds + 1) d^2 float64, and 4 folds d^2 at the peak, where the pass hands them over; logistic adds
    some 20 passes a penalty. Fewer rows than d and matrices short of rank are fine. Without matrices: two passes a
    step, some 20 steps for a penalty of 1 and 200 for one of 1e-3 where few directions hold most of the variance, and
    (folds + 1) d float64 a step.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=50, n_responses=8, dim=4, random_state=1)
    >>> cm.fit_value_direction(world, "s").vectors.shape
    (1, 4)
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, wanted one of {', '.join(METHODS)}")
    check_folds(folds)
    check_alpha(alpha)
    if not isinstance(pooled, (bool, np.bool_)):
        raise TypeError(f"pooled is {pooled!r}, wanted True or False")
    if isinstance(memory_limit, bool) or not isinstance(memory_limit, (int, float, np.number)) or not memory_limit >= 0:
        raise ValueError(f"memory_limit is {memory_limit!r}, wanted bytes, a number >= 0")
    call = prepare(dump, None, values, **options)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    p = call.population
    if p.n_prompts < folds:
        raise ValueError(f"folds is {folds} but there are {p.n_prompts} prompts")
    if method in BINARY:
        call = replace(call, values=binary_labels(np.asarray(call.values), p, call.value_names, method))
    labels, exponent = np.asarray(call.values), np.zeros(call.n_values, np.int64)
    if method not in BINARY:
        scaled, exponent = in_range(labels)
        call = replace(call, values=scaled)
    grid = _grid(method, alpha)
    fold = p.folds(int(folds))
    by_passes = method == "ridge" and bool(grid.min() > 0) and 32 * folds * call.dump.dim**2 > memory_limit
    fit = _fit(call, method, grid, fold, int(folds), within=True, by_passes=by_passes)
    quality = _quality(call, fit, fold, within=True)
    over_all = None
    if pooled:
        every = _fit(call, method, grid, fold, int(folds), within=False, by_passes=by_passes)
        over_all = _quality(call, every, fold, within=False)
    vectors, fold_vectors = (in_units(v, exponent, call.value_names) for v in (fit.vectors, fit.fold_vectors))
    keys = prompt_keys(call.dump, p)
    order = np.argsort(keys)
    return DirectionFit(
        vectors, fold_vectors, call.value_names, method, fit.alpha, quality, p.n_rows, p.n_prompts,
        p.n_dropped, call.dump.fingerprint(), dict(call.dump.source or {}), over_all, fit.intercepts,
        ("binary" if method in BINARY else "scores",) * call.n_values, 0, keys[order], fold[order],
        {"labels": labels, "by_passes": by_passes},
    )  # fmt: skip


def _grid(method: str, alpha: Any) -> Floats:
    if method in ("least_squares", "mean_difference"):
        return np.zeros(1)
    if isinstance(alpha, str):
        return ALPHAS[::2] if method == "logistic" else ALPHAS
    return np.array([float(alpha)])


class _Fit:
    """Fits of all values as they come from their groups: full, by fold, and the vectors that predict by fold."""

    def __init__(self, J: int, n_folds: int, d: int) -> None:
        self.vectors, self.fold_vectors = np.zeros((J, d)), np.zeros((n_folds, J, d))
        self.predictors, self.unbiased = np.zeros((n_folds, J, d)), np.full((n_folds, J, d), np.nan)
        self.alpha, self.intercepts = np.zeros(J), np.zeros(J)
        self.curvature: dict[int, Curvature] = {}  # where u = (Sigma + ridge)^-1 c


def _fit(
    call: Call, method: str, grid: Floats, fold: Ints, n_folds: int, *, within: bool, by_passes: bool
) -> _Fit:  # fmt: skip
    values = np.asarray(call.values)
    out = _Fit(call.n_values, n_folds, call.dump.dim)
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
    out: _Fit, group: list[int], call: Call, grid: Floats, labels: Floats, p: Population, fold: Ints
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
    out: _Fit, group: list[int], call: Call, method: str, grid: Floats, scatter: FoldScatter, labels: Floats,
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


def _quality(call: Call, fit: _Fit, fold: Ints, *, within: bool) -> EncodingQuality:
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


def _moved_error(call: Call, fit: _Fit, j: int, g: Grouping, error: Floats) -> Floats:
    """How each row's label moves the squared error through the fit, h'H^-1 psi_i, (N,); two passes.

    h = -2 sum W e phi is the slope of the error in u, H = Sigma + ridge its curvature, psi_i = W e phi_i.
    """
    pull = g.weight * g.centred(error)
    quiet = replace(call, values=None, progress=None)
    state = _core.WeightedRows(call.dump.dim, np.ascontiguousarray(pull[:, None]))
    slope = -2 * run(quiet, [state], population=call.population)[0].finish()["sum"]
    v = fit.curvature[j].solve(slope)
    return np.asarray(pull * g.centred(scores_of(quiet, v)[:, 0]))
