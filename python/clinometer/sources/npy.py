"""The npy container: a strict reader of its header, which is a Python literal that is never evaluated."""

from __future__ import annotations

import re
import sys
from typing import Any

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files.plain import PlainFile

from .tensors import LIMIT, TAGS, Part

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 20
_WIDEST_TEXT = 1 << 20
# One alternative per token of the literals NumPy writes; strings with escapes are not among them.
_TOKEN = re.compile(
    r"[ \t\r\n]*(?:(?P<text>'[^'\\\n]*'|\"[^\"\\\n]*\")|"
    r"(?P<number>0|[1-9]\d*)L?|(?P<word>True|False)|(?P<mark>[{}():,]))"
)


class UnreadDtype(ValueError):
    """An array of a dtype that is not read here, in a file that is otherwise right."""


class _Literal:
    """A hand tokenizer for `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, what: str) -> ValueError:
        return ValueError(f"{what}\0{self.at}")

    def next(self) -> tuple[str, str]:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            raise self.fail("is not a header literal (structured, object and escaped dtypes are refused)")
        self.at = match.end()
        kind = str(match.lastgroup)
        return kind, match.group(kind)

    def expect(self, mark: str) -> None:
        if self.next() != ("mark", mark):
            raise self.fail(f"{mark!r} is missing")

    def shape(self) -> tuple[int, ...]:
        self.expect("(")
        out: list[int] = []
        comma = True
        while True:
            kind, value = self.next()
            if (kind, value) == ("mark", ")"):
                if len(out) == 1 and not comma:
                    raise self.fail("a shape of one axis needs a comma")
                return tuple(out)
            if kind != "number" or not comma or len(value) > 20 or len(out) == 64:
                raise self.fail("shape must be a tuple of non-negative integers")
            out.append(int(value))
            if comma := self.text[self.at : self.at + 1] == ",":
                self.at += 1

    def value(self, key: str) -> Any:
        if key == "shape":
            return self.shape()
        kind, value = self.next()
        if key == "descr" and kind == "text":
            return value[1:-1]
        if key == "fortran_order" and kind == "word":
            return value == "True"
        raise self.fail(f"{key} has a value of the wrong kind (structured and object dtypes are refused)")

    def table(self) -> dict[str, Any]:
        self.expect("{")
        out: dict[str, Any] = {}
        while True:
            kind, value = self.next()
            if (kind, value) == ("mark", "}"):
                break
            key = value[1:-1]
            if kind != "text" or key not in ("descr", "fortran_order", "shape") or key in out:
                raise self.fail(f"the key {quote(key)} is unknown or occurs twice")
            self.expect(":")
            out[key] = self.value(key)
            kind, value = self.next()
            if (kind, value) == ("mark", "}"):
                break
            if (kind, value) != ("mark", ","):
                raise self.fail("',' is missing")
        if self.text[self.at :].strip(" \n") or len(out) != 3:
            raise self.fail("needs descr, fortran_order and shape and nothing else")
        return out


def _tag(descr: str) -> tuple[str, bool]:
    """The dtype tag and whether the bytes are big-endian."""
    match = re.fullmatch(r"([<>|=]?)([a-zA-Z])([0-9]{1,7})", descr)
    if match is None:
        kinds = {"|O": "Python objects, which are not read: save numbers"}
        dates = "dates or durations, which are not read: save numbers, as .astype('int64') gives them"
        what = dates if re.match(r"[<>=|]?[Mm]8", descr) else kinds.get(descr, "no plain dtype")
        raise UnreadDtype(f"descr {quote(descr)} is {what}")
    order, kind, size = match.groups()
    code = kind + size
    if code == "V2":
        raise UnreadDtype("descr V2 is what np.save leaves of bfloat16: the dtype is lost; write safetensors instead")
    if code in TAGS:
        if order == "|" and size != "1":
            raise ValueError(f"descr {quote(descr)} does not say its byte order")
        return TAGS[code], order == ">" or (order == "=" and sys.byteorder == "big")
    if kind in "SU" and 0 < int(size) <= _WIDEST_TEXT:
        return f"{kind}{int(size)}", order == ">"
    raise UnreadDtype(f"descr {quote(descr)} is not a dtype that is read here: save float16, float32 or float64")


def parse_preamble(
    head: bytes, path: str, *, unread: bool = False
) -> tuple[int, str | None, tuple[int, ...], bool, bool]:
    """Parse the start of an npy file.

    Returns (offset of the data, tag, shape, big-endian, Fortran order); tag None asks for that many bytes.
    `unread` lets the UnreadDtype of an array through that a caller may leave out.
    """
    if head[:6] != _MAGIC:
        raise bad(path, "is not an npy file", "magic", 0)
    if len(head) < 12:
        raise bad(path, "is too short for an npy file", "header length", 6)
    major, minor = head[6], head[7]
    if (major, minor) not in ((1, 0), (2, 0), (3, 0)):
        raise bad(path, f"npy version {major}.{minor} is not known", "version", 6)
    start = 10 if major == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > _MAX_HEADER:
        raise bad(path, f"a header of {length} bytes is over the limit of {_MAX_HEADER}", "header length", 8)
    if len(head) < start + length:
        return start + length, None, (), False, False
    raw = head[start : start + length]
    try:
        text = raw.decode("utf-8" if major == 3 else "latin-1")
    except UnicodeDecodeError as exc:
        raise bad(path, "is not UTF-8", "header", start + exc.start) from exc
    try:
        literal = _Literal(text)
        table = literal.table()
        tag, swap = _tag(table["descr"])
    except ValueError as exc:
        if unread and isinstance(exc, UnreadDtype):
            raise
        what, _, at = str(exc).partition("\0")
        raise bad(path, what, "header", start + int(at or 0)) from None
    return start + length, tag, table["shape"], swap, table["fortran_order"]


def read_npy(file: PlainFile) -> Part:
    """Where the array of an npy file lies, after comparing its claim with the file's size to the byte.

    Parameters
    ----------
    file : PlainFile
        The file; only its header is read.

    Returns
    -------
    Part
        Offset, shape, dtype and order of the array.
    """
    path = file.path
    head = file.read(0, min(file.size, 4096))
    offset, tag, shape, swap, fortran = parse_preamble(head, path)
    if tag is None:
        if offset > file.size:
            raise bad(path, f"the header ends at byte {offset} of a file of {file.size}", "header length", 8)
        offset, tag, shape, swap, fortran = parse_preamble(file.read(0, offset), path)
    assert tag is not None
    part = Part(file, offset, shape, tag, swap, fortran and len(shape) > 1)
    size = part.dtype.itemsize
    for n in shape:
        size *= n
        if size >= LIMIT:
            raise bad(path, "the product of its shape does not fit 63 bits", "shape", 8)
    if offset + size != file.size:
        kind = "is truncated" if offset + size > file.size else "has bytes after the array"
        raise bad(path, f"{kind}: the array ends at byte {offset + size}, the file at {file.size}", "data", offset)
    return part
