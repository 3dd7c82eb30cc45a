"""Shards of one pass: cutting a dump on the grid of leaves, and merging what the parts hold."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from clinometer import _core
from clinometer.engine.inputs import absorb
from clinometer.engine.scan import plan
from clinometer.engine.stat import Statistic

from .fold import LEAF, Fold
from .nodes import push

__all__ = ["adjoin", "append", "merge", "shard"]


def merge(*states: Any) -> Any:
    """The finished result of shards, given in the order of their rows.

    Parameters
    ----------
    *states : saved states (paths, or their bytes), results with a `.state`, or `Fold` objects, which are used up

    Returns
    -------
    the result of the statistic they hold; a list where they hold several. Shards placed on leaf borders
    (`Fold(start_row=)`, `clinometer tilt --shards`) give the bits of one machine's pass and must be all there:
    a gap, an overlap, a wrong order or a missing end is a ValueError. Folds without a place agree with one pass up to
    rounding.

    Cost: reading the states and the leaves on their borders.

    >>> import numpy as np, clinometer as cm
    >>> rows, ids, folds = np.arange(20000.0)[:, None] % 7, np.arange(20000) // 5, []
    >>> for a, b in ((0, 8192), (8192, 20000)):
    ...     folds.append(cm.Fold(cm.stat.Moments(), dim=1, start_row=a))
    ...     folds[-1].absorb(rows[a:b], ids[a:b])
    >>> bool((cm.merge(*folds).covariance == cm.moments(rows, prompt_ids=ids).covariance).all())
    True
    """
    if not states:
        raise ValueError("states is empty, wanted at least one")
    folds = [_as_fold(s) for s in states]
    whole, *rest = folds
    if whole.start_row:
        raise ValueError(f"states: the first begins at row {whole.start_row}; the shard of row 0 is missing")
    for later in rest:
        whole.merge(later)
    facts = whole.dump_facts
    if facts is not None and whole.end_row != facts["n_rows"]:
        raise ValueError(
            f"states: they end at row {whole.end_row} of {facts['n_rows']}; the shard of row {whole.end_row} is missing"
        )
    results = whole.finish()
    return results[0] if len(results) == 1 else results


def _as_fold(state: Any) -> Fold:
    from .fold_read import read

    if isinstance(state, Fold):
        return state
    held = getattr(state, "state", state)
    if held is None:
        raise ValueError(f"states: this {type(state).__name__} does not come from a Fold and has no state")
    if isinstance(held, (bytes, str, os.PathLike)):
        return read(held)
    raise TypeError(f"states holds {type(state).__name__}, wanted paths, bytes, results with a state, or Folds")


def append(first: Fold, other: Fold) -> None:
    """Merge unplaced folds of different prompts."""
    if other.start_row is not None:
        raise ValueError(f"merge: other is placed at row {other.start_row} but this Fold has no start_row")
    _need_alike(first, other)
    both = first.seen.keys() & other.seen.keys()
    if both:
        raise ValueError(f"merge: prompt {next(iter(both))!r} is in both folds")
    mine, theirs = first.total(), other.total()
    for a, b in zip(mine, theirs, strict=False):
        a.merge(b)
    if not mine:
        first.call, first.shares = other.call, other.shares
    _count(first, other)
    kept = {n: getattr(first, n) for n in ("n_rows", "seen", "unlabelled", "call", "shares")}
    first._begin_empty()
    vars(first).update(kept, before=mine or theirs)
    other._begin_empty()


def adjoin(first: Fold, other: Fold) -> None:
    """Merge placed folds that are neighbours: their nodes, and the leaves on the border between them."""
    _need_alike(first, other)
    _need_neighbours(first, other)
    if other.n_rows == 0:
        return
    if first.n_rows == 0:
        own = {"statistics": first.statistics, "options": first.options}
        vars(first).update(vars(other), **own)
        other._begin_empty()
        return
    first.settle()
    other.settle()
    if first.call is None:
        first.call, first.shares = other.call, other.shares
    if other.open_left:
        first.waiting += other.waiting
        first._flush()
    else:
        if other.head is not None:
            first.bridge(*other.head)
        for node in other.nodes:
            push(first.nodes, node)
        first.waiting, first.begin, first.folded_to = other.waiting, other.begin, other.folded_to
    _count(first, other)
    other._begin_empty()


def _need_alike(first: Fold, other: Fold) -> None:
    from .fold_file import described

    mine, theirs = described(first), described(other)
    for name, wanted in mine.items():
        if first.n_rows and other.n_rows and theirs[name] != wanted:
            raise ValueError(f"merge: the two folds differ in {name}: {theirs[name]} and {wanted}")


def _need_neighbours(first: Fold, other: Fold) -> None:
    if other.start_row is None:
        raise ValueError(f"merge: this Fold is placed at row {first.start_row} but other has no start_row")
    if other.start_row != first.end_row:
        what = "overlap or are out of order" if other.start_row < first.end_row else "leave a gap"
        raise ValueError(
            f"merge: rows [{first.start_row}, {first.end_row}) and [{other.start_row}, {other.end_row}) {what}; "
            f"wanted the shard that begins at row {first.end_row}"
        )
    if first.n_rows and other.n_rows and (first.dump_facts is None) != (other.dump_facts is None):
        raise ValueError("merge: one fold is a shard of a dump, the other was fed rows; they do not know their border")
    if not (first.seen and other.seen):
        return
    shared = first.seen.keys() & other.seen.keys()
    if next(reversed(first.seen)) == next(iter(other.seen)):
        shared.discard(next(iter(other.seen)))
    if shared:
        raise ValueError(f"merge: prompt {next(iter(shared))!r} is in both folds and does not lie on their border")


def _count(first: Fold, other: Fold) -> None:
    first.n_rows += other.n_rows
    first.seen |= other.seen
    if first.dump_facts is not None and other.dump_facts is not None:
        first.dump_facts["prompts"] += other.dump_facts["prompts"]
        return
    for name, n in other.unlabelled.items():
        first.unlabelled[name] = first.unlabelled.get(name, 0) + n


def shard(dump: Any, index: int, count: int, *statistics: Statistic, **options: Any) -> Fold:
    """Shard `index` of 1 ... `count` of one pass over a dump: leaves in equal shares, for `merge`.

    Every machine opens the whole dump (its prompt ids decide the order) and reads the rows of its share.

    >>> import numpy as np, clinometer as cm
    >>> from clinometer.stream.shards import shard
    >>> x = np.arange(40.0)[:, None] ** 2
    >>> parts = [shard(x, i, 2, cm.stat.Moments(), prompt_ids=np.arange(40) // 4) for i in (1, 2)]
    >>> [p.n_rows for p in parts], cm.merge(*parts).n_prompts
    ([0, 40], 10)
    """
    if not all(isinstance(i, (int, np.integer)) for i in (index, count)) or not 1 <= index <= count:
        raise ValueError(f"shards: {index}/{count} is not a share; wanted I/N with 1 <= I <= N")
    call, shares = plan(dump, statistics, options)
    if not call.within:
        raise ValueError("within=False has one normaliser for all rows and cannot be cut into shards")
    if call.n_folds > 1:
        raise ValueError("directions: a cross-fitted direction cannot be sharded; pass its .vectors")
    p = call.population
    leaves = -(-p.n_rows // LEAF)
    begin, end = (min(leaves * i // count * LEAF, p.n_rows) for i in (index - 1, index))
    start = leaves * (index - 1) // count * LEAF
    fold = Fold(*statistics, dim=call.dump.dim, start_row=start, base=p.base,
                precision="double" if call.in_double else "mixed", n_threads=call.n_threads)  # fmt: skip
    scan = _core.Scan([s.state(call, *share) for s, share in zip(statistics, shares, strict=True)], start // LEAF)
    absorb(call, scan, begin=begin, end=end)
    fold.nodes, fold.n_rows, fold.folded_to, fold.open_left = list(scan.nodes()), end - begin, end, False
    fold.call, fold.shares = call, shares
    fold.unlabelled = dict(zip(call.value_names, map(int, call.n_unlabelled), strict=True))
    described = hashlib.sha256(p.offsets.tobytes())
    for part in (p.order, p.weight, p.omega, p.cluster):
        described.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
    begun = int(((p.offsets[:-1] >= begin) & (p.offsets[:-1] < end)).sum())
    fold.dump_facts = {"n_rows": p.n_rows, "n_dropped": p.n_dropped, "prompts": begun, "policy": call.dump.policy,
                       "population": described.hexdigest()}  # fmt: skip
    return fold
