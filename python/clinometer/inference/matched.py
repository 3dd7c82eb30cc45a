"""The tilt at matched KL with and without each response: what the estimates of `policy` are made of (theory 2.9).

With n responses a prompt the tilt of the rows falls short of the policy's in gain and in KL, by terms in 1/n that no
number of prompts removes. Let theta_m be the mean over prompts of a gain with m responses, each m tilted by the lam
that gives it the KL asked for. At small tilts theta_m is theta sqrt(1 - 1/m) whatever the distribution, so that
theta_m as a polynomial in 1/(m - 1/4) has no term but the first; at larger ones a second is needed where a value
depends on the tail of the score. theta_n, theta_{n-1} and theta_{n-2}, means over the ways to leave out one response
or two, are taken to 1/m = 0: by a parabola for 6 to 16 responses, where the second term matters and pairs are few,
else by a line. Win rates and beta follow the same law. Errors leave out a prompt (or cluster) at a time, its part in
solving for lam included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.resampling import bucketed, unit_errors, worth
from clinometer.common.threads import applied
from clinometer.engine.inputs import Call
from clinometer.engine.population import Population

from .gains import unit_sums
from .tails import skewed, unseen

__all__ = ["FIRST_KL", "LIMIT", "REACH", "MatchedCell", "MatchedRows"]

Floats = NDArray[np.float64]
REACH = 0.35  # of log n, up to which n responses say what a policy gains: values in the tail of the score bend early
WINS = 0.2  # of log n, up to which the line alone says what a policy's win rate is: past it n = 64 gives 0.4 % too much
LIMIT = 0.5  # share by which the rows' beta may be low, where ties or few prompts bring that end forward
FEW = 3.0  # responses below which leaving one out leaves no tilt, and only the first order is an estimate
PAIRS = (5.5, 16.5)  # responses for which two are left out, 6 to 16
FIRST_KL = 0.1  # up to which the first order is taken for the gain there
TINY = 1e-6  # KL at which it is read off
HARMED = 0.1  # level at which a single prompt's gain counts as negative
PROMPT, VALUE = 6, 13  # fields of `_core.prompt_tilt`


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


class Responses:
    """How many responses prompts have, and how their numbers are taken from n towards infinitely many.

    `nodes` (M,) are shifts s of 1/m' from 1/n' to (1 + s)/n', m' = m - 1/4, by the harmonic mean of n over prompts that
    count; 1/m' = 0 is s = -1, where `weights` (M,) extrapolate from the nodes.
    """

    def __init__(self, n: Floats, omega: Floats, exact: bool) -> None:
        some = omega > 0
        self.mean = 1 / float(applied(1 / n[some], omega[some])) if some.any() else 0.0
        self.few = not exact and self.mean < FEW
        self.pairs = PAIRS[0] <= self.mean <= PAIRS[1]
        left_out = 0 if exact or self.few else 2 if self.pairs else 1
        middle = self.mean - 0.25
        self.nodes = np.array([m / (middle - m) for m in range(left_out + 1)])
        self.weights = np.array([
            np.prod([(-1 - other) / (s - other) for other in self.nodes if other != s]) for s in self.nodes
        ])  # fmt: skip

    def blends(self, n: Floats) -> list[tuple[Floats, ...]]:
        """At each node the weights (G,) of a prompt's numbers with all responses, without one and without two."""
        middle = np.maximum(n, 1.0) - 0.25
        with np.errstate(divide="ignore"):
            one, two = 1 / np.maximum(middle - 1, 1e-9), 2 / np.maximum(middle - 2, 1e-9)
        bent = self.pairs & (n >= 4) & (n <= PAIRS[1])
        out = []
        for s in self.nodes:
            line = s / one
            a = np.where(bent, (s - one) * (s - two) / (one * two), 1 - line)
            b = np.where(bent, s * (s - two) / (one * (one - two)), line)
            c = np.where(bent, s * (s - one) / (two * (two - one)), 0.0)
            out.append(
                tuple(np.where(np.abs(x) < 1e-9, 0.0, x) for x in (a, b, c))
            )  # rounding of the mean is no weight
        return out


