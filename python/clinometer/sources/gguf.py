"""The GGUF container, as far as control vectors need it: a strict reader of its header."""

from __future__ import annotations

import struct
from typing import Any

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files.plain import PlainFile

from .tensors import BITS, LIMIT, Part

_MOST = 4 << 20  # bytes of header: control vectors have a few keys, and no vocabulary
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY, _BOOL = 8, 9, 7
_TAGS = {0: "F32", 1: "F16", 28: "F64", 30: "BF16"}
_ALIGNMENTS = tuple(1 << k for k in range(3, 17))


class _Reader:
    """A cursor over the header; every length is compared with what is there before it is used."""

    def __init__(self, raw: bytes, path: str) -> None:
        self.raw, self.path, self.at = raw, path, 0

    def take(self, count: int, what: str) -> bytes:
        if count > len(self.raw) - self.at:
            raise bad(self.path, f"{count} bytes wanted, {len(self.raw) - self.at} are left", what, self.at)
        self.at += count
        return self.raw[self.at - count : self.at]

    def number(self, form: str, what: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form), what))[0]

    def text(self, what: str) -> str:
        at = self.at
        raw = self.take(self.number("<Q", what), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise bad(self.path, "is not UTF-8", what, at + 8 + exc.start) from exc

    def value(self, kind: int, what: str) -> Any:
        if kind == _STRING:
            return self.text(what)
        if kind == _ARRAY:
            return self.array(what)
        if kind not in _SCALARS:
            raise bad(self.path, f"type {kind} is not known", what, self.at)
        value = self.number(_SCALARS[kind], what)
        if kind == _BOOL and value > 1:
            raise bad(self.path, f"a boolean of {value}", what, self.at - 1)
        return value

    def array(self, what: str) -> int:
        """Skips an array: no key that is used has one. Its length is the value."""
        at = self.at
        kind, count = self.number("<I", what), self.number("<Q", what)
        if kind == _STRING:
            for _ in range(count):
                self.take(self.number("<Q", what), what)
        elif kind in _SCALARS:
            self.take(count * struct.calcsize(_SCALARS[kind]), what)
        else:
            raise bad(self.path, f"arrays of type {kind} are not read", what, at)
        return int(count)


def read_gguf(file: PlainFile) -> tuple[dict[str, Part], dict[str, Any]]:
    """Where each tensor lies and what the keys say, after every claim was compared with the file's size.

    Tensors must follow one another with no more than the padding to the file's alignment between them, and only floats
    that NumPy knows (and bfloat16) are read: a control vector is not quantised. Big-endian files are refused.
    """
    path = file.path
    r = _Reader(file.read(0, min(file.size, _MOST)), path)
    if r.take(4, "magic") != b"GGUF":
        raise bad(path, "is not a GGUF file", "magic", 0)
    version = r.number("<I", "version")
    if version not in (2, 3):
        raise bad(path, f"version {version} is not 2 or 3", "version", 4)
    n_tensors, n_keys = r.number("<Q", "tensor count"), r.number("<Q", "key count")
    for count, least, what, at in ((n_tensors, 32, "tensor count", 8), (n_keys, 13, "key count", 16)):
        if count * least > len(r.raw):
            raise bad(path, f"{count} cannot lie in a header of at most {len(r.raw)} bytes", what, at)
    keys: dict[str, Any] = {}
    for _ in range(n_keys):
        at, key = r.at, r.text("key")
        if key in keys:
            raise bad(path, "occurs twice", f"key {quote(key)}", at)
        keys[key] = r.value(r.number("<I", f"key {quote(key)}"), f"key {quote(key)}")
    alignment = keys.get("general.alignment", 32)
    if alignment not in _ALIGNMENTS:
        raise bad(path, f"{quote(alignment)} is not a power of two from 8 to 65536", "general.alignment")
    claims = [_tensor(r) for _ in range(n_tensors)]
    return _placed(file, claims, r.at, alignment), keys


def _tensor(r: _Reader) -> tuple[str, int, tuple[int, ...], str, int]:
    at, name = r.at, r.text("tensor name")
    what = f"tensor {quote(name)}"
    n_dims = r.number("<I", what)
    if not 1 <= n_dims <= 4:
        raise bad(r.path, f"has {n_dims} axes", what, at)
    dims = [r.number("<Q", what) for _ in range(n_dims)]
    kind, offset = r.number("<I", what), r.number("<Q", what)
    if kind not in _TAGS:
        raise bad(r.path, f"element type {kind} is not read: F32, F16, BF16 or F64 is wanted", what, at)
    bits = BITS[_TAGS[kind]]
    for n in dims:
        bits *= n
        if bits >= 8 * LIMIT:
            raise bad(r.path, "the product of its shape does not fit 63 bits", what, at)
    return name, offset, tuple(reversed(dims)), _TAGS[kind], at


def _placed(file: PlainFile, claims: list[tuple[str, int, tuple[int, ...], str, int]], end: int, step: int) -> Any:
    begin = end + -end % step
    parts: dict[str, Part] = {}
    last = 0
    for name, offset, shape, tag, at in sorted(claims, key=lambda c: c[1]):
        what = f"tensor {quote(name)}"
        if name in parts:
            raise bad(file.path, "occurs twice", what, at)
        if offset != last + -last % step:
            raise bad(file.path, f"begins at {offset}, the data before it ends at {last}", what, at)
        parts[name] = Part(file, begin + offset, shape, tag)
        last = offset + parts[name].nbytes
    stops = (begin + last, begin + last + -last % step) if claims else (end, begin)
    if file.size not in stops:
        raise bad(
            file.path, f"the tensors end at byte {stops[0]}, the file at {file.size}", "data", min(stops[0], file.size)
        )
    return parts
