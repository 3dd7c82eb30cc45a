"""Whether an Arrow or Parquet file ends where its reader stopped: what lies behind would vanish without a word."""

from __future__ import annotations

import struct
from typing import Any

from clinometer.errors import bad
from clinometer.files.plain import PlainFile

_STOP = b"\xff\xff\xff\xff\0\0\0\0"  # what a writer that came to its end puts behind the last batch
_MAGIC = b"PAR1"
_TAIL = 10  # length of the footer and the magic of an Arrow file
_ROWS_OR_WORDS = (2, 3)
_BLOCK = struct.Struct("<qi4xq")  # where a message of an Arrow file begins, and the bytes of its head and body
_ROW_GROUPS, _COLUMNS, _CHUNK = 4, 1, 3  # numbers of fields in Parquet's footer
_ROWS = 3  # of the file, and of a row group
_VALUES, _BYTES, _PAGE, _DICTIONARY = 5, 7, 9, 11


def check_end(file: PlainFile, at: int, rest: int = 0) -> None:
    """Refuse a stream that stopped at `at` without the mark of its end, or with other bytes behind it than `rest`."""
    if at < 8 or file.read(at - 8, 8) != _STOP:
        raise bad(file.path, "has no mark of its end: its writer was stopped, or it was cut", "end of stream", at)
    if rest := file.size - at - rest:
        raise bad(file.path, f"{abs(rest)} bytes {'follow' if rest > 0 else 'are missing at'} its end", "end", at)


def check_footer(file: PlainFile, begin: int | None) -> None:
    """Refuse an Arrow file whose footer does not list its messages from `begin` to the end, one behind the other.

    Rows are read as the footer lists them; a message that it leaves out or lists twice would be lost or doubled.
    `begin` is None where the file does not begin with a whole schema; no rows may then lie before the first message.
    """
    size = int.from_bytes(file.read(file.size - _TAIL, 4), "little")
    at = file.size - _TAIL - size
    if at < (begin or 8):
        raise bad(file.path, f"claims {size} bytes", "footer", file.size - _TAIL)
    try:
        blocks = sorted(_blocks(file.read(at, size)))
    except (struct.error, ValueError) as exc:
        raise bad(file.path, f"cannot be read ({exc})", "footer", at) from exc
    place = begin if begin is not None else _first(file, blocks[0][0] if blocks else at)
    for start, head, body in blocks:
        if start != place or head != _head(file, start) or body < 0:
            what = f"lists a message of {head} + {body} bytes at byte {start}; another one begins at {place}"
            raise bad(file.path, what, "footer", at)
        place = start + head + body
    if place != at:  # some writers leave the mark of the end out too
        check_end(file, place + 8, size + _TAIL)


def _first(file: PlainFile, first: int) -> int:
    """Where the first message begins, after looking for rows before it that no footer would list."""
    before = file.read(8, max(first - 8, 0))
    for at in range(0, len(before) - 8, 8):
        if before[at : at + 4] == _STOP[:4] and _kind(before[at + 8 :]) in _ROWS_OR_WORDS:
            raise bad(file.path, "a message lies there that the footer does not list", "data", 8 + at)
    return first


def _kind(message: bytes) -> int:
    """The kind of a message by its flatbuffer: 1 a schema, 2 words of a dictionary, 3 rows; 0 for no message."""
    try:
        fields, length = _table(message)
        offset = struct.unpack_from("<H", message, fields + 6)[0] if length >= 8 else 0
        root = struct.unpack_from("<I", message, 0)[0]
        return message[root + offset] if offset else 0
    except (struct.error, ValueError, IndexError):
        return 0


def _table(data: bytes) -> tuple[int, int]:
    """Where the list of fields of a flatbuffer's table lies, and its length in bytes."""
    (root,) = struct.unpack_from("<I", data, 0)
    (back,) = struct.unpack_from("<i", data, root)
    fields = root - back
    if fields < 0:
        raise ValueError("its table points before its beginning")
    return fields, struct.unpack_from("<H", data, fields)[0]


def _head(file: PlainFile, at: int) -> int:
    """Bytes before the body of the message at a place; those of early versions have no mark before the length."""
    mark = file.read(at, 8)
    return 8 + int.from_bytes(mark[4:], "little") if mark[:4] == _STOP[:4] else 4 + int.from_bytes(mark[:4], "little")


def _blocks(data: bytes) -> list[tuple[int, int, int]]:
    """The blocks of dictionaries and of record batches in a footer, which is a flatbuffer's table."""
    fields, length = _table(data)
    (root,) = struct.unpack_from("<I", data, 0)
    out = []
    for number in (2, 3):
        entry = 4 + 2 * number
        offset = struct.unpack_from("<H", data, fields + entry)[0] if entry + 2 <= length else 0
        if offset:
            at = root + offset + struct.unpack_from("<I", data, root + offset)[0]
            (count,) = struct.unpack_from("<I", data, at)
            if count > len(data) // _BLOCK.size:
                raise ValueError(f"{count} messages are claimed in {len(data)} bytes")
            out += [_BLOCK.unpack_from(data, at + 4 + k * _BLOCK.size) for k in range(count)]
    return out


