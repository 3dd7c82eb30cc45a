"""KL budgets: the curve KL(lam), its inverse, and how far the rows can be trusted (theory 2.2 and 2.8)."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import numpy.typing as npt

from .base import (
    Array,
    BaseOptions,
    BaseWeights,
    Block,
    as_columns,
    average,
    base_weights,
    clustered_covariance,
    require_finite,
    require_values,
)
from .one_prompt import divide, tilt_block
from .tilt import broadcast_betas

__all__ = ["jackknife_bias", "kl_curve", "kl_horizon", "kl_horizon_sized", "solve_kl"]

HORIZON_LEVELS = 64


def _mean_kl(t: Array, blocks: list[Block], beta: float) -> float:
    return float(average(blocks, [tilt_block(t, block, beta).kl() for block in blocks]))


def kl_curve(
    scores: npt.ArrayLike,
    lam: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    within: bool = True,
    **policy: Unpack[BaseOptions],
) -> Array:
    """E_x KL(pi_lam || pi0) at each tilt strength lam (M,) = 1/beta, (K, M); non-decreasing in lam (theory 2.2).

    >>> kl_curve([0.0, 1.0], [0.0, float("inf")]).round(4).tolist()
    [[0.0, 0.6931]]
    """
    t = require_finite("scores", as_columns("scores", scores))
    blocks = base_weights(len(t), prompt_ids, **policy).blocks(within)
    strengths = np.atleast_1d(np.asarray(lam, dtype=np.float64))
    if not np.all(strengths >= 0):
        raise ValueError("lam holds a negative or NaN entry")
    return np.array([[_mean_kl(column, blocks, float(divide(1.0, x))) for x in strengths] for column in t.T])


def solve_kl(
    scores: npt.ArrayLike,
    kl: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    within: bool = True,
    **policy: Unpack[BaseOptions],
) -> Array:
    """Beta at which the mean KL over prompts is `kl` (M,) nats, (K, M) (theory 2.2).

    At or above the KL of the argmax policy, -E_x log w(argmax t), the answer is beta = 0; a direction
    without variance gives beta = inf, as does kl = 0.

    >>> solve_kl([0.0, 1.0], [5.0]).tolist()
    [[0.0]]
    """
    t = require_finite("scores", as_columns("scores", scores))
    blocks = base_weights(len(t), prompt_ids, **policy).blocks(within)
    levels = np.atleast_1d(np.asarray(kl, dtype=np.float64))
    if not np.all(levels >= 0):
        raise ValueError("kl holds a negative or NaN entry; expected nats >= 0")
    return np.array([[_solve_one(column, blocks, float(level)) for level in levels] for column in t.T])


def _solve_one(t: Array, blocks: list[Block], level: float) -> float:
    """Bisection in log beta on the monotone curve; plain, and right to the last digits."""
    if level == 0 or all(np.ptp(t[block.rows]) == 0 for block in blocks):
        return float("inf")
    if level >= _mean_kl(t, blocks, 0.0):
        return 0.0
    weak = strong = max(float(np.ptp(t[block.rows])) for block in blocks)
    while weak < 1e300 and _mean_kl(t, blocks, weak) > level:
        weak *= 4
    while strong > 1e-300 and _mean_kl(t, blocks, strong) < level:
        strong /= 4
    while weak / strong > 1 + 1e-15:
        middle = float(np.sqrt(weak) * np.sqrt(strong))
        if not strong < middle < weak:
            break
        weak, strong = (middle, strong) if _mean_kl(t, blocks, middle) < level else (weak, middle)
    return strong


def _without_one(t: Array, f: Array, log_mass: Array, beta: float) -> Array:
    """Plug-in gain and KL (2, M) of each row of `log_mass` (M, n), unnormalised log weights over the same n rows."""
    alive = log_mass > -np.inf
    y = divide(t - np.where(alive, t, -np.inf).max(axis=1, keepdims=True), beta)
    log_w = log_mass - _log_sum(log_mass)
    log_p = np.where(alive, log_mass + np.where(alive, y, 0.0), -np.inf)
    log_p = log_p - _log_sum(log_p)
    ratio = np.where(alive, log_p - np.where(alive, log_w, 0.0), 0.0)
    w, p = np.exp(log_w), np.exp(log_p)
    change = np.where(ratio > 1, p - w, w * np.expm1(np.minimum(ratio, 1.0)))
    gain = np.sum(change * (f - np.sum(w * f, axis=1, keepdims=True)), axis=1)
    return np.stack([gain, np.sum(p * np.where(p > 0, ratio, 0.0), axis=1)])


def _log_sum(a: Array) -> Array:
    top = a.max(axis=1, keepdims=True)
    return np.asarray(top + np.log(np.exp(a - top).sum(axis=1, keepdims=True)))


def _prompt_bias(t: Array, f: Array, block: Block, base: BaseWeights, beta: float) -> Array:
    """(n - 1) (mean_i th_(-i) - th) for one prompt, th the plug-in gain and KL (2,); 0 where no draw can be left out.

    A row of `counts` stands for several draws: one of them is deleted, and the mean is over draws.
    """
    if not np.isfinite(block.factor):
        return np.zeros(2)
    rows, draws = block.rows, base.draws[block.rows]
    # Draws of base weight zero count too; leaving one of them out changes nothing, so they add no term.
    n = float(base.draws[base.rows[block.prompt]].sum())
    left = np.where(np.eye(len(rows), dtype=bool), draws - 1, draws) / draws  # (i, row): share that stays
    log_left = np.log(left, where=left > 0, out=np.full(left.shape, -np.inf))
    without = _without_one(t[rows], f[rows], block.log_w + log_left, beta)
    whole = _without_one(t[rows], f[rows], block.log_w[None, :], beta)
    return np.asarray((n - 1) / n * np.sum(draws * (without - whole), axis=1))


def jackknife_bias(
    scores: npt.ArrayLike,
    betas: npt.ArrayLike,
    values: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    **policy: Unpack[BaseOptions],
) -> Array:
    """Delete-one jackknife estimate of the bias of the plug-in gain, (K, B, J) (theory 2.8).

    Per prompt `(n - 1)(mean_i th_(-i) - th)`, averaged with omega; gain - bias is the jackknifed gain
    `n th - (n - 1) mean_i th_(-i)`, which kills the 1/n term. Not for lam sd > 1. NaN for base="logprob".

    >>> jackknife_bias([0.0, 1.0], [1.0], [0.0, 1.0]).round(4).tolist()
    [[[-0.2311]]]
    """
    t = require_finite("scores", as_columns("scores", scores))
    f = require_values(as_columns("values", values, len(t)))
    base = base_weights(len(t), prompt_ids, **policy)
    grid = broadcast_betas(betas, t.shape[1])
    bias = np.full((*grid.shape, f.shape[1]), np.nan)
    if base.mode == "logprob":
        return bias
    for j, column in enumerate(f.T):
        known = base.labelled(column)
        blocks = known.blocks()
        for (k, b), beta in np.ndenumerate(grid):
            per_block = [_prompt_bias(t[:, k], column, block, known, float(beta))[0] for block in blocks]
            bias[k, b, j] = average(blocks, per_block)
    return bias


def kl_horizon(scores: npt.ArrayLike, prompt_ids: npt.ArrayLike | None = None, **policy: Unpack[BaseOptions]) -> Array:
    """Largest KL at which the rows still estimate the tilt, (K,) nats (theory 2.8).

    The cap is `log(m)/2` times the omega share of prompts with n >= 2, m their median n. Of 64 geometric
    levels from cap/1000 to cap it is the last one such that at it and below it the jackknifed bias of the
    score's own gain is smaller than the gain's SE; 0 if there is none. NaN for base="logprob".

    >>> kl_horizon([0.0, 1.0, 3.0, 4.0], ["a", "a", "b", "b"]).tolist()
    [0.0]
    """
    return _every(scores, prompt_ids, policy, 0.0)


def kl_horizon_sized(
    scores: npt.ArrayLike, prompt_ids: npt.ArrayLike | None = None, **policy: Unpack[BaseOptions]
) -> Array:
    """Largest KL at which the size of a gain is good to a tenth or to its error, (K,) nats (theory 2.8).

    The bias that counts is the one at matched KL, bias(gain) - beta bias(KL): beta is the slope of the score's own
    gain in KL. 0 where prompts with two draws or more have a median of four or fewer.

    >>> kl_horizon_sized([0.0, 1.0, 3.0, 4.0], ["a", "a", "b", "b"]).tolist()
    [0.0]
    """
    return _every(scores, prompt_ids, policy, 0.1)


def _every(scores: npt.ArrayLike, prompt_ids: npt.ArrayLike | None, policy: BaseOptions, share: float) -> Array:
    t = require_finite("scores", as_columns("scores", scores))
    base = base_weights(len(t), prompt_ids, **policy)
    if base.mode == "logprob":
        return np.full(t.shape[1], np.nan)
    cap, middle = _cap(base)
    if cap == 0 or (share > 0 and middle <= 4):
        return np.zeros(t.shape[1])
    levels = cap * np.geomspace(1e-3, 1.0, HORIZON_LEVELS)
    levels[-1] = cap
    return np.array([_horizon(column, base, levels, share) for column in t.T])


def _cap(base: BaseWeights) -> tuple[float, float]:
    """The cap, and the median number of draws behind it."""
    usable = np.isfinite(base.factor) & (base.omega > 0)
    if not usable.any():
        return 0.0, 0.0
    draws = np.array([base.draws[rows].sum() for rows in base.rows])
    middle = float(np.median(draws[usable]))
    return float(0.5 * np.log(middle) * base.omega[usable].sum()), middle


def _horizon(t: Array, base: BaseWeights, levels: Array, share: float) -> float:
    """The last level whose bias is below the error, or below `share` of the gain where that is more."""
    blocks, reached = base.blocks(), 0.0
    for level in levels:
        beta = _solve_one(t, blocks, float(level))
        if beta == 0 or beta == np.inf:  # the rows cannot reach this KL
            break
        gains = [tilt_block(t, block, beta).gain(block.centre(t)) for block in blocks]
        mean = average(blocks, gains)
        psi = np.full((len(base.ids), 1), np.nan)
        for block, gain in zip(blocks, gains, strict=True):
            psi[block.prompt] = block.omega * (gain - mean)
        allowed = float(np.sqrt(clustered_covariance(psi, base.clusters)[0, 0]))
        of_gain, of_kl = average(blocks, [_prompt_bias(t, t, block, base, beta) for block in blocks])
        if share > 0:
            of_gain, allowed = of_gain - beta * of_kl, float(np.fmax(allowed, share * mean))
        if not abs(of_gain) < allowed:  # also stops at NaN
            break
        reached = float(level)
    return reached
