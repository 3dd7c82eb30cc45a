"""The bytes of one member of a zip archive, unpacked a few MiB at a time and compared with what its entry says."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any
from zipfile import ZIP_STORED, ZipInfo

from clinometer.common.visible import quote
from clinometer.errors import bad

from .plain import PlainFile
from .prefetch import ahead

__all__ = ["unpacked"]

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
