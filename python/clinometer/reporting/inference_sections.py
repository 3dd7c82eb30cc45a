"""Sections about what the gains may be taken for: intervals, null band, selection, mixtures, rounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import listening
from clinometer.common.threads import applied
from clinometer.engine.passes import kept_with_spread, origin_table
from clinometer.fit.scale import in_range
from clinometer.inference import gain_intervals
from clinometer.inference.label_error import label_status
from clinometer.inference.null import null_gains
from clinometer.inference.policy import policy_gains
from clinometer.inference.selection import recommended
from clinometer.lp.pareto import pareto_of
from clinometer.theory.iterated import iterate_of
from clinometer.theory.rows import scored_of

from .foundation import Scene

Floats = NDArray[np.float64]
NULLS, NULL_LEVELS = 64, 3
SPLITS, ROUNDS = 200, 4


def intervals(s: Scene) -> dict[str, Any]:
    """Intervals that include the labels behind fits of this dump; they cost passes over it for each fit."""
    shape = s.tilt.gain.shape
    known, labels = np.zeros(shape[0], bool), np.full((*shape, 2), np.nan)
    status = label_status(s.call)
    for fit in {id(f.fit): f.fit for f in s.call.fitted if f is not None}.values():
        found = gain_intervals(s.dump, fit, values=list(s.values), kl=s.levels, **s.quiet)
        for k, own in enumerate(s.call.fitted):
            if own is not None and own.fit is fit:
                known[k] = found.labels_known[own.index]
                labels[k] = _by_gold(s, k, found.estimate_interval_labels[own.index])
    return {"gain_interval_labels": labels, "labels_known": known, "label_status": tuple(status)}


def _by_gold(s: Scene, k: int, given: Floats) -> Floats:
    """Bounds with the error of the labels, moved to the corrected gains and as wide as both errors make them."""
    if s.gold is None:
        return given
    half = [(x[..., 1] - x[..., 0]) / 2 for x in (given, s.gold.interval_values[k], s.policy.interval[k])]
    wide = np.sqrt(np.maximum(half[0] ** 2 - half[1] ** 2, 0.0) + half[2] ** 2)
    return np.asarray(np.stack([s.policy.gain[k] - wide, s.policy.gain[k] + wide], axis=-1))


def null(s: Scene) -> dict[str, Any]:
    """95 % band of the gains of random directions at each KL, (B, J, 2).

    From NULLS directions at up to three levels: their mean and spread over sqrt(KL) change little between levels.
    """
    assert s.variances is not None
    rng, d = np.random.default_rng(0), s.dump.dim
    scale = np.where(s.variances > 0, 1 / np.sqrt(np.where(s.variances > 0, s.variances, 1.0)), 0.0)
    u = rng.standard_normal((NULLS, d)) * scale
    bare = replace(
        s.call, directions=u, columns=None, order=None, n_folds=1, fold=None, progress=None,
        names=tuple(map(str, range(NULLS))),
    )  # fmt: skip
    kept, own, _ = kept_with_spread(replace(bare, values=None), [], origin_table(bare))
    few = np.unique(s.levels)
    if len(few) > NULL_LEVELS:
        few = np.linspace(np.sqrt(few[0]), np.sqrt(few[-1]), NULL_LEVELS) ** 2
    with listening():  # past the reach of the rows: so are the judges, and they are noted
        gain = null_gains(bare, kept, few, None if own is None else own["variance"]) / np.sqrt(few)[:, None]
    wide = _student(NULLS - 1) * np.sqrt(1 + 1 / NULLS)
    middle, spread = (_between(x, few, s.levels) for x in (gain.mean(axis=0), gain.std(axis=0, ddof=1)))
    return {"null_band": np.stack([middle - wide * spread, middle + wide * spread], axis=-1)}


def _between(x: Floats, few: Floats, levels: Floats) -> Floats:
    """Numbers (F, J) over sqrt(KL) at few levels, at all levels, linear in sqrt(KL)."""
    at = np.sqrt(levels)
    columns = [np.interp(at, np.sqrt(few), column) for column in x.T]
    return np.stack(columns, axis=1) * at[:, None]


def _student(freedom: int) -> float:
    """97.5 % quantile of Student's t to three digits from 30 degrees of freedom on."""
    z = 1.959963984540054
    return z + (z**3 + z) / (4 * freedom)


