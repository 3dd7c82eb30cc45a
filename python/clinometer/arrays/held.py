"""An array or frame as NumPy arrays, with the names of its columns and the labels of its rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bfloat16 import decode_bfloat16, is_bfloat16
from .objects import from_objects, with_missing
from .strings import decode_utf8, narrowed

__all__ = ["Carried", "from_numpy", "refuse_row_numbers"]

_BINARY = re.compile(r"[\0-\x08\x0e-\x1f\x7f]").search
_ROW_NUMBERS = re.compile(r"(?i)(?:.*_)?(?:id|idx|index|row|row_nr|level_0)\Z|Unnamed: 0\Z").match


@dataclass(frozen=True)
class Carried:
    """An array, or the columns of a frame; labels of its rows where they are more than their numbers."""

    values: NDArray[Any] | None = None
    columns: dict[str, NDArray[Any]] | None = None
    labels: NDArray[Any] | None = None
    label_name: str | None = None
    responses: NDArray[Any] | None = None  # the level response_id of a MultiIndex
    indexed: bool = False  # of a library whose rows have labels: without `labels` they are 0, 1, ...
    name: str | None = None  # of a Series
    argument: str = "array"

    @property
    def array(self) -> NDArray[Any]:
        """The array itself; columns of a frame stacked, or its one column of vectors."""
        if self.columns is None:
            assert self.values is not None
            return self.values
        held = {n: _plain(c) for n, c in self.columns.items()}
        if len(held) == 1 and (only := next(iter(held.values()))).ndim > 1:
            return only
        if not held:
            raise ValueError(f"{self.argument} is a frame without columns")
        for name, column in held.items():
            if column.ndim != 1 or column.dtype.kind not in "fiub":
                what = f"vectors {column.shape[1:]}" if column.ndim > 1 else f"dtype {column.dtype}"
                raise TypeError(
                    f"{self.argument}: column {name!r} has {what}; columns of numbers are wanted, so select them"
                )
        return np.stack(list(held.values()), axis=1)

    @property
    def column(self) -> NDArray[Any]:
        """The array, or the only column of a frame."""
        return next(iter(self.columns.values())) if self.columns and len(self.columns) == 1 else self.array


def refuse_row_numbers(name: str, columns: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a frame's column that numbers its rows, as reset_index and with_row_index leave it: it is no value."""
    for key in filter(_ROW_NUMBERS, columns) if len(columns) > 1 else ():
        held = columns[key]
        counted = held.dtype.kind in "iu" and held.ndim == 1 and len(held) > 0
        if counted and np.array_equal(np.sort(held), np.arange(len(held)) + held.min()):
            raise ValueError(
                f"{name}: the column {key!r} numbers rows and would be taken as one more column of numbers; sort the "
                "frame by it and leave it out"
            )


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    return decode_bfloat16(np.ascontiguousarray(array.view(np.uint16))) if is_bfloat16(array.dtype) else array


def from_numpy(value: NDArray[Any], name: str) -> Carried:
    if value.dtype.names is not None and not is_bfloat16(value.dtype):
        return Carried(columns={n: from_numpy(value[n], name).array for n in value.dtype.names}, argument=name)
    # told by the type's name: numpy.ma is imported by few, and its import takes longer than a small pass
    masked = any(c.__name__ == "MaskedArray" for c in type(value).__mro__)
    missing = np.broadcast_to(value.mask, value.shape) if masked else None  # type: ignore[attr-defined]
    held = np.asarray(value.data if masked else value)
    if held.dtype.kind == "T":  # StringDType, whose missing entry is an object of the caller's choice
        held = held.astype(object) if hasattr(held.dtype, "na_object") else narrowed(held)
    if missing is not None and missing.any():
        if held.dtype.kind in "fiub" or is_bfloat16(held.dtype):
            return Carried(with_missing(_plain(held), missing, name))
        held = held.astype(object)
        held[missing] = None
    if held.dtype == object:
        flat = from_objects(held.reshape(-1), name)
        return Carried(flat if flat.ndim > 1 else flat.reshape(held.shape))
    return Carried(_text(held, name) if held.dtype.kind == "S" else held)


def _text(held: NDArray[np.bytes_], name: str) -> NDArray[Any]:
    """Strings of NumPy's bytes; digests are refused, since two that differ in zero bytes at the end became one."""
    try:
        text = decode_utf8(held)
    except UnicodeDecodeError:
        text = None
    if text is None or any(map(_BINARY, set(text.reshape(-1).tolist()))):
        raise ValueError(
            f"{name} holds bytes that are no text, in an array of dtype {held.dtype}, which loses zero bytes at their "
            "end: pass .hex() of each, made before there was such an array"
        )
    return text
