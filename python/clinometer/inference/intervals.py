"""Two intervals of a gain, given the judge's direction and including the labels it was fitted to (theory 10.3), and
what the theory's results print of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.options import listed, used
from clinometer.common.resampling import bootstrap_counts, bucketed, t_bounds, unit_covariance, unit_errors, worth
from clinometer.common.results import Axes, Result
from clinometer.common.threads import applied, product
from clinometer.engine.checks import DEFAULT_KL, check_strength, checked_kl, need_scores
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.passes import adjusted, in_range, kept_scores, strength, true_betas
from clinometer.engine.population import Population

from .gains import Cell, cells
from .label_error import LabelError, label_errors, label_status
from .policy import PolicyGains, policy_gains
from .tails import opened

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
QUANTILES = (0.05, 0.25, 0.5)
WEIGHTS = 1 << 22  # entries of the weights of one pass


@listed("within")
def gain_intervals(
    dump: Any, directions: Any, betas: Any = None, values: Any = None, *, kl: Any = None, adjust: Any = None,
    level: float = 0.95, replicates: int = 0, random_state: int = 0, **options: Any,
) -> GainIntervals:  # fmt: skip
    """Gains with an interval given the direction and one that includes its labels (theory 2.6, 2.9 and 10.3).

    Given the direction, prompt x adds c_x - gain. A direction fitted on this dump moves with its labels by
    H^-1 psi_x, psi_x the gradient of prompt x's part of the fit's loss and H its curvature, so it adds
    g'H^-1 psi_x, g = d gain / d u: one solve and one pass. Residuals in psi_x are out of fold, as a jackknife's
    would be. With kl= the gain is at matched KL: beta is solved on the rows, and the error is that of the gain
    less d gain/d KL times the KL of the rows, so the scale of a direction is immaterial.

    What the intervals hold is the mean of the estimate over repeated dumps of this size: given the direction, over
    other prompts and rows; with labels, over fits to other labels as well. Bounds are by Student's t, with one
    degree of freedom less than the prompts or clusters are worth: (sum h)^2 / sum h^2 of their weights h, and fewer
    where the kurtosis of their influences is above 3 (`common.resampling.worth`). The gain of the rows is low for
    prompts of few responses: `estimate` is of the policy behind them, at the KL or the beta asked for, which is what
    a report prints; NaN past what the rows can say. Of a skewed value its bounds are one-sided, as in a report.

    Parameters
    ----------
    directions, betas, values, kl, adjust : as in `tilt`; only a `DirectionFit` of this very dump carries
        labels, and of the methods ridge, least_squares and pairs
    level : coverage of the intervals
    replicates : bootstrap replicates over prompts or clusters, from kept scores; 0 for none
    random_state : seed of the bootstrap

    Returns
    -------
    GainIntervals, (K, B, J) of direction, beta, value; gains in units of the value.

    Cost: one pass for scores; one covariance pass for each fit, and two passes and a d x d solve for each direction.

    Errors: ValueError for both betas and kl, no values, a level outside (0, 1), or replicates below 0.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=80, n_responses=8, dim=4, random_state=1)
    >>> fit = cm.fit_value_direction(world, "judge/c0", pooled=False)
    >>> found = cm.inference.gain_intervals(world, fit, values="s", kl=[0.1])
    >>> bool(found.se_labels[0, 0, 0] > 0), found.interval.shape
    (True, (1, 1, 1, 2))
    """
    check_level(level)
    if isinstance(replicates, bool) or not isinstance(replicates, (int, np.integer)) or replicates < 0:
        raise ValueError(f"replicates is {replicates!r}, wanted a whole number >= 0")
    why = "is of gains inside prompts"
    call = prepare(dump, directions, values, **used("gain_intervals", options, within=why))
    need_scores(call)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    check_strength(betas, kl, call.n_scores)
    kept, exponent = in_range(adjusted(call, kept_scores(call), adjust))
    table = strength(call, kept, exponent, betas, kl)
    levels = checked_kl(DEFAULT_KL if kl is None else kl) if betas is None else None
    policy = policy_gains(call, kept, levels, table)
    errors, status = label_errors(call, adjust), label_status(call)
    out = _Filling(call, table.shape, exponent, float(level), int(replicates), int(random_state or 0), policy)
    at_once = max(1, WEIGHTS // max(call.population.n_rows * call.n_values, 1))
    for k, of_direction in groupby(cells(call, kept, table), lambda cell: cell.k):
        while some := list(islice(of_direction, at_once)):
            out.fill(some, np.ascontiguousarray(kept[:, k]), betas is None, errors.get(k))
    return out.result(true_betas(call, table, exponent, betas), betas is None, errors, status)


class _Filling:
    """The arrays of the result while cells come in."""

    def __init__(
        self, call: Call, cells: tuple[int, ...], exponent: Ints, level: float, replicates: int, seed: int,
        policy: PolicyGains,
    ) -> None:  # fmt: skip
        self.call, self.exponent, self.level, self.replicates, self.seed = call, exponent, level, replicates, seed
        shape = (*cells, call.n_values)
        self.gain, self.kl = np.full(shape, np.nan), np.full(cells, np.nan)
        self.cov, self.cov_labels = (np.full((*shape, call.n_values), np.nan) for _ in range(2))
        self.boot, self.boot_labels = np.full((*shape, 2), np.nan), np.full((*shape, 2), np.nan)
        self.units, self.units_labels = np.full(shape, np.nan), np.full(shape, np.nan)
        self.policy, self.estimate_labels = policy, np.full((*shape, 2), np.nan)
        self.ess = np.full((*cells, 3), np.nan)

    def fill(self, cells: list[Cell], t: Floats, matched: bool, error: LabelError | None) -> None:
        """Cells of one direction."""
        given = [self._given(cell, t, matched) for cell in cells]
        if error is None:
            return
        judged = float((self.call.population.unit_sums(error.present[:, None].astype(float)) > 0).sum())
        moved = error.of_prompts(cells, t, [slope for _, slope in given])
        for cell, (psi, _), more in zip(cells, given, moved, strict=True):
            # t is over 2^exponent, and so is the direction that the gradient is taken in
            both, at = psi + np.ldexp(more, -int(self.exponent[cell.k])), (cell.k, cell.b)
            held = self.call.population.unit_sums(cell.share)
            found = self._errors(both, held, self.gain[at], judged)
            self.cov_labels[at], self.boot_labels[at], self.units_labels[at] = found
            own = self.policy._influence[:, at[0], at[1]] + bucketed(self.call.population.unit_sums(both - psi))
            se = np.where(self.policy.unseen != "", np.nan, unit_errors(own, self.policy._held))
            count = worth(own, self.policy._held, judged)
            gain = self.policy.gain[at]
            e = self.policy
            self.estimate_labels[at] = opened(
                t_bounds(gain, se, count, self.level), gain, e.skewed[at], e.null_se[at], self.level, e.lopsided,
                e.overshoot[at],
            )  # fmt: skip

    def _given(self, cell: Cell, t: Floats, matched: bool) -> tuple[Floats, Floats]:
        """Fill in what holds given the direction; influences (G, J) and slopes of gains in KL (J,)."""
        p, at = self.call.population, (cell.k, cell.b)
        gain = cell.total()
        omega = p.prompt_weight()
        self.gain[at], self.kl[at] = gain, applied(cell.kl, omega)
        self.ess[at] = _ess_quantiles(cell, p)
        psi = cell.share * np.nan_to_num(cell.gain - gain)
        slope = cell.slope_in_kl(t) if matched else np.zeros(len(gain))
        psi = psi - np.outer(omega * (cell.kl - self.kl[at]), slope)
        held = p.unit_sums(cell.share)
        self.cov[at], self.boot[at], self.units[at] = self._errors(psi, held, gain, np.inf)
        return psi, slope

    def _errors(self, psi: Floats, held: Floats, gain: Floats, most: float) -> tuple[Floats, Floats, Floats]:
        """Clustered covariance (J, J) of influences (G, J), the percentile interval (J, 2), effective units."""
        units = self.call.population.unit_sums(psi)
        cov = unit_covariance(units, held)
        count = worth(units, held, most)
        if not self.replicates:
            return cov, np.full((len(gain), 2), np.nan), count
        return cov, self._percentiles(units, held, gain), count

    def _percentiles(self, units: Floats, held: Floats, gain: Floats) -> Floats:
        """Gains of resampled units: influences are linear, divided by the weight that was drawn."""
        units, held = bucketed(units), bucketed(held)
        draws = np.concatenate([
            product(counts, units) / np.where((mass := product(counts, held)) > 0, mass, np.nan)
            for counts in bootstrap_counts(len(units), self.replicates, self.seed)
        ])  # fmt: skip
        tail = (1 - self.level) / 2
        return np.asarray(gain[:, None] + np.nanquantile(draws, [tail, 1 - tail], axis=0).T)

    def result(self, betas: Floats, matched: bool, errors: dict[int, LabelError], status: list[str]) -> GainIntervals:
        p, e = self.call.population, self.policy
        se, se_labels = (np.sqrt(np.einsum("kbjj->kbj", cov)) for cov in (self.cov, self.cov_labels))
        return GainIntervals(
            betas, self.gain, self.kl, se, se_labels,
            t_bounds(self.gain, se, self.units, self.level),
            t_bounds(self.gain, se_labels, self.units_labels, self.level), self.boot, self.boot_labels,
            np.array([k in errors for k in range(len(betas))]), self.call.names, self.call.value_names,
            self.call.fit_status, p.n_prompts if p.cluster is None else len(np.unique(p.cluster)), self.replicates,
            self.level, matched, tuple(status), self.units, self.units_labels, e.win_rate, e.win_rate_se, e.gain,
            e.gain_se, e.bounds(self.level), self.estimate_labels, e.kind, self.ess, e.skewed, e.freedom + 1, e.null_se,
            e.lopsided, e.overshoot, self.cov, self.cov_labels,
        )  # fmt: skip


def _ess_quantiles(cell: Cell, p: Population) -> Floats:
    """Quantiles over prompts that count of 1/(1 + chi^2) = 1 / sum p^2/w; for "reweight" 1/(n sum p^2) (theory 2.2)."""
    w, tilted = cell.weights.row, cell.weights.tilted(cell.log_ratio)
    base = 1 / p.on_rows(p.sizes) if p.base == "reweight" else np.where(w > 0, w, 1.0)
    left = 1 / p.sums(tilted * tilted / base)
    return np.asarray(np.quantile(left[p.prompt_weight() > 0], QUANTILES))


@dataclass(frozen=True, repr=False, eq=False)
class GainIntervals(Result):
    """Gains with both errors; axes direction, beta, value, and lower and upper bound last.

    Attributes
    ----------
    gain, kl : exact on the rows; gain (K, B, J), kl (K, B)
    se, interval : of `gain`, with the direction as given; that of `estimate` is `estimate_interval`
    se_labels, interval_labels : with the labels it was fitted to as well; NaN where `labels_known` (K,) is False
    status : (K,) "ok", or why there is no interval with labels
    bootstrap, bootstrap_labels : percentile intervals of the same two, (K, B, J, 2); NaN without replicates
    win_rate, win_rate_se : (K, B, J) chance that a response of the policy beats one of the base
    estimate, estimate_se, estimate_interval, estimate_interval_labels : gain of the policy that the rows were drawn
        from, at the KL (or beta) asked for, as in a report (`clinometer.inference.policy`)
    estimate_kind : (K, B) "jackknife", "first order" (fewer than 3 responses a prompt), "exact" (base "logprob": the
        rows are the policy), or "none" past what the rows can say
    skewed : (K, B, J) not 0 where extremes are too rare for both bounds of the estimate: one of them is infinite
        (`PolicyGains.skewed`)
    ess_quantiles : (K, B, 3) 5 %, 25 % and 50 % quantile over prompts of the share of rows left, 1/(1 + chi^2)
    n_units : prompts, or clusters; units (K, B, J) their effective number, less 1 the
        degrees of freedom; units_labels the same with labels, no more than prompts or clusters that have any

    matched : whether errors are at matched KL (kl= was given)
    """

    axes: ClassVar[Axes] = {
        "direction beta value": "gain se se_labels win_rate win_rate_se estimate estimate_se units units_labels skewed",
        "direction beta value bound": "interval interval_labels bootstrap bootstrap_labels estimate_interval "
        "estimate_interval_labels",
        "direction beta": "betas kl estimate_kind",
        "direction beta quantile": "ess_quantiles",
        "direction": "labels_known fit_status status",
    }

    betas: Floats
    gain: Floats
    kl: Floats
    se: Floats
    se_labels: Floats
    interval: Floats
    interval_labels: Floats
    bootstrap: Floats
    bootstrap_labels: Floats
    labels_known: NDArray[np.bool_]
    directions: tuple[str, ...]
    values: tuple[str, ...]
    fit_status: tuple[str, ...]
    n_units: int
    replicates: int
    level: float
    matched: bool
    status: tuple[str, ...]
    units: Floats
    units_labels: Floats
    win_rate: Floats
    win_rate_se: Floats
    estimate: Floats
    estimate_se: Floats
    estimate_interval: Floats
    estimate_interval_labels: Floats
    estimate_kind: NDArray[np.str_]
    ess_quantiles: Floats
    skewed: NDArray[np.int64]
    _estimate_units: Floats
    _null_se: Floats
    _lopsided: NDArray[np.int64]
    _overshoot: Floats
    _cov: Floats
    _cov_labels: Floats

    def cov(self, k: int, b: int) -> Floats:
        """Joint covariance (J, J) over values of the gains of direction k at beta b, the direction as given."""
        return np.asarray(self._cov[k, b])

    def cov_labels(self, k: int, b: int) -> Floats:
        """The same with the labels of the direction; NaN where they are not known."""
        return np.asarray(self._cov_labels[k, b])

    def at(self, level: float) -> GainIntervals:
        """The same with intervals of another level; those whose influences are not kept are NaN."""
        check_level(level)
        none = np.full_like(self.bootstrap, np.nan)
        interval = t_bounds(self.gain, self.se, self.units, level)
        with_labels = t_bounds(self.gain, self.se_labels, self.units_labels, level)
        estimate = t_bounds(self.estimate, self.estimate_se, self._estimate_units, level)
        estimate = opened(
            estimate, self.estimate, self.skewed, self._null_se, level, self._lopsided, self._overshoot[..., None]
        )
        return replace(
            self, level=float(level), interval=interval, interval_labels=with_labels, estimate_interval=estimate,
            estimate_interval_labels=none, bootstrap=none, bootstrap_labels=none,
        )  # fmt: skip


def check_level(level: Any) -> None:
    """Coverage of an interval: a number between 0 and 1."""
    if isinstance(level, bool) or not isinstance(level, (int, float, np.number)) or not 0 < level < 1:
        raise ValueError(f"level is {level!r}, wanted a number between 0 and 1")


@dataclass(frozen=True)
class PolicyGain:
    """Gains (J,) of the policy at a KL, with errors that hold the labels of a fitted judge, and degrees of freedom."""

    gain: Floats
    se: Floats
    units: Floats
    skewed: NDArray[np.int64]
    null_se: Floats
    lopsided: NDArray[np.int64]
    overshoot: float

    def interval(self, level: float) -> Floats:
        """(J, 2)."""
        plain = t_bounds(self.gain, self.se, self.units, level)
        return opened(plain, self.gain, self.skewed, self.null_se, level, self.lopsided, self.overshoot)


def check_kl(kl: Any) -> float:
    """A finite KL > 0."""
    if isinstance(kl, bool) or not isinstance(kl, (int, float, np.number)) or not 0 < kl < np.inf:
        raise ValueError(f"kl is {kl!r}, wanted a finite number of nats > 0")
    return float(kl)


def policy_gain(dump: Any, judge: Any, values: Any, kl: float, options: dict[str, Any]) -> PolicyGain:
    """Of `gain_intervals`: the policy's estimate where rows are draws, and the variance that a fit's labels add."""
    found = gain_intervals(dump, judge, values=values, kl=[kl], **options)
    if len(found.directions) != 1:
        raise ValueError(f"judge holds {len(found.directions)} judges; wanted one")
    at = (0, 0)
    drawn = ~np.isnan(found.estimate[at])
    gain = np.where(drawn, found.estimate[at], found.gain[at])
    se, units = np.where(drawn, found.estimate_se[at], found.se[at]), found.units[at]
    if found.labels_known[0]:
        more = np.maximum(found.se_labels[at] ** 2 - found.se[at] ** 2, 0.0)
        se, units = np.sqrt(se**2 + more), found.units_labels[at]
    return PolicyGain(
        gain, se, units, found.skewed[at], found._null_se[at], found._lopsided, float(found._overshoot[at])
    )
