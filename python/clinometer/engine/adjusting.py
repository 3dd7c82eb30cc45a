"""Adjusted scores: the residual of a score inside prompts on length or any other columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inputs import Call
from .population import hash_of
from .splines import FEWEST_FREE, columns_of, orthonormal, spline, to_one

__all__ = ["METHODS", "Adjust", "Adjustment", "NetScores", "net_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
METHODS = ("spline", "linear")
FOLDS = 10
SEEN = 0.5  # share of a curve's variance that the other folds must hold to give its coefficient alone


@dataclass(frozen=True)
class Adjust:
    """Columns to take out of a score inside prompts, and how: what `adjust=` takes where its default is not wanted.

    Parameters
    ----------
    columns : name of a column, array (N,) or (N, m) in dump order, or a list of such
    method : "spline", any smooth curve of each column, with coefficients fitted on other prompts; or "linear", one
        coefficient for each column over all prompts, fitted on the very rows

    Errors: ValueError for an unknown method. Cost: one more look at the kept scores, O(N m).

    >>> import numpy as np, clinometer as cm
    >>> length = np.array([1.0, 2.0, 4.0, 2.0, 3.0, 9.0])
    >>> scores = cm.Scores(3 * length, prompt_ids=[0, 0, 0, 1, 1, 1])
    >>> cm.tilt(scores, None, [1.0], length, adjust=cm.inference.Adjust(length, method="linear")).adjusted_r2.tolist()
    [1.0]
    """

    columns: Any
    method: str = "spline"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}, wanted one of {', '.join(METHODS)}")


@dataclass(frozen=True)
class NetScores:
    """Scores net of columns.

    kept : (N, K), rows of the call in canonical order; r2 : (K,) share of the within-prompt variance of each score
    that the columns explain, on prompts that did not fit it unless linear; slightly negative where they explain
    nothing, NaN for a score without variance.
    """

    kept: Floats
    r2: Floats


def net_of(call: Call, kept: Floats, adjust: Any) -> NetScores:
    """Kept scores (N, K) less what the columns of `adjust` explain of them inside prompts (theory 2.11).

    For each column z the curves are z itself and a natural cubic spline of log z (asinh of its standardised value
    where z is not positive) with 3 to 7 knots at its quantiles, centred inside prompts. Their coefficients are least
    squares with weights omega_x w_i over the prompts of other folds, so that few prompts are not fitted away. What is
    left is made uncorrelated with the columns on these very rows, which is all that method "linear" does, and all
    that is done with fewer than 30 free rows a column.
    Cost: N p^2 for p curves, at most 7 a column.

    Raises ValueError for columns of another length, without variance inside prompts, or with NaN or Inf in rows that
    count. Columns that others repeat change nothing.
    """
    by = Adjustment.of(call, adjust)
    top = np.abs(kept).max(axis=0, initial=0.0)
    exponent = np.frexp(top)[1]
    t = np.ldexp(kept, -exponent)
    out = by.net(t)
    before, after = by.centred(t), by.centred(out)
    # a score that is the columns but for rounding has nothing left, and a tilt by rounding would find a value in it
    rounding = np.maximum(1e-7 * np.abs(before).max(axis=0, initial=0.0), 64 * np.finfo(np.float64).eps)
    nothing = np.abs(after).max(axis=0, initial=0.0) <= rounding
    out[:, nothing], after[:, nothing] = 0.0, 0.0
    whole, left = (by.weight @ x**2 for x in (before, after))
    r2 = 1 - np.divide(left, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return NetScores(np.ldexp(out, exponent), r2)


@dataclass(frozen=True)
class Adjustment:
    """The linear map from scores to scores net of columns, for one call: curves by fold, then the columns themselves.

    curves (N, p) and straight (N, m) are centred inside prompts and orthonormal under weight (N,), of sum 1. The
    coefficients of the rows of fold f are others[f] @ moments of all other folds + own[f] @ moments of f, (F, p, p).
    """

    curves: Floats
    straight: Floats
    weight: Floats
    rows: list[Any]  # of each fold
    others: Floats
    own: Floats
    offsets: Ints
    inside: Floats  # (N,) weights inside prompts

    @classmethod
    def of(cls, call: Call, adjust: Any) -> Adjustment:
        given = adjust if isinstance(adjust, Adjust) else Adjust(adjust)
        p = call.effective()
        inside = p.row_weight()
        weight = inside * np.repeat(p.prompt_weight(), p.sizes)
        columns = list(columns_of(call, given.columns))
        straight = _centred(np.column_stack([to_one(z) for _, z in columns]), inside, p.offsets)
        still = np.abs(straight).max(axis=0, initial=0.0) <= 1e-12
        if still.any():
            name = columns[int(np.argmax(still))][0]
            raise ValueError(f"{name} does not vary inside any prompt; wanted columns that do")
        copies = p.copies()  # whole counts are draws, and knots lie at quantiles of draws
        free = ((p.n_rows if copies is None else int(copies.sum())) - p.n_prompts) // len(columns)
        curves = np.zeros((len(weight), 0))
        if given.method == "spline" and free >= FEWEST_FREE:
            both = np.column_stack([straight, *(spline(z, free, copies) for _, z in columns)])
            curves = orthonormal(_centred(both, inside, p.offsets), weight)
        rows = _folds(call)
        others, own = (np.stack(part) for part in zip(*(_solving(curves, weight, f) for f in rows), strict=True))
        return cls(curves, orthonormal(straight, weight), weight, rows, others, own, p.offsets, inside)

    def centred(self, t: Floats) -> Floats:
        return _centred(t, self.inside, self.offsets)

    def net(self, t: Floats) -> Floats:
        """Scores (N, K) less the curves, then less what is straight; their level inside prompts stays."""
        level = t - self.centred(t)
        moments = np.stack([self.curves[f].T @ (self.weight[f, None] * (t - level)[f]) for f in self.rows])
        out = t - level - self._curved(self.others @ (moments.sum(axis=0) - moments) + self.own @ moments)
        return level + out - self.straight @ (self.straight.T @ (self.weight[:, None] * out))

    def transposed(self, slopes: Floats) -> Floats:
        """Slopes (N, m) of something in the net scores as slopes in the scores themselves: the adjoint of `net`."""
        w = self.weight[:, None]
        out = slopes - w * (self.straight @ (self.straight.T @ slopes))
        sums = np.stack([self.curves[f].T @ out[f] for f in self.rows])
        parts = self.others @ sums
        out = out - w * self._curved(parts.sum(axis=0) - parts + self.own @ sums)
        change = slopes - out
        sums = np.repeat(np.add.reduceat(change, self.offsets[:-1]), np.diff(self.offsets), axis=0)
        return np.asarray(out + self.inside[:, None] * sums)

    def _curved(self, coefficients: Floats) -> Floats:
        """Curves with the coefficients (F, p, K) of each row's fold."""
        out = np.empty((len(self.weight), coefficients.shape[2]))
        for own, its in zip(self.rows, coefficients, strict=True):
            out[own] = self.curves[own] @ its
        return out


