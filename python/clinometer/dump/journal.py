"""The journal of a dump that is being written: what was promised, record by record, and what is in of it."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.strings import text_bytes, text_of
from clinometer.common.visible import quote, visible
from clinometer.errors import bad
from clinometer.files.atomic import named
from clinometer.sources.tensors import NUMPY_CODES

from .schema import byte_view, column_tag
from .shard import pwrite_all

try:
    import fcntl
except ImportError:  # not on this system: two writers of one dump are then not noticed
    fcntl = None  # type: ignore[assignment]


_HEAD = struct.Struct("<III")  # bytes of the JSON, bytes after it, CRC-32 of both and of these lengths
_LARGEST = 1 << 31


def boot() -> str | None:
    """What tells this run of the machine from others: rows in its page cache outlive a process, not a restart."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeError):
        return None


@dataclass(frozen=True)
class Record:
    """One record: its JSON object, and where its raw bytes lie in the journal."""

    said: dict[str, Any]
    at: int
    size: int
    end: int


class Journal:
    """An append-only file held under a lock; a torn or damaged tail counts as never written.

    `add` has handed the record to the system when it returns: it survives the death of the process.
    `sync` makes all before it survive a power cut.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        self.end = 0
        try:
            self._lock()
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise bad(self.path, "another writer is at work on this dump or part") from None
        except OSError as exc:
            if exc.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        with named(self.path):
            mine = os.fstat(self.fd).st_ino
        try:
            theirs: int | None = os.stat(self.path).st_ino
        except FileNotFoundError:
            theirs = None
        if mine != theirs:
            raise bad(self.path, "another writer finished this dump at this moment; open it again")

    def records(self) -> Iterator[Record]:
        """The whole records in order; `end` is then where the first torn one begins."""
        with named(self.path):
            size = os.fstat(self.fd).st_size
            self.end = 0
            while self.end + _HEAD.size <= size:
                head = os.pread(self.fd, _HEAD.size, self.end)
                count, raw, check = _HEAD.unpack(head)
                at = self.end + _HEAD.size
                if not 2 <= count < _LARGEST or raw >= _LARGEST or at + count + raw > size:
                    return
                data = os.pread(self.fd, count + raw, at)
                if len(data) != count + raw or zlib.crc32(data, zlib.crc32(head[:8])) != check:
                    return
                try:
                    said = json.loads(data[:count])
                except ValueError:
                    return
                if not isinstance(said, dict):
                    return
                self.end = at + count + raw
                yield Record(said, at + count, raw, self.end)

    def read(self, record: Record) -> bytes:
        """The raw bytes of a record."""
        with named(self.path):
            data = os.pread(self.fd, record.size, record.at)
        if len(data) != record.size:
            raise bad(self.path, f"{record.size} bytes wanted, {len(data)} are there", offset=record.at)
        return data

    def cut(self, end: int) -> None:
        """Forget what follows byte `end`."""
        with named(self.path):
            os.ftruncate(self.fd, end)
        self.end = end

    def add(self, said: dict[str, Any], raw: bytes = b"") -> Record:
        """Append a record; after a failure the next one takes its place."""
        text = json.dumps(said, separators=(",", ":"), allow_nan=False).encode("ascii")
        if len(text) >= _LARGEST or len(raw) >= _LARGEST:
            raise ValueError(f"an append of {len(text) + len(raw)} bytes beside phi is too large; append fewer rows")
        head = struct.pack("<II", len(text), len(raw))
        data = head + struct.pack("<I", zlib.crc32(text + raw, zlib.crc32(head))) + text + raw
        with named(self.path):
            pwrite_all(self.fd, data, self.end)
        self.end += len(data)
        return Record(said, self.end - len(raw), len(raw), self.end)

    def sync(self) -> None:
        """Force the records to the disk."""
        with named(self.path):
            os.fsync(self.fd)

    def close(self) -> None:
        """Let go of file and lock."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __repr__(self) -> str:
        return f"Journal({quote(self.path)}, {self.end} bytes)"


FORMAT, VERSION = "clinometer-journal", 1


