"""Mutations that know the shape of a file: JSON trees, binary fields, literals, archives."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

EDGES = (
    0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62,
    2**63 - 1, 2**63, 2**64 - 1, 2**64, -1,
)  # fmt: skip
WORDS = (
    "phi", "__metadata__", "value_x", "F32", "BF16", "F4", "U8", "F16", "I64", "C64", "string", "float16", "..", "",
    "a.safetensors", "\u202e", "\ud800", "phi-00000.safetensors", "direction.0", "NaN", "on_policy",
)  # fmt: skip


def flip(data: bytes, rng: random.Random) -> bytes:
    """A few byte-level edits."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(raw) + 1)
        kind = rng.randrange(6)
        if kind == 0 and raw:
            raw[at % len(raw)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            raw[at:at] = bytes(rng.choices(b'0123456789{}[]:,"\\-. \x00\xffabcLe', k=rng.choice((1, 1, 2, 8))))
        elif kind == 2:
            del raw[at : at + rng.choice((1, 1, 2, 8, 64))]
        elif kind == 3:
            width = rng.choice((1, 2, 4, 8))
            raw[at : at + width] = (rng.choice(EDGES) % 256**width).to_bytes(width, rng.choice(("little", "big")))
        elif kind == 4:
            piece = raw[at : at + rng.choice((4, 16, 64))]
            to = rng.randrange(len(raw) + 1)
            raw[to:to] = piece
        else:
            raw += bytes(rng.choice((1, 4, 8, 64)))
    return bytes(raw)


def tree(value: Any, rng: random.Random) -> Any:
    """A JSON value with one place in it changed."""
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                visit(node[key])

    if not isinstance(value, (dict, list)):
        return leaf(value, rng)
    visit(value)
    if not places:
        return leaf(value, rng)
    node, key = rng.choice(places)
    kind = rng.randrange(7)
    if kind < 3:
        node[key] = leaf(node[key], rng)
    elif kind == 3:
        del node[key]
    elif kind == 4 and isinstance(node, dict):
        node[rng.choice(WORDS)] = node.pop(key) if rng.random() < 0.5 else json.loads(json.dumps(node[key]))
    elif kind == 5:
        node[key] = [node[key]] * rng.choice((0, 1, 2, 3))
    else:
        other, place = rng.choice(places)
        node[key] = json.loads(json.dumps(other[place])) if _holds(other, place) else None
    return value


def _holds(node: Any, key: Any) -> bool:
    return key in node if isinstance(node, dict) else key < len(node)


def leaf(value: Any, rng: random.Random) -> Any:
    """Another scalar in the place of a value."""
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.6:
        return value + rng.choice((-8, -4, -1, 1, 2, 4, 8, 2**32, 2**63))
    return rng.choice(
        (
            rng.choice(EDGES), rng.choice(WORDS), None, True, 1.5, [], {}, -1, 10**30, [rng.choice(EDGES)],
            [rng.choice((0, 1, 2, 3)) for _ in range(rng.randrange(4))], "x" * rng.choice((1, 300)),
        )
    )  # fmt: skip


def as_json(data: bytes, rng: random.Random) -> bytes:
    """Mutate a JSON text as a tree; now and then write a key twice, nest it, or edit its bytes."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return flip(data, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = tree(value, rng)
    try:
        out = json.dumps(value, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return flip(data, rng)
    kind = rng.randrange(12)
    if kind == 0 and len(out) > 4 and out[:1] == b"{":
        out = out[:-1] + b"," + out[1:]
    elif kind == 1:
        depth = rng.choice((10, 1000, 100000))
        out = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
    elif kind == 2:
        out = flip(out, rng)
    return out


def as_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Mutate the header as JSON and keep length and data, or edit bytes."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if rng.random() < 0.2 or not 0 < length <= len(data) - 8:
        return flip(data, rng)
    header = as_json(data[8 : 8 + length], rng)
    rest = data[8 + length :]
    if rng.random() < 0.15:
        rest = flip(rest, rng)
    claimed = len(header) if rng.random() < 0.95 else rng.choice(EDGES) % 2**64
    return struct.pack("<Q", claimed) + header + rest


def as_npy(data: bytes, rng: random.Random) -> bytes:
    """Swap tokens of the literal in the header, or edit bytes."""
    if rng.random() < 0.3 or len(data) < 12:
        return flip(data, rng)
    start = 10 if data[6] == 1 else 12
    length = int.from_bytes(data[8:start], "little")
    text = data[start : start + length].decode("latin-1")
    for _ in range(rng.choice((1, 1, 2))):
        old, new = rng.choice(_NPY_SWAPS)
        text = text.replace(old, new, 1) if old else text + new
    raw = text.encode("latin-1")
    size = len(raw) if rng.random() < 0.95 else rng.choice(EDGES)
    head = data[:8] + (size % 256 ** (start - 8)).to_bytes(start - 8, "little")
    return head + raw + data[start + length :] + bytes(rng.choice((0, 0, 0, 1, 8)))


_NPY_SWAPS = (
    ("<f4", "<f8"), ("<f4", ">f4"), ("<f4", "<i4"), ("<f4", "|O"), ("<f4", "<U1"), ("<f4", "|S4"), ("<f4", "<V4"),
    ("<f4", "=f4"), ("<f4", "f4"), ("<f4", "<f2"), ("<f4", "<c8"), ("False", "True"), ("True", "False"), ("(", "[("),
    (",", ""), ("}", "}}"), ("{", "{'shape': (1,), "), ("(2, 3)", "(3, 2)"), ("(2, 3)", "(6,)"),
    ("(2, 3)", "(2, 3, 1)"),
    ("(2, 3)", "()"), ("(2, 3)", "(6)"), ("2", "-2"), ("2", "0"), ("3", "4294967296"), ("3", "18446744073709551615"),
    ("3", "3L"), ("'", '"'), (" ", "  "), ("\n", ""), ("", "\n\n"), ("", "x"), ("2", "0x2"),
    ("2", "2.0"), ("2", "1+1"),
)  # fmt: skip


def as_archive(data: bytes, rng: random.Random) -> bytes:
    """Write an archive anew with a mutated member, or change a field of its directory."""
    kind = rng.random()
    if kind < 0.35:
        return flip(data, rng)
    if kind < 0.7:
        return _zip_field(data, rng)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(i.filename, archive.read(i)) for i in archive.infolist()[:8] if i.file_size < 1 << 16]
    except Exception:
        return flip(data, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, payload in members:
            if rng.random() < 0.4:
                payload = as_npy(payload, rng)
            if rng.random() < 0.1:
                name = rng.choice(("phi.npy", "a.npy", "x.txt", "../a.npy", ".npy", "phi.npy/"))
            how = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
            if name not in archive.namelist():
                archive.writestr(zipfile.ZipInfo(name), payload, how)
        archive.comment = b"x" if rng.random() < 0.05 else b""
    return out.getvalue()


def _zip_field(data: bytes, rng: random.Random) -> bytes:
    signs = [(b"PK\x03\x04", 30), (b"PK\x01\x02", 46), (b"PK\x05\x06", 22), (b"PK\x06\x06", 56), (b"PK\x06\x07", 20)]
    places = [(at, size) for sign, size in signs for at in _all(data, sign)]
    if not places:
        return flip(data, rng)
    at, size = rng.choice(places)
    width = rng.choice((2, 4))
    to = at + rng.randrange(4, size - width + 1)
    old = int.from_bytes(data[to : to + width], "little")
    new = rng.choice((old + 1, old - 1, *EDGES)) % 256**width
    return data[:to] + new.to_bytes(width, "little") + data[to + width :]


def _all(data: bytes, sign: bytes) -> list[int]:
    out, at = [], data.find(sign)
    while at >= 0 and len(out) < 16:
        out.append(at)
        at = data.find(sign, at + 1)
    return out


Mutator = Callable[[bytes, random.Random], bytes]
