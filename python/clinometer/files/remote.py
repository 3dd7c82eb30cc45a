"""Addresses: what is one and what it names; what fsspec (extra `cloud`) says of it, in errors that show no secret."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote as escaped
from urllib.parse import unquote, urlsplit

from clinometer.common.visible import quote, without_secrets
from clinometer.errors import DumpError, bad

RANGE = 8 << 20  # one request; larger reads are several, which file systems with an event loop send together
T = TypeVar("T")


def filesystem(url: str) -> tuple[Any, str]:
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
    except Exception as exc:  # some connect at once, with errors of their own
        raise bad(url, f"cannot be reached ({type(exc).__name__}: {exc})") from None
    return fs, str(key)


def ask(url: str, call: Callable[[], T]) -> T:
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
    fs, key = filesystem(url)
    if is_web(fs):
        raise bad(url, "has no manifest.json, and web servers do not list folders; name the file")
    found = ask(url, lambda: fs.ls(key, detail=False))
    return sorted({os.path.basename(str(name).rstrip("/")) for name in found} - {""})


def is_web(fs: Any) -> bool:
    return "http" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


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
    """A file directly in a remote folder; a query, such as a signature of the folder, goes with it.

    What has a meaning in a web address (? # %) is part of the name: it adds no query and leaves no folder.
    """
    path, query = _split(folder)
    return f"{path.rstrip('/')}/{escaped(name) if _WEB.match(folder) else name}{query}"
