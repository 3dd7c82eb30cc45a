"""The rows that are timed: random, with outlier dimensions, in prompts of 16 responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dump import Dump, open_dump
from ..dump.convert import to_bfloat16
from ..dump.tensors import decode_bfloat16

__all__ = ["GROUP", "Rows", "directions", "make"]

GROUP = 16
CHUNK_BYTES = 4 << 20
OUTLIER_EVERY = 64
Floats = NDArray[np.float64]
Pick = slice | NDArray[np.int64]


@dataclass
class Rows:
    """One dump in memory and the ways to read it: as a Dump, as float32 chunks, exactly."""

    dtype: str
    stored: NDArray[Any]
    dump: Dump

    @property
    def n(self) -> int:
        return int(self.stored.shape[0])

    @property
    def d(self) -> int:
        return int(self.stored.shape[1])

    @property
    def n_bytes(self) -> int:
        return int(self.stored.nbytes)

    def chunks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """First row and float32 values of whole prompts at a time; float32 rows are not copied."""
        step = max(CHUNK_BYTES // (4 * self.d) // GROUP, 1) * GROUP
        wide = np.empty((min(step, self.n), self.d), np.float32)
        for begin in range(0, self.n, step):
            part = self.stored[begin : begin + step]
            if self.dtype == "float32":
                yield begin, part
                continue
            values = wide[: len(part)]
            if self.dtype == "bfloat16":
                np.left_shift(part, 16, out=values.view(np.uint32), dtype=np.uint32)
            else:
                np.copyto(values, part)
            yield begin, values

    def exact(self, rows: Pick = slice(None), columns: Pick = slice(None)) -> Floats:
        """The stored values as float64."""
        part = self.stored[rows][:, columns]
        return np.asarray(decode_bfloat16(part) if self.dtype == "bfloat16" else part, np.float64)


def _spread(d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean, sd = np.zeros(d, np.float32), np.ones(d, np.float32)
    mean[::OUTLIER_EVERY], sd[::OUTLIER_EVERY] = 30.0, 5.0
    return mean, sd


def make(n: int, d: int, dtypes: tuple[str, ...]) -> dict[str, Rows]:
    """The same rows (n, d) in each dtype; one dimension in 64 has mean 30 and standard deviation 5."""
    mean, sd = _spread(d)
    single = np.random.default_rng(1).standard_normal((n, d), dtype=np.float32)
    single *= sd
    single += mean
    ids = np.arange(n) // GROUP
    return {dtype: _stored(single, dtype, ids) for dtype in dtypes}


def _stored(single: NDArray[np.float32], dtype: str, ids: NDArray[np.int64]) -> Rows:
    if dtype == "float32":
        return Rows(dtype, single, open_dump(single, prompt_ids=ids))
    if dtype == "float16":
        half = single.astype(np.float16)
        return Rows(dtype, half, open_dump(half, prompt_ids=ids))
    bits = np.empty(single.shape, np.uint16)
    for begin in range(0, len(single), 4096):  # rounding makes several temporaries: keep them small
        bits[begin : begin + 4096] = to_bfloat16(single[begin : begin + 4096])
    named = bits.view(np.dtype([("bfloat16", "<u2")]))
    return Rows(dtype, bits, open_dump(named, prompt_ids=ids))


def directions(k: int, d: int) -> Floats:
    """Random directions (k, d) whose scores have standard deviation 1 on these rows."""
    _, sd = _spread(d)
    u = np.random.default_rng(2 + k).standard_normal((k, d))
    return np.asarray(u / np.sqrt(float(np.square(sd).sum())))
