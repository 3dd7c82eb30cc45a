"""What every row of a dump that is written holds: tensors of phi, and columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.coerce import as_column, as_ids
from clinometer.arrays.strings import check_whole, check_width, is_text
from clinometer.common.visible import quote
from clinometer.sources.found import layer_of
from clinometer.sources.tensors import FLOAT_NAMES, TAGS

from .aligned import same_ids

ROW_TAGS = {name: tag for tag, name in FLOAT_NAMES.items()}
TEXT = "string"


@dataclass(frozen=True)
class Site:
    """One tensor of phi: its name in the shards, width, stored dtype and layer."""

    name: str
    dim: int
    dtype: str
    layer: int | None

    @property
    def row_bytes(self) -> int:
        return self.dim * {"float64": 8, "float32": 4}.get(self.dtype, 2)

    def entry(self) -> dict[str, Any]:
        """Its line in the manifest."""
        return {"name": self.name, "d": self.dim, "dtype": self.dtype, "layer": self.layer}


def as_site(key: Any, dim: int, dtype: str) -> Site:
    """The tensor of a key of {layer: ...} or {name: ...}; None stands for the only one."""
    if key is None:
        return Site("phi", dim, dtype, None)
    if isinstance(key, str) and key and key != "__metadata__":
        return Site(key, dim, dtype, layer_of(key))
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and key >= 0:
        return Site(f"phi_L{int(key)}", dim, dtype, int(key))
    raise TypeError(f"phi has the key {quote(key)}; layers (int >= 0) or names are wanted")


def byte_view(array: NDArray[Any]) -> memoryview:
    """The little-endian bytes of an array, without a copy where it has them already."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def column_kind(column: NDArray[Any]) -> str:
    """The dtype that the manifest names: a NumPy name, or "string"."""
    return TEXT if is_text(column.dtype) else column.dtype.name


def column_tag(kind: str) -> str:
    """The dtype tag under which a column of this kind is stored."""
    return "U8" if kind == TEXT else TAGS[np.dtype(kind).str[1:]]


def role(name: str) -> str:
    """What a column is for: "value" or "judge" by its prefix, else its own name."""
    prefix = name[:5]
    return prefix if prefix in ("value", "judge") and name[5:6] in ("_", ":", "/") else name


def as_columns(columns: Any, prompt_ids: Any, n_rows: int, taken: set[str]) -> dict[str, NDArray[Any]]:
    """Columns (N,) by name, the prompt ids first; numbers, booleans and strings as they will be stored."""
    if columns is not None and not isinstance(columns, Mapping):
        raise TypeError(f"columns is a {type(columns).__name__}; a mapping of arrays is wanted")
    out: dict[str, NDArray[Any]] = {}
    if prompt_ids is not None:
        out["prompt_id"] = as_ids(prompt_ids, "prompt_ids", n_rows)
    for name, value in (columns or {}).items():
        if not isinstance(name, str) or not name or name == "__metadata__" or name in taken:
            raise ValueError(f"columns has the key {quote(name)}, which is no free name")
        if name == "prompt_id" and prompt_ids is not None:
            same_ids("columns", as_ids(value, "columns['prompt_id']", n_rows), out["prompt_id"])
            continue
        out[name] = as_column(value, f"columns[{quote(name)}]", n_rows)
        if not is_text(out[name].dtype) and out[name].dtype.str[1:] not in TAGS:
            raise TypeError(f"columns[{quote(name)}] has dtype {out[name].dtype}, which has no place in safetensors")
    for name, column in out.items():
        if is_text(column.dtype):
            check_whole(np.array([name]), "the name of a column")
            called = "prompt_ids" if name == "prompt_id" else f"columns[{quote(name)}]"
            check_whole(column, called)
            check_width(column, called)
    return out
