"""Gains of the policy behind the rows, free of the plug-in's bias, and win rates with their errors (theory 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..inputs import Call
from ..population import Population
from ..resampling import unit_errors, worth
from .gains import Cell, per_prompt, unit_sums

__all__ = ["Estimates", "jackknifed"]

Floats = NDArray[np.float64]
FEW = 16  # responses up to which the jackknife deletes two
SMALL = 4  # responses up to which only the first order is an estimate
QUANTILES = (0.05, 0.25, 0.5)
STRONG = 1.0  # lam sd(t) beyond which the delete-one correction overshoots


class Estimates:
    """Filled cell by cell: value, se, units (K, B, J), kind (K, B), win_rate, win_rate_se and ess (K, B, 3)."""

    def __init__(self, call: Call, cells: tuple[int, ...]) -> None:
        shape = (*cells, call.n_values)
        self.call, self.kind = call, np.full(cells, "none", dtype="<U11")
        self.value, self.se = np.full(shape, np.nan), np.full(shape, np.nan)
        self.win_rate, self.win_rate_se = np.full(shape, np.nan), np.full(shape, np.nan)
        self.units, self.ess = np.full(shape, np.nan), np.full((*cells, 3), np.nan)
        self.labels = [_Label(call, j) for j in range(call.n_values)]

    def fill(self, cell: Cell, t: Floats) -> None:
        """Estimate and win rate of every value in one cell."""
        p = self.call.population
        self.ess[cell.k, cell.b] = _ess_quantiles(cell, p)
        if p.base != "logprob":
            self.kind[cell.k, cell.b] = self._kind(cell, t)
        for j, label in enumerate(self.labels):
            at = (cell.k, cell.b, j)
            tilted = label.tilted(cell)
            self.win_rate[at], self.win_rate_se[at], _ = _mean(label.wins(tilted), cell.share[:, j], p)
            if p.base == "logprob":
                continue
            c = label.first_order(t) / cell.beta if cell.beta > 0 else np.full(p.n_prompts, np.nan)
            if self.kind[at[:2]] == "jackknife":  # of prompts that are large enough; the others keep the first order
                c = np.where(label.rows > SMALL, jackknifed(label.weight, tilted, label.f, label.p), c)
            share = np.where(label.pairs > 0, cell.share[:, j], 0.0)  # one response leaves nothing to compare
            self.value[at], self.se[at], self.units[at] = _mean(c, share, p)

    def _kind(self, cell: Cell, t: Floats) -> str:
        p = self.call.population
        sizes = p.sizes[p.sizes > 1]
        plain = p.base == "sampled" and len(sizes) > 0 and np.median(sizes) > SMALL
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            t = t - np.repeat(per_prompt(p.row_weight() * t, p), p.sizes)
            spread = np.sqrt(p.prompt_weight() @ per_prompt(p.row_weight() * t * t, p)) / cell.beta
        return "jackknife" if plain and spread <= STRONG else "first order"


class _Label:
    """One value on its labelled rows: base weights, the value less its prompt's mean, and mid-ranks."""

    def __init__(self, call: Call, j: int) -> None:
        column = np.asarray(call.values)[:, j]
        p = call.population
        known = ~np.isnan(column[p.rows])
        self.p = p.labelled(column) if known.any() else p
        self.weight = np.where(known, self.p.row_weight(), 0.0)
        self.known, f = self.weight > 0, np.nan_to_num(column[p.rows])
        self.f = np.where(self.known, f - np.repeat(per_prompt(self.weight * f, p), p.sizes), 0.0)
        self.rank = _mid_ranks(f, self.weight, p)
        factor = self.p.unbias
        if factor is None:
            n = p.sizes.astype(float)
            factor = np.where(n > 1, n / np.where(n > 1, n - 1, 1.0), 0.0)
        self.pairs = factor * (per_prompt(self.weight, p) > 0)
        self.rows = per_prompt(self.known.astype(float), p)

    def tilted(self, cell: Cell) -> Floats:
        """Tilted weights among the labelled rows of each prompt."""
        moved = np.where(self.known, self.weight * np.exp(cell.log_ratio), 0.0)
        mass = per_prompt(moved, self.p)
        return np.asarray(moved / np.repeat(np.where(mass > 0, mass, 1.0), self.p.sizes))

    def wins(self, tilted: Floats) -> Floats:
        """P(f' > f) + P(f' = f)/2 in each prompt, f' of the tilt and f of the base."""
        return per_prompt(tilted * self.rank, self.p)

    def first_order(self, t: Floats) -> Floats:
        """Covariance with t in each prompt, ddof 1."""
        return self.pairs * per_prompt(self.weight * self.f * t, self.p)


