"""`Fold`: the engine of the passes fed rows as they come, on one machine or as a shard of several."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer import _core
from clinometer.arrays.carriers import Carried, carried
from clinometer.arrays.coerce import as_column, as_ids, as_matrix
from clinometer.arrays.dlpack import BFLOAT16
from clinometer.arrays.strings import of_one_width
from clinometer.common.notices import listening
from clinometer.common.options import one_by_one
from clinometer.common.results import Result
from clinometer.dump import open_dump
from clinometer.dump.aligned import check_features, same_labels
from clinometer.engine.cautions import tell_of_spaces
from clinometer.engine.inputs import BARE, LEAF, Call, absorb, tell_of_bare
from clinometer.engine.scan import Share, plan, results
from clinometer.engine.stat import Scores, Statistic

from .fold_file import Snapshot, write
from .fold_read import WIDEST, read
from .neighbours import adjoin, append
from .nodes import Node, collapse, copied, push
from .pending_rows import Rows


class Fold:
    """Rows as they come: absorb blocks, merge other folds, finish. One Fold gives a dump's bits.

    Rows of a prompt arrive together (in one call or in consecutive ones); an id that returns later raises.
    Rows wait in memory until a leaf of 8192 rows and its last prompt are complete.

    Parameters
    ----------
    *statistics : instances of the classes in ``cm.stat`` with array directions and column-name values
    dim : length of a row
    start_row : place of the first row in the canonical order of the whole, a multiple of 8192. Folds so placed
        merge to the bits of one fold over all rows, though prompts straddle their borders: the rows of the leaves
        in which a shard's first and last prompt lie wait for the neighbour. None: merge is exact up to rounding.
    base, precision, n_threads : as everywhere; betas only, as kl= needs kept scores

    Threads may share one: their calls wait for each other.

    Memory: the states of log2(leaves) nodes and the waiting rows; `finish` holds the states twice.

    Errors: TypeError without a statistic of ``cm.stat``; ValueError for a setting, a prompt that returns, or rows
    of another width or with NaN or Inf. Cost: that of the same pass over a dump.

    >>> import numpy as np, clinometer as cm
    >>> fold = cm.Fold(cm.stat.Moments(), dim=1)
    >>> fold.absorb(np.array([[0.0], [2.0], [0.0], [2.0]]), [7, 7, 7, 7])
    >>> fold.finish()[0].covariance.tolist()
    [[1.0]]
    """

    def __init__(self, *statistics: Statistic, dim: int, start_row: int | None = None, base: str = "sampled",
                 precision: str = "mixed", n_threads: int | None = None, within: bool = True) -> None:  # fmt: skip
        if not statistics or not all(isinstance(s, Statistic) for s in statistics):
            raise TypeError("statistics: wanted one or more instances of the classes in cm.stat")
        if any(isinstance(s, Scores) for s in statistics):
            raise ValueError("stat.Scores writes one row for each row of a dump; use clinometer.score")
        if not isinstance(dim, (int, np.integer)) or not 1 <= dim <= WIDEST:
            raise ValueError(f"dim is {dim!r}, wanted an integer from 1 to {WIDEST}")
        if base not in ("sampled", "counts", "logprob", "reweight"):
            raise ValueError(f"base is {base!r}, wanted sampled, counts, logprob or reweight")
        if not within:
            raise ValueError("within=False needs every row at once: write a dump and use the passes")
        self.statistics, self.dim, self.start_row = statistics, int(dim), _checked_start(start_row)
        self.options: dict[str, Any] = {"base": base, "precision": precision, "n_threads": n_threads}
        self.turn = threading.RLock()
        self._begin_empty()

    def __getstate__(self) -> dict[str, Any]:
        return {name: held for name, held in vars(self).items() if name != "turn"}

    def __setstate__(self, held: dict[str, Any]) -> None:
        vars(self).update(held, turn=threading.RLock())

    def _begin_empty(self) -> None:
        start = self.start_row or 0
        self.n_rows = 0  # rows absorbed, folded or waiting
        self.features: tuple[str, ...] | None = None  # names of the columns of phi
        self.seen: dict[Any, None] = {}  # prompt ids in order of arrival
        self.unlabelled: dict[str, int] = {}  # NaN by column
        self.waiting: list[Rows] = []
        self.begin = 0  # waiting rows that are folded already and stay for their prompt's size
        self.folded_to = start  # canonical row
        self.open_left = start > 0  # nothing is folded before the leaves of the first prompt are known
        self.head: tuple[Rows, int] | None = None  # rows of those leaves and of their last prompt; rows to fold
        self.nodes: list[Node] = []
        self.before: list[Any] = []  # states of unplaced folds merged so far
        self.call: Call | None = None
        self.shares: list[Share] = []
        self.dump_facts: dict[str, Any] | None = None  # of a shard of a dump: counts of the whole
        self._scan: Any = None

    @property
    def end_row(self) -> int:
        """The canonical row after the last one absorbed."""
        return (self.start_row or 0) + self.n_rows

    @property
    def n_prompts(self) -> int:
        """How many prompts have been absorbed."""
        return len(self.seen) if self.dump_facts is None else int(self.dump_facts["prompts"])

    def absorb(self, phi: ArrayLike, prompt_ids: ArrayLike, **columns: ArrayLike) -> None:
        """Take rows (m, d) with their prompt ids (m,) and per-row columns by name."""
        if self.dump_facts is not None:
            raise ValueError("absorb: this Fold is a shard of a dump and takes no further rows")
        one_by_one(columns, "absorb")
        held = {"phi": carried(phi, "phi"), "prompt_ids": carried(prompt_ids, "prompt_ids")}
        held |= {f"column {name!r}": carried(c, f"column {name!r}") for name, c in columns.items()}
        same_labels(held)
        names = held["phi"].features
        check_features(names, self.features, "phi")
        rows = _copied(held["phi"])
        if rows.shape[1] != self.dim:
            raise ValueError(f"phi has shape {rows.shape}, wanted (m, {self.dim})")
        ids = of_one_width(as_ids(held["prompt_ids"], "prompt_ids", len(rows)))  # in states, which hold few rows
        given = {n: as_column(held[f"column {n!r}"], f"column {n!r}", len(rows)).copy() for n in columns}
        with self.turn:
            before, self.features = self.features, self.features or names
            kept = self._present(rows, ids, given)
            if self.call is None and not self.waiting and len(kept[0]):
                try:
                    self._plan(Rows(*kept))  # what the statistics want is there, before a row is taken
                except BaseException:
                    self.features = before
                    raise
            self._absorb(*kept)

    def _absorb(self, rows: NDArray[Any], ids: NDArray[Any], given: dict[str, NDArray[Any]]) -> None:
        if self.waiting:
            _same_kinds(Rows(rows, ids, given), self.waiting[0])
        if not len(rows):
            return
        self._note_ids(ids)
        self.waiting.append(Rows(rows, ids.copy(), given))
        self.n_rows += len(rows)
        for name, c in given.items():
            self.unlabelled[name] = self.unlabelled.get(name, 0) + (
                int(np.isnan(c).sum()) if c.dtype.kind == "f" else 0
            )
        self._flush()

    def _present(self, rows: Any, ids: Any, given: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
        """Without rows of weight 0, which a dump's passes leave out too: of count 0, or log-probability -inf."""
        names, nothing = {"counts": (("count",), 0.0), "logprob": (("logprob", "logp"), -np.inf)}.get(
            self.options["base"], ((), 0.0)
        )
        name = next((n for n in names if n in given), None)
        keep = None if name is None else given[name] != nothing
        if keep is None or keep.all():
            return rows, ids, given
        return rows[keep], ids[keep], {n: c[keep] for n, c in given.items()}

    def _note_ids(self, ids: NDArray[Any]) -> None:
        new = ids[np.append(0, np.flatnonzero(ids[1:] != ids[:-1]) + 1)].tolist()
        if self.seen and new[0] == next(reversed(self.seen)):
            new = new[1:]
        fresh = dict.fromkeys(new)
        if len(fresh) != len(new) or fresh.keys() & self.seen.keys():
            again = next(i for n, i in enumerate(new) if i in self.seen or i in new[:n])
            raise ValueError(
                f"prompt_ids: prompt {again!r} returns after another prompt; rows of a prompt arrive together"
            )
        self.seen |= fresh

    def _flush(self) -> None:
        """Fold every leaf whose prompts are complete; the rows of an open prompt stay for its size."""
        waiting = sum(map(len, self.waiting))
        if waiting - self.begin <= LEAF:
            return
        rows = Rows.joined(self.waiting)
        self.waiting = [rows]
        if self.open_left:
            rows = self._close_head(rows, over=False)
            if self.open_left:
                return
        complete = int(rows.borders(over=False)[-1])
        end = self.begin + (complete - self.begin) // LEAF * LEAF
        if end > self.begin:
            self._fold(rows.take(0, complete), self.begin, end)
            keep = rows.last_border(end)
            self.begin, rows = end - keep, rows.take(keep)
        self.waiting = [rows]

    def _close_head(self, rows: Rows, *, over: bool) -> Rows:
        """Set the leaves of the first prompt aside, once the prompt over their end is complete; what remains."""
        borders = rows.borders(over=over)
        if len(borders) < 2:
            return rows
        end = -(-int(borders[1]) // LEAF) * LEAF
        last = int(np.searchsorted(borders, end))
        if last == len(borders):
            return rows
        self.head, self.open_left = (rows.take(0, int(borders[last])), end), False
        keep = rows.last_border(end)
        self.begin, self.folded_to = end - keep, self.folded_to + end
        return rows.take(keep)

    def _fold(self, rows: Rows, begin: int, end: int) -> None:
        if self._scan is None:
            self._scan = self._new_scan(rows, self.folded_to)
        self.call, self.shares = self._plan(rows)
        absorb(self.call, self._scan, begin=begin, end=end)
        self.folded_to += end - begin

    def _plan(self, rows: Rows) -> tuple[Call, list[Share]]:
        with listening(BARE):  # `finish` says it of all rows
            dump = open_dump(rows.phi, prompt_ids=rows.ids, columns=rows.columns)
            if self.features:
                dump = dump.with_options(source={"features": list(self.features)})
            return plan(dump, self.statistics, self.options)

    def _new_scan(self, rows: Rows, at: int) -> Any:
        call, shares = self._plan(rows)
        states = [s.state(call, *share) for s, share in zip(self.statistics, shares, strict=True)]
        return _core.Scan(states, at // LEAF)

    def _range(self, rows: Rows, begin: int, end: int, at: int) -> list[Node]:
        """The nodes of rows [begin, end), of which the first is canonical row `at`."""
        if end <= begin:
            return []
        scan = self._new_scan(rows, at)
        self.call, self.shares = self._plan(rows)
        absorb(self.call, scan, begin=begin, end=end)
        return list(scan.nodes())

    def settle(self) -> None:
        """Move what the running scan holds to the nodes."""
        if self._scan is not None:
            for node in self._scan.nodes():
                push(self.nodes, node)
            self._scan = None

    def merge(self, other: Fold) -> Fold:
        """Take over the rows of another fold, which come after this one's; `other` is used up.

        Placed folds (`start_row`) must be neighbours, and give one fold's bits. Unplaced ones must share no prompt,
        and give its numbers up to rounding.
        """
        if not isinstance(other, Fold):
            raise TypeError(f"other is {type(other).__name__}, wanted a Fold")
        before, after = sorted((self, other), key=id)  # two that merge into each other do not wait for ever
        with before.turn, after.turn:
            (append if self.start_row is None else adjoin)(self, other)
        return self

    def bridge(self, rows: Rows, end: int) -> None:
        """Fold the leaves on a border: what waits here and the neighbour's first `end` of `rows`."""
        end += sum(map(len, self.waiting))
        rows = Rows.joined([*self.waiting, rows])
        if self.open_left:
            before = len(rows)
            rows = self._close_head(rows, over=True)
            end -= before - len(rows)
        for node in self._range(rows, self.begin, end, self.folded_to):
            push(self.nodes, node)

    def total(self) -> list[Any]:
        """One state for each statistic over all rows; the fold itself stays as it is."""
        self.settle()
        nodes: list[Node] = []
        for node in [] if self.head is None else self._range(self.head[0], 0, self.head[1], self.start_row or 0):
            push(nodes, node)
        for node in self.nodes:
            push(nodes, copied(node))
        if self.waiting:
            rows = Rows.joined(self.waiting)
            for node in self._range(rows, self.begin, len(rows), self.folded_to):
                push(nodes, node)
        out = collapse(nodes) if nodes else []
        if not self.before:
            return out
        before = copied((0, 0, self.before))[2]
        for a, b in zip(before, out, strict=False):
            a.merge(b)
        return before

    def finish(self) -> list[Any]:
        """Results in the order of the statistics; rows may still be absorbed and merged afterwards."""
        with self.turn:
            return self._finish()

    def _finish(self) -> list[Any]:
        states = self.total()
        if not states or self.call is None:
            raise ValueError("Fold has no rows to finish")
        facts = self.dump_facts or {}
        counts = SimpleNamespace(
            n_rows=self.n_rows, n_prompts=self.n_prompts, n_dropped=facts.get("n_dropped", 0),
            base=self.options["base"], policy=facts.get("policy"),
        )  # fmt: skip
        names = self.call.value_names
        gaps = [self.unlabelled.get(n, self.unlabelled.get(n.removeprefix("-"), 0)) for n in names]
        tell_of_bare(names, gaps, self.n_rows, stacklevel=1)
        tell_of_spaces(self.seen)
        call = replace(self.call, population=counts, n_unlabelled=np.array(gaps, np.int64))  # type: ignore[arg-type]
        out = results(call, self.statistics, states, self.shares)
        snapshot = Snapshot(self)
        for one in out:
            if isinstance(one, Result):
                object.__setattr__(one, "_make_state", snapshot)
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write states and waiting rows; a sibling file is renamed over `path`. The fold goes on as before."""
        write(self, path)

    def load(self, path: str | os.PathLike[str]) -> Fold:
        """Take what a saved fold with the same statistics, directions and values holds into this empty one; ValueError
        for another."""
        if self.n_rows:
            raise ValueError("load: this Fold has rows already; load into a new one")
        read(path, type(self), into=self)
        return self


def _checked_start(start_row: Any) -> int | None:
    if start_row is None:
        return None
    if isinstance(start_row, bool) or not isinstance(start_row, (int, np.integer)):
        raise TypeError(f"start_row is {start_row!r}, wanted a multiple of {LEAF} or None")
    start = int(start_row)
    if start < 0 or start % LEAF:
        below = max(start, 0) // LEAF * LEAF
        raise ValueError(
            f"start_row is {start}, wanted a multiple of {LEAF}; the nearest are {below} and {below + LEAF}"
        )
    return start


def _copied(phi: Carried) -> NDArray[Any]:
    """Rows (m, d) of any carrier in memory of our own."""
    array = phi.array
    own = np.array(array, array.dtype.newbyteorder("="), order="C", copy=True)
    rows, dtype = as_matrix(own, "phi")
    return rows.view(BFLOAT16) if dtype == "bfloat16" else rows


def _same_kinds(new: Rows, old: Rows) -> None:
    """Refuse rows, ids and columns of another kind than those that wait: joined, one would be turned into the other."""
    if new.phi.dtype != old.phi.dtype:
        raise TypeError(f"phi has dtype {new.phi.dtype}, but earlier rows have {old.phi.dtype}")
    if set(new.columns) != set(old.columns):
        raise ValueError(f"columns are {sorted(new.columns)}, but earlier rows had {sorted(old.columns)}")
    pairs = {"prompt_ids": (new.ids, old.ids)} | {f"column {n!r}": (c, old.columns[n]) for n, c in new.columns.items()}
    for name, (a, b) in pairs.items():
        if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
            raise TypeError(f"{name} has dtype {a.dtype}, but earlier rows have {b.dtype}: text and numbers do not mix")
