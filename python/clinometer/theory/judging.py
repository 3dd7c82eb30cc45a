"""What judges can reach: first-order ceilings (theory 4.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.engine import passes

from .arrays import Floats
from .rows import Scored, scored


@dataclass(frozen=True, repr=False, eq=False)
class JudgeCeiling(Result):
    """First-order gains of a promptable set against their Cauchy-Schwarz bound; axes are direction, value.

    `gain` = Cov(s, g)/beta with `gain_se`, `bound` = sd_s sd_g / beta and `correlation` (K, J); `best` and
    `promptability` (J,) the judge of largest correlation and that correlation, `ceiling` (J,) = sup of the bounds.
    `attained` (J,): the judge of largest correlation is also the one of largest sd, and its correlation is 1.
    `per_kl` (K, J) = sd_s r, the gain per sqrt(2 KL), which no scaling of a judge changes.
    """

    axes: ClassVar[Axes] = {
        "direction value": "gain gain_se bound correlation per_kl",
        "value": "best promptability ceiling attained",
    }

    gain: Floats
    gain_se: Floats
    bound: Floats
    correlation: Floats
    per_kl: Floats
    best: NDArray[np.int64]
    promptability: Floats
    ceiling: Floats
    attained: NDArray[np.bool_]
    beta: float
    directions: tuple[str, ...]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_dropped: int


@listed("within")
def judge_ceiling(dump: Any, judges: Any, values: Any, *, beta: float = 1.0, **options: Any) -> JudgeCeiling:
    """The most any judge of a set can gain to first order, and how near each comes.

    sup_C Cov(s, g_C)/beta <= sd(s) sup_C sd(g_C)/beta, standard deviations inside prompts (theory 4.5).
    A set closed under scaling has no finite bound: compare `per_kl` there. Equality needs one judge that is perfectly
    correlated inside prompts and also has the largest sd; a perfect correlation alone is not enough.

    Parameters
    ----------
    dump, judges, values, **options : as in `clinometer.cross_covariance`
    beta : strength of the tilt, > 0

    Returns
    -------
    JudgeCeiling, (K, J)
        Cost: two passes over the dump. For gains beyond the first order see `gain_kl_frontier`.

    Errors: ValueError where beta is not above 0 or a column is not in the dump.

    >>> import numpy as np
    >>> t = np.array([[0.0, 0.0], [1.0, 4.0]])
    >>> found = judge_ceiling(t, [[1.0, 0.0], [0.0, 1.0]], t[:, 0], prompt_ids=[0, 0])
    >>> found.gain.ravel().tolist(), found.ceiling.round(9).tolist(), found.attained.tolist()
    ([0.5, 2.0], [2.0], [True])
    """
    if not (np.isfinite(beta) and beta > 0.0):
        raise ValueError(f"beta is {beta!r}; wanted a finite number > 0")
    if not options.get("within", True):
        raise ValueError("within is False; wanted True: a policy is renormalised inside every prompt")
    s = scored(dump, judges, values, **options)
    options = {**options, "ddof": 0 if s.population.base == "logprob" else 1}
    c = passes.cross_covariance(dump, judges, values, **options)
    spread_t, spread_s = _spreads(s, ddof=options["ddof"])
    bound = spread_t * spread_s[None, :] / beta
    r = c.correlation
    known = np.where(np.isnan(r), -np.inf, r)
    tied = known >= known.max(axis=0) - 1e-12  # of equally correlated judges the one of largest sd gains most
    best = np.where(np.isnan(r).all(axis=0), -1, np.argmax(np.where(tied, spread_t, -np.inf), axis=0))
    columns = np.arange(r.shape[1])
    top = np.where(best < 0, np.nan, r[best, columns])
    widest = spread_t[best, columns] >= spread_t.max(axis=0) * (1.0 - 1e-9)
    return JudgeCeiling(
        c.value / beta, c.se / beta, bound, r, r * spread_s, best, top, bound.max(axis=0),
        widest & (top >= 1.0 - 1e-9), float(beta), c.directions, c.values, c.n_rows, c.n_prompts, c.n_dropped,
    )  # fmt: skip


def _spreads(s: Scored, ddof: int) -> tuple[Floats, Floats]:
    """Within sds of scores (K, J) and values (J,), on the rows that carry each value."""
    K, J = s.scores.shape[1], s.values.shape[1]
    scores, values = np.empty((K, J)), np.empty(J)
    for j in range(J):
        w = s.weights(j)
        both = np.concatenate([s.value(j)[:, None], s.scores], axis=1)
        squares = w.total(w.row[:, None] * w.centre(both) ** 2)
        sd = np.sqrt(w.unbiased(squares) if ddof else w.mean(squares))
        values[j], scores[:, j] = sd[0], sd[1:]
    return scores, values
