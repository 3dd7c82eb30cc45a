"""A saved Fold, read. The file comes from elsewhere and its checksum is no signature: every type, length and count is
compared with the others before it is used, and what does not fit is a DumpError."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.arrays.dlpack import BFLOAT16
from clinometer.common.notices import listening
from clinometer.common.visible import quote
from clinometer.dump import open_dump
from clinometer.dump.directions import Directions
from clinometer.engine import stat
from clinometer.engine.inputs import LEAF, Call
from clinometer.engine.scan import plan
from clinometer.errors import DumpError

from .fold_file import FORMAT, VERSION, spec
from .pending_rows import Rows

if TYPE_CHECKING:
    from .fold import Fold

FACTS: dict[str, Any] = {
    "n_rows": int,
    "n_dropped": int,
    "prompts": int,
    "policy": (str, type(None)),
    "population": str,
    "dump": str,
}
_DAMAGE = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


def read(source: str | os.PathLike[str] | bytes, kind: type[Fold], *, into: Fold | None = None) -> Fold:
    """A saved fold; `into` is an empty one with the same statistics, else they are made from the file."""
    if isinstance(source, bytes):
        name, data = "state", source
    else:
        name = quote(os.fspath(source), 400)
        with open(source, "rb") as file:
            data = file.read()
    try:
        fold = _restored(kind, *parse(data))
    except _DAMAGE as exc:
        why = f"the field {exc} is missing" if isinstance(exc, KeyError) else str(exc) or type(exc).__name__
        raise DumpError(f"{name}: not a saved fold of this version, or damaged: {quote(why, 300)[1:-1]}") from None
    if into is None:
        return fold
    _need_same(into, fold)
    own = {n: getattr(into, n) for n in ("statistics", "options")}
    vars(into).update(vars(fold), **own)
    return into


def _described(dim: int, kinds: list[dict[str, Any]]) -> str:
    settings = [", ".join(f"{n}={x!r:.60}" for n, x in kind.items() if n != "kind") for kind in kinds]
    return f"dim {dim}, " + ", ".join(f"{kind['kind']}({own})" for kind, own in zip(kinds, settings, strict=True))


def _need_same(mine: Fold, saved: Fold) -> None:
    kinds = [spec(s) for s in mine.statistics], [spec(s) for s in saved.statistics]
    if mine.dim != saved.dim or kinds[0] != kinds[1]:
        saved_has, has = (_described(f.dim, k) for f, k in ((saved, kinds[1]), (mine, kinds[0])))
        raise ValueError(f"load: the saved fold has {saved_has}; this one has {has}")
    if mine.start_row is not None and mine.start_row != saved.start_row:
        raise ValueError(f"load: the saved fold begins at row {saved.start_row}, this one at {mine.start_row}")
    for option in ("base", "precision"):
        if mine.options[option] != saved.options[option]:
            raise ValueError(
                f"load: the saved fold has {option} {saved.options[option]!r}, not {mine.options[option]!r}"
            )
    _need_same_scores(mine, saved)


def _need_same_scores(mine: Fold, saved: Fold) -> None:
    """Refuse a fold of other directions or values: its sums would go on under names that are not theirs."""
    names = {n.removeprefix("-") for fold in (mine, saved) for n in _names(fold)}
    calls = [_planned(fold, names, saved.features) for fold in (mine, saved)]
    own, theirs = (list(call.value_names) for call in calls)
    if own != theirs:
        raise ValueError(f"load: the saved fold has the values {theirs}, not {own}")
    own_vectors, vectors = (call.directions for call in calls)
    if own_vectors is None or vectors is None:
        same = own_vectors is vectors and calls[0].names == calls[1].names  # columns of scores
    else:
        same = np.array_equal(own_vectors, vectors)
    if not same:
        raise ValueError("load: the saved fold is of other directions than this one")


def _names(fold: Fold) -> list[str]:
    """Columns that the statistics name."""
    given = [g for s in fold.statistics for g in (s.directions, s.values)]
    lists = [[g] if isinstance(g, str) else list(g) for g in given if isinstance(g, (str, list, tuple))]
    return [n for g in lists for n in g if isinstance(n, str)]


def _planned(fold: Fold, names: set[str], features: tuple[str, ...] | None) -> Call:
    """What the statistics make of a row that has every column they name, and these features."""
    row = np.zeros((1, fold.dim), np.float32)
    with listening():
        dump = open_dump(row, prompt_ids=np.zeros(1, np.int64), columns={n: np.zeros(1) for n in sorted(names)})
        if features:
            dump = dump.with_options(source={"features": list(features)})
        return plan(dump, fold.statistics, fold.options)[0]


def _restored(kind: type[Fold], header: dict[str, Any], blobs: Blobs) -> Fold:
    dim = count(header["dim"], "dim", WIDEST)
    vectors = None if header["vectors"] is None else blobs.take(header["vectors"], np.ndarray, "vectors")
    fold = kind(*_statistics(header, vectors, dim), dim=dim, start_row=header["start_row"], base=header["base"],
                precision=header["precision"])  # fmt: skip
    _take_counts(fold, header)
    if header["waiting"] is not None:
        fold.waiting = [blobs.rows(header["waiting"], dim, "waiting")]
    if header["head"] is not None:
        rows, end = header["head"]
        fold.head = blobs.rows(rows, dim, "head"), count(end, "head")
    for leaf, level, states in listed(header["nodes"], list, "nodes"):
        fold.nodes.append((count(leaf, "nodes"), count(level, "nodes", 62), blobs.states(states, "nodes")))
    fold.before = blobs.states(header["before"], "before")
    need(all(b is None for b in blobs.held), "blobs", "one of them is used by nothing")
    _check_places(fold)
    _check_rows(fold)
    _check_states(fold, header)
    return fold


def _statistics(header: dict[str, Any], vectors: Any, dim: int) -> list[stat.Statistic]:
    names, values = (listed(header[n], str, n) for n in ("directions", "values"))
    for name in ("columns", "fit_status"):
        listed(header[name], str, name)
    if vectors is not None:
        good = vectors.shape == (len(names), dim) and vectors.dtype.kind == "f"
        need(good, "vectors", f"{vectors.dtype} of shape {vectors.shape}, wanted ({len(names)}, {dim})")
    out = []
    for said, share in zip(listed(header["statistics"], dict, "statistics"), header["shares"], strict=True):
        score, k, value, j = (count(n, "shares") for n in share)
        need(score + k <= len(names) and value + j <= len(values), "shares", "reach over the names")
        given = names[score : score + k]
        chosen = None if not k else given if vectors is None else _named(given, vectors[score : score + k])
        out.append(_statistic(said, chosen, values[value : value + j] or None))
    return out


def _statistic(said: dict[str, Any], directions: Any, values: Any) -> stat.Statistic:
    kinds: dict[str, Any] = {n: getattr(stat, n) for n in stat.__all__ if n not in ("Statistic", "Scores")}
    return kinds[said["kind"]](directions, values, **{n: v for n, v in said.items() if n != "kind"})  # type: ignore[no-any-return]


def _named(names: list[str], vectors: NDArray[Any]) -> Any:
    return Directions(names, vectors) if len(set(names)) == len(names) else vectors


def _take_counts(fold: Fold, header: dict[str, Any]) -> None:
    fold.n_rows, fold.begin, fold.folded_to = (count(header[n], n) for n in ("n_rows", "begin", "folded_to"))
    names = header.get("features")  # of rows that came as frames; older states have none
    need(names is None or len(set(listed(names, str, "features"))) == fold.dim, "features", "are not one for a column")
    fold.features = None if names is None else tuple(names)
    fold.open_left = header["open_left"]
    need(type(fold.open_left) is bool, "open_left", "is neither true nor false")
    seen = listed(header["seen"], (int, float, str), "seen")
    fold.seen = dict.fromkeys(seen)
    need(len(fold.seen) == len(seen), "seen", "a prompt is there twice")
    unlabelled = header["unlabelled"]
    need(isinstance(unlabelled, dict), "unlabelled", "is no mapping")
    fold.unlabelled = {name: count(n, "unlabelled") for name, n in unlabelled.items()}
    facts = header["dump_facts"]
    if facts is not None:
        good = isinstance(facts, dict) and facts.keys() == FACTS.keys()
        need(good and all(isinstance(facts[n], k) for n, k in FACTS.items()), "dump_facts", "are not those of a dump")
        for name in ("n_rows", "n_dropped", "prompts"):
            count(facts[name], "dump_facts")
    fold.dump_facts = facts


def _check_places(fold: Fold) -> None:
    """Rows are counted once: in the head, in the nodes one after another, in what waits, in what was before."""
    waiting, start = sum(map(len, fold.waiting)), fold.start_row or 0
    need(fold.begin <= waiting and fold.folded_to >= start, "begin", "lies outside the rows")
    counted = fold.folded_to - start + waiting - fold.begin
    need(fold.n_rows > counted if fold.before else fold.n_rows == counted, "n_rows", "differs from the rows")
    need(fold.n_rows > 0 or fold.dump_facts is not None, "n_rows", "there are none, and such a fold is not saved")
    at = start // LEAF
    if fold.head is not None:
        rows, end = fold.head
        need(0 < end <= len(rows) and end % LEAF == 0 and not fold.open_left, "head", "has no whole leaves")
        at += end // LEAF
    for leaf, level, _ in fold.nodes:
        need(leaf == at and leaf % (1 << level) == 0, "nodes", f"one lies at leaf {leaf}, wanted {at}")
        at += 1 << level
    whole = fold.folded_to % LEAF == 0 or (fold.dump_facts is not None and not waiting)
    need(whole and at == -(-fold.folded_to // LEAF), "nodes", f"end at leaf {at}, the rows at {fold.folded_to}")


def _check_rows(fold: Fold) -> None:
    """What waits can be folded, and together."""
    held = fold.waiting + ([] if fold.head is None else [fold.head[0]])
    for rows in held:
        ids = rows.ids.tolist()
        need(all(i in fold.seen for i in ids), "seen", "a prompt of the waiting rows is not among them")
        fold._plan(rows)
    if held:
        Rows.joined([rows.take(0, 1) for rows in held])


def _check_states(fold: Fold, header: dict[str, Any]) -> None:
    """States are of the statistics, made with their settings."""
    many = [("nodes", states) for _, _, states in fold.nodes] + [("before", fold.before)] * bool(fold.before)
    for field, states in many:  # first, since the states to compare with are as large as these say they are
        width = all(s.settings().get("d", [fold.dim]) == [fold.dim] for s in states)
        need(width and len(states) == len(fold.statistics), field, "hold states of other rows")
    call = _plan_of(fold, header)
    need(fold.shares == [tuple(s) for s in header["shares"]], "shares", "differ from those of the statistics")
    base: Any = SimpleNamespace(base=fold.options["base"])
    dump: Any = SimpleNamespace(
        dim=fold.dim if many else 1
    )  # without states the file may be much smaller than they are
    made_for = replace(call, population=base, dump=dump)
    wanted = [s.state(made_for, *share) for s, share in zip(fold.statistics, fold.shares, strict=True)]
    for field, states in many:
        for state, want in zip(states, wanted, strict=True):
            alike = type(state) is type(want) and state.settings() == want.settings()
            need(alike, field, f"a state of {type(state).__name__} is not of its statistic")


def _plan_of(fold: Fold, header: dict[str, Any]) -> Any:
    """The plan of a fold is made from rows; one row of zeros stands for those that are folded already."""
    row = np.zeros((1, fold.dim), np.float32)
    carrier = open_dump(row, prompt_ids=[0], columns={n: np.zeros(1) for n in header["columns"]})
    named = header["values"] + (header["directions"] if header["vectors"] is None else [])
    arrays = [n for n in named if not carrier.has_column(n) and not carrier.has_column(n.removeprefix("-"))]
    carrier = open_dump(carrier, columns=dict.fromkeys(arrays, np.zeros(1)))
    call, fold.shares = plan(carrier, fold.statistics, {**fold.options, "base": "sampled"})
    fold.call = replace(call, names=tuple(header["directions"]), fit_status=tuple(header["fit_status"]))
    return fold.call


MOST = 1 << 62  # of rows

WIDEST = 1 << 24  # numbers of a row


def need(truth: bool, field: str, what: str) -> None:
    """A ValueError that names the field, unless it holds."""
    if not truth:
        raise ValueError(f"field {field!r}: {what}")


def count(value: Any, field: str, most: int = MOST) -> int:
    """A whole number from 0 to `most`."""
    need(type(value) is int and 0 <= value <= most, field, f"{value!r} is no count up to {most}")
    return int(value)


def listed(value: Any, kind: Any, field: str) -> list[Any]:
    """A list whose entries are of one type."""
    need(isinstance(value, list) and all(isinstance(x, kind) for x in value), field, "its entries have another type")
    return list(value)


class Blobs:
    """Arrays and states of a file; each is taken once, as what it is."""

    def __init__(self, shapes: Any, payload: memoryview) -> None:
        self.held: list[Any] = []
        at = 0
        for n, *shape in listed(shapes, list, "blobs"):
            end = at + count(n, "blobs", len(payload) - at)
            self.held.append(_array(payload[at:end], *shape) if shape else bytes(payload[at:end]))
            at = end
        need(at == len(payload), "blobs", f"{len(payload) - at} bytes are left over")

    def take(self, index: Any, kind: type, field: str) -> Any:
        """One blob, which nothing else may use."""
        at = count(index, field, len(self.held) - 1)
        need(isinstance(self.held[at], kind), field, f"blob {at} is taken already or of another kind")
        out, self.held[at] = self.held[at], None
        return out

    def rows(self, said: Any, dim: int, field: str) -> Rows:
        """Rows of `dim` numbers with their ids and columns."""
        need(isinstance(said, dict) and isinstance(said["columns"], dict), field, "is no mapping")
        phi, ids = (self.take(said[n], np.ndarray, field) for n in ("phi", "ids"))
        columns = {n: self.take(i, np.ndarray, field) for n, i in said["columns"].items()}
        good = phi.ndim == 2 and phi.shape[1] == dim and len(phi) > 0
        need(good, field, f"phi has shape {phi.shape}, wanted (m, {dim})")
        for a in (ids, *columns.values()):
            need(a.shape == (len(phi),), field, f"an array beside phi has shape {a.shape}, wanted ({len(phi)},)")
        return Rows(phi, ids, columns)

    def states(self, said: Any, field: str) -> list[Any]:
        """Compiled states, each checked against its own settings."""
        out = []
        for kind, index in listed(said, list, field):
            need(kind in stat.__all__, field, "names no statistic")
            made: Any = getattr(_core, kind)
            state = made.__new__(made)
            state.__setstate__(self.take(index, bytes, field))
            out.append(state)
        return out


def _array(data: memoryview, dtype: str, shape: list[int]) -> NDArray[Any]:
    need(type(dtype) is str, "blobs", "a dtype is no text")
    kind = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    if kind != BFLOAT16:
        need(kind.kind in "fiubUS" and (kind.kind in "US" or kind.itemsize <= 8), "blobs", f"dtype {dtype!r}")
    out = np.frombuffer(data, np.uint8).copy()
    size = int(np.prod([count(n, "blobs", MOST) for n in shape], dtype=object)) if shape else 1
    need(kind.itemsize > 0 and size * kind.itemsize == len(out), "blobs", "shape and bytes of an array disagree")
    if kind.kind == "U":
        code = out.view(kind.byteorder.replace("|", "=") + "u4")
        need(not len(code) or int(code.max()) < 0x110000, "blobs", "holds what is no character")
    return np.asarray(out.view(kind).reshape(shape))


def parse(data: bytes) -> tuple[dict[str, Any], Blobs]:
    """Header and blobs of a file whose sizes and checksum fit."""
    size, checksum = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:12], "little")
    need(size <= len(data) - 12, "header", f"ends behind byte {len(data)}")
    need(zlib.crc32(memoryview(data)[12:]) == checksum, "checksum", "differs")
    header = json.loads(data[12 : 12 + size])
    need(isinstance(header, dict), "header", "is no object")
    found = header.get("format"), header.get("version")
    need(found == (FORMAT, VERSION), "format", f"is {found!r}, wanted {(FORMAT, VERSION)!r}")
    return header, Blobs(header["blobs"], memoryview(data)[12 + size :])
