"""The journal of a dump that is being written: what was promised, record by record, each with its checksum."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files.atomic import named

from .shard import pwrite_all

try:
    import fcntl
except ImportError:  # not on this system: two writers of one dump are then not noticed
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal", "Record", "boot"]

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
