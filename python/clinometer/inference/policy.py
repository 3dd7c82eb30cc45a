"""Gain, win rate and beta of the policy behind the rows at a KL, with their errors: the one rule of inference (theory 2).

Rows are a sample of the policy. With n responses a prompt their tilt falls short of the policy's in gain and in KL, by
a term in 1/n that no number of prompts removes. What is estimated here is the gain at matched KL: theta_n, of all
responses, and theta_{n-1}, of the tilts without one response, each solved for its own beta at that KL. At matched KL
the shortfall is close to a/(n - 1/4): at small tilts it is sqrt(1 - 1/n) whatever the distribution, and on Gaussian,
skewed and binary scores it stays within a percent of that law to the limit below. So

    theta = (n - 1/4) theta_n - (n - 5/4) theta_{n-1},

for the gain, the win rate and beta alike. Errors leave out a prompt (or cluster) at a time, its part in solving for
beta included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..inputs import Call
from ..population import Population
from ..resampling import bucketed, t_bounds, unit_errors, worth
from ..threads import shared
from .gains import unit_sums

__all__ = ["LIMIT", "PolicyGains", "policy_gains", "policy_horizon"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LIMIT = 0.4  # share of beta that the rows may lack: beyond it what the correction leaves is no longer small
FEW = 3.0  # responses below which leaving one out leaves no tilt, and only the first order is an estimate
FIRST_KL = 0.1  # up to which the first order is taken for the gain there
TINY = 1e-6  # KL at which it is read off
DRAWS, UNITS = 4000, 512


@dataclass(frozen=True)
class PolicyGains:
    """K directions at B levels on J values; NaN past what the rows can say.

    Attributes
    ----------
    kl : (K, B) nats; betas (K, B) the policy's, that give it that KL
    gain, gain_se, win_rate, win_rate_se : (K, B, J)
    freedom, win_freedom : (K, B, J) degrees of freedom of their t bounds
    correction : (K, B) share of beta that the rows lack at this KL; above LIMIT there is no estimate
    kind : (K, B) "jackknife", "first order" (fewer than 3 responses a prompt), "exact" (base "logprob": the rows are
        the policy), or "none"
    influence : (C, K, B, J) of at most 4096 independent units on the gain; `held` (C, J) their weights
    """

    kl: Floats
    betas: Floats
    gain: Floats
    gain_se: Floats
    freedom: Floats
    win_rate: Floats
    win_rate_se: Floats
    win_freedom: Floats
    correction: Floats
    kind: NDArray[np.str_]
    influence: Floats
    held: Floats

    @cached_property
    def interval(self) -> Floats:
        """95 % bounds of each gain by itself, (K, B, J, 2)."""
        return self.bounds(0.95)

    def bounds(self, level: float) -> Floats:
        """Bounds of each gain, (K, B, J, 2)."""
        return t_bounds(self.gain, self.gain_se, self.freedom + 1, level)

    def win_bounds(self, level: float = 0.95) -> Floats:
        """Bounds of each win rate, (K, B, J, 2)."""
        return t_bounds(self.win_rate, self.win_rate_se, self.win_freedom + 1, level)

    def comparisons(self, cells: NDArray[np.bool_], n_values: int) -> float:
        """How many independent comparisons the cells (K, B) and first values amount to.

        Levels and values of one judge move together, so 16 numbers are worth 3 or 4. Of each judge it is the m at which
        m independent normal numbers have the 95 % quantile of the largest |z| among its own, drawn with the
        correlation of their influences; judges are added up, as if independent.
        """
        units = self.influence[: UNITS * (len(self.influence) // UNITS)] if len(self.influence) > UNITS else None
        psi = self.influence if units is None else units.reshape(-1, UNITS, *self.influence.shape[1:]).sum(axis=0)
        noise = np.random.default_rng(0).standard_normal((DRAWS, len(psi)))
        total = 0.0
        for k in np.flatnonzero(cells.any(axis=1)):
            columns = psi[:, k, cells[k], :n_values].reshape(len(psi), -1)
            size = np.sqrt((columns**2).sum(axis=0))
            total += _independent(noise, columns[:, size > 0] / size[size > 0])
        return max(total, 1.0)


def _independent(noise: Floats, columns: Floats) -> float:
    from scipy.special import ndtr

    if not columns.shape[1]:
        return 0.0
    largest = np.abs(np.einsum("dc,cm->dm", noise, columns)).max(axis=1)
    beyond = 2 * ndtr(-np.quantile(largest, 0.95))
    return float(np.clip(np.log(0.95) / np.log1p(-beyond), 1.0, columns.shape[1]))


def policy_gains(call: Call, kept: Floats, kl: Floats, start: Floats | None = None) -> PolicyGains:
    """Of kept scores (N, K) at levels kl (B,), `start` (K, B) betas of the rows to begin at.

    Cost: for each direction and level about eight exponentials a row to solve for two betas, and two tables of
    `_core.prompt_tilt`.
    """
    rows = _Rows(call)
    (K, B), J = (kept.shape[1], len(kl)), call.n_values
    cells: list[list[_Cell | None]] = [[None] * B for _ in range(K)]

    def fill(k: int) -> None:
        score = np.ascontiguousarray(kept[:, k])
        for b in range(B):
            cells[k][b] = rows.cell(score, float(kl[b]), None if start is None else float(start[k, b]))

    shared(fill, range(K), call.n_threads)
    made = [cell for row in cells for cell in row if cell is not None]

    def table(name: str, *shape: int) -> Floats:
        return np.array([getattr(cell, name) for cell in made]).reshape(K, B, *shape)

    return PolicyGains(
        np.broadcast_to(kl, (K, B)), table("beta"), table("gain", J), table("gain_se", J), table("freedom", J),
        table("win", J), table("win_se", J), table("win_freedom", J), table("correction"), table("kind"),
        np.stack([cell.influence for cell in made], axis=1).reshape(-1, K, B, J), rows.held_units,
    )  # fmt: skip


def policy_horizon(call: Call, kept: Floats) -> Floats:
    """Largest KL (K,) at which the rows give an estimate, by halving; NaN where the rows are the policy."""
    rows = _Rows(call, values=False)
    if rows.exact:
        return np.full(kept.shape[1], np.nan)
    if rows.few:
        return np.full(kept.shape[1], FIRST_KL if rows.responses > 1 else 0.0)

    def of(k: int) -> float:
        score, low, high = np.ascontiguousarray(kept[:, k]), 0.0, float(np.log(rows.responses))
        for _ in range(7):
            middle = (low + high) / 2
            _, _, missing = rows.strengths(score, middle, None)
            low, high = (middle, high) if missing <= LIMIT else (low, middle)
        return low

    return np.array(shared(of, range(kept.shape[1]), call.n_threads))


@dataclass(frozen=True)
class _Cell:
    """One direction at one level."""

    beta: float
    gain: Floats
    gain_se: Floats
    freedom: Floats
    win: Floats
    win_se: Floats
    win_freedom: Floats
    correction: float
    kind: str
    influence: Floats


class _Rows:
    """What does not depend on the direction: prompts, their responses, and the values in ranked order."""

    def __init__(self, call: Call, values: bool = True) -> None:
        self.call, self.p = call, call.population
        p = self.p
        self.exact = p.base == "logprob"
        self.weight, self.copies = p.row_weight(), _copies(p)
        table = np.asarray(call.values)[p.rows].T if values and call.n_values else np.zeros((0, p.n_rows))
        self.values, self.ranked = np.ascontiguousarray(table), _ranked(table, p)
        each = np.where(self.weight > 0, 1.0 if self.copies is None else self.copies, 0.0)
        n = self._prompts(each)
        known = [self._prompts(np.where(np.isnan(f), 0.0, each)) for f in table]
        enough = 0 if self.exact else 1  # one response leaves nothing to compare
        self.omega = _shared_out(np.where(n > enough, p.prompt_weight(), 0.0))
        self.share = np.array([_shared_out(np.where(m > enough, p.prompt_weight(), 0.0)) for m in known])
        self.share = self.share.reshape(len(table), p.n_prompts)
        some = self.omega > 0
        self.responses = 1 / float(self.omega[some] @ (1 / n[some])) if some.any() else 0.0
        self.few = not self.exact and self.responses < FEW
        step = 1 / (self.responses - 1) if self.responses > 1 else 0.0
        self.left_out = (n - 1) * step  # how far each prompt goes from all responses to all but one
        self.left_out_of = [(np.maximum(m, 1) - 1) * step for m in known]
        self.held_units = bucketed(unit_sums(self.share.T, p))

    def _prompts(self, x: Floats) -> Floats:
        return np.asarray(np.add.reduceat(x, self.p.offsets[:-1]))

    def table(self, score: Floats, lam: float, values: bool) -> Floats:
        none = slice(None) if values else slice(0, 0)
        return np.asarray(_core.prompt_tilt(
            score, lam, self.p.offsets, self.weight, self.copies, self.values[none], self.ranked[none], 1
        ))  # fmt: skip

    def cell(self, score: Floats, kl: float, start: float | None) -> _Cell:
        """Estimates at one level; NaN where the rows cannot say."""
        J, C = len(self.values), len(self.held_units)
        none = np.full(J, np.nan)
        empty = _Cell(np.nan, none, none, none, none, none, none, np.nan, "none", np.zeros((C, J)))
        if not self.responses > (0 if self.exact else 1):
            return empty
        level, scale = (TINY, np.sqrt(kl / TINY)) if self.few else (kl, 1.0)
        lam, one, missing = self.strengths(score, level, None if self.few else start)
        if not lam > 0 or missing > LIMIT or (self.few and kl > FIRST_KL * (1 + 1e-9)):
            return _Cell(np.nan, none, none, none, none, none, none, missing, "none", np.zeros((C, J)))
        parts = [self._matched(score, lam, level, False)]
        weights, beta = np.array([1.0]), 1 / lam
        if self.few:  # the first order: a covariance and a variance, each low by (n - 1)/n
            weights, beta = weights / np.sqrt(1 - 1 / self.responses), beta / np.sqrt(1 - 1 / self.responses)
        elif not self.exact:
            parts.append(self._matched(score, one, level, True))
            weights = np.array([self.responses - 0.25, 1.25 - self.responses])
            beta = float(weights @ [1 / lam, 1 / one])
        both = np.einsum("p,puq->uq", weights, np.array(parts))  # units with each left out, last with all
        both[:, J:] -= 0.5 * (weights.sum() - 1)  # the win rate without a tilt is 1/2, and is not corrected
        estimate = both[-1].copy()
        held = unit_sums(np.concatenate([self.share, self.share]).T, self.p)
        psi = (held.sum(axis=0) - held) * (estimate - both[:-1])
        estimate[J:], estimate[:J] = 0.5 + (estimate[J:] - 0.5) * scale, estimate[:J] * scale
        psi *= scale
        se, freedom = unit_errors(psi, held), worth(psi, held) - 1
        flat = ~(np.abs(psi).max(axis=0, initial=0.0) > 0)
        se, freedom = np.where(flat, np.nan, se), np.where(flat, np.nan, freedom)
        kind = "exact" if self.exact else "first order" if self.few else "jackknife"
        return _Cell(
            beta / scale, estimate[:J], se[:J], freedom[:J], estimate[J:], se[J:], freedom[J:], missing, kind,
            bucketed(psi[:, :J]),
        )  # fmt: skip

    def strengths(self, score: Floats, kl: float, start: float | None) -> tuple[float, float, float]:
        """lam of all responses and of all but one at this KL, and the share of beta that the former lack."""
        guess = 1 / start if start is not None and 0 < start < np.inf else self._first_guess(score, kl)
        lam = self._solved(score, kl, guess, False)
        if self.exact or self.few or not np.isfinite(lam):
            return lam, lam, 0.0 if np.isfinite(lam) else np.inf
        one = self._solved(score, kl, lam * (1 + 1 / self.responses), True)
        if not np.isfinite(one):
            return lam, one, np.inf
        beta = (self.responses - 0.25) / lam - (self.responses - 1.25) / one
        return lam, one, 1 - 1 / (lam * beta) if beta > 0 else np.inf

    def _first_guess(self, score: Floats, kl: float) -> float:
        t = score - np.repeat(self._prompts(self.weight * score), self.p.sizes)
        variance = float(self.omega @ self._prompts(self.weight * t * t))
        return float(np.sqrt(2 * kl / variance)) if variance > 0 else np.nan

    def _solved(self, score: Floats, kl: float, lam: float, left_out: bool) -> float:
        """lam with that KL, by Newton's steps in logarithms inside a bracket; NaN past the reach of the rows."""
        low, high = 0.0, np.inf
        for _ in range(60):
            if not np.isfinite(lam):
                return np.nan
            at, slope = self._curve(self.table(score, lam, False), left_out)
            if abs(at - kl) <= 1e-10 * kl:
                return lam
            low, high = (lam, high) if at < kl else (low, lam)
            if at < kl and slope * lam < 1e-6 * kl:  # the curve has come to its limit
                return np.nan
            if high < np.inf and high - low <= 1e-14 * high:
                return lam
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                step = lam * np.exp(np.clip(np.log(kl / at) * at / (lam * slope), -2.0, 2.0))
            middle = 2 * lam if np.isinf(high) else (low + high) / 2
            lam = float(step) if np.isfinite(step) and low < step < high else middle
        return lam if abs(at - kl) <= 1e-6 * kl else np.nan

    def _curve(self, table: Floats, left_out: bool) -> tuple[float, float]:
        """Mean KL and its slope in lam."""
        kl, slope = table[0], table[1]
        if left_out:
            kl, slope = kl + self.left_out * (table[2] - kl), slope + self.left_out * (table[3] - slope)
        return float(self.omega @ kl), float(self.omega @ slope)

    def _matched(self, score: Floats, lam: float, kl: float, left_out: bool) -> Floats:
        """Gains, then win rates, at this KL without each unit in turn and with all: (C + 1, 2 J).

        Without unit u: C_u + s_u (kl - K_u), with C_u, K_u the means and s_u the slope of all other units.
        """
        t, J = self.table(score, lam, True), len(self.values)

        def blended(a: Floats, b: Floats, far: Floats) -> Floats:
            return a + far * (b - a) if left_out else a

        def others(x: Floats, share: Floats) -> Floats:
            sums, held = (unit_sums(y.T, self.p) for y in (x * share, np.broadcast_to(share, x.shape)))
            sums, held = (np.concatenate([y.sum(axis=0) - y, y.sum(axis=0)[None]]) for y in (sums, held))
            return np.asarray(np.divide(sums, held, out=np.full(sums.shape, np.nan), where=held > 1e-12))

        k = others(np.stack([blended(t[0], t[2], self.left_out), blended(t[1], t[3], self.left_out)]), self.omega)
        out = np.empty((len(k), 2 * J))
        for j in range(J):
            f, far = t[4 + 9 * j :], self.left_out_of[j]
            mine = [blended(f[a], f[b], far) for a, b in ((0, 2), (1, 3), (4, 6), (5, 7))]
            own = others(np.stack(mine), self.share[j])
            with np.errstate(divide="ignore", invalid="ignore"):
                along = (kl - k[:, 0]) / k[:, 1]
            out[:, j], out[:, J + j] = own[:, 0] + own[:, 1] * along, own[:, 2] + own[:, 3] * along
        return out


def _copies(p: Population) -> Floats | None:
    """Responses that each row stands for, where they are whole numbers."""
    if p.draws is None or not np.equal(p.draws, np.floor(p.draws)).all():
        return None
    return np.ascontiguousarray(p.draws)


def _shared_out(weight: Floats) -> Floats:
    total = weight.sum()
    return weight / total if total > 0 else weight


def _ranked(table: Floats, p: Population) -> NDArray[np.int32]:
    """Positions of the rows inside their prompts by ascending value, NaN last; (J, N)."""
    prompt = np.repeat(np.arange(p.n_prompts), p.sizes)
    first = np.repeat(p.offsets[:-1], p.sizes)
    orders = [np.lexsort((f, prompt)) - first for f in table]
    return np.array(orders, np.int32).reshape(len(table), p.n_rows)
