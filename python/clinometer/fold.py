"""`scan`: several statistics, one read. `Fold`: the same engine fed rows as they come, without a dump."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from .dump import open_dump
from .errors import DumpError
from .inputs import Call, absorb, prepare, run
from .stat import Scores, Statistic

__all__ = ["Fold", "scan"]


def scan(dump: Any, *statistics: Statistic, **options: Any) -> list[Any]:
    """Several statistics in one read of the dump; each row is decoded and projected once.

    Parameters
    ----------
    *statistics : instances of the classes in ``clinometer.stat``

    Returns
    -------
    list of results, in the order of the statistics. Cost: one pass.

    >>> import numpy as np, clinometer as cm
    >>> x = np.array([[0.0], [2.0]], np.float32)
    >>> m, p = cm.scan(cm.open_dump(x, prompt_ids=[0, 0]), cm.stat.Moments(), cm.stat.CovarianceProjection([[1.0]]))
    >>> p.tolist()
    [[1.0]]
    """
    call, shares = _plan(dump, statistics, options)
    if call.population.n_rows == 0:
        raise ValueError(f"{call.dump.name} has no rows to pass over")
    states = [s.state(call, *share) for s, share in zip(statistics, shares, strict=True)]
    done = run(call, states)
    return [
        s.result(call, state, call.names[a : a + k], call.value_names[b : b + j])
        for s, state, (a, k, b, j) in zip(statistics, done, shares, strict=True)
    ]


def _plan(
    dump: Any, statistics: tuple[Statistic, ...], options: dict[str, Any]
) -> tuple[Call, list[tuple[int, int, int, int]]]:
    """One call over the stacked directions and values, and each statistic's share of them."""
    if not statistics or not all(isinstance(s, Statistic) for s in statistics):
        raise TypeError("statistics: wanted one or more instances of the classes in clinometer.stat")
    source = dump if hasattr(dump, "segments") else open_dump(dump)
    parts = [prepare(source, s.directions, s.values, **options) for s in statistics]
    call = parts[0]
    shares: list[tuple[int, int, int, int]] = []
    projected = [p.directions for p in parts if p.directions is not None]
    columns = [p.columns for p in parts if p.columns is not None]
    values = [p.values for p in parts if p.values is not None]
    if any(p.directions is not None and p.columns is not None for p in parts) or (projected and columns):
        raise ValueError("scan: directions and score columns cannot share one scan; use two")
    dealt = {None if p.fold is None else p.fold.tobytes() for p in parts if p.directions is not None}
    if len(dealt) > 1:
        raise ValueError("scan: directions dealt to folds differently cannot share one scan; use two")
    score_at = value_at = 0
    for p in parts:
        shares.append((score_at, p.n_scores, value_at, p.n_values))
        score_at, value_at = score_at + p.n_scores, value_at + p.n_values
    stacked = replace(
        call,
        directions=np.concatenate(projected) if projected else None,
        columns=np.concatenate(columns, axis=1) if columns else None,
        values=np.concatenate(values, axis=1) if values else None,
        names=tuple(n for p in parts for n in p.names),
        value_names=tuple(n for p in parts for n in p.value_names),
        fit_status=tuple(s for p in parts for s in p.fit_status),
        n_unlabelled=np.concatenate([p.n_unlabelled for p in parts]),
        n_folds=max(p.n_folds for p in parts),
        fold=next((p.fold for p in parts if p.fold is not None), None),
    )
    return stacked, shares


