"""Best-of-n selection: in a Gaussian world, and exactly on the rows by order statistics (theory 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.arrays.coerce import as_numpy
from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.engine.weights import Weights
from clinometer.inference.matched import MatchedRows
from clinometer.inference.tails import opened

from .arrays import Floats
from .rows import Scored, ratio, scored


@dataclass(frozen=True, repr=False, eq=False)
class BestOfN(Result):
    """Gains of best-of-n by a judge; axes are direction, n, value (length 1 each in the Gaussian world).

    `gain` with `gain_se`, `oracle` the gain of selecting by the value itself, `regret` their difference with
    `regret_se` paired by prompt, `gain_interval` and `regret_interval` (K, M, J, 2) their 95 % bounds by Student's t
    (NaN where a value is too rare to show an error, and one of them infinite where its extremes are), and
    `normal` = e_n r sd_s what the Gaussian formula gives: all (K, M, J). `kl` (K, M) is the selected policy's KL on
    the rows (NaN without replacement, where rows stand for draws of the policy), `kl_bound` (M,) = log n - (n-1)/n,
    reached where no two rows tie, and `efficiency` (M,) = e_n / sqrt(2 kl_bound),
    below the 1 of a tilt. The Gaussian world has no errors (NaN).
    """

    axes: ClassVar[Axes] = {
        "direction n value": "gain gain_se oracle regret regret_se normal",
        "direction n value bound": "gain_interval regret_interval",
        "direction n": "kl",
        "n": "n kl_bound efficiency",
        "value": "n_unlabelled",
        "direction": "fit_status",
    }

    n: NDArray[np.int64]
    gain: Floats
    gain_se: Floats
    oracle: Floats
    regret: Floats
    regret_se: Floats
    normal: Floats
    kl: Floats
    kl_bound: Floats
    efficiency: Floats
    replacement: bool | None
    gain_interval: Floats
    regret_interval: Floats
    directions: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    n_rows: int = 0
    n_prompts: int = 0
    n_dropped: int = 0
    n_unlabelled: NDArray[np.int64] | None = None
    fit_status: tuple[str, ...] = ()


@listed("within")
def best_of_n(
    dump: Any, judge: Any, values: Any, n: Any = None, *, replacement: bool | None = None, **options: Any
) -> BestOfN:
    """Expected value of the best of n responses as a judge ranks them.

    ``best_of_n(n, rho, sigma_s)`` is the Gaussian world: oracle e_n sigma_s, proxy e_n rho sigma_s, regret
    e_n sigma_s (1 - rho), with rho a correlation, the root of theory 1.4's. ``best_of_n(dump, judge, values, n)`` is
    exact on the rows and needs no Gaussianity: with F the cumulative base weight of the blocks of tied scores, a block
    is chosen with probability F_b^n - F_(b-1)^n, and inside it rows share by base weight, never by their order.
    Without replacement the n candidates are a subset of the prompt's rows: C(below + b, n) - C(below, n) over
    C(N, n), which estimates best-of-n of the policy without bias.

    Parameters
    ----------
    dump, judge, values, **options : as in `clinometer.tilt`; or n (M,), rho and sigma_s
    n : whole number or numbers >= 1
    replacement : None is False where rows or whole counts are draws, and True otherwise, where rows carry weights

    Returns
    -------
    BestOfN
        Cost: one pass over the dump and one sort of N scores a judge and value.

    Errors: ValueError where n is no whole number >= 1, rho no correlation, a column is not in the dump, or rows
    with weights are to be drawn without replacement; TypeError where the arguments of one form meet those of the
    other.

    >>> best_of_n(2, 0.6, 1.0).regret.round(5).ravel().tolist()
    [0.22568]
    >>> import numpy as np
    >>> rows = np.array([[0.0], [1.0], [1.0]])
    >>> best_of_n(rows, [[1.0]], np.array([0.0, 2.0, 4.0]), 2, prompt_ids=[0, 0, 0], replacement=True).gain.item()
    0.6666666666666666
    """
    if n is None:
        return _gaussian(dump, judge, values)
    sizes = _sizes(n)
    if values is None:
        raise TypeError("values is None; wanted names of columns or an array")
    s = scored(dump, judge, values, **options)
    base = s.population.base
    if replacement is None:
        replacement = base != "sampled"
    if not replacement and base != "sampled":
        raise ValueError(f"replacement is False with base={base!r}; rows with weights are drawn with replacement")
    K, J, M = s.scores.shape[1], s.values.shape[1], len(sizes)
    cells = {name: np.full((K, M, J), np.nan) for name in ("gain", "gain_se", "oracle", "regret", "regret_se", "r")}
    cells |= {name: np.full((K, M, J, 2), np.nan) for name in ("gain_interval", "regret_interval")}
    spread, kl = np.empty(J), np.full((K, M), np.nan)
    rows = MatchedRows(s.call)
    for j in range(J):
        spread[j] = _fill(s, j, sizes, replacement, cells)
        side = np.array(rows.tails[j].rare)
        for name in "gain", "regret":
            bounds = opened(cells[f"{name}_interval"][:, :, j], cells[name][:, :, j], side)
            cells[f"{name}_interval"][:, :, j] = np.nan if rows.unseen[j] else bounds
    whole = s.weights()
    for k in range(K if replacement else 0):
        for m, p in enumerate(_chosen(whole, s.scores[:, k], sizes, replacement)):
            terms = np.where(p > 0.0, p * np.log(np.where(p > 0.0, p, 1.0) / np.where(p > 0.0, whole.row, 1.0)), 0.0)
            kl[k, m] = whole.mean(whole.total(terms))
    e, bound = expected_max_normal(sizes), np.log(sizes) - (sizes - 1.0) / sizes
    return BestOfN(
        sizes, cells["gain"], cells["gain_se"], cells["oracle"], cells["regret"], cells["regret_se"],
        e[None, :, None] * cells["r"] * spread, kl, bound, ratio(e, np.sqrt(2.0 * bound)), replacement,
        cells["gain_interval"], cells["regret_interval"], s.call.names, s.call.value_names, **s.counts(),
    )  # fmt: skip


def _sizes(n: Any) -> NDArray[np.int64]:
    sizes = np.atleast_1d(as_numpy(n, "n"))
    if sizes.ndim != 1 or sizes.size == 0 or sizes.dtype.kind not in "iuf" or not np.isfinite(sizes).all():
        raise TypeError(f"n is {n!r}; wanted whole numbers >= 1")
    if not ((sizes >= 1) & (sizes == np.floor(sizes))).all():
        raise ValueError(f"n is {n!r}; wanted whole numbers >= 1")
    return sizes.astype(np.int64)


def _gaussian(n: Any, rho: Any, sigma_s: Any) -> BestOfN:
    for name, number in ("rho", rho), ("sigma_s", sigma_s):
        if isinstance(number, bool) or not isinstance(number, (int, float, np.number)):
            raise TypeError(f"{name} is {number!r}; wanted a number (or n= for a dump, judge and values)")
    if not -1.0 <= rho <= 1.0:
        raise ValueError(f"rho is {rho!r}; wanted a correlation from -1 to 1")
    if not 0.0 <= sigma_s < np.inf:
        raise ValueError(f"sigma_s is {sigma_s!r}; wanted a finite standard deviation >= 0")
    sizes = _sizes(n)
    e, bound = expected_max_normal(sizes), np.log(sizes) - (sizes - 1.0) / sizes
    oracle = (e * sigma_s)[None, :, None]
    nan = np.full_like(oracle, np.nan)
    return BestOfN(
        sizes, rho * oracle, nan, oracle, (1.0 - rho) * oracle, nan, rho * oracle, bound[None], bound,
        ratio(e, np.sqrt(2.0 * bound)), None, np.stack([nan, nan], -1), np.stack([nan, nan], -1),
    )  # fmt: skip


def _fill(s: Scored, j: int, sizes: NDArray[np.int64], replacement: bool, cells: dict[str, Floats]) -> float:
    """Every cell of value j; its within sd, of the policy where gains are."""
    w = s.weights(j)
    f = w.centre(s.value(j))
    variance = w.mean(w.total(w.row * f * f))
    spread = variance if replacement else np.nan_to_num(w.unbiased(w.total(w.row * f * f)))
    best = [w.total(p * f) for p in _chosen(w, s.value(j), sizes, replacement)]
    for k in range(s.scores.shape[1]):
        t = w.centre(s.scores[:, k])
        cells["r"][k, :, j] = ratio(w.mean(w.total(w.row * f * t)), np.sqrt(variance * w.mean(w.total(w.row * t * t))))
        for m, p in enumerate(_chosen(w, s.scores[:, k], sizes, replacement)):
            gain = w.total(p * f)
            cells["gain"][k, m, j], cells["gain_se"][k, m, j] = w.mean(gain), w.se(gain)
            cells["gain_interval"][k, m, j] = w.bounds(gain)
            cells["regret_interval"][k, m, j] = w.bounds(best[m] - gain)
            cells["oracle"][k, m, j] = w.mean(best[m])
            cells["regret"][k, m, j], cells["regret_se"][k, m, j] = w.mean(best[m] - gain), w.se(best[m] - gain)
    return float(np.sqrt(spread))


def _chosen(w: Weights, t: Floats, sizes: NDArray[np.int64], replacement: bool) -> list[Floats]:
    """Probability of every row to be the pick, for each n."""
    prompt = w.p.on_rows(np.arange(w.p.n_prompts))
    alive = np.flatnonzero(w.row > 0.0)
    order = alive[np.lexsort((t[alive], prompt[alive]))]
    weight, group, score = w.row[order], prompt[order], t[order]
    if not order.size:
        return [np.zeros_like(w.row) for _ in sizes]
    begins = np.append(True, group[1:] != group[:-1])  # a prompt
    opens = begins | np.append(True, score[1:] != score[:-1])  # a block of ties
    starts = np.flatnonzero(opens)
    block = np.cumsum(opens) - 1
    mass = np.add.reduceat(weight, starts)
    count = np.diff(np.append(starts, len(order)))
    first = begins[starts]
    inside = np.cumsum(first) - 1
    if not replacement:
        _refuse_small(sizes, np.bincount(inside, weights=count).astype(np.int64))
    out = []
    for n in sizes.tolist():
        reach = _with(mass, first, inside, n) if replacement else _without(count, first, inside, n)
        before = np.where(first, 0.0, np.append(0.0, reach[:-1]))
        p = np.zeros_like(w.row)
        p[order] = weight * ((reach - before) / mass)[block]
        out.append(p)
    return out


def _refuse_small(sizes: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
    if sizes.max() > rows.min():
        raise ValueError(
            f"n is {sizes.max()} but a prompt has {rows.min()} labelled responses; "
            "wanted n at most that, or replacement=True"
        )


def _with(mass: Floats, first: NDArray[np.bool_], inside: NDArray[np.int64], n: int) -> Floats:
    """F_b^n at the end of every block; the last one of a prompt is 1 whatever the rounding."""
    total = np.cumsum(mass)
    begin = np.append(0.0, total[:-1])[first]
    reach = np.clip(total - begin[inside], 0.0, 1.0)
    reach[np.append(first[1:], True)] = 1.0
    return np.asarray(reach**n)


def _without(count: NDArray[np.int64], first: NDArray[np.bool_], inside: NDArray[np.int64], n: int) -> Floats:
    """C(rows so far, n) / C(rows, n) at the end of every block."""
    total = np.cumsum(count)
    begin = np.append(0, total[:-1])[first]
    so_far = (total - begin[inside]).astype(np.float64)
    rows = np.bincount(inside, weights=count)[inside]
    reach = np.ones(len(count))
    for i in range(n):
        reach *= np.maximum(so_far - i, 0.0) / (rows - i)
    return reach


_STEP = 1.0 / 64.0


def expected_max_normal(n: ArrayLike) -> Floats:
    """Expected maximum of n independent standard normals.

    e_n = int x n pdf(x) cdf(x)^(n-1) dx (theory 4.1). The trapezoid rule converges faster than any power of
    its step here, because the integrand is entire and decays like a normal density; sqrt(2 log n) is 23 %
    high at n = 64.

    Parameters
    ----------
    n : positive integer or array (M,) of them, up to 1e15

    Returns
    -------
    array of the shape of `n` (a scalar for a scalar)
        Within 1e-10. Cost: some 3000 nodes for each distinct n; imports SciPy.

    Errors: ValueError where n is no whole number from 1 to 1e15.

    >>> expected_max_normal([1, 2, 64]).round(5).tolist()
    [0.0, 0.56419, 2.34373]
    """
    from scipy.special import log_ndtr

    counts = as_numpy(n, "n")
    if counts.dtype.kind not in "iuf" or not np.isfinite(counts).all():
        raise TypeError(f"n is {n!r}; wanted positive integers")
    wanted = counts.astype(np.float64)
    if not ((wanted >= 1.0) & (wanted == np.floor(wanted)) & (wanted <= 1e15)).all():
        raise ValueError(f"n is {n!r}; wanted integers from 1 to 1e15")
    distinct, inverse = np.unique(wanted, return_inverse=True)
    nodes = np.arange(-15.0, 20.0 + _STEP, _STEP)
    log_cdf = np.asarray(log_ndtr(nodes), dtype=np.float64)
    log_pdf = -0.5 * nodes**2 - 0.5 * np.log(2.0 * np.pi)
    result = np.empty(distinct.size)
    for i, m in enumerate(distinct):
        density = np.exp(np.log(m) + (m - 1.0) * log_cdf + log_pdf)
        result[i] = 0.0 if m == 1.0 else _STEP * float(nodes @ density)
    out: Floats = result[inverse].reshape(counts.shape)
    return out[()]
