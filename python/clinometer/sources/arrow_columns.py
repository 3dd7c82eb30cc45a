"""Columns and lists of an Arrow schema: what each type becomes in NumPy, or why it is not read."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.strings import joined, text_array
from clinometer.common.visible import quote
from clinometer.errors import bad

from .arrow_shards import Refusal, Shard
from .tensors import NUMPY_CODES, TAGS, Tensor, Virtual

_EXACT = 2**53  # whole numbers up to here keep their value as float64
_DIGITS = 18  # decimal digits that always fit 64 bits


def plain_columns(pa: Any, fields: Iterable[Any], shards: list[Shard], n: int, repeat: int) -> dict[str, Tensor]:
    """Columns of numbers, booleans and strings, repeated for every vector of a row; others are not among them."""
    out: dict[str, Tensor] = {}
    for field in fields:
        tag = _tag(pa, field)
        if tag is not None:
            load = partial(_read, pa, field, shards, repeat, tag)
            out[field.name] = Virtual(field.name, (), stated=(tag, (n * repeat,)), values=load)
    return out


def unread(pa: Any, kind: Any) -> str:
    """Why a column of this type is left out, and what to do."""
    types = pa.types
    if types.is_temporal(kind):
        return f"has the type {kind}, which is not read: cast it to a number or a string"
    if types.is_struct(kind) or types.is_map(kind):
        return f"has the type {quote(kind)}, which is not read: unnest its fields"
    return f"has the type {quote(kind)}, which is not read: cast it to numbers, booleans or strings"


def _is_uuid(kind: Any) -> bool:
    return getattr(kind, "extension_name", "") in ("arrow.uuid", "datasets.features.features.UUID")


def _plain_type(pa: Any, kind: Any) -> Any:
    """What a type holds, without dictionaries, runs and extensions around it."""
    while True:
        if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType) and not _is_uuid(kind):
            kind = kind.storage_type
        else:
            return kind


def _is_bytes(pa: Any, kind: Any) -> bool:
    return str(kind) in ("binary", "large_binary", "binary_view") or pa.types.is_fixed_size_binary(kind)


def _is_text(pa: Any, kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def _tag(pa: Any, field: Any) -> str | None:
    """The dtype a column is read as; None for types that are left out."""
    kind = _plain_type(pa, field.type)
    types = pa.types
    if types.is_boolean(kind):
        return "BOOL"
    if types.is_integer(kind) or types.is_floating(kind):
        return TAGS.get(np.dtype(kind.to_pandas_dtype()).str[1:])
    if types.is_null(kind):
        return "F64"
    if types.is_decimal(kind):  # whole ones as integers, so that long ids keep every digit
        return "I64" if kind.scale <= 0 and (kind.precision <= _DIGITS or field.name == "prompt_id") else "F64"
    return "U1" if _is_uuid(kind) or _is_text(pa, kind) or _is_bytes(pa, kind) else None


def _read(pa: Any, field: Any, shards: list[Shard], repeat: int, tag: str) -> NDArray[Any]:
    pieces: list[NDArray[Any]] = []
    where = f"column {quote(field.name)}"
    for shard in shards:
        shard.file.check()
        row = 0
        for chunk in shard.columns(field.name):
            with Refusal(pa, shard.file.path):
                chunk.validate(full=True)  # these values are few, and text must be UTF-8
            if chunk.null_count and (tag == "U1" or field.name == "prompt_id"):
                at = row + chunk.is_null().to_numpy(zero_copy_only=False).argmax()
                raise bad(shard.file.path, f"row {at} is null", where)
            try:
                pieces.append(_values(pa, chunk, tag))
            except (pa.ArrowException, ValueError) as exc:
                what = f"rows {row} to {row + len(chunk)} of type {quote(field.type)} are not read ({exc})"
                raise bad(shard.file.path, what, where) from exc
            row += len(chunk)
        if row != shard.n_rows:
            raise bad(shard.file.path, f"holds {row} values for {shard.n_rows} rows", where)
    empty = np.zeros(0, "U1" if tag == "U1" else NUMPY_CODES[tag])
    return np.repeat(joined(pieces) if pieces else empty, repeat)


def _values(pa: Any, chunk: Any, tag: str) -> NDArray[Any]:
    """A chunk as NumPy has it; nulls among numbers are NaN, unlabelled."""
    held = _bare(pa, chunk)
    if tag == "U1":
        if held.null_count or (pa.types.is_dictionary(held.type) and held.dictionary.null_count):
            raise ValueError("a null is among them")
        return text_array(_texts(pa, held))
    if pa.types.is_dictionary(held.type):
        held = _bare(pa, held.dictionary_decode())
    if pa.types.is_null(held.type):
        return np.full(len(held), np.nan)
    if pa.types.is_decimal(held.type):
        held = held.cast(pa.int64() if tag == "I64" else pa.float64())
    if not held.null_count or tag in ("F16", "F32", "F64"):
        return np.asarray(held.to_numpy(zero_copy_only=False))
    known = held.drop_null()
    numbers = (known.cast(pa.uint8()) if pa.types.is_boolean(known.type) else known).to_numpy(zero_copy_only=False)
    if len(numbers) and (int(numbers.max()) > _EXACT or int(numbers.min()) < -_EXACT):
        raise ValueError(f"nulls beside integers beyond {_EXACT}, which no float64 holds: fill or drop the nulls")
    out = np.full(len(held), np.nan)
    out[held.is_valid().to_numpy(zero_copy_only=False)] = numbers
    return out


def _bare(pa: Any, held: Any) -> Any:
    """An array without runs and extensions around it."""
    while True:
        if pa.types.is_run_end_encoded(held.type):
            held = pa.compute.run_end_decode(held)
        elif isinstance(held.type, pa.BaseExtensionType) and not _is_uuid(held.type):
            held = held.storage
        else:
            return held


def _texts(pa: Any, held: Any) -> list[str]:
    """The strings of an array without nulls; equal ones are one object, so that long prompts are held once."""
    if not pa.types.is_dictionary(held.type):
        held, is_uuid = (held.storage, True) if _is_uuid(held.type) else (held, False)
        wide = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}.get(str(held.type))
        held = (held if wide is None else held.cast(wide)).dictionary_encode()
        words = [_word(word, is_uuid) for word in held.dictionary.to_pylist()]
    else:
        words = _texts(pa, _bare(pa, held.dictionary))
    return [words[code] for code in held.indices.to_pylist()]


def _word(word: str | bytes, is_uuid: bool) -> str:
    if isinstance(word, str):
        return word
    if is_uuid:
        return str(uuid.UUID(bytes=word))
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ValueError("bytes that are no UTF-8 text: cast them to strings or integers") from exc


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
