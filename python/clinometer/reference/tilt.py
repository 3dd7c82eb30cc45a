"""The tilted policy on the rows: gains, divergences and their errors (theory 2)."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from .base import (
    Array,
    BaseOptions,
    BaseWeights,
    Block,
    as_columns,
    average,
    base_weights,
    clustered_covariance,
    require_finite,
    require_values,
)
from .moments import pair_covariance
from .one_prompt import PromptTilt, divide, tilt_block
from .pareto import pareto_k

__all__ = ["broadcast_betas", "tilt", "tilted_mean"]

LINEAR_SHARE = 0.1  # q of the linear radius


def broadcast_betas(betas: npt.ArrayLike, n_directions: int) -> Array:
    """Betas as (K, B): a scalar or (B,) serves every direction."""
    array = np.atleast_1d(np.asarray(betas, dtype=np.float64))
    array = np.tile(array, (n_directions, 1)) if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n_directions:
        raise ValueError(f"betas has shape {np.shape(betas)}; expected (B,) or ({n_directions}, B)")
    if not np.all(array >= 0):
        raise ValueError("betas holds a negative or NaN entry; expected beta > 0, inf, or 0 for the argmax")
    return array


def tilt(
    scores: npt.ArrayLike,
    betas: npt.ArrayLike,
    values: npt.ArrayLike | None = None,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    within: bool = True,
    **policy: Unpack[BaseOptions],
) -> dict[str, Any]:
    """Exact tilt pi ~ pi0 exp(t / beta) of the rows, per direction k, beta b and value j (theory 2.2).

    Parameters
    ----------
    scores : (N, K) scores t_k; betas : (B,) or (K, B), inf is no tilt and 0 the argmax limit.
    values : (N, J); a NaN leaves that row out of that value: base and tilt are renormalised on the labelled
        rows, and a prompt without any is dropped for that value.
    within : False puts all rows under one normaliser with weights omega_x w_i.

    Returns
    -------
    dict. (K, B): betas, kl, reverse_kl, chi2, ess, log_partition, log_partition_centred (means over
    prompts), ess_min, max_ratio (over prompts), pareto_k. (J,): baseline. (K, B, J): gain, gain_se,
    win_rate, first_order, second_order, first_order_unbiased, first_order_se. (K, B, J, J): gain_cov.
    (K, J): linear_radius, sign_flip. Scalars: n_prompts, n_prompts_unbiased.

    >>> tilt([0.0, 1.0], [1.0], [0.0, 1.0])["gain"].round(4).tolist()
    [[[0.2311]]]
    """
    t = require_finite("scores", as_columns("scores", scores))
    f = np.empty((len(t), 0)) if values is None else as_columns("values", values, len(t))
    require_values(f)
    base = base_weights(len(t), prompt_ids, **policy)
    given = broadcast_betas(betas, t.shape[1])
    t, grid, exponent = _in_range(t, given)

    result: dict[str, Any] = {**_divergences(t, grid, base, within), "betas": given}
    columns = [_ValueColumn(t, column, grid, base, within).arrays() for column in f.T]
    result["baseline"] = np.array([column["baseline"] for column in columns], dtype=np.float64)
    for name in _PER_BETA:
        result[name] = _stack(columns, name, grid.shape)
    for name in ("linear_radius", "sign_flip"):
        with np.errstate(over="ignore"):
            result[name] = np.ldexp(_stack(columns, name, (len(grid),)), -exponent[:, None])
    influence = _stack(columns, "influence", (*grid.shape, len(base.ids)))
    result["gain_cov"] = _errors(influence, base)
    result["gain_se"] = np.sqrt(np.diagonal(result["gain_cov"], axis1=2, axis2=3))
    result["n_prompts"] = len(base.ids)
    result["n_prompts_unbiased"] = int(np.sum(np.isfinite(base.factor) & (base.omega > 0)))
    return result


def _in_range(t: Array, grid: Array) -> tuple[Array, Array, npt.NDArray[np.intp]]:
    """Scores and betas over a power of two of each column where its powers would overflow or vanish; exact.

    Large scores are left at 2^8, so that 1 / beta stays finite where t / beta does.
    """
    top = np.abs(t).max(axis=0, initial=0.0)
    extreme = (top > 1e50) | ((top > 0) & (top < 1e-50))
    exponent = np.where(extreme, np.frexp(top)[1] - np.where(top > 1, 8, 0), 0).astype(np.intp)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(t, -exponent), np.ldexp(grid, -exponent[:, None]), exponent


_PER_BETA = (
    "gain",
    "win_rate",
    "first_order",
    "second_order",
    "first_order_unbiased",
    "first_order_se",
)


def _stack(columns: list[dict[str, Any]], name: str, shape: tuple[int, ...]) -> Array:
    """Put the value axis last."""
    if not columns:
        return np.empty((*shape, 0))
    return np.stack([column[name] for column in columns], axis=-1)


def _errors(influence: Array, base: BaseWeights) -> Array:
    """Clustered covariance over values at each (k, b), from influence (K, B, G, J)."""
    k, b, _, j = influence.shape
    flat = influence.reshape(k * b, len(base.ids), j)
    cov = [clustered_covariance(psi, base.clusters) for psi in flat]
    return np.array(cov, dtype=np.float64).reshape(k, b, j, j)


def _divergences(t: Array, grid: Array, base: BaseWeights, within: bool) -> dict[str, Array]:
    """What does not depend on a value: means over prompts, extremes, and the pooled k-hat."""
    names = ("kl", "reverse_kl", "chi2", "ess", "log_partition", "log_partition_centred")
    result = {name: np.empty(grid.shape) for name in (*names, "ess_min", "max_ratio", "pareto_k")}
    blocks = base.blocks(within)
    for (k, b), beta in np.ndenumerate(grid):
        tilted = [tilt_block(t[:, k], block, float(beta)) for block in blocks]
        ess = [_ess(one, block, base) for one, block in zip(tilted, blocks, strict=True)]
        result["kl"][k, b] = average(blocks, [one.kl() for one in tilted])
        result["reverse_kl"][k, b] = average(blocks, [one.reverse_kl() for one in tilted])
        result["chi2"][k, b] = average(blocks, [one.chi2() for one in tilted])
        for name, levels in (
            ("log_partition", [one.level for one in tilted]),
            ("log_partition_centred", [one.level_centred for one in tilted]),
        ):  # levels are averaged before the division: of a few prompts alone it may leave the range
            log_mass = average(blocks, [one.log_mass for one in tilted])
            result[name][k, b] = log_mass + divide(average(blocks, levels), float(beta))
        result["ess"][k, b] = average(blocks, ess)
        result["ess_min"][k, b] = min(ess)
        result["max_ratio"][k, b] = max(one.max_ratio() for one in tilted)
        result["pareto_k"][k, b] = _pooled_k(tilted, blocks, base)
    return result


def _n_rows(block: Block, base: BaseWeights) -> int:
    """Rows of a block, counting draws whose base weight turned out to be zero."""
    if block.prompt < 0:
        return int(np.sum(base.omega[base.prompt] > 0))
    return len(base.rows[block.prompt])


def _ess(one: PromptTilt, block: Block, base: BaseWeights) -> float:
    """Effective share of the rows, in (0, 1]: 1/(1 + chi2); for `reweight` the base weights count too."""
    if base.mode == "reweight":
        return 1.0 / (_n_rows(block, base) * float(one.p @ one.p))
    return 1.0 / (1.0 + one.chi2())


def _pooled_k(tilted: list[PromptTilt], blocks: list[Block], base: BaseWeights) -> float:
    """k-hat over the ratios of all rows: a prompt of 4 to 64 responses is too small for its own.

    Whole counts are copies of their row. For `reweight` the ratio to the proposal is n w e^l, so equal weights give
    what `sampled` gives.
    """
    if base.mode == "logprob":
        return float("nan")  # a fixed set of candidates: nothing was drawn
    copies = base.draws.astype(int) if base.mode == "counts" and not np.any(base.draws % 1) else None
    pooled = [
        one.log_ratio if copies is None else np.repeat(one.log_ratio, copies[block.rows])
        for one, block in zip(tilted, blocks, strict=True)
    ]
    if base.mode == "reweight":
        for i, (one, block) in enumerate(zip(tilted, blocks, strict=True)):
            rows = block.rows
            size = np.array([len(base.rows[x]) for x in base.prompt[rows]])
            zeros = np.full(_n_rows(block, base) - len(rows), -np.inf)
            pooled[i] = np.concatenate([np.log(size) + base.log_w[rows] + one.log_ratio, zeros])
    return pareto_k(np.concatenate(pooled))


class _ValueColumn:
    """The tilt for one value: every direction and beta, on the labelled rows of that value."""

    def __init__(self, t: Array, f: Array, grid: Array, base: BaseWeights, within: bool) -> None:
        self.t, self.f, self.grid, self.within = t, f, grid, within
        self.base = base.labelled(f)
        self.blocks = self.base.blocks(within)
        self.centred = [block.centre(f) for block in self.blocks]

    def arrays(self) -> dict[str, Any]:
        shape, (n_directions, _) = self.grid.shape, self.grid.shape
        result: dict[str, Any] = {name: np.empty(shape) for name in _PER_BETA}
        result["influence"] = np.full((*shape, len(self.base.ids)), np.nan)
        result["linear_radius"], result["sign_flip"] = np.empty(n_directions), np.empty(n_directions)
        means = [self.f[block.rows[0]] + self._mean_above_first(block) for block in self.blocks]
        result["baseline"] = average(self.blocks, means)
        ranks = [_mid_rank(self.f[block.rows], block.w) for block in self.blocks]
        for k in range(n_directions):
            self._first_orders(k, result)
            for b, beta in enumerate(self.grid[k]):
                tilted = [tilt_block(self.t[:, k], block, float(beta)) for block in self.blocks]
                pairs = list(zip(tilted, self.centred, strict=True))
                gains = [one.gain(centred) for one, centred in pairs]
                result["gain"][k, b] = average(self.blocks, gains)
                wins = [one.gain(rank - 0.5) for one, rank in zip(tilted, ranks, strict=True)]
                result["win_rate"][k, b] = 0.5 + average(self.blocks, wins)
                result["influence"][k, b] = self._influence(tilted, gains)
            result["sign_flip"][k] = self._sign_flip(k, result["gain"][k])
        return result

    def _mean_above_first(self, block: Block) -> float:
        return float(block.w @ (self.f[block.rows] - self.f[block.rows[0]]))

    def _influence(self, tilted: list[PromptTilt], gains: list[float]) -> Array:
        """omega_x (c_x - mean); under one normaliser sum_{i in x} [p (f - F_p) - w (f - F_0)]."""
        psi = np.full(len(self.base.ids), np.nan)
        mean = average(self.blocks, gains)
        if self.within:
            for block, contribution in zip(self.blocks, gains, strict=True):
                psi[block.prompt] = block.omega * (contribution - mean)
            return psi
        one, block, centred = tilted[0], self.blocks[0], self.centred[0]
        terms = one.change() * centred - one.p * mean  # the same sum with F_p = F_0 + gain put in
        prompt = self.base.prompt[block.rows]
        present = np.unique(prompt)
        psi[present] = np.bincount(prompt, weights=terms, minlength=len(psi))[present]
        return psi

    def _cumulants(self, k: int) -> tuple[float, float, float]:
        """k2 = Cov(f, t), k3 = E f~ t~^2, k4 = E f~ t~^3 - 3 Cov(f, t) Var t, averaged over the prompts."""
        terms = []
        for block, f in zip(self.blocks, self.centred, strict=True):
            t = block.centre(self.t[:, k])
            k2 = block.w @ (f * t)
            k4 = block.w @ (f * t**3) - 3 * k2 * (block.w @ t**2)
            terms.append(np.array([k2, block.w @ (f * t**2), k4]))
        k2, k3, k4 = average(self.blocks, terms)
        return float(k2), float(k3), float(k4)

    def _first_orders(self, k: int, result: dict[str, Any]) -> None:
        k2, k3, k4 = self._cumulants(k)
        unbiased, se = float("nan"), float("nan")
        if self.base.mode != "logprob":
            unbiased, psi = pair_covariance(self.t[:, k], self.f, self.base, self.within, ddof=1)
            se = float(np.sqrt(clustered_covariance(psi[:, None], self.base.clusters)[0, 0]))
        for b, beta in enumerate(self.grid[k]):
            result["first_order"][k, b] = divide(k2, beta)
            result["second_order"][k, b] = divide(k2 + divide(k3 / 2, beta), beta)  # lam k2 + lam^2/2 k3
            result["first_order_unbiased"][k, b] = divide(unbiased, beta)
            result["first_order_se"][k, b] = divide(se, beta)
        result["linear_radius"][k] = linear_radius(k2, k3, k4)

    def _sign_flip(self, k: int, gains: Array) -> float:
        """Smallest lam > 0 at which the gain turns, bracketed on the betas; inf if it does not turn there."""
        lam = np.array([float(divide(1.0, beta)) for beta in self.grid[k]])
        order = np.argsort(lam)
        initial, low = np.sign(self._cumulants(k)[0]), 0.0
        for b in order:
            if initial == 0:
                initial = np.sign(gains[b])  # a zero derivative: the first gain that is not zero decides
            elif np.isfinite(lam[b]) and np.sign(gains[b]) == -initial:
                return self._bisect(k, float(initial), low, float(lam[b]))
            low = float(lam[b])
        return float("inf")

    def _bisect(self, k: int, initial: float, low: float, high: float) -> float:
        while high - low > 1e-13 * high:
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            tilted = [tilt_block(self.t[:, k], block, 1.0 / middle) for block in self.blocks]
            gains = [one.gain(centred) for one, centred in zip(tilted, self.centred, strict=True)]
            low, high = (middle, high) if np.sign(average(self.blocks, gains)) == initial else (low, middle)
        return high


def linear_radius(k2: float, k3: float, k4: float) -> float:
    """Return the lam up to which lam k2 is within q = 0.1 of the series: min(2q|k2/k3|, sqrt(6q|k2/k4|))."""
    if k3 == 0 and k4 == 0:
        return float("inf")
    if k2 == 0:
        return 0.0
    quadratic = float("inf") if k3 == 0 else 2 * LINEAR_SHARE * abs(k2 / k3)
    cubic = float("inf") if k4 == 0 else float(np.sqrt(6 * LINEAR_SHARE * abs(k2 / k4)))
    return min(quadratic, cubic)


def _mid_rank(f: Array, w: Array) -> Array:
    """c_i = P(f < f_i) + P(f = f_i)/2 under w, (n,)."""
    _, level = np.unique(f, return_inverse=True)
    mass = np.bincount(level, weights=w)
    return np.asarray((np.cumsum(mass) - mass / 2)[level])


def tilted_mean(
    phi: npt.ArrayLike,
    scores: npt.ArrayLike,
    betas: npt.ArrayLike,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    within: bool = True,
    **policy: Unpack[BaseOptions],
) -> Array:
    """Mean representation E_x sum_i p_i phi_i under each tilted policy, (K, B, d) (theory 2.2).

    >>> tilted_mean([[0.0], [1.0]], [0.0, 1.0], [0.0]).tolist()
    [[[1.0]]]
    """
    t = require_finite("scores", as_columns("scores", scores))
    rows = require_finite("phi", as_columns("phi", phi, len(t)))
    blocks = base_weights(len(t), prompt_ids, **policy).blocks(within)
    grid = broadcast_betas(betas, t.shape[1])
    mean = np.empty((*grid.shape, rows.shape[1]))
    for (k, b), beta in np.ndenumerate(grid):
        mean[k, b] = average(blocks, [tilt_block(t[:, k], block, float(beta)).p @ rows[block.rows] for block in blocks])
    return mean
