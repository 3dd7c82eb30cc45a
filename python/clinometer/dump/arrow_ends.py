"""Whether an Arrow or Parquet file ends where its reader stopped: what lies behind would vanish without a word."""

from __future__ import annotations

from typing import Any

from .files import PlainFile, bad

__all__ = ["check_end", "check_parquet"]

_STOP = b"\xff\xff\xff\xff\0\0\0\0"  # what a writer that came to its end puts behind the last batch
_MAGIC = b"PAR1"
_TAIL = 10  # length of the footer and the magic of an Arrow file


def check_end(file: PlainFile, at: int, *, footer: bool) -> None:
    """Refuse a stream that stopped at `at` without the mark of its end, or with bytes behind it and the footer."""
    if at < 8 or file.read(at - 8, 8) != _STOP:
        raise bad(file.path, "has no mark of its end: its writer was stopped, or it was cut", "end of stream", at)
    rest = file.size - at
    if footer:
        rest -= int.from_bytes(file.read(file.size - _TAIL, 4), "little") + _TAIL
    if rest:
        raise bad(file.path, f"{abs(rest)} bytes {'follow' if rest > 0 else 'are missing at'} its end", "end", at)


def check_parquet(file: PlainFile, meta: Any) -> None:
    """Refuse a file whose column chunks do not lie end to end from byte 4, or with another file inside."""
    if file.read(0, 4) != _MAGIC:
        raise bad(file.path, "does not begin as a Parquet file", "magic", 0)
    spans = []
    for g in range(meta.num_row_groups):
        group = meta.row_group(g)
        for c in range(group.num_columns):
            chunk = group.column(c)
            begin = chunk.data_page_offset
            if chunk.dictionary_page_offset is not None and 0 < chunk.dictionary_page_offset < begin:
                begin = chunk.dictionary_page_offset
            spans.append((begin, begin + chunk.total_compressed_size))
    at = 4
    for begin, end in sorted(spans):
        if begin < at or end < begin or end > file.size:
            raise bad(file.path, f"a column chunk is said to lie in bytes {begin} to {end}", "footer", file.size)
        _check_gap(file, at, begin)
        at = end
    footer = file.size - 8 - int.from_bytes(file.read(file.size - 8, 4), "little")
    if footer < at:
        raise bad(file.path, f"its footer begins at byte {footer}, inside the data", "footer", file.size - 8)
    _check_gap(file, at, footer)


def _check_gap(file: PlainFile, begin: int, end: int) -> None:
    """Indexes and filters may lie between chunks; the magic of a file may not."""
    step = 1 << 20
    for at in range(begin, end, step):
        found = file.read(at, min(step + 3, end - at)).find(_MAGIC)
        if found >= 0:
            raise bad(file.path, "another file lies inside it", "data", at + found)