def check_parquet(file: PlainFile) -> None:
    """Refuse a file whose column chunks do not lie end to end from byte 4, or with another file inside.

    The footer is read here before pyarrow sees it: some of what may stand there ends the process in its calls.
    """
    if file.size < 12 or file.read(0, 4) != _MAGIC or file.read(file.size - 4, 4) != _MAGIC:
        raise bad(file.path, "does not begin and end as a Parquet file", "magic", 0)
    size = int.from_bytes(file.read(file.size - 8, 4), "little")
    footer = file.size - 8 - size
    if footer < 4:
        raise bad(file.path, f"claims {size} bytes of a file of {file.size}", "footer", file.size - 8)
    try:
        spans = sorted(_chunk(c) for c in _chunks(read_struct(file.read(footer, size))))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise bad(file.path, f"cannot be read ({exc})", "footer", footer) from exc
    at = 4
    for begin, end in spans:
        if begin == end:
            continue  # of a row group without rows
        if begin < at or end < begin or end > footer:
            raise bad(file.path, f"a column chunk is said to lie in bytes {begin} to {end}", "footer", footer)
        _check_gap(file, at, begin)
        at = end
    _check_gap(file, at, footer)


def _chunks(table: dict[int, Any]) -> list[dict[int, Any]]:
    out = []
    for group in table[_ROW_GROUPS]:
        for chunk in group[_COLUMNS]:
            rows, values = group[_ROWS], chunk[_CHUNK][_VALUES]
            if not 0 <= rows <= values or (rows == 0 and values > 0):  # a list has a value a row at least, if only none
                raise ValueError(f"{rows} rows are claimed of a column of {values} values")
            out.append(chunk[_CHUNK])
    if (total := sum(group[_ROWS] for group in table[_ROW_GROUPS])) != table[_ROWS]:
        raise ValueError(f"{table[_ROWS]} rows are claimed, its row groups have {total}")
    return out


def _chunk(said: dict[int, Any]) -> tuple[int, int]:
    """Where the bytes of a column in a row group lie; without rows there may be a dictionary and no page."""
    begin = min((at for at in (said[_PAGE], said.get(_DICTIONARY, 0)) if at > 0), default=said[_PAGE])
    return begin, begin + said[_BYTES]


def _check_gap(file: PlainFile, begin: int, end: int) -> None:
    """Indexes and filters may lie between chunks; the magic of a file may not."""
    step = 1 << 20
    for at in range(begin, end, step):
        found = file.read(at, min(step + 3, end - at)).find(_MAGIC)
        if found >= 0:
            raise bad(file.path, "another file lies inside it", "data", at + found)


_DEPTH = 16
_BOOLS = {1: True, 2: False}
_BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 3, 7, 8, 9, 10, 11, 12
_NUMBERS = (4, 5, 6)


def read_struct(data: bytes) -> dict[int, Any]:
    """The fields of the struct with which `data` begins, by their numbers; a ValueError where it is broken.

    Linear in the length of `data`: every element of a list takes a byte at least, and no count is believed.

    >>> read_struct(bytes([0x15, 0x06, 0x18, 1, 65, 0]))
    {1: 3, 2: b'A'}
    """
    return _Reader(data).struct(0)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise ValueError("it ends inside a field")
        self.at += 1
        return self.data[self.at - 1]

    def unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            part = self.byte()
            value |= (part & 127) << shift
            if part < 128:
                return value
        raise ValueError("a number takes more than 10 bytes")

    def signed(self) -> int:
        value = self.unsigned()
        return (value >> 1) ^ -(value & 1)

    def raw(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError(f"{count} bytes are claimed where {len(self.data) - self.at} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _DEPTH:
            raise ValueError("it is nested too deeply")
        out: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.signed()
            kind = head & 15
            out[number] = _BOOLS[kind] if kind in _BOOLS else self.value(kind, depth)
        return out

    def value(self, kind: int, depth: int) -> Any:
        if kind in _NUMBERS:
            return self.signed()
        if kind in (_BYTE, *_BOOLS):  # a boolean in a list takes a byte
            return self.byte()
        if kind == _DOUBLE:
            return self.raw(8)
        if kind == _BINARY:
            return self.raw(self.unsigned())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            head = self.byte()
            count = head >> 4 if head >> 4 < 15 else self.unsigned()
            self._check(count)
            return [self.value(head & 15, depth + 1) for _ in range(count)]
        if kind == _MAP:
            return self._map(depth)
        raise ValueError(f"a field has the unknown type {kind}")

    def _map(self, depth: int) -> list[tuple[Any, Any]]:
        count = self.unsigned()
        if not count:
            return []
        self._check(count)
        kinds = self.byte()
        return [(self.value(kinds >> 4, depth + 1), self.value(kinds & 15, depth + 1)) for _ in range(count)]

    def _check(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise ValueError(f"{count} elements are claimed where {len(self.data) - self.at} bytes are left")
