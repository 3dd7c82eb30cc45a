"""What `gain_intervals` returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import t_bounds
from clinometer.common.results import Axes, Result

from .tails import opened

__all__ = ["GainIntervals", "check_level"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class GainIntervals(Result):
    """Gains with both errors; axes direction, beta, value, and lower and upper bound last.

    Attributes
    ----------
    gain, kl : exact on the rows; gain (K, B, J), kl (K, B)
    se, interval : of the gain with the direction as given
    se_labels, interval_labels : with the labels it was fitted to as well; NaN where `labels_known` (K,) is False
    status : (K,) "ok", or why there is no interval with labels
    bootstrap, bootstrap_labels : percentile intervals of the same two, (K, B, J, 2); NaN without replicates
    win_rate, win_rate_se : (K, B, J) chance that a response of the policy beats one of the base
    estimate, estimate_se, estimate_interval, estimate_interval_labels : gain of the policy that the rows were drawn
        from, at the KL (or beta) asked for, as in a report (`clinometer.inference.policy`)
    estimate_kind : (K, B) "jackknife", "first order" (fewer than 3 responses a prompt), "exact" (base "logprob": the
        rows are the policy), or "none" past what the rows can say
    skewed : (J,) not 0 where the value's extremes are too rare for both bounds of the estimate: one of them is infinite
        (`PolicyGains.skewed`)
    ess_quantiles : (K, B, 3) 5 %, 25 % and 50 % quantile over prompts of the share of rows left, 1/(1 + chi^2)
    n_units : prompts, or clusters; units (K, B, J) their effective number, less 1 the
        degrees of freedom; units_labels the same with labels, no more than prompts or clusters that have any

    matched : whether errors are at matched KL (kl= was given)
    """

    axes: ClassVar[Axes] = {
        "direction beta value": "gain se se_labels win_rate win_rate_se estimate estimate_se units units_labels",
        "direction beta value bound": "interval interval_labels bootstrap bootstrap_labels estimate_interval "
        "estimate_interval_labels",
        "direction beta": "betas kl estimate_kind",
        "direction beta quantile": "ess_quantiles",
        "direction": "labels_known fit_status status",
        "value": "skewed",
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
        estimate = opened(estimate, self.estimate, self.skewed, self._null_se, level)
        return replace(
            self, level=float(level), interval=interval, interval_labels=with_labels, estimate_interval=estimate,
            estimate_interval_labels=none, bootstrap=none, bootstrap_labels=none,
        )  # fmt: skip


def check_level(level: Any) -> None:
    """Coverage of an interval: a number between 0 and 1."""
    if isinstance(level, bool) or not isinstance(level, (int, float, np.number)) or not 0 < level < 1:
        raise ValueError(f"level is {level!r}, wanted a number between 0 and 1")