def _ess_quantiles(cell: Cell, p: Population) -> Floats:
    """Quantiles over prompts that count of 1/(1 + chi^2) = 1 / sum p^2/w; for "reweight" 1/(n sum p^2) (theory 2)."""
    w = p.row_weight()
    tilted = np.where(w > 0, w * np.exp(cell.log_ratio), 0.0)
    base = 1 / np.repeat(p.sizes, p.sizes) if p.base == "reweight" else np.where(w > 0, w, 1.0)
    left = 1 / per_prompt(tilted * tilted / base, p)
    return np.asarray(np.quantile(left[p.prompt_weight() > 0], QUANTILES))


def _mid_ranks(f: Floats, weight: Floats, p: Population) -> Floats:
    """Base weight below each row in its prompt and half of that at its value, its own included."""
    prompt = np.repeat(np.arange(p.n_prompts), p.sizes)
    order = np.lexsort((f, prompt))
    prompt, f, weight = prompt[order], f[order], weight[order]
    new = np.append(True, (prompt[1:] != prompt[:-1]) | (f[1:] != f[:-1])) if len(f) else np.zeros(0, bool)
    tie = np.cumsum(new) - 1
    mass = np.bincount(tie, weight)
    below = np.cumsum(mass) - mass
    first = below[tie[np.append(True, prompt[1:] != prompt[:-1])]] if len(f) else below
    out = np.empty(len(f))
    out[order] = (below + mass / 2)[tie] - np.repeat(first, p.sizes)
    return out


def _mean(c: Floats, share: Floats, p: Population) -> tuple[float, float, float]:
    """(mean, clustered error, what the units are worth) of numbers of prompts under weights that need not sum to 1."""
    total = share.sum()
    if not total > 0:
        return np.nan, np.nan, np.nan
    share = share / total
    c = np.where(share > 0, c, 0.0)
    mean = float(share @ c)
    held = unit_sums(share[:, None], p)
    psi = unit_sums((share * (c - mean))[:, None], p)
    return mean, float(unit_errors(psi, held)[0]), float(worth(psi, held)[0])


def jackknifed(weight: Floats, tilted: Floats, f: Floats, p: Population) -> Floats:
    """Gains by prompt by the jackknife inside prompts at a fixed beta (theory 2).

    weight and tilted sum to 1 over a prompt's counted rows, on which f has mean 0 under weight. Delete-one,
    n th - (n - 1) th_1 with th_1 the mean of th without one row, kills the 1/n term of the plug-in's bias. Up to 16
    rows what is left, 1/n^2, is still a good part of an error over many prompts; delete-two kills that as well:
    (n^2 th - 2 (n - 1)^2 th_1 + (n - 2)^2 th_2)/2. A row that holds all weight cannot be left out: 0 is put there.
    """
    counted = weight > 0
    n = per_prompt(counted.astype(float), p)
    gain = per_prompt(tilted * f, p)
    whole = np.repeat(gain, p.sizes)
    one = np.where(counted, _without(whole - tilted * f, -weight * f, 1 - tilted, 1 - weight), 0.0)
    th1 = per_prompt(one, p) / np.where(n > 0, n, 1.0)
    out = n * gain - (n - 1) * th1
    for size in np.unique(n[(n > 2) & (n <= FEW)]).astype(int):
        at = np.flatnonzero(n == size)
        rows = np.flatnonzero(counted & np.repeat(n == size, p.sizes))
        a, b, q, w = ((x[rows]).reshape(-1, size) for x in (tilted * f, weight * f, tilted, weight))
        i, j = np.triu_indices(size, 1)
        two = _without(
            gain[at, None] - a[:, i] - a[:, j], -b[:, i] - b[:, j], 1 - q[:, i] - q[:, j], 1 - w[:, i] - w[:, j]
        )
        th2 = two.mean(axis=1)
        out[at] = (size**2 * gain[at] - 2 * (size - 1) ** 2 * th1[at] + (size - 2) ** 2 * th2) / 2
    return np.asarray(out)


def _without(moved: Floats, base: Floats, moved_mass: Floats, base_mass: Floats) -> Floats:
    """Tilted mean less base mean of the rows left, from their sums and masses; 0 where nothing is left."""
    left = (moved_mass > 1e-12) & (base_mass > 1e-12)
    return np.where(left, moved / np.where(left, moved_mass, 1.0) - base / np.where(left, base_mass, 1.0), 0.0)