@dataclass
class State:
    """What is in: rows, bytes of text, the columns' kinds, pairs, digests of finished shards."""

    n_rows: int = 0
    text_end: int = 0
    kinds: dict[str, str] | None = None
    texts: bool | None = None
    appends: list[tuple[int, Record]] = field(default_factory=list)
    pairs: list[Record] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Go on by one record."""
        said = record.said
        if "rows" in said:
            if self.kinds is None:
                self.kinds, self.texts = said["columns"], said["texts"]
            self.appends.append((self.n_rows, record))
            self.n_rows, self.text_end = self.n_rows + said["rows"], said["text"]
        elif "pairs" in said:
            self.pairs.append(record)
        elif "digest" in said:
            self.digests[said["shard"]] = said["digest"]

    @property
    def n_pairs(self) -> int:
        return sum(int(next(iter(r.said["pairs"].values()))[1][0]) for r in self.pairs)

    @property
    def pair_kinds(self) -> dict[str, list[Any]] | None:
        """Dtype and shape behind the first axis of every tensor of the pairs."""
        return (
            {n: [code, shape[1:]] for n, (code, shape) in self.pairs[0].said["pairs"].items()} if self.pairs else None
        )


def replay(journal: Journal, settings: Mapping[str, Any]) -> State:
    """The state that the journal holds, after comparing the settings; a new journal gets them.

    Records of this run of the machine count whole: their bytes lie in the page cache at least. After a
    restart only what was synced counts, and the rest is cut off.
    """
    records = list(journal.records())
    if not records or records[0].said.get("format") != FORMAT:
        if records:
            raise bad(journal.path, "is not a journal of clinometer")
        journal.cut(0)
        journal.add({"format": FORMAT, "version": VERSION, "settings": settings})
        kept = []
    else:
        first = records[0].said
        if first.get("version") != VERSION:
            raise bad(journal.path, f"is a journal of version {quote(first.get('version'))}; {VERSION} is wanted")
        check_settings(journal.path, first["settings"], settings)
        kept = records[1:]
        boots = [r.said["boot"] for r in kept if "boot" in r.said]
        if not boots or boots[-1] is None or boots[-1] != boot():
            synced = [k for k, r in enumerate(kept) if "synced" in r.said]
            kept = kept[: synced[-1] + 1] if synced else []
        journal.cut(kept[-1].end if kept else records[0].end)
    journal.add({"boot": boot()})
    state = State()
    for record in kept:
        state.take(record)
    return state


def check_settings(path: str, held: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise the DumpError that names every setting which is not what the unfinished or finished dump has."""
    wrong = [entry for key in given for entry in _differing(key, held.get(key), given[key])]
    if wrong:
        shown = "; ".join(f"{key} is {_shown(given)}, there it is {_shown(held)}" for key, held, given in wrong)
        raise bad(path, f"was written with other settings: {shown}; write to another path, or remove this one")


def _shown(setting: Any) -> str:
    return quote(setting, 200) if isinstance(setting, str) else visible(f"{setting!r:.200}")


def _differing(key: str, held: Any, given: Any) -> Iterator[tuple[str, Any, Any]]:
    """What differs, by its name inside mappings as well."""
    if isinstance(held, Mapping) and isinstance(given, Mapping):
        for inner in {**held, **given}:
            yield from _differing(f"{key}[{inner!r}]", held.get(inner), given.get(inner))
    elif held != given:
        yield key, held, given


def pack_columns(columns: Mapping[str, NDArray[Any]], kinds: Mapping[str, str]) -> tuple[dict[str, int], bytes]:
    """The columns of an append as raw bytes in the order of `kinds`, and the widths of strings."""
    widths, pieces = {}, []
    for name, kind in kinds.items():
        column = columns[name]
        if kind == "string":
            column = text_bytes(column)
            widths[name] = column.shape[1]
        pieces.append(byte_view(column))
    return widths, b"".join(pieces)


def load_columns(journal: Journal, state: State, first: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The columns of every append as they were, from row `first` on."""
    assert state.kinds is not None or not state.appends
    for start, record in state.appends:
        rows = record.said["rows"]
        if start + rows <= first:
            continue
        raw, at, out = journal.read(record), 0, {}
        for name, kind in (state.kinds or {}).items():
            code = NUMPY_CODES[column_tag(kind)]
            width = record.said["widths"].get(name, 0)
            count = rows * (width or 1)
            column = np.frombuffer(raw, code, count, at)
            at += count * np.dtype(code).itemsize
            out[name] = text_of(column.reshape(rows, width)) if width else column
            out[name] = out[name][max(0, first - start) :]
        yield out


def cut_text(path: str, end: int) -> int:
    """Open the growing text for writing behind byte `end`, where the rows that are in end; the descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        with named(path):
            if os.fstat(fd).st_size < end:
                raise bad(path, f"ends before byte {end}, where the journal says that the texts of its rows end")
            os.ftruncate(fd, end)
    except BaseException:
        os.close(fd)
        raise
    return fd


def load_pairs(journal: Journal, state: State) -> dict[str, NDArray[Any]]:
    """All pairs that were appended, in order."""
    out: dict[str, list[NDArray[Any]]] = {n: [] for n in state.pair_kinds or {}}
    for record in state.pairs:
        raw, at = journal.read(record), 0
        for name, (code, shape) in record.said["pairs"].items():
            size = int(np.prod(shape)) * np.dtype(code).itemsize
            out[name].append(np.frombuffer(raw[at : at + size], code).reshape(shape))
            at += size
    return {n: np.concatenate(pieces) for n, pieces in out.items()}