def selection(s: Scene, compared: float) -> dict[str, Any]:
    """How often each cell is chosen on half the prompts, what it gains on the other, and the chance of the choice."""
    if np.isnan(s.scale).all():
        raise ValueError("no value varies inside prompts")
    found, judged = recommended([s.policy], s.scale, None, SPLITS, 0, s.call.fit_status, compared)
    return {"selection": found, "chance": judged.chance(~np.isnan(s.scale))}


def mixtures(s: Scene) -> dict[str, Any]:
    """Best direction, best mixture of the constitutions and the price of each floor."""
    values = [v for v, used in zip(s.values, ~np.isnan(s.scale), strict=False) if used]
    varies = np.flatnonzero(s.spread > 0)
    if not values or not len(varies):
        raise ValueError("no constitution or no value varies inside prompts")
    table, _ = in_range(np.asarray(s.call.values)[:, ~np.isnan(s.scale)])  # what is found is in sd
    names = tuple(s.call.names[k] for k in varies)
    call = replace(s.call, values=table, value_names=tuple(values), names=names, progress=None)
    return {"pareto": pareto_of(call, s.kept[:, varies])}


def rounds(s: Scene, best: tuple[int, int]) -> dict[str, Any]:
    """Rounds with the recommended constitution, each of the recommended beta: t of them by one score are one tilt at
    beta/t, of which the policy's gain and KL are given while rows can say them."""
    k, b = best
    beta = float(s.policy.betas[k, b] if s.call.within else s.tilt.betas[k, b])
    if not 0 < beta < np.inf:
        raise ValueError("the recommended tilt has no finite strength")
    call = replace(s.call, names=(s.call.names[k],), progress=None)
    with listening():  # `stop` says the same
        found = iterate_of(scored_of(call, s.kept[:, [k]]), beta, ROUNDS)
    numbers = {"gain": found.gain, "gain_se": found.gain_se, "kl": found.kl}
    if s.call.within:
        p = policy_gains(call, s.kept[:, [k]], None, beta / np.arange(1.0, ROUNDS + 1)[None])
        numbers = {"gain": p.gain[0], "gain_se": p.gain_se[0], "kl": p.kl[0]}
    return {"iterated": {
        "constitution": s.call.names[k], "rounds": list(range(1, ROUNDS + 1)), "beta": beta, **numbers,
        "ess": found.ess, "stop": found.stop, "falls": found.falls,
    }}  # fmt: skip


def value_correlation(s: Scene) -> dict[str, Any]:
    """Correlations of the values inside prompts, on the rows that carry both, (J, J)."""
    (table, _), J = in_range(np.asarray(s.call.values)), len(s.values)
    out = np.full((J, J), np.nan)
    for i in range(J):
        for j in range(i + 1):
            both = np.where(np.isnan(table[:, i]), np.nan, table[:, j])
            p = s.call.effective().labelled(both)
            known = p.row_weight() > 0
            x, y = (_centred(np.where(known, np.nan_to_num(table[p.rows, c]), 0.0), p) for c in (i, j))
            w = p.row_weight() * p.on_rows(p.prompt_weight())
            power = applied(x**2, w) * applied(y**2, w)
            if power > 0 and s.sd[i] > 0 and s.sd[j] > 0:
                out[i, j] = out[j, i] = applied(x * y, w) / np.sqrt(power)
    return {"value_correlation": out}


def _centred(x: Floats, p: Any) -> Floats:
    return np.asarray(x - p.on_rows(p.sums(p.row_weight() * x)))
