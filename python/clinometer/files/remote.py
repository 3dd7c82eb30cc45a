"""What fsspec (extra `cloud`) says of an address, with errors that name it and show no secret."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

from clinometer.common.visible import quote, without_secrets
from clinometer.errors import DumpError, bad

__all__ = ["RANGE", "ask", "filesystem", "is_web", "listing"]

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
