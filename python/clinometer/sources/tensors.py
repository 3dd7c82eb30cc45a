"""A tensor as bytes of plain files: where it lies, what it holds, and how it becomes a NumPy array."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.dlpack import decode_bfloat16
from clinometer.arrays.strings import joined, text_of
from clinometer.common.notices import tell
from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files.plain import MappedLike, PlainFile

from .window import Window

LIMIT = 1 << 63
_COLUMNS = 64
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
NUMPY_CODES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "BF16": "<u2",
    "U32": "<u4", "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
}  # fmt: skip
TAGS = {"b1": "BOOL"} | {
    np.dtype(code).str[1:]: tag for tag, code in NUMPY_CODES.items() if tag not in ("BF16", "BOOL")
}
FLOAT_NAMES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


@dataclass(frozen=True)
class Part:
    """A run of rows of a tensor inside one file; sizes are checked by whoever makes it."""

    file: PlainFile
    offset: int
    shape: tuple[int, ...]
    tag: str
    swap: bool = False
    fortran: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the stored items (unsigned 16 bit for bfloat16)."""
        code = NUMPY_CODES.get(self.tag)
        if code is None and self.tag[0] in "SU" and self.tag[1:].isdigit() and self.tag not in BITS:
            code = "<" + self.tag
        if code is None:
            raise bad(self.file.path, f"tensors of dtype {self.tag} cannot be read", offset=self.offset)
        dtype = np.dtype(code)
        return dtype.newbyteorder(">") if self.swap else dtype

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> NDArray[Any]:
        """The values in native order, bfloat16 as float32; read from the file, not through a map."""
        raw = np.frombuffer(self.file.read(self.offset, self.nbytes), dtype=self.dtype)
        return self.finish(raw)

    def finish(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Stored items, as they lie, as values of the tensor's shape in native order, bfloat16 as float32."""
        try:
            shaped = raw.reshape(self.shape, order="F" if self.fortran else "C")
        except ValueError as exc:
            raise bad(self.file.path, f"the shape {self.shape} cannot be held ({exc})", offset=self.offset) from exc
        if self.tag == "BF16":
            return decode_bfloat16(shaped.astype(np.uint16, copy=False))
        if self.tag == "BOOL" and raw.size and raw.view(np.uint8).max() > 1:
            raise bad(self.file.path, "a byte of a boolean tensor is neither 0 nor 1", offset=self.offset)
        return shaped.astype(shaped.dtype.newbyteorder("="), copy=False)

    def matrix(self, mapped: bool = True) -> tuple[NDArray[Any] | Window, MappedLike | None]:
        """The rows as a 2-D view of the map; a Window where they are remote, big-endian or in Fortran order.

        Not `mapped`: a Window of the file, which then takes neither one of the few maps nor a descriptor.
        """
        if self.file.remote or not (mapped or self.fortran or self.swap):
            return Window(self._rows_shape(), self._native(), self._fetch, self.file.path), self.file
        held, watch = self.file.map()
        stored = held[self.offset : self.offset + self.nbytes].view(self.dtype)
        if not (self.fortran or self.swap):
            return stored.reshape(self.shape), watch
        what = "Fortran order" if self.fortran else "big-endian data"
        tell(
            f"{quote(self.file.path, 400)}: {what}: {self.nbytes} bytes are "
            "turned window by window in every pass; `clinometer convert` does it once",
            stacklevel=2,
        )
        turned, native = stored.reshape(self.shape, order="F" if self.fortran else "C"), self._native()

        def turn(first: int, last: int) -> NDArray[Any]:
            piece = turned[first:last]
            return _in_rows(piece, native) if self.fortran else np.array(piece, native)

        return Window(self._rows_shape(), native, turn, self.file.path), watch

    def _rows_shape(self) -> tuple[int, int]:
        return self.shape[0], self.shape[1]

    def _native(self) -> np.dtype[Any]:
        return self.dtype.newbyteorder("=")

    def _fetch(self, first: int, last: int) -> NDArray[Any]:
        """Rows [first, last) through `read`: only in C order are they one range of bytes."""
        if self.fortran:
            raise bad(self.file.path, "is in Fortran order, which is not read over a network", offset=self.offset)
        width = self.shape[1] * self.dtype.itemsize
        raw = self.file.read(self.offset + first * width, (last - first) * width)
        rows = np.frombuffer(raw, self.dtype).reshape(last - first, self.shape[1])
        return rows.astype(self._native(), copy=False)


def _in_rows(columns: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A copy (m, d) with contiguous rows of an array with contiguous columns, a few columns at a time."""
    out: NDArray[Any] = np.empty(columns.shape, dtype)
    for c in range(0, columns.shape[1], _COLUMNS):
        out[:, c : c + _COLUMNS] = columns[:, c : c + _COLUMNS]
    return out


@dataclass(frozen=True)
class Tensor:
    """A named tensor cut along its first axis into parts (one per shard)."""

    name: str
    parts: tuple[Part, ...]
    text: bool = False

    @property
    def tag(self) -> str:
        """The stored dtype."""
        return self.parts[0].tag

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole shape."""
        first = self.parts[0].shape
        if len(self.parts) == 1:
            return first
        return (sum(p.shape[0] for p in self.parts), *first[1:])

    @property
    def is_readable(self) -> bool:
        """Whether NumPy has a dtype for its entries."""
        return self.tag in NUMPY_CODES or self.tag not in BITS

    @property
    def is_matrix(self) -> bool:
        """Whether it can serve as phi: two axes and a float dtype that rows may have."""
        return len(self.shape) == 2 and self.tag in FLOAT_NAMES and not self.text

    def read(self) -> NDArray[Any]:
        """All values as one array in native order, text columns as strings."""
        return joined([_decoded(p, self.name) if self.text else p.read() for p in self.parts])


def _decoded(part: Part, name: str) -> NDArray[Any]:
    """Strings of a text column; every shard has its own width."""
    try:
        return text_of(part.read())
    except UnicodeDecodeError as exc:
        raise bad(part.file.path, "text is not UTF-8", f"tensor {quote(name)}", part.offset) from exc


@dataclass(frozen=True)
class Virtual(Tensor):
    """A tensor of a container that is not a run of bytes: `pieces` are its rows, `values` reads it whole."""

    stated: tuple[str, tuple[int, ...]] = ("F32", (0,))
    pieces: Callable[[], list[tuple[NDArray[Any] | Window, MappedLike | None]]] | None = None
    values: Callable[[], NDArray[Any]] | None = None

    @property
    def tag(self) -> str:
        """The stored dtype."""
        return self.stated[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole shape."""
        return self.stated[1]

    def read(self) -> NDArray[Any]:
        """All values as one array in native order, bfloat16 as float32."""
        if self.values is not None:
            return self.values()
        held = [array[:] for array, _ in self.pieces()] if self.pieces else []
        whole = held[0] if len(held) == 1 else np.concatenate(held)
        return decode_bfloat16(whole) if self.tag == "BF16" else whole
