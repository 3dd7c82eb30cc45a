"""Pairs of rows of one prompt, checked (theory 1.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core

from .inputs import Call
from .intake import pairs_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
    if rows.dtype.kind == "f" and np.isnan(rows).any():
        raise ValueError(f"pairs has no row in pair {int(np.argmax(np.isnan(rows).any(axis=1)))} (missing)")
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
