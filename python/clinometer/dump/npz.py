"""Columns from an npz archive, with every member's claim checked before it is unpacked."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_column
from .dump import Lazy
from .files import PlainFile, bad, quote
from .npy import parse_preamble
from .tensors import Part

__all__ = ["open_columns"]

_TEXT_AT_MOST = 256 << 20
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def open_columns(file: PlainFile, n_rows: int) -> Lazy:
    """Columns (N,) of an .npz by name: checked now to hold one entry per row, unpacked when used."""
    columns: dict[str, Callable[[], NDArray[Any]]] = {}
    with _guard(file), zipfile.ZipFile(file.path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename or name in columns:
                raise bad(file.path, "is not an .npy member or occurs twice", f"member {quote(info.filename)}")
            start, part = _member(archive, info, file)
            if part.shape != (n_rows,):
                raise bad(
                    file.path,
                    f"has shape {part.shape}; ({n_rows},) is wanted",
                    f"member {quote(info.filename)}",
                )
            if part.tag[0] in "SU" and part.tag not in ("U8",) and part.nbytes > _TEXT_AT_MOST + file.size:
                raise bad(file.path, f"claims {part.nbytes} bytes of text", f"member {quote(info.filename)}")
            columns[name] = _loader(file, info.filename, start, part, n_rows)
    return Lazy(columns)


class _guard:
    """Turns what a broken archive raises into a DumpError with its path."""

    def __init__(self, file: PlainFile) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, exc: BaseException | None, trace: Any) -> None:
        from ..errors import DumpError

        if isinstance(exc, _BROKEN) and not isinstance(exc, DumpError):
            raise bad(self.file.path, f"is not a readable npz archive ({exc})") from exc


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: PlainFile) -> tuple[int, Part]:
    where = f"{file.path}({info.filename})"
    with archive.open(info) as stream:
        head = stream.read(4096)
        start, tag, shape, swap, _ = parse_preamble(head, where)
        if tag is None:
            start, tag, shape, swap, _ = parse_preamble(head + stream.read(start - len(head)), where)
    if tag is None:
        raise bad(where, "the header is truncated", "header length", 8)
    part = Part(file, start, shape, tag, swap)
    if info.file_size != start + math.prod(shape) * part.dtype.itemsize:
        raise bad(where, f"holds {info.file_size} bytes, its header needs another size", "data", start)
    return start, part


def _loader(file: PlainFile, name: str, start: int, part: Part, n_rows: int) -> Callable[[], NDArray[Any]]:
    def load() -> NDArray[Any]:
        file.check()
        with _guard(file), zipfile.ZipFile(file.path) as archive, archive.open(name) as stream:
            stream.read(start)
            raw = stream.read(part.nbytes)
            if len(raw) != part.nbytes or stream.read(1):
                raise bad(file.path, "does not unpack to its stated size", f"member {quote(name)}")
        return as_column(np.frombuffer(raw, part.dtype), f"member {quote(name)}", n_rows)

    return load
