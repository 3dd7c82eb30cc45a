"""The rows that are timed: random, with outlier dimensions, in a memory-mapped file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.dlpack import decode_bfloat16
from clinometer.dump import Dump, open_dump
from clinometer.dump.blocks import to_bfloat16
from clinometer.engine.inputs import segments_of
from clinometer.sources.safetensors import Payload, write_safetensors

__all__ = ["GROUP", "SHORT", "Files", "Rows", "directions"]

GROUP = 16
CHUNK_BYTES = 4 << 20
PIECE_BYTES = 32 << 20
OUTLIER_EVERY = 64
SHORT = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
TAGS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Pick = slice | NDArray[np.int64]


@dataclass
class Rows:
    """The first rows of a mapped file and the ways to read them: as a Dump, as float32 chunks, exactly.

    `stored` lies in the map that the kernels read; bfloat16 appears as its bits.
    """

    dtype: str
    stored: NDArray[Any]
    group: int = GROUP

    @property
    def n(self) -> int:
        return int(self.stored.shape[0])

    @property
    def d(self) -> int:
        return int(self.stored.shape[1])

    @property
    def n_bytes(self) -> int:
        return int(self.n * self.d * self.stored.itemsize)

    @cached_property
    def dump(self) -> Dump:
        named = self.stored.view(np.dtype([("bfloat16", "<u2")])) if self.dtype == "bfloat16" else self.stored
        return open_dump(named, prompt_ids=np.arange(self.n) // self.group)

    def first(self, n: int, d: int | None = None, group: int | None = None) -> Rows:
        """The first n rows, and the first d columns of them."""
        return Rows(self.dtype, self.stored[:n, : d or self.d], group or self.group)

    def wide(self, part: NDArray[Any], out: Singles) -> Singles:
        """Stored values as float32 in `out`; float32 ones are handed back as they are."""
        if self.dtype == "float32":
            return part
        values = out[: len(part)]
        if self.dtype == "bfloat16":
            np.left_shift(part, 16, out=values.view(np.uint32), dtype=np.uint32)
        else:
            np.copyto(values, part)
        return values

    def chunks(self, n_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, Singles]]:
        """First row and float32 values of whole prompts at a time; float32 rows are not copied."""
        step = max(n_bytes // (4 * self.d) // self.group, 1) * self.group
        out = np.empty((min(step, self.n), self.d), np.float32)
        for begin in range(0, self.n, step):
            yield begin, self.wide(self.stored[begin : begin + step], out)

    def single(self) -> Singles:
        """All values as float32: for a peer that takes nothing else; never charged to it."""
        return self.wide(self.stored, np.empty(self.stored.shape, np.float32))

    def exact(self, rows: Pick = slice(None), columns: Pick = slice(None)) -> Floats:
        """The stored values as float64."""
        part = self.stored[rows][:, columns]
        return np.asarray(decode_bfloat16(part) if self.dtype == "bfloat16" else part, np.float64)


class Files:
    """Files of random rows in a folder, each written when it is first asked for."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._open: dict[tuple[str, int, int], Rows] = {}

    def rows(self, dtype: str, n: int, d: int, repeat: bool = False) -> Rows:
        """Rows (n, d) of one dtype, the first of a longer file where there is one; the same numbers in each dtype.

        `repeat` writes one random piece many times.
        """
        for (tag, longest, width), rows in self._open.items():
            if (tag, width) == (dtype, d) and longest >= n:
                return rows.first(n)
        self._write(dtype, n, d, repeat)
        return self._open[dtype, n, d]

    def file(self, dtype: str, n: int, d: int) -> str:
        """Path of a file of just these rows."""
        if (dtype, n, d) not in self._open:
            self._write(dtype, n, d, False)
        return self.path(dtype, n, d)

    def _write(self, dtype: str, n: int, d: int, repeat: bool) -> None:
        path = self.path(dtype, n, d)
        write_safetensors(path, {"phi": Payload(TAGS[dtype], (n, d), _pieces(dtype, n, d, repeat))})
        array = segments_of(open_dump(path))[0][0][0]
        self._open[dtype, n, d] = Rows(dtype, array.view(np.uint16) if dtype == "bfloat16" else array)
        array.view(np.uint8).reshape(-1)[:: os.sysconf("SC_PAGE_SIZE")].max()  # every page is mapped once

    def path(self, dtype: str, n: int, d: int) -> str:
        return os.path.join(self.folder, f"{SHORT[dtype]}-{n}-{d}.safetensors")

    def drop(self, dtype: str, n: int, d: int) -> None:
        """Delete a large file that no later cell reads."""
        if self._open.pop((dtype, n, d), None) is not None:
            os.unlink(self.path(dtype, n, d))


def _spread(d: int) -> tuple[Singles, Singles]:
    mean, sd = np.zeros(d, np.float32), np.ones(d, np.float32)
    mean[::OUTLIER_EVERY], sd[::OUTLIER_EVERY] = 30.0, 5.0
    return mean, sd


def _pieces(dtype: str, n: int, d: int, repeat: bool) -> Callable[[], Iterator[bytes]]:
    mean, sd = _spread(d)
    step = max(PIECE_BYTES // (4 * d), 1)

    def pieces() -> Iterator[bytes]:
        rng, kept = np.random.default_rng(1), b""
        for begin in range(0, n, step):
            m = min(step, n - begin)
            if not (repeat and kept):
                x = rng.standard_normal((m, d), dtype=np.float32)
                x *= sd
                x += mean
                kept = (to_bfloat16(x) if dtype == "bfloat16" else x.astype(dtype, copy=False)).tobytes()
            yield kept[: len(kept) // step * m] if repeat and m < step < n else kept

    return pieces


def directions(k: int, d: int) -> Floats:
    """Random directions (k, d) whose scores have standard deviation 1 on these rows."""
    _, sd = _spread(d)
    u = np.random.default_rng(2 + k).standard_normal((k, d))
    return np.asarray(u / np.sqrt(float(np.square(sd).sum())))
