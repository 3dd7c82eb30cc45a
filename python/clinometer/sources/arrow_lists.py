"""List columns of Arrow as matrices: what element they hold, whether all rows are as wide, and their values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import quote
from clinometer.errors import bad

__all__ = ["Lists", "matrix_of", "shape_of"]


@dataclass(frozen=True)
class Lists:
    """The type of a column of (nested) lists; tag is empty where its elements cannot be rows."""

    name: str
    depth: int
    tag: str
    integer: bool
    width: int | None  # of a fixed-size innermost list
    shape: tuple[int, int] | None  # where the type states all of it

    @classmethod
    def of(cls, pa: Any, field: Any, half_bits: str | None) -> Lists | None:
        """None for a column that is no list."""
        kind, depth = _storage(pa, field.type), 0
        sizes: list[int | None] = []
        while _is_list(pa, kind):
            sizes.append(kind.list_size if pa.types.is_fixed_size_list(kind) else None)
            kind, depth = _storage(pa, kind.value_type), depth + 1
        if not depth:
            return None
        integer = pa.types.is_int16(kind) or pa.types.is_uint16(kind)
        bits = {"float16": "F16", "bfloat16": "BF16"}.get(half_bits or "", "") if integer else ""
        tags = ((pa.types.is_float16, "F16"), (pa.types.is_float32, "F32"), (pa.types.is_float64, "F64"))
        tag = next((t for test, t in tags if test(kind)), bits)
        tensor = _fixed_tensor(field.type)
        if tensor is not None:
            shape: tuple[int, int] | None = tensor
        else:
            known = [s for s in sizes if s is not None]
            shape = (math.prod(known[:-1]), known[-1]) if len(known) == depth else None
        possible = (depth <= 2 or shape is not None) and min((0, *(s or 0 for s in sizes), *(shape or ()))) >= 0
        return cls(field.name, depth, tag if possible else "", integer, sizes[-1], shape)


def _storage(pa: Any, kind: Any) -> Any:
    """The type behind an extension type that a library has registered."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _fixed_tensor(kind: Any) -> tuple[int, int] | None:
    """(vectors, width) of Arrow's fixed-shape tensors in row-major order."""
    if getattr(kind, "extension_name", "") != "arrow.fixed_shape_tensor":
        return None
    order = kind.permutation
    if order is not None and list(order) != sorted(order):
        return None
    return int(np.prod(kind.shape[:-1], dtype=np.int64)), int(kind.shape[-1])


def _is_list(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _unwrapped(array: Any) -> Any:
    return getattr(array, "storage", array)


def _inner(array: Any, name: str, path: str) -> Any:
    """What lists hold, one behind the other; their borders are looked at first, since pyarrow believes them."""
    if hasattr(array, "offsets") and len(array):
        first, last = (array.offsets[k].as_py() for k in (0, len(array)))
        if not 0 <= first <= last <= len(array.values):
            what = f"lists reach from value {first} to {last} of {len(array.values)}"
            raise bad(path, what, f"column {quote(name)}")
    return array.flatten()


def shape_of(lists: Lists, chunk: Any, path: str) -> tuple[int, int]:
    """(vectors, width) of the first row of a chunk."""
    sizes = []
    array = _unwrapped(chunk).slice(0, 1)
    for _ in range(lists.depth):
        array = _unwrapped(array)
        if array.null_count:
            raise bad(path, "row 0 is null", f"column {quote(lists.name)}")
        inner = _inner(array, lists.name, path)
        sizes.append(len(inner) // len(array) if len(array) else 0)
        array = inner
    return int(np.prod(sizes[:-1], dtype=np.int64)), sizes[-1]


def matrix_of(lists: Lists, chunk: Any, shape: tuple[int, int], item: Any, path: str, row: int) -> NDArray[Any]:
    """The values of a chunk as (rows x vectors, width): a view of Arrow's buffers, after every border was looked at."""
    repeat, dim = shape
    array = _unwrapped(chunk)
    for level in range(lists.depth):
        array = _unwrapped(array)
        if array.null_count:
            at = int(array.is_null().to_numpy(zero_copy_only=False).argmax())
            raise bad(path, f"row {row + at // (repeat if level else 1)} is null", f"column {quote(lists.name)}")
        wanted = dim if level == lists.depth - 1 else repeat
        if hasattr(array, "offsets"):
            sizes = np.diff(array.offsets.to_numpy())
            wrong = sizes != wanted
            if wrong.any():
                at = int(np.argmax(wrong))
                what = f"row {row + at // (repeat if level else 1)} has {sizes[at]} entries, the first has {wanted}"
                raise bad(path, f"{what}: rows of one width are wanted", f"column {quote(lists.name)}")
        array = _inner(array, lists.name, path)
    if array.null_count:
        at = int(array.is_null().to_numpy(zero_copy_only=False).argmax())
        raise bad(path, f"row {row + at // max(repeat * dim, 1)} holds a null", f"column {quote(lists.name)}")
    values = np.asarray(array.to_numpy(zero_copy_only=True))
    if len(values) != len(chunk) * repeat * dim:
        raise bad(path, f"holds {len(values)} values for {len(chunk)} rows", f"column {quote(lists.name)}")
    return np.asarray(values.view(item).reshape(len(chunk) * repeat, dim))