def _solving(curves: Floats, weight: Floats, fold: Any) -> tuple[Floats, Floats]:
    """What turns moments of the other folds, and of this one, into this fold's coefficients, (p, p) each.

    A direction that the other folds hardly vary in, a few very long responses of one prompt for example, would get a
    guess for a coefficient: it is fitted on all rows.
    """
    seen, turn = np.linalg.eigh(np.eye(curves.shape[1]) - curves[fold].T @ (weight[fold, None] * curves[fold]))
    well = seen > SEEN
    return (turn * np.where(well, 1 / np.where(well, seen, 1.0), 1.0)) @ turn.T, (turn * ~well) @ turn.T


def _centred(x: Floats, inside: Floats, offsets: Ints) -> Floats:
    """Less the means of prompts; from a pilot, so that what does not vary gives zeros."""
    sizes = np.diff(offsets)
    x = x - np.repeat(x[offsets[:-1]], sizes, axis=0)
    return np.asarray(x - np.repeat(np.add.reduceat(inside[:, None] * x, offsets[:-1]), sizes, axis=0))


def _folds(call: Call) -> list[Any]:
    """Rows of each fold: whole prompts, or clusters of prompts, in the order of a hash of their ids."""
    p = call.population
    ids = p.ids if p.cluster_ids is None else p.cluster_ids
    codes = np.unique(hash_of(ids), return_inverse=True)[1]
    fold = np.repeat(codes % FOLDS, p.sizes)
    return [fold == f for f in range(min(FOLDS, int(codes.max(initial=0)) + 1))]
