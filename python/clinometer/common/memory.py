"""Memory and temporary files for large arrays, reserved before work begins and released whatever ends the process.

Arrays beyond a limit lie in a temporary file without a name, whose blocks are reserved first: a sparse file behind a
map would end the process where the disk is full.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIP = 1 << 22  # bytes of a table that are looked at together
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def reserved(nbytes: int, what: str) -> Any:
    """An open temporary file of `nbytes` bytes that no folder lists; OSError where there is no room for them."""
    file = tempfile.TemporaryFile(prefix="clinometer-")  # noqa: SIM115 the map or the caller keeps it
    try:
        reserve(file, 0, nbytes, what)
    except BaseException:
        file.close()
        raise
    return file


def reserve(file: Any, offset: int, nbytes: int, what: str) -> None:
    """Blocks for bytes [offset, offset + nbytes) of a temporary file."""
    try:
        if not _allocated(file, offset, nbytes):
            file.seek(offset)
            for at in range(0, nbytes, STRIP):
                file.write(bytes(min(STRIP, nbytes - at)))
            file.flush()
            file.seek(offset)
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        text = f"no room for {nbytes:,} bytes of {what} in the temporary folder ({exc.strerror}); TMPDIR names another"
        raise OSError(exc.errno, text, tempfile.gettempdir()) from exc


def _allocated(file: Any, offset: int, nbytes: int) -> bool:
    """Whether the system has reserved the bytes; False where it cannot but by writing them."""
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(file.fileno(), offset, max(nbytes, 1))
    except OSError as exc:
        if exc.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return False
        raise
    return True


def append(file: Any, part: NDArray[Any], what: str) -> None:
    """Write an array at the end of a temporary file."""
    reserve(file, file.tell(), part.nbytes, what)
    file.write(np.ascontiguousarray(part).data)


def empty(shape: tuple[int, int], dtype: Any, limit: int, what: str) -> NDArray[Any]:
    """An array for `what`, in memory up to `limit` bytes."""
    nbytes = np.dtype(dtype).itemsize * shape[0] * shape[1]
    if nbytes <= limit:
        return np.empty(shape, dtype)
    with reserved(nbytes, what) as file:  # the map outlives it
        return np.memmap(file, dtype, "r+", shape=shape)


def like(table: NDArray[Any], n_columns: int, what: str = "scores") -> NDArray[Any]:
    """An array of as many rows where `table` lies: in memory, or in a file."""
    limit = -1 if isinstance(table, np.memmap) else 1 << 62
    return empty((len(table), n_columns), table.dtype, limit, what)


def strips(table: NDArray[Any]) -> Iterator[slice]:
    """Runs of rows of a few MiB."""
    step = max(1, STRIP // max(table.itemsize * table.shape[1], 1))
    return (slice(a, a + step) for a in range(0, len(table), step))


def columns(table: NDArray[Any], which: NDArray[Any]) -> NDArray[Any]:
    """table[:, which], C-contiguous, where the table lies; the table itself where that is all of it."""
    if np.array_equal(which, np.arange(table.shape[1])):
        return table
    out = like(table, len(which))
    for rows in strips(table):
        out[rows] = table[rows][:, which]
    return out


def need_memory(nbytes: int, what: str, instead: str) -> None:
    """MemoryError where `nbytes` are more than the machine has left: the system would end the process later."""
    left = _available()
    if left is not None and nbytes > left:
        raise MemoryError(f"{what} wants {nbytes / 2**30:.1f} GiB of memory, {left / 2**30:.1f} are left; {instead}")


def _available() -> int | None:
    """Bytes of memory that this process may still take, where the system tells."""
    found = [_meminfo(), _cgroup()]
    known = [n for n in found if n is not None]
    return min(known) if known else None


def _meminfo() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            said = dict(line.split(":", 1) for line in file)
        free = (int(said[name].split()[0]) << 10 for name in ("MemAvailable", "SwapFree"))
        return sum(free)
    except (OSError, KeyError, ValueError):
        return None


def _cgroup() -> int | None:
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            most = int(file.read())
        with open("/sys/fs/cgroup/memory.stat", encoding="ascii") as file:
            held = dict(line.split() for line in file)
        return max(0, most - int(held["anon"]) - int(held.get("shmem", 0)))
    except (OSError, KeyError, ValueError):  # none, or "max"
        return None
