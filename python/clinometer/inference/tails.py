"""Values whose gain has an error that these rows show in part or not at all: too little of what makes it was drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.population import Population

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
SCARCE = 10  # responses, and prompts, that must differ from the rest of their prompt for an error to be seen
SKEWED = 400  # prompts for both bounds of a gain to hold where the value's quantiles are those of exp(z), z normal
FURTHER = 1.5  # times as far: noise is seen to lower a skewed value in 7 % of dumps by 95 % bounds, in 2.5 % by these
Z90 = 1.2815515655446004


def unseen(value: Floats, ranked: NDArray[np.int32], each: Floats, share: Floats, p: Population) -> str:
    """Why there is no error: "rare" or "".

    `ranked` (N,) are positions inside prompts by ascending value, `each` (N,) the responses of a row, `share` (G,) the
    weights of prompts with labels enough.

    Rare: fewer than ten responses, or prompts, differ from the commonest value of their prompt (or than a quarter of
    what there could be). What was not drawn is what bounds miss: with two events they fall short of the truth in a
    quarter of dumps, with ten in one of twenty.
    """
    prompt, first, known = p.on_rows(np.arange(p.n_prompts)), p.offsets[:-1], share > 0
    f, each, n = _in_order(value, ranked, each, known, p)
    runs = np.flatnonzero(np.r_[True, (f[1:] != f[:-1]) | (prompt[1:] != prompt[:-1])])
    differ = n - np.maximum.reduceat(np.add.reduceat(each, runs), np.searchsorted(runs, first))
    units = p.unit_sums(np.stack([differ > 0, known], axis=1).astype(float)) > 0
    most = np.maximum(n - 1, 0).sum(), units[:, 1].sum()
    if differ.sum() < min(SCARCE, most[0] / 4) or units[:, 0].sum() < min(SCARCE, most[1] / 4):
        return "rare"
    return ""


def skewed(value: Floats, ranked: NDArray[np.int32], each: Floats, share: Floats, p: Population) -> int:
    """Side of the extremes of a value, 1 or -1, where they are too rare in so many prompts for both bounds, else 0.

    Arguments as above. With s the log-sd of the lognormal law that has the 10, 50 and 90 % quantiles of the value
    about the middle of its prompt: fewer than 400 s^4 prompts (or clusters). Quantiles hardly know of the extremes
    that make the gain, as a kurtosis would: were it for these to say, dumps without them would keep both bounds.
    """
    known = share > 0
    f, each, n = _in_order(value, ranked, each, known, p)
    if not known.any():
        return 0
    middles = _quantiles(f, np.cumsum(each), np.cumsum(n) - n / 2)
    about = (f - p.on_rows(middles))[each > 0]
    order, each = np.argsort(about, kind="stable"), each[each > 0]
    held = np.cumsum(each[order])
    low, middle, high = _quantiles(about[order], held, held[-1] * np.array([0.1, 0.5, 0.9]))
    if not low < middle < high:  # few different values: their extremes are seen
        return 0
    s = np.log((high - middle) / (middle - low)) / Z90
    s2 = max(s**2 - 10 / held[-1], 0.0)  # less what chance makes of symmetry
    units = np.count_nonzero(p.unit_sums(known[:, None].astype(float)))
    return int(np.sign(s)) if units < SKEWED * s2**2 else 0


def _in_order(
    value: Floats, ranked: NDArray[np.int32], each: Floats, known: Flags, p: Population
) -> tuple[Floats, Floats, Floats]:
    """Values (N,) in order inside prompts, the responses of each, 0 without a label, and those of prompts (G,)."""
    at = ranked + p.on_rows(p.offsets[:-1])
    f = value[at]
    each = np.where(np.isnan(f) | ~p.on_rows(known), 0.0, each[at])
    return f, each, p.sums(each)


def _quantiles(x: Floats, held: Floats, at: Floats) -> Floats:
    """Of x in order, with `held` up to and with each: between two, their mean, so that -x has the same ones."""
    sides = [np.minimum(np.searchsorted(held, at, side), len(x) - 1) for side in ("left", "right")]
    return np.asarray(x[sides[0]] / 2 + x[sides[1]] / 2)


def opened(bounds: Floats, gain: Floats, skewed: Ints, null_se: Floats | float = np.nan, level: float = 0.95) -> Floats:
    """Bounds (..., J, 2) of gains (..., J) without one end where a value (J,) is skewed.

    Extremes that were not drawn take a gain to their own side, so the end away from them bounds it, at its level: with
    bounds of 95 % it holds in 97.5 %. Where a gain lies beyond zero from them, the extremes that were not drawn would
    take it further from zero, and the further end bounds it. That end is as far as bounds reach, and as the error
    under independence does (`null_se`, normal), for a gain that chance made negative has too small an error; or 1.5
    times as far where that error is not known.
    """
    from scipy.special import ndtri

    low, high = bounds[..., 0], bounds[..., 1]
    side, half = np.where(high > low, skewed, 0), (high - low) / 2
    far = np.where(np.isnan(null_se), FURTHER * half, np.fmax(half, ndtri(0.5 + level / 2) * null_se))
    further = gain + side * far
    turned = side * further < 0
    end = np.where(turned, further, np.where(side > 0, low, high))
    above = (side > 0) != turned  # the end that is open
    low = np.where(side == 0, low, np.where(above, end, -np.inf))
    high = np.where(side == 0, high, np.where(above, np.inf, end))
    return np.where(np.isnan(bounds), np.nan, np.stack([low, high], axis=-1))


def reach(bounds: Floats, gain: Floats) -> Floats:
    """How far from zero a gain has to be for a sign: half of the width of its bounds, or with one of them its way to
    that one; where zero is on the side that is open, 1.5 times as far, and further than it is."""
    low, high = bounds[..., 0], bounds[..., 1]
    with np.errstate(invalid="ignore"):
        away, back = gain - low, high - gain
        above = np.where(gain < 0, np.fmax(FURTHER * away, -gain), away)
        below = np.where(gain > 0, np.fmax(FURTHER * back, gain), back)
        return np.where(np.isinf(high), above, np.where(np.isinf(low), below, (high - low) / 2))


def in_words(bounds: Floats, between: str = " to ", form: Callable[[float], str] = "{:+.3g}".format) -> str:
    """Two bounds, or the one that there is."""
    low, high = ("-" if np.isnan(x) else form(x) for x in bounds)
    if bounds[1] == np.inf:
        return f"at least {low}"
    return f"at most {high}" if bounds[0] == -np.inf else f"{low}{between}{high}"
