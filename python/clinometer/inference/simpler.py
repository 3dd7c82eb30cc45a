"""Simpler measures of the same judges and values, as baselines for every gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.options import listed, used
from clinometer.common.results import Axes, Result
from clinometer.engine.checks import need_moderate_scores, need_scores
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.passes import absolute_scores, kept_scores, origin_table
from clinometer.fit import fit_value_direction

from .measures import cosines, differences_out_of_fold, mean_correlation, pooled_correlation, projection_shift

__all__ = ["Baselines", "baselines", "baselines_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Baselines(Result):
    """Simple measures of K judges against J values, each (K, J).

    Attributes
    ----------
    cosine : of the direction and the value's ridge direction; NaN for judges that are scores
    projection_difference : mean over prompts of how far the judge's favourite response lies along the value's
        mean-difference direction from the prompt's mean, in within-prompt sd of that projection
    correlation : mean over prompts of the correlation of score and value inside the prompt
    pooled_correlation : over all rows, which topic alone can make large
    n_prompts : (J,) prompts that have a correlation
    """

    axes: ClassVar[Axes] = {
        "direction value": "cosine projection_difference correlation pooled_correlation",
        "value": "n_prompts",
        "direction": "fit_status",
    }

    cosine: Floats
    projection_difference: Floats
    correlation: Floats
    pooled_correlation: Floats
    n_prompts: NDArray[np.int64]
    directions: tuple[str, ...]
    values: tuple[str, ...]
    fit_status: tuple[str, ...]


@listed("within")
def baselines(dump: Any, directions: Any, values: Any, *, folds: int = 5, **options: Any) -> Baselines:
    """Cosine, projection difference and mean correlation of judges and values, without any tilt.

    What one would look at without the theory: the cosine of two directions, the shift of the chosen responses
    along the value's direction (Persona Vectors, arXiv 2507.21509, with the judge's choice in place of training
    data), and how judge and value correlate. None has the units of a gain or knows the KL (theory 10.4).

    Parameters
    ----------
    directions, values : as in `tilt`
    folds : for the values' directions, which are ridge fits, and mean differences of the upper and the lower half
        of the values' deviations from their prompt's mean; applied out of fold

    Returns
    -------
    Baselines, each (K, J). Cost: two fits of the values and two passes.

    Errors: ValueError where a column is not in the dump or folds is below 2.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=100, n_responses=8, dim=4, random_state=1)
    >>> b = cm.inference.baselines(world, ["judge/c0"], "s")
    >>> bool(b.correlation[0, 0] > 0.3), bool(b.projection_difference[0, 0] > 0.3)
    (True, True)
    """
    options = used("baselines", options, within="looks inside prompts")
    call = prepare(dump, directions, values, **options)
    need_scores(call)
    need_moderate_scores(call)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    origins = origin_table(call)
    kept = kept_scores(call, origins)
    ridge = fit_value_direction(call.dump, call.values, folds=folds, pooled=False, **options).vectors
    return baselines_of(call, kept, origins, ridge, differences_out_of_fold(call, folds))


def baselines_of(call: Call, kept: Floats, origins: Floats, ridge: Floats | None, along: Floats) -> Baselines:
    """`baselines` of kept scores (N, K) relative to `origins`, and ridge directions (j, d) of the first j values.

    `along` (N, J) are the rows' scores along the values' mean differences, out of fold.
    """
    cosine = np.full((call.n_scores, call.n_values), np.nan)
    if ridge is not None:
        cosine[:, : len(ridge)] = cosines(call, ridge)
    shift = projection_shift(call, kept, along)
    within, counts = mean_correlation(call, kept)
    pooled = pooled_correlation(call, absolute_scores(call, kept, origins))
    return Baselines(cosine, shift, within, pooled, counts, call.names, call.value_names, call.fit_status)
