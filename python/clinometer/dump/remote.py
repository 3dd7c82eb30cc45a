"""Files behind a URL, read by ranges of bytes through fsspec (extra `cloud`)."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import DumpChangedError, DumpError
from .files import PlainFile, bad, quote

__all__ = ["RemoteFile", "is_url", "listing", "local_path"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:://|::)")
_RANGE = 8 << 20  # one request; larger reads are several, which file systems with an event loop send together
T = TypeVar("T")


def is_url(path: object) -> bool:
    """Whether a path is left to fsspec: s3://..., memory://..., simplecache::https://..."""
    return isinstance(path, str) and _URL.match(path) is not None and local_path(path) is None


def local_path(path: str) -> str | None:
    """The path that a file:// URL names, None for anything else."""
    if not path.startswith(("file://", "local://")):
        return None
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(path)
    if parts.netloc not in ("", "localhost"):
        raise DumpError(f"{quote(path, 400)}: names the host {quote(parts.netloc)}; file:///path is wanted")
    return unquote(parts.path)


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        core = importlib.import_module("fsspec.core")
    except ImportError as exc:
        raise ImportError("reading from a URL needs fsspec: pip install 'clinometer[cloud]'") from exc
    try:
        fs, key = core.url_to_fs(url)
    except ImportError as exc:
        raise ImportError(f"{quote(url, 400)}: {exc}") from exc
    except ValueError as exc:
        raise DumpError(f"{quote(url, 400)}: {exc}") from exc
    return fs, str(key)


def _ask(url: str, call: Callable[[], T]) -> T:
    """What a file system answers; every backend has errors of its own, so all become one that names the URL."""
    try:
        return call()
    except (DumpError, MemoryError, ImportError):
        raise
    except Exception as exc:
        raise bad(url, f"cannot be read ({type(exc).__name__}: {exc})") from exc


def listing(url: str) -> list[str]:
    """Names directly in a remote folder, sorted."""
    fs, key = _filesystem(url)
    found = _ask(url, lambda: fs.ls(key, detail=False))
    return sorted({os.path.basename(str(name).rstrip("/")) for name in found} - {""})


class RemoteFile(PlainFile):
    """A remote file seen once: size and version; every read is a range of bytes, checked for its length."""

    remote = True

    def __init__(self, url: str | os.PathLike[str], hold: bool = False) -> None:
        self.path = os.fspath(url)
        self._fs, self._key = _filesystem(self.path)
        info = self._info()
        if info.get("type", "file") != "file":
            raise bad(self.path, f"is a {quote(info.get('type'))}; a file is wanted")
        size = info.get("size")
        if type(size) is not int or size < 0:
            raise bad(self.path, "does not say its size, so its claims cannot be checked")
        self.size: int = size
        if "http" in self._fs.protocol and size > 1:
            self._probe()
        self.version = _version(info)

    def _probe(self) -> None:
        """Refuse a server that answers a range with the whole file, without reading that."""
        try:
            with self._fs.open(self._key, "rb", cache_type="none") as file:
                file.seek(self.size - 1)
                file.read(1)
        except ValueError as exc:
            what = "the server does not serve ranges of bytes; simplecache::URL downloads it whole"
            raise bad(self.path, what) from exc

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
        if len(starts) == 1:
            return [bytes(self._fs.cat_file(self._key, start=starts[0], end=ends[0]))]
        return [bytes(p) for p in self._fs.cat_ranges([self._key] * len(starts), starts, ends, on_error="raise")]

    def open(self) -> Any:
        """A seekable binary file object for libraries that read by themselves."""
        return _ask(self.path, lambda: self._fs.open(self._key, "rb"))

    def map(self) -> Any:
        """There is no map of a remote file."""
        raise bad(self.path, "is remote and cannot be mapped; `clinometer convert` makes a local dump")

    def check(self) -> None:
        """Raise DumpChangedError unless size and version are those first seen."""
        try:
            info = self._info()
        except DumpError:
            info = {}
        if info.get("size") != self.size or _version(info) != self.version:
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
