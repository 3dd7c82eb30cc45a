"""How well fits do on the prompts that they did not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import t_bounds
from clinometer.common.results import Axes, Result

Floats = NDArray[np.float64]

__all__ = ["EncodingQuality"]


@dataclass(frozen=True, repr=False, eq=False)
class EncodingQuality(Result):
    """Out-of-fold quality of J fits (theory 1.4).

    Attributes
    ----------
    value : (J,) R^2 = 1 - SSE/SST of the fold fits on the prompts they did not see; negative is legitimate
    ci : (J, 2) 95 % interval of what `value` is on average over dumps of this size, fits at this penalty: prompts,
        rows and labels vary, the penalty does not (of binary methods the directions do not either): one that was
        chosen by cross-validation on 10 prompts varies enough to be missed. By Student's t on the delete-one
        influence of each prompt or cluster, through the fit too: its slope, and the spread of its curvature; with no
        more degrees of freedom than units that share out the label's variance
    r, auc : (J,) correlation; chance that of two rows of a prompt with different labels, where there are two, the
        higher label's scores higher, ties half; NaN for other labels, or where no prompt has both. A `pooled_quality`
        takes pairs of rows of a fold
    rho2_debiased : (J,) share of the label's variance that is linear in phi at all, free of the noise of the fit:
        covariance of label and out-of-fold least squares over the label's variance. NaN unless N - G > 2 d in
        the rows of every fit
    rho2_ci : (J, 2) its 95 % interval, of the true share, by the influence of each prompt or cluster
    se, rho2_se : (J,) their errors; units, rho2_units (J,) the effective number of prompts or clusters, less 1 the
        degrees of freedom (`common.resampling.worth`)
    """

    axes: ClassVar[Axes] = {
        "direction": "value r auc rho2_debiased se rho2_se units rho2_units",
        "direction bound": "ci rho2_ci",
    }

    value: Floats
    ci: Floats
    r: Floats
    auc: Floats
    rho2_debiased: Floats
    rho2_ci: Floats
    se: Floats
    rho2_se: Floats
    units: Floats
    rho2_units: Floats

    def interval(self, level: float = 0.95) -> Floats:
        """`ci` at another level, (J, 2)."""
        return t_bounds(self.value, self.se, self.units, level)

    def rho2_interval(self, level: float = 0.95) -> Floats:
        """`rho2_ci` at another level, (J, 2)."""
        return t_bounds(self.rho2_debiased, self.rho2_se, self.rho2_units, level)
