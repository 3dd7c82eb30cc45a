"""Does a judge turn away while training goes on? u_C of successive dumps, and when to stop (theory 6.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.options import listed
from clinometer.common.resampling import t_bounds
from clinometer.common.results import Axes, Result
from clinometer.common.visible import visible
from clinometer.dump import Dump, open_dump
from clinometer.dump.directions import Scores
from clinometer.engine.checks import need_within
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.intake import pairs_of
from clinometer.engine.passes import covariance_projection
from clinometer.engine.population import Population
from clinometer.fit import DirectionFit, fit_preference_direction, fit_value_direction
from clinometer.fit.options import check_folds
from clinometer.fit.quality import curvature_error, ratio_error
from clinometer.inference.intervals import PolicyGain, check_kl, check_level, policy_gain
from clinometer.inference.label_error import label_errors, label_status
from clinometer.inference.tails import in_words

from .arrays import Floats
from .rows import correlation_influence, scored


@dataclass(frozen=True, repr=False, eq=False)
class JudgeDrift(Result):
    """A judge in T rounds of training; axes are round, value.

    Attributes
    ----------
    gain, gain_se : (T, J) gain of each value at the KL asked for, in each round's own dump
    gain_ci : (T, J, 2), each at `level`
    angle, step : (T,) Sigma-angle in radians between u_C of the first round, or of the round before, and of this one,
        under the rows of the first round and free of the noise of the fits: 0 and NaN in the first round
    angle_ci, step_ci : (T, 2)
    stop : the first round (1-based) at which a gain lies below 0, or the angle above `bound`, beyond doubt: all tests
        of all rounds together err with chance 1 - level at most, however many rounds follow. None: no round does
    reason : what stopped it
    """

    axes: ClassVar[Axes] = {
        "round value": "gain gain_se",
        "round value bound": "gain_ci",
        "round": "angle step",
        "round bound": "angle_ci step_ci",
    }

    gain: Floats
    gain_se: Floats
    gain_ci: Floats
    angle: Floats
    angle_ci: Floats
    step: Floats
    step_ci: Floats
    stop: int | None
    reason: str
    bound: float
    kl: float
    level: float
    rounds: tuple[str, ...]
    values: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{'round':>8}{'angle':>8}{'95 %' if self.level == 0.95 else 'bounds':>14}" + self._heads()]
        for i, name in enumerate(self.rounds):
            low, high = np.degrees(self.angle_ci[i])
            gains = "".join(
                f"{g:>+10.3g} ({in_words(ends)})" for g, ends in zip(self.gain[i], self.gain_ci[i], strict=True)
            )
            lines.append(f"{visible(name):>8}{np.degrees(self.angle[i]):>8.0f}{low:>7.0f} to {high:<3.0f}" + gains)
        lines.append(f"stop at round {self.stop}: {self.reason}" if self.stop else "no reason to stop")
        return "\n".join(lines)

    def _heads(self) -> str:
        return "".join(f"{visible(v)[:24]:>28}" for v in self.values)


@listed("within")
def judge_drift(
    dumps: Any, judge: Any, values: Any, *, kl: float = 0.1, bound: float = np.pi / 4, level: float = 0.95,
    folds: int = 8, fits: Mapping[str, Any] | None = None, **options: Any,
) -> JudgeDrift:  # fmt: skip
    """u_C and the gains of its values in successive rounds of training, and a rule for when to stop (theory 6.5).

    Accumulated tilts gain as long as u_C stays near u*: a constitution that turns by th a round peaks after
    (pi/2 - a0)/th rounds and then harms (`drifting_projection`). In every round u_C is fitted to the judge; cosines
    are of fits to different halves of the prompts, u_A'Sigma v_B / sqrt(u_A'Sigma u_B v_A'Sigma v_B), which noise does
    not lower. Errors hold each prompt's part in both fits and in Sigma, and the second order of the fits' noise, which
    is all there is where nothing turns. Gains are those of the judge's own scores, or of the cross-fitted direction of
    pairs.

    Round r = 1, 2, .. may spend (1 - level)/(r (r + 1)) on its J + 1 one-sided tests, in equal parts, so that a later
    round changes no earlier answer (Lan and DeMets 1983 for such spending).

    Parameters
    ----------
    dumps : sequence of dumps in order, or a mapping of name to dump; equal d, one basis of phi
    judge : column, `Scores` or array (N,) of scores, or a pair (pairs (P, 2), prob (P,)); one for all rounds, or a list
        of one a round
    values : columns, which every round has
    kl : KL at which gains are compared
    bound : angle to the first round, in radians, beyond which u_C counts as another one
    level : of the intervals, and of the rule
    folds : of the fits; prompts are dealt by a hash of their id
    fits : arguments of `fit_value_direction` or `fit_preference_direction`. Default for scores is least squares, which
        wants 2 d rows beyond the prompts in either half; with fewer name a ridge, one penalty for all rounds
    **options : base policy and pass options, for all rounds

    Returns
    -------
    JudgeDrift
        Cost: three fits a round, one pass over the first dump, and `gain_intervals` of every round.

    Errors: ValueError for fewer than two dumps, a bound outside (0, pi) or a level outside (0, 1); TypeError for
    an option that no fit has.

    >>> import clinometer as cm, numpy as np
    >>> turn = 0.3 + 0.5 * np.arange(4)
    >>> rounds = [
    ...     cm.simulate(200, 8, 4, n_constitutions=1, alignment=np.cos(a), world=1, random_state=r)
    ...     for r, a in enumerate(turn)
    ... ]
    >>> found = cm.theory.judge_drift(rounds, "judge/c0", "s")
    >>> found.angle.round(1).tolist(), found.stop, found.reason
    ([0.0, 0.5, 1.0, 1.5], 3, 'the angle to the first round is above 0.785')
    """
    check_level(level)
    check_folds(folds)
    kl = check_kl(kl)
    if not 0 < bound < np.pi:
        raise ValueError(f"bound is {bound!r}, wanted an angle in radians between 0 and pi")
    need_within(options)
    names, opened = _opened(dumps)
    called = {prepare(d, None, values, **options).value_names for d in opened}
    if len(called) > 1 or not (names_of := called.pop()):
        raise ValueError("values: wanted one or more, the same in every round")
    judges = [checked(d, j, fits, options) for d, j in zip(opened, _judges(judge, len(opened)), strict=True)]
    rounds = [fitted(d, j, folds, fits, options) for d, j in zip(opened, judges, strict=True)]
    gains = [policy_gain(r.dump, r.judge, values, kl, options) for r in rounds]
    turned = Turned(rounds, options)
    first, before = (_angles(turned, other) for other in ([0] * len(rounds), [0, *range(len(rounds) - 1)]))
    before[0, 0] = np.nan
    stop, reason = _stopped(gains, first, bound, level, names_of)
    angle, angle_ci = _radians(first, level)
    step, step_ci = _radians(before, level)
    return JudgeDrift(
        np.stack([g.gain for g in gains]), np.stack([g.se for g in gains]),
        np.stack([g.interval(level) for g in gains]), angle, angle_ci, step, step_ci, stop, reason, float(bound), kl,
        float(level), names, names_of,
    )  # fmt: skip


def _opened(dumps: Any) -> tuple[tuple[str, ...], list[Dump]]:
    if isinstance(dumps, (str, Dump)) or not isinstance(dumps, (Mapping, Sequence)) or len(dumps) < 2:
        raise ValueError("dumps: wanted two or more dumps, one a round, as a sequence or a mapping of name to dump")
    held = list(dumps.values()) if isinstance(dumps, Mapping) else list(dumps)
    names = tuple(map(str, dumps)) if isinstance(dumps, Mapping) else tuple(str(i + 1) for i in range(len(held)))
    opened = [d if isinstance(d, Dump) else open_dump(d) for d in held]
    widths = [d.dim for d in opened]
    if len(set(widths)) > 1:
        raise ValueError(f"dumps have {widths} columns; wanted equal d, of one basis")
    return names, opened


def _judges(judge: Any, T: int) -> list[Any]:
    """One judge a round; a tuple is a pair (pairs, prob)."""
    if not isinstance(judge, list):
        return [judge] * T
    if len(judge) != T:
        raise ValueError(f"judge lists {len(judge)} judges for {T} rounds; wanted one a round, or one for all")
    return judge


def _angles(turned: Turned, others: list[int]) -> Floats:
    """Cosine, error and effective units (T, 3) of every round against another."""
    return np.array([turned.cosine(q, r) for r, q in enumerate(others)])


def _radians(cosines: Floats, level: float) -> tuple[Floats, Floats]:
    c, se, units = cosines.T
    ci = t_bounds(c, se, np.where(np.isfinite(units), units, 2.0), level)
    return np.arccos(np.clip(c, -1.0, 1.0)), np.arccos(np.clip(ci, -1.0, 1.0))[:, ::-1]


def _stopped(
    gains: list[PolicyGain], angles: Floats, bound: float, level: float, names: tuple[str, ...]
) -> tuple[int | None, str]:
    """First round with a test beyond its share of 1 - level, and what it says."""
    for i, g in enumerate(gains):
        share = (1 - level) / ((i + 1) * (i + 2) * (len(g.gain) + 1))
        harmed = np.flatnonzero(g.interval(1 - 2 * share)[:, 1] < 0)
        if harmed.size:
            return i + 1, f"the gain of {visible(names[harmed[0]])} is below 0"
        if i and _radians(angles[i : i + 1], 1 - 2 * share)[1][0, 0] > bound:
            return i + 1, f"the angle to the first round is above {bound:.3g}"
    return None, ""


@dataclass(frozen=True)
class Round:
    """A dump with its judge (what gains are of), the fit of u_C (1, d) and those of its halves (2, d)."""

    dump: Dump
    judge: Any
    fit: DirectionFit
    halves: DirectionFit
    call: Call

    @property
    def population(self) -> Population:
        return self.call.population

    def moved(self, gradient: Floats) -> Floats:
        """Influence (G,) of each prompt on a quantity with this gradient (d,) in u_C, through its labels."""
        return np.asarray(label_errors(self.call, None)[0].moved(gradient[None])[:, 0])


def checked(dump: Dump, judge: Any, fits: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
    """A tuple (pairs, prob) of arrays, or the judge's scores of every row as `Scores`; nothing is read."""
    if isinstance(judge, tuple):
        if len(judge) != 2:
            raise ValueError(f"judge is a tuple of {len(judge)}; wanted (pairs (P, 2), prob (P,))")
        pairs, prob = pairs_of(*judge, dump.prompt_ids)
        prob = prob[:, 0] if prob.shape[1] == 1 else prob
        if pairs.ndim != 2 or prob.shape != pairs.shape[:1]:
            raise ValueError(f"judge: pairs {pairs.shape} and prob {prob.shape}; wanted (P, 2) and (P,)")
        return pairs, prob
    label = prepare(dump, Scores(judge) if isinstance(judge, np.ndarray) else judge, **options)
    if label.columns is None or label.n_scores != 1:
        raise ValueError("judge: wanted one column, Scores or array of scores, or a tuple (pairs, prob)")
    p, method = label.population, dict(fits or {}).get("method", "least_squares")
    if method not in ("least_squares", "ridge"):
        raise ValueError(f"fits: method is {method!r}, wanted 'least_squares' or 'ridge'")
    beyond = [int((p.sizes - 1)[p.folds(2) == h].sum()) for h in (0, 1)]
    if method == "least_squares" and min(beyond) <= 2 * dump.dim:
        raise ValueError(
            f"{dump.name} has {min(beyond)} rows beyond one a prompt in a half of its prompts and d = {dump.dim}; "
            "least squares wants more than 2 d: pass fits={'method': 'ridge', 'alpha': a}, one penalty for all rounds"
        )
    return Scores(label.columns[:, 0], names=label.names)


