"""Plain files only: opened without blocking, read with checked sizes, mapped, watched for change."""

from __future__ import annotations

import errno
import importlib
import io
import os
import stat
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import quote, without_secrets
from clinometer.errors import DumpChangedError, DumpError, bad

from . import remote
from .http import Web
from .remote import is_url, stem

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
        return object.__new__(RemoteFile if cls is PlainFile and _is_url(path) else cls)

    def __init__(self, path: str | os.PathLike[str], hold: bool = False) -> None:
        self.path = self.name = os.path.abspath(os.fspath(path))  # of remote files the name is without a query
        self._mapped: tuple[NDArray[np.uint8], MappedLike] | None = None
        self._seen: tuple[int, int, int, int] | None = None
        self._held, status = self._open()
        self.size = status.st_size
        self._seen = _identity(status)
        if not hold:
            self.release()

    def __enter__(self) -> PlainFile:
        return self

    def __exit__(self, *_: object) -> None:
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
    return is_url(path)


class _Seekable(io.RawIOBase):
    """A remote file for libraries that read by themselves: each read is a checked range."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence])
        return self._at

    def readinto(self, into: Any) -> int:
        count = max(0, min(len(into), self._file.size - self._at))
        into[:count] = self._file.read(self._at, count)
        self._at += count
        return count


class RemoteFile(PlainFile):
    """A remote file seen once: size and version; every read is a range of bytes, checked for its length.

    `path` shows the address without passwords and signatures.
    """

    remote = True
    _web: Web | None = None

    def __init__(self, url: str | os.PathLike[str], hold: bool = False) -> None:
        given = os.fspath(url)
        self.path, self.name = without_secrets(given), stem(given)
        self._fs, self._key = remote.filesystem(given)
        if remote.is_web(self._fs):
            self._web = remote.ask(self.path, lambda: Web(self._fs, self._key, self.path))
            self.size: int = self._web.size
            self.version: tuple[str, ...] = self._web.stamps
            return
        info = self._info()
        if info.get("type", "file") != "file":
            raise bad(self.path, f"is a {quote(info.get('type'))}; a file is wanted")
        size = info.get("size")
        if type(size) is not int or size < 0:
            raise bad(self.path, "does not say its size, so its claims cannot be checked")
        self.size = size
        self.version = _version(info)

    def _info(self) -> dict[str, Any]:
        self._fs.invalidate_cache(self._fs._parent(self._key))
        return dict(remote.ask(self.path, lambda: self._fs.info(self._key)))

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset`; the claim is compared with the size before anything is fetched."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise bad(self.path, f"{count} bytes wanted but the file ends at byte {self.size}", offset=offset)
        if count == 0:
            return b""
        end = offset + count
        starts = list(range(offset, end, remote.RANGE))
        ends = [*starts[1:], end]
        pieces = remote.ask(self.path, lambda: self._ranges(starts, ends))
        if [len(p) for p in pieces] != [b - a for a, b in zip(starts, ends, strict=True)]:
            raise DumpChangedError(f"{quote(self.path, 400)}: gave another number of bytes than asked for")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _ranges(self, starts: list[int], ends: list[int]) -> list[bytes]:
        if self._web is not None:
            return self._web.ranges(starts, ends)
        if len(starts) == 1:
            return [bytes(self._fs.cat_file(self._key, start=starts[0], end=ends[0]))]
        return [bytes(p) for p in self._fs.cat_ranges([self._key] * len(starts), starts, ends, on_error="raise")]

    def open(self) -> Any:
        """A seekable binary file object for libraries that read by themselves."""
        return io.BufferedReader(_Seekable(self), 1 << 20)

    def map(self) -> Any:
        """There is no map of a remote file."""
        raise bad(self.path, "is remote and cannot be mapped; `clinometer convert` makes a local dump")

    def check(self) -> None:
        """Raise DumpChangedError unless size and version are those first seen."""
        try:
            if self._web is not None:
                now: tuple[Any, Any] = remote.ask(self.path, self._web.again)
            else:
                info = self._info()
                now = info.get("size"), _version(info)
        except DumpError:
            now = None, None
        if now != (self.size, self.version):
            raise DumpChangedError(f"{quote(self.path, 400)}: changed since it was opened; open the dump again")


def _version(info: dict[str, Any]) -> tuple[str, ...]:
    """Whatever the backend tells about a version: entity tag, generation, times."""
    keys = (
        "ETag",
        "etag",
        "e_tag",
        "generation",
        "VersionId",
        "LastModified",
        "Last-Modified",
        "last_modified",
        "Content-MD5",
        "mtime",
        "created",
    )
    return tuple(f"{key}={info[key]}" for key in keys if info.get(key) is not None)