class Fold:
    """Rows as they come: absorb blocks, merge other folds, finish. One Fold gives a dump's bits.

    Rows of a prompt arrive together (in one call or in consecutive ones); an id that returns later raises.
    Rows wait in memory until a leaf of 8192 rows and its last prompt are complete.

    Parameters
    ----------
    *statistics : instances of the classes in ``clinometer.stat`` with array directions and column-name values
    dim : length of a row
    base, precision, n_threads : as everywhere; betas only, as kl= needs kept scores

    >>> import numpy as np, clinometer as cm
    >>> fold = cm.Fold(cm.stat.Moments(), dim=1)
    >>> fold.absorb(np.array([[0.0], [2.0]]), [7, 7])
    >>> fold.finish()[0].covariance.tolist()
    [[1.0]]
    """

    def __init__(self, *statistics: Statistic, dim: int, base: str = "sampled",
                 precision: str = "mixed", n_threads: int | None = None, within: bool = True) -> None:  # fmt: skip
        if not statistics or not all(isinstance(s, Statistic) for s in statistics):
            raise TypeError("statistics: wanted one or more instances of the classes in clinometer.stat")
        if any(isinstance(s, Scores) for s in statistics):
            raise ValueError("stat.Scores writes one row for each row of a dump; use clinometer.score")
        if not isinstance(dim, (int, np.integer)) or dim < 1:
            raise ValueError(f"dim is {dim!r}, wanted a positive integer")
        if base not in ("sampled", "counts", "logprob", "reweight"):
            raise ValueError(f"base is {base!r}, wanted sampled, counts, logprob or reweight")
        if not within:
            raise ValueError("within=False needs every row at once: write a dump and use the passes")
        self._statistics, self._dim = statistics, int(dim)
        self._options = {"base": base, "precision": precision, "n_threads": n_threads}
        self._rows: list[NDArray[Any]] = []
        self._ids: list[NDArray[Any]] = []
        self._columns: dict[str, list[NDArray[Any]]] = {}
        self._seen: set[Any] = set()
        self._last: Any = None
        self._scan: Any = None
        self._states: list[Any] = []
        self._call: Call | None = None
        self._shares: list[tuple[int, int, int, int]] = []
        self._begin = 0  # waiting rows that are folded already and stay for their prompt's size
        self.n_rows = 0

    def absorb(self, phi: ArrayLike, prompt_ids: ArrayLike, **columns: ArrayLike) -> None:
        """Take rows (m, d) with their prompt ids (m,) and per-row columns by name."""
        rows = np.array(phi, order="C", copy=True) if not _is_bfloat16(phi) else np.array(phi, copy=True)
        ids = np.asarray(prompt_ids)
        if rows.ndim != 2 or rows.shape[1] != self._dim:
            raise ValueError(f"phi has shape {rows.shape}, wanted (m, {self._dim})")
        if self._rows and rows.dtype != self._rows[0].dtype:
            raise TypeError(f"phi has dtype {rows.dtype}, but earlier rows have {self._rows[0].dtype}")
        if ids.shape != (len(rows),):
            raise ValueError(f"prompt_ids has shape {ids.shape}, wanted ({len(rows)},)")
        given = {name: np.asarray(c) for name, c in columns.items()}
        for name, c in given.items():
            if c.shape != (len(rows),):
                raise ValueError(f"column {name!r} has shape {c.shape}, wanted ({len(rows)},)")
        if self._ids and set(given) != set(self._columns):
            raise ValueError(f"columns are {sorted(given)}, but earlier rows had {sorted(self._columns)}")
        if not len(rows):
            return
        self._note_ids(ids)
        self._rows.append(rows)
        self._ids.append(ids)
        for name, c in given.items():
            self._columns.setdefault(name, []).append(c)
        self._flush(final=False)

    def _note_ids(self, ids: NDArray[Any]) -> None:
        new = ids[np.flatnonzero(np.append(self._last is None or ids[0] != self._last, ids[1:] != ids[:-1]))].tolist()
        fresh = set(new)
        if len(fresh) != len(new) or fresh & self._seen:
            again = next(i for n, i in enumerate(new) if i in self._seen or i in new[:n])
            raise ValueError(
                f"prompt_ids: prompt {again!r} returns after another prompt; rows of a prompt arrive together"
            )
        self._seen |= fresh
        self._last = ids[-1].item() if hasattr(ids[-1], "item") else ids[-1]

    def _flush(self, *, final: bool) -> None:
        """Fold every leaf whose prompts are complete; the rows of an open prompt stay for its size."""
        waiting = sum(len(r) for r in self._rows)
        if waiting == 0 or (not final and waiting - self._begin <= _core.LEAF_ROWS):
            return
        ids = np.concatenate(self._ids)
        starts = np.append(0, np.flatnonzero(ids[1:] != ids[:-1]) + 1)
        complete = waiting if final else int(starts[-1])
        end = waiting if final else self._begin + (complete - self._begin) // _core.LEAF_ROWS * _core.LEAF_ROWS
        if end <= self._begin:
            return
        rows = np.concatenate(self._rows)
        columns = {n: np.concatenate(c) for n, c in self._columns.items()}
        self._fold(rows[:complete], ids[:complete], {n: c[:complete] for n, c in columns.items()}, end)
        keep = waiting if final else int(starts[np.searchsorted(starts, end, side="right") - 1])
        self._rows, self._ids = ([rows[keep:]], [ids[keep:]]) if keep < waiting else ([], [])
        self._columns = {n: [c[keep:]] if keep < waiting else [] for n, c in columns.items()}
        self._begin = 0 if final else end - keep

    def _fold(self, rows: NDArray[Any], ids: NDArray[Any], columns: dict[str, NDArray[Any]], end: int) -> None:
        dump = open_dump(rows, prompt_ids=ids, columns=columns)
        self._call, self._shares = _plan(dump, self._statistics, dict(self._options))
        if self._scan is None:
            states = [s.state(self._call, *share) for s, share in zip(self._statistics, self._shares, strict=True)]
            self._scan = _core.Scan(states)
        absorb(self._call, self._scan, begin=self._begin, end=end)
        self.n_rows += end - self._begin

    def _close(self) -> list[Any]:
        """Fold what waits and collapse to one state a statistic."""
        self._flush(final=True)
        if self._scan is not None:
            states = list(self._scan.collapse())
            self._scan = None
            for before, later in zip(self._states, states, strict=False):
                before.merge(later)
            self._states = self._states or states
        return self._states

    def merge(self, other: Fold) -> Fold:
        """Take over another fold of later rows of other prompts; equal to one fold up to rounding."""
        if not isinstance(other, Fold):
            raise TypeError(f"other is {type(other).__name__}, wanted a Fold")
        both = self._seen & other._seen
        if both:
            raise ValueError(f"merge: prompt {next(iter(both))!r} is in both folds")
        mine, theirs = self._close(), other._close()
        if mine and theirs:
            for a, b in zip(mine, theirs, strict=True):
                a.merge(b)
        elif theirs:
            self._states, self._call, self._shares = theirs, other._call, other._shares
        other._states = []
        self._seen |= other._seen
        self.n_rows += other.n_rows
        return self

    def finish(self) -> list[Any]:
        """Results in the order of the statistics."""
        states = self._close()
        if not states or self._call is None:
            raise ValueError("Fold has no rows to finish")
        counts = SimpleNamespace(n_rows=self.n_rows, n_prompts=len(self._seen), n_dropped=0, base=self._options["base"])
        call = replace(self._call, population=counts)  # type: ignore[arg-type]
        return [
            s.result(call, state, call.names[a : a + k], call.value_names[b : b + j])
            for s, state, (a, k, b, j) in zip(self._statistics, states, self._shares, strict=True)
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the states (the open leaf is closed first); a sibling file is renamed over `path`."""
        if self._call is None and not self._rows:
            raise ValueError("Fold has no rows to save")
        states = [(type(s).__name__, s.state()) for s in self._close()]
        assert self._call is not None
        header = {
            "format": "clinometer-fold", "version": 1, "dim": self._dim, "options": {"base": self._options["base"]},
            "n_rows": self.n_rows, "seen": sorted(self._seen, key=str), "shares": [list(s) for s in self._shares],
            "names": self._call.names, "value_names": self._call.value_names,
            "states": [[name, len(data)] for name, data in states],
        }  # fmt: skip
        head = json.dumps(header).encode()
        temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(len(head).to_bytes(8, "little") + head + b"".join(d for _, d in states))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def load(self, path: str | os.PathLike[str]) -> Fold:
        """Take the states of a saved fold with the same statistics into this empty one."""
        if self.n_rows or self._rows:
            raise ValueError("load: this Fold has rows already; load into a new one")
        with open(path, "rb") as file:
            data = file.read()
        size = int.from_bytes(data[:8], "little")
        try:
            if size > len(data) - 8:
                raise ValueError
            header = json.loads(data[8 : 8 + size])
            if header["format"] != "clinometer-fold" or header["version"] != 1:
                raise ValueError
            sizes = [int(n) for _, n in header["states"]]
            if 8 + size + sum(sizes) != len(data):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise DumpError(f"{os.fspath(path)}: not a saved fold of this version, or damaged") from None
        if header["dim"] != self._dim or len(sizes) != len(self._statistics):
            raise ValueError(f"load: the saved fold has dim {header['dim']} and {len(sizes)} statistics")
        self._restore(header, data[8 + size :], sizes)
        return self

    def _restore(self, header: dict[str, Any], data: bytes, sizes: list[int]) -> None:
        carrier = np.zeros((1, self._dim), np.float32)
        columns = {n.lstrip("-"): np.zeros(1) for n in header["value_names"]}
        dump = open_dump(carrier, prompt_ids=[0], columns=columns)
        self._call, self._shares = _plan(dump, self._statistics, {**self._options, "base": "sampled"})
        expected = [s.state(self._call, *share) for s, share in zip(self._statistics, self._shares, strict=True)]
        at = 0
        for (name, n), want in zip(header["states"], expected, strict=True):
            if type(want).__name__ != name:
                raise ValueError(f"load: the saved fold holds {name} where this one has {type(want).__name__}")
            kind: Any = type(want)
            state = kind.__new__(kind)
            state.__setstate__(data[at : at + n])
            self._states.append(state)
            at += n
        self.n_rows = int(header["n_rows"])
        self._seen = set(header["seen"])


def _is_bfloat16(phi: Any) -> bool:
    return getattr(getattr(phi, "dtype", None), "name", "") == "bfloat16"
