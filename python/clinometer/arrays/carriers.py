"""What arrays come in, as NumPy arrays over the same memory where that can be: with names, labels and what is missing.

Libraries are told by their types' modules and asked through their own methods, so none is imported here. Missing
entries are NaN among numbers and None among strings (`objects`); bfloat16 keeps a dtype that `arrays` knows.
"""

from __future__ import annotations

import numbers
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from .dlpack import BFLOAT16, bfloat16_bits, decode_bfloat16, is_bfloat16
from .strings import decode_utf8, narrowed, text_array

_CPU_DEVICES = (1, 3, 11)  # DLPack: CPU, and memory of the host that CUDA or ROCm pinned
_LIBRARIES = ("torch", "pandas", "polars", "pyarrow", "datasets", "xarray")
_PROTOCOLS = ("__dlpack__", "__array__", "__arrow_c_stream__", "__arrow_c_array__", "__arrow_array__")


def is_array(value: object) -> bool:
    """Whether it is an array or frame of any library, rather than a name, a path or a list."""
    return isinstance(value, np.ndarray) or any(hasattr(value, p) for p in _PROTOCOLS) or _library(value) is not None


def carried(value: Any, name: str) -> Carried:
    """What any supported array, frame, mapping of arrays or list holds; a TypeError says what else would do."""
    if isinstance(value, Carried):
        return value
    library = _library(value)
    if isinstance(value, np.ndarray):
        return from_numpy(value, name)
    if library is not None:
        return BY_LIBRARY[library](value, name)
    if isinstance(value, Mapping):
        return _mapped({_named(k, name): carried(v, f"{name}[{k!r}]") for k, v in value.items()}, name)
    if isinstance(value, (list, tuple)):
        return Carried(_listed(value, name))
    if isinstance(value, (numbers.Number, np.generic)) and not isinstance(value, np.str_):
        return Carried(np.asarray(value))  # its shape is what is refused
    arrow = through_arrow(value)
    if arrow is not None:
        return from_arrow(arrow, name)
    if hasattr(value, "__dlpack__"):
        return Carried(_from_dlpack(value, name))
    if hasattr(value, "__array__"):
        return from_numpy(np.asarray(value), name)
    fitted = ", .coef_ of it say" if hasattr(value, "coef_") else ""
    wanted = f"an array, a frame or a list is wanted{fitted}"
    ordered = hasattr(value, "__iter__") and not isinstance(value, (str, bytes, set, frozenset))
    hint = "; list(...) of it" if ordered else ""
    raise TypeError(f"{name} is a {type(value).__name__}; {wanted}{hint}")


def _library(value: object) -> str | None:
    roots = {c.__module__.split(".")[0] for c in type(value).__mro__}
    return next((x for x in _LIBRARIES if x in roots), None)


def _named(key: Any, name: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{name} has the key {key!r}; names are wanted")
    return key


def _mapped(held: dict[str, Carried], name: str) -> Carried:
    """Columns by name, with the index that those of them have which have one."""
    labelled = {k: c for k, c in held.items() if c.indexed}
    labels = {k: np.arange(len(c.array)) if c.labels is None else c.labels for k, c in labelled.items()}
    first = next(iter(labels), "")
    for key, own in labels.items():
        if not np.array_equal(own, labels[first]):
            raise ValueError(f"{name}: {key!r} and {first!r} have other indices; pandas.DataFrame of them aligns them")
    columns = {k: c.array for k, c in held.items()}
    empty = Carried(columns=columns, argument=name)
    return replace(labelled[first], values=None, columns=columns, name=None, argument=name) if labels else empty


def _listed(value: Any, name: str) -> NDArray[Any]:
    if any(is_array(x) for x in {type(x): x for x in value}.values()):  # one of each type: lists may be long
        return from_objects([_scalar(x, name) for x in value], name)
    if value and all(type(x) is str for x in value):
        return text_array(value, name)
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
    return from_numpy(array, name).array


def _scalar(x: Any, name: str) -> Any:
    """What an array without axes holds, as rewards that torch gives one by one; others as they are."""
    if isinstance(x, np.generic) or not is_array(x) or getattr(x, "ndim", 1) != 0:
        return x
    held = carried(x, name).array
    return _plain(held[None])[0] if held.ndim == 0 else x


def _from_dlpack(value: Any, name: str) -> NDArray[Any]:
    device = value.__dlpack_device__() if hasattr(value, "__dlpack_device__") else (1, 0)
    if int(device[0]) not in _CPU_DEVICES:
        kind = f"{type(value).__module__.split('.')[0]}.{type(value).__name__}"
        raise TypeError(
            f"{name} is a {kind} on a device (DLPack type {int(device[0])}); an array in CPU memory is wanted"
        )
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError):
        bits = bfloat16_bits(value)
        if bits is not None:
            return bits.view(BFLOAT16)
        if not hasattr(value, "__array__"):
            raise TypeError(f"{name}: NumPy cannot read this {type(value).__name__} through DLPack") from None
    return from_numpy(np.asarray(value), name).array


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
                what = "one number" if column.ndim == 0 else f"dtype {column.dtype}"
                what = f"vectors {column.shape[1:]}" if column.ndim > 1 else what
                raise TypeError(
                    f"{self.argument}: column {name!r} has {what}; columns of numbers are wanted, so select them"
                )
        if len({len(column) for column in held.values()}) > 1:
            counts = ", ".join(f"{n!r} {len(column)}" for n, column in held.items())
            raise ValueError(f"{self.argument} has columns of several lengths: {counts}")
        return np.stack(list(held.values()), axis=1)

    @property
    def features(self) -> tuple[str, ...] | None:
        """Names of the entries of a vector: a frame's columns, or the labels of a Series; None where they are 0, 1, ...

        Of a Series labels that are numbers in ascending order say nothing but the order.
        """
        if self.columns is None:
            labels = self.labels
            if labels is None or labels.dtype == object or (labels.dtype.kind in "iu" and (np.diff(labels) > 0).all()):
                return None
            return tuple(map(str, labels.tolist()))
        names = tuple(self.columns)
        vectors = any(c.ndim > 1 for c in self.columns.values())
        return None if vectors or names == tuple(map(str, range(len(names)))) else names

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
    rows = [carried(x, f"{name}, row {k}").array for k, x in enumerate(held)]
    shapes = [r.shape for r in rows]
    if len(set(shapes)) > 1:
        odd = next(k for k, s in enumerate(shapes) if s != shapes[0])
        raise ValueError(f"{name}: row {odd} has shape {shapes[odd]} and row 0 {shapes[0]}; one length is wanted")
    return np.stack(rows)