def fitted(dump: Dump, judge: Any, folds: int, fits: Mapping[str, Any] | None, options: dict[str, Any]) -> Round:
    """Fit a judge that is `checked` on all prompts and on the halves that a hash of ids makes."""
    p = prepare(dump, **options).population
    half = np.full(dump.n_rows, -1)
    half[p.rows] = p.on_rows(p.folds(2))
    how = {**dict(fits or {}), "folds": folds, **options}
    if isinstance(judge, tuple):
        (pairs, label), at = judge, half[judge[0][:, 0]]
        fit = fit_preference_direction(dump, pairs, label, **how)
        halves = fit_preference_direction(dump, pairs, _apart(label, at), **how)
    else:
        how = {"method": "least_squares", "pooled": False, **how}
        label = np.asarray(judge.array)[:, 0]
        fit = fit_value_direction(dump, label, **how)
        halves = fit_value_direction(dump, _apart(label, half), **how)
    call = prepare(dump, fit, **options)
    if (status := label_status(call)[0]) != "ok":
        raise ValueError(f"fits: {status}")
    return Round(dump, fit if isinstance(judge, tuple) else judge, fit, halves, call)


def _apart(label: Floats, half: NDArray[np.int64]) -> Floats:
    """Labels of either half alone, (n, 2)."""
    return np.stack([np.where(half == h, label, np.nan) for h in (0, 1)], axis=1)


