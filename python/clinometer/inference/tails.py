"""Values whose gain has an error that these rows cannot show, because too little of what makes it was drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.population import Population

from .gains import unit_sums

__all__ = ["SCARCE", "unseen"]

Floats = NDArray[np.float64]
SCARCE = 10  # responses, and prompts, that must differ from the rest of their prompt for an error to be seen
SKEWED = 400  # prompts for bounds of a gain to hold where the value's quantiles are those of exp(z), z normal
Z90 = 1.2815515655446004


def unseen(value: Floats, ranked: NDArray[np.int32], each: Floats, share: Floats, p: Population) -> str:
    """Why there is no error: "rare", "skewed" or "".

    `ranked` (N,) are positions inside prompts by ascending value, `each` (N,) the responses of a row, `share` (G,) the
    weights of prompts with labels enough.

    Rare: fewer than ten responses, or prompts, differ from the commonest value of their prompt (or than a quarter of
    what there could be). What was not drawn is what bounds miss: with two events they fall short of the truth in a
    quarter of dumps, with ten in one of twenty, and more so where ten happened to be drawn.
    Skewed: with s the log-sd of the lognormal law that has the 10, 50 and 90 % quantiles of the value about the middle
    of its prompt, fewer than 400 s^4 prompts. Quantiles hardly know of the extremes that make the gain, as a kurtosis
    would: were it for these to say, dumps without them would keep their bounds. Win rates have no extremes.
    """
    at = ranked + np.repeat(p.offsets[:-1], p.sizes)
    f, prompt = value[at], np.repeat(np.arange(p.n_prompts), p.sizes)
    known = share > 0
    each = np.where(np.isnan(f) | ~known[prompt], 0.0, each[at])
    n, first = np.add.reduceat(each, p.offsets[:-1]), p.offsets[:-1]
    runs = np.flatnonzero(np.r_[True, (f[1:] != f[:-1]) | (prompt[1:] != prompt[:-1])])
    differ = n - np.maximum.reduceat(np.add.reduceat(each, runs), np.searchsorted(runs, first))
    units = unit_sums(np.stack([differ > 0, known], axis=1).astype(float), p) > 0
    most = np.maximum(n - 1, 0).sum(), units[:, 1].sum()
    if not known.any():
        return ""
    if differ.sum() < min(SCARCE, most[0] / 4) or units[:, 0].sum() < min(SCARCE, most[1] / 4):
        return "rare"
    about = (f - _quantiles(f, np.cumsum(each), np.cumsum(n) - n / 2)[prompt])[each > 0]
    order, each = np.argsort(about, kind="stable"), each[each > 0]
    held = np.cumsum(each[order])
    low, middle, high = _quantiles(about[order], held, held[-1] * np.array([0.1, 0.5, 0.9]))
    if not low < middle < high:  # few different values: their extremes are seen
        return ""
    s2 = (np.log((high - middle) / (middle - low)) / Z90) ** 2 - 10 / held[-1]  # less what chance makes of symmetry
    return "skewed" if most[1] < SKEWED * max(s2, 0.0) ** 2 else ""


def _quantiles(x: Floats, held: Floats, at: Floats) -> Floats:
    """Of x in order, with `held` up to and with each: between two, their mean, so that -x has the same ones."""
    sides = [np.minimum(np.searchsorted(held, at, side), len(x) - 1) for side in ("left", "right")]
    return np.asarray(x[sides[0]] / 2 + x[sides[1]] / 2)
