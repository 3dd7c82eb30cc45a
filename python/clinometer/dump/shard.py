"""A shard file while it grows, phi in its final place at once, columns and header at the end; and whether finished ones
still have the bytes that were written."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from clinometer.arrays.strings import text_bytes
from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files.atomic import begin_writing, named, sync_folder
from clinometer.files.folders import inside
from clinometer.sources import manifest
from clinometer.sources.safetensors import header_of, room_of

from .schema import ROW_TAGS, Site, byte_view, column_tag

PART = ".part"
_PIECE = 8 << 20
_BEGIN = 4 << 20  # bytes placed before the system is told that it may begin to write them
_PAGE = 1 << 16  # no smaller than a page anywhere


def shard_name(k: int, part: int | None = None) -> str:
    """The file of shard k, of one writer's part where several write."""
    return f"phi-{k:05d}.safetensors" if part is None else f"phi-{part:05d}-{k:05d}.safetensors"


def pwrite_all(fd: int, data: Any, at: int) -> None:
    """Write all bytes at an offset; the system may take fewer at once."""
    view = memoryview(data)
    while len(view):
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done


def digest_of(path: str) -> str:
    """ "sha256:<hex>" of a file's bytes."""
    digest = hashlib.sha256()
    with named(path), open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return "sha256:" + digest.hexdigest()


class Shard:
    """Rows of one shard in `<file>.part`, renamed to `<file>` when it is whole.

    The room for the header depends on names and dtypes alone, and tensors of phi lie where `capacity` rows
    put them. So a full shard, or any shard with one tensor, is finished in place; only a short one
    with several tensors is copied. The bytes of a finished shard do not depend on how its rows came.
    """

    def __init__(self, folder: str, file: str, sites: Sequence[Site], columns: Mapping[str, str], capacity: int):
        self.path = os.path.join(folder, file)
        self.part = self.path + PART
        self.sites, self.columns, self.capacity = tuple(sites), dict(columns), capacity
        tags = {s.name: (ROW_TAGS[s.dtype], 2) for s in sites}
        tags |= {name: (column_tag(kind), 2 if kind == "string" else 1) for name, kind in columns.items()}
        self.room = room_of(tags)
        self.places = self._places(capacity)
        self.begun: dict[str, int] = {}
        self.fd = -1

    def _places(self, rows: int) -> dict[str, int]:
        out, at = {}, self.room
        for site in self.sites:
            out[site.name] = at
            at += rows * site.row_bytes
        return out

    def open(self) -> None:
        """Open the growing file, or make it."""
        if self.fd < 0:
            self.fd = os.open(self.part, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)

    def place(self, site: Site, row: int, data: memoryview) -> None:
        """Write bytes of whole rows that begin at `row` of this shard."""
        self.open()
        at = self.places[site.name] + row * site.row_bytes
        with named(self.part):
            pwrite_all(self.fd, data, at)
        begun, end = self.begun.setdefault(site.name, at), at + len(data)
        if end - begun >= _BEGIN:
            self.begun[site.name] = end - end % _PAGE  # the page that goes on with the next rows is left alone
            begin_writing(self.fd, begun, self.begun[site.name])

    def sync(self) -> None:
        """Force what was placed to the disk."""
        self.open()
        with named(self.part):
            os.fsync(self.fd)

    def close(self) -> None:
        """Let go of the file; what was placed stays."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def finish(self, rows: int, columns: Mapping[str, NDArray[Any]], *, keep: bool = False) -> None:
        """Add columns and header, force all to the disk and give the file its name.

        `keep` leaves a growing file that had to be copied, so that more rows can follow if the dump is not
        closed after all.
        """
        self.open()
        if rows == self.capacity or len(self.sites) == 1:
            with named(self.part):
                self._complete(self.fd, rows, columns)
            os.rename(self.part, self.path)
        else:
            self._copy(rows, columns)
            if not keep:
                os.unlink(self.part)
        self.close()
        sync_folder(os.path.dirname(self.path))

    def _copy(self, rows: int, columns: Mapping[str, NDArray[Any]]) -> None:
        temporary = self.path + ".tmp"
        try:
            with named(self.path):
                fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o666)
                try:
                    to = self._places(rows)
                    for site in self.sites:
                        size = rows * site.row_bytes
                        for at in range(0, size, _PIECE):
                            piece = os.pread(self.fd, min(_PIECE, size - at), self.places[site.name] + at)
                            pwrite_all(fd, piece, to[site.name] + at)
                    self._complete(fd, rows, columns)
                finally:
                    os.close(fd)
            os.rename(temporary, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _complete(self, fd: int, rows: int, columns: Mapping[str, NDArray[Any]]) -> None:
        tensors: dict[str, tuple[str, tuple[int, ...]]] = {
            s.name: (ROW_TAGS[s.dtype], (rows, s.dim)) for s in self.sites
        }
        at = self.room + sum(rows * s.row_bytes for s in self.sites)
        # widest items first, so that they stay aligned; strings last
        numbers = sorted((n for n in columns if self.columns[n] != "string"), key=lambda n: -columns[n].dtype.itemsize)
        for name in numbers + [n for n in columns if self.columns[n] == "string"]:
            column = text_bytes(columns[name]) if self.columns[name] == "string" else columns[name]
            tensors[name] = (column_tag(self.columns[name]), column.shape)
            data = byte_view(column)
            pwrite_all(fd, data, at)
            at += len(data)
        header, size = header_of(tensors, room=self.room)
        assert self.room + size == at
        pwrite_all(fd, header, 0)
        os.ftruncate(fd, at)
        os.fsync(fd)


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
