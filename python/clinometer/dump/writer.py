"""write_dump: rows, columns and their manifest as a folder of safetensors shards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import manifest
from .arrays import as_column, as_ids, as_matrix
from .atomic import new_folder
from .convert import convert
from .dump import Dump
from .files import quote
from .safetensors import Payload, write_safetensors
from .selecting import layer_of
from .sidecars import write_directions, write_pairs, write_text
from .tensors import FLOAT_NAMES, TAGS

__all__ = ["write_dump"]

_SHARD_BYTES = 2 << 30
_PIECE_BYTES = 8 << 20
_ROW_TAGS = {name: tag for tag, name in FLOAT_NAMES.items()}


class _Rows:
    """One tensor to be written: reads any run of its rows in the dtype that is stored."""

    def __init__(self, name: str, source: Any, dtype: str | None, layer: int | None) -> None:
        self.name = name
        self.layer = layer
        if isinstance(source, Dump):
            self.segments = [(s.array, s.row_start) for s in source.segments]
            self.n_rows, self.dim, self.held = source.n_rows, source.dim, source.dtype
        else:
            rows, self.held = as_matrix(source, quote(name), bits=dtype == "bfloat16")
            self.segments = [(rows, 0)]
            self.n_rows, self.dim = rows.shape
        self.dtype = dtype or self.held

    @property
    def row_bytes(self) -> int:
        return self.dim * {"float64": 8, "float32": 4}.get(self.dtype, 2)

    def pieces(self, first: int, last: int) -> Iterator[memoryview]:
        step = max(1, _PIECE_BYTES // self.row_bytes)
        for array, at in self.segments:
            low, high = max(first, at), min(last, at + len(array))
            for start in range(low, high, step):
                piece = array[start - at : min(start + step, high) - at]
                out = convert(piece, self.held, self.dtype, quote(self.name), start)
                yield _bytes(out)

    def payload(self, first: int, last: int) -> Payload:
        return Payload(_ROW_TAGS[self.dtype], (last - first, self.dim), lambda: self.pieces(first, last))


def _bytes(array: NDArray[Any]) -> memoryview:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def write_dump(
    path: str | os.PathLike[str],
    phi: Any,
    *,
    prompt_ids: Any = None,
    columns: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    shard_rows: int | None = None,
    policy: str | None = None,
    pairs: Any = None,
    directions: Any = None,
    texts: Any = None,
) -> None:
    """Write a dump's folder: shards first, the manifest last, and the whole renamed into place.

    Parameters
    ----------
    path : path
        The folder; an existing dump or an empty folder is replaced, anything else is refused.
    phi : array (N, d), Dump, or mapping of them
        {layer: array} is written as tensors phi_L<layer>, {name: array} under the names. uint16 with
        dtype="bfloat16" is taken as bit patterns.
    prompt_ids : array (N,), optional
        Integers or strings.
    columns : mapping of arrays (N,), optional
        Numbers, booleans or strings; dtypes are kept.
    source : mapping, optional
        Model, layer, position and the like; anything that JSON holds.
    dtype : "float16" | "bfloat16" | "float32" | "float64", optional
        Stored dtype, rounded to nearest even; a finite value beyond its range raises. Default: as given.
    shard_rows : int, optional
        Rows of a shard. Default: shards of about 2 GiB.
    policy : "on_policy" | "off_policy", optional
        Who wrote the responses.
    pairs : array (P, 2), (array, prob (P,)), or mapping with chosen and rejected, optional
        Rows of one prompt, the preferred one first.
    directions : Directions, optional
        Saved beside the rows.
    texts : sequence of (prompt, response) or {"prompt", "response"}, optional
        One per row, for `Dump.texts`.

    Examples
    --------
    >>> import numpy as np, tempfile, os
    >>> from clinometer.dump import open_dump, write_dump
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_dump(os.path.join(folder, "d"), {8: np.ones((3, 2), "f4"), 9: np.zeros((3, 2), "f4")})
    ...     open_dump(os.path.join(folder, "d"), layer=9).read(0, 1).tolist()
    [[0.0, 0.0]]
    """
    target = os.path.realpath(os.fspath(path))
    _check_target(target)
    if dtype is not None and dtype not in _ROW_TAGS:
        raise ValueError(f"dtype is {quote(dtype)}; one of {', '.join(_ROW_TAGS)} or None is wanted")
    if policy not in (None, "on_policy", "off_policy"):
        raise ValueError(f"policy is {quote(policy)}; 'on_policy', 'off_policy' or None is wanted")
    if shard_rows is not None and (isinstance(shard_rows, bool) or int(shard_rows) != shard_rows or shard_rows < 1):
        raise ValueError(f"shard_rows is {shard_rows!r}; a positive integer is wanted")
    rows = _tensors(phi, dtype)
    n_rows = rows[0].n_rows
    held = _columns(columns, prompt_ids, n_rows, {r.name for r in rows})
    origin = json.loads(_json(dict(source or {}), "source"))
    step = int(shard_rows) if shard_rows else max(1, _SHARD_BYTES // sum(r.row_bytes for r in rows))
    with new_folder(target) as folder:
        table: dict[str, Any] = {"format": manifest.FORMAT, "version": manifest.VERSION, "n_rows": n_rows}
        table |= {"d": rows[0].dim, "dtype": rows[0].dtype, "tensors": [_entry(r) for r in rows]}
        table["shards"] = [
            _write_shard(folder, k, rows, held, start, min(start + step, n_rows))
            for k, start in enumerate(range(0, max(n_rows, 1), step))
        ]
        table["prompt"] = _prompt_facts(held.get("prompt_id"))
        table["columns"] = [{"name": n, "dtype": _dtype_name(a), "role": _role(n)} for n, a in held.items()]
        table |= {"source": origin, "sampling": {"policy": policy}, "files": {}, "writer": "clinometer"}
        writers: list[tuple[str, Any, Callable[..., str]]] = [
            ("pairs", pairs, write_pairs), ("directions", directions, write_directions),
            ("text", texts, write_text),
        ]  # fmt: skip
        for role, value, write in writers:
            if value is not None:
                table["files"][role] = write(folder, value, n_rows)
        with open(os.path.join(folder, manifest.NAME), "xb") as out:
            out.write(_json(table, "source").encode("ascii") + b"\n")
            out.flush()
            os.fsync(out.fileno())


def _json(value: Any, name: str) -> str:
    try:
        return json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{name} cannot be written as JSON: {exc}") from exc


def _check_target(target: str) -> None:
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target):
        raise ValueError(f"path {quote(target)} exists and is not a folder")
    if os.listdir(target):
        try:
            known = manifest.is_manifest(os.path.join(target, manifest.NAME))
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"path {quote(target)} is a folder that holds something else than a dump")


def _tensors(phi: Any, dtype: str | None) -> list[_Rows]:
    if not isinstance(phi, Mapping):
        return [_Rows("phi", phi, dtype, None)]
    if not phi:
        raise ValueError("phi is an empty mapping; at least one tensor is wanted")
    out = []
    for key, array in phi.items():
        if isinstance(key, str) and key and key != "__metadata__":
            out.append(_Rows(key, array, dtype, layer_of(key)))
        elif isinstance(key, (int, np.integer)) and not isinstance(key, bool) and key >= 0:
            out.append(_Rows(f"phi_L{int(key)}", array, dtype, int(key)))
        else:
            raise TypeError(f"phi has the key {quote(key)}; layers (int >= 0) or names are wanted")
    if len({r.name for r in out}) != len(out):
        raise ValueError("phi names a tensor twice")
    if len({r.n_rows for r in out}) > 1:
        raise ValueError(f"phi has tensors of {sorted({r.n_rows for r in out})} rows; one count is wanted")
    return out


def _columns(columns: Any, prompt_ids: Any, n_rows: int, taken: set[str]) -> dict[str, NDArray[Any]]:
    if columns is not None and not isinstance(columns, Mapping):
        raise TypeError(f"columns is a {type(columns).__name__}; a mapping of arrays is wanted")
    out: dict[str, NDArray[Any]] = {}
    if prompt_ids is not None:
        out["prompt_id"] = as_ids(prompt_ids, "prompt_ids", n_rows)
    for name, value in (columns or {}).items():
        if not isinstance(name, str) or not name or name == "__metadata__" or name in taken:
            raise ValueError(f"columns has the key {quote(name)}, which is no free name")
        if name == "prompt_id" and prompt_ids is not None:
            continue  # a dump's own columns passed on: the ids given as such win
        out[name] = as_column(value, f"columns[{quote(name)}]", n_rows)
        if out[name].dtype.kind not in "U" and out[name].dtype.str[1:] not in TAGS:
            raise TypeError(f"columns[{quote(name)}] has dtype {out[name].dtype}, which has no place in safetensors")
    return out


def _entry(rows: _Rows) -> dict[str, Any]:
    return {"name": rows.name, "d": rows.dim, "dtype": rows.dtype, "layer": rows.layer}


def _dtype_name(column: NDArray[Any]) -> str:
    return "string" if column.dtype.kind == "U" else column.dtype.name


def _role(name: str) -> str:
    prefix = name[:5]
    return prefix if prefix in ("value", "judge") and name[5:6] in ("_", ":", "/") else name


def _prompt_facts(ids: NDArray[Any] | None) -> dict[str, Any]:
    if ids is None or not len(ids):
        return {"grouped": True, "n_prompts": 0 if ids is not None else None, "max_responses": 0}
    counts = np.unique(ids, return_counts=True)[1]
    runs = 1 + int(np.count_nonzero(ids[1:] != ids[:-1]))
    return {"grouped": runs == len(counts), "n_prompts": len(counts), "max_responses": int(counts.max())}


def _encode_text(column: NDArray[Any]) -> NDArray[np.uint8]:
    """Strings as (N, width) bytes of UTF-8, padded with zeros: safetensors has no strings."""
    raw = np.char.encode(column, "utf-8") if len(column) else np.zeros(0, "S1")
    width = max(raw.dtype.itemsize, 1)
    return np.ascontiguousarray(raw.astype(f"S{width}")).view(np.uint8).reshape(len(column), width)


def _write_shard(
    folder: str, k: int, rows: list[_Rows], columns: dict[str, NDArray[Any]], first: int, last: int
) -> dict[str, Any]:
    payloads = {r.name: r.payload(first, last) for r in rows}
    for name, column in sorted(columns.items(), key=lambda item: -item[1].dtype.itemsize):
        data = _encode_text(column) if column.dtype.kind == "U" else column
        payloads[name] = _array_payload(data[first:last])
    file = f"phi-{k:05d}.safetensors"
    size = write_safetensors(os.path.join(folder, file), payloads)
    return {"file": file, "row_start": first, "rows": last - first, "bytes": size}


def _array_payload(array: NDArray[Any]) -> Payload:
    return Payload(TAGS[array.dtype.str[1:]], array.shape, lambda: [_bytes(array)])
