"""Arrow IPC files, folders of Hugging Face datasets and Parquet (extra `arrow`): which files are data, and list columns
as rows phi."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.folders import entries, inside, refuse_copies, refuse_missing
from clinometer.files.plain import PlainFile
from clinometer.files.remote import is_url, stem
from clinometer.files.streams import Stream

from .arrow_columns import Lists, matrix_of, plain_columns, shape_of, unread
from .arrow_shards import Refusal, Shard, pyarrow_for
from .found import Found, are_layers, are_stages
from .tensors import NUMPY_CODES, Tensor, Virtual
from .window import Window

_LAYER = re.compile(r"(?:hidden|hidden_states?|phi|layer)_([0-9]{1,9})\Z")
_BLOCK_BYTES = 8 << 20


def find_arrow(path: str, half_bits: str | None, tensor: str | None = None) -> Found:
    """The columns of one file, or of the shards of a folder in their order.

    Lists of one width are candidates for phi, as are nested lists (N, a, d), each of whose `a` vectors becomes a row
    (columns `dataset_row` and `position` say which). Integer lists are read as half precision only where `half_bits`
    says so. Nothing but schemas and list borders is looked at. Files are trusted as far as pyarrow can be.
    """
    pa = pyarrow_for(path)
    names, derived = members(path)
    with Refusal(pa, path):
        shards = [Shard(pa, PlainFile(name)) for name in names]
        found = _found(pa, shards, path, half_bits, tensor)
    if derived:
        found.source["files_left_out"] = list(derived)
        found.left_out |= derived
    return found


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
    repeat = next(iter(repeats), 1)
    tensors |= plain_columns(pa, plain, shards, n, repeat)
    tensors |= {name: t for name, t in _places(n, repeat).items() if name not in tensors}
    left_out = {f.name: _why(pa, f.type) for f in schema if f.name not in tensors}
    source = {"columns_left_out": list(left_out)} if left_out else {}
    return Found(tensors, source, layers=layers, left_out=left_out, takes=("half_bits",))


def _why(pa: Any, kind: Any) -> str:
    if Lists.of(pa, pa.field("", kind), None) is not None:
        return f"has the type {quote(kind)}: of lists only those of floats, all of one width, are read"
    return unread(pa, kind)


def _places(n: int, repeat: int) -> dict[str, Tensor]:
    """Where in the dataset a vector comes from, if its rows hold several."""
    if repeat == 1:
        return {}
    numbers = {
        "dataset_row": lambda: np.repeat(np.arange(n), repeat),
        "position": lambda: np.tile(np.arange(repeat), n),
    }
    return {name: Virtual(name, (), stated=("I64", (n * repeat,)), values=numbers[name]) for name in numbers}


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


SUFFIXES = (".arrow", ".parquet", ".feather", ".ipc")
_STATE = "state.json"
_SPLIT = re.compile(r"(?i)(?:\A|[-_.])(train|test|validation|valid|val|dev|eval)(?=[-_.])")
_CACHE = re.compile(r"cache-([0-9a-f]+)(?:_[0-9]+_of_[0-9]+)?\.arrow\Z")
# Tables whose files do not all count: which do stands in a log that is read by their own libraries.
_TABLES = {
    "_delta_log": "a Delta table: deltalake.DeltaTable(path).to_pyarrow_table() reads it",
    ".hoodie": "a Hudi table: its own reader gives the rows",
    "_versions": "a Lance dataset: lance.dataset(path).to_table() reads it",
}
_ICEBERG = "an Iceberg table: pyiceberg's StaticTable.from_metadata(file).scan().to_arrow() reads it"
_HIGHEST = 4  # folders above a file of a partitioned table


def members(path: str) -> tuple[list[str], dict[str, str]]:
    """The files whose rows count, in order, and those beside them that are left out, with the reason."""
    if stem(path).endswith(SUFFIXES) and not os.path.isdir(path):
        return [path], {}
    names = entries(path)
    _refuse_tables(path, names)
    if "dataset_dict.json" in names:
        held = _json(path, "dataset_dict.json").get("splits")
        shown = ", ".join(map(quote, held)) if isinstance(held, list) else quote(held)
        raise bad(path, f"holds the splits {shown}; open the folder of one of them", "dataset_dict.json")
    if _STATE in names:
        return _stated(path), {}
    data, left = _chosen(path, [n for n in names if n.endswith(SUFFIXES)])
    if len({os.path.splitext(n)[1] for n in data}) > 1:
        raise bad(path, f"mixes kinds of files: {', '.join(map(quote, data[:4]))}; open one of them")
    return [inside(path, n, "folder", path) for n in data], left


def _stated(path: str) -> list[str]:
    """The files that a saved Hugging Face dataset lists."""
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


def _chosen(path: str, data: list[str]) -> tuple[list[str], dict[str, str]]:
    """Without what was made of the other files, and not of several splits or computations at once."""
    why = {n: "is a cache file, made from the others by map, filter or sort" for n in data if _CACHE.match(n)}
    why |= {n: "has a name that begins with _, as files that are no data have" for n in data if n.startswith("_")}
    kept = [n for n in data if n not in why]
    if not kept:
        kept, why = data, {}
        if len({m[1] for m in map(_CACHE.match, kept) if m}) > 1:
            shown = ", ".join(map(quote, kept[:4]))
            raise bad(path, f"holds cache files of several computations ({shown}); open one of them")
    refuse_copies(path, kept)
    refuse_missing(path, kept)
    if are_layers(kept):
        raise bad(path, f"holds a file for each layer ({', '.join(map(quote, kept[:4]))}); open one of them", "folder")
    if are_stages(kept):
        shown = ", ".join(map(quote, kept[:4]))
        raise bad(
            path, f"holds a file for each stage of training ({shown}); open one of them, or name shards of one table "
            "part-0, part-1, ...", "folder",
        )  # fmt: skip
    splits = {found[-1].lower() for found in map(_SPLIT.findall, kept) if found}
    if len(splits) > 1:
        shown = ", ".join(map(quote, kept[:4]))
        raise bad(
            path, f"holds the splits {', '.join(sorted(splits))} ({shown}); open one of the files, or a folder each"
        )
    return kept, why


def _refuse_tables(path: str, names: list[str]) -> None:
    """Refuse the data files of a table that keeps replaced ones beside those that count."""
    if is_url(path):
        found = next((what for name, what in _TABLES.items() if name in names), None)
        where = path
    else:
        where, found = os.path.abspath(path), None
        for _ in range(_HIGHEST):
            found = next((f"{n}: {w}" for n, w in _TABLES.items() if os.path.isdir(os.path.join(where, n))), None)
            found = found or (f"metadata/*.metadata.json: {_ICEBERG}" if _is_iceberg(where) else None)
            if found or os.path.dirname(where) == where:
                break
            where = os.path.dirname(where)
    if found is not None:
        raise bad(path, f"{quote(where, 400)} has {found}; write the rows to one Parquet file and open that", "folder")


def _is_iceberg(folder: str) -> bool:
    try:
        return any(n.endswith(".metadata.json") for n in os.listdir(os.path.join(folder, "metadata")))
    except OSError:
        return False


def _json(folder: str, name: str) -> dict[str, Any]:
    file = PlainFile(inside(folder, name, name, folder))
    table = strictjson.loads(file.read(0, file.size), file.path, 0, name)
    if not isinstance(table, dict):
        raise bad(file.path, "an object is wanted", name, 0)
    return table
