"""Simpler measures of the same judges and values, as baselines for every gain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.options import listed, used
from clinometer.common.results import Axes, Result
from clinometer.common.threads import shared
from clinometer.engine.checks import need_moderate_scores, need_scores
from clinometer.engine.inputs import Call, prepare, run
from clinometer.engine.passes import absolute_scores, kept_scores, origin_table
from clinometer.engine.population import Population
from clinometer.fit.quality import out_of_fold
from clinometer.fit.value import fitted_with

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


@listed("within")
def baselines(dump: Any, directions: Any, values: Any, *, folds: int = 5, **options: Any) -> Baselines:
    """Cosine, projection difference and mean correlation of judges and values, without any tilt.

    What one would look at without the theory: the cosine of two directions, the shift of the chosen responses
    along the value's direction (Persona Vectors, arXiv 2507.21509, with the judge's choice in place of training
    data), and how judge and value correlate. None has the units of a gain or knows the KL (theory 10.4).

    Parameters
    ----------
    directions, values : as in `tilt`
    folds : for the values' directions, which are ridge fits, and mean differences of the upper and the lower half
        of the values' deviations from their prompt's mean; applied out of fold

    Returns
    -------
    Baselines, each (K, J). Cost: two fits of the values and two passes.

    Errors: ValueError where a column is not in the dump or folds is below 2.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=100, n_responses=8, dim=4, random_state=1)
    >>> b = cm.inference.baselines(world, ["judge/c0"], "s")
    >>> bool(b.correlation[0, 0] > 0.3), bool(b.projection_difference[0, 0] > 0.3)
    (True, True)
    """
    options = used("baselines", options, within="looks inside prompts")
    call = prepare(dump, directions, values, **options)
    need_scores(call)
    need_moderate_scores(call)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    origins = origin_table(call)
    kept = kept_scores(call, origins)
    ridge = fitted_with(call.dump, call.values, None, folds=folds, **options).fit.vectors
    return baselines_of(call, kept, origins, ridge, differences_out_of_fold(call, folds))


def baselines_of(call: Call, kept: Floats, origins: Floats, ridge: Floats | None, along: Floats) -> Baselines:
    """`baselines` of kept scores (N, K) relative to `origins`, and ridge directions (j, d) of the first j values.

    `along` (N, J) are the rows' scores along the values' mean differences, out of fold.
    """
    cosine = np.full((call.n_scores, call.n_values), np.nan)
    if ridge is not None:
        cosine[:, : len(ridge)] = cosines(call, ridge)
    shift = projection_shift(call, kept, along)
    within, counts = mean_correlation(call, kept)
    pooled = pooled_correlation(call, absolute_scores(call, kept, origins))
    return Baselines(cosine, shift, within, pooled, counts, call.names, call.value_names, call.fit_status)


BLOCK = 1 << 18  # entries of one array of rows and columns: a few of them stay in cache


def cosines(call: Call, ridge: Floats) -> Floats:
    """Of the call's directions and rows of ridge (J, d), (K, J); NaN for scores."""
    out = np.full((call.n_scores, len(ridge)), np.nan)
    if call.directions is None:
        return out
    first = call.directions.reshape(-1, call.n_folds, call.dump.dim).mean(axis=1)  # of fold fits: their mean
    with np.errstate(invalid="ignore", divide="ignore"):
        units = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (first, ridge)]
    out[: len(first)] = units[0] @ units[1].T
    return out


def projection_shift(call: Call, kept: Floats, along: Floats) -> Floats:
    """E_x of the favourite's projection less the prompt's mean, ties by base weight, in sd, (K, J).

    `along` (N, J) are the rows' scores along the values' mean differences, out of fold.
    """
    p = call.population
    w = p.row_weight()[:, None]
    along = along - p.on_rows(p.sums(w * along))
    sd = np.sqrt(p.prompt_weight() @ p.sums(w * along**2))
    along *= p.on_rows(p.prompt_weight())[:, None]
    shift = np.concatenate(_by_block(call, kept, lambda t: _favourites(t, p).T @ along))
    return np.asarray(np.divide(shift, sd, out=np.full(shift.shape, np.nan), where=sd > 0))


