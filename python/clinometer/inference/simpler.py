"""What simpler measures say of the same judges and values: to stand beside every gain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..fit import fit_value_direction
from ..fit.out_of_fold import out_of_fold
from ..inputs import PASS_OPTIONS, Call, prepare, run
from ..passes import _need_scores, kept_scores
from ..population import Population
from ..results import Axes, Result
from .gains import per_prompt

__all__ = ["Baselines", "baselines"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Baselines(Result):
    """Simple measures of K judges against J values, each (K, J).

    Attributes
    ----------
    cosine : of the direction and the value's ridge direction; NaN for judges that are scores
    projection_difference : mean over prompts of how far the judge's favourite response lies along the value's
        mean-difference direction from the prompt's mean, in within-prompt sd of that projection
    correlation : mean over prompts of the correlation of score and value inside the prompt
    pooled_correlation : over all rows, which topic alone can make large
    n_prompts : (J,) prompts that have a correlation
    """

    axes: ClassVar[Axes] = {
        "direction value": "cosine projection_difference correlation pooled_correlation",
        "value": "n_prompts",
        "direction": "fit_status",
    }

    cosine: Floats
    projection_difference: Floats
    correlation: Floats
    pooled_correlation: Floats
    n_prompts: NDArray[np.int64]
    directions: tuple[str, ...]
    values: tuple[str, ...]
    fit_status: tuple[str, ...]


def baselines(dump: Any, directions: Any, values: Any, *, folds: int = 5, **options: Any) -> Baselines:
    """Cosine, projection difference and mean correlation of judges and values, without any tilt.

    What one would look at without the theory: the cosine of two directions, the shift of the chosen responses
    along the value's direction (Persona Vectors, arXiv 2507.21509, with the judge's choice in place of training
    data), and how judge and value correlate. None has the units of a gain or knows the KL.

    Parameters
    ----------
    directions, values : as in `tilt`
    folds : for the values' directions, which are ridge fits, and mean differences of the upper and the lower half
        of the values' deviations from their prompt's mean; applied out of fold

    Returns
    -------
    Baselines. Cost: two fits of the values and two passes.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=100, n_responses=8, dim=4, random_state=1)
    >>> b = cm.baselines(world, ["judge/c0"], "s")
    >>> bool(b.correlation[0, 0] > 0.3), bool(b.projection_difference[0, 0] > 0.3)
    (True, True)
    """
    unknown = [name for name in options if name not in PASS_OPTIONS]
    if unknown:
        raise TypeError(f"baselines has no option {unknown[0]!r}; the pass options are {', '.join(PASS_OPTIONS)}")
    if not options.get("within", True):
        raise ValueError("within=False: baselines are taken inside prompts")
    call = prepare(dump, directions, values, **options)
    _need_scores(call)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    kept = kept_scores(call, absolute=True)
    table = np.asarray(call.values)
    ridge = fit_value_direction(call.dump, table, folds=folds, pooled=False, **options).vectors
    within, pooled, counts = _correlations(call, kept, table)
    return Baselines(
        _cosines(call, ridge), _projection(call, kept, table, folds), within, pooled, counts, call.names,
        call.value_names, call.fit_status,
    )  # fmt: skip


def _cosines(call: Call, ridge: Floats) -> Floats:
    out = np.full((call.n_scores, len(ridge)), np.nan)
    if call.directions is None:
        return out
    first = call.directions.reshape(-1, call.n_folds, call.dump.dim).mean(axis=1)  # of fold fits: their mean
    with np.errstate(invalid="ignore", divide="ignore"):
        units = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (first, ridge)]
    out[: len(first)] = units[0] @ units[1].T
    return out


def _projection(call: Call, kept: Floats, table: Floats, folds: int) -> Floats:
    """E_x of the favourite's projection less the prompt's mean, ties by base weight, in sd, (K, J)."""
    p = call.population
    fold = p.folds(folds)
    v = np.stack([_difference(call, table[:, j], fold, folds) for j in range(table.shape[1])], axis=1)
    along = out_of_fold(replace(call, values=None), v, fold)
    along = along - np.repeat(per_prompt(p.row_weight()[:, None] * along, p), p.sizes, axis=0)
    sd = np.sqrt(p.prompt_weight() @ per_prompt(p.row_weight()[:, None] * along**2, p))
    out = np.full((kept.shape[1], table.shape[1]), np.nan)
    for k in range(kept.shape[1]):
        best = _favourites(kept[:, k], p)
        shift = p.prompt_weight() @ per_prompt(best[:, None] * along, p)
        out[k] = np.divide(shift, sd, out=np.full(len(sd), np.nan), where=sd > 0)
    return out


def _favourites(t: Floats, p: Population) -> Floats:
    """Weight of each row among the highest scores of its prompt."""
    w = p.row_weight()
    top = np.maximum.reduceat(np.where(w > 0, t, -np.inf), p.offsets[:-1])
    chosen = np.where((t == np.repeat(top, p.sizes)) & (w > 0), w, 0.0)
    return np.asarray(chosen / np.repeat(per_prompt(chosen, p), p.sizes))


def _difference(call: Call, s: Floats, fold: NDArray[np.int64], folds: int) -> Floats:
    """Mean of rows above their prompt's mean label less that of rows below, without each fold, (F, d)."""
    p = call.population.labelled(s)
    w = p.row_weight() * np.repeat(p.prompt_weight(), p.sizes)
    held = np.where(w > 0, np.nan_to_num(s[p.rows]), 0.0)
    side = np.sign(held - np.repeat(per_prompt(p.row_weight() * held, p), p.sizes)) * (w > 0)
    weights = np.zeros((p.n_rows, folds))
    at = np.repeat(fold, p.sizes)
    for f in range(folds):
        seen = w * (at != f)
        for sign in (1, -1):
            part = np.where(side == sign, seen, 0.0)
            weights[:, f] += sign * part / max(part.sum(), 1e-300)
    weights -= p.row_weight()[:, None] * np.repeat(per_prompt(weights, p), p.sizes, axis=0)
    quiet = replace(call, values=None, progress=None)
    return np.asarray(run(quiet, [_core.WeightedRows(call.dump.dim, weights)], population=p)[0].finish()["sum"])


