"""Strings of very different length: NumPy's fixed width costs every row as much as the longest, which here it need not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_whole", "is_text", "joined", "text_array", "text_bytes"]

_WIDE = 64 << 20  # bytes of a fixed-width array from which on its padding is looked at
_PADDING = 8  # how many times the text itself an array may take


def is_text(dtype: np.dtype[Any]) -> bool:
    """Whether an array holds strings, of fixed or of own width."""
    return dtype.kind in "UT"


def text_array(values: Iterable[str]) -> NDArray[Any]:
    """Strings as an array: of fixed width, or each of its own where that would mostly be padding (NumPy 2)."""
    held = values if isinstance(values, list) else list(values)
    lengths = [len(v) for v in held]
    own = getattr(np.dtypes, "StringDType", None)
    padded = 4 * len(held) * max(lengths, default=0)
    if own is not None and padded > max(_WIDE, 4 * _PADDING * sum(lengths)):
        return np.array(held, dtype=own())
    return np.array(held, str) if held else np.zeros(0, "U1")


def joined(pieces: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays one behind the other; strings keep to the width that all of them together ask for."""
    if len(pieces) == 1:
        return pieces[0]
    if not any(is_text(p.dtype) for p in pieces):
        return np.concatenate(pieces)
    width = max((p.dtype.itemsize for p in pieces if p.dtype.kind == "U"), default=0)
    if all(p.dtype.kind == "U" for p in pieces) and width * sum(map(len, pieces)) <= _WIDE:
        return np.concatenate(pieces)
    return text_array([text for piece in pieces for text in piece.tolist()])


def text_bytes(column: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Strings as (N, width) bytes of UTF-8, padded with zeros."""
    if column.dtype.kind == "U":
        raw = np.char.encode(column, "utf-8") if len(column) else np.zeros(0, "S1")
        width = max(raw.dtype.itemsize, 1)
        return np.ascontiguousarray(raw.astype(f"S{width}")).view(np.uint8).reshape(len(column), width)
    held = [text.encode("utf-8") for text in column.tolist()]
    width = max((len(raw) for raw in held), default=1) or 1
    out = np.zeros((len(held), width), np.uint8)
    for row, raw in enumerate(held):
        out[row, : len(raw)] = np.frombuffer(raw, np.uint8)
    return out


def check_whole(column: NDArray[Any], name: str) -> None:
    """Refuse strings with half of a surrogate pair, which UTF-8 does not hold, by the row of the first."""
    if column.dtype.kind == "U":
        codes = np.ascontiguousarray(column).view(np.uint32).reshape(len(column), -1)
        wrong = ((codes >= 0xD800) & (codes < 0xE000)).any(axis=1)
    else:
        wrong = np.array([any("\ud800" <= c < "\ue000" for c in text) for text in column.tolist()], bool)
    if wrong.any():
        raise ValueError(
            f"{name} holds half of a character at row {int(np.argmax(wrong))}, which UTF-8 does not hold: "
            "text.encode('utf-8', 'replace').decode() replaces it"
        )
