"""Which prompts a fit has seen: recognised by their id and first row, whatever file holds them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.bfloat16 import decode_bfloat16
from clinometer.dump import Dump

from .population import Population, hash_of, mixed

__all__ = ["folds_of_seen", "gather", "prompt_keys"]

COLUMNS = 16


def gather(dump: Dump, rows: NDArray[np.int64], columns: int | None = None) -> NDArray[np.float64]:
    """Rows of the dump by number, in that order, as float64 (m, columns)."""
    width = dump.dim if columns is None else min(columns, dump.dim)
    out = np.empty((len(rows), width))
    for segment in dump.segments:
        at = rows - segment.row_start
        here = np.flatnonzero((at >= 0) & (at < len(segment.array)))
        piece = segment.array[at[here], :width]
        out[here] = decode_bfloat16(piece) if dump.dtype == "bfloat16" else piece
    dump.check()
    return out


def prompt_keys(dump: Dump, p: Population) -> NDArray[np.uint64]:
    """A 64-bit key of each prompt, from its id and the first entries of its first row."""
    rows = gather(dump, p.rows[p.offsets[:-1]], COLUMNS) + 0.0  # -0.0 and 0.0 are one number
    key = hash_of(p.ids)
    for column in np.ascontiguousarray(rows.T).view(np.uint64):
        key = mixed(key ^ column)
    return key


def folds_of_seen(
    dump: Dump, p: Population, seen: NDArray[np.uint64], folds: NDArray[np.int64], unseen: int
) -> NDArray[np.int64]:
    """Fold of each prompt of a population, `unseen` for prompts whose key is not among those seen (sorted)."""
    keys = prompt_keys(dump, p)
    if not len(seen):
        return np.full(len(keys), unseen, np.int64)
    at = np.minimum(np.searchsorted(seen, keys), len(seen) - 1)
    return np.where(seen[at] == keys, folds[at], unseen).astype(np.int64)
