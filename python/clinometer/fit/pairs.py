"""Pairs of rows of one prompt: their checks, their differences, and the Bradley-Terry loss on them (theory 1, (5))."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import DumpError
from ..inputs import Call, run
from ..intake import pairs_of
from .descent import softplus
from .seen import gather

__all__ = ["Dense", "Differences", "Pairs", "Streamed", "checked_pairs", "pair_list", "pair_loss_gradient"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KEPT_BYTES = 1 << 30
CHUNK_BYTES = 1 << 25


@dataclass(frozen=True)
class Pairs:
    """Pairs that count: rows in the dump (P, 2), the prompt of each, labels (P, K), and what a pair weighs."""

    rows: Ints
    prompt: Ints
    prob: Floats
    weight: Floats
    n_dropped: int


def checked_pairs(call: Call, pairs: Any, prob: Any) -> Pairs:
    """Pairs with labels, checked against the prompts of the call; pairs of dropped prompts are left out."""
    table, given = pairs_of(pairs, prob, call.ids)
    rows = _row_numbers(table, call.dump.n_rows)
    labels = _labels(given, len(rows))
    p = call.population
    prompt_of = np.full(call.dump.n_rows, -1, np.int64)
    prompt_of[p.rows] = np.repeat(np.arange(p.n_prompts), p.sizes)
    first, second = prompt_of[rows].T
    if (wrong := first != second).any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"pairs: pair {i} joins rows {rows[i, 0]} and {rows[i, 1]} of different prompts; "
            "a pair must be two responses to one prompt"
        )
    keep = first >= 0
    omega = np.ones(p.n_prompts) if p.omega is None else p.omega
    kept = first[keep]
    return Pairs(rows[keep], kept, labels[keep], np.asarray(omega[kept], np.float64), int((~keep).sum()))


def _row_numbers(rows: NDArray[Any], n_rows: int) -> Ints:
    if rows.ndim != 2 or rows.shape[1] != 2 or len(rows) == 0:
        raise ValueError(f"pairs has shape {rows.shape}, wanted (P, 2): two row numbers a pair")
    if rows.dtype.kind not in "iu":
        raise TypeError(f"pairs has dtype {rows.dtype}, wanted integers: row numbers of the dump")
    outside = ((rows < 0) | (rows >= n_rows)).any(axis=1)
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(f"pairs: pair {i} is {rows[i].tolist()}, wanted row numbers from 0 to {n_rows - 1}")
    if (same := rows[:, 0] == rows[:, 1]).any():
        i = int(np.argmax(same))
        raise ValueError(f"pairs: pair {i} joins row {rows[i, 0]} with itself")
    return rows.astype(np.int64)


def _labels(labels: Floats, count: int) -> Floats:
    if labels.ndim != 2 or len(labels) != count or labels.shape[1] == 0:
        raise ValueError(f"prob has shape {labels.shape}, wanted ({count},) or ({count}, K)")
    wrong = ~((labels >= 0) & (labels <= 1) | np.isnan(labels)).all(axis=1)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"prob: pair {i} has {labels[i].tolist()}, wanted the probability in [0, 1] that its first row is "
            "preferred (NaN: not judged)"
        )
    if (empty := np.isnan(labels).all(axis=0)).any():
        raise ValueError(f"prob: column {int(np.argmax(empty))} holds NaN alone")
    return np.ascontiguousarray(labels)


def pair_list(call: Call, rows: Ints, prob: Floats, weight: Floats) -> Any:
    """Pairs (P, 2) of dump rows as the compiled pass takes them, with labels (P, K) and weights (P, 1) or (P, K)."""
    p = call.effective()
    at = np.full(call.dump.n_rows, -1, np.int64)
    at[p.rows] = np.arange(p.n_rows)
    first, second = (np.ascontiguousarray(at[rows[:, i]]) for i in (0, 1))
    return _core.PairList(first, second, np.ascontiguousarray(prob), np.ascontiguousarray(weight))


class Dense:
    """Differences (P, d) held in memory."""

    def __init__(self, rows: Floats) -> None:
        self.rows = rows

    @property
    def dim(self) -> int:
        return int(self.rows.shape[1])

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """(which pairs, their differences), in order."""
        yield slice(0, len(self.rows)), self.rows


class Streamed:
    """Differences phi_a - phi_b read again in every sweep, in float64, which is exact for what is stored."""

    def __init__(self, call: Call, rows: Ints) -> None:
        self.call, self.dump, self.pairs = call, call.dump, rows

    @property
    def dim(self) -> int:
        return self.dump.dim

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """(which pairs, their differences), in order; NaN or Inf in a row is refused."""
        step = max(1, CHUNK_BYTES // (8 * self.dim))
        for start in range(0, len(self.pairs), step):
            part = self.pairs[start : start + step]
            found = gather(self.dump, part[:, 0]) - gather(self.dump, part[:, 1])
            if not np.isfinite(found).all():
                i = int(np.argmax(~np.isfinite(found).all(axis=1)))
                raise DumpError(f"{self.dump.name}: rows {part[i].tolist()} of pair {start + i} hold NaN or Inf")
            yield slice(start, start + len(part)), found

    def kept(self) -> Dense:
        """All of them in memory."""
        return Dense(np.concatenate([rows for _, rows in self.chunks()]))


Differences = Dense | Streamed


def pair_loss_gradient(
    differences: Differences, prob: Floats, weight: Floats, u: Floats, bias: Floats
) -> tuple[Floats, Floats, Floats]:
    """Bradley-Terry losses of M directions with their gradients, one sweep over the pairs.

    loss_m = sum_p weight_pm (log(1 + exp(z)) - prob_pm z), z = <u_m, phi_a - phi_b> + bias_m: the cross-entropy
    -p log sig(z) - (1 - p) log sig(-z) of theory 1, (5).

    Parameters
    ----------
    prob, weight : (P, M)
    u, bias : (M, d), (M,)

    Returns
    -------
    losses (M,), gradients (M, d), slopes in the bias (M,)
    """
    if isinstance(differences, Streamed):
        return _compiled(differences, prob, weight, u, bias)
    from scipy.special import expit

    loss, slope, gradient = np.zeros(len(u)), np.zeros(len(u)), np.zeros_like(u)
    for at, rows in differences.chunks():
        z = rows @ u.T + bias
        p, w = prob[at], weight[at]
        loss += (w * (softplus(z) - p * z)).sum(axis=0)
        residual = w * (expit(z) - p)
        slope += residual.sum(axis=0)
        gradient += residual.T @ rows
    return loss, gradient, slope


def _compiled(
    streamed: Streamed, prob: Floats, weight: Floats, u: Floats, bias: Floats
) -> tuple[Floats, Floats, Floats]:
    """The same in one pass over the dump, in f64 lanes: an optimiser's line search follows differences of losses."""
    plain: dict[str, Any] = {"columns": None, "values": None, "n_folds": 1, "fold": None, "order": None}
    call = replace(streamed.call, directions=np.ascontiguousarray(u), progress=None, in_double=True, **plain)
    pairs = pair_list(call, streamed.pairs, prob, weight)
    s = run(call, [_core.Pairs(call.dump.dim, 0, len(u), pairs, np.ascontiguousarray(bias))])[0].finish()
    return s["loss"], s["gradient"], s["bias_gradient"]


def margins(differences: Differences, u: Floats, bias: Floats) -> Floats:
    """z = <u_m, phi_a - phi_b> + bias_m of every pair, (P, M)."""
    return np.concatenate([rows @ u.T + bias for _, rows in differences.chunks()])
