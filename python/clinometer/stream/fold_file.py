"""A Fold as bytes: length of the header, checksum of the rest, JSON header, then arrays and states.

`foldread` reads them.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.dlpack import is_bfloat16
from clinometer.engine import stat
from clinometer.files.atomic import new_file

from .pending_rows import Rows

if TYPE_CHECKING:
    from .fold import Fold

FORMAT, VERSION = "clinometer-fold", 5


def described(fold: Fold) -> dict[str, Any]:
    """What two folds must share to be merged; empty where neither has seen a row."""
    if fold.call is None and not fold.waiting:
        return {}
    _need_call(fold)
    call, facts = fold.call, fold.dump_facts or {}
    assert call is not None
    vectors = None if call.directions is None else zlib.crc32(np.ascontiguousarray(call.directions).tobytes())
    return {
        "statistics": [spec(s) for s in fold.statistics], "dim": fold.dim, "base": fold.options["base"],
        "precision": fold.options["precision"], "directions": list(call.names), "values": list(call.value_names),
        "vectors": vectors, "rows of the dump": facts.get("n_rows"), "rows": facts.get("dump"),
        "prompts, weights, scores or values": facts.get("population"),
    }  # fmt: skip


def _need_call(fold: Fold) -> None:
    """A fold whose rows all wait has made no plan yet."""
    if fold.call is None:
        fold.call, fold.shares = fold._plan(Rows.joined(fold.waiting))


def spec(statistic: stat.Statistic) -> dict[str, Any]:
    """A statistic's class and its own settings, as plain values."""
    own = {f.name: getattr(statistic, f.name) for f in fields(statistic) if f.name not in ("directions", "values")}
    plain = {n: v if isinstance(v, (int, bool)) else np.asarray(v, float).tolist() for n, v in own.items()}
    return {"kind": type(statistic).__name__, **plain}


class Snapshot:
    """The bytes of a fold as it was when its results were finished; made when asked for."""

    def __init__(self, fold: Fold) -> None:
        self.fold, self.n_rows = fold, fold.n_rows

    def __call__(self) -> bytes:
        if self.fold.n_rows != self.n_rows:
            raise ValueError("state: the Fold of this result has taken or given away rows since; use Fold.save")
        return encode(self.fold)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Frozen, (self(),)


@dataclass
class _Frozen:
    data: bytes

    def __call__(self) -> bytes:
        return self.data


class _Blobs:
    """Arrays and states on their way to a file: what the header says of each, and its bytes."""

    def __init__(self) -> None:
        self.shapes: list[list[Any]] = []
        self.bytes: list[bytes] = []

    def array(self, a: NDArray[Any]) -> int:
        a = np.ascontiguousarray(a)
        name = "bfloat16" if is_bfloat16(a.dtype) else a.dtype.str
        return self.raw(a.tobytes(), [name, list(a.shape)])

    def raw(self, data: bytes, shape: list[Any] | None = None) -> int:
        self.shapes.append([len(data), *(shape or [])])
        self.bytes.append(data)
        return len(self.bytes) - 1

    def rows(self, rows: Rows) -> dict[str, Any]:
        columns = {n: self.array(c) for n, c in rows.columns.items()}
        return {"phi": self.array(rows.phi), "ids": self.array(rows.ids), "columns": columns}


def encode(fold: Fold) -> bytes:
    """The fold as bytes; it goes on as before."""
    with fold.turn:
        return b"".join(_pieces(fold))


def _pieces(fold: Fold) -> Iterator[bytes]:
    if fold.n_rows == 0 and fold.dump_facts is None:
        raise ValueError("Fold has no rows to save")
    fold.settle()
    _need_call(fold)
    call, blobs = fold.call, _Blobs()
    assert call is not None
    if call.n_folds > 1:
        raise ValueError("directions: a cross-fitted direction cannot be saved with a Fold; pass its .vectors")
    waiting = Rows.joined(fold.waiting) if fold.waiting else None
    header = {
        "format": FORMAT, "version": VERSION, **described(fold), "start_row": fold.start_row, "n_rows": fold.n_rows,
        "features": fold.features,
        "begin": fold.begin, "folded_to": fold.folded_to, "open_left": fold.open_left, "shares": fold.shares,
        "seen": list(fold.seen), "unlabelled": fold.unlabelled, "dump_facts": fold.dump_facts,
        "fit_status": call.fit_status, "columns": _column_names(fold),
        "vectors": None if call.directions is None else blobs.array(call.directions),
        "waiting": None if waiting is None else blobs.rows(waiting),
        "head": None if fold.head is None else [blobs.rows(fold.head[0]), fold.head[1]],
        "nodes": [[leaf, level, [_state(blobs, s) for s in states]] for leaf, level, states in fold.nodes],
        "before": [_state(blobs, s) for s in fold.before],
    }  # fmt: skip
    head = json.dumps({**header, "blobs": blobs.shapes}).encode()
    checksum = zlib.crc32(head)
    for data in blobs.bytes:
        checksum = zlib.crc32(data, checksum)
    yield len(head).to_bytes(8, "little") + checksum.to_bytes(4, "little")
    yield head
    yield from blobs.bytes


def _column_names(fold: Fold) -> list[str]:
    assert fold.call is not None
    return [n for n in fold.call.dump.columns if fold.call.dump.columns[n].dtype.kind in "fiub"]


def _state(blobs: _Blobs, state: Any) -> list[Any]:
    return [type(state).__name__, blobs.raw(state.state())]


def write(fold: Fold, path: str | os.PathLike[str]) -> None:
    """Write atomically: a sibling file, synced and renamed over `path`."""
    with fold.turn, new_file(path) as file:
        file.writelines(_pieces(fold))
