"""A folder that appears complete or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import sys
from collections.abc import Iterator

__all__ = ["new_folder", "sync_folder"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def sync_folder(path: str) -> None:
    """Force a folder's entries to the disk where the system can."""
    if os.name == "nt":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _exchange(a: str, b: str) -> bool:
    """Swap two paths in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(swap(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0)


@contextlib.contextmanager
def new_folder(target: str) -> Iterator[str]:
    """Yield an empty sibling folder; on success it takes the place of `target`, on failure it is removed."""
    parent, name = os.path.split(target)
    temporary = os.path.join(parent, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    os.makedirs(parent, exist_ok=True)
    os.mkdir(temporary)
    try:
        yield temporary
        sync_folder(temporary)
        if not os.path.isdir(target):
            os.rename(temporary, target)
        elif not _exchange(temporary, target):
            # No atomic swap here: for a moment neither is in place, and the old one waits under its own name.
            aside = temporary[:-4] + ".old"
            os.rename(target, aside)
            os.rename(temporary, target)
            temporary = aside
        sync_folder(parent)
    finally:
        # After a swap this is the old dump, after a failure the unfinished one.
        shutil.rmtree(temporary, ignore_errors=True)
