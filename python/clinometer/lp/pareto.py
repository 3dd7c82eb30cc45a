"""What to do next with these constitutions: the best direction, the best mixture, what floors cost, and how sure.

Everything is first order in the tilt and in standard deviations: the gain of value j under unit-sd score t is
Cov(s_j, t) / (sd_j sd_t), a correlation inside prompts (theory 8.1, 9.1 and 9.2). That of a mixture is the average of
its members' (theory 6.3); the tilt by the averaged score gains as much at a smaller KL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.options import listed, used
from clinometer.common.resampling import bucketed, unit_errors, worth
from clinometer.common.results import Axes, Result
from clinometer.engine.checks import need_moderate_scores
from clinometer.engine.inputs import Call, prepare, thread_count
from clinometer.engine.passes import kept_scores
from clinometer.inference.split import averaged_bound, halves, tail

from .cone import gram_cone
from .ensemble import constrained, ensemble
from .result import finite, real_array

Floats = NDArray[np.float64]
SPLITS = 50


@dataclass(frozen=True, repr=False, eq=False)
class ParetoResult(Result):
    """k values, m constitutions; what was chosen is judged on prompts (or clusters) that did not choose it.

    Attributes
    ----------
    gains : (m, k) correlations of constitution and value inside prompts
    front : (m,) bool, whether no other constitution gains as much of every value and more of one
    status, margin, direction : of the cone of directions that improve every value, on these rows: the best worst-case
        correlation any direction reaches, and the (k,) weights on unit-sd values that reach it
    margin_ci, sure : 95 % bounds of the worst gain of directions chosen on half of the prompts, on the other half, and
        the confidence that they raise every value there (1 less a p-value, over many halves)
    mixture_status, mixture_value, mixture : of the best mixture of the constitutions on these rows, which chose it:
        "improvable" of noise too, so that whether values rise elsewhere is `mixture_ci` and `mixture_sure`; its worst
        gain and its (m,) weights on unit-sd scores, in the simplex; gains per sqrt(2 KL) of the members, not of the
        mixture
    mixture_gain : (k,) what mixtures chosen on half of the prompts gain on the other half
    mixture_ci, mixture_sure : of the worst of these, as of the direction
    alone : index of the constitution whose worst gain is largest, and `alone_value` that gain
    best : (k,) largest gain of each value if no other value may fall; NaN if none manages
    price : (k, k) price[i, j] is what best[i] loses per unit by which the floor of value j is raised

    splits : halves of the prompts that chose
    """

    axes: ClassVar[Axes] = {
        "constitution value": "gains",
        "constitution": "mixture front",
        "value": "direction best mixture_gain",
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
    mixture_gain: Floats
    mixture_ci: Floats
    mixture_sure: float
    mixture: Floats
    alone: int
    alone_value: float
    best: Floats
    price: Floats
    splits: int
    n_rows: int
    n_prompts: int
    n_unlabelled: int


@listed("within")
def pareto(dump: Any, constitutions: Any, values: Any, *, splits: int = SPLITS, **options: Any) -> ParetoResult:
    """Best direction, best mixture of the constitutions and prices of floors, judged on other prompts (theory 9.1).

    The best of many on these rows is better here than elsewhere: of noise judges there is always a mixture that raises
    every value. So halves of the prompts judge what the other halves choose, by Student's t; twice the mean of the
    p-values of many halves is a p-value (folds of a cross-validation share what they choose by, and are not). Halves
    are drawn over prompts in the dump's order, so that another order moves `mixture_ci` and `mixture_sure` as another
    draw would: by less with more `splits`. They are NaN unless every value varies in every half.

    Parameters
    ----------
    dump, constitutions, values : as in every pass; rows that lack a label of any value are left out
    splits : random halves of the prompts, or of clusters, which are kept whole
    **options : the base policy and pass options of every function

    Returns
    -------
    ParetoResult; `gains` (m, k) are correlations of constitution and value
        Cost: one pass for the scores, (k + m) (k + 1) sums over rows, and a small game a split.

    Errors: ValueError where splits is below 1 or a column is not in the dump.

    >>> import numpy as np, clinometer as cm
    >>> rng = np.random.default_rng(0)
    >>> s = rng.standard_normal((400, 2))
    >>> found = cm.lp.pareto(cm.open_dump(s, prompt_ids=np.arange(400) // 4), np.eye(2), s)
    >>> found.status, found.mixture_status, found.mixture.round(1).tolist()
    ('improvable', 'improvable', [0.5, 0.5])
    """
    if isinstance(splits, bool) or not isinstance(splits, (int, np.integer)) or splits < 1:
        raise ValueError(f"splits is {splits!r}, wanted a whole number of at least 1")
    call = prepare(dump, constitutions, values, **used("pareto", options, within="takes covariances inside prompts"))
    if call.n_scores == 0 or call.n_values == 0:
        raise ValueError("constitutions and values: wanted at least one of each")
    need_moderate_scores(call)
    return pareto_of(call, kept_scores(call, absolute=True), int(splits))


def pareto_of(call: Call, kept: Floats, splits: int = SPLITS) -> ParetoResult:
    """`pareto` of kept scores (N, m)."""
    parts, unlabelled = _products(call, kept)
    table = _normalised(parts.sum(axis=0)[None], call.n_scores, call.n_values)[0]
    if not np.isfinite(table).all():
        raise ValueError("a constitution or a value does not vary inside any prompt; leave it out")
    return _result(call, table, parts, splits, unlabelled)


def _products(call: Call, kept: Floats) -> tuple[Floats, int]:
    """Sums by unit, at most 4096 of prompts or clusters, (C, m + k, k + 1): covariances of scores and values inside
    prompts with the values, and last each one's own variance."""
    raw = np.asarray(call.values)
    p = call.population.labelled(np.where(np.isnan(raw).any(axis=1), np.nan, 0.0))
    z = np.concatenate([kept, np.nan_to_num(raw[p.rows])], axis=1)
    w, begin, size = p.row_weight(), p.offsets[:-1], np.abs(z).max(axis=0)
    z -= p.on_rows(np.add.reduceat(w[:, None] * z, begin))
    z[:, np.abs(z[w > 0]).max(axis=0, initial=0.0) <= 1e-12 * size] = 0.0  # what centring a constant leaves
    m, k = call.n_scores, call.n_values
    weighted = (w * p.on_rows(p.prompt_weight()))[:, None] * z

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


@dataclass(frozen=True)
class _HeldOut:
    """What weights chosen on half of the units gain on the other: (k,) means, bounds of the worst, confidence."""

    gain: Floats
    worst: Floats
    sure: float


def _held_out(parts: Floats, at: slice, splits: int, choose: Callable[[Floats], Floats], k: int) -> _HeldOut:
    """`choose` gives weights (a,) from correlations (a, k) of the rows `at` of the products with the values."""
    none = _HeldOut(np.full(k, np.nan), np.full(2, np.nan), float("nan"))
    if len(parts) < 4:
        return none
    found = []
    for half in halves(len(parts), splits, 0):
        table = _normalised(parts[half].sum(axis=0)[None], parts.shape[1] - k, k)[0]
        other = parts[~half]
        if not (np.isfinite(table).all() and (other.sum(axis=0)[:, k] > 0).all()):
            return none
        found.append(_judged(other, at, choose(table[at]), k))
    x, se, freedom = (np.array(a) for a in zip(*found, strict=True))

    def rises(above: float) -> Floats:  # all of them: as sure as the least sure
        return np.asarray(tail(x - above, se, freedom).max(axis=1))

    def one_stays(below: float) -> Floats:
        return np.asarray(np.minimum(k * tail(-x - below, se, freedom).min(axis=1), 1.0))

    low, high = averaged_bound(rises, x, se, 0.95), averaged_bound(one_stays, -x, se, 0.95)
    return _HeldOut(x.mean(axis=0), np.array([low, -high]), float(1 - min(2 * rises(0.0).mean(), 1.0)))


def _judged(parts: Floats, at: slice, w: Floats, k: int) -> tuple[Floats, Floats, Floats]:
    """Gains (k,) of weights w on these units, their errors and degrees of freedom.

    A unit adds to the correlation r of two columns c/(sd sd') - r (v/V + v'/V')/2, with c, v, v' its own products.
    """
    m, total = parts.shape[1] - k, parts.sum(axis=0)
    r, sd = _normalised(total[None], m, k)[0][at], np.sqrt(total[:, k])
    share = parts[:, :, k] / total[:, k]
    own = np.einsum("a,uaj->uj", w, parts[:, at, :k] / sd[at, None] / sd[m:])
    drift = np.einsum("a,aj,ua->uj", w, r, share[:, at]) + (w @ r) * share[:, m:]
    psi, held = own - drift / 2, np.full(own.shape, 1 / len(parts))
    return w @ r, unit_errors(psi, held), worth(psi, held) - 1


def _best_direction(gram: Floats) -> Floats:
    """Weights on unit-sd values of the best direction, whose own sd is 1."""
    w = np.asarray(gram_cone(gram).weights)
    size = np.sqrt(max(float(w @ gram @ w), 1e-300))
    return np.asarray(w / size)


def _best_mixture(table: Floats) -> Floats:
    return np.asarray(ensemble(np.ascontiguousarray(table.T)).weights)


def _result(call: Call, table: Floats, parts: Floats, splits: int, unlabelled: int) -> ParetoResult:
    m, k = call.n_scores, call.n_values
    cone, game = gram_cone(table[m:]), np.ascontiguousarray(table[:m].T)
    found = ensemble(game)
    direction = _held_out(parts, slice(m, None), splits, _best_direction, k)
    mixture = _held_out(parts, slice(0, m), splits, _best_mixture, k)
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
        status=cone.status, margin=cone.margin, margin_ci=direction.worst, sure=direction.sure,
        direction=cone.weights, mixture_status=found.status, mixture_value=found.value,
        mixture_gain=mixture.gain, mixture_ci=mixture.worst, mixture_sure=mixture.sure, mixture=found.weights,
        alone=alone, alone_value=float(game[:, alone].min()), best=best, price=price, splits=splits,
        n_rows=call.population.n_rows, n_prompts=call.population.n_prompts, n_unlabelled=unlabelled,
    )  # fmt: skip


def pareto_front(points: Any, *, n_threads: int | None = None) -> NDArray[np.bool_]:
    """Which points are on the Pareto front: none is at least as large everywhere and larger somewhere (theory 9.1).

    Larger is better in every coordinate. Equal points stand or fall together, so a front may hold copies.

    Parameters
    ----------
    points : array (m, k), finite; one row a point

    Returns
    -------
    (m,) bool. Costs O(m log m) for k <= 3; above, at worst m times the size of the front.

    Errors: ValueError for another shape, NaN or Inf.

    >>> from clinometer import lp
    >>> lp.pareto_front([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [2.0, 1.0]]).tolist()
    [True, True, False, True]
    """
    table = real_array("points", points)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"points has shape {table.shape}; wanted (m, k) with k at least 1")
    finite("points", table)
    return np.asarray(_core.lp_front(table, thread_count(n_threads)))
