"""Ensembles of constitutions: one tilt by the averaged scores, or the average of the tilted policies (theory 6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.engine import kl as roots
from clinometer.engine.intake import numbers
from clinometer.engine.weights import Weights

from .arrays import Floats
from .rows import Scored, betas_of, kl_terms, levels, scored


@dataclass(frozen=True, repr=False, eq=False)
class Ensembles(Result):
    """The pool and the mixture of K members under M weightings; axes are weighting, beta, value.

    `pool_gain`, `pool_se` (M, B, J) and `pool_kl` (M, B): one tilt by sum_i w_i t_i, the log-linear pool.
    `mixture_gain`, `mixture_se` and `mixture_kl`: a member drawn with probability w_i for the whole policy;
    its gain is exactly sum_i w_i of the members' `member_gain` (K, B, J), its KL at most that of `member_kl` (K, B).
    `first_order` (M, B, J) = sum_i w_i Cov(s, t_i)/beta, at `pool_betas`: both agree there.
    `worst_member` (B, J) is the least member gain, what averaging protects against.

    `weights` (M, K) are those given, `member_betas` (K, B) the members' own, and scores were divided by `scale`
    (K,).
    """

    axes: ClassVar[Axes] = {
        "weighting level value": "pool_gain pool_se mixture_gain mixture_se first_order",
        "weighting level": "pool_betas pool_kl mixture_kl",
        "weighting direction": "weights",
        "direction level value": "member_gain",
        "direction level": "member_betas member_kl",
        "level value": "worst_member",
        "direction": "scale fit_status",
        "value": "n_unlabelled",
    }

    weights: Floats
    pool_betas: Floats
    member_betas: Floats
    pool_gain: Floats
    pool_se: Floats
    pool_kl: Floats
    mixture_gain: Floats
    mixture_se: Floats
    mixture_kl: Floats
    member_gain: Floats
    member_kl: Floats
    first_order: Floats
    worst_member: Floats
    scale: Floats
    directions: tuple[str, ...]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_dropped: int
    n_unlabelled: NDArray[np.int64]
    fit_status: tuple[str, ...]


@listed("within")
def ensembles(
    dump: Any,
    directions: Any,
    weights: ArrayLike,
    values: Any,
    betas: Any = None,
    *,
    kl: Any = None,
    standardise: bool = True,
    **options: Any,
) -> Ensembles:
    """What averaging constitutions does, as a pool of directions and as a mixture of policies.

    Averaging does not raise the mean gain: to first order it is sum_i w_i of the members' gains, and the member of
    largest norm decides unless scores are standardised (theory 6.3). Beyond first order pool and mixture
    differ; the mixture's gain stays linear.

    Parameters
    ----------
    dump, directions, values, **options : as in `clinometer.tilt`, with ``within=True``
    weights : array (M, K) or (K,), rows in the simplex
    betas, kl : (B,), exactly one, or neither for the default KL levels; kl is matched for every pool and member
    standardise : divide every score by its within-prompt sd first

    Returns
    -------
    Ensembles
        Cost: one pass over the dump, then (K + M) B J exponentials a row.

    Errors: ValueError for weights outside the simplex or of another number than the directions, or for both betas
    and kl.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=50, n_responses=8, dim=4)
    >>> found = ensembles(world, ["judge/c0", "judge/c1"], [0.5, 0.5], "s", [2.0])
    >>> bool(abs(found.mixture_gain - found.member_gain.mean(axis=0)).max() < 1e-12)
    True
    """
    s = scored(dump, directions, values, **options)
    W = _simplex(weights, s.scores.shape[1])
    spread = np.sqrt(roots.score_variance(s.call, s.scores))
    scale = np.where(spread > 0.0, spread, 1.0) if standardise else np.ones_like(spread)
    t = np.ascontiguousarray(s.scores / scale)
    pool = np.ascontiguousarray(t @ W.T)
    names = tuple(f"pool{m}" for m in range(len(W)))
    member_betas = betas_of(s.call, t, betas, kl)
    if betas is None:
        pool_betas = roots.solve(s.call, pool, levels(kl), names)
    else:
        pool_betas = np.broadcast_to(member_betas[:1], (len(W), member_betas.shape[1])).copy()
        if not (member_betas == member_betas[:1]).all():
            raise ValueError("betas differ between directions; wanted one list (B,) for an ensemble")
    gains = _gains(s, t, pool, W, member_betas, pool_betas)
    return Ensembles(
        weights=W, pool_betas=pool_betas, member_betas=member_betas, pool_kl=roots.kl_at(s.call, pool, pool_betas),
        member_kl=roots.kl_at(s.call, t, member_betas), worst_member=gains["member_gain"].min(axis=0),
        mixture_kl=_mixture_kl(s.weights(), t, W, member_betas), scale=scale,
        directions=s.call.names, values=s.call.value_names, **gains, **s.counts(),
    )  # fmt: skip


def _gains(s: Scored, t: Floats, pool: Floats, W: Floats, member_betas: Floats, pool_betas: Floats) -> dict[str, Any]:
    """Gains and errors of pools and mixtures (M, B, J), of members (K, B, J), and the first order."""
    M, B, J = len(W), pool_betas.shape[1], s.values.shape[1]
    out: dict[str, Any] = {
        n: np.empty((M, B, J)) for n in ("pool_gain", "pool_se", "mixture_gain", "mixture_se", "first_order")
    }
    out["member_gain"] = np.empty((t.shape[1], B, J))
    for j in range(J):
        w = s.weights(j)
        f = w.centre(s.value(j))
        k2 = np.asarray(w.mean(w.total((w.row * f)[:, None] * t)))
        for b in range(B):
            single, pooled = _moved(w, f, t, member_betas[:, b]), _moved(w, f, pool, pool_betas[:, b])
            mixed = single @ W.T
            out["member_gain"][:, b, j] = w.mean(single)
            out["mixture_gain"][:, b, j], out["mixture_se"][:, b, j] = w.mean(mixed), w.se(mixed)
            out["pool_gain"][:, b, j], out["pool_se"][:, b, j] = w.mean(pooled), w.se(pooled)
            with np.errstate(divide="ignore", invalid="ignore"):
                out["first_order"][:, b, j] = (W @ k2) / pool_betas[:, b]
    return out


def _moved(w: Weights, f: Floats, t: Floats, betas: Floats) -> Floats:
    """Gain of a centred value in every prompt, (G, K)."""
    return np.stack([w.gains(x, _inverse(b), f) for x, b in zip(t.T, betas, strict=True)], axis=1)


def _mixture_kl(w: Weights, t: Floats, W: Floats, betas: Floats) -> Floats:
    out = np.empty((len(W), betas.shape[1]))
    for b in range(betas.shape[1]):
        p = np.stack(
            [w.tilted(w.log_ratio(x, _inverse(beta))) for x, beta in zip(t.T, betas[:, b], strict=True)], axis=1
        )
        out[:, b] = [_kl(w, p @ row) for row in W]
    return out


def _inverse(beta: float) -> float:
    return float("inf") if beta == 0.0 else 1.0 / beta


def _simplex(weights: ArrayLike, K: int) -> Floats:
    W = np.atleast_2d(numbers("weights", weights))
    if W.ndim != 2 or W.shape[1] != K:
        raise ValueError(f"weights has shape {np.shape(weights)}; wanted (M, {K}), one weight a constitution")
    if not ((W >= 0.0).all() and np.allclose(W.sum(axis=1), 1.0, rtol=0.0, atol=1e-9)):
        raise ValueError("weights holds a row that is not in the simplex; wanted numbers >= 0 that sum to 1")
    return W


def _kl(w: Weights, p: Floats) -> float:
    """KL(p || w) of one policy on the rows."""
    alive = (p > 0.0) & (w.row > 0.0)
    log_ratio = np.log(np.where(alive, p, 1.0) / np.where(alive, w.row, 1.0))
    terms = np.where(w.row > 0.0, w.row * kl_terms(np.where(alive, log_ratio, -np.inf)), 0.0)
    return float(w.mean(w.total(terms)))
