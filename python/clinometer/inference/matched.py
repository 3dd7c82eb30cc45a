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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.resampling import bucketed, unit_errors, worth
from clinometer.common.threads import applied, shared
from clinometer.engine.inputs import Call
from clinometer.engine.population import Population
from clinometer.engine.weights import spread_within

from .partial import completed
from .roots import SURE, Curves, variances
from .tails import OUTWEIGHED, tail, unseen

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
REACH = 0.35  # of log n, up to which n responses say what a policy gains: values in the tail of the score bend early
WINS = 0.2  # of log n, up to which the line alone says what a policy's win rate is: past it n = 64 gives 0.4 % too much
LIMIT = 0.5  # share by which the rows' beta may be low, where ties or few prompts bring that end forward
FEW = 3.0  # responses below which leaving one out leaves no tilt, and only the first order is an estimate
PAIRS = (5.5, 16.5)  # responses for which two are left out, 6 to 16
FIRST_KL = 0.1  # up to which the first order is taken for the gain there
SHARE = 0.05  # of the weight, in prompts of fewer than FEW, past which nothing is said beyond that KL
TINY = 1e-6  # KL at which it is read off
HARMED = 0.1  # level at which a single prompt's gain counts as negative
PROMPT, VALUE = 2, 6  # fields of `_core.prompt_tilt`, of the prompt and of each value:
MEANS, VARIANCE, SHUFFLED = 4, 4, 5  # gain and win rate with their slopes come first
TABLE_BYTES = 1 << 26  # of the tables of one walk


@dataclass(frozen=True)
class Tilts:
    """Tilts (C,) of columns of scores: their KL, lam (C, M) at each node, the policy's beta and `missing`, by what
    share the rows' beta is low (inf: past their reach)."""

    column: Ints
    kl: Floats
    lam: Floats
    beta: Floats
    missing: Floats

    def at(self, some: Any) -> Tilts:
        """Some of them."""
        return Tilts(self.column[some], self.kl[some], self.lam[some], self.beta[some], self.missing[some])


