"""DumpWriter: rows appended batch by batch, kept through kills, finished as a dump."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.strings import is_text
from clinometer.common.options import one_by_one
from clinometer.common.visible import quote
from clinometer.errors import DumpError
from clinometer.files.atomic import sync_folder
from clinometer.sources import manifest
from clinometer.sources.provenance import as_policy, as_preprocessing, as_sampling, as_source

from . import merged_parts
from .aligned import check_features
from .blocks import as_blocks
from .carried_over import check_order, check_said, opened, with_batch
from .dump import Dump
from .journal import check_settings
from .schema import ROW_TAGS, Site, as_columns, as_site, column_kind, column_tag
from .sidecars import describe, pair_tensors, read_column, save_manifest, text_lines
from .writer import as_shard_rows
from .writer_rows import Growing, Names, check_folder


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
    n_pairs : int
        Pairs that are in.
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
    full disk or another OSError stopped is closed; opening it again goes on. Threads may share a writer: their calls
    wait for each other. A second writer of the same path or part is refused while one is open. Leaving a ``with``
    block by an exception keeps the rows for the next writer; leaving it normally finishes the dump.

    Errors: other settings than the folder's, damaged or lost files and a second writer are a `DumpError`; a wrong
    setting or batch is a ValueError or TypeError that leaves the writer as it was; an OSError has its path.

    Cost: one write of phi, and a record of the journal for each append. Columns of the shard in progress are kept in
    memory. benchmarks/writer_speed.py compares with a copy of the same bytes.

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
        self._directions = directions
        told = {"tensors": [s.entry() for s in self._sites], **self._said, "part": self._part}
        settings = shown_settings(told) | {
            "columns": self._declared, "shard_rows": self._step, "directions": print_of(directions),
            "digests": bool(digests),
        }  # fmt: skip
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))  # lists for tuples, as a file has them
        self._sync = bool(sync)
        self._lock = threading.RLock()
        self.path = os.path.realpath(os.fspath(path))
        self._names = Names(self.path, self._part[0] if self._part else None)
        self._growing: Growing | None = None
        self._features: tuple[str, ...] | None = None  # of the frames so far
        self.n_rows, self.n_pairs, self.finished = 0, 0, False
        if not os.path.lexists(self.path):
            os.makedirs(self.path, exist_ok=True)  # another part may begin at this moment
            sync_folder(os.path.dirname(self.path))
        check_folder(self.path, self._names.part)
        if not self._find_finished():
            self._growing = Growing(self._names, self._sites, self._step, self._declared, bool(digests), self._settings)
            self._count(self._growing)

    def _find_finished(self) -> bool:
        """Whether this part, or the whole, is there already, of the same settings as far as files show them."""
        for path in (self._names.done, os.path.join(self.path, manifest.NAME)):
            if os.path.lexists(path):
                table = manifest.load(path)
                if table.get("format") == merged_parts.FORMAT:
                    table["format"] = manifest.FORMAT
                manifest.read_table(self.path, path, table)  # a whole dump, not only one that says so
                held = shown_settings(table)
                if path != self._names.done:
                    del held["part"]  # merged
                check_settings(path, held, {key: self._settings[key] for key in held})
                self.n_rows, self.finished = int(table["n_rows"]), True
                self._names.clean()
                return True
        return False

    def _count(self, growing: Growing) -> None:
        self.n_rows, self.n_pairs = growing.n_rows, growing.state.n_pairs

    def append(self, phi: Any, prompt_ids: Any = None, *, texts: Any = None, **columns: Any) -> int:
        """Add rows; when this returns they survive the end of the process.

        Parameters
        ----------
        phi : array (m, d), or mapping of them with the keys of dim
            Of any library, or a Dump, which brings its ids, columns, texts and pairs. Frames have their columns in one
            order; their names are kept where the writer has source={"features": [...]}.
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
        one_by_one(columns, "append")
        with self._lock:
            return self._append(phi, prompt_ids, texts, columns)

    def _append(self, phi: Any, prompt_ids: Any, texts: Any, columns: dict[str, Any]) -> int:
        growing = self._writable()
        phi = opened(phi)
        check_said(phi, self._said)
        names = phi.features if isinstance(phi, Dump) else None
        check_features(names, self._features, "phi")
        blocks = as_blocks(phi, self._dtypes)
        check_order(phi, blocks[0].n_rows, prompt_ids, columns)
        prompt_ids, texts, columns = with_batch(phi, prompt_ids, texts, columns)
        for block, site in zip(blocks, self._sites, strict=True):
            if block.site != site:
                raise ValueError(f"{quote(site.name)} has rows of width {block.site.dim}; {site.dim} is wanted")
        count = blocks[0].n_rows
        given = as_columns(columns, prompt_ids, count, {s.name for s in self._sites})
        kinds, held = self._matched(given, growing)
        lines = None if texts is None else list(text_lines(texts))
        if lines is not None and len(lines) != count:
            raise ValueError(f"texts has {len(lines)} entries; {count} are wanted, one per row")
        if growing.state.texts is not None and growing.state.texts != (lines is not None):
            raise ValueError("texts is given for some batches only; every row or none has a text")
        if count:
            with self._guarded(growing):
                before = growing.n_rows
                growing.add_rows(blocks, kinds, held, lines)
                if isinstance(phi, Dump) and phi.pairs is not None:
                    ends = {n: a + before if n in ("chosen", "rejected") else a for n, a in phi.pairs.items()}
                    growing.add_pairs(pair_tensors(ends, growing.n_rows))
                if self._sync:
                    growing.flush()
            self._features = self._features or names
        return self.n_rows

    def append_pairs(self, pairs: Any) -> None:
        """Add preference pairs of rows that are in, in any form that `write_dump` takes; kept like rows.

        Row numbers are this writer's own; `merge` shifts those of parts.
        """
        with self._lock:
            growing = self._writable()
            tensors = pair_tensors(pairs, self.n_rows)
            kinds, before = {n: [a.dtype.str, list(a.shape[1:])] for n, a in tensors.items()}, growing.state.pair_kinds
            if before not in (None, kinds):
                raise ValueError(f"pairs holds {quote(kinds)}; {quote(before)} is wanted, as before")
            with self._guarded(growing):
                growing.add_pairs(tensors)

    def flush(self) -> None:
        """Force all that is in to the disk: it then survives a power cut and a restart."""
        with self._lock:
            growing = self._writable()
            with self._guarded(growing):
                growing.flush()

    def close(self) -> None:
        """Finish the dump: the last shard, texts, pairs, directions, and the manifest at last."""
        with self._lock:
            if not self.finished:
                self._finish()

    def _finish(self) -> None:
        growing = self._writable()
        with self._guarded(growing):
            shards, files = growing.finish(self._directions)
            ids = read_column(self.path, shards, "prompt_id", growing.kinds)
            table = describe(self._sites, growing.kinds, shards, ids, **self._said, files=files)
            if self._part is not None:
                table |= {"format": merged_parts.FORMAT, "part": list(self._part)}
            save_manifest(self._names.done, table)
            self.finished = True
            self._names.clean()
        self.release()

    def release(self) -> None:
        """Let go of files and lock without finishing; what is in stays in, for the next writer."""
        if not hasattr(self, "_growing"):
            return  # of a writer that could not be made
        with self._lock:
            growing, self._growing = self._growing, None
            if growing is not None:
                growing.release()

    __del__ = release

    def __enter__(self) -> DumpWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.release()

    @staticmethod
    def merge(path: str | os.PathLike[str]) -> None:
        """Make one dump of the finished parts of n writers, in the order of their numbers.

        A part that is missing or unfinished, parts of different settings, shards that no part knows and
        rows that share prompt_id and response_id (where there is such a column) are a DumpError. Phi is not
        copied; texts are. Safe to repeat after a kill.
        """
        merged_parts.merge(os.path.realpath(os.fspath(path)))

    def _writable(self) -> Growing:
        if self.finished:
            raise ValueError(f"path {quote(self.path, 400)} is a finished dump of {self.n_rows} rows")
        if self._growing is None:
            raise ValueError("the writer is closed; open it again to go on after the rows that are in")
        return self._growing

    @contextlib.contextmanager
    def _guarded(self, growing: Growing) -> Iterator[None]:
        """After a failure the files decide what is in, not this object: it is closed, to be opened again."""
        try:
            yield
        except ValueError as exc:  # a row that the dtype does not hold: nothing of the batch is in
            if isinstance(exc, DumpError):
                self.release()
            elif growing.state.kinds is None:
                growing.forget_shards()  # their headers may have other columns at the next try
            raise
        except BaseException:
            self.release()
            raise
        finally:
            self._count(growing)

    def _matched(
        self, given: dict[str, NDArray[Any]], growing: Growing
    ) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
        """Columns as the dtypes of the dump, in its order."""
        kinds = growing.state.kinds
        if kinds is None:
            kinds = self._declared | {n: column_kind(c) for n, c in given.items() if n not in self._declared}
        if missing := sorted(set(kinds) - set(given)):
            raise ValueError(f"columns {quote(missing)} are missing from this batch")
        if new := sorted(set(given) - set(kinds)):
            raise ValueError(f"columns {quote(new)} were not in the batches before")
        return kinds, {n: cast(given[n], kinds[n], n, rounds=n in self._declared) for n in kinds}


