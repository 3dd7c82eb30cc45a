"""Roots in KL, the KL horizon, Pareto k and pooled errors: what is computed from kept scores."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core

if TYPE_CHECKING:
    from .inputs import Call

Floats = NDArray[np.float64]
HORIZON_LEVELS = 32


def kl_at(call: Call, kept: Floats, betas: Floats) -> Floats:
    """Mean KL of each tilt, (K, B)."""
    from .inputs import run

    bare = _without_values(call)
    state = run(bare, [_core.Tilt(0, kept.shape[1], 0, 0, betas, False)], kept=kept)[0]
    return np.asarray(state.finish()["kl"])


def _without_values(call: Call) -> Call:
    from dataclasses import replace

    return replace(call, values=None, progress=None)


def solve(call: Call, kept: Floats, kl: Floats, names: tuple[str, ...]) -> Floats:
    """beta (K, B) with KL(beta_kb) = kl_b: bracketed secant on log lam; 0 past the rows' reach, inf without variance.

    KL is non-decreasing in lam = 1/beta and behaves as lam^2 Var/2 near 0 (theory 2), so sqrt(KL) is nearly
    linear in lam: the secant starts from the Gaussian root and needs about six passes over the scores.
    """
    K, B = kept.shape[1], len(kl)
    variance = score_variance(call, kept)
    reach = kl_at(call, kept, np.zeros((K, 1)))[:, 0]
    target = np.broadcast_to(kl, (K, B))
    flat, beyond = variance <= 0, target >= reach[:, None] * (1 - 1e-12)
    if beyond[~flat].any():
        hit = [names[k] for k in range(K) if not flat[k] and beyond[k].any()]
        warnings.warn(
            f"kl: beyond what the rows can reach for {', '.join(hit)}; those entries are the argmax limit "
            f"(betas 0), with .kl the KL reached",
            UserWarning,
            stacklevel=4,
        )
    open_ = ~flat[:, None] & ~beyond
    lam = np.where(open_, np.sqrt(2 * target / np.where(flat, 1.0, variance)[:, None]), 1.0)
    low, high = np.zeros((K, B)), np.full((K, B), np.inf)
    for _ in range(80):
        at = kl_at(call, kept, np.where(open_, 1 / lam, np.inf))
        low, high = np.where(at < target, lam, low), np.where(at >= target, lam, high)
        done = ~open_ | (np.abs(at - target) <= 1e-11 * target) | (high - low <= 1e-15 * lam)
        if done.all():
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            step = lam * np.sqrt(target / at)
        step = np.where(np.isfinite(step) & (step > low) & (step < high), step, np.nan)
        middle = np.where(np.isinf(high), 2 * lam, (low + high) / 2)
        step = np.where(np.isnan(step) | (_ > 12), middle, step)
        lam = np.where(done, lam, step)
    beta = np.where(open_, 1 / lam, 0.0)
    return np.where(flat[:, None], np.inf, beta)


def score_variance(call: Call, kept: Floats) -> Floats:
    """E_x Var_{y|x}(t) of each score, (K,)."""
    p = call.effective()
    t = kept - np.repeat(_per_prompt(kept * p.row_weight()[:, None], p.offsets), p.sizes, axis=0)
    return np.asarray(p.prompt_weight() @ _per_prompt(p.row_weight()[:, None] * t * t, p.offsets))


def _per_prompt(x: Floats, offsets: NDArray[np.int64]) -> Floats:
    if len(offsets) < 2:
        return np.zeros((0, *x.shape[1:]))
    return np.asarray(np.add.reduceat(x, offsets[:-1], axis=0))


def log_ratios(call: Call, kept: Floats, betas: Floats) -> Floats:
    """log pi/pi0 of every kept row, (K * B, N)."""
    from .inputs import run

    out = np.empty((betas.size, len(kept)))
    run(_without_values(call), [_core.LogRatios(0, kept.shape[1], betas, out)], kept=kept)
    return out


def horizon(call: Call, kept: Floats) -> Floats:
    """KL horizon (theory 2): largest KL where the jackknifed bias of the judge's own gain is below its error.

    Never above log(m)/2, m the median size of prompts with two or more responses, times their share of
    the prompt weight. Found on a grid of levels geometric in lam.
    """
    p, K = call.effective(), kept.shape[1]
    many = p.sizes > 1
    variance = score_variance(call, kept)
    if not many.any() or p.base == "logprob":
        return np.full(K, np.nan if p.base == "logprob" else 0.0)
    omega = p.prompt_weight()
    cap = float(np.log(np.median(p.sizes[many])) / 2 * omega[many].sum())
    out = np.zeros(K)
    for k in np.flatnonzero(variance > 0):
        one = kept[:, k : k + 1]
        lam = np.sqrt(2 * cap / variance[k]) * np.geomspace(0.03, 2.0, HORIZON_LEVELS)
        ratios = log_ratios(call, one, (1 / lam)[None])
        levels = kl_at(call, one, (1 / lam)[None])[0]
        for level, log_ratio in zip(levels, ratios, strict=True):
            bias, se = jackknife(p.row_weight(), log_ratio, kept[:, k], p.offsets, omega)
            if not abs(bias) <= se or level > cap:
                break
            out[k] = level
        else:
            out[k] = min(cap, out[k])
    return out


def jackknife(
    weight: Floats, log_ratio: Floats, t: Floats, offsets: NDArray[np.int64], omega: Floats
) -> tuple[float, float]:
    """Delete-one bias of the mean gain of t itself, and the gain's error clustered by prompt."""
    sizes = np.diff(offsets)
    prob = weight * np.exp(log_ratio)
    t = t - np.repeat(_per_prompt(weight * t, offsets), sizes)
    gain = _per_prompt(prob * t, offsets)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (np.repeat(gain, sizes) - prob * t) / (1 - prob) + weight * t / (1 - weight)
    bias = (sizes - 1) * (_per_prompt(without, offsets) / sizes - gain)
    mean = float(omega @ gain)
    groups = len(omega)
    se = float(np.sqrt(groups / max(groups - 1, 1) * np.sum(omega**2 * (gain - mean) ** 2)))
    many = sizes > 1
    return float(omega[many] @ bias[many]), se if groups > 1 else np.nan


