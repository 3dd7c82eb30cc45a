"""One game a prompt: how far its worst value can rise by reweighting its responses (theory 9.3)."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.arrays.carriers import Carried
from clinometer.common.options import listed, used
from clinometer.dump import Dump
from clinometer.dump.directions import Scores
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.passes import score_dump

from .result import STATUS, PromptResult

Floats = NDArray[np.float64]
MOST_VALUES = 64
DEFAULT_CAP = 2.0


@listed("within", "clusters", "check_source")
def prompt(
    source: Any,
    values: Any = None,
    *,
    ratio_cap: float | None = None,
    kl: float | None = None,
    uncapped: bool = False,
    **options: Any,
) -> PromptResult:
    """t = max_q min_j (M q)_j in every prompt, M_ji = (S_ji - mean_j) / sd_j, in the prompt; q too (theory 9.3).

    sd_j is the within-prompt sd over all prompts, so margins compare across prompts; mean and sd use the base weights
    w. q lies in the simplex with q_i <= ratio_cap w_i (a cap of 1 gives 0), or with `uncapped` anywhere on the support
    of w. With `kl` the budget is first order: t = sqrt(2 kl) min over the simplex of sqrt(lambda' C lambda), C the
    within-prompt covariance of the scaled values, and q is the exponential tilt by the mixture that attains it; at few
    responses and large kl that t can exceed what any weights reach (`uncapped`). t is never negative (q = w). With
    more responses than values it is positive for almost any data: read the margin, not the
    share of feasible prompts.

    Parameters
    ----------
    source : array (N, k) of values, or a dump, with `values` naming its columns ("-" if smaller is better)
    ratio_cap, kl, uncapped : at most one of the three; none is ratio_cap 2. ratio_cap >= 1, kl >= 0 in nats
    **options : the base policy and pass options of every function (prompt_ids, base, counts, n_threads, ...)

    Returns
    -------
    PromptResult
        margin, status, dual by prompt in the order of first rows (`.prompts`), weights by row. A value constant in a
        prompt (to 1e-12) is left out there: its dual is NaN. A prompt with NaN or Inf in a value is "invalid". Cost: a
        few pivots of n k multiply-adds a prompt; prompts of one shape share vector lanes, and no order or thread count
        changes a bit of a prompt's answer beyond its part in sd_j.

    Errors: ValueError for ratio_cap below 1, kl below 0, more than one of the three, or where a column is not in
    the dump.

    >>> from clinometer import lp
    >>> found = lp.prompt([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0]], prompt_ids=[0, 0, 1, 1], uncapped=True)
    >>> found.status.tolist(), found.margin.round(2).tolist(), found.weights.round(2).tolist()
    (['blocked', 'improvable'], [0.0, 1.26], [0.5, 0.5, 1.0, 0.0])
    """
    bound, by_kl = _bound(ratio_cap, kl, uncapped)
    call = _prepared(source, values, options)
    p = call.population
    table = np.ascontiguousarray(np.asarray(call.values)[p.rows])
    weight = np.ascontiguousarray(p.row_weight())
    offsets = np.ascontiguousarray(p.offsets, dtype=np.int64)
    scale = np.sqrt(_variances(call, table, weight, offsets))
    used = np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
    status, lower, upper, dual, q = _core.lp_prompts(table, offsets, weight, used, bound, by_kl, call.n_threads)
    weights = np.zeros(p.n_dump)  # of a row of weight 0, too
    if call.ids is not None and p.n_rows < p.n_dump:
        weights[~np.isin(call.ids, p.ids)] = np.nan
    weights[p.rows] = q
    lower, upper, dual = (p.for_every(x, np.nan) for x in (lower, upper, dual))
    return PromptResult(
        status=p.for_every(STATUS[status], "left out"), margin=lower, dual=dual, weights=weights, lower=lower,
        upper=upper, scale=scale, prompts=p.ids if p.every is None else p.every, values=call.value_names,
        n_rows=p.n_rows, n_prompts=p.n_prompts, n_dropped=p.n_dropped,
    )  # fmt: skip


def _bound(ratio_cap: float | None, kl: float | None, uncapped: bool) -> tuple[float, bool]:
    if (ratio_cap is not None) + (kl is not None) + bool(uncapped) > 1:
        raise ValueError("ratio_cap, kl and uncapped: wanted at most one of the three")
    if uncapped:
        return float("inf"), False
    if kl is not None:
        if not (np.isfinite(kl) and kl >= 0):
            raise ValueError(f"kl is {kl}; wanted a finite number of nats, 0 or more")
        return float(kl), True
    cap = DEFAULT_CAP if ratio_cap is None else float(ratio_cap)
    if not cap >= 1:
        raise ValueError(f"ratio_cap is {ratio_cap}; wanted at least 1 (1 leaves the base policy alone)")
    return cap, False


def _prepared(source: Any, values: Any, options: dict[str, Any]) -> Call:
    if values is None:
        if isinstance(source, (Dump, str, os.PathLike)):
            raise ValueError("values is None; wanted names of the dump's columns, or an array (N, k)")
        scores = Scores(source, prompt_ids=options.pop("prompt_ids", None))
        table = np.where(np.isinf(scores.array), np.nan, scores.array)
        own = {n if n != f"score{k}" else f"value{k}": table[:, k] for k, n in enumerate(scores.names or ())}
        values = replace(scores.labels or Carried(), columns=own)
        source, _ = score_dump(scores, None)
    why = "solves one game for each prompt, without errors"
    call = prepare(source, None, values, **used("prompt", options, within=why, clusters=why))
    if not 1 <= call.n_values <= MOST_VALUES:
        raise ValueError(f"values has {call.n_values} columns; wanted 1 to {MOST_VALUES}")
    return call


def _variances(call: Call, table: Floats, weight: Floats, offsets: NDArray[np.int64]) -> Floats:
    """Within-prompt variances (k,), prompts weighted as the caller asked; those with NaN are left out."""
    p = call.population
    if p.omega is None:
        return np.asarray(_core.lp_variances(table, offsets, weight, call.n_threads))
    mean = np.add.reduceat(weight[:, None] * table, offsets[:-1])
    own = np.add.reduceat(weight[:, None] * np.square(table - p.on_rows(mean)), offsets[:-1])
    omega = np.where(np.isfinite(own).all(axis=1), p.prompt_weight(), 0.0)
    return np.asarray((omega[:, None] * np.nan_to_num(own)).sum(axis=0) / max(omega.sum(), np.finfo(float).tiny))
