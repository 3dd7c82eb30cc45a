"""Files and folders that appear complete or not at all; failures name the path they concern."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from typing import Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_SYNC_FILE_RANGE_WRITE = 2


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Give an OSError from a call on a descriptor the path that the system does not tell."""
    try:
        yield
    except OSError as exc:
        if exc.errno is not None and exc.filename is None:
            exc.filename = path
        raise


def sync_folder(path: str) -> None:
    """Force a folder's entries to the disk where the system can."""
    if os.name == "nt":
        return
    with named(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield a binary file that takes the place of `path` when the block ends, and leaves no trace if it fails.

    The bytes are forced to the disk before the rename and the folder after it: after a kill or a power cut
    there is the old file or the new one. A link is followed; a device or pipe is written to directly. Halves that
    killed processes left in the folder are removed.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with new_file(os.path.join(folder, "x")) as out:
    ...         _ = out.write(b"whole")
    ...     os.listdir(folder)
    ['x']
    """
    given = os.fspath(path)
    if os.path.exists(given) and not os.path.isfile(given):
        with named(given), open(given, "wb") as out:
            yield out
        return
    target = os.path.realpath(given)
    sweep(os.path.dirname(target))
    temporary = beside(target)
    try:
        with named(given):
            with open(temporary, "xb") as out, held(temporary):
                yield out
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, target)
            sync_folder(os.path.dirname(target))
    except BaseException as exc:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(exc, OSError) and exc.filename == temporary:
            raise OSError(exc.errno, exc.strerror, given) from exc  # the caller knows nothing of the sibling
        raise


def save_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8 by `new_file`."""
    data = text.encode("utf-8")
    with new_file(path) as out:
        out.write(data)


def _linux(name: str) -> Any:
    """A function of the system's own library that Python does not have; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name, None)
    except OSError:
        return None


def begin_writing(fd: int, first: int, last: int) -> None:
    """Have the system write bytes [first, last) to the disk while the caller goes on: less is left to wait for.

    Advice only: whoever forces the file to the disk hears of what could not be written.
    """
    begin = _linux("sync_file_range")
    if begin is not None:
        begin(fd, ctypes.c_int64(first), ctypes.c_int64(last - first), _SYNC_FILE_RANGE_WRITE)


def _exchange(a: str, b: str) -> bool:
    """Swap two paths in one step; False where the system cannot."""
    swap = _linux("renameat2")
    return swap is not None and bool(swap(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0)


@contextlib.contextmanager
def new_folder(target: str) -> Iterator[str]:
    """Yield an empty sibling folder; on success it takes the place of `target`, on failure it is removed."""
    parent = os.path.dirname(target)
    temporary = beside(target)
    os.makedirs(parent, exist_ok=True)
    sweep(parent)
    os.mkdir(temporary)
    try:
        with held(temporary):
            yield temporary
        sync_folder(temporary)
        if not os.path.isdir(target):
            os.rename(temporary, target)
        elif not _exchange(temporary, target):
            temporary = _swap_in_steps(temporary, target)
        sync_folder(parent)
    except BaseException:
        _remove(temporary)
        raise
    if not _remove(temporary):  # the old dump, after a swap
        raise OSError(errno.ENOTEMPTY, "is in place, but what it replaced could not be removed", temporary)


def _remove(folder: str) -> bool:
    """Remove a folder with what it holds; a second try helps where a descriptor or two were lacking."""
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return True
    return False


def _swap_in_steps(temporary: str, target: str) -> str:
    """Without an atomic swap: for a moment neither is in place, and the old one waits under its own name."""
    aside = temporary[:-4] + ".old"
    os.rename(target, aside)
    try:
        os.rename(temporary, target)
    except BaseException:
        os.rename(aside, target)
        raise
    return aside


try:
    import fcntl
except ImportError:  # no locks to tell the living by: nothing is removed
    fcntl = None  # type: ignore[assignment]


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
