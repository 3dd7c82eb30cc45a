"""What `baselines` is made of: cosines, shifts of favourites along mean differences, correlations of kept scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.threads import shared
from clinometer.engine.inputs import Call, run
from clinometer.engine.population import Population
from clinometer.fit.out_of_fold import out_of_fold

from .gains import blocks, per_prompt

__all__ = ["cosines", "mean_correlation", "pooled_correlation", "projection_shift"]

Floats = NDArray[np.float64]


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


def projection_shift(call: Call, kept: Floats, folds: int) -> Floats:
    """E_x of the favourite's projection less the prompt's mean, ties by base weight, in sd, (K, J); two passes."""
    p = call.population
    fold, w = p.folds(folds), p.row_weight()[:, None]
    along = out_of_fold(replace(call, values=None, progress=None), mean_differences(call, fold, folds), fold)
    along = along - np.repeat(per_prompt(w * along, p), p.sizes, axis=0)
    sd = np.sqrt(p.prompt_weight() @ per_prompt(w * along**2, p))
    along *= np.repeat(p.prompt_weight(), p.sizes)[:, None]
    shift = np.concatenate(_by_block(call, kept, lambda t: _favourites(t, p).T @ along))
    return np.asarray(np.divide(shift, sd, out=np.full(shift.shape, np.nan), where=sd > 0))


def _by_block(call: Call, kept: Floats, take: Callable[[Floats], Floats]) -> list[Floats]:
    """take(scores (N, k)) for blocks of the scores that stay small; the blocks share the threads."""
    return shared(lambda part: take(kept[:, part]), blocks(kept.shape[1], len(kept)), call.n_threads)


def _favourites(t: Floats, p: Population) -> Floats:
    """Weight of each row among the highest scores of its prompt, for scores (N, k)."""
    w = p.row_weight()[:, None]
    top = np.maximum.reduceat(np.where(w > 0, t, -np.inf), p.offsets[:-1], axis=0)
    chosen = np.where(t == np.repeat(top, p.sizes, axis=0), w, 0.0)
    return np.asarray(chosen / np.repeat(per_prompt(chosen, p), p.sizes, axis=0))


def mean_differences(call: Call, fold: NDArray[np.int64], folds: int) -> Floats:
    """Mean of rows above their prompt's mean label less that of rows below, without each fold, (F, J, d); one pass."""
    p, J = call.population, call.n_values
    weights = np.empty((p.n_rows, J, folds))
    at = np.repeat(fold, p.sizes)
    for j, s in enumerate(np.asarray(call.values).T):
        own = p.labelled(s)
        w = own.row_weight() * np.repeat(own.prompt_weight(), p.sizes)
        held = np.where(w > 0, np.nan_to_num(s[p.rows]), 0.0)
        side = np.sign(held - np.repeat(per_prompt(own.row_weight() * held, p), p.sizes)) * (w > 0)
        for f in range(folds):
            up, down = (np.where((side == sign) & (at != f), w, 0.0) for sign in (1, -1))
            weights[:, j, f] = up / max(up.sum(), 1e-300) - down / max(down.sum(), 1e-300)
        weights[:, j] -= own.row_weight()[:, None] * np.repeat(per_prompt(weights[:, j], p), p.sizes, axis=0)
    quiet = replace(call, values=None, progress=None)
    state = _core.WeightedRows(call.dump.dim, weights.reshape(p.n_rows, J * folds))
    rows = np.asarray(run(quiet, [state], population=p)[0].finish()["sum"])
    return np.moveaxis(rows.reshape(J, folds, -1), 0, 1)


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
        cross = per_prompt(p.row_weight()[:, None] * f * centred, p)
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
    x = x - np.repeat(x[p.offsets[:-1]], p.sizes, axis=0)  # rounding of large means would pass for variance
    x -= np.repeat(per_prompt(w * x, p), p.sizes, axis=0)
    return x, per_prompt(w * x * x, p)


def pooled_correlation(call: Call, scores: Floats) -> Floats:
    """Correlation of scores with their means (N, K) and each value over all its rows, (K, J)."""
    values = [(p.pooled(), f) for p, f in (_label(call, s) for s in np.asarray(call.values).T)]
    return np.concatenate(_by_block(call, scores, lambda t: _correlations(t, values)[0]))