class Turned:
    """Products of all fits under the first round's rows: full fits, halves and folds are rows of one table."""

    def __init__(self, rounds: list[Round], options: dict[str, Any]) -> None:
        self.rounds = rounds
        each = [np.concatenate([r.fit.vectors, r.halves.vectors, r.fit.fold_vectors[:, 0]]) for r in rounds]
        self.size, table = len(each[0]), np.concatenate(each)
        plain = {name: given for name, given in options.items() if name != "clusters"}  # it has no errors
        self.images = covariance_projection(rounds[0].dump, table, **plain)
        self.gram = (table @ self.images.T + self.images @ table.T) / 2
        self.rows = scored(rounds[0].dump, table[:: self.size], None, **options)

    def at(self, r: int, q: int) -> Floats:
        """Products of the rows of rounds r and q."""
        n = self.size
        return np.asarray(self.gram[r * n : (r + 1) * n, q * n : (q + 1) * n])

    def cosine(self, r: int, q: int) -> tuple[float, float, float]:
        """(cosine of u_C between rounds r and q, its error, effective units)."""
        if r == q:
            return 1.0, 0.0, float("inf")
        across, own = self.at(r, q), [self.at(r, r)[1, 2], self.at(q, q)[1, 2]]
        if min(own) <= 0:  # the halves do not agree on any direction
            return float("nan"), float("nan"), float("nan")
        scale = np.sqrt(own[0] * own[1])
        c = float((across[1, 2] + across[2, 1]) / 2 / scale)
        first, second = (self.images[i * self.size] for i in (r, q))
        rows, t = self.rows.weights(), self.rows.scores
        a, b = rows.centre(t[:, r]), rows.centre(t[:, q])
        moved = correlation_influence(rows, a, b)[0]
        spread = rows.total(rows.row * rows.p.on_rows(rows.prompt) * (a * a / own[0] + b * b / own[1]))
        labels = (
            (self.rounds[r], second / scale - c * first / own[0]), (self.rounds[q], first / scale - c * second / own[1])
        )  # fmt: skip
        psi, mass, below = _by_label(
            (moved, spread, rows.p), *((at.moved(gradient), None, at.population) for at, gradient in labels)
        )
        error, units = ratio_error(psi, below, mass)
        return c, float(np.hypot(error, self._second_order(r, q, own))), units

    def _second_order(self, r: int, q: int, own: list[float]) -> float:
        """Error of -|e_r - e_q|^2/2 for noise e of unit fits: sqrt(tr (M Sigma)^2), M from the fold fits."""
        cross, folds = self.at(r, q)[3:, 3:], slice(3, None)
        a, b = np.sqrt(own)
        left, right = self.at(r, r)[folds, folds] / a**2, self.at(q, q)[folds, folds] / b**2
        return float(curvature_error(left + right - (cross + cross.T) / (a * b)) / np.sqrt(2))


def _by_label(*parts: tuple[Floats, Floats | None, Population]) -> tuple[Floats, Floats, Floats]:
    """Influences and spreads (G,) of several dumps added up by prompt id or cluster label, and mean weights, (C,)."""
    found: dict[Any, Floats] = {}
    for influence, spread, p in parts:
        labels = p.ids if p.cluster_ids is None else p.cluster_ids
        spread = np.zeros(len(influence)) if spread is None else spread
        own = np.stack([influence, p.prompt_weight() / len(parts), spread], axis=1)
        for label, x in zip(labels.tolist(), own, strict=True):
            found[label] = found.get(label, np.zeros(3)) + x
    psi, mass, below = np.array(list(found.values())).T
    return psi, mass, below
