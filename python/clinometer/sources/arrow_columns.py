"""Columns of an Arrow schema beside the lists: what each type becomes in NumPy, or why it is not read."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.strings import joined, text_array
from clinometer.common.visible import quote
from clinometer.errors import bad

from .arrow_shards import Refusal, Shard
from .tensors import NUMPY_CODES, TAGS, Tensor, Virtual

__all__ = ["plain_columns", "unread"]

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
