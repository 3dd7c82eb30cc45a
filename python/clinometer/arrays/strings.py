"""Strings of very different length: NumPy's fixed width would cost every row as much as the longest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDE = 64 << 20  # bytes of a fixed-width array from which on its padding is looked at
_WIDEST = 1 << 30  # bytes of a column on the disk from which on its padding is refused
_PADDING = 8  # how many times the text itself an array may take


def is_text(dtype: np.dtype[Any]) -> bool:
    """Whether an array holds strings, of fixed or of own width."""
    return dtype.kind in "UT"


def text_array(values: Iterable[str], name: str = "a column") -> NDArray[Any]:
    """Strings as an array: of fixed width, or each of its own where that would mostly be padding (NumPy 2)."""
    held = values if isinstance(values, list) else list(values)
    if (row := next((row for row, v in enumerate(held) if v.endswith("\0")), None)) is not None:
        raise ValueError(
            f"{name} holds {held[row]!r:.40} at row {row}: zero bytes at the end are lost in arrays of one width, and "
            "two such entries become one; give digests as text (.hex()), words without them (.rstrip('\\0'))"
        )
    lengths = [len(v) for v in held]
    own = getattr(np.dtypes, "StringDType", None)
    if own is not None and _is_padding(len(held), max(lengths, default=0), sum(lengths)):
        return np.array(held, dtype=own())
    return np.array(held, str) if held else np.zeros(0, "U1")


def narrowed(column: NDArray[Any]) -> NDArray[Any]:
    """Strings of own width as an array of fixed width, unless that would mostly be padding."""
    lengths = np.strings.str_len(column)
    wide = _is_padding(column.size, int(lengths.max(initial=0)), int(lengths.sum()))
    return column if wide else of_one_width(column)


def of_one_width(column: NDArray[Any]) -> NDArray[Any]:
    """Strings of own width as NumPy's of fixed width; other arrays as they are."""
    if column.dtype.kind != "T":
        return column
    return column.astype(f"U{max(int(np.strings.str_len(column).max(initial=0)), 1)}")


def _is_padding(count: int, longest: int, total: int) -> bool:
    return 4 * count * longest > max(_WIDE, 4 * _PADDING * total)


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


def text_bytes(column: NDArray[Any]) -> NDArray[np.uint8]:
    """Strings as (N, width) bytes of UTF-8, padded with zeros: safetensors has no strings."""
    if column.dtype.kind == "U":
        raw = np.char.encode(column, "utf-8") if len(column) else np.zeros(0, "S1")
        width = max(raw.dtype.itemsize, 1)
        return np.ascontiguousarray(raw.astype(f"S{width}")).view(np.uint8).reshape(len(column), width)
    held = [text.encode("utf-8") for text in column.tolist()]
    out = np.zeros((len(held), max(map(len, held), default=1) or 1), np.uint8)
    for row, text in enumerate(held):
        out[row, : len(text)] = np.frombuffer(text, np.uint8)
    return out


def decode_utf8(raw: NDArray[np.bytes_]) -> NDArray[np.str_]:
    """Strings of their bytes; NumPy 1.26 makes numbers of none."""
    return np.char.decode(raw, "utf-8") if raw.size else np.zeros(raw.shape, "U1")


def text_of(padded: NDArray[np.uint8]) -> NDArray[Any]:
    """The strings that `text_bytes` made; a UnicodeDecodeError where bytes are no UTF-8."""
    count, width = padded.shape
    if 4 * count * width <= _WIDE:
        rows = np.ascontiguousarray(padded).view(f"S{width}")[:, 0] if width else np.zeros(count, "S1")
        return decode_utf8(rows)
    known: dict[bytes, str] = {}  # equal ones, such as the ids of one prompt, are one object
    texts = []
    for row in padded:
        raw = row.tobytes().rstrip(b"\0")
        if raw not in known:
            known[raw] = raw.decode("utf-8")
        texts.append(known[raw])
    return text_array(texts)


def check_width(column: NDArray[Any], name: str) -> None:
    """Refuse strings that as rows of one width would mostly be padding, before the memory is taken."""
    if column.dtype.kind == "U" and column.nbytes // 4 <= _WIDEST:
        return
    lengths = np.strings.str_len(column) if column.dtype.kind == "T" else np.char.str_len(column)
    longest, total = int(lengths.max(initial=0)), int(lengths.sum())
    if len(column) * longest > max(_WIDEST, 2 * _PADDING * total):
        raise ValueError(
            f"{name} holds {total >> 20} MiB of text, and {len(column) * longest >> 20} MiB where every row is as wide "
            f"as the longest, of {longest} characters: give numbers or short strings, and the words as texts="
        )


def check_whole(column: NDArray[Any], name: str) -> None:
    """Refuse strings with half of a surrogate pair, which UTF-8 does not hold, by the row of the first."""
    if column.dtype.kind == "U":
        width = column.dtype.itemsize // 4
        codes = np.ascontiguousarray(column).view(np.uint32).reshape(len(column), width)
        wrong = ((codes >= 0xD800) & (codes < 0xE000)).any(axis=1)
    else:
        wrong = np.array([any("\ud800" <= c < "\ue000" for c in text) for text in column.tolist()], bool)
    if wrong.any():
        raise ValueError(
            f"{name} holds half of a character at row {int(np.argmax(wrong))}, which UTF-8 does not hold: "
            "text.encode('utf-8', 'replace').decode() replaces it"
        )
