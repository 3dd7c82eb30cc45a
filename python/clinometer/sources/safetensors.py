"""The safetensors container: a strict reader of its header and a writer that streams."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.atomic import new_file
from clinometer.files.plain import PlainFile

from .tensors import BITS, LIMIT, Part

MAX_HEADER = 100_000_000
_KEYS = {"dtype", "shape", "data_offsets"}
_ALIGN = 64
_AT_ONCE = 4096  # most headers are shorter: one read gives the length, the header and often what a caller wants next


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < LIMIT


def read_header(file: PlainFile, left_out: dict[str, str] | None = None) -> tuple[dict[str, Part], dict[str, str]]:
    """Parse and check the header of a safetensors file before any tensor byte is touched.

    Every size is compared with the file's size in integers that cannot wrap; tensors must tile the data
    without holes, overlaps or leftover bytes, and no name may occur twice.

    Parameters
    ----------
    file : PlainFile
        The file; only its header is read.
    left_out : dict, optional
        Takes the tensors of dtypes that are not known, and why; without it they are refused.

    Returns
    -------
    parts, metadata
        Where each tensor lies, and the string map of `__metadata__`. Linear in the header's length.
    """
    head, begin = read_head(file)
    return parse_header(file, head[8:begin], left_out)


def read_head(file: PlainFile) -> tuple[bytes, int]:
    """The first bytes of a file, its whole header among them, and where the tensors begin."""
    path = file.path
    if file.size < 8:
        raise bad(path, f"{file.size} bytes are too short for a safetensors file", "header length", 0)
    head = file.read(0, min(file.size, _AT_ONCE))
    begin = 8 + int.from_bytes(head[:8], "little")
    if begin > file.size:
        raise bad(path, f"the header claims {begin - 8} bytes of a file of {file.size}", "header length", 0)
    if begin > 8 + MAX_HEADER:
        raise bad(path, f"a header of {begin - 8} bytes is over the limit of {MAX_HEADER}", "header length", 0)
    return (head if begin <= len(head) else head + file.read(len(head), begin - len(head))), begin


def parse_header(
    file: PlainFile, raw: bytes, left_out: dict[str, str] | None = None
) -> tuple[dict[str, Part], dict[str, str]]:
    """What the bytes between the length field and the first tensor say, checked as `read_header` says."""
    path = file.path
    if raw[:1] != b"{":
        raise bad(path, "does not begin with '{'", "header", 8)
    table = strictjson.loads(raw, path, 8, "header")
    metadata = _metadata(table.pop("__metadata__", {}), path)
    begin = 8 + len(raw)
    spans: list[tuple[int, int, str]] = []
    parts: dict[str, Part] = {}
    for name, entry in table.items():
        try:
            first, last = _entry(name, entry, left_out is not None)
        except ValueError as exc:
            raise bad(path, str(exc), f"tensor {quote(name)}", _offset_of(raw, name)) from None
        spans.append((first, last, name))
        if entry["dtype"] not in BITS and left_out is not None:
            left_out[name] = (
                f"has the dtype {quote(entry['dtype'])}, which is not known here: save it as F16, BF16 or F32"
            )
            continue
        parts[name] = Part(file, begin + first, tuple(entry["shape"]), entry["dtype"])
    _check_tiling(spans, path, begin, file.size)
    return parts, metadata


def _metadata(value: Any, path: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise bad(path, "must map strings to strings", "__metadata__", 8)
    return value


def _offset_of(raw: bytes, name: str) -> int:
    for ascii_only in (False, True):
        key = json.dumps(name, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        if (at := raw.find(key)) >= 0:
            return 8 + at
    return 8


def _entry(name: str, entry: Any, unknown: bool) -> tuple[int, int]:
    """The data offsets of one header entry after checking it alone."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("its name is not valid Unicode") from None
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        raise ValueError("an entry needs exactly dtype, shape and data_offsets")
    tag, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(tag, str) or (tag not in BITS and not unknown):
        raise ValueError(f"dtype {quote(tag)} is not known")
    if not isinstance(shape, list) or not all(_natural(n) for n in shape):
        raise ValueError("shape must be a list of non-negative integers")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_natural(n) for n in offsets):
        raise ValueError("data_offsets must be two non-negative integers")
    first, last = offsets
    if tag not in BITS:  # its bytes are where it says, whatever they are
        if last < first:
            raise ValueError(f"data_offsets span {last - first} bytes")
        return first, last
    bits = BITS[tag]
    for n in shape:
        bits *= n
        if bits >= 8 * LIMIT:
            raise ValueError("the product of its shape does not fit 63 bits")
    if bits % 8 or last - first != bits // 8:
        raise ValueError(f"data_offsets span {last - first} bytes but dtype and shape need {bits / 8:g}")
    return first, last


def _check_tiling(spans: list[tuple[int, int, str]], path: str, begin: int, size: int) -> None:
    at = 0
    for first, last, name in sorted(spans):
        if first != at:
            kind = "overlaps the tensor before it" if first < at else f"leaves a hole of {first - at} bytes before it"
            raise bad(path, kind, f"tensor {quote(name)}", begin + first)
        at = last
    if begin + at != size:
        kind = "is truncated" if begin + at > size else f"has {size - begin - at} bytes after the last tensor"
        raise bad(
            path,
            f"{kind}: the tensors end at byte {begin + at}, the file at {size}",
            "data",
            min(begin + at, size),
        )


@dataclass(frozen=True)
class Payload:
    """A tensor to be written: dtype tag, shape, and a function that yields its bytes piece by piece."""

    tag: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterable[Any]]


def header_of(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None, room: int = 0
) -> tuple[bytes, int]:
    """The length field and header of tensors laid one behind the other, and how many bytes they take.

    Padded with spaces to `room` bytes or the next multiple of 64, so that the first tensor is aligned.
    """
    table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, (tag, shape) in tensors.items():
        size = BITS[tag] // 8
        for n in shape:
            size *= n
        table[name] = {"dtype": tag, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    header += b" " * max(-(len(header) + 8) % _ALIGN, room - 8 - len(header))
    if len(header) > MAX_HEADER:
        raise ValueError(f"tensors: their header takes {len(header)} bytes, at most {MAX_HEADER} are allowed")
    return struct.pack("<Q", len(header)) + header, at


def room_of(tensors: Mapping[str, tuple[str, int]]) -> int:
    """Bytes that length field and header take at most for tensors of these dtypes and numbers of axes."""
    most = 10**18  # 19 digits, as 2^63 - 1 has
    entries = {
        name: {"dtype": tag, "shape": [most] * axes, "data_offsets": [most, most]}
        for name, (tag, axes) in tensors.items()
    }
    length = 8 + len(json.dumps(entries, separators=(",", ":"), ensure_ascii=True))
    return length + -length % _ALIGN


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Payload], metadata: Mapping[str, str] | None = None
) -> int:
    """Write a safetensors file that appears whole or not at all, one piece in memory at a time; return its size."""
    header, size = header_of({name: (p.tag, p.shape) for name, p in tensors.items()}, metadata)
    with new_file(path) as out:
        out.write(header)
        for payload in tensors.values():
            for piece in payload.pieces():
                out.write(piece)
        if out.tell() != len(header) + size:
            raise RuntimeError(f"{out.tell() - len(header)} bytes were written, {size} were promised")
    return len(header) + size
