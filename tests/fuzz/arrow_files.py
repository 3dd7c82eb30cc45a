"""Arrow and Parquet for fuzzing: files as pyarrow writes them, mutations that know their metadata, and the law."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import mutators
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clinometer.dump import open_dump

_HALVES = "float16"


def valid(rng: random.Random, parquet: bool) -> bytes:
    """A file of a few rows of lists, and columns of other kinds beside them."""
    n, d = rng.choice((0, 1, 2, 3, 5)), rng.choice((1, 2, 3))
    kind = rng.choice((pa.float16(), pa.float32(), pa.float64(), pa.int16()))
    values = np.frombuffer(rng.randbytes(n * d * 8), "i2")[: n * d] % 9
    flat = pa.array(values.astype("f2" if kind == pa.float16() else "i2")).cast(kind)
    fixed, offsets = pa.FixedSizeListArray.from_arrays(flat, d), np.arange(0, n * d + 1, d)
    wide = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), flat)
    phi = rng.choice((fixed, wide, fixed if not n else pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)))
    beside: dict[str, Any] = {
        "prompt_id": np.arange(n) // 2, "value_x": np.linspace(0, 1, n), "ok": np.arange(n) % 2 == 0,
        "who": pa.array([f"m{k % 2}" for k in range(n)], pa.string()),
    }  # fmt: skip
    names = rng.sample(list(beside), rng.randrange(len(beside) + 1))
    table = pa.table({"phi": phi} | {name: beside[name] for name in names})
    return _parquet(table, rng) if parquet else _ipc(table, rng)


def _parquet(table: Any, rng: random.Random) -> bytes:
    out, codec = io.BytesIO(), rng.choice(("NONE", "SNAPPY", "ZSTD"))
    dictionary = [c for c in table.column_names if c != "phi" and rng.random() < 0.5]
    pq.write_table(table, out, row_group_size=rng.choice((1, 2, 9)), compression=codec, use_dictionary=dictionary)
    return out.getvalue()


def _ipc(table: Any, rng: random.Random) -> bytes:
    out, codec = io.BytesIO(), rng.choice((None, None, "lz4", "zstd"))
    options = pa.ipc.IpcWriteOptions(compression=codec)
    new = rng.choice((pa.ipc.new_file, pa.ipc.new_stream))
    with new(out, table.schema, options=options) as writer:
        writer.write_table(table, rng.choice((1, 2, 9)))
    return out.getvalue()


def as_arrow(data: bytes, rng: random.Random) -> bytes:
    """Change an aligned field of a message's table or of the footer, a border of lists, or any bytes."""
    messages = [at for at in range(0, len(data) - 8, 4) if data[at : at + 4] == b"\xff\xff\xff\xff"]
    if rng.random() < 0.2 or not messages:
        return mutators.flip(data, rng)
    at = rng.choice(messages) + 4
    size = int.from_bytes(data[at : at + 4], "little") % 4096
    kind = rng.random()
    if kind < 0.7:
        return _field(data, rng, at, at + 4 + size)
    if kind < 0.85:
        return _field(data, rng, at + 4 + size, min(at + 600 + size, len(data)))
    return _field(data, rng, max(0, len(data) - 600), len(data))


def _field(data: bytes, rng: random.Random, low: int, high: int) -> bytes:
    width = rng.choice((1, 2, 4, 4, 8))
    to = rng.randrange(low, max(high, low + 1)) // width * width
    old = int.from_bytes(data[to : to + width], "little")
    new = rng.choice((old + 1, old - 1, old + 8, old - 8, old + 4, *mutators.EDGES)) % 256**width
    return data[:to] + new.to_bytes(width, "little") + data[to + width :]


def as_parquet(data: bytes, rng: random.Random) -> bytes:
    """Change a number of the footer or of a page's header, written as such numbers are, or any bytes."""
    footer = int.from_bytes(data[-8:-4], "little") if len(data) > 12 else 0
    begin = len(data) - 8 - footer
    if rng.random() < 0.2 or begin < 4:
        return mutators.flip(data, rng)
    if rng.random() < 0.3:
        to = rng.randrange(4, max(begin, 5))
        return (
            _number(data, rng, to)[: len(data)]
            if rng.random() < 0.5
            else mutators.flip(data[:begin], rng) + data[begin:]
        )
    body = data[begin:-8]
    for _ in range(rng.choice((1, 1, 2))):
        body = _number(body, rng, rng.randrange(max(len(body), 1))) if rng.random() < 0.7 else mutators.flip(body, rng)
    return data[:begin] + body + len(body).to_bytes(4, "little") + data[-4:]


def _number(data: bytes, rng: random.Random, at: int) -> bytes:
    """Replace what stands at a place, read as a number of 7-bit groups, by another."""
    end, old = at, 0
    while end < len(data) and end - at < 10:
        old |= (data[end] & 127) << (7 * (end - at))
        end += 1
        if data[end - 1] < 128:
            break
    new = rng.choice((old + 1, old - 1, old + 2, old - 2, 2 * old, *mutators.EDGES)) % 2**64
    out = bytearray()
    while new > 127:
        out.append(new & 127 | 128)
        new >>= 7
    return data[:at] + bytes([*out, new]) + data[end:]


def law(path: Path) -> None:
    """Rows and columns that are given are those that pyarrow gives."""
    dump = open_dump(path, tensor="phi", half_bits=_HALVES)
    rows = dump.read(0, dump.n_rows)
    mine = {name: dump.columns[name] for name in dump.columns}
    if not dump.n_rows:
        return  # nothing was read, so the library may refuse what was not looked at
    table = _table(path, ["phi", *mine])
    theirs = _flat(table["phi"])
    if theirs.dtype.kind in "iu":
        theirs = theirs.view("f2")
    want = theirs.reshape(rows.shape).astype(rows.dtype)
    assert rows.tobytes() == want.tobytes() or np.array_equal(rows, want, equal_nan=True), "other rows than pyarrow's"
    repeat = dump.n_rows // len(table) if len(table) else 1
    for name, column in mine.items():
        if name in table.column_names:
            held = np.repeat(_column(table[name]), repeat)
            assert column.dtype.kind == held.dtype.kind, f"another kind of {name!r}"
            same = np.array_equal(column, held, equal_nan=column.dtype.kind == "f")
            assert same, f"other values of {name!r} than pyarrow's"


def _table(path: Path, names: list[str]) -> Any:
    """These columns, whatever else is there."""
    if path.suffix == ".parquet":
        return pq.ParquetFile(path).read(columns=names)
    data = path.read_bytes()
    opened = pa.ipc.open_file(path) if data[:6] == b"ARROW1" else pa.ipc.open_stream(data)
    return opened.read_all()


def _flat(column: Any) -> Any:
    """The innermost values of all lists."""
    held = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    while hasattr(held.type, "value_type") and not pa.types.is_dictionary(held.type):
        held = held.flatten()
    return held.to_numpy(zero_copy_only=False)


def _column(column: Any) -> Any:
    held = column.to_numpy()
    return held.astype(str) if held.dtype == object else held
