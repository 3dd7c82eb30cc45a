"""One Arrow or Parquet file as pyarrow reads it: its schema, its rows, and its columns from any row on."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from clinometer.common.visible import quote
from clinometer.errors import DumpError, bad
from clinometer.files.plain import PlainFile

from .arrow_ends import check_end, check_footer, check_parquet


def pyarrow_for(path: str) -> Any:
    """The module, with parquet; an ImportError names the extra and the file that wants it."""
    try:
        for name in ("pyarrow.parquet", "pyarrow.compute"):
            importlib.import_module(name)
        return importlib.import_module("pyarrow")
    except ImportError as exc:
        raise ImportError(f"{quote(path, 400)}: reading it needs pyarrow: pip install 'clinometer[arrow]'") from exc


class Refusal:
    """Turns what pyarrow raises over a broken file into a DumpError with its path."""

    def __init__(self, pa: Any, path: str) -> None:
        self.pa, self.path = pa, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, exc: BaseException | None, trace: Any) -> None:
        broken = (self.pa.ArrowException, OSError, EOFError, KeyError, IndexError, OverflowError, UnicodeError)
        if isinstance(exc, broken) and not isinstance(exc, DumpError):
            raise bad(self.path, f"pyarrow cannot read it ({exc})") from exc


class Shard:
    """One file: its schema, how many rows it has, and its record batches from any row on."""

    def __init__(self, pa: Any, file: PlainFile) -> None:
        self.pa, self.file = pa, file
        self.parquet = file.name.endswith(".parquet")
        self.batches: list[Any] = []
        self.mapped = not self.parquet and not file.remote
        if self.parquet:
            check_parquet(file)
            reader = self._parquet()
            self.schema, meta = reader.schema_arrow, reader.metadata
            sizes = [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
        else:
            self.schema, batches = self._batches()
            if self.mapped:
                self.batches = [b for b in batches if b.num_rows]
                sizes = [b.num_rows for b in self.batches]
            else:
                sizes = [b.num_rows for b in batches]
        if min(sizes, default=0) < 0:
            raise bad(file.path, f"claims {min(sizes)} rows", "row group")
        self.starts = [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
        self.n_rows = self.starts.pop()

    def _source(self) -> Any:
        if self.file.remote:
            return self.pa.PythonFile(self.file.open(), mode="r")  # type: ignore[attr-defined]
        return self.pa.BufferReader(self.pa.py_buffer(self.file.map()[0]))

    def _parquet(self) -> Any:
        return self.pa.parquet.ParquetFile(self._source(), memory_map=False, pre_buffer=False)

    def _batches(self) -> tuple[Any, Iterator[Any]]:
        """The schema and the batches; the file format is the stream format between two magics and a footer."""
        source = self._source()
        magic = self.file.read(0, min(6, self.file.size))
        if magic[:4] == b"FEA1":
            raise bad(
                self.file.path, "is Feather version 1; write it anew with version 2, which is an Arrow file", "magic"
            )
        if magic != b"ARROW1":
            reader = self.pa.ipc.open_stream(source)
            return reader.schema, self._checked(reader, lambda: check_end(self.file, source.tell()))
        listed = self.pa.ipc.open_file(source)
        source.seek(8)
        begin = None  # some writers leave parts of the schema out where a stream begins: the footer has it
        with contextlib.suppress(self.pa.ArrowInvalid, OSError):
            streamed = self.pa.ipc.open_stream(source).schema
            begin = source.tell()
            if streamed != listed.schema:
                raise bad(self.file.path, "has another schema than the file begins with", "footer")
        check_footer(self.file, begin)
        return listed.schema, self._checked(map(listed.get_batch, range(listed.num_record_batches)))

    def _checked(self, batches: Iterable[Any], end: Callable[[], None] = lambda: None) -> Iterator[Any]:
        """Batches whose buffers are as long as their rows need; `end` looks at what is behind the last one."""
        for k, batch in enumerate(batches):
            if batch.num_rows < 0:
                raise bad(self.file.path, f"claims {batch.num_rows} rows", f"batch {k}")
            batch.validate()
            yield batch
        end()

    def columns(self, name: str, k: int = 0, rows: int = 1 << 16) -> Iterator[Any]:
        """The chunks of a column from row group or batch k on, of at most about `rows` rows."""
        with Refusal(self.pa, self.file.path):
            if self.parquet:
                groups = list(range(k, len(self.starts)))
                for batch in self._parquet().iter_batches(rows, row_groups=groups, columns=[name]):
                    yield batch.column(0)
            elif self.mapped:
                for batch in self.batches[k:]:
                    yield batch.column(self.schema.get_field_index(name))
            else:
                for at, batch in enumerate(self._batches()[1]):
                    if at >= k:
                        yield batch.column(self.schema.get_field_index(name))
