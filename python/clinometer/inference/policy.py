"""Gain, win rate and beta of the policy behind the rows at a KL, with bounds: the one rule of inference (theory 2.9).

Table, class, verdict, checks, plots, files and `gain_intervals` ask here, so that none says what another denies.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import t_bounds, unit_errors, worth
from clinometer.common.results import Axes, Result, TiltResult
from clinometer.common.visible import did_you_mean, few, quote
from clinometer.engine.inputs import Call
from clinometer.engine.passes import in_range
from clinometer.engine.population import Population

from .matched import MatchedCell, MatchedRows
from .shapes import Shapes
from .tails import WINS_OUTWEIGHED, opened

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
DRAWS, UNITS = 4000, 512


@dataclass(frozen=True, repr=False, eq=False)
class GainDifference(Result):
    """By how much the first of two directions gains more than the second on the same prompts.

    Attributes
    ----------
    gain, gain_se, freedom : (B, J) gain of the first less that of the second, its error over prompts (or clusters), in
        which what both share cancels, and degrees of freedom
    interval : (B, J, 2) its 95 % bounds; infinite where a gain of either has one bound, so that its error shows in part
    kl : (B,) nats
    """

    axes: ClassVar[Axes] = {"kl value": "gain gain_se freedom", "kl value bound": "interval", "kl": "kl"}

    first: str
    second: str
    values: tuple[str, ...]
    kl: Floats
    gain: Floats
    gain_se: Floats
    freedom: Floats
    interval: Floats


@dataclass(frozen=True, repr=False, eq=False)
class PolicyGains(Result):
    """K directions at B levels on J values; NaN past what the rows can say.

    Attributes
    ----------
    kl : (K, B) nats; betas (K, B) what the policy is trained at to reach it
    gain, gain_se, win_rate, win_rate_se : (K, B, J); win rates of more than 16 responses (or fewer than 6) only up to
        0.2 log n nats, and only where `outweighing` is at most 0.01, past which their bias would show
    null_se : (K, B, J) error that a gain would have did the judge know nothing of the value: over all orders of the
        values inside prompts; NaN where it is not known
    freedom, win_freedom : (K, B, J) degrees of freedom of their bounds, by Student's t
    interval, win_interval : (K, B, J, 2) 95 % bounds of each number by itself; of skewed values the gain has one
        bound, which holds in 97.5 %, and the other is infinite; win rates by Wilson's law (theory 2.10), no further
        from 1/2 than sqrt(KL/6), which no policy exceeds and where an estimate beyond is put
    harmed, harmed_se : (K, B, J) share of prompts whose own gain is negative beyond their noise, at the least
    correction : (K, B) share by which the rows' beta is low at this KL, corrected for; there is no estimate where it
        is above 0.5 or the KL above 0.35 log n, n the harmonic mean of the responses
    labelled_by_score : (K, J) whether labels of a value are missing inside prompts by the direction's score, so that
        nothing is known of its gain
    unseen : (J,) "rare" where so few responses or prompts differ that neither gain nor win rate has an error, "alone"
        where no prompt has two labels and nothing is known of either, else ""
    lopsided : (J,) 1 or -1, the side on which few extremes make the error of a value, and gains have a bound no nearer
        than 1.96 `null_se`; else 0
    outweighing : (K, B) how many of a prompt's responses (16 at most) outweigh all of them together under the tilt;
        gains fall short where it is above 0.05 (theory 2.9)
    overshoot : (K, B) share by which gains and win rates may be too high at most because prompts differ in the spread
        of scores; bounds towards zero are so much further
    skewed : (K, B, J) 1 or -1 where a gain has no bound on that side, else 0: the side of the value's extremes where
        these are too rare, or away from zero where it falls short; `gain_se` is then too small in most dumps
    kind : (K, B) "jackknife", "first order" (fewer than 3 responses a prompt, and only to 0.1 nats), "exact" (base
        "logprob": the rows are the policy), "pooled" (within=False: gains of the rows as they are), or "none"
    """

    axes: ClassVar[Axes] = {
        "direction kl value": "gain gain_se null_se win_rate win_rate_se freedom win_freedom harmed harmed_se skewed",
        "direction kl value bound": "interval win_interval",
        "direction kl": "kl betas correction kind outweighing overshoot",
        "direction value": "labelled_by_score",
        "value": "unseen lopsided",
    }

    kl: Floats
    betas: Floats
    gain: Floats
    gain_se: Floats
    null_se: Floats
    freedom: Floats
    win_rate: Floats
    win_rate_se: Floats
    win_freedom: Floats
    harmed: Floats
    harmed_se: Floats
    correction: Floats
    kind: NDArray[np.str_]
    labelled_by_score: Flags
    unseen: NDArray[np.str_]
    lopsided: NDArray[np.int64]
    outweighing: Floats
    overshoot: Floats
    skewed: NDArray[np.int64]
    interval: Floats
    win_interval: Floats
    directions: tuple[str, ...]
    values: tuple[str, ...]
    _influence: Floats  # (C, K, B, J) of at most 4096 independent units on the gain
    _held: Floats  # (C, J) the weights of the units

    def bounds(self, level: float) -> Floats:
        """Bounds of each gain, (K, B, J, 2)."""
        plain = t_bounds(self.gain, self.gain_se, self.freedom + 1, level)
        return opened(plain, self.gain, self.skewed, self.null_se, level, self.lopsided, self.overshoot[..., None])

    def units(self) -> Floats:
        """Weighted gains (C, K, B, J) of the units: their sum over any of them, over that of `_held`, estimates it."""
        return np.asarray(self._held[:, None, None] * np.nan_to_num(self.gain) + self._influence)

    def difference(self, first: str, second: str) -> GainDifference:
        """Whether one direction is better than another: their gains at each KL are of the same prompts.

        Gains (B, J) are in units of the value. ValueError for a name that is not among `directions`. Cost: a sum of
        squares over at most 4096 units (theory 2.6).

        >>> import clinometer as cm
        >>> world = cm.simulate(n_prompts=100, n_responses=8, dim=4, random_state=1)
        >>> page = cm.report(world, constitutions=["judge/c0", "judge/c1"], values=["s"], kl=[0.1], sections=[])
        >>> page.policy.difference("judge/c0", "judge/c1").gain.shape
        (1, 2)
        """
        a, b = (self._place(name) for name in (first, second))
        gain, psi = self.gain[a] - self.gain[b], self._influence[:, a] - self._influence[:, b]
        held = np.broadcast_to(self._held[:, None], psi.shape)
        known = np.isfinite(gain + self.gain_se[a] + self.gain_se[b])
        se, units = (np.where(known, f(psi, held), np.nan) for f in (unit_errors, worth))
        open_ = known & ((self.skewed[a] != 0) | (self.skewed[b] != 0))
        bounds = np.where(open_[..., None], np.array([-np.inf, np.inf]), t_bounds(gain, se, units, 0.95))
        return GainDifference(first, second, self.values, self.kl[a], gain, se, units - 1, bounds)

    def _place(self, name: str) -> int:
        if name not in self.directions:
            near = did_you_mean(name, self.directions)
            raise ValueError(f"there is no direction {quote(name)}; there are {few(self.directions)}{near}")
        return self.directions.index(name)

    def part(self, some: slice) -> PolicyGains:
        """Of some of the directions."""
        own = {n: getattr(self, n)[some] for at, names in self.axes.items() if at != "value" for n in names.split()}
        return replace(self, directions=self.directions[some], _influence=self._influence[:, some], **own)

    def comparisons(self, cells: Flags, n_values: int) -> float:
        """How many independent comparisons the cells (K, B) and first values amount to.

        Levels and values of one judge are correlated, so sixteen numbers count as three or four. Of each judge it is
        the m at which m independent normal numbers have the 95 % quantile of the largest |z| among its own, drawn
        with the correlation of their influences; judges are added up as if they were independent.
        """
        psi = self._influence
        if len(psi) > UNITS:
            psi = np.concatenate([psi, np.zeros((-len(psi) % UNITS, *psi.shape[1:]))])
            psi = psi.reshape(-1, UNITS, *psi.shape[1:]).sum(axis=0)
        noise, total = np.random.default_rng(0).standard_normal((DRAWS, len(psi))), 0.0
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


def policy_gains(call: Call, kept: Floats, kl: Floats | None, start: Floats | None = None) -> PolicyGains:
    """Of kept scores (N, K) at levels kl (B,); `start` (K, B) are betas to begin at, of the rows' own tilts.

    With kl None the betas themselves are what the policy is at, whatever its KL.

    Cost: three walks or so to solve for all betas, of about eight exponentials a row for each, and one for the tables
    of `_core.prompt_tilt`, or as many as these need to stay small.
    """
    return gains_and_horizon(call, kept, kl, start, 0)[0]


def gains_and_horizon(
    call: Call, kept: Floats, kl: Floats | None, start: Floats | None, n: int
) -> tuple[PolicyGains, Floats]:
    """`policy_gains`, and `policy_horizon` of the first n columns, from the same walks."""
    kept, exponent = in_range(kept)
    rows, K = MatchedRows(call), kept.shape[1]
    levels = np.full((K, 0 if start is None else start.shape[1]), np.nan) if kl is None else np.tile(kl, (K, 1))
    begin = np.full(levels.shape, np.nan) if start is None else np.ldexp(start, -exponent[:, None])
    shape, column = levels.shape, np.repeat(np.arange(K), levels.shape[1])
    if kl is None:
        tilts, furthest = rows.at_betas(kept, column, begin.ravel()), np.full(n, np.nan)
    else:  # behind the levels the reach of the first
        reach, some = np.full(n, rows.reach if np.isfinite(rows.reach) else np.nan), len(column)
        column, kls = np.append(column, np.arange(n)), np.append(levels.ravel(), reach)
        every = rows.strengths(kept, column, kls, np.append(begin.ravel(), reach * np.nan))
        tilts, furthest = every.at(slice(some)), rows.horizons(kept, every.at(slice(some, None)))
    made = rows.cells(kept, tilts, given_beta=kl is None)
    arrays = {f.name: np.array([getattr(cell, f.name) for cell in made]) for f in fields(MatchedCell)}
    shapes = Shapes(rows, kept)
    arrays["outweighing"], arrays["overshoot"] = shapes.outweighing(tilts), shapes.overshoot(tilts)
    by_score = shapes.labels_miss()
    for name in ("gain", "gain_se", "null_se", "freedom", "win_rate", "win_rate_se", "win_freedom"):
        arrays[name] = np.where(by_score[tilts.column], np.nan, arrays[name])
    arrays["skewed"] = rows.skewed(arrays["gain"], arrays["kl"], arrays["outweighing"])
    heavy = arrays["outweighing"][:, None] > WINS_OUTWEIGHED
    arrays |= {name: np.where(heavy, np.nan, arrays[name]) for name in ("win_rate", "win_rate_se", "win_freedom")}
    influence = np.moveaxis(arrays.pop("influence").reshape(*shape, *rows.held.shape), 2, 0)
    arrays = {name: x.reshape(*shape, *x.shape[1:]) for name, x in arrays.items()}
    with np.errstate(over="ignore", under="ignore"):
        arrays["betas"] = np.ldexp(arrays["betas"], exponent[:, None])
    none = np.full((*shape, call.n_values, 2), np.nan)
    return _bounded(PolicyGains(
        labelled_by_score=by_score, unseen=rows.unseen, lopsided=rows.lopsided, interval=none, win_interval=none,
        directions=call.names, values=call.value_names, _influence=influence, _held=rows.held, **arrays,
    ), _two_valued(np.asarray(call.values))), furthest  # fmt: skip


def _two_valued(values: Floats) -> NDArray[np.bool_]:
    """(J,) whether a column (N, J) holds two numbers, or one."""
    with np.errstate(invalid="ignore"):
        ends = (values == np.fmin.reduce(values, axis=0)) | (values == np.fmax.reduce(values, axis=0))
    return np.asarray((ends | np.isnan(values)).all(axis=0))


def _bounded(p: PolicyGains, two_valued: NDArray[np.bool_] | bool = False) -> PolicyGains:
    """With bounds. The win rate of a value of two numbers is its gain on another scale, and has bounds as far."""
    far = np.minimum(np.sqrt(p.kl / 6), 0.5)[..., None]
    wins = np.clip(p.win_rate, 0.5 - far, 0.5 + far)
    reach = t_bounds(np.zeros_like(wins), p.win_rate_se, p.win_freedom + 1, 0.95)[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        null_se = np.where(two_valued, p.null_se * p.win_rate_se / p.gain_se, np.nan)
    bounds, none = _wilson(wins, p.win_rate_se, reach, far) - 0.5, np.zeros(wins.shape, np.int64)
    bounds = opened(bounds, wins - 0.5, none, null_se, 0.95, p.lopsided, p.overshoot[..., None])
    return replace(p, interval=p.bounds(0.95), win_rate=wins, win_interval=bounds + 0.5)


def _wilson(wins: Floats, se: Floats, reach: Floats, far: Floats) -> Floats:
    """Bounds (..., 2) of win rates between 1/2 - far and 1/2 + far, `reach` the half-width that t gives them.

    Near an end prompts agree by chance, and a win rate that is too high has an error that is too small: bounds about
    the estimate miss on one side. As of a share of successes, its variance at w is taken to go with far^2 - (w - 1/2)^2
    (Wilson 1927), of which far^2 - (wins - 1/2)^2 + se^2 is the estimate without bias.
    """
    off = wins - 0.5
    left = far**2 - off**2
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.where(se > 0, reach**2 / (left + se**2), reach)
    half = np.sqrt(odds * (left + odds * far**2))
    return np.asarray(0.5 + np.stack([off - half, off + half], axis=-1) / (1 + odds)[..., None])


def pooled_gains(t: TiltResult, p: Population, kl: Floats) -> PolicyGains:
    """Of tilts under one normaliser (within=False): the gains of the rows, whose prompts are many or nothing."""
    units = p.n_prompts if p.cluster is None else len(np.unique(p.cluster))
    freedom, none = np.full(t.gain.shape, units - 1.0), np.full(t.gain.shape, np.nan)
    reached = np.isclose(t.kl, kl[None], rtol=1e-6, atol=0)
    wide = np.full((*t.gain.shape, 2), np.nan)
    gain, se, wins = (np.where(reached[..., None], x, np.nan) for x in (t.gain, t.gain_se, t.win_rate))
    return _bounded(PolicyGains(
        np.array(np.broadcast_to(kl, t.kl.shape)), t.betas, gain, se, none, freedom, wins, none, none, none, none,
        np.zeros(t.kl.shape), np.full(t.kl.shape, "pooled"),
        np.zeros((len(t.directions), len(t.values)), bool), np.full(len(t.values), ""),
        np.zeros(len(t.values), np.int64), np.zeros(t.kl.shape), np.zeros(t.kl.shape),
        np.zeros(t.gain.shape, np.int64), wide, wide, t.directions, t.values,
        np.zeros((1, *t.gain.shape)), np.ones((1, t.gain.shape[2])),
    ))  # fmt: skip


def policy_horizon(call: Call, kept: Floats) -> Floats:
    """Largest KL (K,) at which the rows give an estimate, to 1 %; NaN where the rows are the policy."""
    rows, (kept, _), column = MatchedRows(call, values=False), in_range(kept), np.arange(kept.shape[1])
    none = np.full(len(column), np.nan)
    level = np.where(np.isfinite(rows.reach), rows.reach, none)
    return rows.horizons(kept, rows.strengths(kept, column, level, none))
