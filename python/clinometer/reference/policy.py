"""The gain of the policy behind the rows at matched KL, by leaving rows and prompts out one at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["policy_gain"]

Floats = NDArray[np.float64]
Curve = Callable[[float], tuple[Floats, Floats, Floats]]


def _one(t: Floats, f: Floats, lam: float) -> Floats:
    """KL, gain and win rate of the tilt of one prompt."""
    p = np.exp(lam * (t - t.max()))
    ratio = p / p.mean()
    p /= p.sum()
    beats = (f[:, None] > f[None, :]) + (f[:, None] == f[None, :]) / 2
    against = (beats.sum(axis=1) - 0.5) / (len(f) - 1) if len(f) > 1 else np.array([0.5])  # another response
    kl = float((p * np.log(np.where(p > 0, ratio, 1.0))).sum())
    return np.array([kl, p @ f - f.mean(), p @ against])


def _by_prompt(groups: list[tuple[Floats, Floats]], lam: float, step: float | None) -> Floats:
    """(G, 3) of every prompt; with a step, moved that far from all responses towards all but one."""
    out = []
    for t, f in groups:
        whole = _one(t, f, lam)
        if step is not None:
            less = np.mean([_one(np.delete(t, i), np.delete(f, i), lam) for i in range(len(t))], axis=0)
            whole = whole + (len(t) - 1) * step * (less - whole)
        out.append(whole)
    return np.array(out)


def policy_gain(
    scores: ArrayLike, values: ArrayLike, prompt_ids: ArrayLike, kl: float
) -> tuple[float, float, float, float, float]:
    """Gain, its error, win rate, its error, and beta of the policy at a KL (theory 2); equal prompt weights.

    With theta_n of all responses and theta_{n-1} of all but one, each at the lam that gives its own mean KL,
    (n - 1/4) theta_n - (n - 5/4) theta_{n-1}, n the harmonic mean of the responses. Errors leave out a prompt.

    >>> import numpy as np
    >>> t = np.random.default_rng(0).normal(size=400)
    >>> gain, se, win, win_se, beta = policy_gain(t, t, np.repeat(np.arange(50), 8), 0.1)
    >>> bool(abs(gain - 0.447) < 3 * se)  # a normal score gains sqrt(2 KL)
    True
    """
    from scipy.optimize import brentq

    t, f, ids = np.asarray(scores, float), np.asarray(values, float), np.asarray(prompt_ids)
    groups = [(t[ids == x], f[ids == x]) for x in np.unique(ids)]
    groups = [g for g in groups if len(g[0]) > 1]
    n = 1 / np.mean([1 / len(g[0]) for g in groups])
    parts, beta = [], 0.0
    for weight, step in ((n - 0.25, None), (1.25 - n, 1 / (n - 1))):
        lam = brentq(lambda x, s=step: _by_prompt(groups, x, s)[:, 0].mean() - kl, 1e-6, 1e3, xtol=1e-14, rtol=1e-14)
        at = _by_prompt(groups, lam, step)
        small = 1e-5 * lam
        slope = (_by_prompt(groups, lam + small, step) - _by_prompt(groups, lam - small, step)) / (2 * small)
        parts.append(weight * _without_each(at, slope, kl))
        beta += weight / lam
    every = np.sum(parts, axis=0)
    whole, rest = every[-1], every[:-1]
    G = len(groups)
    psi = (1 - 1 / G) * (whole - rest)
    se = np.sqrt(G / (G - 1) * (psi**2).sum(axis=0))
    return float(whole[0]), float(se[0]), float(whole[1]), float(se[1]), float(beta)


def _without_each(at: Floats, slope: Floats, kl: float) -> Floats:
    """Gain and win rate at the KL without each prompt, and last with all, (G + 1, 2): along the others' own slope."""
    out = []
    for x in range(len(at) + 1):
        kept = np.arange(len(at)) != x
        mean, along = at[kept].mean(axis=0), slope[kept].mean(axis=0)
        out.append(mean[1:] + along[1:] / along[0] * (kl - mean[0]))
    return np.array(out)
