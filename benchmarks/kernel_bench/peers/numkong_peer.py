"""numkong: products with a packed matrix, in the dtype of the rows, threads over parts of the rows.

It wants the directions in the dtype of the rows. As they are, rounding them costs the accuracy; as a sum of two
rounded parts, with twice the columns, it does not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numkong
import numpy as np

from clinometer.arrays.dlpack import decode_bfloat16
from clinometer.bench.problem import Problem
from clinometer.bench.rows import SHORT, Singles
from clinometer.dump.blocks import to_bfloat16

from . import Settings

__all__ = ["KERNELS", "VERSION", "set_threads"]

VERSION = str(numkong.__version__)
_threads = 1


def set_threads(threads: int) -> None:
    """Threads over the rows."""
    global _threads
    _threads = threads


def _rounded(u: Singles, dtype: str) -> tuple[Any, Singles]:
    """The directions in the dtype of the rows, and what they then are."""
    if dtype == "bfloat16":
        bits = to_bfloat16(u)
        return bits, decode_bfloat16(bits).astype(np.float32)
    held = u.astype(dtype)
    return held, held.astype(np.float32)


def _products(p: Problem, u: Any) -> Any:
    """A call that gives rows times u^T, one column a row of u, as a NumPy array."""
    short = SHORT[p.rows.dtype]
    as_tensor = partial(_tensor, short=short)
    packed = numkong.dots_pack(as_tensor(u), dtype=short)
    share = -(-p.rows.n // _threads)
    parts = [as_tensor(p.rows.stored[i : i + share]) for i in range(0, p.rows.n, share)]
    pool = ThreadPoolExecutor(_threads)
    return lambda: list(pool.map(lambda part: np.asarray(numkong.dots_packed(part, packed)), parts))


def _tensor(array: Any, short: str) -> Any:
    if short != "bf16":
        return array
    return numkong.from_pointer(array.ctypes.data, array.shape, "bfloat16", strides=array.strides, owner=array)


def score(p: Problem) -> Settings:
    """Scores (N, K) as they come, and from directions in two parts."""
    first, held = _rounded(p.single, p.rows.dtype)
    as_is = _products(p, first)
    found: Settings = {"as is": lambda: np.concatenate(as_is())}
    if p.rows.dtype != "float32":
        rest, _ = _rounded((p.u - held).astype(np.float32), p.rows.dtype)
        both = _products(p, np.concatenate([first, rest]))
        found["directions in two parts"] = lambda: np.concatenate([s[:, : p.k] + s[:, p.k :] for s in both()])
    return found


KERNELS = {"score": score}
