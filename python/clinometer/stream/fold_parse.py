"""The bytes of a saved Fold taken apart: header, arrays and states, each of the size that is said of it."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.arrays.bfloat16 import BFLOAT16
from clinometer.engine import stat

from .fold_file import FORMAT, VERSION
from .pending_rows import Rows

__all__ = ["Blobs", "count", "listed", "need", "parse"]

MOST = 1 << 62  # of rows

WIDEST = 1 << 24  # numbers of a row


def need(truth: bool, field: str, what: str) -> None:
    """A ValueError that names the field, unless it holds."""
    if not truth:
        raise ValueError(f"field {field!r}: {what}")


def count(value: Any, field: str, most: int = MOST) -> int:
    """A whole number from 0 to `most`."""
    need(type(value) is int and 0 <= value <= most, field, f"{value!r} is no count up to {most}")
    return int(value)


def listed(value: Any, kind: Any, field: str) -> list[Any]:
    """A list whose entries are of one type."""
    need(isinstance(value, list) and all(isinstance(x, kind) for x in value), field, "its entries have another type")
    return list(value)


class Blobs:
    """Arrays and states of a file; each is taken once, as what it is."""

    def __init__(self, shapes: Any, payload: memoryview) -> None:
        self.held: list[Any] = []
        at = 0
        for n, *shape in listed(shapes, list, "blobs"):
            end = at + count(n, "blobs", len(payload) - at)
            self.held.append(_array(payload[at:end], *shape) if shape else bytes(payload[at:end]))
            at = end
        need(at == len(payload), "blobs", f"{len(payload) - at} bytes are left over")

    def take(self, index: Any, kind: type, field: str) -> Any:
        """One blob, which nothing else may use."""
        at = count(index, field, len(self.held) - 1)
        need(isinstance(self.held[at], kind), field, f"blob {at} is taken already or of another kind")
        out, self.held[at] = self.held[at], None
        return out

    def rows(self, said: Any, dim: int, field: str) -> Rows:
        """Rows of `dim` numbers with their ids and columns."""
        need(isinstance(said, dict) and isinstance(said["columns"], dict), field, "is no mapping")
        phi, ids = (self.take(said[n], np.ndarray, field) for n in ("phi", "ids"))
        columns = {n: self.take(i, np.ndarray, field) for n, i in said["columns"].items()}
        good = phi.ndim == 2 and phi.shape[1] == dim and len(phi) > 0
        need(good, field, f"phi has shape {phi.shape}, wanted (m, {dim})")
        for a in (ids, *columns.values()):
            need(a.shape == (len(phi),), field, f"an array beside phi has shape {a.shape}, wanted ({len(phi)},)")
        return Rows(phi, ids, columns)

    def states(self, said: Any, field: str) -> list[Any]:
        """Compiled states, each checked against its own settings."""
        out = []
        for kind, index in listed(said, list, field):
            need(kind in stat.__all__, field, "names no statistic")
            made: Any = getattr(_core, kind)
            state = made.__new__(made)
            state.__setstate__(self.take(index, bytes, field))
            out.append(state)
        return out


def _array(data: memoryview, dtype: str, shape: list[int]) -> NDArray[Any]:
    need(type(dtype) is str, "blobs", "a dtype is no text")
    kind = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    if kind != BFLOAT16:
        need(kind.kind in "fiubUS" and (kind.kind in "US" or kind.itemsize <= 8), "blobs", f"dtype {dtype!r}")
    out = np.frombuffer(data, np.uint8).copy()
    size = int(np.prod([count(n, "blobs", MOST) for n in shape], dtype=object)) if shape else 1
    need(kind.itemsize > 0 and size * kind.itemsize == len(out), "blobs", "shape and bytes of an array disagree")
    if kind.kind == "U":
        code = out.view(kind.byteorder.replace("|", "=") + "u4")
        need(not len(code) or int(code.max()) < 0x110000, "blobs", "holds what is no character")
    return np.asarray(out.view(kind).reshape(shape))


def parse(data: bytes) -> tuple[dict[str, Any], Blobs]:
    """Header and blobs of a file whose sizes and checksum fit."""
    size, checksum = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:12], "little")
    need(size <= len(data) - 12, "header", f"ends behind byte {len(data)}")
    need(zlib.crc32(memoryview(data)[12:]) == checksum, "checksum", "differs")
    header = json.loads(data[12 : 12 + size])
    need(isinstance(header, dict), "header", "is no object")
    found = header.get("format"), header.get("version")
    need(found == (FORMAT, VERSION), "format", f"is {found!r}, wanted {(FORMAT, VERSION)!r}")
    return header, Blobs(header["blobs"], memoryview(data)[12 + size :])
