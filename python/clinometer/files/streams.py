"""Rows from something that only reads forward: a compressed member, the pages of a row group, a batch at a time."""

from __future__ import annotations

import bisect
import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar
from zipfile import ZIP_STORED, ZipInfo

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import quote
from clinometer.errors import bad

from .plain import PlainFile


class Stream:
    """`fetch(first, last)` for a Window: goes on where the last one ended, else back to the nearest start.

    Parameters
    ----------
    starts : rows at which reading can begin, ascending, the first 0
    begin : function of k that gives blocks (m, d) of the rows from starts[k] to the end, in order

    Cost: reading from the nearest start; a pass in order reads everything once. One block and what was asked for are
    in memory.
    """

    def __init__(self, starts: Sequence[int], begin: Callable[[int], Iterator[NDArray[Any]]]) -> None:
        self._starts = list(starts)
        self._begin = begin
        self._lock = threading.Lock()
        self._blocks: Iterator[NDArray[Any]] | None = None
        self._block: NDArray[Any] | None = None
        self._at = 0  # the row at which the block in hand begins

    def fetch(self, first: int, last: int) -> NDArray[Any]:
        """Rows [first, last); fewer where the source ends before."""
        with self._lock:
            try:
                self._seek(first)
                pieces = list(self._take(first, last))
            except BaseException:
                self._blocks = None  # a generator that raised is at its end: the next call begins anew
                raise
        if not pieces:
            return np.zeros((0, 0))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _take(self, first: int, last: int) -> Iterator[NDArray[Any]]:
        while first < last and self._block is not None:
            piece = self._block[first - self._at : last - self._at]
            first += len(piece)
            if len(piece):
                yield piece
            if first < last:
                self._next()

    def _seek(self, first: int) -> None:
        nearest = bisect.bisect_right(self._starts, first) - 1
        if self._blocks is None or first < self._at or self._starts[nearest] > self._at + len(self._held()):
            self._blocks = self._begin(nearest)
            self._at, self._block = self._starts[nearest], None
            self._block = next(self._blocks, None)
        while self._block is not None and first >= self._at + len(self._block):
            self._next()

    def _held(self) -> NDArray[Any]:
        return np.zeros((0, 1)) if self._block is None else self._block

    def _next(self) -> None:
        assert self._blocks is not None and self._block is not None
        self._at += len(self._block)
        self._block = next(self._blocks, None)
        if self._block is None:
            self._blocks = None  # at the end: whoever comes next begins anew


T = TypeVar("T")


def ahead(calls: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
    """What the calls return, in order; one is under way on a thread of its own while the caller has the one before.

    An error of a call is raised in its turn. Whoever leaves early does not wait for a call under way.
    Cost: two results are in memory.

    >>> list(ahead([lambda: 1, lambda: 2]))
    [1, 2]
    """
    from concurrent.futures import Future, ThreadPoolExecutor  # not needed where rows are mapped

    coming: Future[T] | None = None
    thread = ThreadPoolExecutor(1, "clinometer-fetch")
    try:
        for call in calls:
            before, coming = coming, thread.submit(call)
            if before is not None:
                yield before.result()
                del before
        if coming is not None:
            yield coming.result()
    finally:
        # an interrupt must not wait for a slow network; what is on its way is dropped when it arrives
        thread.shutdown(wait=False, cancel_futures=True)


_PACKED_AT_ONCE = 1 << 18


def unpacked(file: PlainFile, start: int, info: ZipInfo, head: int, step: int) -> Iterator[bytes]:
    """The `info.file_size` bytes of a member that begins at byte `start`: `head` of them, then `step` at a time.

    One piece is unpacked on a thread of its own while the one before is checked and used. A member that unpacks to
    more or less than it states, or to another checksum, is a DumpError behind the last piece.
    """
    source = _Source(file, start, info)
    sizes = [head, *(min(step, info.file_size - at) for at in range(head, info.file_size, max(step, 1)))]
    check = 0
    for size, piece in zip(sizes, ahead([partial(source.take, size) for size in sizes]), strict=True):
        if len(piece) != size:
            raise source.bad("does not unpack to its stated size")
        check = zlib.crc32(piece, check)
        yield piece
    if source.take(1) or source.left:
        raise source.bad("unpacks to more than its stated size")
    if check != info.CRC:
        raise source.bad(f"has the checksum {check:08x}, its entry says {info.CRC:08x}")


class _Source:
    """Reads forward through the packed bytes of a member."""

    def __init__(self, file: PlainFile, start: int, info: ZipInfo) -> None:
        self.file, self.at, self.left, self.name = file, start, info.compress_size, info.filename
        self.decoder: Any = None if info.compress_type == ZIP_STORED else zlib.decompressobj(-zlib.MAX_WBITS)

    def bad(self, what: str) -> Exception:
        return bad(self.file.path, what, f"member {quote(self.name)}")

    def take(self, count: int) -> bytes:
        """The next `count` bytes unpacked; fewer at the end."""
        if self.decoder is None:
            return self._packed(count)
        pieces = []
        while count and not self.decoder.eof:
            packed = self.decoder.unconsumed_tail or self._packed(_PACKED_AT_ONCE)
            pieces.append(self.decoder.decompress(packed, count))
            count -= len(pieces[-1])
            if not packed:
                break
        return b"".join(pieces)

    def _packed(self, count: int) -> bytes:
        size = min(count, self.left)
        data = self.file.read(self.at, size)
        self.at, self.left = self.at + size, self.left - size
        return data
