"""DumpWriter: rows appended batch by batch, kept through kills, finished as a dump."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DumpError
from . import manifest, parts
from .atomic import named, sync_folder
from .blocks import Block, as_blocks
from .describe import describe, read_column, save_manifest, shard_entry
from .files import PlainFile, bad, quote
from .journal import Journal
from .provenance import as_policy, as_preprocessing, as_sampling, as_source
from .safetensors import read_header
from .schema import as_columns, column_kind
from .settings import as_declared, as_part, as_sites, cast, print_of, shown_settings
from .shard import PART, Shard, digest_of, pwrite_all
from .sidecars import pair_tensors, save_pairs, text_lines, write_directions
from .unfinished import (
    Names,
    State,
    check_folder,
    check_settings,
    cut_text,
    load_columns,
    load_pairs,
    pack_columns,
    replay,
)
from .writer import as_shard_rows

__all__ = ["DumpWriter"]


class DumpWriter:
    """Write a dump batch by batch; a killed writer opened again goes on after the last append that returned.

    Parameters
    ----------
    path : path
        The dump's folder: new, empty, or holding what an earlier writer of the same settings left.
    dim : int, or mapping {layer or name: int}
        Width d of phi; a mapping writes several tensors, phi_L<layer> each.
    dtype : "float16" | "bfloat16" | "float32" | "float64", or mapping with the keys of dim
        What is stored; other floats are rounded to nearest even, overflow raises. uint16 for "bfloat16" is
        taken as bit patterns, torch bfloat16 as it is.
    source, policy, sampling, preprocessing
        As in `write_dump`.
    columns : mapping {name: dtype}, optional
        Dtypes of columns ("float32", "int64", "string", ...). Default: as they come first. Later batches must have
        the same columns, and values that the dtype holds; floats are rounded to a dtype named here.
    directions : Directions, optional
        Saved beside the rows.
    shard_rows : int, optional
        Rows of a shard. Default: about 2 GiB, at most 2^20 rows.
    part : (i, n), optional
        This is writer i of n that write to one dump at once; `DumpWriter.merge` then makes it whole.
    digests : bool
        As in `write_dump`.
    sync : bool
        Whether every append is forced to the disk.

    Attributes
    ----------
    n_rows : int
        Rows that are in: begin the next batch there. Always a border between appends.
    finished : bool
        Whether the dump (or part) was closed; nothing can be appended then.

    Notes
    -----
    What survives what:

    - when `append` returns, its rows with columns and texts survive the end of the process, kill -9 included: they
      have been handed to the system and a checksummed record of the journal says so. An append that did not return
      is in whole or not at all;
    - when `flush`, or an append with ``sync=True``, returns, all rows survive a power cut or restart too. A full
      shard is flushed by the next call after it. After a restart of the machine rows that were appended but
      not flushed are dropped, and n_rows says so;
    - `manifest.json` appears last and at once: a folder is an unfinished dump or a whole one.

    The finished bytes depend on the rows and settings alone, not on batches, kills or flushes. A writer that a
    full disk or another OSError stopped is closed; opening it again goes on. One thread at a time; a second writer
    of the same path or part is refused while one is open. Leaving a ``with`` block by an exception keeps the
    rows for the next writer; leaving it normally finishes the dump.

    Cost: one write of phi. Columns of the shard in progress are kept in memory.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> from clinometer.dump import DumpWriter, open_dump
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "d")
    ...     try:
    ...         with DumpWriter(path, dim=2, dtype="float16") as out:
    ...             _ = out.append(np.ones((3, 2), "f4"), [7, 7, 7], helpful=[0.5, 1, 0])
    ...             raise KeyboardInterrupt
    ...     except KeyboardInterrupt:
    ...         pass
    ...     with DumpWriter(path, dim=2, dtype="float16") as out:
    ...         begin = out.n_rows
    ...         _ = out.append(np.zeros((1, 2), "f4"), [8], helpful=[0.25])
    ...     begin, open_dump(path).column("helpful").tolist()
    (3, [0.5, 1.0, 0.0, 0.25])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        dim: int | Mapping[Any, int],
        dtype: str | Mapping[Any, str],
        source: Mapping[str, Any] | None = None,
        policy: str | None = None,
        sampling: Mapping[str, Any] | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        directions: Any = None,
        shard_rows: int | None = None,
        part: tuple[int, int] | None = None,
        digests: bool = False,
        sync: bool = False,
    ) -> None:
        self._sites, self._dtypes = as_sites(dim, dtype)
        self._step = as_shard_rows(shard_rows, self._sites)
        self._declared = as_declared(columns, {s.name for s in self._sites})
        self._said: dict[str, Any] = {
            "source": as_source(source), "sampling": as_sampling(sampling, as_policy(policy)),
            "preprocessing": as_preprocessing(preprocessing),
        }  # fmt: skip
        self._part = as_part(part)
        self._directions, self._digests, self._sync = directions, bool(digests), bool(sync)
        told = {"tensors": [s.entry() for s in self._sites], **self._said, "part": self._part}
        settings = shown_settings(told) | {
            "columns": self._declared, "shard_rows": self._step, "directions": print_of(directions),
            "digests": self._digests,
        }  # fmt: skip
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))  # lists for tuples, as a file has them
        self.path = os.path.realpath(os.fspath(path))
        self._names = Names(self.path, self._part[0] if self._part else None)
        self.n_rows, self.finished = 0, False
        self._state = State()
        self._journal: Journal | None = None
        self._shards: dict[int, Shard] = {}
        self._text = -1
        if not os.path.lexists(self.path):
            os.makedirs(self.path)
            sync_folder(os.path.dirname(self.path))
        check_folder(self.path, self._names.part)
        if not self._find_finished():
            self._begin()

    # Opening

    def _find_finished(self) -> bool:
        """Whether this part, or the whole, is there already, of the same settings as far as files show them."""
        for path in (self._names.done, os.path.join(self.path, manifest.NAME)):
            if os.path.lexists(path):
                table = manifest.load(path)
                if table.get("format") not in (manifest.FORMAT, parts.FORMAT):
                    raise bad(path, "is not a manifest of clinometer", "format")
                held = shown_settings(table)
                if path != self._names.done:
                    del held["part"]  # merged
                check_settings(path, held, {key: self._settings[key] for key in held})
                self.n_rows, self.finished = int(table["n_rows"]), True
                self._names.clean()
                return True
        return False

    def _begin(self) -> None:
        self._journal = Journal(self._names.journal)
        try:
            if os.path.lexists(self._names.done):
                raise bad(self._names.done, "another writer finished this dump at this moment; open it again")
            self._state = replay(self._journal, self._settings)
            self.n_rows = self._state.n_rows
            self._names.sweep()
            self._first = self._restore_shards()
            self._held: dict[str, list[NDArray[Any]]] = {n: [] for n in self._state.kinds or {}}
            for columns in load_columns(self._journal, self._state, self._first * self._step):
                for name, column in columns.items():
                    self._held[name].append(column)
            if os.path.lexists(self._names.text) and not os.path.lexists(self._names.text + PART):
                os.rename(self._names.text, self._names.text + PART)  # a close that did not come to its end
            if self._state.texts:
                self._text = cut_text(self._names.text + PART, self._state.text_end)
        except BaseException:
            self._release()
            raise

    def _restore_shards(self) -> int:
        """Bring shard files in line with the rows that are in; the number of the first unfinished shard."""
        full, rest = divmod(self.n_rows, self._step)
        wanted = [self._names.shard(k) for k in range(full + bool(rest))]
        for name in set(self._names.own_shards()) - set(wanted) - {n + PART for n in wanted}:
            path = os.path.join(self.path, name)
            if not name.endswith(PART) and read_header(PlainFile(path))[0][self._sites[0].name].shape[0]:
                raise bad(path, "is a shard of which the journal knows nothing; remove it or choose another path")
            os.unlink(path)  # of an append that did not return, or without rows
        first = full
        for k, name in enumerate(wanted):
            path = os.path.join(self.path, name)
            whole, growing = os.path.lexists(path), os.path.lexists(path + PART)
            if not whole and not growing:
                raise bad(path, f"is gone, and rows from {k * self._step} on with it; remove the dump and begin anew")
            if not whole:
                first = min(first, k)
            elif k == full and growing:
                os.unlink(path)  # the copy that a close made which did not come to its end
            elif k == full:
                os.rename(path, path + PART)
        return first

    # Writing

    def append(self, phi: Any, prompt_ids: Any = None, *, texts: Any = None, **columns: Any) -> int:
        """Add rows; when this returns they survive the end of the process.

        Parameters
        ----------
        phi : array (m, d), or mapping of them with the keys of dim
            NumPy, torch on the CPU, DLPack.
        prompt_ids : array (m,), optional
            Integers or strings; the rows of a prompt may come in several batches.
        texts : sequence of m (prompt, response) or {"prompt", "response"}, optional
            In every batch or in none.
        **columns : arrays (m,)
            Names that are no identifiers go as ``**{"judge/kind": scores}``.

        Returns
        -------
        int
            Rows that are in now.
        """
        journal = self._writable()
        blocks = as_blocks(phi, self._dtypes)
        for block, site in zip(blocks, self._sites, strict=True):
            if block.site != site:
                raise ValueError(f"{quote(site.name)} has rows of width {block.site.dim}; {site.dim} is wanted")
        count = blocks[0].n_rows
        given = as_columns(columns, prompt_ids, count, {s.name for s in self._sites})
        kinds, held = self._matched(given)
        lines = None if texts is None else list(text_lines(texts))
        if lines is not None and len(lines) != count:
            raise ValueError(f"texts has {len(lines)} entries; {count} are wanted, one per row")
        if self._state.texts is not None and self._state.texts != (lines is not None):
            raise ValueError("texts is given for some batches only; every row or none has a text")
        if not count:
            return self.n_rows
        widths, raw = pack_columns(held, kinds)
        with self._guarded():
            self._finish_full()
            self._place(blocks, kinds, count)
            said = {"rows": count, "text": self._add_text(lines), "widths": widths}
            if self._state.kinds is None:
                said |= {"columns": kinds, "texts": lines is not None}
            self._state.take(journal.add(said, raw))
            self.n_rows = self._state.n_rows
            for name, column in held.items():
                self._held.setdefault(name, []).append(np.array(column))  # the caller may use its memory again
            if self._sync:
                self.flush()
        return self.n_rows

    def append_pairs(self, pairs: Any) -> None:
        """Add preference pairs of rows that are in, in any form that `write_dump` takes; kept like rows.

        Row numbers are this writer's own; `merge` shifts those of parts.
        """
        journal = self._writable()
        tensors = pair_tensors(pairs, self.n_rows)
        kinds = {n: [a.dtype.str, list(a.shape[1:])] for n, a in tensors.items()}
        if self._state.pair_kinds not in (None, kinds):
            raise ValueError(f"pairs holds {quote(kinds)}; {quote(self._state.pair_kinds)} is wanted, as before")
        said = {n: [a.dtype.str, list(a.shape)] for n, a in tensors.items()}
        with self._guarded():
            record = journal.add({"pairs": said}, b"".join(np.ascontiguousarray(a).tobytes() for a in tensors.values()))
            self._state.pairs.append(record)

    def flush(self) -> None:
        """Force all that is in to the disk: it then survives a power cut and a restart."""
        journal = self._writable()
        with self._guarded():
            for shard in self._shards.values():
                shard.sync()
            if self._text >= 0:
                with named(self._names.text + PART):
                    os.fsync(self._text)
            sync_folder(self.path)
            journal.add({"synced": True})
            journal.sync()

    def close(self) -> None:
        """Finish the dump: the last shard, texts, pairs, directions, and the manifest at last."""
        if self.finished:
            return
        journal = self._writable()
        with self._guarded():
            self._finish_full()
            rest = self.n_rows - self._first * self._step
            if rest or not self.n_rows:
                self._finish(self._first, rest)
            files = self._finish_sidecars(journal)
            self._save(files)
            self.finished = True
            self._names.clean()
        self._release()

    def __enter__(self) -> DumpWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._release()

    @property
    def n_pairs(self) -> int:
        """Pairs that are in."""
        return sum(int(next(iter(r.said["pairs"].values()))[1][0]) for r in self._state.pairs)

    @staticmethod
    def merge(path: str | os.PathLike[str]) -> None:
        """Make one dump of the finished parts of n writers, in the order of their numbers.

        A part that is missing or unfinished, parts of different settings, shards that no part knows and
        rows that share prompt_id and response_id (where there is such a column) are a DumpError. Phi is not
        copied; texts are. Safe to repeat after a kill.
        """
        parts.merge(os.path.realpath(os.fspath(path)))

    # Inside

    def _writable(self) -> Journal:
        if self.finished:
            raise ValueError(f"path {quote(self.path, 400)} is a finished dump of {self.n_rows} rows")
        if self._journal is None:
            raise ValueError("the writer is closed; open it again to go on after the rows that are in")
        return self._journal

    def _release(self) -> None:
        """Let go of all files; what is in stays in."""
        self._drop_shards()
        if self._text >= 0:
            fd, self._text = self._text, -1
            os.close(fd)
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """After a failure the files decide what is in, not this object: it is closed, to be opened again."""
        try:
            yield
        except ValueError as exc:  # a row that the dtype does not hold: nothing of the batch is in
            if isinstance(exc, DumpError):
                self._release()
            elif self._state.kinds is None:
                self._drop_shards()
            raise
        except BaseException:
            self._release()
            raise

    def _matched(self, given: dict[str, NDArray[Any]]) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
        """Columns as the dtypes of the dump, in its order."""
        kinds = self._state.kinds
        if kinds is None:
            kinds = self._declared | {n: column_kind(c) for n, c in given.items() if n not in self._declared}
        if missing := sorted(set(kinds) - set(given)):
            raise ValueError(f"columns {quote(missing)} are missing from this batch")
        if new := sorted(set(given) - set(kinds)):
            raise ValueError(f"columns {quote(new)} were not in the batches before")
        return kinds, {n: cast(given[n], kinds[n], n, rounds=n in self._declared) for n in kinds}

    def _shard(self, k: int, kinds: Mapping[str, str]) -> Shard:
        if k not in self._shards:
            self._shards[k] = Shard(self.path, self._names.shard(k), self._sites, kinds, self._step)
        return self._shards[k]

    def _drop_shards(self) -> None:
        for shard in self._shards.values():
            shard.close()
        self._shards = {}

    def _place(self, blocks: list[Block], kinds: Mapping[str, str], count: int) -> None:
        for k in range(self.n_rows // self._step, (self.n_rows + count - 1) // self._step + 1):
            begin = k * self._step - self.n_rows
            for block in blocks:
                for row, data in block.pieces(max(begin, 0), min(begin + self._step, count)):
                    self._shard(k, kinds).place(block.site, row - begin, data)

    def _add_text(self, lines: list[bytes] | None) -> int:
        """Write texts behind those that are in; where they end."""
        if lines is None:
            return self._state.text_end
        if self._text < 0:
            self._text = cut_text(self._names.text + PART, self._state.text_end)
        data = b"".join(lines)
        with named(self._names.text + PART):
            pwrite_all(self._text, data, self._state.text_end)
        return self._state.text_end + len(data)

    def _finish_full(self) -> None:
        begun = self._first
        while self.n_rows - self._first * self._step >= self._step:
            self._finish(self._first, self._step)
            self._first += 1
        if self._first > begun:
            self.flush()

    def _finish(self, k: int, rows: int) -> None:
        kinds = self._kinds
        whole = {n: np.concatenate(self._held.get(n) or [np.zeros(0, _empty(kind))]) for n, kind in kinds.items()}
        self._shard(k, kinds).finish(rows, {n: c[:rows] for n, c in whole.items()}, keep=True)
        del self._shards[k]
        self._held = {n: [c[rows:].copy()] for n, c in whole.items()}
        if self._digests and self._journal is not None:
            path = os.path.join(self.path, self._names.shard(k))
            self._state.take(self._journal.add({"shard": k, "digest": digest_of(path)}))

    @property
    def _kinds(self) -> dict[str, str]:
        return self._declared if self._state.kinds is None else self._state.kinds

    def _finish_sidecars(self, journal: Journal) -> dict[str, str]:
        files = {}
        if self._state.pairs:
            file = os.path.basename(self._names.path("pairs", ".safetensors"))
            files["pairs"] = save_pairs(self.path, file, load_pairs(journal, self._state))
        if self._directions is not None:
            files["directions"] = write_directions(self.path, self._directions, self.n_rows)
        if self._state.texts:
            with named(self._names.text):
                os.fsync(self._text)
                os.rename(self._names.text + PART, self._names.text)
            files["text"] = os.path.basename(self._names.text)
        return files

    def _save(self, files: Mapping[str, str]) -> None:
        shards = []
        for k, start in enumerate(range(0, max(self.n_rows, 1), self._step)):
            digest = self._state.digests.get(k, self._digests)
            rows = min(self._step, self.n_rows - start)
            shards.append(shard_entry(self.path, self._names.shard(k), start, rows, digest))
        ids = read_column(self.path, shards, "prompt_id", self._kinds)
        table = describe(self._sites, self._kinds, shards, ids, **self._said, files=files)
        if self._part is not None:
            table |= {"format": parts.FORMAT, "part": list(self._part)}
        save_manifest(self._names.done, table)


def _empty(kind: str) -> str:
    return "U1" if kind == "string" else kind