def _by_block(call: Call, kept: Floats, take: Callable[[Floats], Floats]) -> list[Floats]:
    """take(scores (N, k)) for blocks of the scores that stay small; the blocks share the threads."""
    step = max(1, BLOCK // max(len(kept), 1))
    parts = (slice(b, b + step) for b in range(0, kept.shape[1], step))
    return shared(lambda part: take(kept[:, part]), parts, call.n_threads)


def _favourites(t: Floats, p: Population) -> Floats:
    """Weight of each row among the highest scores of its prompt, for scores (N, k)."""
    w = p.row_weight()[:, None]
    top = np.maximum.reduceat(np.where(w > 0, t, -np.inf), p.offsets[:-1], axis=0)
    chosen = np.where(t == p.on_rows(top), w, 0.0)
    return np.asarray(chosen / p.on_rows(p.sums(chosen)))


def differences_out_of_fold(call: Call, folds: int) -> Floats:
    """Scores (N, J) of the rows along the values' `mean_differences`; two passes."""
    quiet = replace(call, values=None, progress=None)
    state = run(quiet, [difference_state(call, folds)], population=call.population)[0]
    return out_of_fold(quiet, mean_differences(state, call.n_values), call.population.folds(folds))


def mean_differences(state: Any, J: int) -> Floats:
    """Mean of rows above their prompt's mean label less that of rows below, without each fold, (F, J, d)."""
    rows = np.asarray(state.finish()["sum"])
    return np.moveaxis(rows.reshape(J, -1, rows.shape[1]), 0, 1)


def difference_state(call: Call, folds: int) -> Any:
    """The statistic behind `mean_differences`, for a pass over the rows of the call's prompts."""
    p, J, fold = call.population, call.n_values, call.population.folds(folds)
    weights = np.empty((p.n_rows, J, folds))
    at = p.on_rows(fold)
    for j, s in enumerate(np.asarray(call.values).T):
        own = p.labelled(s)
        w = own.row_weight() * p.on_rows(own.prompt_weight())
        held = np.where(w > 0, np.nan_to_num(s[p.rows]), 0.0)
        side = np.sign(held - p.on_rows(p.sums(own.row_weight() * held))) * (w > 0)
        for f in range(folds):
            up, down = (np.where((side == sign) & (at != f), w, 0.0) for sign in (1, -1))
            weights[:, j, f] = up / max(up.sum(), 1e-300) - down / max(down.sum(), 1e-300)
        weights[:, j] -= own.row_weight()[:, None] * p.on_rows(p.sums(weights[:, j]))
    return _core.WeightedRows(call.dump.dim, weights.reshape(p.n_rows, J * folds))


def mean_correlation(call: Call, kept: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Mean over prompts of the correlation of score and value inside them (K, J), and prompts with one (J,)."""
    values = [_label(call, s) for s in np.asarray(call.values).T]
    found = _by_block(call, kept, lambda t: np.stack(_correlations(t, values)))
    within, counts = np.concatenate(found, axis=1)
    return within, counts.max(axis=0).astype(np.int64)


def _label(call: Call, s: Floats) -> tuple[Population, Floats]:
    """The population on the rows of a label, and the label there."""
    p = call.population.labelled(s)
    return p, np.where(p.row_weight() > 0, np.nan_to_num(s[p.rows]), 0.0)


def _correlations(t: Floats, values: list[tuple[Population, Floats]]) -> tuple[Floats, Floats]:
    """Mean correlation and the number of prompts that have one, both (k, J), for scores (N, k)."""
    mean, counts = np.full((t.shape[1], len(values)), np.nan), np.zeros((t.shape[1], len(values)))
    seen: Population | None = None
    for j, (p, f) in enumerate(values):
        if p is not seen:  # values labelled on all rows share this
            seen, (centred, power) = p, _centred(t, p)
        f, ff = _centred(f[:, None], p)
        cross = p.sums(p.row_weight()[:, None] * f * centred)
        with np.errstate(divide="ignore", invalid="ignore"):
            r = cross / np.sqrt(power * ff)
        weight = np.where((power > 0) & (ff > 0), p.prompt_weight()[:, None], 0.0)
        counts[:, j], mass = (weight > 0).sum(axis=0), weight.sum(axis=0)
        total = (weight * np.where(weight > 0, r, 0.0)).sum(axis=0)
        np.divide(total, mass, out=mean[:, j], where=mass > 0)
    return mean, counts


def _centred(x: Floats, p: Population) -> tuple[Floats, Floats]:
    """Columns (N, k) less their means in prompts, exact zeros where they are constant, and variances (G, k)."""
    w = p.row_weight()[:, None]
    x = x - p.on_rows(x[p.offsets[:-1]])  # rounding of large means would pass for variance
    x -= p.on_rows(p.sums(w * x))
    return x, p.sums(w * x * x)


def pooled_correlation(call: Call, scores: Floats) -> Floats:
    """Correlation of scores with their means (N, K) and each value over all its rows, (K, J)."""
    values = [(p.pooled(), f) for p, f in (_label(call, s) for s in np.asarray(call.values).T)]
    return np.concatenate(_by_block(call, scores, lambda t: _correlations(t, values)[0]))
