"""First and second moments inside prompts (theory 0.3, 0.4 and 3.1)."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import numpy.typing as npt

from .base import (
    Array,
    BaseOptions,
    BaseWeights,
    as_columns,
    average,
    base_weights,
    clustered_covariance,
    require_finite,
    require_values,
)

__all__ = [
    "covariance_projection",
    "cross_covariance",
    "moments",
    "pair_covariance",
    "score",
    "within_residual",
]


def score(phi: npt.ArrayLike, directions: npt.ArrayLike) -> Array:
    """Scores <u_k, phi_i>, (N, K), of rows (N, d) and directions (K, d) or (d,) (theory 0.1).

    >>> score([[1.0, 2.0]], [[3.0, 4.0]]).tolist()
    [[11.0]]
    """
    rows, u = as_columns("phi", phi), np.atleast_2d(np.asarray(directions, dtype=np.float64))
    if u.shape[1] != rows.shape[1]:
        raise ValueError(f"directions has {u.shape[1]} columns but rows of phi have {rows.shape[1]}")
    return np.asarray(rows @ u.T)


def moments(
    phi: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    within: bool = True,
    ddof: int = 0,
    **policy: Unpack[BaseOptions],
) -> dict[str, Array]:
    """Mean and covariance of the rows (theory 0.3).

    within: `Sigma = sum_x omega_x Cov_x(phi)`, each Cov_x with the weights w of its prompt.
    within=False: the covariance under the row weights omega_x w_i, which is Sigma + Cov_x(prompt means).

    Parameters
    ----------
    phi : (N, d); prompt_ids : (N,).
    ddof : 1 multiplies each Cov_x by its unbiased factor and drops the prompts that have none.

    Returns
    -------
    dict of mean (d,), the mean over prompts of prompt means; covariance (d, d); variances (d,).

    >>> moments([[0.0], [2.0], [5.0]], ["a", "a", "b"])["covariance"].tolist()
    [[0.5]]
    """
    rows = require_finite("phi", as_columns("phi", phi))
    base = base_weights(len(rows), prompt_ids, **policy)
    blocks = base.blocks(within, ddof=ddof)
    per_block = []
    for block in blocks:
        centred = block.centre(rows)
        per_block.append(block.factor**ddof * (centred.T @ (block.w[:, None] * centred)))
    d = rows.shape[1]
    covariance = np.broadcast_to(average(blocks, per_block), (d, d)).copy()
    mean = rows[0] + base.row_weights @ (rows - rows[0])
    return {"mean": mean, "covariance": covariance, "variances": np.diag(covariance).copy()}


def covariance_projection(
    phi: npt.ArrayLike,
    directions: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    within: bool = True,
    ddof: int = 0,
    **policy: Unpack[BaseOptions],
) -> Array:
    """Rows Sigma u_k = sum_x omega_x sum_i w_i phi~_i <phi~_i, u_k>, (K, d); Sigma is never formed (theory 3.1).

    >>> covariance_projection([[0.0, 1.0], [2.0, 1.0]], [[3.0, 4.0]]).tolist()
    [[3.0, 0.0]]
    """
    rows = require_finite("phi", as_columns("phi", phi))
    base = base_weights(len(rows), prompt_ids, **policy)
    blocks = base.blocks(within, ddof=ddof)
    per_block = []
    for block in blocks:
        centred = block.centre(rows)
        per_block.append(block.factor**ddof * score(centred, directions).T @ (block.w[:, None] * centred))
    shape = (len(np.atleast_2d(np.asarray(directions))), rows.shape[1])
    return np.broadcast_to(average(blocks, per_block), shape).copy()


def pair_covariance(t: Array, f: Array, base: BaseWeights, within: bool, ddof: int) -> tuple[float, Array]:
    """Return Cov(f, t) of two columns (N,) and the influence of each prompt on it, (G,), NaN for no part."""
    blocks = base.blocks(within, ddof=ddof)
    influence = np.full(len(base.ids), np.nan)
    if not blocks:
        return float("nan"), influence
    products = [block.factor**ddof * block.centre(t) * block.centre(f) for block in blocks]
    per_block = [float(block.w @ product) for block, product in zip(blocks, products, strict=True)]
    value = float(average(blocks, per_block))
    if within:
        for block, contribution in zip(blocks, per_block, strict=True):
            influence[block.prompt] = block.omega * (contribution - value)
    else:
        rows, terms = blocks[0].rows, blocks[0].w * (products[0] - value)
        sums = np.bincount(base.prompt[rows], weights=terms, minlength=len(base.ids))
        present = np.unique(base.prompt[rows])
        influence[present] = sums[present]
    return value, influence


def cross_covariance(
    scores: npt.ArrayLike,
    values: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    within: bool = True,
    ddof: int | None = None,
    **policy: Unpack[BaseOptions],
) -> dict[str, Array]:
    """Covariance of each score with each value inside prompts: the first-order gain at beta = 1 (theory 2.3).

    `sum_x omega_x Cov_x(f_j, t_k)`; a NaN in a value leaves that row out of that value only.

    Parameters
    ----------
    scores : (N, K); values : (N, J); prompt_ids : (N,).
    ddof : None is 1, and 0 for base="logprob".

    Returns
    -------
    dict of value, se, correlation, each (K, J), and cov (K, J, J), the covariance over values of the
    estimates. The correlation uses the labelled rows of its value throughout, so it lies in [-1, 1].

    >>> cross_covariance([0.0, 1.0], [0.0, 4.0], ddof=0)["value"].tolist()
    [[1.0]]
    """
    t = require_finite("scores", as_columns("scores", scores))
    f = require_values(as_columns("values", values, len(t)))
    base = base_weights(len(t), prompt_ids, **policy)
    if ddof is None:
        ddof = 0 if base.mode == "logprob" else 1
    shape = (t.shape[1], f.shape[1])
    value, correlation = np.empty(shape), np.full(shape, np.nan)
    influence = np.empty((*shape, len(base.ids)))
    for j, column in enumerate(f.T):
        known = base.labelled(column)
        var_f, _ = pair_covariance(column, column, known, within, ddof)
        for k, tilt_score in enumerate(t.T):
            value[k, j], influence[k, j] = pair_covariance(tilt_score, column, known, within, ddof)
            var_t, _ = pair_covariance(tilt_score, tilt_score, known, within, ddof)
            if var_t > 0 and var_f > 0:
                correlation[k, j] = value[k, j] / (np.sqrt(var_t) * np.sqrt(var_f))
    cov = np.stack([clustered_covariance(psi.T, base.clusters) for psi in influence])
    se = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    return {"value": value, "se": se, "correlation": correlation, "cov": cov}


def within_residual(
    scores: npt.ArrayLike,
    columns: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    within: bool = True,
    folds: npt.ArrayLike | None = None,
    knots: int = 0,
    **policy: Unpack[BaseOptions],
) -> Array:
    """Residual of the scores on columns inside prompts, (N, K): what `adjust=` tilts by (theory 2.11).

    `t~ - c~ b` with t~, c~ centred in each prompt and one coefficient vector b over all prompts, least
    squares with weights omega_x w_i; the smallest b if the columns are dependent.

    Parameters
    ----------
    folds, knots : with 3 knots or more, scores are first taken net of each column and a natural cubic spline of its
        logarithm (arsinh of what is not positive), with b from the rows of all other folds (N,).

    >>> bool(abs(within_residual([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])).max() < 1e-12)
    True
    """
    t = require_finite("scores", as_columns("scores", scores))
    c = require_finite("columns", as_columns("columns", columns, len(t)))
    base = base_weights(len(t), prompt_ids, **policy)
    root = np.sqrt(base.row_weights)[:, None]
    straight, left = (_within(x, base, within) for x in (c, t))
    if knots:
        fold, whole = np.zeros(len(t)) if folds is None else np.asarray(folds), left.copy()
        curves = np.hstack([straight, *(_within(_natural_spline(z, knots), base, within) for z in c.T)])
        for own in (fold == f for f in np.unique(fold)):
            left[own] -= curves[own] @ _coefficients_of_others(root * curves, root * whole, ~own)
        left = _within(left, base, within)  # in one pooled prompt the folds' curves have means
    return np.asarray(left - straight @ _coefficients(root * straight, root * left))


def _within(x: Array, base: BaseWeights, within: bool) -> Array:
    """Less the mean of each prompt, or of all rows."""
    centred = np.zeros_like(x)
    if not within:
        centred = x - x[0]
        return np.asarray(centred - base.row_weights @ centred)
    for rows in base.rows:
        near_zero = x[rows] - x[rows[0]]
        once = near_zero - base.w[rows] @ near_zero
        centred[rows] = once - base.w[rows] @ once
    return centred


def _coefficients(x: Array, y: Array) -> Array:
    """Least squares on columns of unit norm: the rank decision must not depend on their units."""
    size = np.linalg.norm(x, axis=0)
    scale = np.where(size > 0, size, 1.0)
    return np.asarray(np.linalg.lstsq(x / scale, y, rcond=1e-10)[0] / scale[:, None])


def _coefficients_of_others(x: Array, y: Array, others: npt.NDArray[np.bool_]) -> Array:
    """Least squares on other rows; along directions of which they hold less than half of the variance, on all rows."""
    scale = np.linalg.norm(x, axis=0)
    basis, size, turn = np.linalg.svd(x / np.where(scale > 0, scale, 1.0), full_matrices=False)
    known = size > 1e-9 * size.max()
    basis, back = basis[:, known], (turn[known].T / size[known]) / np.where(scale > 0, scale, 1.0)[:, None]
    _, directions = np.linalg.eigh(basis[others].T @ basis[others])
    found = []
    for along in (basis @ directions).T:
        share = float(along[others] @ along[others])
        rows = others if share > 0.5 else np.ones_like(others)
        found.append(along[rows] @ y[rows] / (along[rows] @ along[rows]))
    return np.asarray(back @ directions @ np.array(found))


def _natural_spline(z: Array, knots: int) -> Array:
    """Cardinal natural cubic splines of a column's logarithm, straight beyond the outer knots, (N, knots)."""
    from scipy.interpolate import CubicSpline

    middle = np.median(z)
    spread = np.median(np.abs(z - middle)) or np.abs(z - middle).max()
    y = np.log(z) if (z > 0).all() else np.arcsinh((z - middle) / spread)
    at = np.unique(np.quantile(y, np.linspace(0.05, 0.95, knots)))
    if len(at) < 3:
        return np.asarray(y[:, None])
    curve = CubicSpline(at, np.eye(len(at)), bc_type="natural")
    inside = np.clip(y, at[0], at[-1])
    return np.asarray(curve(inside) + curve(inside, 1) * (y - inside)[:, None])
