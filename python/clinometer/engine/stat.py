"""Statistics for `scan` and `Fold`: what to compute, declared once, before any row is read.

A new statistic subclasses `Statistic` and gives its compiled state and how to wrap its finished arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common import memory
from clinometer.common.results import Axes, CrossCovarianceResult, Result, TiltResult
from clinometer.common.results import Moments as MomentsResult

from .checks import need_float32, need_moderate_scores, need_projection, need_squares

if TYPE_CHECKING:
    from .inputs import Call

__all__ = ["CovarianceProjection", "CrossCovariance", "Moments", "PairLoss", "Pairs", "Scores", "Statistic", "Tilt"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistic:
    """Base: `directions` and `values` wanted, as the passes take them, and the two steps around a pass."""

    directions: Any = None
    values: Any = None

    def state(self, call: Call, score_at: int, n_scores: int, value_at: int, n_values: int) -> Any:
        """An empty compiled state looking at its share of the stacked scores and values."""
        raise NotImplementedError

    def result(self, call: Call, state: Any, names: tuple[str, ...], values: tuple[str, ...]) -> Any:
        """Finished arrays in a result."""
        raise NotImplementedError


def _checked_ddof(ddof: Any, call: Call) -> int:
    from .checks import check_ddof

    return check_ddof(ddof, call.population.base)


@dataclass(frozen=True)
class Moments(Statistic):
    """Mean (d,) and covariance (d, d), as `clinometer.moments` (theory 0.3), in the unit of phi and its square.

    `ddof` is 0 or 1, else a ValueError; `covariance` False gives variances alone.

    Cost: one pass, N d^2 multiply-adds with the covariance, and O(d^2) memory.

    >>> import numpy as np, clinometer as cm
    >>> one, = cm.scan(cm.open_dump(np.array([[0.0], [2.0]]), prompt_ids=[0, 0]), cm.stat.Moments(ddof=1))
    >>> one.covariance.tolist()
    [[2.0]]
    """

    ddof: int = 0
    covariance: bool = True

    def state(self, call: Call, score_at: int, n_scores: int, value_at: int, n_values: int) -> Any:
        ddof, d = _checked_ddof(self.ddof, call), call.dump.dim + call.n_values
        if self.covariance and d > 4096:  # half a matrix where rows go and in three copies on the way, a whole one out
            memory.need_memory(24 * d * d, f"the covariance of {d:,} columns", "covariance=False gives the variances")
        return _core.Moments(call.dump.dim, call.n_values, 1, ddof, self.covariance)

    def result(self, call: Call, state: Any, names: tuple[str, ...], values: tuple[str, ...]) -> MomentsResult:
        s, d = state.finish(), call.dump.dim
        scatter = s["scatter"][0]
        with np.errstate(invalid="ignore"):
            scatter /= s["mass"][0]  # in place: it is ours, and may be d x d
        p = call.population
        full = np.ascontiguousarray(scatter[:d, :d]) if self.covariance else None
        variances = np.diagonal(scatter)[:d].copy() if self.covariance else scatter[:d, 0]
        need_squares(call.dump, variances)
        return MomentsResult(s["mean"][:d], full, variances, p.n_rows, p.n_prompts, p.n_dropped, call.within)


@dataclass(frozen=True)
class CovarianceProjection(Statistic):
    """Rows Sigma u_k (K, d), as `clinometer.covariance_projection` (theory 0.3); in the squared unit of phi.

    `directions` (K, d) array, Directions or fits: a ValueError without, or for score columns. `ddof` is 0 or 1.
    Cost: one pass, 2 N K d multiply-adds.

    >>> import numpy as np, clinometer as cm
    >>> one, = cm.scan(cm.open_dump(np.array([[0.0], [2.0]]), prompt_ids=[0, 0]), cm.stat.CovarianceProjection([[1.0]]))
    >>> one.tolist()
    [[1.0]]
    """

    ddof: int = 0

    def state(self, call: Call, score_at: int, n_scores: int, value_at: int, n_values: int) -> Any:
        if call.columns is not None or n_scores == 0:
            raise ValueError("stat.CovarianceProjection needs directions: Sigma has nothing to multiply")
        ddof = _checked_ddof(self.ddof, call)
        return _core.CovarianceProjection(call.dump.dim, score_at, n_scores, ddof)

    def result(self, call: Call, state: Any, names: tuple[str, ...], values: tuple[str, ...]) -> Floats:
        return need_projection(call, np.asarray(state.finish()["projection"]))


@dataclass(frozen=True)
class CrossCovariance(Statistic):
    """Covariance (K, J) of scores and values, as `clinometer.cross_covariance` (theory 2.3), in units of both.

    A ValueError where `ddof` is neither 0 nor 1 or a column is not there. Cost: one pass and O(K J^2) memory.

    >>> import numpy as np, clinometer as cm
    >>> x = cm.open_dump(np.array([[0.0], [2.0]]), prompt_ids=[0, 0])
    >>> cm.scan(x, cm.stat.CrossCovariance([[1.0]], np.array([0.0, 1.0])))[0].value.tolist()
    [[1.0]]
    """

    ddof: int = 1

    def state(self, call: Call, score_at: int, n_scores: int, value_at: int, n_values: int) -> Any:
        ddof = _checked_ddof(self.ddof, call)
        need_moderate_scores(call)
        return _core.CrossCovariance(score_at, n_scores, value_at, n_values, ddof)

    def result(self, call: Call, state: Any, names: tuple[str, ...], values: tuple[str, ...]) -> CrossCovarianceResult:
        s, p = state.finish(), call.population
        return CrossCovarianceResult(
            s["value"], s["se"], s["correlation"], s["cov"], names, values, p.n_rows, p.n_prompts, p.n_dropped,
            call.n_unlabelled, call.fit_status,
        )  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class TiltSums(Result):
    """What one pass gives of a tilt: `clinometer.tilt` adds what needs kept scores (tail index, horizon, roots).

    `arrays` holds the fields of `TiltResult` by name, each an attribute too, with `gain_cov` (K, B, J, J),
    `cumulants` (K, 3, J) and the clusters that count, `n_clusters` (J,); (K, B, J), (K, B) and (K,) as there.
    `policy` is the dump's.
    """

    axes: ClassVar[Axes] = {
        **TiltResult.axes,
        "direction beta value value_2": "gain_cov",
        "direction order value": "cumulants",
        "value": TiltResult.axes["value"] + " n_clusters n_clusters_unbiased",
    }
    arrays: dict[str, Floats]
    directions: tuple[str, ...]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_dropped: int
    n_unlabelled: NDArray[np.int64]
    fit_status: tuple[str, ...]
    policy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Every array by name beside the other fields."""
        own = super().to_dict()
        return {**own.pop("arrays"), **own}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["arrays"][name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True)