def pareto_k(log_weight: Floats) -> float:
    """Tail index of the pooled ratios (theory 2): Zhang-Stephens fit to the largest, NaN with too few."""
    finite = log_weight[np.isfinite(log_weight)]
    n = len(finite)
    tail = int(np.ceil(min(0.2 * n, 3 * np.sqrt(n))))
    if tail < 5 or n <= tail:
        return float("nan")
    cut = np.partition(finite, n - tail - 1)[n - tail - 1 :]
    cut.sort()
    shift = cut[-1]
    x = -np.exp(cut[1:] - shift) * np.expm1(cut[0] - cut[1:])
    x = x[x > 0]
    if len(x) < 5 or x[-1] - x[0] <= 1e-12 * x[-1]:
        return float("nan")
    return _generalised_pareto(x)


def _generalised_pareto(x: Floats) -> float:
    """Posterior-mean shape of Zhang and Stephens (2009) with the prior of theory 2."""
    n = len(x)
    m = 30 + int(np.sqrt(n))
    grid = 1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    grid = grid / (3 * x[int(n / 4 + 0.5) - 1]) + 1 / x[-1]
    k = np.mean(np.log1p(-grid[:, None] * x), axis=1)
    profile = n * (np.log(-grid / k) - k - 1)
    with np.errstate(over="ignore"):
        weight = 1 / np.exp(profile - profile[:, None]).sum(axis=1)
    theta = float(np.sum(grid * weight) / weight.sum())
    shape = float(np.mean(np.log1p(-theta * x)))
    return (n * shape + 5) / (n + 10)


def pareto_table(call: Call, kept: Floats, betas: Floats, limit: int = 10_000_000) -> Floats:
    """Pareto k of every tilt, (K, B); above `limit` rows from an evenly spread tenth of them."""
    p = call.effective()
    if p.base == "logprob":
        return np.full(betas.shape, np.nan)
    rows = slice(None) if len(kept) <= limit else slice(None, None, len(kept) // 1_000_000)
    with np.errstate(divide="ignore"):
        base = np.log(p.row_weight()[rows] * np.repeat(p.sizes, p.sizes)[rows])
    out = np.empty(betas.shape)
    for k in range(kept.shape[1]):
        ratios = log_ratios(call, kept[:, k : k + 1], betas[k : k + 1])
        out[k] = [pareto_k(r[rows] + base) for r in ratios]
    return out


def pooled_errors(call: Call, kept: Floats, betas: Floats, values: Floats) -> Floats:
    """Standard errors of within=False gains: influence of each prompt under the one normaliser, (K, B, J)."""
    real, pooled = call.population, call.effective()
    weight = pooled.row_weight()
    K, B = betas.shape
    out = np.full((K, B, values.shape[1]), np.nan)
    v = values[real.rows]
    for k in range(K):
        ratios = log_ratios(call, kept[:, k : k + 1], betas[k : k + 1])
        for b in range(B):
            prob = weight * np.exp(ratios[b])
            for j in range(values.shape[1]):
                out[k, b, j] = _influence_error(weight, prob, v[:, j], real)
    return out


def _influence_error(weight: Floats, prob: Floats, f: Floats, p: Any) -> float:
    seen = ~np.isnan(f)
    f = np.where(seen, f, 0.0)
    w, q = np.where(seen, weight, 0.0), np.where(seen, prob, 0.0)
    w, q = w / w.sum(), q / q.sum()
    psi = _per_prompt(q * (f - q @ f) - w * (f - w @ f), p.offsets)
    if p.cluster is not None:
        psi = np.asarray(np.bincount(p.cluster, weights=psi), np.float64)
    groups = len(psi)
    return float(np.sqrt(groups / (groups - 1) * np.sum(psi**2))) if groups > 1 else float("nan")
