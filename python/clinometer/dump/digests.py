"""Whether the shards of a dump still have the bytes that were written."""

from __future__ import annotations

import os

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files.folders import inside
from clinometer.sources import manifest

from .shard import digest_of

__all__ = ["check_digests"]


def check_digests(path: str | os.PathLike[str]) -> int:
    """Compare every shard with the SHA-256 that its manifest states.

    Parameters
    ----------
    path : path
        A dump's folder, written with ``digests=True``.

    Returns
    -------
    int
        Shards compared; 0 where the manifest states no digest. A difference is a DumpError that names the
        file. Cost: one read of the dump.

    >>> import numpy as np, os, tempfile
    >>> from clinometer.dump import check_digests, write_dump
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_dump(os.path.join(folder, "d"), np.ones((4, 2)), shard_rows=2, digests=True)
    ...     check_digests(os.path.join(folder, "d"))
    2
    """
    folder = os.path.realpath(os.fspath(path))
    where = os.path.join(folder, manifest.NAME)
    table = manifest.load(where)
    manifest.read_table(folder, where, table)
    count = 0
    for k, shard in enumerate(table["shards"]):
        stated = shard.get("digest")
        if stated is None:
            continue
        file = inside(folder, shard["file"], f"shards[{k}].file", where)
        if not isinstance(stated, str) or not stated.startswith("sha256:"):
            raise bad(where, f"{quote(stated)} is not a digest of the form sha256:<hex>", f"shards[{k}].digest")
        if digest_of(file) != stated.lower():
            raise bad(file, f"its bytes are not those of the digest that the manifest states, {quote(stated)}")
        count += 1
    return count
