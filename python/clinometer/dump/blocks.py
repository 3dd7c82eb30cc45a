"""Rows of phi on their way to a shard, piece by piece and rounded exactly into the dtype that is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.coerce import as_matrix
from clinometer.arrays.dlpack import decode_bfloat16
from clinometer.common.visible import quote
from clinometer.files.plain import MappedLike
from clinometer.files.streams import ahead
from clinometer.sources.window import Window

from .dump import Dump
from .schema import Site, as_site, byte_view

_PIECE_BYTES = 8 << 20
_MADE_BYTES = 2 << 20  # in the cache still when it is written, and of memory that the piece before gave back


@dataclass(frozen=True)
class Block:
    """Rows of one tensor: where they are held (array, first row, the file behind it) and where they go."""

    site: Site
    segments: tuple[tuple[NDArray[Any] | Window, int, MappedLike | None], ...]
    held: str
    n_rows: int

    def pieces(self, first: int, last: int) -> Iterator[tuple[int, memoryview]]:
        """(row, bytes) of the rows [first, last), at most 8 MiB at a time.

        A dump whose file changes meanwhile is a DumpChangedError behind its last piece.
        """
        for array, at, file in self.segments:
            low, high = max(first, at), min(last, at + len(array))
            # mapped rows are read by the write itself; to fetch, turn or round is work that can go on beside it
            mapped = self.held == self.site.dtype and not isinstance(array, Window)
            step = max(1, (_PIECE_BYTES if mapped else _MADE_BYTES) // self.site.row_bytes)
            calls = [partial(self._piece, array, at, k, min(k + step, high)) for k in range(low, high, step)]
            yield from (call() for call in calls) if mapped or len(calls) == 1 else ahead(calls)
            if low < high and file is not None:
                file.check()

    def _piece(self, array: NDArray[Any] | Window, at: int, first: int, last: int) -> tuple[int, memoryview]:
        rows = array[first - at : last - at]
        return first, byte_view(convert(rows, self.held, self.site.dtype, quote(self.site.name), first))


def as_block(key: Any, source: Any, dtype: str | None) -> Block:
    """Rows of an array, tensor or dump; bfloat16 bit patterns where dtype says so."""
    if isinstance(source, Dump):
        segments = tuple((s.array, s.row_start, s.file) for s in source.segments)
        return Block(as_site(key, source.dim, dtype or source.dtype), segments, source.dtype, source.n_rows)
    name = "phi" if key is None else f"phi[{quote(key)}]"
    rows, held = as_matrix(source, name, bits=dtype == "bfloat16")
    return Block(as_site(key, rows.shape[1], dtype or held), ((rows, 0, None),), held, len(rows))


def as_blocks(phi: Any, dtype: str | Mapping[Any, str] | None) -> list[Block]:
    """The tensors of phi: one array, or a mapping of layers or names; all of one row count."""
    if not isinstance(phi, Mapping):
        if isinstance(dtype, Mapping):
            raise TypeError(f"phi is a {type(phi).__name__}; a mapping with the keys {quote(list(dtype))} is wanted")
        return [as_block(None, phi, dtype)]
    if not phi:
        raise ValueError("phi is an empty mapping; at least one tensor is wanted")
    if isinstance(dtype, Mapping) and set(dtype) != set(phi):
        raise ValueError(f"phi has the keys {quote(list(phi))}; {quote(list(dtype))} are wanted")
    keys = list(dtype) if isinstance(dtype, Mapping) else list(phi)
    out = [as_block(key, phi[key], dtype[key] if isinstance(dtype, Mapping) else dtype) for key in keys]
    if len({b.site.name for b in out}) != len(out):
        raise ValueError("phi names a tensor twice")
    if len({b.n_rows for b in out}) > 1:
        raise ValueError(f"phi has tensors of {sorted({b.n_rows for b in out})} rows; one count is wanted")
    return out


def to_bfloat16(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Round to the nearest bfloat16, ties to even; NaN stays NaN.

    float64 goes through float32 rounded to odd, so that the second rounding cannot err.
    """
    with np.errstate(all="ignore"):
        single = np.ascontiguousarray(values.astype(np.float32))
    bits = single.view(np.uint32).copy()
    if values.dtype == np.float64:
        back = np.abs(single.astype(np.float64))
        exact = np.abs(values)
        even = (bits & 1) == 0
        bits = np.where(even & (exact > back), bits + np.uint32(1), bits)
        bits = np.where(even & (exact < back), bits - np.uint32(1), bits)
    nan = np.isnan(values)
    bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    out = (bits >> np.uint32(16)).astype(np.uint16)
    quiet = (single.view(np.uint32) >> np.uint32(16)).astype(np.uint16) | np.uint16(0x40)
    return np.where(nan, quiet, out)


def convert(rows: NDArray[Any], held: str, want: str, name: str, first_row: int) -> NDArray[Any]:
    """Rows of dtype `held` as dtype `want` (bfloat16 as bits); a finite value that would overflow raises."""
    if held == want:
        return rows
    values = decode_bfloat16(rows) if held == "bfloat16" else rows
    if want == "bfloat16":
        out: NDArray[Any] = to_bfloat16(values)
        infinite = (out & 0x7FFF) == 0x7F80
    else:
        with np.errstate(all="ignore"):
            out = values.astype(want)
        infinite = np.isinf(out)
    lost = infinite & np.isfinite(values)
    if lost.any():
        row, column = (int(k) for k in np.argwhere(lost)[0])
        raise ValueError(f"{name} holds {values[row, column]} at row {first_row + row}, beyond the range of {want}")
    return out
