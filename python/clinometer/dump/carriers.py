"""What arrays come in, as NumPy arrays over the same memory where that can be: with names, labels and what is missing.

Libraries are told by their types' modules and asked through their own methods, so none is imported here. Missing
entries are NaN among numbers and None among strings (`objects`); bfloat16 keeps a dtype that `arrays` knows.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dlpack import bfloat16_bits
from .objects import from_objects, with_missing
from .strings import narrowed, text_array
from .tensors import decode_bfloat16

__all__ = ["BFLOAT16", "Carried", "carried", "is_array", "is_bfloat16"]

# NumPy has no bfloat16: a one-field record named so carries the fact until `arrays` reads it
BFLOAT16 = np.dtype([("bfloat16", "<u2")])
_CPU_DEVICES = (1, 3, 11)  # DLPack: CPU, and memory of the host that CUDA or ROCm pinned
_LIBRARIES = ("torch", "pandas", "polars", "pyarrow", "datasets")
_PROTOCOLS = ("__dlpack__", "__array__", "__arrow_c_stream__", "__arrow_c_array__", "__arrow_array__")
_INDEX = "__index_level_0__"  # the index of a pandas frame in an Arrow table made of it


@dataclass(frozen=True)
class Carried:
    """An array, or the columns of a frame; labels of its rows where they are more than their numbers."""

    values: NDArray[Any] | None = None
    columns: dict[str, NDArray[Any]] | None = None
    labels: NDArray[Any] | None = None
    label_name: str | None = None
    indexed: bool = False  # of a library whose rows have labels: without `labels` they are 0, 1, ...
    name: str | None = None  # of a Series
    argument: str = "array"

    @property
    def array(self) -> NDArray[Any]:
        """The array itself; columns of a frame side by side, or its one column of vectors."""
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


def is_array(value: object) -> bool:
    """Whether it is an array or frame of any library, rather than a name, a path or a list."""
    return isinstance(value, np.ndarray) or any(hasattr(value, p) for p in _PROTOCOLS) or _library(value) is not None


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether entries are bfloat16, under ml_dtypes' name or our marker."""
    return dtype.itemsize == 2 and (dtype.name == "bfloat16" or dtype.names == ("bfloat16",))


def carried(value: Any, name: str) -> Carried:
    """What any supported array, frame, mapping of arrays or list holds; a TypeError says what else would do."""
    if isinstance(value, Carried):
        return value
    library = _library(value)
    if isinstance(value, np.ndarray):
        return _numpy(value, name)
    if library is not None:
        return _BY_LIBRARY[library](value, name)
    if isinstance(value, Mapping):
        return Carried(columns={_named(k, name): carried(v, f"{name}[{k!r}]").array for k, v in value.items()},
                       argument=name)  # fmt: skip
    if isinstance(value, (list, tuple)):
        return Carried(_listed(value, name))
    if isinstance(value, (numbers.Number, np.generic)) and not isinstance(value, np.str_):
        return Carried(np.asarray(value))  # its shape is what is refused
    arrow = _through_arrow(value)
    if arrow is not None:
        return _arrow(arrow, name)
    if hasattr(value, "__dlpack__"):
        return Carried(_from_dlpack(value, name))
    if hasattr(value, "__array__"):
        return _numpy(np.asarray(value), name)
    wanted = "an array, a frame or a list is wanted"
    hint = "; list(...) of it" if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)) else ""
    raise TypeError(f"{name} is a {type(value).__name__}; {wanted}{hint}")


def _library(value: object) -> str | None:
    roots = {c.__module__.split(".")[0] for c in type(value).__mro__}
    return next((x for x in _LIBRARIES if x in roots), None)


def _named(key: Any, name: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{name} has the key {key!r}; names are wanted")
    return key


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    return decode_bfloat16(np.ascontiguousarray(array.view(np.uint16))) if is_bfloat16(array.dtype) else array


def _numpy(value: NDArray[Any], name: str) -> Carried:
    if value.dtype.names is not None and not is_bfloat16(value.dtype):
        return Carried(columns={n: _numpy(value[n], name).array for n in value.dtype.names}, argument=name)
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
    return Carried(np.char.decode(held, "utf-8") if held.dtype.kind == "S" else held)


def _listed(value: Any, name: str) -> NDArray[Any]:
    if any(is_array(x) for x in {type(x): x for x in value}.values()):  # one of each type: lists may be long
        return from_objects(value, name)
    if value and all(type(x) is str for x in value):
        return text_array(value)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        try:
            return from_objects(value, name)
        except (ValueError, TypeError) as why:
            raise type(why)(f"{why} ({error})" if name not in str(why) else str(why)) from None
    if array.dtype.kind in "US":  # NumPy makes strings of numbers, and of None, that stand beside them
        flat: list[Any] = list(value)
        for _ in range(array.ndim - 1):
            flat = [x for row in flat for x in row]
        return from_objects(flat, name).reshape(array.shape)
    return _numpy(array, name).array


def _from_dlpack(value: Any, name: str) -> NDArray[Any]:
    device = value.__dlpack_device__() if hasattr(value, "__dlpack_device__") else (1, 0)
    if int(device[0]) not in _CPU_DEVICES:
        raise TypeError(f"{name} lies on a device (DLPack type {int(device[0])}); an array in CPU memory is wanted")
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError):
        bits = bfloat16_bits(value)
        if bits is not None:
            return bits.view(BFLOAT16)
        if not hasattr(value, "__array__"):
            raise TypeError(f"{name}: NumPy cannot read this {type(value).__name__} through DLPack") from None
    return _numpy(np.asarray(value), name).array


def _torch(value: Any, name: str) -> Carried:
    torch = sys.modules["torch"]
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} is a {type(value).__name__} of torch; a tensor is wanted")
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
        return _numpy(np.asarray(value.to_numpy()), name).array
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
        index = index.get_level_values("prompt_id")
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


def _through_arrow(value: Any) -> Any:
    """An Arrow table or array of an object that speaks Arrow's protocols, where pyarrow is there to hear them."""
    if not any(hasattr(value, p) for p in _PROTOCOLS[2:]):
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


def _arrow(value: Any, name: str) -> Carried:
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
        return _arrow(value.with_format("arrow")[:], name)
    if hasattr(value, "source") and hasattr(value, "column_name"):
        return carried(value[:], name)
    raise TypeError(f"{name} is a {type(value).__name__} of datasets; one split, a Dataset, or its column is wanted")


_BY_LIBRARY = {"torch": _torch, "pandas": _pandas, "polars": _polars, "pyarrow": _arrow, "datasets": _datasets}
