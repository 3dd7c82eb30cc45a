"""The manifest of a dump that has been written, made from its parts and put in place last."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.files.atomic import save_text
from clinometer.files.plain import PlainFile
from clinometer.sources.manifest import FORMAT, VERSION
from clinometer.sources.provenance import as_json
from clinometer.sources.safetensors import read_header
from clinometer.sources.tensors import Tensor

from .schema import Site, role
from .shard import digest_of

__all__ = ["describe", "read_column", "save_manifest", "shard_entry"]


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
