"""One dump from the finished parts of several writers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files.atomic import new_file, sync_folder
from clinometer.files.folders import inside
from clinometer.files.plain import PlainFile
from clinometer.sources import manifest
from clinometer.sources.safetensors import read_header

from .journal import check_settings
from .schema import Site
from .sidecars import PAIRS, TEXT, describe, read_column, save_manifest, save_pairs
from .writer_rows import Names

FORMAT = "clinometer-dump-part"
_PART = re.compile(r"part-([0-9]{5})\.json\Z")
_SHARD = re.compile(r"phi-[0-9]{5}-[0-9]{5,}\.safetensors(\.part|\.tmp)?\Z")
_SAME = ("tensors", "columns", "source", "sampling", "preprocessing")
_PIECE = 8 << 20


def merge(folder: str) -> None:
    """See `DumpWriter.merge`."""
    path = os.path.join(folder, manifest.NAME)
    if not os.path.lexists(path):
        tables = _load_parts(folder)
        table = _joined(folder, tables)
        manifest.read_table(folder, path, table)  # every shard is there and as wide, long and large as its part says
        save_manifest(path, table)
    elif not manifest.is_manifest(path):
        raise bad(path, "is not a manifest of clinometer")
    _clean(folder)


def _load_parts(folder: str) -> list[dict[str, Any]]:
    found = sorted(int(m[1]) for m in map(_PART.match, os.listdir(folder)) if m)
    if not found:
        raise bad(folder, "has no finished part; every writer writes part-<i>.json when it is closed")
    tables = []
    for i in found:
        path = Names(folder, i).done
        table = manifest.load(path)
        if table.get("format") != FORMAT or table.get("version") != manifest.VERSION:
            raise bad(path, f"is not a part of format {FORMAT}, version {manifest.VERSION}", "format")
        tables.append(table)
    count, lead = tables[0].get("part", [0, 0])[1], _lead(tables)
    for i, table in zip(found, tables, strict=True):
        same = {key: lead[key] for key in _SAME if key != "columns" or table["n_rows"]}
        check_settings(Names(folder, i).done, table, {"part": [i, count], **same})
    missing = sorted(set(range(count)) - set(found))
    if missing:
        begun = os.path.lexists(Names(folder, missing[0]).journal)
        state = "is not finished: open its writer again" if begun else "is missing"
        raise bad(folder, f"part {missing[0]} of {count} {state} ({len(missing)} of {count} are not there)")
    return tables


def _lead(tables: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A part that knows its columns: the first one with rows."""
    return next((t for t in tables if t["n_rows"]), tables[0])


def _joined(folder: str, tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shards, starts = _joined_shards(folder, tables)
    first = _lead(tables)
    kinds = {c["name"]: c["dtype"] for c in first["columns"]}
    ids = read_column(folder, shards, "prompt_id", kinds)
    if ids is not None and "response_id" in kinds:
        _refuse_twins(folder, ids, read_column(folder, shards, "response_id", kinds))
    sites = [Site(t["name"], t["d"], t["dtype"], t["layer"]) for t in first["tensors"]]
    said = {key: first[key] for key in ("source", "sampling", "preprocessing")}
    return describe(sites, kinds, shards, ids, **said, files=_joined_files(folder, tables, starts))


def _joined_shards(folder: str, tables: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[int]]:
    shards: list[dict[str, Any]] = []
    starts, at = [], 0
    for table in tables:
        starts.append(at)
        # a part without rows has one empty shard; it is only kept where there is nothing else
        for shard in table["shards"] if table["n_rows"] else []:
            shards.append({**shard, "row_start": at})
            at += shard["rows"]
    if not shards:
        shards = [dict(tables[0]["shards"][0])]
    known = {s["file"] for t in tables for s in t["shards"]}
    stray = sorted(n for n in os.listdir(folder) if _SHARD.match(n) and n not in known)
    if stray:
        raise bad(os.path.join(folder, stray[0]), "is a shard that no part names; its rows would be lost: remove it")
    return shards, starts


def _refuse_twins(folder: str, ids: NDArray[Any], responses: NDArray[Any]) -> None:
    order = np.lexsort((responses, ids))
    same = (ids[order][1:] == ids[order][:-1]) & (responses[order][1:] == responses[order][:-1])
    if same.any():
        a, b = sorted(order[np.flatnonzero(same)[0] :][:2].tolist())
        what = f"prompt {quote(ids[a])}, response {quote(responses[a])}"
        raise bad(folder, f"rows {a} and {b} are both {what}: a part was written twice")


def _joined_files(folder: str, tables: Sequence[Mapping[str, Any]], starts: Sequence[int]) -> dict[str, str]:
    files: dict[str, str] = {}
    held = [(i, t["files"], start) for i, (t, start) in enumerate(zip(tables, starts, strict=True)) if t["n_rows"]]
    with_text = [f for _, f, _ in held if "text" in f]
    if with_text:
        if len(with_text) != len(held):
            raise bad(folder, "some parts have texts and others do not")
        with new_file(os.path.join(folder, TEXT)) as out:
            for i, f, _ in held:
                file = PlainFile(inside(folder, f["text"], "files.text", Names(folder, i).done))
                for at in range(0, file.size, _PIECE):
                    out.write(file.read(at, min(_PIECE, file.size - at)))
        files["text"] = TEXT
    pairs: dict[str, list[NDArray[Any]]] = {}
    for i, f, start in held:
        if "pairs" in f:
            parts, _ = read_header(PlainFile(inside(folder, f["pairs"], "files.pairs", Names(folder, i).done)))
            if pairs and set(parts) != set(pairs):
                raise bad(folder, f"the pairs of part {i} hold {quote(sorted(parts))}, others {quote(sorted(pairs))}")
            for name, part in parts.items():
                shift = start if name in ("chosen", "rejected") else 0
                pairs.setdefault(name, []).append(part.read() + shift if shift else part.read())
    if pairs:
        files["pairs"] = save_pairs(folder, PAIRS, {n: np.concatenate(a) for n, a in pairs.items()})
    if any("directions" in t["files"] for t in tables):
        files["directions"] = _one_of(folder, {json.dumps(t["files"].get("directions")) for t in tables})
    return files


def _one_of(folder: str, said: set[str]) -> str:
    if len(said) > 1:
        raise bad(folder, "some parts have directions and others do not")
    return str(json.loads(said.pop()))


def _clean(folder: str) -> None:
    """Remove what the parts had beside their shards; the parts themselves last."""
    Names(folder).sweep()
    named = {s["file"] for s in manifest.load(os.path.join(folder, manifest.NAME))["shards"]}
    found = sorted(int(m[1]) for m in map(_PART.match, os.listdir(folder)) if m)
    for i in found:
        names = Names(folder, i)
        names.clean()
        empty = [os.path.join(folder, n) for n in names.own_shards() if n not in named]
        for path in (*empty, names.text, names.pairs):
            if os.path.lexists(path):
                os.unlink(path)
    for i in found:
        os.unlink(Names(folder, i).done)
    sync_folder(folder)