INDEX = "__index_level_0__"  # the index of a pandas frame in an Arrow table made of it


def _torch(value: Any, name: str) -> Carried:
    torch = sys.modules["torch"]
    if not isinstance(value, torch.Tensor):
        raise TypeError(
            f"{name} is a {type(value).__name__} of {type(value).__module__.partition('.')[0]}; a tensor or a Dataset "
            "of known length is wanted (DumpWriter and Fold take batches)"
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
        labels = columns.pop(INDEX, None)
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
        return _moved(from_arrow(value.with_format("arrow")[:], name), value)
    if hasattr(value, "source") and hasattr(value, "column_name"):
        return _moved(carried(value[:], name), value.source)
    raise TypeError(f"{name} is a {type(value).__name__} of datasets; one split, a Dataset, or its column is wanted")


def _moved(held: Carried, dataset: Any) -> Carried:
    """With the row numbers of a Dataset that was shuffled or sorted and not written anew, as labels."""
    numbers_ = getattr(dataset, "_indices", None)
    if numbers_ is None or held.labels is not None:
        return held
    labels = np.asarray(numbers_.column(0).to_numpy()).astype(np.int64)
    return replace(held, labels=labels, indexed=True) if (np.diff(labels) < 0).any() else held


def _xarray(value: Any, name: str) -> Carried:
    """A DataArray, or a Dataset of them with one first dimension, whose coordinate are the labels of rows.

    Its `__arrow_c_stream__` is a long table with coordinates as columns, which are no values.
    """
    if hasattr(value, "data_vars"):
        kinds = {v.dims[:1] for v in value.data_vars.values()}
        if len(kinds) != 1 or () in kinds:
            raise TypeError(f"{name} is a Dataset of xarray whose arrays begin with other dimensions; one is wanted")
        first = kinds.pop()
        along = {str(n): v for n, v in value.variables.items() if v.dims[:1] == first and n not in value.indexes}
        columns = {n: from_numpy(np.asarray(v), name).array for n, v in along.items()}
        return Carried(columns=columns, argument=name, **_coordinate(value, first))
    if not hasattr(value, "dims") or not value.dims:
        raise TypeError(f"{name} is a {type(value).__name__} of xarray; a DataArray with an axis of rows is wanted")
    if value.ndim == 2 and value.dims[1] in value.indexes:  # its names are those of columns
        return replace(_pandas(value.to_pandas(), name), **_coordinate(value, value.dims))
    given = None if value.name is None else str(value.name)
    return replace(from_numpy(np.asarray(value), name), name=given, **_coordinate(value, value.dims))


def _coordinate(value: Any, dims: tuple[Any, ...]) -> dict[str, Any]:
    return _labels(value.indexes[dims[0]]) if dims[0] in value.indexes else {"labels": None, "indexed": False}


BY_LIBRARY = {
    "torch": _torch, "pandas": _pandas, "polars": _polars, "pyarrow": from_arrow, "datasets": _datasets,
    "xarray": _xarray,
}  # fmt: skip
