"""Which Arrow and Parquet files of a folder are its data, and in which order."""

from __future__ import annotations

import os
import re
from typing import Any

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.folders import entries, inside, refuse_copies, refuse_missing
from clinometer.files.plain import PlainFile
from clinometer.files.urls import is_url, stem

from .layers import are_layers

__all__ = ["SUFFIXES", "members"]

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
