"""Plain files only: opened without blocking, read with checked sizes, mapped, watched for change."""

from __future__ import annotations

import errno
import importlib
import os
import stat
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DumpChangedError, DumpError

__all__ = ["REFUSED", "MappedLike", "PlainFile", "bad", "map_file", "quote"]

REFUSED = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR,
    errno.ENXIO, errno.EINVAL, errno.ENODEV,
}  # fmt: skip
_READ_AT_ONCE = 1 << 30
_FLAGS = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # those that the system has
    _FLAGS |= getattr(os, _flag, 0)


class MappedLike(Protocol):
    """A mapped file: `check` raises DumpChangedError when the file is no longer the one mapped."""

    def check(self) -> None: ...


def quote(text: object, limit: int = 80) -> str:
    """Show a name or path from outside: control and direction marks escaped, long ones cut."""
    shown = str(text)
    return repr(shown if len(shown) <= limit else shown[:limit] + "...")


def bad(path: str, what: str, field: str | None = None, offset: int | None = None) -> DumpError:
    """The DumpError that names file, field and byte offset."""
    where = quote(path, 400)
    if field is not None:
        where += f", {field}"
    if offset is not None:
        where += f", byte {offset}"
    return DumpError(f"{where}: {what}")


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _refuse_special(path: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds: list[tuple[Callable[[int], bool], str]] = [
        (stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    ]  # fmt: skip
    kind = next((name for test, name in kinds if test(mode)), "not a file")
    raise bad(path, f"is {kind}; a plain file is wanted")


class PlainFile:
    """A regular file as it was opened: path, size, identity; every later read checks that it is the same.

    With `hold` it stays open for more reads until `release`; else every read opens it, so that any number of them
    costs no descriptor.
    """

    remote = False
    _held = -1

    def __new__(cls, path: str | os.PathLike[str], hold: bool = False) -> PlainFile:
        """A URL gives the subclass that reads ranges of bytes; nothing else has to know."""
        return object.__new__(_remote_file() if cls is PlainFile and _is_url(path) else cls)

    def __init__(self, path: str | os.PathLike[str], hold: bool = False) -> None:
        self.path = self.name = os.path.abspath(os.fspath(path))  # of remote files the name is without a query
        self._mapped: tuple[NDArray[np.uint8], MappedLike] | None = None
        self._seen: tuple[int, int, int, int] | None = None
        self._held, status = self._open()
        self.size = status.st_size
        self._seen = _identity(status)
        if not hold:
            self.release()

    def release(self) -> None:
        """Let go of the descriptor; later reads open the file again."""
        if self._held >= 0:
            fd, self._held = self._held, -1
            os.close(fd)

    def _open(self) -> tuple[int, os.stat_result]:
        try:
            # stat first: merely opening some devices has effects; O_NONBLOCK covers a swap in between or later
            if self._seen is None:
                _refuse_special(self.path, os.stat(self.path).st_mode)
            fd = os.open(self.path, _FLAGS)
        except OSError as exc:
            if exc.errno in REFUSED:
                link = (
                    "is a link that leads nowhere and "
                    if exc.errno == errno.ENOENT and os.path.islink(self.path)
                    else ""
                )
                raise bad(self.path, f"{link}cannot be opened ({exc.strerror})") from exc
            raise
        except (ValueError, UnicodeError) as exc:
            if isinstance(exc, DumpError):
                raise
            raise bad(self.path, f"is not a usable path ({exc})") from exc
        status = os.fstat(fd)
        try:
            _refuse_special(self.path, status.st_mode)
        except DumpError:
            os.close(fd)
            raise
        return fd, status

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset`; the claim is compared with the size before any allocation."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise bad(self.path, f"{count} bytes wanted but the file ends at byte {self.size}", offset=offset)
        held = self._held >= 0
        fd, status = (self._held, os.fstat(self._held)) if held else self._open()
        try:
            if _identity(status) != self._seen:
                raise DumpChangedError(f"{quote(self.path, 400)}: changed since it was opened; open the dump again")
            os.lseek(fd, offset, os.SEEK_SET)
            pieces = []
            left = count
            while left:
                piece = os.read(fd, min(left, _READ_AT_ONCE))
                if not piece:
                    raise DumpChangedError(f"{quote(self.path, 400)}: shrank while it was read; open the dump again")
                pieces.append(piece)
                left -= len(piece)
        finally:
            if not held:
                os.close(fd)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def map(self) -> tuple[NDArray[np.uint8], MappedLike]:
        """The file's bytes as a read-only memory map (made once) and the object that watches it."""
        if self._mapped is None:
            mapped = map_file(self.path)
            self.check()
            if mapped[0].size != self.size:
                raise DumpChangedError(f"{quote(self.path, 400)}: changed since it was opened; open the dump again")
            self._mapped = mapped
        return self._mapped

    def check(self) -> None:
        """Raise DumpChangedError unless size, time and inode are those at opening."""
        try:
            same = _identity(os.stat(self.path)) == self._seen
        except OSError:
            same = False
        if not same:
            raise DumpChangedError(f"{quote(self.path, 400)}: changed since it was opened; open the dump again")


class _NumpyMap:
    """Watches a file mapped by NumPy: no signal handler, so only the checks around a read protect it."""

    def __init__(self, path: str) -> None:
        self._file = PlainFile(path)
        self.size = self._file.size

    def check(self) -> None:
        self._file.check()


def map_file(path: str) -> tuple[NDArray[np.uint8], MappedLike]:
    """Map a file read-only: by the compiled module, which survives a shrinking file, else by NumPy."""
    try:
        mapper: Any = getattr(importlib.import_module("clinometer._core"), "MappedFile", None)
    except ImportError:
        mapper = None
    if mapper is not None:
        mapped = mapper(path)
        return np.frombuffer(mapped, dtype=np.uint8), mapped
    watch = _NumpyMap(path)
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r")), watch


def _is_url(path: object) -> bool:
    if not isinstance(path, str) or ":" not in path:  # most are no URL, and there may be very many
        return False
    from .urls import is_url

    return is_url(path)


def _remote_file() -> type[PlainFile]:
    from .remote import RemoteFile

    return RemoteFile
