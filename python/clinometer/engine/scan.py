"""`scan`: several statistics, one read; and the one call they share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from clinometer.common.options import listed
from clinometer.dump import open_dump

from .inputs import Call, prepare, run
from .stat import Statistic

Share = tuple[int, int, int, int]  # of one statistic: first score, scores, first value, values


@listed()
def scan(dump: Any, *statistics: Statistic, **options: Any) -> list[Any]:
    """Several statistics in one read of the dump; each of the N rows (N, d) is decoded and projected once.

    Parameters
    ----------
    *statistics : instances of the classes in ``cm.stat``

    Returns
    -------
    list of results, in the order of the statistics. Cost: one pass.

    Errors: TypeError where no statistic is given, or something that is none; DumpError for a row that holds NaN or Inf
    (the first and their number are named).

    >>> import numpy as np, clinometer as cm
    >>> x = np.array([[0.0], [2.0]], np.float32)
    >>> m, p = cm.scan(cm.open_dump(x, prompt_ids=[0, 0]), cm.stat.Moments(), cm.stat.CovarianceProjection([[1.0]]))
    >>> p.tolist()
    [[1.0]]
    """
    call, shares = plan(dump, statistics, options)
    if call.population.n_rows == 0:
        raise ValueError(f"{call.dump.name} has no rows to pass over")
    states = [s.state(call, *share) for s, share in zip(statistics, shares, strict=True)]
    done = run(call, states)
    return results(call, statistics, done, shares)


def results(call: Call, statistics: tuple[Statistic, ...], states: list[Any], shares: list[Share]) -> list[Any]:
    """Finished states in results, in the order of the statistics."""
    return [
        s.result(call, state, call.names[a : a + k], call.value_names[b : b + j])
        for s, state, (a, k, b, j) in zip(statistics, states, shares, strict=True)
    ]


def plan(dump: Any, statistics: tuple[Statistic, ...], options: dict[str, Any]) -> tuple[Call, list[Share]]:
    """One call over the stacked directions and values, and each statistic's share of them."""
    if not statistics or not all(isinstance(s, Statistic) for s in statistics):
        raise TypeError("statistics: wanted one or more instances of the classes in cm.stat")
    source = dump if hasattr(dump, "segments") else open_dump(dump)
    parts = [prepare(source, s.directions, s.values, **options) for s in statistics]
    call = parts[0]
    shares: list[Share] = []
    projected = [p.directions for p in parts if p.directions is not None]
    columns = [p.columns for p in parts if p.columns is not None]
    values = [p.values for p in parts if p.values is not None]
    if any(p.directions is not None and p.columns is not None for p in parts) or (projected and columns):
        raise ValueError("scan: directions and score columns cannot share one scan; use two")
    if len({None if p.fold is None else p.fold.tobytes() for p in parts if p.directions is not None}) > 1:
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
