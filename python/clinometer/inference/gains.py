"""Gains prompt by prompt from kept scores, which is all that errors and resampling need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinometer.common.threads import applied
from clinometer.engine import kl as roots
from clinometer.engine.inputs import Call
from clinometer.engine.population import Population

__all__ = ["Cell", "blocks", "cells", "labelled_tilt", "per_prompt", "slope_in_kl", "tilted_centred", "unit_sums"]

Floats = NDArray[np.float64]
BLOCK = 1 << 18  # entries of one array of rows and columns: a few of them stay in cache


@dataclass(frozen=True)
class Cell:
    """One direction at one beta: rows' log-ratios and what each prompt adds to gain and KL.

    `gain` (G, J) and `kl` (G,) are of single prompts; `share` (G, J) are the prompts' weights, 0 where a value
    has no label and summing to 1, so that sum(share * gain) is the gain.
    """

    k: int
    b: int
    beta: float
    log_ratio: Floats
    gain: Floats
    share: Floats
    kl: Floats

    def total(self) -> Floats:
        """The gains (J,); NaN without a label."""
        total = (self.share * np.nan_to_num(self.gain)).sum(axis=0)
        return np.where((self.share > 0).any(axis=0), total, np.nan)


def blocks(n: int, n_rows: int) -> Iterator[slice]:
    """Slices of n columns of as many rows, of at most BLOCK entries each if one column is not more."""
    step = max(1, BLOCK // max(n_rows, 1))
    return (slice(b, min(b + step, n)) for b in range(0, n, step))


def per_prompt(x: Floats, p: Population) -> Floats:
    """Sums over the rows of each prompt."""
    return np.asarray(np.add.reduceat(x, p.offsets[:-1], axis=0))


def unit_sums(x: Floats, p: Population) -> Floats:
    """Sums over the prompts (G, m) of each unit, (C, m)."""
    if p.cluster is None:
        return x
    out = np.zeros((int(p.cluster.max(initial=-1)) + 1, x.shape[1]))
    for j, column in enumerate(x.T):
        out[:, j] = np.bincount(p.cluster, column)
    return out


def cells(call: Call, kept: Floats, betas: Floats) -> Iterator[Cell]:
    """Every direction and beta in turn, betas (K, B) each > 0 or inf; nothing is read again."""
    for k, row in enumerate(betas):
        score = np.ascontiguousarray(kept[:, k : k + 1])
        for b, beta in enumerate(row):
            log_ratio = roots.log_ratios(call, score, np.array([[beta]]))[0]
            yield _cell(call, k, b, float(beta), log_ratio)


def _cell(call: Call, k: int, b: int, beta: float, log_ratio: Floats) -> Cell:
    p, J = call.population, call.n_values
    w = p.row_weight()
    tilted = np.where(w > 0, w * np.exp(log_ratio), 0.0)
    safe = np.where(tilted > 0, log_ratio, 0.0)
    gain, share = np.zeros((p.n_prompts, J)), np.zeros((p.n_prompts, J))
    for j in range(J):
        f = np.asarray(call.values)[p.rows, j]
        gain[:, j], share[:, j] = _gain(f, log_ratio, tilted, w, p)
    return Cell(k, b, beta, log_ratio, gain, share, per_prompt(tilted * safe, p))


def _gain(f: Floats, log_ratio: Floats, tilted: Floats, w: Floats, p: Population) -> tuple[Floats, Floats]:
    """Gain of each prompt on its labelled rows, sum w expm1(l) (f - mean f), and the prompts' shares."""
    known = ~np.isnan(f)
    base, moved = per_prompt(w * known, p), per_prompt(tilted * known, p)
    seen = (base > 0) & (moved > 0)
    safe_base, safe_moved = np.where(seen, base, 1.0), np.where(seen, moved, 1.0)
    own = np.where(known, w, 0.0) / np.repeat(safe_base, p.sizes)
    # the tilt among labelled rows alone has their log-ratio, less that of their mass
    shift = np.repeat(np.log(safe_moved / safe_base), p.sizes)
    f = np.where(known, f, 0.0)
    f = f - np.repeat(per_prompt(own * f, p), p.sizes)
    with np.errstate(over="ignore"):
        change = np.where(own > 0, own * np.expm1(log_ratio - shift), 0.0)
    omega = np.where(seen, p.prompt_weight(), 0.0)
    return np.where(seen, per_prompt(change * f, p), np.nan), omega / max(omega.sum(), 1e-300)


def slope_in_kl(cell: Cell, t: Floats, call: Call) -> Floats:
    """d gain / d KL along the tilt, Cov_p(f, t) / (lam Var_p(t)), (J,)."""
    p = call.population
    tilted, tc = tilted_centred(cell, t, p)
    omega = np.repeat(p.prompt_weight(), p.sizes)
    variance = float(applied(omega * tilted, tc**2))
    if not variance > 0 or not 0 < cell.beta < np.inf:
        return np.zeros(call.n_values)
    out = []
    for j in range(call.n_values):
        weight, f = labelled_tilt(cell, np.asarray(call.values)[p.rows, j], j, p)
        out.append(cell.beta * float(applied(weight, f * tc)) / variance)
    return np.array(out)


def tilted_centred(cell: Cell, t: Floats, p: Population) -> tuple[Floats, Floats]:
    """Tilted weights of the rows, summing to 1 in a prompt, and scores less their tilted mean."""
    w = p.row_weight()
    tilted = np.where(w > 0, w * np.exp(cell.log_ratio), 0.0)
    t = t - np.repeat(per_prompt(w * t, p), p.sizes)
    return tilted, t - np.repeat(per_prompt(tilted * t, p), p.sizes)


def labelled_tilt(cell: Cell, f: Floats, j: int, p: Population) -> tuple[Floats, Floats]:
    """Weights share_x p_i of the rows with a label, and the label less its tilted mean in the prompt."""
    known = ~np.isnan(f)
    w = p.row_weight()
    tilted = np.where((w > 0) & known, w * np.exp(cell.log_ratio), 0.0)
    mass = per_prompt(tilted, p)
    tilted = tilted / np.repeat(np.where(mass > 0, mass, 1.0), p.sizes)
    f = np.where(known, f, 0.0)
    f = np.where(known, f - np.repeat(per_prompt(tilted * f, p), p.sizes), 0.0)
    return np.repeat(cell.share[:, j], p.sizes) * tilted, f
