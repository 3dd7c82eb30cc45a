"""Scores of every row by the fit that did not see its prompt, and how well they do: R^2 with its interval, r, AUC, and
rho^2 free of the fit's noise."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import effective_units, t_bounds, unit_errors, worth
from clinometer.common.threads import applied
from clinometer.engine.fitted import EncodingQuality
from clinometer.engine.inputs import Call
from clinometer.engine.population import Population

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVEL = 0.95


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
    prompt = p.on_rows(np.arange(p.n_prompts))
    unit = prompt if p.cluster is None else p.cluster[prompt]
    weight = p.row_weight() * p.on_rows(p.prompt_weight())
    return Grouping(weight, prompt if fold is None else fold[prompt], unit)


def quality_of(
    t: Floats, s: Floats, g: Grouping, unbiased: Floats | None, moved: Floats | None = None, spread: float = 0.0
) -> EncodingQuality:
    """Quality of predictions t (N,) of labels s.

    `unbiased` are predictions of least squares, for rho^2; `moved` is what each row's label does to the squared
    error through the fit and `spread` the error of its second order, for the interval.
    """
    tc, sc = g.centred(t), g.centred(s)
    seen = g.weight > 0
    sums = g.sums((sc - tc) ** 2, sc * sc, sc * tc, tc * tc)
    _, sst, cross, tt = sums.sum(axis=0)
    scale = float(np.abs(s[seen]).max(initial=0.0))
    if not sst > (1e-14 * scale) ** 2:  # constant but for rounding
        return stacked([])
    held = of_units(g.unit, g.weight, g.weight)
    through_fit = None if moved is None else of_units(g.unit, g.weight, moved)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = cross / np.sqrt(tt * sst)
    rho2, rho2_se, rho2_units = _debiased(unbiased, sc, g, held)
    value, se, units = ratio_quality(sums[:, 0], sums[:, 1], through_fit, held, spread)
    return made(value, se, units, r, auc(t, s, g), rho2, rho2_se, rho2_units)


def of_units(unit: Ints, weight: Floats, x: Floats) -> Floats:
    """Sums of x by unit, of the units of positive weight."""
    return np.asarray(np.bincount(unit, x)[np.bincount(unit, weight) > 0], np.float64)


def ratio_quality(
    sse: Floats, sst: Floats, through_fit: Floats | None, held: Floats, spread: float
) -> tuple[float, float, float]:
    """(1 - SSE/SST, error, effective units) from sums (C,) of units of weight held (C,)."""
    bad, all_ = float(sse.sum()), float(sst.sum())
    psi = sse - bad / all_ * sst
    if through_fit is not None:
        psi = psi + through_fit - held / held.sum() * through_fit.sum()
    se, units = ratio_error(psi, sst, held)
    return 1 - bad / all_, float(np.hypot(se, spread)) / all_, units


def ratio_error(psi: Floats, below: Floats, held: Floats) -> tuple[float, float]:
    """(error, effective units) of a ratio whose numerator units move by psi (C,), its denominator sum below.

    A ratio without a unit moves by psi over what the others leave of the denominator: the error is that of the
    delete-one jackknife. Where few units carry the denominator, as with rare labels, no more than those decide.
    """
    share = below / below.sum()
    left = np.where(share < 1, 1 - share, np.nan)
    psi = (psi * (1 - 1 / len(psi)) / left)[:, None]
    units = worth(psi, held[:, None], effective_units(below[:, None]))
    return float(unit_errors(psi, held[:, None])[0]), float(units[0])


def made(
    value: float, se: float, units: float, r: float, area: float, rho2: float, rho2_se: float, rho2_units: float
) -> EncodingQuality:  # fmt: skip
    """A quality of one fit with its intervals."""
    at, bounds = np.array([[value], [rho2]]), np.array([[se], [rho2_se]])
    ci, rho2_ci = t_bounds(at, bounds, np.array([[units], [rho2_units]]), LEVEL)
    one = [np.array([x]) for x in (value, r, area, rho2, se, rho2_se, units, rho2_units)]
    return EncodingQuality(one[0], ci, one[1], one[2], one[3], rho2_ci, *one[4:])


def curvature_error(gram: Floats) -> float:
    """Error of the second order of a loss in its fit, sqrt(2 tr (M B)^2), from the Gram (F, F) of the fold fits.

    A fit off by e, covariance M, loses e'Be in squared error with curvature B. Fold fits are a delete-a-fold
    jackknife: M = (F - 1)/F sum (u_f - mean)(u_f - mean)', so that with gram = <u_f, B u_g> its centred form times
    (F - 1)/F has the trace of M B, from F - 1 degrees of freedom: tr (M B)^2 is cleared of what these add.
    """
    F = len(gram)
    nu = F - 1
    if nu < 2:
        return 0.0
    centred = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
    w = centred * nu / F
    square = nu**2 / ((nu - 1) * (nu + 2)) * (float((w * w).sum()) - float(np.trace(w)) ** 2 / nu)
    return float(np.sqrt(2 * max(square, 0.0)))


def _debiased(t: Floats | None, sc: Floats, g: Grouping, held: Floats) -> tuple[float, float, float]:
    """(rho^2, error, effective units): E u_f' c_f = u*' Sigma_f u* for fits that did not see fold f.

    Influence of a unit: 2 cross - tt - rho^2 sst, of which the second half is what the fold fits add; with
    predictions that carry the noise of the fit this counts the error's d/N term twice, on the safe side.
    """
    if t is None:
        return np.nan, np.nan, np.nan
    tc = g.centred(t)
    sums = g.sums(sc * tc, tc * tc, sc * sc)
    cross, _, sst = sums.sum(axis=0)
    rho2 = cross / sst
    psi = 2 * sums[:, 0] - sums[:, 1] - rho2 * sums[:, 2]
    se, units = ratio_error(psi - psi.mean(), sums[:, 2], held)
    return float(rho2), se / float(sst), units


def auc(t: Floats, s: Floats, g: Grouping) -> float:
    """Chance that of two rows of one group, drawn by weight, the higher label outscores the lower, ties half.

    Groups count by their mass times the chance that the two labels differ. NaN unless labels are two-valued and differ
    in some group.
    """
    seen = g.weight > 0
    t, s, weight, group = t[seen], s[seen], g.weight[seen], g.centre[seen]
    levels = np.unique(s)
    if len(levels) != 2:
        return float("nan")
    order = np.lexsort((t, group))
    t, weight, group, top = t[order], weight[order], group[order], (s == levels[1])[order]
    mass = np.bincount(group, weight)
    low, high = (np.where(side, weight, 0.0) / np.sqrt(mass[group]) for side in (~top, top))
    tie = np.cumsum(np.append(False, (np.diff(t) != 0) | (np.diff(group) != 0)))  # rows of one group and score
    low_of, high_of = (np.asarray(np.bincount(tie, x), np.float64) for x in (low, high))
    group_of = np.zeros(tie[-1] + 1, np.int64)
    group_of[tie] = group
    lows, highs = (np.asarray(np.bincount(group_of, x), np.float64) for x in (low_of, high_of))
    below = np.cumsum(low_of) - low_of / 2 - (np.cumsum(lows) - lows)[group_of]
    total = float(applied(lows, highs))
    return float(applied(high_of, below)) / total if total > 0 else float("nan")


def stacked(parts: list[EncodingQuality]) -> EncodingQuality:
    """Qualities of single fits as one; of none, a single row of NaN."""
    if not parts:
        return made(*[float("nan")] * 8)
    return EncodingQuality(*(np.concatenate([getattr(q, f.name) for q in parts]) for f in fields(EncodingQuality)))


def out_of_fold(call: Call, fold_vectors: Floats, fold: NDArray[np.int64]) -> Floats:
    """Canonical scores (N, J) of fold vectors (F, J, d), each prompt by the vector of its fold; one pass."""
    n_folds, J, d = fold_vectors.shape
    stacked = np.ascontiguousarray(np.moveaxis(fold_vectors, 0, 1).reshape(-1, d))
    return _scores(call, stacked, J, n_folds, fold)


def scores_of(call: Call, vectors: Floats) -> Floats:
    """Canonical scores (N, K) of vectors (K, d); one pass."""
    return _scores(call, np.ascontiguousarray(vectors), len(vectors), 1, None)


def _scores(call: Call, stacked: Floats, K: int, n_folds: int, fold: NDArray[np.int64] | None) -> Floats:
    from clinometer.engine.passes import kept_scores

    names = tuple(map(str, range(K)))
    alone = replace(call, directions=stacked, n_folds=n_folds, fold=fold, columns=None, order=None, names=names)
    return kept_scores(alone, absolute=True)
