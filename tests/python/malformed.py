"""Several hundred malformed files, made by rule from good ones: what a header can say that is not so."""

from __future__ import annotations

import io
import itertools
import json
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
from targets import gguf_bytes

Case = tuple[str, str, bytes]  # what is wrong, file name, bytes
PHI = np.arange(6, dtype=np.float32).reshape(2, 3)
# Integers that a size may not be, and values that are no size at all
NO_SIZES: tuple[Any, ...] = (
    -1, -(2**63), 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 1.0, 2.5, True, None, "2",
    [2], {},
)  # fmt: skip
NO_NAMES: tuple[Any, ...] = (
    None, 3, 1.5, True, [], {}, "", ".", "..", "/etc/passwd", "../x", "a/b", "a\\b", "C:x", "a\0b", "\u202ea", "a\nb",
    "gone.safetensors", "x" * 300,
)  # fmt: skip


def container(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of this header, whatever it is."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype: Any = "F32", shape: Any = (2, 3), offsets: Any = (0, 24), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def safetensors_files() -> Iterator[Case]:
    data, good = PHI.tobytes(), container({"phi": entry()}, PHI.tobytes())

    def case(what: str, raw: bytes) -> Case:
        return what, "x.safetensors", raw

    for size in (*range(0, len(good) - 1, 7), len(good) - 1):
        yield case(f"cut at {size}", good[:size])
    for more in (1, 7, 8, 4096):
        yield case(f"{more} bytes more", good + bytes(more))
    for length in (0, 1, 2, len(good), 10**8, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1):
        yield case(f"header length {length}", container({"phi": entry()}, data, length))
    for value, axis in itertools.product(NO_SIZES, (0, 1)):
        shape: list[Any] = [2, 3]
        shape[axis] = value
        yield case(f"shape {shape}", container({"phi": entry(shape=shape)}, data))
        offsets: list[Any] = [0, 24]
        offsets[axis] = value
        yield case(f"offsets {offsets}", container({"phi": entry(offsets=offsets)}, data))
    for bad in (None, 3, "2,3", {}, {"0": 2}, [[2, 3]], [2, 3, 2], [6, 2], [], [0, 3], [2**32, 2**32], [2**40, 0]):
        yield case(f"shape {bad}", container({"phi": entry(shape=bad)}, data))
    for bad in (None, 3, [], [0], [0, 24, 24], [24, 0], [24, 48], [1, 25], [4, 28], [0, 23], [0, 25], "0,24"):
        yield case(f"offsets {bad}", container({"phi": entry(offsets=bad)}, data))
    for dtype in (
        None,
        3,
        "",
        "f32",
        "F33",
        "FLOAT",
        "F64",
        "F16",
        "U8",
        "F4",
        "F6_E2M3",
        "C64",
        [],
        {},
        "F32\0",
        "\u202e",
    ):
        yield case(f"dtype {dtype!r}", container({"phi": entry(dtype)}, data))
    for keys in ({"x": 1}, {"strides": [3, 1]}, {"shape ": [2, 3]}):
        yield case(f"keys {keys}", container({"phi": entry(**keys)}, data))
    for key in ("dtype", "shape", "data_offsets"):
        yield case(f"no {key}", container({"phi": {k: v for k, v in entry().items() if k != key}}, data))
    for value in (None, 3, "x", [], [1], True, 1.5):
        yield case(f"entry {value!r}", container({"phi": value}))
        yield case(f"top {value!r}", container(value))
        yield case(
            f"metadata {value!r}", container({"__metadata__": value, "phi": entry()}, data) if value != {} else b""
        )
        yield case(f"metadata of {value!r}", container({"__metadata__": {"a": value if value != "x" else 1}}, b""))
    two = {"a": entry(), "b": entry(offsets=(24, 48))}
    for a, b in (
        ((0, 24), (0, 24)),
        ((0, 24), (12, 36)),
        ((0, 24), (25, 49)),
        ((24, 48), (24, 48)),
        ((1, 25), (25, 49)),
    ):
        yield case(f"tiles {a} {b}", container({"a": entry(offsets=a), "b": entry(offsets=b)}, bytes(49)))
    yield case("tiles short", container(two, bytes(40)))
    for raw in (b"{", b"}", b"{}{}", b"{},", b" {}", b"\n{}", b"[]", b"null", b'{"phi":}', b"{'phi':1}", b'{"a":NaN}',
                b'{"a":Infinity}', b'{"a":-0}', b'{"a":01}', b'{"a":1e400}', b'{"\xff":1}', b'{"\xed\xa0\x80":1}',
                b'{"\\ud800":1}', b'{"a":"\\u12"}', b'{"a":"\t"}', b"{/**/}", b'{"a":1,}', b"\xef\xbb\xbf{}", b"{\0}",
                b'{"a":' + b"[" * 90000, b'{"a":' * 90000, b'{"a":' + b"9" * 90000 + b"}", b"\x00" * 64,
                b'{"phi":1,"phi":1}', b'{"a":{"x":1,"x":1}}'):  # fmt: skip
        yield case(f"header {raw[:30]!r}", container(raw, b""))


def npy_header(text: str, data: bytes = b"", version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """An npy file of this header, whatever it is."""
    raw = text.encode("latin-1")
    width = 2 if version[0] == 1 else 4
    return (
        b"\x93NUMPY" + bytes(version) + (len(raw) if length is None else length).to_bytes(width, "little") + raw + data
    )


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n"


SHAPES = (
    "(2, 4)|(3, 3)|(-2, -3)|(2, -3)|(2.0, 3)|(2, 3.)|(True, 3)|(0x2, 3)|(2, 3, 1, )x|[2, 3]|2, 3|(2 3)|(2,, 3)|(,2, 3)|"
    "(2, 3|((2, 3))|(2, (3))|('2', 3)|(2**1, 3)|(1+1, 3)|(02, 3)|(2, 3j)|(None, 3)|tuple((2, 3))|(6)|()|(6,)|(2, 3, 1)|"
    "(1, 2, 3)|(0, 3)|(4611686018427387904, 4)|(18446744073709551616, 3)|(1048576, 1048576)|(1099511627776, 0)|(2, 0)"
)
KINDS = (
    "<f3|<f16|<i4|<u4|>i4|<c8|<c4|O|<O8|<V2|<U1|<M8[s]|<m8|<f4,<f4|(2,)<f4|float32|| |<|\\x3cf4|<f99999999|<g16|<q4|!f4"
)


def npy_files() -> Iterator[Case]:
    data = PHI.tobytes()
    good = npy_header(GOOD, data)

    def case(what: str, raw: bytes) -> Case:
        return what, "x.npy", raw

    for size in (*range(0, len(good) - 1, 7), len(good) - 1):
        yield case(f"cut at {size}", good[:size])
    for more in (b"\0", bytes(8), good):
        yield case(f"{len(more)} bytes more", good + more)
    for version in ((0, 0), (0, 1), (1, 1), (2, 1), (4, 0), (255, 255)):
        yield case(f"version {version}", npy_header(GOOD, data, version))
    for length in (0, 1, 59, 61, 65535):
        yield case(f"header length {length}", npy_header(GOOD, data, length=length))
    for length in (2**31, 2**32 - 1, 10**6 + 50000, 61):
        yield case(f"long header {length}", npy_header(GOOD, data, (2, 0), length))
    for shape in (*SHAPES.split("|"), f"({'9' * 400}, 3)", f"({'1, ' * 70})"):
        yield case(f"shape {shape[:40]}", npy_header(GOOD.replace("(2, 3)", shape), data))
    for descr in (*KINDS.split("|"), "|f4", "|O", "|V4", "|b4", "|S4"):
        yield case(f"descr {descr}", npy_header(GOOD.replace("<f4", descr), data))
    for text in (
        "[('a', '<f4')]",
        "['<f4']",
        "('<f4', (3,))",
        "{'names': ['a']}",
        "None",
        "4",
        "'<f4' '<f4'",
        "b'<f4'",
        "u'<f4'",
    ):
        yield case(f"descr = {text}", npy_header(GOOD.replace("'<f4'", text), data))
    for order in (
        "false",
        "0",
        "1",
        "None",
        "'False'",
        "not True",
        "False or True",
        "bool(0)",
        "True if 1 else 0",
        "Falsee",
    ):
        yield case(f"order {order}", npy_header(GOOD.replace("False", order), data))
    for key in ("descr", "fortran_order", "shape"):
        yield case(f"key of {key}", npy_header(GOOD.replace(key, key + "s"), data))
        yield case(f"no quote at {key}", npy_header(GOOD.replace(f"'{key}'", key), data))
    edits = (
        ("}", ""), ("{", ""), ("}", "}}"), ("}", "} or 1"), ("{", "{'x': 1, "), (":", "="), ("{", "{'descr': '<f4', "),
        ("'shape'", "'shape': 1, 'shape'"), (",", ";"), ("'", "\"'"), ("}", "**{}}"), ("(2, 3)", "(2, 3)\\\n"),
    )  # fmt: skip
    texts = [
        "",
        "\n",
        "{}",
        "{",
        "}",
        "[]",
        "None",
        "{'descr': '<f4'}",
        GOOD + "x",
        "#" + GOOD,
        "lambda: 0",
        "exec('x=1')",
    ]
    texts += ["__import__('os').system('true')", "(" * 60000, "{" * 60000, "'" + "a" * 60000]
    for text in (*texts, *(GOOD.replace(*edit) for edit in edits)):
        yield case(f"header {text[:40]!r}", npy_header(text, data))
    yield case("not UTF-8", b"\x93NUMPY\x03\x00\x04\x00\x00\x00\xff\xff\xff\xff")
    for at in range(6):
        yield case(f"magic byte {at}", good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])


def npz_files() -> Iterator[Case]:
    """Every case of npy as a member, and every field of the archive set to what it is not."""
    good = npy_header(GOOD, PHI.tobytes())
    for what, _, raw in itertools.islice(npy_files(), 0, None, 3):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(zipfile.ZipInfo("phi.npy"), raw, zipfile.ZIP_DEFLATED)
        yield f"member: {what}", "x.npz", out.getvalue()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("phi.npy"), good)
    whole = out.getvalue()
    for size in range(0, len(whole), 11):
        yield f"cut at {size}", "x.npz", whole[:size]
    for more in (b"\0", bytes(64), b"PK\x05\x06"):
        yield f"{more!r} behind", "x.npz", whole + more
        yield f"{more!r} before", "x.npz", more + whole
    # (signature, offset, width) of sizes, offsets, counts, methods and names' lengths
    fields = [(b"PK\x03\x04", at, w) for at, w in ((8, 2), (26, 2), (28, 2))]
    fields += [(b"PK\x01\x02", at, w) for at, w in ((10, 2), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4))]
    fields += [(b"PK\x05\x06", at, w) for at, w in ((12, 4), (16, 4), (20, 2))]
    for sign, at, width in fields:
        place = whole.index(sign) + at
        old = int.from_bytes(whole[place : place + width], "little")
        for value in {old + 1, max(old - 1, 0), 256**width - 1, 256**width // 2, 7} - {old}:
            raw = whole[:place] + (value % 256**width).to_bytes(width, "little") + whole[place + width :]
            yield f"{sign[2:]!r} {at} = {value}", "x.npz", raw


def index_files() -> Iterator[Case]:
    """Maps that do not describe a.safetensors (phi) and b.safetensors (value_x)."""
    good = {"phi": "a.safetensors", "value_x": "b.safetensors"}
    for name in NO_NAMES:
        for key in good:
            yield (
                f"{key} in {name!r:.40}",
                "m.safetensors.index.json",
                json.dumps({"weight_map": {**good, key: name}}).encode(),
            )
    for table in (
        None,
        [],
        3,
        "x",
        {},
        {"weight_map": None},
        {"weight_map": []},
        {"weight_map": {}},
        {"weight_map": "x"},
    ):
        yield f"table {table!r}", "m.safetensors.index.json", json.dumps(table).encode()
    swapped = {"phi": "b.safetensors", "value_x": "b.safetensors"}
    ghost = {**good, "ghost": "a.safetensors"}
    for wrong in (ghost, swapped, {**good, "value_x": "a.safetensors"}, {"value_x": "b.safetensors"}):
        yield f"map {wrong}", "m.safetensors.index.json", json.dumps({"weight_map": wrong}).encode()
    for raw in (b"", b"{", b"\xff", b'{"weight_map":{},"weight_map":{}}', b"[" * 90000, b"NaN", b"{}x"):
        yield f"text {raw[:20]!r}", "m.safetensors.index.json", raw


def manifests(table: dict[str, Any]) -> Iterator[Case]:
    """A good manifest of two shards with one thing changed."""

    def case(what: str, change: Any) -> Case:
        new = json.loads(json.dumps(table))
        change(new)
        return what, "manifest.json", json.dumps(new).encode()

    def at(*path: Any) -> Any:
        *keys, value = path

        def change(new: Any) -> None:
            for key in keys[:-1]:
                new = new[key]
            new[keys[-1]] = value

        return change

    for name in (*NO_NAMES, "manifest.json", "phi-00001.safetensors"):
        yield case(f"file {name!r:.40}", at("shards", 0, "file", name))
    for value in (*NO_SIZES, 0, 3):
        yield case(f"rows {value!r}", at("shards", 0, "rows", value))
        if value != 0 or value is True:
            yield case(f"row_start {value!r}", at("shards", 0, "row_start", value))
        if value is not None:
            yield case(f"bytes {value!r}", at("shards", 0, "bytes", value))
        yield case(f"n_rows {value!r}", at("n_rows", value))
        if value != 1 or value is True:
            yield case(f"version {value!r}", at("version", value))
        if value != 3:
            yield case(f"d {value!r}", at("tensors", 0, "d", value))
    for value in (None, 3, "x", {}, [], [3], ["x"], [{}], [None]):
        yield case(f"shards {value!r}", at("shards", value))
        if value is not None:
            yield case(f"tensors {value!r}", at("tensors", value))
        yield case(f"tensor name {value!r}", at("tensors", 0, "name", value))
        yield case(f"dtype {value!r}", at("tensors", 0, "dtype", value))
        yield case(f"format {value!r}", at("format", value))
    for key in ("format", "version", "n_rows", "shards"):
        yield case(f"no {key}", lambda new, key=key: new.pop(key))
    for text in (b"", b"{", b"null", b"[]", b"\xff", b"{}x", b'{"format":1,"format":1}', b"[" * 90000, b'{"a":NaN}'):
        yield f"text {text[:20]!r}", "manifest.json", text


def gguf_files() -> Iterator[Case]:
    """A control vector with every number of its header set to what it is not, and cut at every length."""
    good = gguf_bytes({3: np.arange(4.0), 5: np.arange(4.0)})
    end = good.index(b"direction.5") + 27
    for size in range(0, len(good) - 17, 9):
        yield f"cut at {size}", "x.gguf", good[:size]
    for at in range(0, end, 4):
        for value in (2**64 - 1, 2**63):
            raw = good[:at] + struct.pack("<Q", value) + good[at + 8 :]
            yield f"{value} at {at}", "x.gguf", raw
    for more in (1, 31, 4096):
        yield f"{more} bytes more", "x.gguf", good + bytes(more)
