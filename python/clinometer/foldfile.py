"""A Fold as bytes: length of the header, checksum of the rest, JSON header, then arrays and states."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core, stat
from .directions import Directions
from .dump import open_dump
from .dump.atomic import new_file
from .dump.held import BFLOAT16, is_bfloat16
from .errors import DumpError
from .fold import Fold
from .plan import plan
from .rows import Rows

__all__ = ["Snapshot", "described", "encode", "read", "write"]

FORMAT, VERSION = "clinometer-fold", 3


def described(fold: Fold) -> dict[str, Any]:
    """What two folds must share to be merged; empty where neither has seen a row."""
    if fold.call is None and not fold.waiting:
        return {}
    _need_call(fold)
    call, facts = fold.call, fold.dump_facts or {}
    assert call is not None
    vectors = None if call.directions is None else zlib.crc32(np.ascontiguousarray(call.directions).tobytes())
    return {
        "statistics": [_spec(s) for s in fold.statistics], "dim": fold.dim, "base": fold.options["base"],
        "precision": fold.options["precision"], "directions": list(call.names), "values": list(call.value_names),
        "vectors": vectors, "rows of the dump": facts.get("n_rows"), "prompts of the dump": facts.get("population"),
    }  # fmt: skip


def _need_call(fold: Fold) -> None:
    """A fold whose rows all wait has made no plan yet."""
    if fold.call is None:
        fold.call, fold.shares = fold._plan(Rows.joined(fold.waiting))


def _spec(statistic: stat.Statistic) -> dict[str, Any]:
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
    with new_file(path) as file:
        file.writelines(_pieces(fold))


def read(source: str | os.PathLike[str] | bytes, *, into: Fold | None = None) -> Fold:
    """A saved fold; `into` is an empty one with the same statistics, else they are made from the file."""
    name = "state" if isinstance(source, bytes) else os.fspath(source)
    if isinstance(source, bytes):
        data = source
    else:
        with open(source, "rb") as file:
            data = file.read()
    try:
        header, blobs = _parse(data)
        fold = _restored(header, blobs)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError):
        raise DumpError(f"{name}: not a saved fold of this version, or damaged") from None
    if into is None:
        return fold
    _need_same(into, fold)
    own = {n: getattr(into, n) for n in ("statistics", "options")}
    vars(into).update(vars(fold), **own)
    return into


def _need_same(mine: Fold, saved: Fold) -> None:
    kinds = [_spec(s) for s in mine.statistics], [_spec(s) for s in saved.statistics]
    if mine.dim != saved.dim or kinds[0] != kinds[1]:
        shown = [s["kind"] for s in kinds[1]]
        raise ValueError(f"load: the saved fold has dim {saved.dim} and statistics {shown}, or other settings of them")
    if mine.start_row is not None and mine.start_row != saved.start_row:
        raise ValueError(f"load: the saved fold begins at row {saved.start_row}, this one at {mine.start_row}")
    for option in ("base", "precision"):
        if mine.options[option] != saved.options[option]:
            raise ValueError(
                f"load: the saved fold has {option} {saved.options[option]!r}, not {mine.options[option]!r}"
            )


def _parse(data: bytes) -> tuple[dict[str, Any], list[Any]]:
    size, checksum = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:12], "little")
    if size > len(data) - 12 or zlib.crc32(memoryview(data)[12:]) != checksum:
        raise ValueError
    header = json.loads(data[12 : 12 + size])
    payload = memoryview(data)[12 + size :]
    if header["format"] != FORMAT or header["version"] != VERSION:
        raise ValueError
    blobs: list[Any] = []
    at = 0
    for n, *shape in header["blobs"]:
        if not 0 <= n <= len(payload) - at:
            raise ValueError
        blobs.append(_array(payload[at : at + n], *shape) if shape else bytes(payload[at : at + n]))
        at += n
    if at != len(payload):
        raise ValueError
    return header, blobs


def _array(data: memoryview, dtype: str, shape: list[int]) -> NDArray[Any]:
    kind = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    if kind != BFLOAT16 and kind.kind not in "fiubUS":
        raise ValueError
    return np.asarray(np.frombuffer(data, np.uint8).copy().view(kind).reshape(shape))


def _restored(header: dict[str, Any], blobs: list[Any]) -> Fold:
    vectors = None if header["vectors"] is None else blobs[header["vectors"]]
    statistics = []
    for spec, (score, k, value, j) in zip(header["statistics"], header["shares"], strict=True):
        names = header["directions"][score : score + k]
        chosen = None if not k else names if vectors is None else _named(names, vectors[score : score + k])
        statistics.append(_statistic(spec, chosen, header["values"][value : value + j] or None))
    fold = Fold(*statistics, dim=header["dim"], start_row=header["start_row"], base=header["base"],
                precision=header["precision"])  # fmt: skip
    for name in ("n_rows", "begin", "folded_to", "open_left", "unlabelled", "dump_facts"):
        setattr(fold, name, header[name])
    fold.seen = dict.fromkeys(header["seen"])
    fold.waiting = [] if header["waiting"] is None else [_rows(header["waiting"], blobs)]
    fold.head = None if header["head"] is None else (_rows(header["head"][0], blobs), int(header["head"][1]))
    fold.nodes = [(leaf, level, [_revived(s, blobs) for s in states]) for leaf, level, states in header["nodes"]]
    fold.before = [_revived(s, blobs) for s in header["before"]]
    _carry_names(fold, header)
    return fold


def _statistic(spec: dict[str, Any], directions: Any, values: Any) -> stat.Statistic:
    kinds: dict[str, Any] = {n: getattr(stat, n) for n in stat.__all__ if n not in ("Statistic", "Scores")}
    return kinds[spec["kind"]](directions, values, **{n: v for n, v in spec.items() if n != "kind"})  # type: ignore[no-any-return]


def _named(names: list[str], vectors: NDArray[Any]) -> Any:
    return Directions(names, vectors) if len(set(names)) == len(names) else vectors


def _rows(held: dict[str, Any], blobs: list[Any]) -> Rows:
    return Rows(blobs[held["phi"]], blobs[held["ids"]], {n: blobs[i] for n, i in held["columns"].items()})


def _revived(held: list[Any], blobs: list[Any]) -> Any:
    kind: Any = getattr(_core, held[0])
    if not issubclass(kind, _core.Statistic):
        raise ValueError
    state = kind.__new__(kind)
    state.__setstate__(blobs[held[1]])
    return state


def _carry_names(fold: Fold, header: dict[str, Any]) -> None:
    """The plan of a fold is made from rows; one row of zeros stands for those that are folded already."""
    columns = {n: np.zeros(1) for n in header["columns"]}
    for name in header["values"] + (header["directions"] if header["vectors"] is None else []):
        if name not in columns and name.removeprefix("-") not in columns:
            columns[name] = np.zeros(1)  # given as an array
    carrier = open_dump(np.zeros((1, fold.dim), np.float32), prompt_ids=[0], columns=columns)
    call, fold.shares = plan(carrier, fold.statistics, {**fold.options, "base": "sampled"})
    fold.call = replace(call, names=tuple(header["directions"]), fit_status=tuple(header["fit_status"]))
