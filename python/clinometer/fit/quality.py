"""How well predictions made out of fold do: R^2 with its interval, r, AUC, and rho^2 free of the fit's noise."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..population import Population
from ..resampling import bootstrap_sums
from .result import EncodingQuality

__all__ = ["Grouping", "auc", "grouping", "quality_of", "stacked"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
REPLICATES = 1000
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Grouping:
    """Rows with weights that sum to 1, what they are centred in, and the units that are independent."""

    weight: Floats
    centre: Ints
    unit: Ints

    def centred(self, x: Floats) -> Floats:
        """x less its weighted mean in each centring group; exact zeros where it is constant there."""
        first = np.zeros(int(self.centre.max(initial=-1)) + 1, np.int64)
        first[self.centre[::-1]] = np.arange(len(self.centre))[::-1]
        x = x - x[first][self.centre]
        mass = np.bincount(self.centre, self.weight)
        mean = np.bincount(self.centre, self.weight * x) / np.where(mass > 0, mass, 1.0)
        return np.asarray(x - mean[self.centre])

    def sums(self, *terms: Floats) -> Floats:
        """Weighted sum of each term by unit of positive weight, (units, terms)."""
        held = np.bincount(self.unit, self.weight) > 0
        sums: Floats = np.stack([np.bincount(self.unit, self.weight * x) for x in terms], axis=1)
        return sums[held]


def grouping(p: Population, fold: Ints | None = None) -> Grouping:
    """Centred in prompts; or in folds, for quality over all rows."""
    prompt = np.repeat(np.arange(p.n_prompts), p.sizes)
    unit = prompt if p.cluster is None else p.cluster[prompt]
    weight = p.row_weight() * np.repeat(p.prompt_weight(), p.sizes)
    return Grouping(weight, prompt if fold is None else fold[prompt], unit)


def quality_of(
    t: Floats, s: Floats, g: Grouping, unbiased: Floats | None, moved: Floats | None = None
) -> EncodingQuality:
    """Quality of predictions t (N,) of labels s.

    `unbiased` are predictions of least squares, for rho^2; `moved` is what each row's label does to the squared
    error through the fit, for the interval.
    """
    tc, sc = g.centred(t), g.centred(s)
    seen = g.weight > 0
    sums = g.sums((sc - tc) ** 2, sc * sc, sc * tc, tc * tc)
    sse, sst, cross, tt = sums.sum(axis=0)
    scale = float(np.abs(s[seen]).max(initial=0.0))
    if not sst > (1e-14 * scale) ** 2:  # constant but for rounding
        return stacked([])
    if moved is not None:
        held = np.bincount(g.unit, g.weight)
        through_fit = np.bincount(g.unit, moved) - held / held.sum() * moved.sum()
        sums[:, 0] += through_fit[held > 0]
    draws = bootstrap_sums(sums[:, :2], REPLICATES)
    with np.errstate(divide="ignore", invalid="ignore"):
        ci = np.nanquantile(1 - draws[:, 0] / draws[:, 1], [0.025, 0.975])
        r = cross / np.sqrt(tt * sst)
    rho2, error = _debiased(unbiased, sc, g)
    return EncodingQuality(
        np.array([1 - sse / sst]), ci[None], np.array([r]), np.array([auc(tc, s, g.weight)]),
        np.array([rho2]), rho2 + np.array([[-Z95, Z95]]) * error,
    )  # fmt: skip


def _debiased(t: Floats | None, sc: Floats, g: Grouping) -> tuple[float, float]:
    """(rho^2, error): E u_f' c_f = u*' Sigma_f u* for fold fits independent of the fold they are applied to.

    Influence of a unit: 2 cross - tt - rho^2 sst, of which the second half is what the fold fits add; with
    predictions that carry the noise of the fit this counts the error's d/N term twice, on the safe side.
    """
    if t is None:
        return np.nan, np.nan
    tc = g.centred(t)
    sums = g.sums(sc * tc, tc * tc, sc * sc)
    cross, _, sst = sums.sum(axis=0)
    rho2 = cross / sst
    psi = 2 * sums[:, 0] - sums[:, 1] - rho2 * sums[:, 2]
    n = len(psi)
    if n < 2:
        return float(rho2), np.nan
    return float(rho2), float(np.sqrt(n / (n - 1) * np.sum((psi - psi.mean()) ** 2)) / sst)


def auc(t: Floats, s: Floats, weight: Floats) -> float:
    """Chance, under the weights, that a higher label outscores a lower one, ties half; NaN unless two-valued."""
    seen = weight > 0
    t, s, weight = t[seen], s[seen], weight[seen]
    levels = np.unique(s)
    if len(levels) != 2:
        return float("nan")
    _, rank = np.unique(t, return_inverse=True)
    high = np.bincount(rank, weight * (s == levels[1]))
    low = np.bincount(rank, weight * (s == levels[0]))
    return float(high @ (np.cumsum(low) - low / 2) / (high.sum() * low.sum()))


def stacked(parts: list[EncodingQuality]) -> EncodingQuality:
    """Qualities of single fits as one; of none, a single row of NaN."""
    if not parts:
        nan, pair = np.full(1, np.nan), np.full((1, 2), np.nan)
        return EncodingQuality(nan, pair, nan, nan, nan, pair)
    return EncodingQuality(*(np.concatenate([getattr(q, f.name) for q in parts]) for f in fields(EncodingQuality)))
