"""Prompts and responses beside the rows: one JSON object per line, found by row number."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.plain import PlainFile

__all__ = ["Texts"]

_BLOCK = 16 << 20


class Texts:
    """`texts[row]` -> {"prompt": ..., "response": ...}; the file is indexed when first used.

    Texts are what the model wrote, halves of characters included: .encode("utf-8", "replace") replaces those.
    """

    def __init__(self, file: PlainFile, n_rows: int, rows: NDArray[Any] | None = None) -> None:
        self._file = file
        self._total = n_rows
        self._rows = rows
        self._ends: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self._total if self._rows is None else len(self._rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        at = operator.index(row)
        if not -len(self) <= at < len(self):
            raise IndexError(f"row {at} of {len(self)} texts")
        at %= len(self)
        line = at if self._rows is None else int(self._rows[at])
        ends = self._index()
        start = int(ends[line - 1]) if line else 0
        raw = self._file.read(start, int(ends[line]) - start)
        value = strictjson.loads(raw, self._file.path, start, f"line {line + 1}", halves=True)
        if not isinstance(value, dict):
            raise bad(self._file.path, "an object is wanted", f"line {line + 1}", start)
        return value

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: NDArray[Any]) -> Texts:
        """The texts of these rows."""
        out = Texts(self._file, self._total, rows if self._rows is None else self._rows[rows])
        out._ends = self._ends
        return out

    def _index(self) -> NDArray[np.int64]:
        if self._ends is None:
            found = []
            for start in range(0, self._file.size, _BLOCK):
                block = self._file.read(start, min(_BLOCK, self._file.size - start))
                found.append(np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + (start + 1))
            ends = np.concatenate(found) if found else np.zeros(0, np.int64)
            if len(ends) != self._total or (len(ends) and ends[-1] != self._file.size):
                raise bad(self._file.path, f"{len(ends)} lines; one per row is wanted, {self._total}")
            self._ends = ends.astype(np.int64)
        return self._ends
