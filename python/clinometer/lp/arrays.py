"""Coercion shared by the games: float64 problems on a leading axis, finite where there is only one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.intake import numbers

__all__ = ["batch", "factors", "finite", "number_or_array", "real_array", "table"]

Floats = NDArray[np.float64]


def real_array(name: str, value: Any) -> Floats:
    """`value` as C-ordered float64; complex, text and objects are refused."""
    return np.ascontiguousarray(numbers(name, value))


def batch(name: str, value: Any, axes: str) -> tuple[Floats, bool]:
    """(P, a, b) and whether a single (a, b) came; `axes` names the last two in messages."""
    rows = real_array(name, value)
    if rows.ndim not in (2, 3):
        raise ValueError(f"{name} has shape {rows.shape}; wanted {axes}, or a batch with P in front")
    single = rows.ndim == 2
    if rows.shape[-2] == 0 or rows.shape[-1] == 0:
        raise ValueError(f"{name} has shape {rows.shape}; wanted at least one row and one column")
    if single:
        finite(name, rows)
    return (rows[None] if single else rows), single


def table(name: str, value: Any, *, narrow: bool = False) -> tuple[NDArray[Any], bool]:
    """Like `batch` for (k, m) with many columns: whether they are finite is left to the pass that reads them.

    With `narrow` float32 stays as it is.
    """
    given = value if narrow and getattr(value, "dtype", None) == np.float32 else None
    rows = real_array(name, value) if given is None else np.ascontiguousarray(given)
    if rows.ndim not in (2, 3) or 0 in rows.shape[-2:]:
        raise ValueError(f"{name} has shape {rows.shape}; wanted (k, m) or (P, k, m) with k and m at least 1")
    return (rows[None], True) if rows.ndim == 2 else (rows, False)


def factors(name: str, value: Any, count: int) -> Floats | None:
    """Positive finite factors (count,), or None."""
    if value is None:
        return None
    given = real_array(name, value)
    if given.shape != (count,):
        raise ValueError(f"{name} has shape {given.shape}; wanted ({count},)")
    if not ((given > 0) & np.isfinite(given)).all():
        raise ValueError(f"{name} holds a factor that is not positive and finite")
    return given


def finite(name: str, value: Floats) -> None:
    """Refuse NaN and Inf, naming the first."""
    bad = ~np.isfinite(value)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} holds {value[at]} at {list(at)}; wanted finite numbers")


def number_or_array(values: Floats, single: bool) -> Any:
    """A float for one problem, the array for a batch."""
    return float(values[0]) if single else values
