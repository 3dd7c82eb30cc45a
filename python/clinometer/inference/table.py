"""Gains of every direction and beta prompt by prompt, taken once: errors, selection and chances rest on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import kl as roots
from ..inputs import Call
from ..resampling import bucketed, unit_errors, worth
from ..threads import applied, product, shared
from .estimate import _mid_ranks
from .gains import blocks, per_prompt, unit_sums
from .selection import Recommendation, _halves, _objective, _ratio

__all__ = ["GainTable", "Split", "gain_table"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GainTable:
    """K directions at B betas on J values.

    `se` (K, B, J) is the error of the gain at matched KL and `win_rate_se` (K, B, J) that of the win rate at the
    betas as they are, both as in `gain_intervals`, from `effective` (K, B, J) units; `shortfall` (K, B) by how much the
    gain of the judge's own score falls short of the policy's at that KL, as a share of it (delete-one jackknife,
    `clinometer.kl.sized_horizon`). `units` (C, K B, J) are weighted gains of at most 4096 independent units at the
    betas as they are and `held` (C, J) the units' weights.
    """

    se: Floats
    win_rate_se: Floats
    effective: Floats
    shortfall: Floats
    units: Floats
    held: Floats


def gain_table(call: Call, kept: Floats, betas: Floats) -> GainTable:
    """The table of kept scores (N, K) at betas (K, B). Cost: 2 J + 6 sums over N rows for each direction and beta."""
    (K, B), J = betas.shape, call.n_values
    common = _Shared(call)
    se, wins, effective = (np.full((K, B, J), np.nan) for _ in range(3))
    short = np.full((K, B), np.nan)
    units = np.zeros((len(common.held), K, B, J))

    def fill(k: int) -> None:
        for part in blocks(B, len(kept)):
            of_k = _direction(common, np.ascontiguousarray(kept[:, k]), betas[k, part])
            se[k, part], effective[k, part], wins[k, part], short[k, part], units[:, k, part] = of_k

    shared(fill, range(K), call.n_threads)
    flat = units.reshape(len(units), K * B, J)
    return GainTable(se, wins, effective, short, flat, common.held)


class _Shared:
    """What does not depend on the direction: weights, centred values and where they are known."""

    def __init__(self, call: Call) -> None:
        self.call, p = call, call.population
        self.p, self.weight, self.omega = p, p.row_weight(), p.prompt_weight()
        self.values: list[Floats] = []
        self.ranks: list[Floats] = []
        self.known: list[NDArray[np.bool_] | None] = []
        shares = []
        for column in np.asarray(call.values).T:
            one, f = p.labelled(column), column[p.rows]
            own = one.row_weight()
            known = None if one is p else ~np.isnan(f)
            f = np.where(np.isnan(f), 0.0, f)
            self.values.append(f - np.repeat(per_prompt(own * f, p), p.sizes))
            self.ranks.append(_mid_ranks(f, own, p))
            self.known.append(known)
            shares.append(one.prompt_weight())
        self.share = np.stack(shares, axis=1)
        self.weights = unit_sums(self.share, p)
        self.held = bucketed(self.weights)
        self.thinned = roots.Thinned.of(p)
        whole = [j for j, known in enumerate(self.known) if known is None]
        self.whole = {j: i for i, j in enumerate(whole)}  # values that all rows carry, and where their sums stand
        self.columns = np.stack([x[j] for x in (self.values, self.ranks) for j in whole] or [p.row_weight()], axis=1)

    def total(self, x: Floats) -> Floats:
        """Sums over prompts of (B, N), (B, G)."""
        return np.asarray(np.add.reduceat(x, self.p.offsets[:-1], axis=1))

    def totals(self, prob: Floats, x: Floats) -> Floats:
        """Sums over prompts of each row (B, N) times each column (N, m), (m, B, G)."""
        sizes, n = self.p.sizes, len(self.p.sizes)
        if n and (sizes == sizes[0]).all():
            cut = prob.reshape(len(prob), n, -1).transpose(1, 0, 2) @ x.reshape(n, -1, x.shape[1])
            return np.ascontiguousarray(cut.transpose(2, 1, 0))
        return np.stack([self.total(prob * column) for column in x.T])


def _direction(s: _Shared, t: Floats, betas: Floats) -> tuple[Floats, ...]:
    """Errors of gains, worth of units, errors of win rates (B, J), shortfall (B,), units (C, B, J) of a direction."""
    p, omega = s.p, s.omega
    log_ratio = roots.log_ratios(s.call, t[:, None], betas[None])
    prob = s.weight * np.exp(log_ratio)
    log_ratio[prob == 0] = 0.0
    kl = s.total(prob * log_ratio)
    t = t - np.repeat(per_prompt(s.weight * (t - np.repeat(t[p.offsets[:-1]], p.sizes)), p), p.sizes)
    t = t - np.repeat(per_prompt(s.weight * t, p), p.sizes)
    own, *sums = s.totals(prob, np.column_stack([t, s.columns]))
    variance = applied(prob, np.repeat(omega, p.sizes) * t**2) - applied(own**2, omega)
    inner = (betas > 0) & np.isfinite(betas) & (variance > 0)
    errors, effective, wins, units = [], [], [], []
    for j in range(len(s.values)):
        at = s.whole.get(j)
        known = (sums[at], sums[len(s.whole) + at]) if at is not None else None
        gain, win, covariance = _value(s, j, prob, t, own, known)
        slope = np.where(inner, np.where(inner, betas, 0.0) * covariance / np.where(inner, variance, 1.0), 0.0)
        weighted, share = s.share[:, j] * gain, s.share[:, j]
        psi = weighted - share * weighted.sum(axis=1, keepdims=True)
        psi -= slope[:, None] * omega * (kl - applied(kl, omega)[:, None])
        held = s.weights[:, j : j + 1]
        of_units = unit_sums(psi.T, p)
        errors.append(unit_errors(of_units, held))
        effective.append(worth(of_units, held))
        wins.append(unit_errors(unit_sums((share * (win - applied(win, share)[:, None])).T, p), held))
        units.append(bucketed(unit_sums(weighted.T, p)))
    by_value = (np.stack(x, axis=1) for x in (errors, effective, wins))
    return *by_value, _shortfall(s, t, betas, inner), np.stack(units, axis=2)


def _value(
    s: _Shared, j: int, prob: Floats, t: Floats, own: Floats, whole: tuple[Floats, Floats] | None
) -> tuple[Floats, Floats, Floats]:
    """Gain and win rate of each prompt (B, G), and the tilted covariance with the score (B,), on labelled rows.

    `whole` are the two first, of a value that all rows carry.
    """
    known, f, rank = s.known[j], s.values[j], s.ranks[j]
    if whole is not None:
        rows = np.repeat(s.omega, s.p.sizes)
        return *whole, applied(prob, rows * f * t) - applied(whole[0] * own, s.omega)
    assert known is not None
    prob = prob * known
    mass = s.total(prob)
    mass = np.where(mass > 0, mass, 1.0)
    gain, win, mean = s.total(prob * f) / mass, s.total(prob * rank) / mass, s.total(prob * t) / mass
    return gain, win, applied(s.total(prob * (f * t)) / mass - gain * mean, s.share[:, j])


def _shortfall(s: _Shared, t: Floats, betas: Floats, inner: NDArray[np.bool_]) -> Floats:
    out = np.full(len(betas), np.nan)
    if inner.any() and s.p.base != "logprob":
        lam = 1 / betas[inner]
        some = s.thinned
        own = roots.own_gain(some.weight, t[some.rows], lam, some.offsets, some.omega)
        with np.errstate(divide="ignore", invalid="ignore"):
            missing = -own.matched_bias(lam)
            out[inner] = missing / (own.gain + missing)
    return out


@dataclass(frozen=True)
class Split:
    """Halves of the units: sums over the half that chooses and the half that judges."""

    table: GainTable
    halves: NDArray[np.bool_]  # (S, C)
    gains: Floats  # (S, K B, J) of the half that chooses

    @classmethod
    def of(cls, table: GainTable, splits: int, random_state: int) -> Split:
        """Random halves; at least 4 units."""
        units = len(table.units)
        if units < 4:
            raise ValueError(f"there are {units} prompts (or clusters), wanted at least 4 to choose on half of them")
        halves = _halves(units, splits, random_state)
        sums = product(halves, table.units.reshape(units, -1))
        held = product(halves, table.held)
        return cls(table, halves, _ratio(sums.reshape(splits, -1, table.held.shape[1]), _wide(held)))

    def chosen(self, scale: Floats, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """The cell with the largest worst gain in units of `scale` (NaN: no vote) on each half, (S,)."""
        score = _objective(self.gains, None, scale)
        return np.asarray(np.argmax(score if allowed is None else np.where(allowed, score, -np.inf), axis=1))

    def measured(self, best: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Gains (S, J) of the chosen cells on the other half, and their covariances (S, J, J)."""
        S, J = len(best), self.table.held.shape[1]
        gain, joint = np.empty((S, J)), np.empty((S, J, J))
        rest, held = (~self.halves).astype(np.float64), self.table.held
        mass = product(rest, held)
        many = np.maximum(product(rest, held > 0), 2.0)
        factor = np.sqrt(many / (many - 1)) / np.where(mass > 0, mass, np.nan)
        for cell in np.unique(best):
            at, u = best == cell, self.table.units[:, cell]
            gain[at] = g = _ratio(product(rest[at], u), mass[at])
            a = product(rest[at], (u[:, :, None] * u[:, None]).reshape(len(u), -1))
            b = product(rest[at], (u[:, :, None] * held[:, None]).reshape(len(u), -1)).reshape(-1, J, J)
            c = product(rest[at], (held[:, :, None] * held[:, None]).reshape(len(u), -1)).reshape(-1, J, J)
            # sum of (u_i - h_i g_i)(u_j - h_j g_j) over the half
            second = a.reshape(-1, J, J) - b * g[:, None] - b.transpose(0, 2, 1) * g[:, :, None]
            joint[at] = second + c * g[:, :, None] * g[:, None]
        return gain, joint * factor[:, :, None] * factor[:, None]

    def recommendation(self, call: Call, levels: Floats, scale: Floats, shape: tuple[int, int]) -> Recommendation:
        """What `recommend` gives, of gains that are there already."""
        best = self.chosen(scale)
        gain, joint = self.measured(best)
        se = np.sqrt(np.maximum(np.einsum("sjj->sj", joint), 0.0))
        share = np.bincount(best, minlength=shape[0] * shape[1]) / len(best)
        whole = _ratio(self.table.units.sum(axis=0), self.table.held.sum(axis=0))
        objective = _objective(whole, None, scale)
        at = int(np.lexsort((objective, share))[-1])
        k, b = divmod(at, shape[1])
        optimism = (self.gains[np.arange(len(best)), best] - gain).mean(axis=0)
        return Recommendation(
            call.names[k], float(levels[b]), (k, b), share.reshape(shape), gain.mean(axis=0), se.mean(axis=0),
            optimism, objective.reshape(shape), call.names, levels, call.value_names, len(best), call.fit_status,
        )  # fmt: skip

    def chance(self, scale: Floats, allowed: NDArray[np.bool_] | None = None, draws: int = 512) -> float:
        """Mean over splits of the chance, on the half that judges, that the cell chosen raises every voting value.

        Normal with the joint error of that half and no prior: with half of the prompts it is on the safe side, and
        for cells that do nothing it is 1/2 for one value and less for several.
        """
        used = ~np.isnan(scale)
        gain, joint = self.measured(self.chosen(scale, allowed))
        gain, joint = gain[:, used], joint[:, used][:, :, used]
        if not used.any() or not (np.isfinite(gain).all() and np.isfinite(joint).all()):
            return float("nan")
        sd = np.sqrt(np.maximum(np.einsum("sjj->sj", joint), 1e-300))
        values, vectors = np.linalg.eigh(joint / sd[:, :, None] / sd[:, None])
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None]
        noise = np.random.default_rng(0).standard_normal((used.sum(), draws // 2))
        noise = np.concatenate([noise, -noise], axis=1)
        return float(((gain / sd)[:, :, None] + root @ noise > 0).all(axis=1).mean())


def _wide(held: Floats) -> Floats:
    return held[:, None]
