"""Columns given by name or as arrays, and smooth curves of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.dump import Dump

from .inputs import Call, column

__all__ = ["FEWEST_FREE", "columns_of", "orthonormal", "spline", "to_one"]

Floats = NDArray[np.float64]
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
        table = _table(call.dump, item, f"adjust[{at}]")
        for j, z in enumerate(table[call.population.rows].T):
            name = f"adjust: {item!r}" if isinstance(item, str) else f"adjust[{at}]"
            name += f"[:, {j}]" if table.shape[1] > 1 else ""
            if not np.isfinite(z).all():
                raise ValueError(f"{name} holds NaN or Inf in rows that count; fill them in or drop the prompts")
            yield name, z


def _table(dump: Dump, item: Any, name: str) -> Floats:
    """A column by name, (N, 1), or the columns of an array, (N, m)."""
    if isinstance(item, str):
        bare = item[1:] if item.startswith("-") and not dump.has_column(item) else item
        return np.asarray(column(dump, bare, None, "adjust"))[:, None]
    table, n = np.asarray(item), dump.n_rows
    if table.dtype.kind not in "biuf":
        raise TypeError(f"{name} holds {table.dtype}, wanted numbers or the name of a column")
    if table.ndim not in (1, 2) or len(table) != n or not table.size:
        raise ValueError(f"{name} has shape {table.shape}, wanted ({n},) or ({n}, m), as the dump has rows")
    return table.reshape(n, -1).astype(np.float64)


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
