"""Folders of several files: our manifest over safetensors shards, and the common safetensors index."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.folders import inside
from clinometer.files.plain import PlainFile
from clinometer.files.remote import beside, is_url

from .found import Found, Texts
from .safetensors import read_header
from .tensors import FLOAT_NAMES, LIMIT, NUMPY_CODES, Part, Tensor

if TYPE_CHECKING:
    pass

NAME = "manifest.json"
FORMAT = "clinometer-dump"
VERSION = 1
_LARGEST = 64 << 20
_KNOWN = {
    "format", "version", "requires", "n_rows", "d", "dtype", "tensors", "shards", "prompt", "source", "sampling",
    "preprocessing", "columns", "files", "writer",
}  # fmt: skip


def load(path: str) -> dict[str, Any]:
    """The object of a manifest file; sizes and JSON are checked, keys are not."""
    file = PlainFile(path)
    if file.size > _LARGEST:
        raise bad(path, f"{file.size} bytes are over the limit of {_LARGEST}")
    table = strictjson.loads(file.read(0, file.size), path, 0, "manifest")
    if not isinstance(table, dict):
        raise bad(path, "an object is wanted", "manifest", 0)
    return table


def _get(table: Any, key: str, kind: type, path: str, where: str = "") -> Any:
    value = table.get(key) if isinstance(table, dict) else None
    right = type(value) is int and 0 <= value < LIMIT if kind is int else isinstance(value, kind)
    if not right:
        raise bad(path, f"{quote(value)} is not a valid {kind.__name__}", where + key)
    return value


def is_manifest(path: str) -> bool:
    """Whether a file is a manifest of this format, of any version."""
    return load(path).get("format") == FORMAT


def read_manifest(folder: str) -> Found:
    """Read our manifest and the header of every shard; sizes, names, shapes and row counts must agree.

    Parameters
    ----------
    folder : str
        The dump's folder.

    Returns
    -------
    Found
        Tensors cut into shards. Linear in the headers; no tensor byte is read.
    """
    path = beside(folder, NAME) if is_url(folder) else os.path.join(folder, NAME)
    return read_table(folder, path, load(path))


def read_table(folder: str, path: str, table: dict[str, Any]) -> Found:
    """`read_manifest` of a table that is, or is to become, the manifest at `path`."""
    _check_version(table, path)
    n_rows = _get(table, "n_rows", int, path)
    kinds = {}
    for k, column in enumerate(_get(table, "columns", list, path) if "columns" in table else []):
        name = _get(column, "name", str, path, f"columns[{k}].")
        kinds[name] = _get(column, "dtype", str, path, f"columns[{k}].") if "dtype" in column else None
    text_columns = {name for name, kind in kinds.items() if kind == "string"}
    tensors = _shards(folder, path, _get(table, "shards", list, path), n_rows, text_columns)
    for name, kind in kinds.items():
        if name not in tensors or kind not in (None, "string", column_dtype(tensors[name])):
            what = "is in no shard" if name not in tensors else f"is {column_dtype(tensors[name])} in the shards"
            raise bad(path, f"the column {quote(name)} is stated as {quote(kind)} but {what}", "columns")
    source = _optional(table, "source", path)
    for key, value in table.items():
        if key not in _KNOWN:
            source.setdefault(key, value)
    found = Found(tensors, source)
    _describe_phi(found, table, path)
    found.sampling, found.preprocessing = (_optional(table, key, path) for key in ("sampling", "preprocessing"))
    policy = found.sampling.get("policy")
    if policy not in (None, "on_policy", "off_policy"):
        raise bad(path, f"{quote(policy)} is neither on_policy nor off_policy", "sampling.policy")
    found.policy = policy
    for role, name in (_get(table, "files", dict, path) if "files" in table else {}).items():
        found.files[role] = inside(folder, name, f"files.{role}", path)
    if "text" in found.files:
        found.texts = Texts(PlainFile(found.files["text"]), n_rows)
    return found


def _check_version(table: dict[str, Any], path: str) -> None:
    if table.get("format") != FORMAT:
        raise bad(path, f"{quote(table.get('format'))} is not {FORMAT}", "format")
    version = _get(table, "version", int, path)
    if version != VERSION:
        newer = "; a newer clinometer reads it" if version > VERSION else ""
        raise bad(path, f"version {version} is not the version that is read here, {VERSION}{newer}", "version")
    needs = _get(table, "requires", list, path) if "requires" in table else []
    if needs:
        raise bad(path, f"the dump requires {quote(needs[0])}, which is not known here", "requires")


def column_dtype(tensor: Tensor) -> str:
    """The dtype of a column as a manifest names it."""
    if tensor.tag in ("BF16", "BOOL"):
        return "bfloat16" if tensor.tag == "BF16" else "bool"
    return np.dtype(NUMPY_CODES[tensor.tag]).name if tensor.tag in NUMPY_CODES else tensor.tag


def _optional(table: dict[str, Any], key: str, path: str) -> dict[str, Any]:
    return dict(_get(table, key, dict, path)) if table.get(key) is not None else {}


def _describe_phi(found: Found, table: dict[str, Any], path: str) -> None:
    entries = table.get("tensors")
    if entries is None:
        d, dtype = _get(table, "d", int, path), _get(table, "dtype", str, path)
        entries = [{"name": n, "d": d, "dtype": dtype} for n, t in found.tensors.items() if n == "phi" and t.is_matrix]
    if not isinstance(entries, list):
        raise bad(path, "a list is wanted", "tensors")
    found.phi = set()
    for k, entry in enumerate(entries):
        name = _get(entry, "name", str, path, f"tensors[{k}].")
        tensor = found.tensors.get(name)
        if tensor is None or not tensor.is_matrix:
            raise bad(path, f"{quote(name)} is not a 2-D float tensor of the shards", f"tensors[{k}].name")
        stated = (entry.get("d"), entry.get("dtype"))
        if stated != (tensor.shape[1], FLOAT_NAMES[tensor.tag]):
            held = (tensor.shape[1], FLOAT_NAMES[tensor.tag])
            raise bad(
                path,
                f"{quote(name)} is stated as {quote(stated)} but the shards hold {held}",
                f"tensors[{k}]",
            )
        found.phi.add(name)
        if entry.get("layer") is not None:
            found.layers[name] = _get(entry, "layer", int, path, f"tensors[{k}].")
    for key in ("d", "dtype") if entries else ():
        if table.get(key, entries[0][key]) != entries[0][key]:
            raise bad(path, f"{quote(table[key])} is stated but the first tensor has {entries[0][key]}", key)


def _shards(folder: str, path: str, shards: list[Any], n_rows: int, text: set[str]) -> dict[str, Tensor]:
    pieces: dict[str, list[Part]] = {}
    used: set[str] = set()
    home = folder if is_url(folder) else os.path.realpath(folder)
    at = 0
    for k, shard in enumerate(shards):
        where = f"shards[{k}]."
        file = inside(folder, shard.get("file") if isinstance(shard, dict) else None, where + "file", path)
        # On file systems that fold case two names may be one file: its rows would count twice.
        place = (os.path.realpath(file) if os.path.islink(file) else os.path.join(home, shard["file"])).casefold()
        if place in used:
            raise bad(path, f"{quote(shard['file'])} occurs twice", where + "file")
        used.add(place)
        if _get(shard, "row_start", int, path, where) != at:
            raise bad(
                path,
                f"{shard['row_start']} is stated but the shards before end at row {at}",
                where + "row_start",
            )
        rows = _get(shard, "rows", int, path, where)
        with PlainFile(file, hold=True) as plain:
            if shard.get("bytes") is not None and _get(shard, "bytes", int, path, where) != plain.size:
                raise bad(file, f"has {plain.size} bytes but the manifest says {shard['bytes']}", where + "bytes")
            parts = read_header(plain)[0]
        add_shard(pieces, parts, rows, text if k else None, file)
        at += rows
    if at != n_rows:
        raise bad(path, f"{n_rows} rows are stated but the shards hold {at}", "n_rows")
    tensors = {name: Tensor(name, tuple(parts)) for name, parts in pieces.items() if name not in text}
    for name in text:
        lines = pieces.get(name, [])
        if not lines or any(p.tag != "U8" or len(p.shape) != 2 for p in lines):
            raise bad(path, f"the text column {quote(name)} is not a 2-D U8 tensor of the shards", "columns")
        tensors[name] = Tensor(name, tuple(lines), text=True)
    return tensors


def add_shard(
    pieces: dict[str, list[Part]], parts: dict[str, Part], rows: int, text: set[str] | None, path: str
) -> None:
    """Take in the tensors of a shard; `text` names columns whose width may differ, None says it is the first."""
    if text is not None and set(parts) != set(pieces):
        odd = sorted(set(parts) ^ set(pieces))[0]
        raise bad(path, "is not in every shard", f"tensor {quote(odd)}")
    for name, part in parts.items():
        if not part.shape or part.shape[0] != rows:
            raise bad(path, f"has shape {part.shape}; {rows} rows are wanted", f"tensor {quote(name)}")
        if text is not None and name not in text:
            first = pieces[name][0]
            if (part.shape[1:], part.tag) != (first.shape[1:], first.tag):
                raise bad(path, "has another width or dtype than in the first shard", f"tensor {quote(name)}")
        pieces.setdefault(name, []).append(part)


def read_index(folder: str, index: str) -> Found:
    """Read `<x>.safetensors.index.json`: a map from tensor names to files of the same folder."""
    path = inside(folder, index, "index", folder)
    weights = _get(load(path), "weight_map", dict, path)
    headers: dict[str, dict[str, Part]] = {}
    tensors: dict[str, Tensor] = {}
    for name, file in weights.items():
        where = inside(folder, file, f"weight_map[{quote(name)}]", path)
        if where not in headers:
            headers[where] = read_header(PlainFile(where))[0]
        if name not in headers[where]:
            raise bad(where, f"the index says that it holds {quote(name)}; it does not")
        tensors[name] = Tensor(name, (headers[where][name],))
    for where, parts in headers.items():
        for name in parts:
            if name not in tensors or tensors[name].parts[0] is not parts[name]:
                raise bad(where, f"holds {quote(name)}, which the index does not list there")
    return Found(tensors)
