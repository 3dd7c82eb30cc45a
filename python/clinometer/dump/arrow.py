"""Arrow IPC files, folders of Hugging Face datasets and Parquet (extra `arrow`): list columns as rows phi."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import strictjson
from .arrow_lists import Lists, matrix_of, shape_of
from .arrow_shards import Refusal, Shard, pyarrow_for
from .files import PlainFile, bad, entries, inside, quote
from .manifest import Found
from .remote import listing
from .streams import Stream
from .tensors import NUMPY_CODES, TAGS, Tensor, Virtual
from .urls import is_url, stem
from .windows import Window

__all__ = ["SUFFIXES", "find_arrow"]

SUFFIXES = (".arrow", ".parquet", ".feather", ".ipc")
_STATE = "state.json"
_LAYER = re.compile(r"(?:hidden|hidden_states?|phi|layer)_([0-9]{1,9})\Z")
_BLOCK_BYTES = 8 << 20


def find_arrow(path: str, half_bits: str | None, tensor: str | None = None) -> Found:
    """The columns of one file, or of the shards of a folder in their order.

    Lists of one width are candidates for phi, as are nested lists (N, a, d), each of whose `a` vectors becomes a row
    (columns `dataset_row` and `position` say which). Integer lists are read as half precision only where `half_bits`
    says so. Nothing but schemas and list borders is looked at. Files are trusted as far as pyarrow can be.
    """
    pa = pyarrow_for(path)
    names = _members(path)
    with Refusal(pa, path):
        shards = [Shard(pa, PlainFile(name)) for name in names]
        return _found(pa, shards, path, half_bits, tensor)


def _members(path: str) -> list[str]:
    if stem(path).endswith(SUFFIXES) and not os.path.isdir(path):
        return [path]
    names = listing(path) if is_url(path) else entries(path)
    if "dataset_dict.json" in names:
        held = _json(path, "dataset_dict.json").get("splits")
        shown = ", ".join(map(quote, held)) if isinstance(held, list) else quote(held)
        raise bad(path, f"holds the splits {shown}; open the folder of one of them", "dataset_dict.json")
    if _STATE in names:
        state = _json(path, _STATE)
        if state.get("_indices_data_files"):
            raise bad(path, "rows are chosen by an index: flatten_indices() and save it anew", _STATE)
        files = state.get("_data_files")
        if not isinstance(files, list) or not all(isinstance(f, dict) for f in files):
            raise bad(path, "_data_files must be a list of objects", _STATE)
        held = [f.get("filename") for f in files]
        if len(set(map(str, held))) != len(held):
            raise bad(path, "a file is named twice", f"{_STATE}, _data_files")
        return [inside(path, n, f"{_STATE}, _data_files", path) for n in held]
    data = [n for n in names if n.endswith(SUFFIXES)]
    if len({os.path.splitext(n)[1] for n in data}) > 1:
        raise bad(path, f"mixes kinds of files: {', '.join(map(quote, data[:4]))}; open one of them")
    return [inside(path, n, "folder", path) for n in data]


def _json(folder: str, name: str) -> dict[str, Any]:
    file = PlainFile(inside(folder, name, name, folder))
    table = strictjson.loads(file.read(0, file.size), file.path, 0, name)
    if not isinstance(table, dict):
        raise bad(file.path, "an object is wanted", name, 0)
    return table


@dataclass(frozen=True)
class _Column:
    """A list column over all shards."""

    name: str
    lists: Lists
    repeat: int  # vectors of a row of the dataset
    dim: int


def _found(pa: Any, shards: list[Shard], path: str, half_bits: str | None, tensor: str | None) -> Found:
    if not shards:
        raise bad(path, "has no Arrow or Parquet files")
    schema = shards[0].schema
    if len(set(schema.names)) != len(schema.names):
        raise bad(path, "a column name occurs twice", "schema")
    for shard in shards[1:]:
        if shard.schema.names != schema.names or shard.schema.types != schema.types:
            raise bad(shard.file.path, "has other columns than the first file", "schema")
    n = sum(s.n_rows for s in shards)
    matrices, plain, integers = [], [], []
    for field in schema:
        lists = Lists.of(pa, field, half_bits)
        if lists is not None and lists.tag:
            matrices.append(_measured(field.name, lists, shards, path))
        elif lists is not None and lists.integer:
            integers.append(field.name)
        elif lists is None:
            plain.append(field)
    if not matrices and integers:
        raise bad(
            path,
            f"the lists {', '.join(map(quote, integers[:8]))} hold 16-bit integers: if they are the bits of halves, "
            "say so with half_bits='float16' or 'bfloat16'",
            "schema",
        )
    chosen = next((c.repeat for c in matrices if c.name == tensor), None)
    if chosen is not None:
        matrices = [c for c in matrices if c.repeat == chosen]
    repeats = {c.repeat for c in matrices}
    if len(repeats) > 1:
        what = ", ".join(f"{quote(c.name)} {c.repeat}" for c in matrices)
        raise bad(path, f"columns hold different numbers of vectors in a row ({what}); choose with tensor=", "schema")
    tensors: dict[str, Tensor] = {}
    layers = {}
    for column in matrices:
        tensors[column.name] = _matrix(column, shards, n)
        if (match := _LAYER.search(column.name)) is not None:
            layers[column.name] = int(match[1])
    tensors |= _plain(pa, plain, shards, n, next(iter(repeats), 1), set(tensors))
    left_out = [f.name for f in schema if f.name not in tensors]
    return Found(tensors, {"columns_left_out": left_out} if left_out else {}, layers=layers)


def _measured(name: str, lists: Lists, shards: list[Shard], path: str) -> _Column:
    """The width of a list column: stated by its type, else that of its first row."""
    if lists.shape is not None:
        return _Column(name, lists, lists.shape[0], lists.shape[1])
    for shard in shards:
        for chunk in shard.columns(name, 0, 1):
            if len(chunk):
                repeat, dim = shape_of(lists, chunk, shard.file.path)
                return _Column(name, lists, repeat, dim)
    return _Column(name, lists, 1, lists.width or 0)


def _matrix(column: _Column, shards: list[Shard], n: int) -> Tensor:
    item = np.dtype(NUMPY_CODES[column.lists.tag]).newbyteorder("=")

    def block(shard: Shard, row: int, chunk: Any) -> NDArray[Any]:
        return matrix_of(column.lists, chunk, (column.repeat, column.dim), item, shard.file.path, row)

    def blocks(shard: Shard, k: int) -> Iterator[NDArray[Any]]:
        rows = max(1, _BLOCK_BYTES // max(1, column.repeat * column.dim * item.itemsize))
        at = shard.starts[k]
        for chunk in shard.columns(column.name, k, rows):
            yield block(shard, at, chunk)
            at += len(chunk)

    def window(shard: Shard) -> Window:
        stream = Stream([s * column.repeat for s in shard.starts] or [0], partial(blocks, shard))
        return Window((shard.n_rows * column.repeat, column.dim), item, stream.fetch, shard.file.path)

    def pieces() -> list[tuple[NDArray[Any] | Window, Any]]:
        out: list[tuple[NDArray[Any] | Window, Any]] = []
        for shard in (s for s in shards if s.n_rows):
            if not shard.mapped:
                out.append((window(shard), shard.file))
                continue
            watch = shard.file.map()[1]
            out += [(b, watch) for b in blocks(shard, 0)]
        return out or [(np.zeros((0, column.dim), item), None)]

    stated = (column.lists.tag, (n * column.repeat, column.dim))
    return Virtual(column.name, (), stated=stated, pieces=pieces)


def _plain(
    pa: Any, fields: list[Any], shards: list[Shard], n: int, repeat: int, taken: set[str]
) -> Mapping[str, Tensor]:
    """Columns of numbers, booleans and strings, repeated for every vector of a row."""
    out: dict[str, Tensor] = {}
    for field in fields:
        tag = _tag(pa, field.type)
        if tag is not None:
            load = partial(_read_plain, pa, field, shards, repeat, tag)
            out[field.name] = Virtual(field.name, (), stated=(tag, (n * repeat,)), values=load)
    if repeat > 1:
        numbers = {
            "dataset_row": lambda: np.repeat(np.arange(n), repeat),
            "position": lambda: np.tile(np.arange(repeat), n),
        }
        for name in set(numbers) - set(out) - taken:
            out[name] = Virtual(name, (), stated=("I64", (n * repeat,)), values=numbers[name])
    return out


def _tag(pa: Any, kind: Any) -> str | None:
    types = pa.types
    if types.is_boolean(kind):
        return "BOOL"
    if types.is_integer(kind) or types.is_floating(kind):
        return TAGS.get(np.dtype(kind.to_pandas_dtype()).str[1:])
    value = kind.value_type if types.is_dictionary(kind) else kind
    return "U1" if types.is_string(value) or types.is_large_string(value) else None


def _read_plain(pa: Any, field: Any, shards: list[Shard], repeat: int, tag: str) -> NDArray[Any]:
    pieces: list[NDArray[Any]] = []
    for shard in shards:
        shard.file.check()
        row = 0
        for chunk in shard.columns(field.name):
            with Refusal(pa, shard.file.path):
                chunk.validate(full=True)  # these values are few, and text must be UTF-8
            if chunk.null_count and tag not in ("F16", "F32", "F64"):
                at = row + chunk.is_null().to_numpy(zero_copy_only=False).argmax()
                raise bad(shard.file.path, f"row {at} is null", f"column {quote(field.name)}")
            held = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
            values = held.to_numpy(zero_copy_only=False)  # a null float is NaN: unlabelled
            pieces.append(values.astype(str) if tag == "U1" else values)
            row += len(chunk)
        if row != shard.n_rows:
            what = f"holds {row} values for {shard.n_rows} rows"
            raise bad(shard.file.path, what, f"column {quote(field.name)}")
    empty = np.zeros(0, "U1" if tag == "U1" else NUMPY_CODES[tag])
    return np.repeat(np.concatenate(pieces) if pieces else empty, repeat)
