"""Addresses: what is one, the file it names before its query, a file beside another."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from clinometer.common.visible import quote
from clinometer.errors import DumpError

__all__ = ["beside", "is_url", "local_path", "stem"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:://|::)")
_WEB = re.compile(r"(?:[A-Za-z0-9+.-]+::)*https?://", re.IGNORECASE)  # elsewhere ? and # may be part of a name


def is_url(path: object) -> bool:
    """Whether a path is left to fsspec: s3://..., memory://..., simplecache::https://..."""
    return isinstance(path, str) and _URL.match(path) is not None and local_path(path) is None


def local_path(path: str) -> str | None:
    """The path that a file:// URL names, None for anything else."""
    if not path.startswith(("file://", "local://")):
        return None
    parts = urlsplit(path)
    if parts.netloc not in ("", "localhost"):
        raise DumpError(f"{quote(path, 400)}: names the host {quote(parts.netloc)}; file:///path is wanted")
    return unquote(parts.path)


def _split(path: str) -> tuple[str, str]:
    """Path, and query with its question mark."""
    if not _WEB.match(path):
        return path, ""
    at = min((i for i in (path.find("?"), path.find("#")) if i >= 0), default=len(path))
    return path[:at], path[at:]


def stem(path: str) -> str:
    """A path without the query of a web address, which may be a signature: what its ending is looked for in."""
    return _split(path)[0]


def beside(folder: str, name: str) -> str:
    """A file directly in a remote folder; a query, such as a signature of the folder, goes with it."""
    path, query = _split(folder)
    return f"{path.rstrip('/')}/{name}{query}"
