"""Values whose gain has an error that these rows show in part or not at all: too little of what makes it was drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.population import Population

from .gains import unit_sums

__all__ = ["SCARCE", "in_words", "opened", "reach", "skewed", "unseen"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
SCARCE = 10  # responses, and prompts, that must differ from the rest of their prompt for an error to be seen
SKEWED = 400  # prompts for both bounds of a gain to hold where the value's quantiles are those of exp(z), z normal
Z90 = 1.2815515655446004


def unseen(value: Floats, ranked: NDArray[np.int32], each: Floats, share: Floats, p: Population) -> str:
    """Why there is no error: "rare" or "".

    `ranked` (N,) are positions inside prompts by ascending value, `each` (N,) the responses of a row, `share` (G,) the
    weights of prompts with labels enough.

    Rare: fewer than ten responses, or prompts, differ from the commonest value of their prompt (or than a quarter of
    what there could be). What was not drawn is what bounds miss: with two events they fall short of the truth in a
    quarter of dumps, with ten in one of twenty.
    """
    prompt, first, known = np.repeat(np.arange(p.n_prompts), p.sizes), p.offsets[:-1], share > 0
    f, each, n = _in_order(value, ranked, each, known, p)
    runs = np.flatnonzero(np.r_[True, (f[1:] != f[:-1]) | (prompt[1:] != prompt[:-1])])
    differ = n - np.maximum.reduceat(np.add.reduceat(each, runs), np.searchsorted(runs, first))
    units = unit_sums(np.stack([differ > 0, known], axis=1).astype(float), p) > 0
    most = np.maximum(n - 1, 0).sum(), units[:, 1].sum()
    if differ.sum() < min(SCARCE, most[0] / 4) or units[:, 0].sum() < min(SCARCE, most[1] / 4):
        return "rare"
    return ""


def skewed(value: Floats, ranked: NDArray[np.int32], each: Floats, share: Floats, p: Population) -> bool:
    """Whether the extremes of a value are too rare in so many prompts for a bound on their side; arguments as above.

    With s the log-sd of the lognormal law that has the 10, 50 and 90 % quantiles of the value about the middle of its
    prompt: fewer than 400 s^4 prompts (or clusters). Quantiles hardly know of the extremes that make the gain, as a
    kurtosis would: were it for these to say, dumps without them would keep both bounds.
    """
    known = share > 0
    f, each, n = _in_order(value, ranked, each, known, p)
    if not known.any():
        return False
    middles = _quantiles(f, np.cumsum(each), np.cumsum(n) - n / 2)
    about = (f - np.repeat(middles, p.sizes))[each > 0]
    order, each = np.argsort(about, kind="stable"), each[each > 0]
    held = np.cumsum(each[order])
    low, middle, high = _quantiles(about[order], held, held[-1] * np.array([0.1, 0.5, 0.9]))
    if not low < middle < high:  # few different values: their extremes are seen
        return False
    s2 = (np.log((high - middle) / (middle - low)) / Z90) ** 2 - 10 / held[-1]  # less what chance makes of symmetry
    units = np.count_nonzero(unit_sums(known[:, None].astype(float), p))
    return bool(units < SKEWED * max(s2, 0.0) ** 2)


def _in_order(
    value: Floats, ranked: NDArray[np.int32], each: Floats, known: Flags, p: Population
) -> tuple[Floats, Floats, Floats]:
    """Values (N,) in order inside prompts, the responses of each, 0 without a label, and those of prompts (G,)."""
    at = ranked + np.repeat(p.offsets[:-1], p.sizes)
    f = value[at]
    each = np.where(np.isnan(f) | ~np.repeat(known, p.sizes), 0.0, each[at])
    return f, each, np.add.reduceat(each, p.offsets[:-1])


def _quantiles(x: Floats, held: Floats, at: Floats) -> Floats:
    """Of x in order, with `held` up to and with each: between two, their mean, so that -x has the same ones."""
    sides = [np.minimum(np.searchsorted(held, at, side), len(x) - 1) for side in ("left", "right")]
    return np.asarray(x[sides[0]] / 2 + x[sides[1]] / 2)


def opened(bounds: Floats, gain: Floats, skewed: Flags) -> Floats:
    """Bounds (..., J, 2) of gains (..., J), those of skewed values (J,) without the end away from zero.

    The extremes that were not drawn take the gain further from zero, so only the end nearer zero bounds it. It keeps
    its level: with bounds of 95 % it holds in 97.5 %.
    """
    ends = np.stack([np.where(skewed & (gain < 0), -np.inf, bounds[..., 0]),
                     np.where(skewed & (gain > 0), np.inf, bounds[..., 1])], axis=-1)  # fmt: skip
    return np.where(np.isnan(bounds), np.nan, ends)


def reach(bounds: Floats, gain: Floats) -> Floats:
    """How far bounds reach from a gain: half of their width, and of one end alone the way to that end."""
    low, high = bounds[..., 0], bounds[..., 1]
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(high), gain - low, np.where(np.isinf(low), high - gain, (high - low) / 2))


def in_words(bounds: Floats, between: str = " to ", form: Callable[[float], str] = "{:+.3g}".format) -> str:
    """Two bounds, or the one that there is."""
    low, high = ("-" if np.isnan(x) else form(x) for x in bounds)
    if bounds[1] == np.inf:
        return f"at least {low}"
    return f"at most {high}" if bounds[0] == -np.inf else f"{low}{between}{high}"
