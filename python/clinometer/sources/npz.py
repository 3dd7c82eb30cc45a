"""Arrays of an npz archive, with every member's claim checked before a byte of it is unpacked."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.coerce import as_column
from clinometer.common.notices import tell
from clinometer.common.visible import quote
from clinometer.errors import DumpError, bad
from clinometer.files.plain import PlainFile
from clinometer.files.streams import Stream, unpacked

from .found import Lazy
from .npy import UnreadDtype, parse_preamble
from .tensors import Part, Tensor, Virtual
from .window import Window

_TEXT_AT_MOST = 256 << 20
_BLOCK = 4 << 20
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
    OSError,
)
_DESCRIPTORS = (0, 12, 16, 20, 24)  # what may follow a member whose sizes were not known when it was begun
_LOCAL = struct.Struct("<4s5H3I2H")
_DIRECTORY = 46  # bytes of an entry of the directory, without its name
_END_64 = 76  # bytes between the directory and the end record where that is too narrow
_END = 22  # bytes of the record that ends an archive without a comment


@dataclass(frozen=True)
class _Member:
    info: zipfile.ZipInfo
    name: str
    start: int  # bytes of its npy header
    part: Part  # its offset counts from the beginning of the member

    def stored_at(self, file: PlainFile) -> int:
        """Where the member's bytes begin in the archive, packed or not."""
        head = _LOCAL.unpack(file.read(self.info.header_offset, _LOCAL.size))
        return int(self.info.header_offset + _LOCAL.size + head[-2] + head[-1])


def open_columns(file: PlainFile, n_rows: int) -> Lazy:
    """Columns (N,) of an .npz by name: checked now to hold one entry per row, unpacked when used."""
    columns: dict[str, Callable[[], NDArray[Any]]] = {}
    for member in _members(file):
        field = f"member {quote(member.info.filename)}"
        if member.part.shape != (n_rows,):
            raise bad(file.path, f"has shape {member.part.shape}; ({n_rows},) is wanted", field)
        columns[member.name] = _column(file, member, n_rows)
    return Lazy(columns)


def _column(file: PlainFile, member: _Member, n_rows: int) -> Callable[[], NDArray[Any]]:
    return lambda: as_column(_unpack(file, member), f"member {quote(member.info.filename)}", n_rows)


def open_tensors(file: PlainFile, left_out: dict[str, str] | None = None) -> dict[str, Tensor]:
    """The arrays of an .npz: members stored as they are lie in a map, compressed ones are unpacked by windows.

    Members of other dtypes than are read go into `left_out` with the reason; without it they are refused.
    """
    out: dict[str, Tensor] = {}
    for member in _members(file, left_out):
        part = member.part
        if member.info.compress_type == zipfile.ZIP_STORED:
            at = member.stored_at(file) + member.start
            out[member.name] = Tensor(member.name, (Part(file, at, part.shape, part.tag, part.swap, part.fortran),))
            continue
        out[member.name] = _packed(file, member)
    return out


def _packed(file: PlainFile, member: _Member) -> Tensor:
    part = member.part

    def pieces() -> list[tuple[NDArray[Any] | Window, Any]]:
        if part.fortran or part.swap:
            what = "in Fortran order" if part.fortran else "big-endian"
            raise bad(file.path, f"is compressed and {what}: save it anew", f"member {quote(member.info.filename)}")
        tell(
            f"{quote(file.path, 400)}: {quote(member.name)} is compressed and cannot be mapped: every pass unpacks it "
            "again; `clinometer convert` does it once",
            stacklevel=2,
        )
        stream = Stream([0], lambda _: _blocks(file, member))
        return [(Window((part.shape[0], part.shape[1]), part.dtype, stream.fetch, file.path), file)]

    def values() -> NDArray[Any]:
        return _unpack(file, member)

    return Virtual(member.name, (), stated=(part.tag, part.shape), pieces=pieces, values=values)


class _guard:
    """Turns what a broken archive raises into a DumpError with its path."""

    def __init__(self, file: PlainFile) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, exc: BaseException | None, trace: Any) -> None:
        if isinstance(exc, _BROKEN) and not isinstance(exc, DumpError):
            raise bad(self.file.path, f"is not a readable npz archive ({exc})", offset=0) from exc