_MOST_PARTS = 100_000


def as_sites(dim: Any, dtype: Any) -> tuple[list[Site], Any]:
    """The tensors of phi, and the dtype argument with plain keys."""
    keys = list(dim) if isinstance(dim, Mapping) else [None]
    if isinstance(dtype, Mapping) and (not isinstance(dim, Mapping) or set(dtype) != set(dim)):
        raise ValueError(f"dtype has the keys {quote(list(dtype))}; those of dim are wanted")
    if not keys:
        raise ValueError("dim is an empty mapping; at least one tensor is wanted")
    out = []
    for key in keys:
        width = dim if key is None else dim[key]
        kind = dtype[key] if isinstance(dtype, Mapping) else dtype
        if isinstance(width, bool) or not isinstance(width, (int, np.integer)) or width < 1:
            raise ValueError(f"dim is {quote(width)}; a positive integer is wanted")
        if not isinstance(kind, str) or kind not in ROW_TAGS:
            raise ValueError(f"dtype is {quote(kind)}; one of {', '.join(ROW_TAGS)} is wanted")
        out.append(as_site(key, int(width), kind))
    if len({s.name for s in out}) != len(out):
        raise ValueError("dim names a tensor twice")
    return out, ({k: s.dtype for k, s in zip(keys, out, strict=True)} if isinstance(dim, Mapping) else out[0].dtype)


