"""Python objects as arrays of one kind, with one meaning of "missing": None, NaN, NaT, NA, masked and null."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from .strings import text_array

__all__ = ["EXACT", "from_objects", "is_missing", "with_missing"]

EXACT = 2**53  # float64 tells apart the integers up to it
_NAMED = ("NAType", "NaTType", "MaskedConstant")  # pandas.NA, pandas.NaT, numpy.ma.masked


def is_missing(x: Any) -> bool:
    """Whether a scalar says that there is nothing."""
    if x is None or type(x).__name__ in _NAMED:
        return True
    return isinstance(x, (float, np.generic, Decimal)) and bool(x != x)


def with_missing(numbers_: NDArray[Any], missing: NDArray[np.bool_], name: str) -> NDArray[Any]:
    """Numbers as floats with NaN where they are missing; integers that a float64 does not hold are refused."""
    if not missing.any():
        return numbers_
    if numbers_.dtype.kind in "iu":
        wide = ~missing & ((numbers_ > EXACT) | (numbers_ < -EXACT if numbers_.dtype.kind == "i" else False))
        if wide.any():
            row, gap = (int(np.argwhere(at)[0][0]) for at in (wide, missing))
            raise ValueError(
                f"{name} has no entry at row {gap} (missing) and holds {numbers_[wide][0]} at row {row}: beside "
                "missing entries integers become floats, which tell them apart to 2^53 alone; fill them or pass strings"
            )
    out = numbers_.astype(numbers_.dtype if numbers_.dtype.kind == "f" else np.float64)
    out[missing] = np.nan
    return out


def from_objects(items: Sequence[Any] | NDArray[Any], name: str) -> NDArray[Any]:
    """Scalars of one kind (N,), or sequences of one length (N, d): numbers with NaN or strings with None."""
    held = np.empty(len(items), object)
    held[:] = list(items) if not isinstance(items, np.ndarray) else items
    missing = np.fromiter((is_missing(x) for x in held), bool, len(held))
    there = held[~missing]
    if not len(there):
        return np.full(len(held), np.nan)
    kinds = {_kind(x) for x in there}
    if len(kinds) > 1:
        odd = next(row for row, x in enumerate(held) if not missing[row] and _kind(x) != _kind(there[0]))
        raise TypeError(
            f"{name} holds {_kind(there[0])} and, at row {odd}, {_kind(held[odd])} ({held[odd]!r:.40}); "
            "entries of one kind are wanted: numbers, or strings (str(x) of each)"
        )
    kind = kinds.pop()
    if kind == "numbers":
        return with_missing(_numbers(np.where(missing, there[0], held)), missing, name)
    if kind == "strings":
        out = held if missing.any() else None
        texts = [x if isinstance(x, str) else x.decode() if isinstance(x, bytes) else str(x) for x in there]
        if out is None:
            return text_array(texts, name)
        out[~missing], out[missing] = texts, None
        return out
    if kind == "sequences":
        return _stacked(held, missing, name)
    row = int(np.argmax(~missing))
    raise TypeError(
        f"{name} holds a {type(there[0]).__name__} at row {row}; numbers or strings are wanted (str(x) of each, say)"
    )


def _kind(x: Any) -> str:
    if isinstance(x, (str, bytes, UUID)):
        return "strings"
    if isinstance(x, (numbers.Real, np.bool_, Decimal)) or type(x).__name__ == "bfloat16":
        return "numbers"
    if isinstance(x, (list, tuple)) or (hasattr(x, "__len__") and hasattr(x, "__getitem__") and np.ndim(x) >= 1):
        return "sequences"
    return type(x).__name__


def _numbers(held: NDArray[Any]) -> NDArray[Any]:
    if all(isinstance(x, (bool, np.bool_)) for x in held):
        return held.astype(bool)
    whole = all(isinstance(x, (numbers.Integral, np.bool_)) or (isinstance(x, Decimal) and x == x // 1) for x in held)
    if whole:
        low, high = min(map(int, held)), max(map(int, held))
        if low >= -(2**63) and high < 2**63:
            return np.array([int(x) for x in held], np.int64)
        if low >= 0 and high < 2**64:
            return np.array([int(x) for x in held], np.uint64)
    return np.array([float(x) for x in held])


def _stacked(held: NDArray[Any], missing: NDArray[np.bool_], name: str) -> NDArray[Any]:
    if missing.any():
        raise ValueError(f"{name} has no vector at row {int(np.argmax(missing))}; every row needs one")
    from .carriers import carried

    rows = [carried(x, f"{name}, row {k}").array for k, x in enumerate(held)]
    shapes = [r.shape for r in rows]
    if len(set(shapes)) > 1:
        odd = next(k for k, s in enumerate(shapes) if s != shapes[0])
        raise ValueError(f"{name}: row {odd} has shape {shapes[odd]} and row 0 {shapes[0]}; one length is wanted")
    return np.stack(rows)