@dataclass(frozen=True)
class MatchedCell:
    """One direction at one level: the arrays are (J,), `influence` (C, J) of at most 4096 units."""

    kl: float
    betas: float
    gain: Floats
    gain_se: Floats
    null_se: Floats
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
        self.n, some = n, omega > 0
        self.mean = 1 / float(applied(1 / n[some], omega[some])) if some.any() else 0.0
        self.few = not exact and self.mean < FEW
        # what a prompt of two gains from its pair is taken too far where others say more of a level than it can
        self.short = self.few or (not exact and float(applied(np.where(n < FEW, 1.0, 0.0), omega)) > SHARE)
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
        self.n_threads = call.n_threads
        self.weight, self.copies = p.row_weight(), _copies(p)
        table = np.asarray(call.values)[p.rows].T if values and call.n_values else np.zeros((0, p.n_rows))
        sd = np.array([spread_within(column, p) for column in np.asarray(call.values).T] if len(table) else [])
        table = np.where((sd == 0)[:, None] & ~np.isnan(table), 0.0, table)  # or rounding would gain
        ranked = _ranked(table, p)
        each = np.where(self.weight > 0, 1.0 if self.copies is None else self.copies, 0.0)
        n = self.prompts(each)
        self.known = [self.prompts(np.where(np.isnan(f), 0.0, each)) for f in table]
        enough = 0 if self.exact else 1  # one response leaves nothing to compare
        whole = _shared_out(np.where(n > enough, p.prompt_weight(), 0.0))
        # a lone label among responses without one says nothing of their order
        self.share = np.array([
            _shared_out(np.where((m > enough) & ((m > 1) | (m == n)), p.prompt_weight(), 0.0)) for m in self.known
        ])  # fmt: skip
        self.share = self.counted = self.share.reshape(len(table), p.n_prompts)
        self.responses = Responses(n, whole, self.exact)
        self.omega, self.ratio, self.factor = whole, np.ones(len(table)), 1.0
        if self.responses.few:  # a covariance of n responses is low by 1 - 1/n, of each prompt's own n (theory 2.5)
            short = np.where(n > 1, n / np.maximum(n - 1, 1.0), 0.0)
            self.factor = float(applied(short, whole))
            self.ratio = applied(self.share, short) / (self.factor or 1.0)  # 0 where each prompt has one response
            self.omega, self.share = _shared_out(whole * short), np.array([_shared_out(x * short) for x in self.share])
            self.share = self.share.reshape(len(table), p.n_prompts)
        self.blend = self.responses.blends(n)
        self.blend_of = [self.responses.blends(m) for m in self.known]
        partial = np.flatnonzero([((m < n) & (x > 0)).any() for m, x in zip(self.known, self.share, strict=True)])
        filled = np.array([completed(table[j], ranked[j], self.weight, each, p) for j in partial])
        filled = filled.reshape(-1, p.n_rows)
        self.gain_of = np.arange(len(table))  # the column of the core's table that a value's gain is read from
        self.gain_of[partial] = len(table) + 2 * np.arange(len(partial))
        self.values = np.ascontiguousarray(np.concatenate([table, filled]))
        self.ranked = np.concatenate([ranked, _ranked(filled, p)])
        self.shares = np.concatenate([self.omega[None], self.share])
        held = p.unit_sums(self.shares.T)
        self.units, self.held = held, bucketed(held[:, 1:])  # (U, 1 + J)
        self.both = np.tile(1 + np.arange(len(table)), 2)  # of gains and win rates
        rest = np.concatenate([held.sum(axis=0) - held, held.sum(axis=0)[None]]).T
        self.rest = np.where(rest > 1e-12, rest, np.nan)  # (1 + J, U + 1): of all other units, and last of all
        self.unseen = np.array([unseen(f, r, each, x, p) for f, r, x in zip(table, ranked, self.share, strict=True)])
        self.unseen = np.where(np.isnan(sd), "alone", self.unseen).astype(np.str_)
        self.tails = [tail(f, r, each, x, p) for f, r, x in zip(table, ranked, self.share, strict=True)]
        self.lopsided = np.array([law.lopsided for law in self.tails], np.int64)

    @cached_property
    def blends(self) -> Floats:
        """(nodes, 1 + columns, 3, G): of KL first, then of each value, and of completed ones as of KL."""
        more = [self.blend] * (len(self.values) - len(self.known))
        return np.ascontiguousarray(np.moveaxis(np.array([self.blend, *self.blend_of, *more]), 0, 1))

    @cached_property
    def harm(self) -> list[Floats]:
        """Of each value the t (G,) below which a prompt's own gain counts as negative."""
        from scipy.special import stdtrit

        found = [np.unique(np.maximum(n - 1, 1), return_inverse=True) for n in self.known]
        return [stdtrit(freedom, HARMED)[at] for freedom, at in found]

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
        reach = REACH * float(np.log(max(self.responses.mean, 1.0)))
        return FIRST_KL if self.few else min(FIRST_KL, reach) if self.responses.short else reach

    def centred(self, t: Floats) -> Floats:
        """Scores (N,) less the mean of their prompt."""
        return np.asarray(t - self.p.on_rows(self.prompts(self.weight * t)))

    def skewed(self, gain: Floats, kl: Floats, outweighing: Floats) -> Ints:
        """Side (C, J) on which gains at kl (C,) have no bound, 1 or -1, else 0: that of a value's extremes
        (`Tail.skewed`), or away from zero where tilts weigh single responses too much."""
        reach = np.inf if self.few else self.reach
        sides = np.array([law.skewed(gain[:, j], kl, reach) for j, law in enumerate(self.tails)], np.int64)
        heavy = np.where(outweighing[:, None] > OUTWEIGHED, np.sign(np.nan_to_num(gain)), 0)
        sides = sides.reshape(len(self.tails), len(kl)).T
        return np.where(sides != 0, sides, heavy).astype(np.int64)

    def prompts(self, x: Floats) -> Floats:
        return np.asarray(self.p.sums(x))

    def strengths(self, scores: Floats, column: Ints, kl: Floats, start: Floats) -> Tilts:
        """The tilts of columns (C,) of scores (N, K) that have these KL (C,), sought from betas `start` (C,)."""
        M, few = len(self.responses.nodes), self.few
        lam, out = np.full((len(kl), M), np.nan), np.full((2, len(kl)), np.nan)
        at = np.flatnonzero((kl > 0) & (not self.silent))
        if len(at):
            level, begin = (np.full(len(at), TINY), np.full(len(at), np.nan)) if few else (kl[at], start[at])
            lam[at] = Curves(self, scores, column[at], level, begin).solved()
        with np.errstate(invalid="ignore", divide="ignore"):
            if few:  # the first order: KL goes with the square of 1/beta
                out[:] = np.sqrt(TINY / kl) / lam[:, 0] * np.sqrt(self.factor), 0 * lam[:, 0]
            else:
                out[0] = applied(1 / lam, self.responses.weights)
                out[1] = 1 - 1 / (lam[:, 0] * out[0])
        return Tilts(column, kl, lam, out[0], np.where(out[0] > 0, out[1], np.inf))

    def at_betas(self, scores: Floats, column: Ints, betas: Floats) -> Tilts:
        """The tilts whose policy has these betas (C,), by secants in logarithms; KL is NaN past what rows can say."""
        n = max(self.responses.mean, 2.0)
        low, high = np.full(len(betas), np.log(1e-12)), np.full(len(betas), np.log(max(np.log(n), 1e-3)))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            guess = np.log(variances(self, scores, column) / betas**2 / 2)
        open_ = np.isfinite(guess) & (not self.silent)
        at, before, off_before = np.clip(guess, low + 1, high - 0.1), guess * np.nan, guess * np.nan
        found = self.strengths(scores, column, np.where(np.isinf(betas), 0.0, np.nan), betas)
        for _ in range(80):
            some = np.flatnonzero(open_)
            if not len(some):
                break
            tilts = self.strengths(scores, column[some], np.exp(at[some]), 1 / found.lam[some, 0])
            far = ~(tilts.missing <= LIMIT)  # a KL too large to have a beta: what is wanted lies below
            with np.errstate(invalid="ignore"):
                off = np.where(far, np.nan, np.log(betas[some] / tilts.beta))
                slope = (off - off_before[some]) / (at[some] - before[some])
            over = far | (off > 0)
            low[some], high[some] = np.where(over, low[some], at[some]), np.where(over, at[some], high[some])
            step = at[some] - off / np.where((slope > 0.05) & (slope < 500), slope, 0.5)
            middle = np.maximum((low[some] + high[some]) / 2, high[some] - 1)
            before[some], off_before[some] = at[some], off
            at[some] = np.where((step > low[some]) & (step < high[some]), step, middle)
            closed = high[some] - low[some] <= SURE
            done = np.abs(off) <= np.where(closed, 1e-6, 1e-9)
            for name in ("kl", "lam", "beta", "missing"):
                getattr(found, name)[some[done]] = getattr(tilts, name)[done]
            found.lam[some[~far], 0] = tilts.lam[~far, 0]
            open_[some] = ~(done | closed)
        return found

    def horizons(self, scores: Floats, tilts: Tilts) -> Floats:
        """By tilts at `reach`, the largest KL at which rows give an estimate, to 1 %; NaN where they are the policy."""
        n = len(tilts.column)
        if self.exact:
            return np.full(n, np.nan)
        if self.few or self.silent:
            return np.full(n, 0.0 if self.silent else FIRST_KL)
        low, high = np.where(tilts.missing <= LIMIT, self.reach, 0.0), np.full(n, self.reach)
        for _ in range(6):
            some = np.flatnonzero(low < high)
            if not len(some):
                break
            middle = (low[some] + high[some]) / 2
            good = self.strengths(scores, tilts.column[some], middle, middle * np.nan).missing <= LIMIT
            low[some], high[some] = np.where(good, middle, low[some]), np.where(good, high[some], middle)
        return low

    def curve(self, scores: Floats, column: Ints, lam: Floats, node: Ints) -> Floats:
        """Mean KL and its slope in lam of tilts (C,), each at a node, (C, 2); one walk."""
        # copied here, where no room is a MemoryError: among the arguments of the core it would be a TypeError
        node, blends = np.ascontiguousarray(node), np.ascontiguousarray(self.blends[:, :1])
        return np.asarray(_core.prompt_curve(
            scores, column, lam, node, self.p.offsets, self.weight, self.copies, blends, self.omega, self.n_threads
        ))  # fmt: skip

    def cells(self, scores: Floats, tilts: Tilts, *, given_beta: bool = False) -> list[MatchedCell]:
        """Estimates of scores (N, K) at these tilts, NaN where the rows cannot say.

        given_beta: errors are those at the betas, not at the KL that they have. Walks the rows once for as many tilts
        as tables of TABLE_BYTES hold.
        """
        good = (tilts.kl > 0) & (tilts.missing <= LIMIT) & (tilts.kl <= self.reach * (1 + 1e-9))
        base = (tilts.kl == 0) & (not self.silent)
        out = [
            self._base() if at_base else self._unknown(float(x), np.nan if self.silent or np.isnan(x) else float(low))
            for at_base, x, low in zip(base, tilts.kl, tilts.missing, strict=True)
        ]
        fields, M = PROMPT + VALUE * len(self.values), len(self.responses.nodes)
        step, held = max(1, TABLE_BYTES // max(8 * M * fields * self.p.n_prompts, 1)), np.flatnonzero(good)
        for some in (held[at : at + step] for at in range(0, len(held), step)):
            tables = np.asarray(_core.prompt_tilt(
                scores, np.repeat(tilts.column[some], M), tilts.lam[some].ravel(), np.tile(np.arange(M), len(some)),
                self.p.offsets, self.weight, self.copies, self.values, self.ranked, self.blends, self.n_threads,
            )).reshape(len(some), M, fields, -1)  # fmt: skip
            work = [(tables[i], tilts, int(c), given_beta) for i, c in enumerate(some)]
            for c, cell in zip(some, shared(lambda given: self._estimated(*given), work, self.n_threads), strict=True):
                out[c] = cell
        return out

    def _estimated(self, tables: Floats, tilts: Tilts, c: int, given_beta: bool) -> MatchedCell:
        kl, J = float(tilts.kl[c]), len(self.known)
        level, scale = (TINY, float(np.sqrt(kl / TINY))) if self.few else (kl, 1.0)
        parts = [self._matched(t, float(lam), level) for t, lam in zip(tables, tilts.lam[c], strict=True)]
        # the first order is a covariance over a standard deviation, low as one of these
        weights = np.array([np.sqrt(self.factor)]) if self.few else self.responses.weights
        each = np.r_[self.ratio, self.ratio, 1.0]  # of gains, win rates and beta
        without = np.einsum("p,pqu->qu", weights, np.array([part for part, _ in parts])) * each[:, None]
        if given_beta:
            slopes = np.einsum("p,pq->q", weights, np.array([slope for _, slope in parts])) * each
            without -= (slopes / slopes[-1])[:, None] * (without[-1] - without[-1, -1])
        kind = "exact" if self.exact else "first order" if self.few else "jackknife"
        if kind == "jackknife" and not self.responses.pairs and kl > WINS * np.log(self.responses.mean) * (1 + 1e-9):
            without[J:-1] = np.nan
        without = without[:-1]  # of gains and win rates, (2 J, U + 1)
        without[J:] -= 0.5 * (weights.sum() * self.ratio[:, None] - 1)  # without a tilt it is 1/2, which is not scaled
        estimate = without[:, -1].copy()
        psi = np.ascontiguousarray((self.rest[self.both, :-1] * (estimate[:, None] - without[:, :-1]) * scale).T)
        estimate[:J], estimate[J:] = estimate[:J] * scale, 0.5 + (estimate[J:] - 0.5) * scale
        se, freedom = unit_errors(psi, self.units[:, self.both]), worth(psi, self.units[:, self.both]) - 1
        silent = ~(np.abs(psi).max(axis=0, initial=0.0) > 0)  # nothing varies: no error can be seen
        silent |= np.tile(self.unseen != "", 2)
        se, freedom = np.where(silent, np.nan, se), np.where(silent, np.nan, freedom)
        return MatchedCell(
            kl, float(tilts.beta[c]), estimate[:J], se[:J], scale * self._shuffled(tables, weights), freedom[:J],
            estimate[J:], se[J:], freedom[J:],
            *self._harmed(tables[0]), float(tilts.missing[c]), kind, bucketed(psi[:, :J]),
        )  # fmt: skip

    def _shuffled(self, tables: Floats, weights: Floats) -> Floats:
        """Standard errors (J,) that gains would have were the values in random order inside prompts.

        The same rows at another node have coefficients on the values that are nearly in proportion, so that standard
        deviations extrapolate as the gains do.
        """
        spread = np.einsum("p,pjg->jg", weights, tables[:, PROMPT + SHUFFLED :: VALUE][:, self.gain_of])
        return np.asarray(self.ratio * np.sqrt(((self.share * spread) ** 2).sum(axis=1)))

    def _unknown(self, kl: float, missing: float) -> MatchedCell:
        none = np.full(len(self.known), np.nan)
        flat = np.zeros((len(self.held), len(none)))
        return MatchedCell(kl, np.nan, none, none, none, none, none, none, none, none, none, missing, "none", flat)

    def _base(self) -> MatchedCell:
        """At an infinite beta: the base policy itself."""
        still = np.zeros(len(self.known))
        free = np.full(len(still), len(self.held) - 1.0)
        flat = np.zeros((len(self.held), len(still)))
        return MatchedCell(
            0.0, np.inf, still, still, still, free, still + 0.5, still, free, still, still, 0.0, "exact", flat
        )

    def _harmed(self, t: Floats) -> tuple[Floats, Floats]:
        """Least share of prompts whose own gain is negative, and its error, (J,) each.

        Of prompts that lose nothing at most a tenth have a gain that is negative at that level by the t of their own
        responses, so with F of all the share is at least (F - 1/10)/(1 - 1/10) (Storey 2002).
        """
        out = np.zeros((2, len(self.known)))
        for j, (share, limit) in enumerate(zip(self.counted, self.harm, strict=True)):
            gain, variance = t[PROMPT + VALUE * j], t[PROMPT + VALUE * j + VARIANCE]
            hit = np.where((variance > 0) & (gain < limit * np.sqrt(np.maximum(variance, 0.0))), 1.0, 0.0)
            mean = float(applied(hit, share))
            psi = self.p.unit_sums((share * (hit - mean))[:, None])
            error = unit_errors(psi, self.units[:, [1 + j]])[0] / (1 - HARMED)
            out[:, j] = max((mean - HARMED) / (1 - HARMED), 0.0), error
        return out[0], out[1]

    def _matched(self, t: Floats, lam: float, kl: float) -> tuple[Floats, Floats]:
        """Gains, win rates and beta at this KL without each unit in turn and with all, (2 J + 1, U + 1); slopes in KL.

        Without unit u: C_u + s_u (kl - K_u), with C_u, K_u the means and s_u the slope of all other units.
        """
        J = len(self.known)
        k = self._others(t[:PROMPT], 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            along = (kl - k[0]) / k[1]
        out, slopes = np.empty((2 * J + 1, k.shape[1])), np.empty(2 * J + 1)
        out[-1], slopes[-1] = 1 / lam - along / lam**2, -1 / (lam**2 * k[1, -1])
        for j in range(J):
            gain, of_gain, win, of_win = self._others(self._means(t, j), 1 + j)
            out[j], out[J + j] = gain + of_gain * along, win + of_win * along
            slopes[j], slopes[J + j] = of_gain[-1] / k[1, -1], of_win[-1] / k[1, -1]
        return out, slopes

    def _means(self, t: Floats, j: int) -> Floats:
        """Gain and win rate of a value with their slopes (4, G); of a completed one both are gains of its columns."""
        at = PROMPT + VALUE * int(self.gain_of[j])
        if self.gain_of[j] == j:
            return t[at : at + MEANS]
        gain, win = t[at : at + 2], t[at + VALUE : at + VALUE + 2]
        return np.concatenate([gain, win + np.array([[0.5], [0.0]])])

    def _others(self, x: Floats, which: int) -> Floats:
        """Means of numbers (F, G) over the prompts of all other units, and last of all, (F, U + 1)."""
        x = x * self.shares[which]
        units = x if self.p.cluster is None else self.p.unit_sums(x.T).T
        total = units.sum(axis=1, keepdims=True)
        out = np.concatenate([units, np.zeros_like(total)], axis=1)
        np.subtract(total, out, out=out)
        out /= self.rest[which]
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
    prompt = p.on_rows(np.arange(p.n_prompts))
    first = p.on_rows(p.offsets[:-1])
    orders = [np.lexsort((f, prompt)) - first for f in table]
    return np.array(orders, np.int32).reshape(len(table), p.n_rows)