def as_declared(columns: Any, taken: set[str]) -> dict[str, str]:
    """Columns whose dtype is stated beforehand."""
    if columns is not None and not isinstance(columns, Mapping):
        raise TypeError(f"columns is a {type(columns).__name__}; a mapping of names to dtypes is wanted")
    out = {}
    for name, kind in (columns or {}).items():
        if not isinstance(name, str) or not name or name == "__metadata__" or name in taken:
            raise ValueError(f"columns has the key {quote(name)}, which is no free name")
        try:
            kind = "string" if kind in (str, "str", "string") else np.dtype(kind).name
            column_tag(kind)
        except (TypeError, KeyError):
            raise ValueError(
                f"columns[{quote(name)}] is {quote(kind)}; a dtype of numbers or 'string' is wanted"
            ) from None
        if name == "prompt_id" and kind not in ("int64", "uint64", "string"):
            raise ValueError(f"columns['prompt_id'] is {quote(kind)}; int64, uint64 or string is wanted")
        out[name] = kind
    return out


def as_part(part: Any) -> tuple[int, int] | None:
    """(i, n) with 0 <= i < n."""
    if part is None:
        return None
    good = isinstance(part, (tuple, list)) and len(part) == 2 and all(type(x) is int for x in part)
    if not good or not 0 <= part[0] < part[1] <= _MOST_PARTS:
        raise ValueError(f"part is {quote(part)}; (i, n) with 0 <= i < n <= {_MOST_PARTS} is wanted")
    return int(part[0]), int(part[1])


def cast(column: NDArray[Any], kind: str, name: str, *, rounds: bool) -> NDArray[Any]:
    """A batch of a column in the dtype of the dump; values it cannot hold are refused, floats rounded if asked."""
    if (kind == "string") != is_text(column.dtype):
        raise TypeError(f"columns[{quote(name)}] has dtype {column.dtype}; {kind} is wanted, as in the batches before")
    if kind == "string" or column.dtype == kind:
        return column
    with np.errstate(all="ignore"):
        out = column.astype(kind)
    if rounds and column.dtype.kind == out.dtype.kind == "f":
        return out
    same = (out == column) | ((out != out) & (column != column))
    if not same.all() or (column.dtype.kind in "iu" and (out.astype(column.dtype) != column).any()):
        row = int(np.argmin(same))
        raise ValueError(
            f"columns[{quote(name)}] holds {column[row]} at row {row}, which {kind} does not hold; "
            "columns={name: dtype} states a wider dtype beforehand"
        )
    return out


def print_of(directions: Any) -> str | None:
    """What tells directions from others, for the settings."""
    from .directions import Directions

    if directions is None:
        return None
    if not isinstance(directions, Directions):
        raise TypeError(f"directions is a {type(directions).__name__}; Directions are wanted")
    said = json.dumps([directions.names, directions.roles, directions.source, str(directions.vectors.dtype)])
    return hashlib.sha256(said.encode() + directions.vectors.tobytes()).hexdigest()


def shown_settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a manifest shows, under the names of the arguments."""
    only = [{"name": "phi", "d": table.get("d"), "dtype": table.get("dtype")}]
    tensors, sampling = table.get("tensors") or only, dict(table.get("sampling") or {})
    return {
        "dim": {t["name"]: t["d"] for t in tensors}, "dtype": {t["name"]: t["dtype"] for t in tensors},
        "source": table.get("source") or {}, "policy": sampling.pop("policy", None), "sampling": sampling,
        "preprocessing": table.get("preprocessing") or {}, "part": table.get("part"),
    }  # fmt: skip
