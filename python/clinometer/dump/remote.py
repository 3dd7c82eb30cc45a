"""Files behind a URL, read by ranges of bytes through fsspec (extra `cloud`)."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import DumpChangedError, DumpError
from ..visible import without_secrets
from .files import PlainFile, bad, quote
from .urls import stem
from .web import Web

__all__ = ["RemoteFile", "listing"]

_RANGE = 8 << 20  # one request; larger reads are several, which file systems with an event loop send together
T = TypeVar("T")


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        core = importlib.import_module("fsspec.core")
    except ImportError as exc:
        raise ImportError("reading from a URL needs fsspec: pip install 'clinometer[cloud]'") from exc
    shown = quote(without_secrets(url), 400)
    try:
        fs, key = core.url_to_fs(url)
    except ImportError as exc:
        raise ImportError(f"{shown}: {without_secrets(str(exc))}") from None
    except ValueError as exc:
        raise DumpError(f"{shown}: {exc}") from None
    return fs, str(key)


def _ask(url: str, call: Callable[[], T]) -> T:
    """What a file system answers; every backend has errors of its own, so all become one that names the URL.

    Theirs are not chained: a traceback would show the address with what is secret in it.
    """
    try:
        return call()
    except (DumpError, MemoryError, ImportError):
        raise
    except Exception as exc:
        raise bad(url, f"cannot be read ({type(exc).__name__}: {exc})") from None


def listing(url: str) -> list[str]:
    """Names directly in a remote folder, sorted."""
    fs, key = _filesystem(url)
    if _is_web(fs):
        raise bad(url, "has no manifest.json, and web servers do not list folders; name the file")
    found = _ask(url, lambda: fs.ls(key, detail=False))
    return sorted({os.path.basename(str(name).rstrip("/")) for name in found} - {""})


def _is_web(fs: Any) -> bool:
    return "http" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


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
    """A remote file as it was opened: size and version; every read is a range of bytes, checked for its length.

    `path` shows the address without passwords and signatures.
    """

    remote = True
    _web: Web | None = None

    def __init__(self, url: str | os.PathLike[str], hold: bool = False) -> None:
        given = os.fspath(url)
        self.path, self.name = without_secrets(given), stem(given)
        self._fs, self._key = _filesystem(given)
        if _is_web(self._fs):
            self._web = _ask(self.path, lambda: Web(self._fs, self._key, self.path))
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
        return dict(_ask(self.path, lambda: self._fs.info(self._key)))

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset`; the claim is compared with the size before anything is fetched."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise bad(self.path, f"{count} bytes wanted but the file ends at byte {self.size}", offset=offset)
        if count == 0:
            return b""
        end = offset + count
        starts = list(range(offset, end, _RANGE))
        ends = [*starts[1:], end]
        pieces = _ask(self.path, lambda: self._ranges(starts, ends))
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
        """Raise DumpChangedError unless size and version are those at opening."""
        try:
            if self._web is not None:
                now: tuple[Any, Any] = _ask(self.path, self._web.again)
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
