"""The series of gain and KL in 1/beta to fourth order, with errors, its radius and its sign flip (theory 2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.engine.checks import need_moderate_scores
from clinometer.engine.inputs import refuse_extreme, tops
from clinometer.engine.intake import numbers
from clinometer.engine.weights import Weights

from .arrays import Floats
from .rows import ratio, scored

SCAN = 100
EIGHTH = 1e35  # the largest score and value, and one over the smallest, whose eighth powers float64 holds


@dataclass(frozen=True, repr=False, eq=False)
class Cumulants(Result):
    """Joint cumulants of values with powers of a score; axes are direction, order, value.

    `gain` (K, 3, J) holds k2, k3, k4 with errors `gain_se`, `score` (K, 3) the score's own Var, kappa3, kappa4 with
    `score_se`: delta = lam k2 + lam^2/2 k3 + lam^3/6 k4 and KL = lam^2/2 Var + lam^3/3 kappa3 + lam^4/8 kappa4.
    `series_radius` (K, J) is where the series leaves the first order by a share `q`, `exact_radius` where the exact
    curve does, `sign_flip` where the gain returns to 0: all in 1/beta, inf where they never do.
    `overshoots` (K, J): k2 and k3 of opposite signs, both beyond two errors (theory 7.3).
    """

    axes: ClassVar[Axes] = {
        "direction order value": "gain gain_se",
        "direction order": "score score_se",
        "direction value": "series_radius exact_radius sign_flip overshoots",
        "value": "n_unlabelled",
        "direction": "fit_status",
    }

    gain: Floats
    gain_se: Floats
    score: Floats
    score_se: Floats
    series_radius: Floats
    exact_radius: Floats
    sign_flip: Floats
    overshoots: NDArray[np.bool_]
    q: float
    directions: tuple[str, ...]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_dropped: int
    n_unlabelled: NDArray[np.int64]
    fit_status: tuple[str, ...]

    @property
    def z(self) -> Floats:
        """k2 over its error (K, J): how sure the sign of the gain is at small tilts (theory 3.2)."""
        return ratio(self.gain[:, 0], self.gain_se[:, 0])

    @property
    def verdict(self) -> NDArray[np.str_]:
        """ "improves", "harms" or "undecided" (K, J): the sign of k2 if beyond 1.96 errors; at 0 k3 decides."""
        with np.errstate(invalid="ignore"):
            return np.where(self.z > 1.96, "improves", np.where(self.z < -1.96, "harms", "undecided"))

    def predict(self, betas: ArrayLike) -> Floats:
        """Gain to fourth order at each beta, [direction, beta, value]."""
        lam = 1.0 / np.atleast_1d(numbers("betas", betas))
        powers = np.stack([lam, lam**2 / 2.0, lam**3 / 6.0], axis=1)
        return np.asarray(np.einsum("bo,koj->kbj", powers, self.gain))

    def predict_kl(self, betas: ArrayLike) -> Floats:
        """KL to fourth order at each beta, [direction, beta]."""
        lam = 1.0 / np.atleast_1d(numbers("betas", betas))
        return np.asarray(self.score @ np.stack([lam**2 / 2.0, lam**3 / 3.0, lam**4 / 8.0]))


@listed("within")
def cumulants(dump: Any, directions: Any, values: Any, *, q: float = 0.1, **options: Any) -> Cumulants:
    """Cumulants k2, k3, k4 of every value with every score inside prompts, averaged over prompts.

    k2 = Cov(f, t), k3 = E[f~ t~^2], k4 = E[f~ t~^3] - 3 Cov(f, t) Var(t) (theory 2.4), on the rows
    (ddof 0) with errors clustered by prompt. The remainder after k4 is of order lam^4.

    Parameters
    ----------
    dump, directions, values, **options : as in `clinometer.tilt`
    q : share by which the exact or fourth-order gain may leave the first order inside the radius

    Returns
    -------
    Cumulants (K, 3, J)
        Cost: one pass over the dump, then some 180 exponentials a row, direction and value for the radius and flip.

    Errors: ValueError where q is outside (0, 1) or a column is not in the dump.

    >>> import numpy as np
    >>> t = np.array([[-1.0], [1.0]])
    >>> found = cumulants(t, [[1.0]], t[:, 0], prompt_ids=[0, 0])
    >>> found.gain[0, :, 0].tolist(), found.score[0].tolist()
    ([1.0, 0.0, -2.0], [1.0, 0.0, -2.0])
    """
    if not 0.0 < q < 1.0:
        raise ValueError(f"q is {q!r}; wanted a share in (0, 1)")
    s = scored(dump, directions, values, **options)
    need_moderate_scores(s.call, EIGHTH)
    refuse_extreme("values", s.call.value_names, tops(s.values), EIGHTH)
    K, J = s.scores.shape[1], s.values.shape[1]
    gain, gain_se = np.empty((K, 3, J)), np.empty((K, 3, J))
    score, score_se = np.empty((K, 3)), np.empty((K, 3))
    exact, flip = np.empty((K, J)), np.empty((K, J))
    for k in range(K):
        t = s.scores[:, k]
        score[k], score_se[k] = _orders(s.weights(), t, t)
        for j in range(J):
            w = s.weights(j)
            gain[k, :, j], gain_se[k, :, j] = _orders(w, t, s.value(j))
            exact[k, j], flip[k, j] = _radius_and_flip(w, t, s.value(j), float(gain[k, 0, j]), q)
    sure = (np.abs(gain) > 2.0 * gain_se)[:, :2].all(axis=1)
    return Cumulants(
        gain, gain_se, score, score_se, _series_radius(gain, q), exact, flip, sure & (gain[:, 0] * gain[:, 1] < 0.0),
        q, s.call.names, s.call.value_names, **s.counts(),
    )  # fmt: skip


def _orders(w: Weights, t: Floats, f: Floats) -> tuple[Floats, Floats]:
    f, t = w.centre(f), w.centre(t)
    power = [w.total(w.row * f * t**m) for m in (1, 2, 3)]
    variance = w.total(w.row * t * t)
    per_prompt = np.stack([power[0], power[1], power[2] - 3.0 * power[0] * variance], axis=1)
    return w.mean(per_prompt), w.se(per_prompt)


def _series_radius(gain: Floats, q: float) -> Floats:
    from clinometer.engine.passes import linear_radius

    return linear_radius(gain[:, 0], gain[:, 1], gain[:, 2], q)


def _radius_and_flip(w: Weights, t: Floats, f: Floats, k2: float, q: float) -> tuple[float, float]:
    """Smallest 1/beta with |gain / (lam k2) - 1| = q, and with gain = 0: a scan, then bisection."""
    f, t = w.centre(f), w.centre(t)
    sd = float(np.sqrt(w.mean(w.total(w.row * t * t))))
    if k2 == 0.0 or not sd > 0.0:
        return 0.0 if k2 == 0.0 else np.inf, np.inf

    def share(lam: float) -> float:
        return float(w.mean(w.gains(t, lam, f))) / (lam * k2)

    grid = np.geomspace(1e-3, 1e3, SCAN) / sd
    along = np.array([share(x) for x in grid])
    return (
        _first(lambda x: abs(share(x) - 1.0) >= q, np.abs(along - 1.0) >= q, grid),
        _first(lambda x: share(x) < 0.0, along < 0.0, grid),
    )


def _first(holds: Any, found: NDArray[np.bool_], grid: Floats) -> float:
    if not found.any():
        return float("inf")
    at = int(np.argmax(found))
    low, high = (float(grid[at - 1]) if at else 0.0), float(grid[at])
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