def _members(file: PlainFile, left_out: dict[str, str] | None = None) -> list[_Member]:
    if file.remote:
        raise bad(file.path, "an npz is not read over a network; simplecache::URL or a copy is wanted")
    out: list[_Member] = []
    with _guard(file), zipfile.ZipFile(file.path) as archive:
        infos = archive.infolist()
        _check_tiling(archive, infos, file)
        for info in infos:
            name = info.filename.removesuffix(".npy")
            field = f"member {quote(info.filename)}"
            if name == info.filename or not name or name in {m.name for m in out}:
                what = "is not an .npy member or occurs twice: save the arrays anew with numpy.savez, alone"
                raise bad(file.path, what, field, info.header_offset)
            try:
                out.append(_member(archive, info, name, file, left_out is not None))
            except UnreadDtype as exc:
                assert left_out is not None
                left_out[name] = f"is not read: {exc}"
                continue
            part = out[-1].part
            if part.tag[0] in "SU" and part.tag != "U8" and part.nbytes > _TEXT_AT_MOST + file.size:
                raise bad(file.path, f"claims {part.nbytes} bytes of text", field, info.header_offset)
    file.check()
    return out


def _check_tiling(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], file: PlainFile) -> None:
    """Members must lie end to end from byte 0 to the directory: no overlap (a bomb), no hole, nothing hidden."""
    end = file.size - _END
    last = file.read(end, _END) if end >= 0 else b""
    if last[:4] != b"PK\x05\x06" or last[20:] != b"\0\0":
        what = "has a comment or other bytes after the directory: save the arrays anew with numpy.savez"
        raise bad(file.path, what, "end of directory", max(end, 0))
    at, loose = 0, False
    for info in sorted(infos, key=lambda i: i.header_offset):
        gap = info.header_offset - at
        if gap not in (_DESCRIPTORS if loose else (0,)):
            kind = "overlaps the member before it" if gap < 0 else f"follows {gap} bytes that belong to nothing"
            raise bad(file.path, kind, f"member {quote(info.filename)}", info.header_offset)
        head = _LOCAL.unpack(file.read(info.header_offset, _LOCAL.size))
        if head[0] != b"PK\x03\x04" or head[3] != info.compress_type:
            raise bad(file.path, "does not begin as the directory says", f"member {quote(info.filename)}", at)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise bad(file.path, f"compression {info.compress_type} is not read", f"member {quote(info.filename)}", at)
        at = info.header_offset + _LOCAL.size + head[-2] + head[-1] + info.compress_size
        loose = bool(info.flag_bits & 8)
    count, left = _walk(file.read(archive.start_dir, end - archive.start_dir))
    if count != len(infos) or left not in (0, _END_64):
        raise bad(file.path, f"{count} whole entries and {left} bytes for {len(infos)}", "directory", archive.start_dir)
    if archive.start_dir - at not in (_DESCRIPTORS if loose else (0,)):
        raise bad(file.path, f"the members end at byte {at}, the directory begins at {archive.start_dir}", "data", at)


def _walk(raw: bytes) -> tuple[int, int]:
    """Entries of a directory by the lengths they state, and the bytes that are then left."""
    count = at = 0
    while raw[at : at + 4] == b"PK\x01\x02" and len(raw) - at >= _DIRECTORY:
        at += _DIRECTORY + sum(struct.unpack_from("<3H", raw, at + 28))
        count += 1
    return count, len(raw) - at


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, file: PlainFile, unread: bool = False
) -> _Member:
    where = f"{file.path}({info.filename})"
    with archive.open(info) as stream:
        head = stream.read(4096)
        start, tag, shape, swap, fortran = parse_preamble(head, where, unread=unread)
        if tag is None:
            start, tag, shape, swap, fortran = parse_preamble(
                head + stream.read(start - len(head)), where, unread=unread
            )
    if tag is None:
        raise bad(where, "the header is truncated", "header length", 8)
    part = Part(file, start, shape, tag, swap, fortran and len(shape) > 1)
    if info.file_size != start + math.prod(shape) * part.dtype.itemsize:
        raise bad(where, f"holds {info.file_size} bytes, its header needs another size", "data", start)
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise bad(where, f"is stored in {info.compress_size} bytes but claims {info.file_size}", "data", start)
    return _Member(info, name, start, part)


def _blocks(file: PlainFile, member: _Member) -> Iterator[NDArray[Any]]:
    """The rows of a compressed member from its beginning, a few MiB at a time."""
    part = member.part
    width = part.shape[1] * part.dtype.itemsize
    for raw in _values(file, member, max(1, _BLOCK // max(width, 1)) * width):
        yield np.frombuffer(raw, part.dtype).reshape(-1, part.shape[1])


def _unpack(file: PlainFile, member: _Member) -> NDArray[Any]:
    """All values of a member: its size is that of its header and was compared with the archive's."""
    # in pieces: what a bomb claims is only allocated as far as it is there
    raw = b"".join(_values(file, member, _BLOCK))
    return member.part.finish(np.frombuffer(raw, member.part.dtype))


def _values(file: PlainFile, member: _Member, step: int) -> Iterator[bytes]:
    """The bytes behind the npy header, `step` at a time."""
    file.check()
    with _guard(file):
        pieces = unpacked(file, member.stored_at(file), member.info, member.start, step)
        next(pieces)
        yield from pieces
