"""Rows of phi on their way to a shard, piece by piece in the dtype that is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from clinometer.arrays.coerce import as_matrix
from clinometer.common.visible import quote
from clinometer.files.plain import MappedLike
from clinometer.files.prefetch import ahead
from clinometer.sources.window import Window

from .dump import Dump
from .rounding import convert
from .schema import Site, as_site, byte_view

__all__ = ["Block", "as_blocks"]

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