class Tilt(Statistic):
    """Exact tilts at given `betas` (B,) or (K, B), in the same pass that projects (theory 2.2): a `TiltSums`, gains
    in units of the value, KL in nats. Both are those of the rows, of which n responses a prompt fall short of the
    policy's (theory 2.5); what corrects that, `inference.gain_intervals`, needs the scores of all rows.

    `extras=False` gives gains, KL and log-partitions alone; the other arrays are NaN, and the tilt takes less
    time. A ValueError for no betas or one below 0: kl= needs kept scores, use `clinometer.tilt`. Cost: one pass, N
    K B exponentials, O(K B J^2) memory.

    >>> import numpy as np, clinometer as cm
    >>> x = cm.open_dump(np.array([[0.0], [1.0]]), prompt_ids=[0, 0])
    >>> cm.scan(x, cm.stat.Tilt([[1.0]], np.array([0.0, 1.0]), [1.0]))[0].gain.round(4).tolist()
    [[[0.2311]]]
    """

    betas: Any = None
    extras: bool = True

    def state(self, call: Call, score_at: int, n_scores: int, value_at: int, n_values: int) -> Any:
        from .checks import checked_betas

        if self.betas is None:
            raise ValueError("stat.Tilt needs betas; kl= is solved from kept scores by clinometer.tilt")
        betas = checked_betas(self.betas, n_scores)
        reweight = call.population.base == "reweight"
        return _core.Tilt(score_at, n_scores, value_at, n_values, betas, reweight, not call.in_double, self.extras)

    def result(self, call: Call, state: Any, names: tuple[str, ...], values: tuple[str, ...]) -> TiltSums:
        p = call.population
        return TiltSums(
            state.finish(), names, values, p.n_rows, p.n_prompts, p.n_dropped, call.n_unlabelled, call.fit_status,
            getattr(p, "policy", call.dump.policy),
        )  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class PairLoss(Result):
    """Bradley-Terry loss of K directions, mean over the labelled pairs by weight, and its slopes.

    `loss` (K,) in nats with `gradient` (K, d) and `bias_gradient` (K,); `weight` (K,) is what the mean divides by.
    """

    axes: ClassVar[Axes] = {
        "direction": "loss bias_gradient weight",
        "direction feature": "gradient",
    }

    loss: Floats
    gradient: Floats
    bias_gradient: Floats
    weight: Floats
    directions: tuple[str, ...]


