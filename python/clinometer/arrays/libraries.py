"""Arrays and frames of torch, pandas, polars, Arrow and Hugging Face datasets, asked through their own methods."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bfloat16 import BFLOAT16
from .held import Carried, from_numpy
from .objects import from_objects

__all__ = ["BY_LIBRARY", "from_arrow", "through_arrow"]

_INDEX = "__index_level_0__"  # the index of a pandas frame in an Arrow table made of it


def _torch(value: Any, name: str) -> Carried:
    torch = sys.modules["torch"]
    if not isinstance(value, torch.Tensor):
        raise TypeError(
            f"{name} is a {type(value).__name__} of torch; a tensor is wanted (DumpWriter and Fold take batches)"
        )
    if value.device.type != "cpu":
        raise TypeError(f"{name} is a torch tensor on {value.device}; a CPU tensor is wanted (.cpu())")
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        raise TypeError(f"{name} is a {value.layout} torch tensor, sparse, nested or quantized; a dense one is wanted")
    value = value.detach().resolve_neg().resolve_conj()
    if value.dtype == torch.bfloat16:
        bits: NDArray[Any] = value.view(torch.int16).numpy()
        return Carried(bits.view(BFLOAT16))
    try:
        return Carried(value.numpy())
    except TypeError:
        raise TypeError(f"{name} is a torch tensor of {value.dtype}; .float() of it is wanted") from None
    except RuntimeError:  # a subclass that holds more than numbers: masks, shards
        raise TypeError(f"{name} is a {type(value).__name__} of torch; a plain tensor is wanted") from None


def _pandas(value: Any, name: str) -> Carried:
    kind = type(value).__name__
    if hasattr(value, "columns") and hasattr(value, "index"):
        return Carried(columns=_frame([(n, value.iloc[:, k]) for k, n in enumerate(value.columns)], name, _series),
                       argument=name, **_labels(value.index))  # fmt: skip
    if hasattr(value, "index") and hasattr(value, "isna"):
        given = None if value.name is None else str(value.name)
        return Carried(_series(value, name), name=given, **_labels(value.index))
    if hasattr(value, "isna") and hasattr(value, "to_numpy"):  # an Index or an extension array
        return Carried(_series(value, name))
    raise TypeError(f"{name} is a {kind} of pandas; a Series or DataFrame is wanted")


def _frame(columns: list[tuple[Any, Any]], name: str, take: Any) -> dict[str, NDArray[Any]]:
    names = [str(n) for n, _ in columns]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"{name} has two columns {twice!r}; distinct names are wanted")
    return {n: take(column, f"{name}, column {n!r}") for n, (_, column) in zip(names, columns, strict=True)}


def _series(value: Any, name: str) -> NDArray[Any]:
    """A pandas Series, Index or extension array."""
    dtype = value.dtype
    if isinstance(dtype, np.dtype):
        return from_numpy(np.asarray(value.to_numpy()), name).array
    missing = np.asarray(value.isna())
    if getattr(dtype, "kind", "O") in "iufb" and not missing.any():
        return np.asarray(value.to_numpy(dtype=getattr(dtype, "numpy_dtype", None)))
    objects = np.array(value.astype(object), object)
    objects[missing] = None
    return from_objects(objects, name)


def _labels(index: Any) -> dict[str, Any]:
    """Labels of rows, unless they are the numbers 0, 1, ... or, in a MultiIndex, the level prompt_id of them."""
    if getattr(index, "nlevels", 1) > 1:
        if "prompt_id" not in index.names:
            return {"labels": np.array([str(x) for x in index]), "indexed": True}
        rest = index.get_level_values("response_id") if "response_id" in index.names else None
        responses = None if rest is None else _series(rest, "the index, level 'response_id'")
        return {**_labels(index.get_level_values("prompt_id")), "responses": responses}
    given = None if index.name is None else str(index.name)
    labels = _series(index, "the index")
    if given is None and labels.dtype.kind in "iu" and np.array_equal(labels, np.arange(len(labels))):
        return {"indexed": True}
    return {"labels": labels, "label_name": given, "indexed": True}


def _polars(value: Any, name: str) -> Carried:
    if hasattr(value, "collect"):
        raise TypeError(f"{name} is a {type(value).__name__} of polars; .collect() of it is wanted")
    if hasattr(value, "get_columns"):
        return Carried(columns=_frame([(s.name, s) for s in value.get_columns()], name, _polars_series), argument=name)
    if hasattr(value, "to_list"):
        return Carried(_polars_series(value, name), name=value.name or None)
    raise TypeError(f"{name} is a {type(value).__name__} of polars; a Series or DataFrame is wanted")


def _polars_series(s: Any, name: str) -> NDArray[Any]:
    kind = s.dtype.base_type().__name__
    if kind in ("Float32", "Float64") or (s.null_count() == 0 and kind.startswith(("Int", "UInt", "Boolean"))):
        return np.asarray(s.to_numpy())
    if kind in ("List", "Array"):
        widths = np.asarray((s.list if kind == "List" else s.arr).len().to_numpy())
        if s.null_count() == 0 and len(widths) and (widths == widths[0]).all():
            return _polars_series(s.explode(), name).reshape(len(s), -1)
    return from_objects(s.to_list(), name)


def through_arrow(value: Any) -> Any:
    """An Arrow table or array of an object that speaks Arrow's protocols, where pyarrow is there to hear them."""
    if not any(hasattr(value, p) for p in ("__arrow_c_stream__", "__arrow_c_array__", "__arrow_array__")):
        return None
    try:
        import pyarrow
    except ImportError:
        return None
    if hasattr(value, "__arrow_c_stream__"):
        try:
            return pyarrow.table(value)
        except (TypeError, ValueError):  # a stream of arrays rather than of rows
            return pyarrow.chunked_array(value)
    return pyarrow.array(value)


