"""Exact rounding of rows into the dtype that is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.bfloat16 import decode_bfloat16

__all__ = ["convert", "to_bfloat16"]


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
