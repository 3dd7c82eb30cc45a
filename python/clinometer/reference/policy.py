"""The gain of the policy behind the rows at matched KL, by leaving rows and prompts out one at a time."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["policy_gain", "policy_null_se"]

Floats = NDArray[np.float64]


def _tilted(t: Floats, f: Floats, lam: float) -> Floats:
    """KL, gain and win rate of the tilt of one prompt, averaged over ways (W, n) to take its rows; or (W, n, 2) of f,
    what gains the gain and what gains the win rate less 1/2."""
    p = np.exp(lam * (t - t.max(axis=1, keepdims=True)))
    p /= p.sum(axis=1, keepdims=True)
    if f.ndim == 3:
        kl = (p * np.log(np.where(p > 0, p * t.shape[1], 1.0))).sum(axis=1)
        gain, wins = ((p[..., None] * f).sum(axis=1) - f.mean(axis=1)).T
        return np.array([kl.mean(), gain.mean(), wins.mean() + 0.5])
    a, b = f[:, :, None], f[:, None, :]
    beats = ((a > b) + (a == b) / 2).mean(axis=2)
    kl = (p * np.log(np.where(p > 0, p * t.shape[1], 1.0))).sum(axis=1)
    gain, wins = (p * f).sum(axis=1) - f.mean(axis=1), (p * beats).sum(axis=1)
    return np.array([kl.mean(), gain.mean(), wins.mean()])


def _by_prompt(groups: list[tuple[Floats, Floats]], lam: float, s: float, pairs: bool) -> Floats:
    """(G, 3) of every prompt as a function of 1/(m - 1/4), a shift of s from all of its m = n responses."""
    out = []
    for t, f in groups:
        n = len(t)
        points, held = [], []
        for left_out in (0, 1, 2) if pairs and 4 <= n <= 16 else (0, 1):
            ways = np.array(list(combinations(range(n), n - left_out)))
            points.append(left_out / (n - 0.25 - left_out))
            held.append(_tilted(t[ways], f[ways], lam))
        out.append(sum(w * x for w, x in zip(_lagrange(points, s), held, strict=True)))
    return np.array(out)


def _whole(f: Floats) -> Floats:
    """Columns (n, 2) of labels and of pairs of labels, for m of them (NaN: none) among n responses (theory 2.12)."""
    n, at = len(f), np.flatnonzero(~np.isnan(f))
    m, out = len(at), np.zeros((len(f), 2))
    if m > 1:
        out[at, 0] = (n - 1) / (m - 1) * (f[at] - f[at].mean())
        out[at, 1] = (n - 1) / (m * (m - 1)) * (np.sign(f[at][:, None] - f[at]) / 2).sum(axis=1)
    return out


def _lagrange(points: list[float], at: float) -> list[float]:
    """Weights that take the polynomial through the points to another one."""
    return [float(np.prod([(at - b) / (a - b) for b in points if b != a])) for a in points]


def policy_gain(
    scores: ArrayLike, values: ArrayLike, prompt_ids: ArrayLike, kl: float
) -> tuple[float, float, float, float, float]:
    """Gain, its error, win rate, its error, and beta of the policy at a KL (theory 2.9), of (N,); equal prompt weights.

    With theta_m of m responses, each at the lam that gives it the KL, the line through theta_n and theta_{n-1} in
    1/(m - 1/4) is taken to 0, or for 6 to 16 responses (n their harmonic mean) the parabola through theta_{n-2} too.
    Errors leave out a prompt. Values may be NaN, where every prompt has two labels or more.

    >>> import numpy as np
    >>> t = np.random.default_rng(0).normal(size=400)
    >>> gain, se, win, win_se, beta = policy_gain(t, t, np.repeat(np.arange(50), 8), 0.1)
    >>> bool(abs(gain - 0.447) < 3 * se)  # a normal score gains sqrt(2 KL)
    True
    """
    groups, nodes, pairs = _nodes(scores, values, prompt_ids, kl)
    parts, beta = [], 0.0
    for weight, s, lam in nodes:
        at, small = _by_prompt(groups, lam, s, pairs), 1e-5 * lam
        high, low = (_by_prompt(groups, lam + step, s, pairs) for step in (small, -small))
        slope = (high - low) / (2 * small)
        parts.append(weight * _without_each(at, slope, kl))
        beta += weight / lam
    every = np.sum(parts, axis=0)
    whole, rest = every[-1], every[:-1]
    G = len(groups)
    psi = (1 - 1 / G) * (whole - rest)
    se = np.sqrt(G / (G - 1) * (psi**2).sum(axis=0))
    return float(whole[0]), float(se[0]), float(whole[1]), float(se[1]), float(beta)


def policy_null_se(scores: ArrayLike, values: ArrayLike, prompt_ids: ArrayLike, kl: float) -> float:
    """Error of `policy_gain` over all orders of the values (N,) inside prompts (theory 2.9), by its coefficients.

    >>> import numpy as np
    >>> t, f = np.random.default_rng(0).normal(size=(2, 240))
    >>> ids = np.repeat(np.arange(30), 8)
    >>> gain, se, *_ = policy_gain(t, f, ids, 0.1)
    >>> bool(0.6 < policy_null_se(t, f, ids, 0.1) / se < 1.5)
    True
    """
    groups, nodes, pairs = _nodes(scores, values, prompt_ids, kl)
    variance = 0.0
    for t, f in groups:
        each = [(t, unit) for unit in np.eye(len(t))]
        coefficients = sum(weight * _by_prompt(each, lam, s, pairs)[:, 1] for weight, s, lam in nodes)
        variance += float(np.sum(coefficients**2) * (f if f.ndim == 1 else f[:, 0]).var(ddof=1))
    return float(np.sqrt(variance)) / len(groups)


def _nodes(
    scores: ArrayLike, values: ArrayLike, prompt_ids: ArrayLike, kl: float
) -> tuple[list[tuple[Floats, Floats]], list[tuple[float, float, float]], bool]:
    """Prompts of two responses or more; weight, shift and lam of each node; and whether pairs are left out."""
    from scipy.optimize import brentq

    t, f, ids = np.asarray(scores, float), np.asarray(values, float), np.asarray(prompt_ids)
    groups = [(t[ids == x], f[ids == x]) for x in np.unique(ids)]
    groups = [g for g in groups if len(g[0]) > 1]
    if np.isnan(f).any():
        groups = [(a, _whole(b)) for a, b in groups]
    n = float(1 / np.mean([1 / len(g[0]) for g in groups]))
    pairs = 5.5 <= n <= 16.5
    shifts = [m / (n - 0.25 - m) for m in range(3 if pairs else 2)]
    roots = [
        brentq(lambda x, s=s: _by_prompt(groups, x, s, pairs)[:, 0].mean() - kl, 1e-6, 30, xtol=1e-14, rtol=1e-14)
        for s in shifts
    ]
    return groups, list(zip(_lagrange(shifts, -1.0), shifts, roots, strict=True)), pairs


def _without_each(at: Floats, slope: Floats, kl: float) -> Floats:
    """Gain and win rate at the KL without each prompt, and last with all, (G + 1, 2): along the others' own slope."""
    out = []
    for x in range(len(at) + 1):
        kept = np.arange(len(at)) != x
        mean, along = at[kept].mean(axis=0), slope[kept].mean(axis=0)
        out.append(mean[1:] + along[1:] / along[0] * (kl - mean[0]))
    return np.array(out)
