"""Gains with an error that these rows show in part or not at all: too little of what makes them was drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.population import Population

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
SCARCE = 10  # responses, and prompts, that must differ from the rest of their prompt for an error to be seen
SKEWED = 400  # prompts for both bounds of a gain to hold where the value's quantiles are those of exp(z), z normal
LOPSIDED = 0.07  # sum of cubes over that of squares to the 3/2, past which errors hang on few extremes
CLIPPED = 0.25  # log sd of what differs from a prompt's commonest value, from which it has extremes of its own
UNDRAWN = 0.1  # share of a value's second moment beyond what was drawn, up to which both bounds hold
FURTHER = 1.5  # times as far: noise is seen to lower a skewed value in 7 % of dumps by 95 % bounds, in 2.5 % by these
TOP = 0.02  # of the scores, whose mean excess says how heavy their tail is
NORMAL = 0.3672  # that excess of a normal law, in sd: gains by normal scores are right up to the horizon
OUTWEIGHED = 0.05  # responses of a prompt that outweigh all of it, up to which few responses tell of many
WINS_OUTWEIGHED = 0.01  # the same for win rates, which turn out too high: rows reach a KL by more than its extremes
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


@dataclass(frozen=True)
class Tail:
    """The lognormal law of a value about the middle of its prompt: scale (exp(log_sd z) - 1), z normal; log_sd 0 where
    it is symmetric or has few different values, whose extremes are seen. `chance` is the variance of log_sd under
    symmetry, `units` the prompts (or clusters) with labels."""

    log_sd: float
    scale: float
    chance: float
    units: int
    few: int = 0  # the side, 1 or -1, on which few responses make what is seen of the spread
    lopsided: int = 0  # the side on which extremes make the error

    @property
    def rare(self) -> int:
        """Side of the extremes, 1 or -1, where so many prompts need not hold them: fewer than 400 s^4; else 0."""
        if self.few:
            return self.few
        s2 = max(self.log_sd**2 - 10 * self.chance, 0.0)  # less what chance makes of symmetry
        return int(np.sign(self.log_sd)) if self.units < SKEWED * s2**2 else 0

    def skewed(self, gain: Floats, kl: Floats, reach: float) -> Ints:
        """The same of gains (...) at kl (...), or where the tilt weighs the extremes too far out for `reach`, the KL up
        to which a prompt's responses say what a policy gains.

        A tilt of a normal score by t = sqrt(2 KL) takes its mean from responses at t. Where it moves the value's
        logarithm by x t, it takes that of the value from those at t + x, as a tilt of KL (t + x)^2/2 does of the
        score. x is read off the gain.
        """
        s, t = self.log_sd, np.sqrt(2 * np.maximum(kl, 1e-300))
        if self.rare or s**2 <= 40 * self.chance:
            return np.full(gain.shape, self.rare, np.int64)
        with np.errstate(invalid="ignore"):
            x = np.log1p(np.maximum(gain / (self.scale * np.exp(s**2 / 2)), 0.0)) / t
            return np.where((t + x) ** 2 / 2 > reach, int(np.sign(s)), 0)


def tail(value: Floats, ranked: NDArray[np.int32], each: Floats, share: Floats, p: Population) -> Tail:
    """By the 10, 50 and 90 % quantiles, which hardly know of the extremes that make a gain, as a kurtosis would: were
    it for these to say, dumps without them would keep both bounds. Arguments as above."""
    known = share > 0
    f, each, n = _in_order(value, ranked, each, known, p)
    if not known.any():
        return Tail(0.0, np.inf, 0.0, 0)
    middles = _quantiles(f, np.cumsum(each), np.cumsum(n) - n / 2)
    about = (f - p.on_rows(middles))[each > 0]
    order, each = np.argsort(about, kind="stable"), each[each > 0]
    about, each = about[order], each[order]
    held = np.cumsum(each)
    few, lopsided = _sides(about, each)
    low, middle, high = _quantiles(about, held, held[-1] * np.array([0.1, 0.5, 0.9]))
    if not low < middle < high:
        return Tail(0.0, np.inf, 0.0, 0, few or _undrawn(about, each), lopsided)
    s = float(np.log((high - middle) / (middle - low)) / Z90)
    units = int(np.count_nonzero(p.unit_sums(known[:, None].astype(float))))
    scale = float((high - middle) / np.expm1(s * Z90)) if s else np.inf
    return Tail(s, scale, float(1 / held[-1]), units, few, lopsided)


def _sides(about: Floats, each: Floats) -> tuple[int, int]:
    """Sides on which few responses make the spread, and the error, by moments of values about their prompt's middle.

    (sum d^2)^2 / sum d^4 is the number of events of a value that is 0 or 1, and a third of all responses of a normal
    one: below ten, as in `unseen`, or an eighth. Third moments are told from chance by three of their errors.
    """
    size, n = float(np.abs(about).max(initial=0.0)), float(each.sum())
    if not size > 0:
        return 0, 0
    second, third, fourth = (float(each @ (about / size) ** k) for k in (2, 3, 4))
    side, share = int(np.sign(third)), abs(third) / second**1.5
    few = second**2 / fourth < min(SCARCE, n / 8)
    return side if few else 0, side if share > max(LOPSIDED, 3 * 6**0.5 / n) else 0


def _undrawn(about: Floats, each: Floats) -> int:
    """Side of the extremes of a value that is mostly one number, 1 or -1, where too much of it was not drawn; else 0.

    By the 50 and 90 % quantiles of what differs on the side that differs most, as of exp(s z): beyond the largest of m
    lies a share of about Phi(2 s - z(1 - 1/m)) of the second moment.
    """
    from scipy.special import ndtr, ndtri

    side = 1 if each[about > 0].sum() >= each[about < 0].sum() else -1
    apart, many = (side * about)[::side], each[::side]
    apart, many = apart[apart > 0], many[apart > 0]
    if len(np.unique(apart)) < SCARCE:  # a scale, whose ends are seen
        return 0
    held = np.cumsum(many)
    middle, high = _quantiles(apart, held, held[-1] * np.array([0.5, 0.9]))
    s = float(np.log(high / middle) / Z90)
    return side if s > CLIPPED and ndtr(2 * s + ndtri(1 / max(held[-1], 2.0))) > UNDRAWN else 0


def excess(t: Floats, each: Floats | None) -> float:
    """Mean of the 2 % largest of t, each so many times, less the next (Hill 1975); 0 where that is not above what one
    in a hundred normal samples have."""
    from scipy.special import chdtri

    each = np.ones(len(t)) if each is None else each
    m = int(TOP * each.sum())
    if m < 2:
        return 0.0
    large = np.argpartition(t, len(t) - min(m + 1, len(t)))[-m - 1 :]
    order = large[np.argsort(-t[large], kind="stable")]
    top, held = t[order], np.cumsum(each[order])
    part = np.diff(np.minimum(held, m), prepend=0.0)  # of the m largest, what each makes up
    mean = float(part @ (top - top[np.searchsorted(held, m, "right")])) / m
    sd = float(np.sqrt(each @ t**2 / each.sum()))
    return mean if mean > NORMAL * sd * chdtri(2 * m, 0.01) / (2 * m) else 0.0  # excesses are nearly exponential


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


def overshot(bounds: Floats, gain: Floats, share: Floats | float) -> Floats:
    """Bounds (..., 2) of gains (...) that may be too high by a share (...): further towards zero, and past it."""
    less = np.nan_to_num(gain) * share
    return np.stack([bounds[..., 0] - np.maximum(less, 0.0), bounds[..., 1] - np.minimum(less, 0.0)], axis=-1)


def opened(
    bounds: Floats, gain: Floats, skewed: Ints, null_se: Floats | float = np.nan, level: float = 0.95,
    lopsided: Ints | int = 0, overshoot: Floats | float = 0.0,
) -> Floats:  # fmt: skip
    """Bounds (..., J, 2) of gains (..., J) without one end where a value (J,) is skewed.

    Extremes that were not drawn take a gain to their own side, so the end away from them bounds it, at its level: with
    bounds of 95 % it holds in 97.5 %. Where a gain lies beyond zero from them, the extremes that were not drawn would
    take it further from zero, and the further end bounds it. That end is as far as bounds reach, and as the error
    under independence does (`null_se`, normal), for a gain that chance made negative has too small an error; or 1.5
    times as far where that error is not known. The end on the side of extremes that were drawn (`lopsided`, (J,)) is
    as far as the error under independence too: a judge that by chance passed over them has seen too small an error.
    Before all of it bounds allow for gains that are too high by a share (`overshoot`).
    """
    from scipy.special import ndtri

    bounds = overshot(bounds, gain, overshoot)
    low, high = bounds[..., 0], bounds[..., 1]
    half, least = (high - low) / 2, ndtri(0.5 + level / 2) * null_se
    low = np.where(np.asarray(lopsided) < 0, np.fmin(low, gain - least), low)
    high = np.where(np.asarray(lopsided) > 0, np.fmax(high, gain + least), high)
    side = np.where(high > low, skewed, 0)
    far = np.where(np.isnan(null_se), FURTHER * half, np.fmax(half, least))
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


def nearest(bounds: Floats, gain: Floats) -> Floats:
    """The lower bound, or where there is none the gain less what a sign would need: what a choice goes by."""
    low = bounds[..., 0]
    return np.where(np.isneginf(low), gain - reach(bounds, gain), low)


def in_words(bounds: Floats, between: str = " to ", form: Callable[[float], str] = "{:+.3g}".format) -> str:
    """Two bounds, or the one that there is."""
    low, high = ("-" if np.isnan(x) else form(x) for x in bounds)
    if bounds[1] == np.inf:
        return f"at least {low}"
    return f"at most {high}" if bounds[0] == -np.inf else f"{low}{between}{high}"
