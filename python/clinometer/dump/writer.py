"""write_dump: rows, columns and their manifest as a folder of safetensors shards, in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from clinometer.common.visible import quote
from clinometer.files.atomic import new_folder
from clinometer.sources import manifest
from clinometer.sources.provenance import as_policy, as_preprocessing, as_sampling, as_source

from .blocks import as_blocks
from .carried_over import brought, check_order, check_responses, opened, rows_of
from .opening import given_columns
from .schema import ROW_TAGS, Site, as_columns, column_kind
from .shard import Shard, shard_name
from .sidecars import describe, save_manifest, shard_entry, write_directions, write_pairs, write_text

_SHARD_BYTES = 2 << 30
_SHARD_ROWS = 1 << 20


def write_dump(
    path: str | os.PathLike[str],
    phi: Any,
    *,
    prompt_ids: Any = None,
    columns: Any = None,
    source: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    shard_rows: int | None = None,
    policy: str | None = None,
    sampling: Mapping[str, Any] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    pairs: Any = None,
    directions: Any = None,
    texts: Any = None,
    digests: bool = False,
) -> None:
    """Write a dump's folder: shards first, the manifest last, and the whole renamed into place.

    Rows that come one batch at a time, or that must outlive a kill, go through `DumpWriter`; the bytes are the
    same.

    Parameters
    ----------
    path : path
        The folder; an existing dump or an empty folder is replaced, anything else is refused.
    phi : array (N, d), Dump, or mapping of them
        {layer: array} is written as tensors phi_L<layer>, {name: array} under the names. uint16 with
        dtype="bfloat16" is taken as bit patterns. A Dump brings its ids, columns, source, policy, pairs, directions
        and texts; what is given beside it wins, and what cannot be kept is warned of.
    prompt_ids : array (N,), optional
        Integers or strings.
    columns : mapping of arrays (N,), or a frame, optional
        Numbers, booleans or strings; dtypes are kept. An index or ids that they carry must be those of the rows.
    source : mapping, optional
        model, revision, layer, layer_convention, hook, position, padding_side, drops, chat_template_digest
        (docs/format.md), and anything else that JSON holds.
    dtype : "float16" | "bfloat16" | "float32" | "float64", optional
        Stored dtype, rounded to nearest even; a finite value beyond its range raises. Default: as given.
    shard_rows : int, optional
        Rows of a shard. Default: about 2 GiB, at most 2^20 rows.
    policy : "on_policy" | "off_policy", optional
        Who wrote the responses.
    sampling, preprocessing : mapping, optional
        temperature, top_p, logprob ("sum" | "mean"); centered, whitened, stats_file; and others.
    pairs : array (P, 2), (array, prob (P,)), or mapping with chosen and rejected, optional
        Rows of one prompt, the preferred one first.
    directions : Directions, optional
        Saved beside the rows.
    texts : sequence of (prompt, response) or {"prompt", "response"}, optional
        One per row, for `Dump.texts`.
    digests : bool
        Whether the manifest states the SHA-256 of every shard (read back once), for `check_digests`.

    Cost: one write of phi, O(batch) memory.
    Errors: ValueError for a folder that holds something else, numbers beyond the dtype, or lengths that differ;
    OSError as the system gives it.

    >>> import numpy as np, tempfile, os
    >>> from clinometer.dump import open_dump, write_dump
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_dump(os.path.join(folder, "d"), {8: np.ones((3, 2), "f4"), 9: np.zeros((3, 2), "f4")})
    ...     open_dump(os.path.join(folder, "d"), layer=9).read(0, 1).tolist()
    [[0.0, 0.0]]
    """
    target = os.path.realpath(os.fspath(path))
    _check_target(target)
    if dtype is not None and dtype not in ROW_TAGS:
        raise ValueError(f"dtype is {quote(dtype)}; one of {', '.join(ROW_TAGS)} or None is wanted")
    phi = opened(phi)
    blocks = as_blocks(rows_of(phi), dtype)
    sites, n_rows = [b.site for b in blocks], blocks[0].n_rows
    if columns is not None and not isinstance(columns, Mapping):
        columns = given_columns(columns, n_rows)
        check_responses(phi, columns, n_rows)
    check_order(phi, n_rows, prompt_ids, columns or {}, pairs)
    held = brought(phi, {
        "prompt_ids": prompt_ids, "columns": columns, "source": source, "policy": policy, "sampling": sampling,
        "preprocessing": preprocessing, "pairs": pairs, "directions": directions, "texts": texts,
    })  # fmt: skip
    step = as_shard_rows(shard_rows, sites)
    by_row = as_columns(held["columns"], held["prompt_ids"], n_rows, {s.name for s in sites})
    kinds = {name: column_kind(column) for name, column in by_row.items()}
    said = {
        "source": as_source(held["source"]), "sampling": as_sampling(held["sampling"], as_policy(held["policy"])),
        "preprocessing": as_preprocessing(held["preprocessing"]),
    }  # fmt: skip
    with new_folder(target) as folder:
        shards = []
        for k, start in enumerate(range(0, max(n_rows, 1), step)):
            stop = min(start + step, n_rows)
            shard = Shard(folder, shard_name(k), sites, kinds, stop - start)
            try:
                for block in blocks:
                    for row, data in block.pieces(start, stop):
                        shard.place(block.site, row - start, data)
                shard.finish(stop - start, {n: c[start:stop] for n, c in by_row.items()})
            finally:
                shard.close()
            shards.append(shard_entry(folder, shard_name(k), start, stop - start, digests))
        files = {}
        for name, value, write in (
            ("pairs", held["pairs"], write_pairs), ("directions", held["directions"], write_directions),
            ("text", held["texts"], write_text),
        ):  # fmt: skip
            if value is not None:
                files[name] = write(folder, value, n_rows)
        table = describe(sites, kinds, shards, by_row.get("prompt_id"), **said, files=files)
        save_manifest(os.path.join(folder, manifest.NAME), table)


def as_shard_rows(shard_rows: Any, sites: list[Site]) -> int:
    """Rows of a shard, as asked for or by the widths."""
    if shard_rows is None:
        return max(1, min(_SHARD_ROWS, _SHARD_BYTES // sum(s.row_bytes for s in sites)))
    if isinstance(shard_rows, bool) or int(shard_rows) != shard_rows or shard_rows < 1:
        raise ValueError(f"shard_rows is {shard_rows!r}; a positive integer is wanted")
    return int(shard_rows)


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
