"""The rows, columns, texts and pairs of a dump that grows, and their files: where they go, whose they are, and what a
new writer finds of them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.strings import joined
from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files.atomic import named, sync_folder
from clinometer.files.plain import PlainFile
from clinometer.sources import manifest
from clinometer.sources.safetensors import read_header

from .blocks import Block
from .journal import Journal, cut_text, load_columns, load_pairs, pack_columns, replay
from .schema import Site
from .shard import PART, Shard, digest_of, pwrite_all, shard_name
from .sidecars import DIRECTIONS, TEXT, save_pairs, shard_entry, write_directions


class Growing:
    """An unfinished dump, held under its journal's lock. After an OSError it must be released and made anew.

    Rows go to the shards first and are in once the journal has their record. The columns of shards that are
    not finished stay in memory. A full shard is finished before the next rows are placed, so that an error
    there concerns no row of the caller's.
    """

    def __init__(
        self,
        names: Names,
        sites: Sequence[Site],
        step: int,
        declared: Mapping[str, str],
        digests: bool,
        settings: Mapping[str, Any],
    ) -> None:
        self.names, self.sites, self.step, self.declared = names, sites, step, dict(declared)
        self.digests = digests
        self.shards: dict[int, Shard] = {}
        self.text = -1
        self.journal = Journal(names.journal)
        try:
            if os.path.lexists(names.done):
                raise bad(names.done, "another writer finished this dump at this moment; open it again")
            self.state = replay(self.journal, settings)
            names.sweep()
            self.first = self._restore_shards()
            self.held: dict[str, list[NDArray[Any]]] = {n: [] for n in self.kinds}
            for columns in load_columns(self.journal, self.state, self.first * step):
                for name, column in columns.items():
                    self.held[name].append(column)
            self._restore_text()
        except BaseException:
            self.release()
            raise

    @property
    def n_rows(self) -> int:
        return self.state.n_rows

    @property
    def kinds(self) -> dict[str, str]:
        """Dtypes of the columns, as far as they are settled."""
        return self.declared if self.state.kinds is None else self.state.kinds

    def _path(self, k: int) -> str:
        return os.path.join(self.names.folder, self.names.shard(k))

    def _restore_shards(self) -> int:
        """Bring shard files in line with the rows that are in; the number of the first unfinished shard."""
        full, rest = divmod(self.n_rows, self.step)
        wanted = {self.names.shard(k) for k in range(full + bool(rest))}
        for name in set(self.names.own_shards()) - wanted - {n + PART for n in wanted}:
            path = os.path.join(self.names.folder, name)
            if not name.endswith(PART) and read_header(PlainFile(path))[0][self.sites[0].name].shape[0]:
                raise bad(path, "is a shard of which the journal knows nothing; remove it or choose another path")
            os.unlink(path)  # of an append that did not return, or without rows
        first = full
        for k in range(full + bool(rest)):
            path = self._path(k)
            whole, growing = os.path.lexists(path), os.path.lexists(path + PART)
            if not whole and not growing:
                raise bad(path, f"is gone, and rows from {k * self.step} on with it; remove the dump and begin anew")
            if not whole:
                first = min(first, k)
            elif k == full and growing:
                os.unlink(path)  # the copy that a close made which did not come to its end
            elif k == full:
                os.rename(path, path + PART)
        return first

    def _restore_text(self) -> None:
        path = self.names.text
        if os.path.lexists(path) and not os.path.lexists(path + PART):
            os.rename(path, path + PART)  # a close that did not come to its end
        if self.state.texts:
            self.text = cut_text(path + PART, self.state.text_end)

    def add_rows(
        self, blocks: list[Block], kinds: dict[str, str], columns: Mapping[str, NDArray[Any]], lines: list[bytes] | None
    ) -> None:
        """Append rows; they are in when this returns."""
        widths, raw = pack_columns(columns, kinds)
        self._finish_full()
        self._place(blocks, kinds)
        said = {"rows": blocks[0].n_rows, "text": self._add_text(lines), "widths": widths}
        if self.state.kinds is None:
            said |= {"columns": kinds, "texts": lines is not None}
        self.state.take(self.journal.add(said, raw))
        self.state.appends.clear()  # only a writer that begins reads them back
        for name, column in columns.items():
            self.held.setdefault(name, []).append(np.array(column))  # the caller may use its memory again

    def _place(self, blocks: list[Block], kinds: Mapping[str, str]) -> None:
        last = (self.n_rows + blocks[0].n_rows - 1) // self.step
        for k in range(self.n_rows // self.step, last + 1):
            shard = self._shard(k, kinds)
            begin = k * self.step - self.n_rows
            for block in blocks:
                for row, data in block.pieces(max(begin, 0), min(begin + self.step, block.n_rows)):
                    shard.place(block.site, row - begin, data)
            if k < last:
                shard.close()  # full: one descriptor is enough for an append over many shards

    def _shard(self, k: int, kinds: Mapping[str, str]) -> Shard:
        if k not in self.shards:
            self.shards[k] = Shard(self.names.folder, self.names.shard(k), self.sites, kinds, self.step)
        return self.shards[k]

    def _add_text(self, lines: list[bytes] | None) -> int:
        """Write texts behind those that are in; where they end."""
        if lines is None:
            return self.state.text_end
        path = self.names.text + PART
        if self.text < 0:
            self.text = cut_text(path, self.state.text_end)
        data = b"".join(lines)
        with named(path):
            pwrite_all(self.text, data, self.state.text_end)
        return self.state.text_end + len(data)

    def add_pairs(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Append checked pairs."""
        said = {n: [a.dtype.str, list(a.shape)] for n, a in tensors.items()}
        raw = b"".join(np.ascontiguousarray(a).tobytes() for a in tensors.values())
        self.state.take(self.journal.add({"pairs": said}, raw))

    def flush(self) -> None:
        """Force all that is in to the disk, and say so in the journal."""
        for shard in self.shards.values():
            shard.sync()
        if self.text >= 0:
            with named(self.names.text + PART):
                os.fsync(self.text)
        sync_folder(self.names.folder)
        self.journal.add({"synced": True})
        self.journal.sync()

    def _finish_full(self) -> None:
        if self.n_rows - self.first * self.step >= self.step:
            self.flush()  # a shard under its own name may only hold rows that the journal on the disk knows
        while self.n_rows - self.first * self.step >= self.step:
            self._finish(self.first, self.step)
            self.first += 1

    def _finish(self, k: int, rows: int) -> None:
        whole = {n: joined(self.held.get(n) or [_nothing(kind)]) for n, kind in self.kinds.items()}
        self._shard(k, self.kinds).finish(rows, {n: c[:rows] for n, c in whole.items()}, keep=True)
        del self.shards[k]
        self.held = {n: [c[rows:].copy()] for n, c in whole.items()}
        if self.digests:
            self.state.take(self.journal.add({"shard": k, "digest": digest_of(self._path(k))}))

    def finish(self, directions: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Finish shards and what lies beside them; their lines of the manifest."""
        self.flush()
        self._finish_full()
        rest = self.n_rows - self.first * self.step
        if rest or not self.n_rows:
            self._finish(self.first, rest)
        files = {}
        if self.state.pairs:
            file = os.path.basename(self.names.pairs)
            files["pairs"] = save_pairs(self.names.folder, file, load_pairs(self.journal, self.state))
        if directions is not None:
            files["directions"] = write_directions(self.names.folder, directions, self.n_rows)
        if self.state.texts:
            with named(self.names.text):
                os.fsync(self.text)
            os.rename(self.names.text + PART, self.names.text)
            files["text"] = os.path.basename(self.names.text)
        shards = []
        for k, start in enumerate(range(0, max(self.n_rows, 1), self.step)):
            digest = self.state.digests.get(k, self.digests)
            rows = min(self.step, self.n_rows - start)
            shards.append(shard_entry(self.names.folder, self.names.shard(k), start, rows, digest))
        return shards, files

    def forget_shards(self) -> None:
        """Let go of growing shards; those of rows that are in are opened again when needed."""
        for shard in self.shards.values():
            shard.close()
        self.shards = {}

    def release(self) -> None:
        """Let go of all files and of the lock; what is in stays in."""
        self.forget_shards()
        if self.text >= 0:
            fd, self.text = self.text, -1
            os.close(fd)
        self.journal.close()


def _nothing(kind: str) -> NDArray[Any]:
    return np.zeros(0, "U1" if kind == "string" else kind)


_HALF = re.compile(r"\.(.+)\.[0-9]+\.[0-9a-f]{8}\.tmp\Z")
_OURS = re.compile(
    r"(manifest|part-[0-9]{5})\.json\Z|journal(-[0-9]{5})?\.part\Z|text(-[0-9]{5})?\.jsonl(\.part)?\Z|"
    r"(pairs(-[0-9]{5})?|directions)\.safetensors\Z|phi-([0-9]{5}-)?[0-9]{5,}\.safetensors(\.part|\.tmp)?\Z"
)


@dataclass(frozen=True)
class Names:
    """Where one writer's files lie: a whole dump, or part i of several."""

    folder: str
    part: int | None = None

    @property
    def tag(self) -> str:
        return "" if self.part is None else f"-{self.part:05d}"

    def path(self, stem: str, suffix: str = "") -> str:
        """<folder>/<stem>[-<part>]<suffix>."""
        return os.path.join(self.folder, f"{stem}{self.tag}{suffix}")

    @property
    def journal(self) -> str:
        return self.path("journal", PART)

    @property
    def text(self) -> str:
        return self.path("text", ".jsonl")

    @property
    def pairs(self) -> str:
        return self.path("pairs", ".safetensors")

    @property
    def done(self) -> str:
        """The file that says that this writer is through."""
        return os.path.join(self.folder, manifest.NAME) if self.part is None else self.path("part", ".json")

    def shard(self, k: int) -> str:
        return shard_name(k, self.part)

    def own_shards(self) -> list[str]:
        """Files of the folder that are shards of this writer, growing ones too."""
        middle = "" if self.part is None else rf"{self.part:05d}-"
        mine = re.compile(rf"phi-{middle}[0-9]{{5,}}\.safetensors({PART}|\.tmp)?\Z")
        return sorted(n for n in os.listdir(self.folder) if mine.match(n))

    def sweep(self) -> None:
        """Remove the halves of small files that a kill left under temporary names."""
        own = {os.path.basename(p) for p in (self.done, self.pairs)}
        own |= {DIRECTIONS, TEXT} if self.part is None else set()
        for name in os.listdir(self.folder):
            half = _HALF.match(name)
            if (half and half[1] in own) or (name.endswith(".tmp") and name in self.own_shards()):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.folder, name))

    def clean(self) -> None:
        """Remove what only an unfinished dump needs; the journal last, so that a kill leaves a cleaner to come."""
        self.sweep()
        grown = [os.path.join(self.folder, n) for n in self.own_shards() if n.endswith(PART)]
        for path in (*grown, self.text + PART, self.journal):
            with contextlib.suppress(FileNotFoundError):  # another that looked in may be cleaning too
                os.unlink(path)
        sync_folder(self.folder)


def check_folder(folder: str, part: int | None) -> None:
    """Refuse a folder with other files than a dump that is being written has, or of the other way to write."""
    if not os.path.isdir(folder):
        raise ValueError(f"path {quote(folder, 400)} exists and is not a folder")
    names = os.listdir(folder)
    for name in names:
        half = _HALF.match(name)
        if not _OURS.match(half[1] if half else name):
            raise ValueError(f"path {quote(folder, 400)} holds {quote(name)}, which is no file of a dump")
    alone = os.path.basename(Names(folder).journal)
    others = [n for n in names if n.startswith("journal-") or n.startswith("part-")]
    if part is None and others and manifest.NAME not in names:
        raise ValueError(
            f"path {quote(folder, 400)} holds parts of several writers ({quote(min(others))}); part= is wanted"
        )
    if part is not None and alone in names:
        raise ValueError(f"path {quote(folder, 400)} is written by one writer without part=")