def _correlations(call: Call, kept: Floats, table: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Mean within-prompt correlation, pooled correlation (K, J), and prompts with one (J,)."""
    within, pooled = (np.full((kept.shape[1], table.shape[1]), np.nan) for _ in range(2))
    counts = np.zeros(table.shape[1], np.int64)
    for j, s in enumerate(table.T):
        if np.isnan(s[call.population.rows]).all():
            continue
        p = call.population.labelled(s)
        f = np.where(p.row_weight() > 0, np.nan_to_num(s[p.rows]), 0.0)
        for k in range(kept.shape[1]):
            r = _by_prompt(kept[:, k], f, p)
            seen = ~np.isnan(r) & (p.prompt_weight() > 0)
            counts[j] = max(counts[j], int(seen.sum()))
            if seen.any():
                within[k, j] = np.average(r[seen], weights=p.prompt_weight()[seen])
            pooled[k, j] = _by_prompt(kept[:, k], f, p.pooled())[0]
    return within, pooled, counts


def _by_prompt(t: Floats, f: Floats, p: Population) -> Floats:
    """Correlation of t and f in each prompt; NaN where either is constant but for rounding."""
    w, starts = p.row_weight(), p.offsets[:-1]

    def centred(x: Floats) -> tuple[Floats, Floats]:
        x = x - np.repeat(x[starts], p.sizes)  # rounding of large means would pass for variance
        x = x - np.repeat(per_prompt(w * x, p), p.sizes)
        return x, per_prompt(w * x * x, p)

    (t, tt), (f, ff) = centred(t), centred(f)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where((tt > 0) & (ff > 0), per_prompt(w * t * f, p) / np.sqrt(tt * ff), np.nan))