@dataclass(frozen=True)
class Pairs(Statistic):
    """Bradley-Terry loss and gradient of directions over pairs of rows of one prompt, in one pass (theory 1.3).

    With z = <u_k, phi_a - phi_b> + bias_k, `bias` (K,) or none, a pair of label p costs log(1 + exp(z)) - p z.
    `pairs` (P, 2) are rows of the dump, `prob` (P,) or (P, K) in [0, 1], NaN where a pair is not judged; a pair weighs
    what its prompt does.
    The loss is in nats. Not for `Fold`, which does not know the rows to come.

    Errors: ValueError without directions, for rows of two prompts, or for another number of labels.

    >>> import numpy as np, clinometer as cm
    >>> phi, u = np.array([[0.0], [1.0]]), [[0.0]]
    >>> one, = cm.scan(cm.open_dump(phi, prompt_ids=[0, 0]), cm.stat.Pairs(u, pairs=[[1, 0]], prob=[1.0]))
    >>> one.loss.round(4).tolist(), one.gradient.tolist()
    ([0.6931], [[-0.5]])
    """

    pairs: Any = None
    prob: Any = None
    bias: Any = None

    def state(self, call: Call, score_at: int, n_scores: int, value_at: int, n_values: int) -> Any:
        from .pairs import checked_pairs, pair_list

        if call.columns is not None or n_scores == 0:
            raise ValueError("stat.Pairs needs directions: a score column has no gradient")
        held = checked_pairs(call, self.pairs, self.prob)
        if held.prob.shape[1] not in (1, n_scores):
            raise ValueError(f"prob has {held.prob.shape[1]} columns, wanted 1 or {n_scores}, one for each direction")
        bias = np.zeros(0) if self.bias is None else np.broadcast_to(np.asarray(self.bias, np.float64), (n_scores,))
        labels = np.broadcast_to(held.prob, (len(held.rows), n_scores))
        pairs = pair_list(call, held.rows, labels, held.weight[:, None])
        return _core.Pairs(call.dump.dim, score_at, n_scores, pairs, np.ascontiguousarray(bias))

    def result(self, call: Call, state: Any, names: tuple[str, ...], values: tuple[str, ...]) -> PairLoss:
        s = state.finish()
        with np.errstate(invalid="ignore"):
            mean = s["loss"] / s["mass"], s["gradient"] / s["mass"][:, None], s["bias_gradient"] / s["mass"]
        return PairLoss(*mean, s["mass"], names)


@dataclass(frozen=True)
class Scores(Statistic):
    """Scores (N, K) of every row, written in dump order; as `clinometer.score` (theory 0.1). Not for `Fold`:
    ValueError.

    Cost: one pass, 2 N K d flops, N K float32 (float64 in double).

    >>> import numpy as np, clinometer as cm
    >>> cm.scan(cm.open_dump(np.array([[3.0]]), prompt_ids=[0]), cm.stat.Scores([[2.0]]))[0].tolist()
    [[6.0]]
    """

    def state(self, call: Call, score_at: int, n_scores: int, value_at: int, n_values: int) -> Any:
        dtype = np.float64 if call.in_double else np.float32
        out = np.full((call.dump.n_rows, n_scores), np.nan, dtype)
        call.tables.setdefault(id(self), []).append((out, score_at))  # the statistic may be in use elsewhere
        return _core.Scores(score_at, n_scores, out, not call.in_double, False, False)

    def result(self, call: Call, state: Any, names: tuple[str, ...], values: tuple[str, ...]) -> NDArray[Any]:
        out, score_at = call.tables[id(self)].pop(0)
        need_float32(call, out, score_at)
        return out
