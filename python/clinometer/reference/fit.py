"""Directions from labels, and how well representations encode a value (theory 1 and 10)."""

from __future__ import annotations

from typing import Literal, Unpack

import numpy as np
import numpy.typing as npt

from .base import Array, BaseOptions, BaseWeights, as_columns, average, base_weights, require_finite

__all__ = ["encoding_quality", "fit_value_direction"]


def fit_value_direction(
    phi: npt.ArrayLike,
    s: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    method: Literal["least_squares", "ridge", "mean_difference", "lda"] = "least_squares",
    alpha: float = 0.0,
    eps: float = float(np.finfo(np.float64).eps),
    **policy: Unpack[BaseOptions],
) -> Array:
    """Direction of a value from labels, everything centred inside prompts, (d,) (theory 10.1).

    With Sigma = E_x Cov_x(phi) and c = E_x Cov_x(phi, s): least_squares `Sigma^+ c`; ridge
    `(Sigma + alpha tr(Sigma)/d I)^-1 c`; mean_difference mu_1 - mu_0 of the centred rows, which is
    c / (q (1 - q)), an image under Sigma and not u*; lda `Sigma_w^+ (mu_1 - mu_0)`, Sigma_w inside classes.
    Only least_squares obeys u' Sigma v = E_x Cov_x(s, <v, phi>) for every v (theory 1.1).

    Parameters
    ----------
    phi : (N, d); s : (N,), NaN is unlabelled; 0/1 for mean_difference and lda.
    alpha : ridge in units of tr(Sigma)/d.
    eps : rounding unit of the stored dtype; eigenvalues up to max(N - G, d) eps lam_max are null.

    >>> fit_value_direction([[0.0], [1.0], [2.0]], [5.0, 7.0, 9.0]).round(12).tolist()
    [2.0]
    """
    rows = require_finite("phi", as_columns("phi", phi))
    label = as_columns("s", s, len(rows))[:, 0]
    if not alpha >= 0:
        raise ValueError(f"alpha is {alpha}; expected a number >= 0")
    base = base_weights(len(rows), prompt_ids, **policy).labelled(label)
    used, centred, centred_label = _centre(rows, label, base)
    weights = base.row_weights[used]
    sigma = centred.T @ (weights[:, None] * centred)
    c = centred.T @ (weights * centred_label)
    d, freedom = len(c), len(used) - int(np.sum(base.omega > 0))
    if method == "ridge" and alpha > 0:
        penalty = alpha * np.trace(sigma) / d
        return np.asarray(np.linalg.solve(sigma + penalty * np.eye(d), c)) if penalty > 0 else np.zeros(d)
    if method in ("least_squares", "ridge"):
        return _pseudo_solve(sigma, c, max(freedom, d) * eps)
    if method not in ("mean_difference", "lda"):
        raise ValueError(f"method is {method!r}; expected least_squares, ridge, mean_difference or lda")
    one = _binary(label[used])
    share = float(weights[one].sum())
    mean_1 = weights[one] @ centred[one] / share
    mean_0 = weights[~one] @ centred[~one] / (1 - share)
    difference = np.asarray(mean_1 - mean_0)
    if method == "mean_difference":
        return difference
    inside = centred - np.where(one[:, None], mean_1, mean_0)
    return _pseudo_solve(inside.T @ (weights[:, None] * inside), difference, max(freedom, d) * eps)


def _binary(label: Array) -> npt.NDArray[np.bool_]:
    if not np.array_equal(np.unique(label), [0.0, 1.0]):
        raise ValueError("s must hold both 0 and 1 and nothing else for this method")
    return np.asarray(label == 1)


def _centre(rows: Array, label: Array, base: BaseWeights) -> tuple[npt.NDArray[np.intp], Array, Array]:
    """Rows in use, and their columns minus the mean of their prompt."""
    blocks = base.blocks()
    used = np.concatenate([block.rows for block in blocks])
    centred = np.concatenate([block.centre(rows) for block in blocks])
    return used, centred, np.concatenate([block.centre(label) for block in blocks])


def _pseudo_solve(sigma: Array, c: Array, cutoff: float) -> Array:
    """Sigma^+ c, the smallest solution: its part in null(Sigma) is unidentified, and idle on the rows."""
    eigenvalues, vectors = np.linalg.eigh(sigma)
    keep = eigenvalues > cutoff * max(float(eigenvalues[-1]), 0.0)
    return np.asarray(vectors[:, keep] @ ((vectors[:, keep].T @ c) / eigenvalues[keep]))


def encoding_quality(
    predictions: npt.ArrayLike,
    s: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    **policy: Unpack[BaseOptions],
) -> dict[str, float]:
    """R^2 = 1 - SSE/SST of out-of-fold predictions, inside prompts and pooled (theory 1.4).

    Both are (N,). within: centred in each prompt, the number that decides the ceiling; negative is legitimate.
    pooled: under row weights, without centring in the prompt: topic alone can make it large.

    Returns
    -------
    dict of value (within R^2), r (within correlation), pooled (R^2), pooled_r; NaN without variance.

    >>> encoding_quality([0.0, 1.0], [3.0, 4.0])["value"]
    1.0
    """
    label = as_columns("s", s)[:, 0]
    guess = require_finite("predictions", as_columns("predictions", predictions, len(label)))[:, 0]
    base = base_weights(len(label), prompt_ids, **policy).labelled(label)
    result: dict[str, float] = {}
    for name, r_name, within in (("value", "r", True), ("pooled", "pooled_r", False)):
        blocks = base.blocks(within)
        sums = []
        for block in blocks:
            truth, fitted = block.centre(label), block.centre(guess)
            # Pooled error is not centred: an offset is an error of the prediction there.
            error = truth - fitted if within else label[block.rows] - guess[block.rows]
            sums.append(block.w @ np.column_stack([error**2, truth**2, fitted**2, truth * fitted]))
        sse, sst, ssf, product = average(blocks, sums)
        result[name] = float(1 - sse / sst) if sst > 0 else float("nan")
        both = sst > 0 and ssf > 0
        result[r_name] = float(product / (np.sqrt(sst) * np.sqrt(ssf))) if both else float("nan")
    return result
