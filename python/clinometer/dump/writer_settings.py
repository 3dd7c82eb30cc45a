"""What a DumpWriter is told when it is opened, checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.strings import is_text
from clinometer.common.visible import quote

from .schema import ROW_TAGS, Site, as_site, column_tag

__all__ = ["as_declared", "as_part", "as_sites", "cast", "print_of", "shown_settings"]

_MOST_PARTS = 100_000


def as_sites(dim: Any, dtype: Any) -> tuple[list[Site], Any]:
    """The tensors of phi, and the dtype argument with plain keys."""
    keys = list(dim) if isinstance(dim, Mapping) else [None]
    if isinstance(dtype, Mapping) and (not isinstance(dim, Mapping) or set(dtype) != set(dim)):
        raise ValueError(f"dtype has the keys {quote(list(dtype))}; those of dim are wanted")
    if not keys:
        raise ValueError("dim is an empty mapping; at least one tensor is wanted")
    out = []
    for key in keys:
        width = dim if key is None else dim[key]
        kind = dtype[key] if isinstance(dtype, Mapping) else dtype
        if isinstance(width, bool) or not isinstance(width, (int, np.integer)) or width < 1:
            raise ValueError(f"dim is {quote(width)}; a positive integer is wanted")
        if not isinstance(kind, str) or kind not in ROW_TAGS:
            raise ValueError(f"dtype is {quote(kind)}; one of {', '.join(ROW_TAGS)} is wanted")
        out.append(as_site(key, int(width), kind))
    if len({s.name for s in out}) != len(out):
        raise ValueError("dim names a tensor twice")
    return out, ({k: s.dtype for k, s in zip(keys, out, strict=True)} if isinstance(dim, Mapping) else out[0].dtype)


def as_declared(columns: Any, taken: set[str]) -> dict[str, str]:
    """Columns whose dtype is stated beforehand."""
    if columns is not None and not isinstance(columns, Mapping):
        raise TypeError(f"columns is a {type(columns).__name__}; a mapping of names to dtypes is wanted")
    out = {}
    for name, kind in (columns or {}).items():
        if not isinstance(name, str) or not name or name == "__metadata__" or name in taken:
            raise ValueError(f"columns has the key {quote(name)}, which is no free name")
        try:
            kind = "string" if kind in (str, "str", "string") else np.dtype(kind).name
            column_tag(kind)
        except (TypeError, KeyError):
            raise ValueError(
                f"columns[{quote(name)}] is {quote(kind)}; a dtype of numbers or 'string' is wanted"
            ) from None
        if name == "prompt_id" and kind not in ("int64", "uint64", "string"):
            raise ValueError(f"columns['prompt_id'] is {quote(kind)}; int64, uint64 or string is wanted")
        out[name] = kind
    return out


def as_part(part: Any) -> tuple[int, int] | None:
    """(i, n) with 0 <= i < n."""
    if part is None:
        return None
    good = isinstance(part, (tuple, list)) and len(part) == 2 and all(type(x) is int for x in part)
    if not good or not 0 <= part[0] < part[1] <= _MOST_PARTS:
        raise ValueError(f"part is {quote(part)}; (i, n) with 0 <= i < n <= {_MOST_PARTS} is wanted")
    return int(part[0]), int(part[1])


def cast(column: NDArray[Any], kind: str, name: str, *, rounds: bool) -> NDArray[Any]:
    """A batch of a column in the dtype of the dump; values it cannot hold are refused, floats rounded if asked."""
    if (kind == "string") != is_text(column.dtype):
        raise TypeError(f"columns[{quote(name)}] has dtype {column.dtype}; {kind} is wanted, as in the batches before")
    if kind == "string" or column.dtype == kind:
        return column
    with np.errstate(all="ignore"):
        out = column.astype(kind)
    if rounds and column.dtype.kind == out.dtype.kind == "f":
        return out
    same = (out == column) | ((out != out) & (column != column))
    if not same.all() or (column.dtype.kind in "iu" and (out.astype(column.dtype) != column).any()):
        row = int(np.argmin(same))
        raise ValueError(
            f"columns[{quote(name)}] holds {column[row]} at row {row}, which {kind} does not hold; "
            "columns={name: dtype} states a wider dtype beforehand"
        )
    return out


def print_of(directions: Any) -> str | None:
    """What tells directions from others, for the settings."""
    from .directions import Directions

    if directions is None:
        return None
    if not isinstance(directions, Directions):
        raise TypeError(f"directions is a {type(directions).__name__}; Directions are wanted")
    said = json.dumps([directions.names, directions.roles, directions.source, str(directions.vectors.dtype)])
    return hashlib.sha256(said.encode() + directions.vectors.tobytes()).hexdigest()


def shown_settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a manifest shows, under the names of the arguments."""
    only = [{"name": "phi", "d": table.get("d"), "dtype": table.get("dtype")}]
    tensors, sampling = table.get("tensors") or only, dict(table.get("sampling") or {})
    return {
        "dim": {t["name"]: t["d"] for t in tensors}, "dtype": {t["name"]: t["dtype"] for t in tensors},
        "source": table.get("source") or {}, "policy": sampling.pop("policy", None), "sampling": sampling,
        "preprocessing": table.get("preprocessing") or {}, "part": table.get("part"),
    }  # fmt: skip
