"""Adjusted scores: the residual of a score inside prompts on smooth curves of length or any other columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inputs import Call, column
from .intake import by_row
from .population import hash_of

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


KNOTS = ((100, 3), (400, 5))  # below so many free rows a column so many knots, else MOST_KNOTS
MOST_KNOTS = 7
EDGE = 0.05  # outer knots: beyond them a spline goes on straight
FEWEST_FREE = 30  # rows a column, beyond one a prompt, that a curve is fitted to


def columns_of(call: Call, given: Any) -> Iterator[tuple[str, Floats]]:
    """Name and numbers (N,) of each column, rows of the call in canonical order."""
    several = isinstance(given, (list, tuple)) and all(isinstance(g, str) or np.ndim(g) for g in given)
    items = list(given) if several else [given]
    if not items:
        raise ValueError("adjust is empty, wanted at least one column name or array")
    for at, item in enumerate(items):
        table = _table(call, item, f"adjust[{at}]")
        for j, z in enumerate(table[call.population.rows].T):
            name = f"adjust: {item!r}" if isinstance(item, str) else f"adjust[{at}]"
            name += f"[:, {j}]" if table.shape[1] > 1 else ""
            if not np.isfinite(z).all():
                raise ValueError(f"{name} holds NaN or Inf in rows that count; fill them in or drop the prompts")
            yield name, z


def _table(call: Call, item: Any, name: str) -> Floats:
    """A column by name, (N, 1), or the columns of an array, (N, m)."""
    dump = call.dump
    if isinstance(item, str):
        bare = item[1:] if item.startswith("-") and not dump.has_column(item) else item
        return np.asarray(column(dump, bare, None, "adjust"))[:, None]
    table, _ = by_row(name, item, dump, call.ids)
    if not table.size:
        raise ValueError(f"{name} has shape {table.shape}, wanted at least one column")
    return table.reshape(dump.n_rows, -1)


def to_one(z: Floats) -> Floats:
    return np.asarray(z / (np.abs(z).max(initial=0.0) or 1.0))


def spline(z: Floats, free: int, copies: NDArray[np.int64] | None = None) -> Floats:
    """Natural cubic spline of log z, (N, p), where all are positive; else of asinh of standardised z.

    `copies` (N,) are the draws that a row counts for: quantiles are over draws.
    """

    def drawn(x: Floats) -> Floats:
        return x if copies is None else np.repeat(x, copies)

    z = to_one(z)
    if z.min(initial=1.0) > 0:
        y = np.log(z)
    else:
        middle = np.median(drawn(z))
        spread = np.quantile(drawn(np.abs(z - middle)), [0.5, 1.0])
        y = np.arcsinh((z - middle) / (spread[0] or spread[1] or 1.0))
    count = next((knots for below, knots in KNOTS if free < below), MOST_KNOTS)
    return _natural(y, np.unique(np.quantile(drawn(y), np.linspace(EDGE, 1 - EDGE, count))))


def _natural(y: Floats, knots: Floats) -> Floats:
    """Natural cubic spline with m knots, by truncated powers without the constant: (N, m - 1), (N, 1) below 3 knots."""
    low, width = knots[0], float(np.ptp(knots)) or 1.0
    x, k = (y - low) / width, (knots - low) / width
    if len(k) < 3:
        return np.asarray(x[:, None])
    last = np.maximum(x - k[-1], 0.0) ** 3
    d = [(np.maximum(x - c, 0.0) ** 3 - last) / (k[-1] - c) for c in k[:-1]]
    return np.column_stack([x, *(own - d[-1] for own in d[:-1])])


def orthonormal(table: Floats, weight: Floats) -> Floats:
    """A basis of the columns' span under the weights; columns that others repeat are left out."""
    root = np.sqrt(weight)[:, None]
    scale = np.linalg.norm(root * table, axis=0)
    table = table / np.where(scale > 0, scale, 1.0)
    _, size, right = np.linalg.svd(root * table, full_matrices=False)
    known = size > 1e-9 * size.max(initial=0.0)
    return np.asarray(table @ (right[known] / size[known, None]).T)
