"""One side of a comparison: a value on one dump, and what each prompt does to its quality and correlations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import t_bounds
from clinometer.dump import Dump
from clinometer.fit import DirectionFit
from clinometer.fit.out_of_fold import scores_of
from clinometer.fit.quality import curvature_error, ratio_error
from clinometer.inference.label_error import LabelError, label_errors

from .arrays import Floats
from .correlations import correlation_influence
from .rows import Scored, ratio, scored

__all__ = ["Side", "changes"]


class Side:
    """One dump with its fit, out-of-fold scores of the fit, and how its prompts line up with the other's."""

    def __init__(self, dump: Dump, values: Any, fit: DirectionFit, options: dict[str, Any]) -> None:
        self.dump, self.fit, self.options = dump, fit, options
        self.s: Scored = scored(dump, fit, values, **options)
        self.order = np.argsort(self.s.population.ids, kind="stable")
        self.errors: dict[int, LabelError] = label_errors(self.s.call, None)

    def under(self, fit: DirectionFit, j: int) -> Floats:
        """Scores of value j's direction of another fit, (N,): each prompt by the fold that did not see it."""
        folds = fit.fold_vectors[:, j]
        scores = scored(self.dump, folds, None, **self.options).scores
        p = self.s.population
        return np.asarray(scores[np.arange(p.n_rows), p.on_rows(p.folds(len(folds)))])

    def through(self, j: int, gradient: Floats) -> Floats:
        """What each prompt's labels do through the fit of value j to what has this gradient (d,) in it, (G,)."""
        return self.errors[j].moved(gradient[None])[:, 0] if j in self.errors else np.zeros(len(self.order))


class _Labelled:
    """Value j of a side: centred labels and out-of-fold scores, and what prompts do to R^2 and to correlations."""

    def __init__(self, side: Side, j: int) -> None:
        self.side, self.j, self.w = side, j, side.s.weights(j)
        self.row = self.w.row * self.w.p.on_rows(self.w.prompt)
        self.f, self.t = self.w.centre(side.s.value(j)), self.w.centre(side.s.scores[:, j])
        self.sst = float(self.row @ (self.f * self.f))
        self.bad = float(self.row @ (self.f - self.t) ** 2)
        self.quality = float(1 - ratio(self.bad, self.sst))

    def gradient(self, slopes: Floats) -> Floats:
        """Derivative (d,) in the direction of what has these slopes (N,) in each row's score."""
        errors = self.side.errors
        return errors[self.j].sum_of_rows(slopes[:, None])[0] if self.j in errors else np.zeros(self.side.dump.dim)

    def of_quality(self) -> Floats:
        """Influence of each prompt on R^2, sorted by id, (G,)."""
        e = self.f - self.t
        psi = self.w.total(self.row * (self.bad / self.sst * self.f**2 - e * e)) / self.sst
        through = self.side.through(self.j, self.gradient(2 * self.row * e / self.sst))
        return np.asarray((psi + through)[self.side.order])

    def gram(self) -> Floats:
        """Of the scores of all fold fits, over the label's variance: what noise of the fit costs in R^2."""
        folds = scores_of(self.side.s.call, self.side.fit.fold_vectors[:, self.j])
        x = self.w.centre(folds)
        return np.asarray((self.row[:, None] * x).T @ x / self.sst)

    def share(self) -> Floats:
        """Of each prompt in the label's variance, and its weight, sorted by id, (G, 2)."""
        variance = self.w.total(self.row * self.f**2) / self.sst
        return np.stack([variance, self.w.prompt], axis=1)[self.side.order]

    def correlation(self, t: Floats, source: Side) -> tuple[float, Floats]:
        """Of centred scores t with the value, and the influence of each prompt, through the fit of `source` too."""
        psi, (slopes, _) = correlation_influence(self.w, t, self.f)
        r = float(ratio(self.row @ (t * self.f), np.sqrt((self.row @ (t * t)) * self.sst)))
        through = source.through(self.j, self.gradient(slopes))
        return r, psi[self.side.order] + through[source.order]


def changes(a: Side, b: Side, j: int, transfer: bool) -> dict[str, Any]:
    """Every quantity of value j with its paired error."""
    one, two = _Labelled(a, j), _Labelled(b, j)
    own, d_own = two.correlation(two.t, b)
    change, spread = np.full(len(a.order), np.nan), np.nan
    if one.sst > 0 and two.sst > 0:
        change, spread = two.of_quality() - one.of_quality(), curvature_error(two.gram() - one.gram())
    weights, labels = (one.share() + two.share()) / 2, a.s.population.cluster
    unit = np.arange(len(a.order)) if labels is None else labels[a.order]
    out = {
        "quality_a": one.quality, "quality_b": two.quality, "quality_change": two.quality - one.quality,
        "quality_ci": _ci(two.quality - one.quality, change, spread, weights, unit), "own": own,
        "transfer": np.nan, "transfer_loss": np.nan, "transfer_ci": np.full(2, np.nan), "drift": np.nan,
        "drift_a": np.nan,
    }  # fmt: skip
    if not transfer:
        return out
    across, back = two.w.centre(b.under(a.fit, j)), one.w.centre(a.under(b.fit, j))
    moved, d_moved = two.correlation(across, a)
    loss = own - moved
    drift, drift_a = (_angle(v, t) for v, t in ((two, across), (one, back)))
    ci = _ci(loss, d_own - d_moved, 0.0, weights, unit)
    return out | {
        "transfer": moved, "transfer_loss": loss, "transfer_ci": ci, "drift": drift, "drift_a": drift_a,
    }  # fmt: skip


def _ci(at: float, psi: Floats, spread: float, weights: Floats, unit: NDArray[np.int64]) -> Floats:
    """95 % interval from influences of prompts (G,), their shares and weights (G, 2), and the units they are of."""
    moved, below, held = (np.asarray(np.bincount(unit, x), np.float64) for x in (psi, *weights.T))
    some = held > 0
    se, units = ratio_error(moved[some], below[some], held[some])
    return t_bounds(np.array(at), np.hypot(se, spread), np.array(units), 0.95)


def _angle(v: _Labelled, other: Floats) -> float:
    """Between the direction of a side and another, by their scores (N,) on its rows."""
    r = ratio(v.row @ (v.t * other), np.sqrt((v.row @ (v.t * v.t)) * (v.row @ (other * other))))
    return float(np.arccos(np.clip(r, -1.0, 1.0)))
