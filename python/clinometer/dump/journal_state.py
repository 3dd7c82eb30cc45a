"""What the journal of a dump that is being written says is in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.strings import text_bytes, text_of
from clinometer.common.visible import quote, visible
from clinometer.errors import bad
from clinometer.files.atomic import named
from clinometer.sources.tensors import NUMPY_CODES

from .journal import Journal, Record, boot
from .schema import byte_view, column_tag

__all__ = [
    "State", "check_settings", "cut_text", "load_columns", "load_pairs", "pack_columns",
    "replay",
]  # fmt: skip

FORMAT, VERSION = "clinometer-journal", 1


@dataclass
class State:
    """What is in: rows, bytes of text, the columns' kinds, pairs, digests of finished shards."""

    n_rows: int = 0
    text_end: int = 0
    kinds: dict[str, str] | None = None
    texts: bool | None = None
    appends: list[tuple[int, Record]] = field(default_factory=list)
    pairs: list[Record] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Go on by one record."""
        said = record.said
        if "rows" in said:
            if self.kinds is None:
                self.kinds, self.texts = said["columns"], said["texts"]
            self.appends.append((self.n_rows, record))
            self.n_rows, self.text_end = self.n_rows + said["rows"], said["text"]
        elif "pairs" in said:
            self.pairs.append(record)
        elif "digest" in said:
            self.digests[said["shard"]] = said["digest"]

    @property
    def n_pairs(self) -> int:
        return sum(int(next(iter(r.said["pairs"].values()))[1][0]) for r in self.pairs)

    @property
    def pair_kinds(self) -> dict[str, list[Any]] | None:
        """Dtype and shape behind the first axis of every tensor of the pairs."""
        return (
            {n: [code, shape[1:]] for n, (code, shape) in self.pairs[0].said["pairs"].items()} if self.pairs else None
        )


def replay(journal: Journal, settings: Mapping[str, Any]) -> State:
    """The state that the journal holds, after comparing the settings; a new journal gets them.

    Records of this run of the machine count whole: their bytes lie in the page cache at least. After a
    restart only what was synced counts, and the rest is cut off.
    """
    records = list(journal.records())
    if not records or records[0].said.get("format") != FORMAT:
        if records:
            raise bad(journal.path, "is not a journal of clinometer")
        journal.cut(0)
        journal.add({"format": FORMAT, "version": VERSION, "settings": settings})
        kept = []
    else:
        first = records[0].said
        if first.get("version") != VERSION:
            raise bad(journal.path, f"is a journal of version {quote(first.get('version'))}; {VERSION} is wanted")
        check_settings(journal.path, first["settings"], settings)
        kept = records[1:]
        boots = [r.said["boot"] for r in kept if "boot" in r.said]
        if not boots or boots[-1] is None or boots[-1] != boot():
            synced = [k for k, r in enumerate(kept) if "synced" in r.said]
            kept = kept[: synced[-1] + 1] if synced else []
        journal.cut(kept[-1].end if kept else records[0].end)
    journal.add({"boot": boot()})
    state = State()
    for record in kept:
        state.take(record)
    return state


def check_settings(path: str, held: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise the DumpError that names every setting which is not what the unfinished or finished dump has."""
    wrong = [entry for key in given for entry in _differing(key, held.get(key), given[key])]
    if wrong:
        shown = "; ".join(f"{key} is {_shown(given)}, there it is {_shown(held)}" for key, held, given in wrong)
        raise bad(path, f"was written with other settings: {shown}; write to another path, or remove this one")


def _shown(setting: Any) -> str:
    return quote(setting, 200) if isinstance(setting, str) else visible(f"{setting!r:.200}")


def _differing(key: str, held: Any, given: Any) -> Iterator[tuple[str, Any, Any]]:
    """What differs, by its name inside mappings as well."""
    if isinstance(held, Mapping) and isinstance(given, Mapping):
        for inner in {**held, **given}:
            yield from _differing(f"{key}[{inner!r}]", held.get(inner), given.get(inner))
    elif held != given:
        yield key, held, given


def pack_columns(columns: Mapping[str, NDArray[Any]], kinds: Mapping[str, str]) -> tuple[dict[str, int], bytes]:
    """The columns of an append as raw bytes in the order of `kinds`, and the widths of strings."""
    widths, pieces = {}, []
    for name, kind in kinds.items():
        column = columns[name]
        if kind == "string":
            column = text_bytes(column)
            widths[name] = column.shape[1]
        pieces.append(byte_view(column))
    return widths, b"".join(pieces)


def load_columns(journal: Journal, state: State, first: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The columns of every append as they were, from row `first` on."""
    assert state.kinds is not None or not state.appends
    for start, record in state.appends:
        rows = record.said["rows"]
        if start + rows <= first:
            continue
        raw, at, out = journal.read(record), 0, {}
        for name, kind in (state.kinds or {}).items():
            code = NUMPY_CODES[column_tag(kind)]
            width = record.said["widths"].get(name, 0)
            count = rows * (width or 1)
            column = np.frombuffer(raw, code, count, at)
            at += count * np.dtype(code).itemsize
            out[name] = text_of(column.reshape(rows, width)) if width else column
            out[name] = out[name][max(0, first - start) :]
        yield out


def cut_text(path: str, end: int) -> int:
    """Open the growing text for writing behind byte `end`, where the rows that are in end; the descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        with named(path):
            if os.fstat(fd).st_size < end:
                raise bad(path, f"ends before byte {end}, where the journal says that the texts of its rows end")
            os.ftruncate(fd, end)
    except BaseException:
        os.close(fd)
        raise
    return fd


def load_pairs(journal: Journal, state: State) -> dict[str, NDArray[Any]]:
    """All pairs that were appended, in order."""
    out: dict[str, list[NDArray[Any]]] = {n: [] for n in state.pair_kinds or {}}
    for record in state.pairs:
        raw, at = journal.read(record), 0
        for name, (code, shape) in record.said["pairs"].items():
            size = int(np.prod(shape)) * np.dtype(code).itemsize
            out[name].append(np.frombuffer(raw[at : at + size], code).reshape(shape))
            at += size
    return {n: np.concatenate(pieces) for n, pieces in out.items()}
