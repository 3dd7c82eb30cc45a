"""What to do next with these constitutions: the best direction, the best mixture, what floors cost, and how sure.

Everything is first order in the tilt and in standard deviations: the gain of value j under unit-sd score t is
Cov(s_j, t) / (sd_j sd_t), a correlation inside prompts (theory 8 and L1, L2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..inputs import Call, prepare
from ..options import listed, used
from ..passes import kept_scores
from ..resampling import bootstrap_sums, bucketed
from ..results import Axes, Result
from .constrained import constrained
from .ensemble import ensemble
from .front import pareto_front
from .gram_cone import gram_cone

__all__ = ["ParetoResult", "pareto"]

Floats = NDArray[np.float64]
LEVELS = (2.5, 97.5)


@dataclass(frozen=True, repr=False, eq=False)
class ParetoResult(Result):
    """k values, m constitutions; intervals are 95 % percentiles over prompts (or clusters) drawn anew.

    Attributes
    ----------
    gains : (m, k) correlations of constitution and value inside prompts
    front : (m,) bool, whether no other constitution gains as much of every value and more of one
    status, margin, margin_ci, sure : of the cone of directions that improve every value: the best worst-case
        correlation any direction reaches, and the share of replicates in which it is proved positive
    direction : (k,) weights on unit-sd values that reach it
    mixture_status, mixture_value, mixture_ci, mixture_sure : of the best mixture of the constitutions
    mixture : (m,) its weights on unit-sd scores, in the simplex
    alone : index of the constitution whose worst gain is largest, and `alone_value` that gain
    best : (k,) largest gain of each value if no other value may fall; NaN if none manages
    price : (k, k) price[i, j] is what best[i] loses per unit by which the floor of value j is raised
    """

    axes: ClassVar[Axes] = {
        "constitution value": "gains",
        "constitution": "mixture front",
        "value": "direction best",
        "value value_2": "price",
        "bound": "margin_ci mixture_ci",
    }

    values: tuple[str, ...]
    constitutions: tuple[str, ...]
    gains: Floats
    front: NDArray[np.bool_]
    status: str
    margin: float
    margin_ci: Floats
    sure: float
    direction: Floats
    mixture_status: str
    mixture_value: float
    mixture_ci: Floats
    mixture_sure: float
    mixture: Floats
    alone: int
    alone_value: float
    best: Floats
    price: Floats
    n_bootstrap: int
    n_rows: int
    n_prompts: int
    n_unlabelled: int


@listed("within")
def pareto(
    dump: Any, constitutions: Any, values: Any, *, n_bootstrap: int = 500, random_state: int = 0, **options: Any
) -> ParetoResult:
    """Best direction, best mixture of the constitutions and prices of floors, with a bootstrap over prompts.

    Parameters
    ----------
    dump, constitutions, values : as in every pass; rows that lack a label of any value are left out
    n_bootstrap : replicates; 0 gives NaN intervals. random_state : their seed
    **options : the base policy and pass options of every function; clusters are drawn whole

    Returns
    -------
    ParetoResult
        Costs one pass for the scores, (k + m) (k + 1) sums over rows, and n_bootstrap small games.

    Examples
    --------
    >>> import numpy as np, clinometer as cm
    >>> rng = np.random.default_rng(0)
    >>> s = rng.standard_normal((400, 2))
    >>> found = cm.lp.pareto(cm.open_dump(s, prompt_ids=np.arange(400) // 4), np.eye(2), s)
    >>> found.status, found.mixture_status, found.mixture.round(1).tolist()
    ('improvable', 'improvable', [0.5, 0.5])
    """
    if not isinstance(n_bootstrap, (int, np.integer)) or n_bootstrap < 0:
        raise ValueError(f"n_bootstrap is {n_bootstrap!r}; wanted 0 or more")
    call = prepare(dump, constitutions, values, **used("pareto", options, within="takes covariances inside prompts"))
    if call.n_scores == 0 or call.n_values == 0:
        raise ValueError("constitutions and values: wanted at least one of each")
    parts, unlabelled = _products(call)
    m, k = call.n_scores, call.n_values
    total = _normalised(parts.sum(axis=0)[None], m, k)
    if not np.isfinite(total[0]).all():
        raise ValueError("a constitution or a value does not vary inside any prompt; leave it out")
    sums = np.zeros((0, parts[0].size))
    if n_bootstrap:
        sums = bootstrap_sums(parts.reshape(len(parts), -1), int(n_bootstrap), random_state)
    draws = _normalised(sums.reshape(-1, *parts.shape[1:]), m, k)
    return _result(call, total[0], draws[np.isfinite(draws).all(axis=(1, 2))], unlabelled)


def _products(call: Call) -> tuple[Floats, int]:
    """Sums by unit, at most 4096 of prompts or clusters, (C, m + k, k + 1): covariances of scores and values inside
    prompts with the values, and last each one's own variance."""
    raw = np.asarray(call.values)
    p = call.population.labelled(np.where(np.isnan(raw).any(axis=1), np.nan, 0.0))
    z = np.concatenate([kept_scores(call, absolute=True), np.nan_to_num(raw[p.rows])], axis=1)
    w, begin, size = p.row_weight(), p.offsets[:-1], np.abs(z).max(axis=0)
    z -= np.repeat(np.add.reduceat(w[:, None] * z, begin), p.sizes, axis=0)
    z[:, np.abs(z[w > 0]).max(axis=0, initial=0.0) <= 1e-12 * size] = 0.0  # what centring a constant leaves
    m, k = call.n_scores, call.n_values
    weighted = (w * np.repeat(p.prompt_weight(), p.sizes))[:, None] * z

    def units(x: Floats) -> Floats:
        sums = np.add.reduceat(x, begin)
        if p.cluster is not None:
            _, first = np.unique(p.cluster, return_inverse=True)
            sums = np.stack([np.bincount(first, column) for column in sums.T], axis=1)
        return bucketed(sums)

    columns = [units(weighted * z[:, m + j : m + j + 1]) for j in range(k)]
    return np.stack([*columns, units(weighted * z)], axis=2), int(np.isnan(raw[p.rows]).any(axis=1).sum())


def _normalised(products: Floats, m: int, k: int) -> Floats:
    """Correlations (B, m + k, k) with the values; NaN where something does not vary."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.sqrt(products[:, :, k])
        found = products[:, :, :k] / sd[:, :, None] / sd[:, None, m:]
    own = np.arange(k)
    found[:, m + own, own] = np.where(np.isfinite(found[:, m + own, own]), 1.0, np.nan)
    return np.asarray(np.where(sd[:, :, None] > 0, found, np.nan))


def _spread(x: Floats) -> Floats:
    return np.percentile(x, LEVELS) if len(x) > 1 else np.full(2, np.nan)


def _share(status: Any) -> float:
    return float(np.mean(np.asarray(status) == "improvable")) if len(status) else float("nan")


def _result(call: Call, table: Floats, draws: Floats, unlabelled: int) -> ParetoResult:
    m, k = call.n_scores, call.n_values
    cone, cones = gram_cone(table[m:]), gram_cone(draws[:, m:])
    game = np.ascontiguousarray(table[:m].T)
    found = ensemble(game)
    again = ensemble(draws[:, :m].transpose(0, 2, 1))
    best, price = np.full(k, np.nan), np.zeros((k, k))
    for i in range(k):
        others = np.delete(np.arange(k), i)
        if not others.size:
            best[i] = game[i].max()
            continue
        floors = constrained(game[others], game[i], np.zeros(k - 1))
        price[i] = np.nan
        if floors.status == "optimal":
            best[i], price[i, others], price[i, i] = floors.value, floors.dual, 0.0
    alone = int(np.argmax(game.min(axis=0)))
    return ParetoResult(
        values=call.value_names, constitutions=call.names, gains=table[:m],
        front=pareto_front(table[:m]),
        status=cone.status, margin=cone.margin, margin_ci=_spread(cones.margin), sure=_share(cones.status),
        direction=cone.weights, mixture_status=found.status, mixture_value=found.value,
        mixture_ci=_spread(again.value), mixture_sure=_share(again.status), mixture=found.weights,
        alone=alone, alone_value=float(game[:, alone].min()), best=best, price=price, n_bootstrap=len(draws),
        n_rows=call.population.n_rows, n_prompts=call.population.n_prompts, n_unlabelled=unlabelled,
    )  # fmt: skip
