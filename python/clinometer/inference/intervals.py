"""Two intervals of a gain: given the judge's direction, and including the labels it was fitted to (theory 10.3)."""

from __future__ import annotations

from itertools import groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.options import listed, used
from clinometer.common.resampling import bootstrap_counts, bucketed, t_bounds, unit_covariance, unit_errors, worth
from clinometer.common.threads import applied, product
from clinometer.engine.checks import DEFAULT_KL, check_strength, checked_kl, need_scores
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.passes import adjusted, in_range, kept_scores, strength, true_betas
from clinometer.engine.population import Population

from .gains import Cell, cells
from .label_error import LabelError, label_errors, label_status
from .policy import PolicyGains, policy_gains
from .result import GainIntervals, check_level
from .tails import opened

__all__ = ["gain_intervals"]

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
            self.estimate_labels[at] = opened(t_bounds(gain, se, count, self.level), gain, self.policy.skewed)

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
            self.cov, self.cov_labels,
        )  # fmt: skip


def _ess_quantiles(cell: Cell, p: Population) -> Floats:
    """Quantiles over prompts that count of 1/(1 + chi^2) = 1 / sum p^2/w; for "reweight" 1/(n sum p^2) (theory 2.2)."""
    w, tilted = cell.weights.row, cell.weights.tilted(cell.log_ratio)
    base = 1 / p.on_rows(p.sizes) if p.base == "reweight" else np.where(w > 0, w, 1.0)
    left = 1 / p.sums(tilted * tilted / base)
    return np.asarray(np.quantile(left[p.prompt_weight() > 0], QUANTILES))