class MatchedRows:
    """Tilts of the rows of a call, with what does not depend on the direction taken once."""

    def __init__(self, call: Call, values: bool = True) -> None:
        self.p = p = call.population
        self.exact = p.base == "logprob"
        self.weight, self.copies = p.row_weight(), _copies(p)
        table = np.asarray(call.values)[p.rows].T if values and call.n_values else np.zeros((0, p.n_rows))
        self.values, self.ranked = np.ascontiguousarray(table), _ranked(table, p)
        each = np.where(self.weight > 0, 1.0 if self.copies is None else self.copies, 0.0)
        n = self._prompts(each)
        self.known = [self._prompts(np.where(np.isnan(f), 0.0, each)) for f in table]
        enough = 0 if self.exact else 1  # one response leaves nothing to compare
        self.omega = _shared_out(np.where(n > enough, p.prompt_weight(), 0.0))
        self.share = np.array([_shared_out(np.where(m > enough, p.prompt_weight(), 0.0)) for m in self.known])
        self.share = self.share.reshape(len(table), p.n_prompts)
        self.responses = Responses(n, self.omega, self.exact)
        self.blend = self.responses.blends(n)
        self.blend_of = [self.responses.blends(m) for m in self.known]
        self.held = bucketed(unit_sums(self.share.T, p))
        self.unseen = np.array(
            [unseen(f, r, each, x, p) for f, r, x in zip(table, self.ranked, self.share, strict=True)]
        )
        self.unseen = self.unseen.astype(np.str_)
        self.skewed = np.array(
            [skewed(f, r, each, x, p) for f, r, x in zip(table, self.ranked, self.share, strict=True)], np.int64
        )

    @property
    def few(self) -> bool:
        return self.responses.few

    @cached_property
    def silent(self) -> bool:
        """Whether no prompt has enough responses for any tilt."""
        return not self.responses.mean > (0 if self.exact else 1)

    @property
    def reach(self) -> float:
        """Largest KL of an estimate: by the number of responses alone, so that no draw decides whether there is one."""
        if self.exact:
            return np.inf
        return FIRST_KL if self.few else REACH * float(np.log(self.responses.mean))

    def _prompts(self, x: Floats) -> Floats:
        return np.asarray(np.add.reduceat(x, self.p.offsets[:-1]))

    def table(self, score: Floats, lam: float, node: int, values: bool) -> Floats:
        """Every prompt's numbers at one lam, (6 + 13 J, G), as far as the node needs them."""
        some = slice(None) if values else slice(0, 0)
        blends = [self.blend[node], *(blend[node] for blend in self.blend_of if values)]
        used = [any((blend[m] != 0).any() for blend in blends) for m in range(3)]
        used[1] |= values and node == 0  # the variance inside prompts
        orders = sum(1 << m for m in range(3) if used[m])
        return np.asarray(_core.prompt_tilt(
            score, lam, orders, self.p.offsets, self.weight, self.copies, self.values[some], self.ranked[some], 1
        ))  # fmt: skip

    def cell(self, score: Floats, kl: float, start: float | None = None, *, given_beta: bool = False) -> MatchedCell:
        """Estimates at one level, NaN where the rows cannot say; `start` is a beta to begin at.

        given_beta: beta is given and this is the KL that it has, so errors are those at that beta.
        """
        if self.silent or np.isnan(kl):
            return self._unknown(np.nan)
        if kl == 0:
            return self._base()
        level, scale = (TINY, float(np.sqrt(kl / TINY))) if self.few else (kl, 1.0)
        lams, beta, missing = self.strengths(score, level, None if self.few else start)
        if not missing <= LIMIT or kl > self.reach * (1 + 1e-9):
            return self._unknown(missing)
        tables = [self.table(score, lam, node, True) for node, lam in enumerate(lams)]
        parts = [self._matched(t, lam, level, node) for node, (t, lam) in enumerate(zip(tables, lams, strict=True))]
        # the first order is a covariance over a standard deviation, low by sqrt(1 - 1/n)
        weights = np.array([1 / np.sqrt(1 - 1 / self.responses.mean)]) if self.few else self.responses.weights
        without = np.einsum("p,puq->uq", weights, np.array([part for part, _ in parts]))
        if given_beta:
            slopes = np.einsum("p,pq->q", weights, np.array([slope for _, slope in parts]))
            without -= (without[:, -1:] - without[-1, -1]) * (slopes / slopes[-1])
        kind = "exact" if self.exact else "first order" if self.few else "jackknife"
        harmed = self._harmed(tables[0])
        if kind == "jackknife" and not self.responses.pairs and kl > WINS * np.log(self.responses.mean) * (1 + 1e-9):
            without[:, len(self.values) : -1] = np.nan
        return self._estimated(without[:, :-1], weights.sum() - 1, scale, harmed, beta / scale, missing, kind)

    def _unknown(self, missing: float) -> MatchedCell:
        none = np.full(len(self.values), np.nan)
        flat = np.zeros((len(self.held), len(none)))
        return MatchedCell(np.nan, none, none, none, none, none, none, none, none, missing, "none", flat)

    def _base(self) -> MatchedCell:
        """At an infinite beta: the base policy itself."""
        still = np.zeros(len(self.values))
        free = np.full(len(still), len(self.held) - 1.0)
        flat = np.zeros((len(self.held), len(still)))
        return MatchedCell(np.inf, still, still, free, still + 0.5, still, free, still, still, 0.0, "exact", flat)

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
        silent |= np.tile(self.unseen != "", 2)
        se, freedom = np.where(silent, np.nan, se), np.where(silent, np.nan, freedom)
        return MatchedCell(
            beta, estimate[:J], se[:J], freedom[:J], estimate[J:], se[J:], freedom[J:], *harmed, missing, kind,
            bucketed(psi[:, :J]),
        )  # fmt: skip

    def _harmed(self, t: Floats) -> tuple[Floats, Floats]:
        """Least share of prompts whose own gain is negative, and its error, (J,) each.

        Of prompts that lose nothing at most a tenth have a gain that is negative at that level by the t of their own
        responses, so with F of all the share is at least (F - 1/10)/(1 - 1/10) (Storey 2002).
        """
        from scipy.special import stdtr

        out = np.zeros((2, len(self.values)))
        for j, (share, n) in enumerate(zip(self.share, self.known, strict=True)):
            gain, variance = t[PROMPT + VALUE * j], t[PROMPT + VALUE * j + VALUE - 1]
            with np.errstate(divide="ignore", invalid="ignore"):
                p = stdtr(np.maximum(n - 1, 1), gain / np.sqrt(variance))
            hit = np.where((variance > 0) & (p < HARMED), 1.0, 0.0)
            mean = float(applied(hit, share))
            psi, held = (unit_sums((share * x)[:, None], self.p) for x in (hit - mean, np.ones_like(hit)))
            out[:, j] = max((mean - HARMED) / (1 - HARMED), 0.0), unit_errors(psi, held)[0] / (1 - HARMED)
        return out[0], out[1]

    def strengths(self, score: Floats, kl: float, start: float | None) -> tuple[list[float], float, float]:
        """lam of each node at this KL, the policy's beta, and by what share the rows are low (inf: unreachable)."""
        lam = 1 / start if start is not None and 0 < start < np.inf else self._first_guess(score, kl)
        lams: list[float] = []
        for node in range(len(self.responses.nodes)):
            lam = self._solved(score, kl, lam * (1 + 1 / self.responses.mean) if node else lam, node)
            if not np.isfinite(lam):
                return lams, np.nan, np.inf
            lams.append(lam)
        if self.few:
            return lams, 1 / lams[0] / np.sqrt(1 - 1 / self.responses.mean), 0.0
        beta = float(self.responses.weights @ (1 / np.array(lams)))
        return lams, beta, 1 - 1 / (lams[0] * beta) if beta > 0 else np.inf

    def kl_of(self, score: Floats, beta: float) -> float:
        """KL that the policy has at beta; NaN past what the rows can say."""
        from scipy.optimize import brentq

        if beta == np.inf:
            return 0.0
        if self.silent or not beta > 0:
            return float("nan")

        def excess(log_kl: float) -> float:
            level = TINY if self.few else float(np.exp(log_kl))
            _, found, missing = self.strengths(score, level, None)
            if not missing <= LIMIT:
                return 1.0  # a KL too large to have a beta: what is wanted lies below
            return float(np.log(beta / found)) + (0.5 * (log_kl - np.log(TINY)) if self.few else 0.0)

        low, high = np.log(1e-12), np.log(max(np.log(max(self.responses.mean, 2.0)), 1e-3))
        if excess(low) >= 0 or excess(high) <= 0:
            return float("nan")
        root = float(brentq(excess, low, high, xtol=1e-10))
        return float(np.exp(root)) if abs(excess(root)) < 1e-6 else float("nan")

    def _first_guess(self, score: Floats, kl: float) -> float:
        t = score - np.repeat(self._prompts(self.weight * score), self.p.sizes)
        variance = float(applied(self._prompts(self.weight * t * t), self.omega))
        return float(np.sqrt(2 * kl / variance)) if variance > 0 else np.nan

    def _solved(self, score: Floats, kl: float, lam: float, node: int) -> float:
        """lam with that KL, by Newton's steps in logarithms inside a bracket; NaN past the reach of the rows."""
        low, high = 0.0, np.inf
        for _ in range(60):
            if not np.isfinite(lam):
                return np.nan
            at, slope = self._curve(self.table(score, lam, node, False), node)
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

    def _curve(self, table: Floats, node: int) -> tuple[float, float]:
        """Mean KL and its slope in lam at a node."""
        kl, slope = _at_node(table, self.blend[node], (0, 1))
        return float(applied(kl, self.omega)), float(applied(slope, self.omega))

    def _matched(self, t: Floats, lam: float, kl: float, node: int) -> tuple[Floats, Floats]:
        """Gains, win rates and beta at this KL without each unit in turn and with all, (C + 1, 2 J + 1); slopes in KL.

        Without unit u: C_u + s_u (kl - K_u), with C_u, K_u the means and s_u the slope of all other units.
        """
        J = len(self.values)

        def others(x: Floats, share: Floats) -> Floats:
            sums, held = (unit_sums(y.T, self.p) for y in (x * share, np.broadcast_to(share, x.shape)))
            sums, held = (np.concatenate([y.sum(axis=0) - y, y.sum(axis=0)[None]]) for y in (sums, held))
            return np.asarray(np.divide(sums, held, out=np.full(sums.shape, np.nan), where=held > 1e-12))

        k = others(_at_node(t, self.blend[node], (0, 1)), self.omega)
        with np.errstate(divide="ignore", invalid="ignore"):
            along = (kl - k[:, 0]) / k[:, 1]
        out, slopes = np.empty((len(k), 2 * J + 1)), np.empty(2 * J + 1)
        out[:, -1], slopes[-1] = 1 / lam - along / lam**2, -1 / (lam**2 * k[-1, 1])
        for j in range(J):
            own = others(_at_node(t[PROMPT + VALUE * j :], self.blend_of[j][node], (0, 1, 6, 7)), self.share[j])
            out[:, j], out[:, J + j] = own[:, 0] + own[:, 1] * along, own[:, 2] + own[:, 3] * along
            slopes[j], slopes[J + j] = own[-1, 1] / k[-1, 1], own[-1, 3] / k[-1, 1]
        return out, slopes


def _at_node(t: Floats, blend: tuple[Floats, ...], fields: tuple[int, ...]) -> Floats:
    """Every prompt's numbers at a node: blends of those with all responses, without one and without two, (F, G)."""
    a, b, c = blend
    return np.stack([a * t[i] + b * t[i + 2] + c * t[i + 4] for i in fields])


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
