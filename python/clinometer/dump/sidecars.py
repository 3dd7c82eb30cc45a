"""What lies beside the rows of a dump: pairs, directions, texts, and the manifest, which is put in place last."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.carriers import carried, is_array
from clinometer.arrays.coerce import as_numpy
from clinometer.common.visible import quote
from clinometer.files.atomic import new_file, save_text
from clinometer.files.plain import PlainFile
from clinometer.sources.manifest import FORMAT, VERSION
from clinometer.sources.provenance import as_json
from clinometer.sources.safetensors import Payload, read_header, write_safetensors
from clinometer.sources.tensors import TAGS, Tensor

from .aligned import same_labels
from .schema import Site, byte_view, role
from .shard import digest_of

PAIRS, DIRECTIONS, TEXT = "pairs.safetensors", "directions.safetensors", "text.jsonl"


def pair_tensors(pairs: Any, n_rows: int) -> dict[str, NDArray[Any]]:
    """Pairs as tensors by name: chosen and rejected rows (P,) int64, and others (P, ...)."""
    if isinstance(pairs, Mapping):
        out = dict(carried(pairs, "pairs").columns or {})
    elif is_array(pairs) and (frame := carried(pairs, "pairs").columns) is not None:
        out = {name: column for name, column in frame.items() if name != "prompt_id"}
    else:
        ends, prob = pairs if isinstance(pairs, tuple) and len(pairs) == 2 and np.ndim(pairs[0]) == 2 else (pairs, None)
        same_labels({n: carried(a, n) for n, a in (("pairs", ends), ("prob", prob)) if a is not None})
        ends = as_numpy(ends, "pairs")
        if ends.ndim != 2 or ends.shape[1] != 2:
            raise ValueError(f"pairs has shape {ends.shape}; (P, 2) is wanted")
        out = {"chosen": ends[:, 0], "rejected": ends[:, 1]}
        if prob is not None:
            out["prob"] = as_numpy(prob, "prob")
    if not {"chosen", "rejected"} <= set(out):
        raise ValueError(f"pairs holds {sorted(out)}; chosen and rejected are wanted")
    count = len(out["chosen"])
    for name, array in out.items():
        is_end = name in ("chosen", "rejected")
        if array.ndim < 1 or len(array) != count or (is_end and array.ndim != 1) or array.dtype.str[1:] not in TAGS:
            raise ValueError(
                f"pairs[{quote(name)}] has shape {array.shape} and dtype {array.dtype}; {count} rows wanted"
            )
        if is_end:
            if array.dtype.kind not in "iu":
                raise TypeError(f"pairs[{quote(name)}] has dtype {array.dtype}; row numbers are wanted")
            if count and not 0 <= int(array.min()) <= int(array.max()) < n_rows:
                raise ValueError(f"pairs[{quote(name)}] holds rows outside 0 .. {n_rows - 1}")
            out[name] = array.astype(np.int64)
    return out


def _one(array: NDArray[Any]) -> list[memoryview]:
    return [byte_view(array)]


def write_pairs(folder: str, pairs: Any, n_rows: int) -> str:
    """Write pairs.safetensors: chosen and rejected rows (P,), and prob and others (P, ...)."""
    return save_pairs(folder, PAIRS, pair_tensors(pairs, n_rows))


def save_pairs(folder: str, file: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Write checked pairs under a name."""
    payloads = {}
    for name, array in tensors.items():
        payloads[name] = Payload(TAGS[array.dtype.str[1:]], array.shape, partial(_one, array))
    write_safetensors(os.path.join(folder, file), payloads)
    return file


def write_directions(folder: str, directions: Any, n_rows: int) -> str:
    """Write directions.safetensors."""
    from .directions import Directions

    if not isinstance(directions, Directions):
        raise TypeError(f"directions is a {type(directions).__name__}; Directions are wanted")
    directions.save(os.path.join(folder, DIRECTIONS))
    return DIRECTIONS


def text_lines(texts: Any, first: int = 0) -> Iterator[bytes]:
    """One line of JSON per row; `first` is the row number of the first, for messages."""
    for row, item in enumerate(texts, first):
        if isinstance(item, Mapping) and {"prompt", "response"} <= set(item):
            line = dict(item)
        elif isinstance(item, (tuple, list)) and len(item) == 2:
            line = {"prompt": item[0], "response": item[1]}
        else:
            raise TypeError(
                f"texts[{row}] is neither (prompt, response) nor a mapping of them; a frame's are .to_dict('records')"
            )
        try:
            yield json.dumps(line, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
        except (TypeError, ValueError) as exc:
            raise type(exc)(f"texts[{row}] cannot be written as JSON: {exc}") from exc


def write_text(folder: str, texts: Any, n_rows: int) -> str:
    """Write text.jsonl: one object per row."""
    count = 0
    with new_file(os.path.join(folder, TEXT)) as out:
        for line in text_lines(texts):
            out.write(line)
            count += 1
        if count != n_rows:
            raise ValueError(f"texts has {count} entries; {n_rows} are wanted, one per row")
    return TEXT


def describe(
    sites: Sequence[Site],
    kinds: Mapping[str, str],
    shards: Sequence[Mapping[str, Any]],
    prompt_ids: NDArray[Any] | None,
    *,
    source: Mapping[str, Any],
    sampling: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    files: Mapping[str, str],
) -> dict[str, Any]:
    """The manifest's table; docs/format.md says what each key means."""
    table: dict[str, Any] = {"format": FORMAT, "version": VERSION, "n_rows": sum(s["rows"] for s in shards)}
    table |= {"d": sites[0].dim, "dtype": sites[0].dtype, "tensors": [s.entry() for s in sites]}
    table |= {"shards": [dict(s) for s in shards], "prompt": _prompt_facts(prompt_ids)}
    table["columns"] = [{"name": n, "dtype": kind, "role": role(n)} for n, kind in kinds.items()]
    table |= {"source": dict(source), "sampling": dict(sampling), "preprocessing": dict(preprocessing)}
    return table | {"files": dict(files), "writer": "clinometer"}


def _prompt_facts(ids: NDArray[Any] | None) -> dict[str, Any]:
    if ids is None or not len(ids):
        return {"grouped": True, "n_prompts": 0 if ids is not None else None, "max_responses": 0}
    counts = np.unique(ids, return_counts=True)[1]
    runs = 1 + int(np.count_nonzero(ids[1:] != ids[:-1]))
    return {"grouped": runs == len(counts), "n_prompts": len(counts), "max_responses": int(counts.max())}


def shard_entry(folder: str, file: str, start: int, rows: int, digest: str | bool | None) -> dict[str, Any]:
    """A finished shard's line; digest=True computes it, a string is taken over."""
    path = os.path.join(folder, file)
    entry: dict[str, Any] = {"file": file, "row_start": start, "rows": rows, "bytes": os.stat(path).st_size}
    if digest:
        entry["digest"] = digest_of(path) if digest is True else digest
    return entry


def read_column(folder: str, shards: Sequence[Mapping[str, Any]], name: str, kinds: Mapping[str, str]) -> Any:
    """A column (N,) of finished shards, or None where there is none."""
    if name not in kinds or not shards:
        return None
    parts = [read_header(PlainFile(os.path.join(folder, s["file"])))[0][name] for s in shards]
    return Tensor(name, tuple(parts), text=kinds[name] == "string").read()


def save_manifest(path: str, table: Mapping[str, Any]) -> None:
    """Write a manifest whole."""
    save_text(path, as_json(table, "manifest") + "\n")
