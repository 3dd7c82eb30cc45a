"""Structs in Thrift's compact form, as Parquet's footer is written: numbers checked where they are read."""

from __future__ import annotations

from typing import Any

__all__ = ["read_struct"]

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
