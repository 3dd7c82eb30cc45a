"""Halves that a killed process left beside what it was writing: told from those of the living, and removed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # no locks to tell the living by: nothing is removed
    fcntl = None  # type: ignore[assignment]

__all__ = ["beside", "held", "sweep"]

_HALF = re.compile(r"\..+\.([0-9]{1,10})\.[0-9a-f]{8}\.tmp\Z")
_swept: set[tuple[int, str]] = set()  # process and folder: once a process is enough


def beside(target: str) -> str:
    """A name in the same folder that nobody uses; it says whose it is."""
    parent, name = os.path.split(target)
    return os.path.join(parent, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


@contextlib.contextmanager
def held(path: str) -> Iterator[None]:
    """Mark a half as somebody's while the block runs; a kill takes the mark off."""
    if fcntl is None:
        yield
        return
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def sweep(folder: str) -> None:
    """Remove the halves in a folder whose process is gone; the first time only."""
    if fcntl is None or (os.getpid(), folder) in _swept:
        return
    _swept.add((os.getpid(), folder))
    with contextlib.suppress(OSError):
        for name in os.listdir(folder or "."):
            half = _HALF.match(name)
            if half and not _alive(int(half[1])):
                _remove_free(os.path.join(folder, name))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _remove_free(path: str) -> None:
    """Remove a half unless a process, perhaps on another machine, holds it."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        finally:
            os.close(fd)
