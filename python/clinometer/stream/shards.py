"""Shards of one pass: cutting a dump on the grid of leaves, and merging what the parts hold."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from clinometer import _core
from clinometer.engine.inputs import LEAF, absorb
from clinometer.engine.scan import plan
from clinometer.engine.stat import Statistic

from .fold import Fold
from .fold_read import read


def merge(*states: Any) -> Any:
    """The finished result of shards, given in the order of their rows.

    Parameters
    ----------
    *states : saved states (paths, or their bytes), results with a `.state`, or `Fold` objects, which are used up

    Returns
    -------
    the result of the statistic they hold; a list where they hold several. Shards placed on leaf borders
    (`Fold(start_row=)`, `clinometer tilt --shards`) give the bits of one machine's pass and must be all there:
    a gap, an overlap, a wrong order, a shard of another dump or call, and where shards are those of a dump a missing
    end, is a ValueError; a `Fold` does not know how many rows there will be. Folds without a place agree with one pass
    up to rounding.

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
    names = [f"{s}: " if isinstance(s, (str, os.PathLike)) else "" for s in states]
    if whole.start_row:
        raise ValueError(f"states: {names[0]}the first begins at row {whole.start_row}; the shard of row 0 is missing")
    for name, later in zip(names[1:], rest, strict=True):
        try:
            whole.merge(later)
        except ValueError as error:
            raise ValueError(f"{name}{error}") from None
    facts = whole.dump_facts
    if facts is not None and whole.end_row != facts["n_rows"]:
        raise ValueError(
            f"states: they end at row {whole.end_row} of {facts['n_rows']}; the shard of row {whole.end_row} is missing"
        )
    results = whole.finish()
    return results[0] if len(results) == 1 else results


def _as_fold(state: Any) -> Fold:
    if isinstance(state, Fold):
        return state
    held = getattr(state, "state", state)
    if held is None:
        raise ValueError(f"states: this {type(state).__name__} does not come from a Fold and has no state")
    if isinstance(held, (bytes, str, os.PathLike)):
        return read(held, Fold)
    raise TypeError(f"states holds {type(state).__name__}, wanted paths, bytes, results with a state, or Folds")


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
    states = [s.state(call, *share) for s, share in zip(statistics, shares, strict=True)]
    unit = LEAF * max(s.span for s in states)
    units = -(-p.n_rows // unit)
    begin, end = (min(units * i // count * unit, p.n_rows) for i in (index - 1, index))
    start = units * (index - 1) // count * unit
    fold = Fold(*statistics, dim=call.dump.dim, start_row=start, base=p.base,
                precision="double" if call.in_double else "mixed", n_threads=call.n_threads)  # fmt: skip
    scan = _core.Scan(states, start // LEAF)
    absorb(call, scan, begin=begin, end=end)
    fold.nodes, fold.n_rows, fold.folded_to, fold.open_left = list(scan.nodes()), end - begin, end, False
    fold.call, fold.shares = call, shares
    fold.unlabelled = dict(zip(call.value_names, map(int, call.n_unlabelled), strict=True))
    described = hashlib.sha256(p.offsets.tobytes())
    for part in (p.order, p.weight, p.omega, p.cluster, call.columns, call.values):
        described.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
    begun = int(((p.offsets[:-1] >= begin) & (p.offsets[:-1] < end)).sum())
    fold.dump_facts = {"n_rows": p.n_rows, "n_dropped": p.n_dropped, "prompts": begun, "policy": call.dump.policy,
                       "dump": call.dump.fingerprint(), "population": described.hexdigest()}  # fmt: skip
    return fold
