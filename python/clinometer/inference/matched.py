"""The tilt at matched KL with and without each response: what the estimates of `policy` are made of (theory 2).

With n responses a prompt the tilt of the rows falls short of the policy's in gain and in KL, by a term in 1/n that no
number of prompts removes. At matched KL the shortfall is close to a/(n - 1/4): at small tilts it is sqrt(1 - 1/n)
whatever the distribution, and on Gaussian, skewed and binary scores it stays near that law up to LIMIT. So, with
theta_n of all responses and theta_{n-1} of the tilts without one, each solved for its own beta at that KL,

    theta = (n - 1/4) theta_n - (n - 5/4) theta_{n-1},

for the gain, the win rate and beta alike. Errors leave out a prompt (or cluster) at a time, its part in solving for
beta included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..inputs import Call
from ..population import Population
from ..resampling import bucketed, unit_errors, worth
from .gains import unit_sums

__all__ = ["FIRST_KL", "LIMIT", "MatchedCell", "MatchedRows"]

Floats = NDArray[np.float64]
LIMIT = 0.4  # share of beta that the rows may lack: beyond it what the correction leaves is no longer small
FEW = 3.0  # responses below which leaving one out leaves no tilt, and only the first order is an estimate
FIRST_KL = 0.1  # up to which the first order is taken for the gain there
TINY = 1e-6  # KL at which it is read off
HARMED = 0.1  # level at which a single prompt's gain counts as negative


@dataclass(frozen=True)
class MatchedCell:
    """One direction at one level: the arrays are (J,), `influence` (C, J) of at most 4096 units."""

    betas: float
    gain: Floats
    gain_se: Floats
    freedom: Floats
    win_rate: Floats
    win_rate_se: Floats
    win_freedom: Floats
    harmed: Floats
    harmed_se: Floats
    correction: float
    kind: str
    influence: Floats


class MatchedRows:
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
        self.known = known = [self._prompts(np.where(np.isnan(f), 0.0, each)) for f in table]
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
        self.held = bucketed(unit_sums(self.share.T, p))

    def _prompts(self, x: Floats) -> Floats:
        return np.asarray(np.add.reduceat(x, self.p.offsets[:-1]))

    def table(self, score: Floats, lam: float, values: bool) -> Floats:
        none = slice(None) if values else slice(0, 0)
        return np.asarray(_core.prompt_tilt(
            score, lam, self.p.offsets, self.weight, self.copies, self.values[none], self.ranked[none], 1
        ))  # fmt: skip

    def cell(self, score: Floats, kl: float, start: float | None = None, *, given_beta: bool = False) -> MatchedCell:
        """Estimates at one level, NaN where the rows cannot say; `start` is a beta to begin at.

        given_beta: beta is given and this is the KL that it has, so errors are those at that beta.
        """
        if not self.responses > (0 if self.exact else 1) or np.isnan(kl):
            return self._unknown(np.nan)
        if kl == 0:  # beta is infinite: the base policy itself
            still = np.zeros(len(self.values))
            free = np.full(len(still), max(len(self.held) - 1.0, np.nan))
            nothing = np.zeros((len(self.held), len(still)))
            return MatchedCell(
                np.inf, still, still, free, still + 0.5, still, free, still, still, 0.0, "jackknife", nothing
            )
        level, scale = (TINY, float(np.sqrt(kl / TINY))) if self.few else (kl, 1.0)
        lam, one, missing = self.strengths(score, level, None if self.few else start)
        if not lam > 0 or missing > LIMIT or (self.few and kl > FIRST_KL * (1 + 1e-9)):
            return self._unknown(missing)
        parts, weights, beta = [self._matched(score, lam, level, False)], np.array([1.0]), 1 / lam
        if self.few:  # a covariance over a standard deviation, low by sqrt(1 - 1/n)
            weights, beta = weights / np.sqrt(1 - 1 / self.responses), beta / np.sqrt(1 - 1 / self.responses)
        elif not self.exact:
            parts.append(self._matched(score, one, level, True))
            weights = np.array([self.responses - 0.25, 1.25 - self.responses])
            beta = float(weights @ [1 / lam, 1 / one])
        kind = "exact" if self.exact else "first order" if self.few else "jackknife"
        without = np.einsum("p,puq->uq", weights, np.array([part for part, _ in parts]))
        if given_beta:
            slopes = np.einsum("p,pq->q", weights, np.array([slope for _, slope in parts]))
            without -= (without[:, -1:] - without[-1, -1]) * (slopes / slopes[-1])
        without = without[:, :-1]
        harmed = self._harmed(score, lam)
        return self._estimated(without, weights.sum() - 1, scale, harmed, beta / scale, missing, kind)

    def _unknown(self, missing: float) -> MatchedCell:
        none = np.full(len(self.values), np.nan)
        flat = np.zeros((len(self.held), len(none)))
        return MatchedCell(np.nan, none, none, none, none, none, none, none, none, missing, "none", flat)

    def _estimated(
        self, without: Floats, excess: float, scale: float, harmed: tuple[Floats, Floats], beta: float, missing: float,
        kind: str,
    ) -> MatchedCell:  # fmt: skip
        """From gains and win rates without each unit, and last with all, (C + 1, 2 J)."""
        J = len(self.values)
        without[:, J:] -= 0.5 * excess  # a win rate without a tilt is 1/2, which is not scaled
        estimate = without[-1].copy()
        held = unit_sums(np.concatenate([self.share, self.share]).T, self.p)
        psi = (held.sum(axis=0) - held) * (estimate - without[:-1]) * scale
        estimate[:J], estimate[J:] = estimate[:J] * scale, 0.5 + (estimate[J:] - 0.5) * scale
        se, freedom = unit_errors(psi, held), worth(psi, held) - 1
        silent = ~(np.abs(psi).max(axis=0, initial=0.0) > 0)  # nothing varies: no error can be seen
        se, freedom = np.where(silent, np.nan, se), np.where(silent, np.nan, freedom)
        return MatchedCell(
            beta, estimate[:J], se[:J], freedom[:J], estimate[J:], se[J:], freedom[J:], *harmed, missing, kind,
            bucketed(psi[:, :J]),
        )  # fmt: skip

    def _harmed(self, score: Floats, lam: float) -> tuple[Floats, Floats]:
        """Least share of prompts whose own gain is negative, and its error, (J,) each.

        Of prompts that lose nothing at most a tenth have a gain that is negative at that level by the t of their own
        responses, so with F of all the share is at least (F - 1/10)/(1 - 1/10) (Storey 2002).
        """
        from scipy.special import stdtr

        t, out = self.table(score, lam, True), np.zeros((2, len(self.values)))
        for j, (share, n) in enumerate(zip(self.share, self.known, strict=True)):
            gain, variance = t[4 + 9 * j], t[4 + 9 * j + 8]
            with np.errstate(divide="ignore", invalid="ignore"):
                p = stdtr(np.maximum(n - 1, 1), gain / np.sqrt(variance))
            hit = np.where((variance > 0) & (p < HARMED), 1.0, 0.0)
            mean = float(share @ hit)
            psi, held = (unit_sums((share * x)[:, None], self.p) for x in (hit - mean, np.ones_like(hit)))
            out[:, j] = max((mean - HARMED) / (1 - HARMED), 0.0), unit_errors(psi, held)[0] / (1 - HARMED)
        return out[0], out[1]

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

    def _apart(self, f: Floats, j: int) -> Floats:
        """Fields of value j with win rates of different responses: against itself a response wins half, which is 1/n."""
        if self.exact:
            return f
        n, out = self.known[j], f.copy()
        for rate, slope, m in ((4, 5, n), (6, 7, n - 1)):
            factor = np.where(m > 1, m / np.where(m > 1, m - 1, 1.0), 0.0)
            out[rate], out[slope] = 0.5 + (f[rate] - 0.5) * factor, f[slope] * factor
        return out

    def kl_of(self, score: Floats, beta: float) -> float:
        """KL that the policy has at beta; NaN past what the rows can say."""
        from scipy.optimize import brentq

        def excess(log_kl: float) -> float:
            level = TINY if self.few else float(np.exp(log_kl))
            lam, one, missing = self.strengths(score, level, None)
            if not lam > 0 or missing > LIMIT:
                return 1.0  # a KL too large to have a beta: what is wanted lies below
            if self.few:
                found = 1 / lam / np.sqrt(1 - 1 / self.responses) * np.sqrt(TINY / np.exp(log_kl))
            else:
                found = 1 / lam if self.exact else (self.responses - 0.25) / lam - (self.responses - 1.25) / one
            return float(np.log(beta / found))

        low, high = np.log(1e-12), np.log(max(np.log(max(self.responses, 2.0)), 1e-3))
        if self.responses <= (0 if self.exact else 1):
            return np.nan
        if not 0 < beta < np.inf or excess(low) >= 0 or (self.exact and excess(high) <= 0):
            return 0.0 if beta == np.inf else np.nan
        root = float(np.exp(brentq(excess, low, high, xtol=1e-10)))
        return root if abs(excess(np.log(root))) < 1e-6 else np.nan

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
            step = lam * np.exp(np.clip(np.log(kl / at) * at / (lam * slope), -2, 2)) if min(at, slope) > 0 else np.nan
            middle = 2 * lam if np.isinf(high) else (low + high) / 2
            lam = float(step) if np.isfinite(step) and low < step < high else middle
        return lam if abs(at - kl) <= 1e-6 * kl else np.nan

    def _curve(self, table: Floats, left_out: bool) -> tuple[float, float]:
        """Mean KL and its slope in lam."""
        kl, slope = table[0], table[1]
        if left_out:
            kl, slope = kl + self.left_out * (table[2] - kl), slope + self.left_out * (table[3] - slope)
        return float(self.omega @ kl), float(self.omega @ slope)

    def _matched(self, score: Floats, lam: float, kl: float, left_out: bool) -> tuple[Floats, Floats]:
        """Gains, win rates and beta at this KL without each unit in turn and with all, (C + 1, 2 J + 1); slopes in KL.

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
        with np.errstate(divide="ignore", invalid="ignore"):
            along = (kl - k[:, 0]) / k[:, 1]
        out, slopes = np.empty((len(k), 2 * J + 1)), np.empty(2 * J + 1)
        out[:, -1], slopes[-1] = 1 / lam - along / lam**2, -1 / (lam**2 * k[-1, 1])
        for j in range(J):
            f, far = self._apart(t[4 + 9 * j :], j), self.left_out_of[j]
            mine = [blended(f[a], f[b], far) for a, b in ((0, 2), (1, 3), (4, 6), (5, 7))]
            own = others(np.stack(mine), self.share[j])
            out[:, j], out[:, J + j] = own[:, 0] + own[:, 1] * along, own[:, 2] + own[:, 3] * along
            slopes[j], slopes[J + j] = own[-1, 1] / k[-1, 1], own[-1, 3] / k[-1, 1]
        return out, slopes


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