def from_arrow(value: Any, name: str) -> Carried:
    if hasattr(value, "column_names"):
        columns = _frame(list(zip(value.column_names, value.columns, strict=True)), name, _arrow_array)
        labels = columns.pop(_INDEX, None)
        return Carried(columns=columns, labels=labels, indexed=labels is not None, argument=name)
    if not hasattr(value, "null_count"):
        raise TypeError(f"{name} is a {type(value).__name__} of pyarrow; an array or a table is wanted")
    return Carried(_arrow_array(value, name))


def _arrow_array(a: Any, name: str) -> NDArray[Any]:
    if hasattr(a, "combine_chunks"):
        whole = a.combine_chunks()
        if hasattr(whole, "num_chunks"):  # more text than one chunk holds
            return from_objects(whole.to_pylist(), name)
        a = whole
    a = getattr(a, "storage", a)  # of an extension type
    kind = str(a.type)
    if kind.startswith("dictionary"):
        return _arrow_array(a.dictionary_decode(), name)
    if kind in ("halffloat", "float", "double") or (a.null_count == 0 and kind.lstrip("u").startswith(("int", "bool"))):
        return np.asarray(a.to_numpy(zero_copy_only=False))
    if kind.startswith(("fixed_size_list", "list<", "large_list<")) and a.null_count == 0 and len(a):
        flat = _arrow_array(a.flatten(), name)
        widths = np.asarray(a.value_lengths().to_numpy(zero_copy_only=False))
        if len(flat) == len(a) * int(widths[0]) and (widths == widths[0]).all():
            return flat.reshape(len(a), -1, *flat.shape[1:])
    return from_objects(a.to_pylist(), name)


def _datasets(value: Any, name: str) -> Carried:
    """A Hugging Face Dataset, or a column of one."""
    if hasattr(value, "with_format") and hasattr(value, "num_rows") and not isinstance(value, Mapping):
        return from_arrow(value.with_format("arrow")[:], name)
    if hasattr(value, "source") and hasattr(value, "column_name"):
        from .carriers import carried

        return carried(value[:], name)
    raise TypeError(f"{name} is a {type(value).__name__} of datasets; one split, a Dataset, or its column is wanted")


BY_LIBRARY = {"torch": _torch, "pandas": _pandas, "polars": _polars, "pyarrow": from_arrow, "datasets": _datasets}
