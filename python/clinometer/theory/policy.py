"""The gain of one judge at one KL with the error that a result of the theory prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import t_bounds
from clinometer.inference.intervals import gain_intervals
from clinometer.inference.tails import opened

from .arrays import Floats


@dataclass(frozen=True)
class PolicyGain:
    """Gains (J,) of the policy at a KL, with errors that hold the labels of a fitted judge, and degrees of freedom."""

    gain: Floats
    se: Floats
    units: Floats
    skewed: NDArray[np.int64]

    def interval(self, level: float) -> Floats:
        """(J, 2)."""
        return opened(t_bounds(self.gain, self.se, self.units, level), self.gain, self.skewed)


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
    return PolicyGain(gain, se, units, found.skewed)
