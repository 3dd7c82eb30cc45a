"""Choosing among constitutions without the winner's curse, and signs corrected for being many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..inputs import Call, prepare
from ..passes import DEFAULT_KL, _checked_kl, _need_scores, _strength, adjusted, in_range, kept_scores
from ..resampling import bucketed
from ..results import Result
from .gains import cells, unit_sums

__all__ = ["Recommendation", "benjamini_hochberg", "holm", "recommend"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Recommendation(Result):
    """Which cell wins, how often, and what it gains on prompts that did not choose it.

    Attributes
    ----------
    constitution, kl : the cell chosen most often
    share : (K, B) share of splits in which each cell was chosen on one half; K counts the constitutions of all layers
    layer, layer_share : where dump is a mapping, the layer of the cell and the share of splits in which each was chosen
    gain, se : (J,) mean over splits of what the chosen cell gains on the other half, with the mean of its error
        there: the error of half the prompts, which is on the safe side for a mean over splits
    optimism : (J,) by how much the half that chose was better, the winner's curse
    objective : (K, B) of all prompts
    """

    constitution: str
    kl: float
    index: tuple[int, int]
    share: Floats
    gain: Floats
    se: Floats
    optimism: Floats
    objective: Floats
    constitutions: tuple[str, ...]
    levels: Floats
    values: tuple[str, ...]
    splits: int
    fit_status: tuple[str, ...]
    layer: Any = None
    layer_share: dict[Any, float] = field(default_factory=dict)


def recommend(
    dump: Any, constitutions: Any, values: Any, *, kl: Any = None, adjust: Any = None, weights: ArrayLike | None = None,
    splits: int = 200, random_state: int = 0, **options: Any,
) -> Recommendation:  # fmt: skip
    """Choose a constitution and KL on half of the prompts and measure it on the other, many times (theory, Details).

    The cell chosen is the one of largest objective: the gain of the worst value in units of its within-prompt sd,
    or with weights the weighted mean of gains in those units. Halves are of prompts, or of clusters.

    Parameters
    ----------
    dump : or a mapping of layer to dump, of the same prompts and rows; then the layer is chosen too, and pays for it
    constitutions : K of them, as `directions` in `tilt`; for several layers a mapping of layer to them
    values, kl, adjust : as in `tilt`; values without variance inside prompts do not vote
    weights : (J,) weights >= 0 of the values instead of the worst
    splits : how many random halves

    Returns
    -------
    Recommendation. Cost: one pass, then tilts of kept scores; splits touch only gains by prompt.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=100, n_responses=8, dim=4, random_state=1)
    >>> best = cm.recommend(world, ["judge/c0", "judge/c1"], "s", kl=[0.1, 0.5])
    >>> best.constitution, best.kl, best.share.shape
    ('judge/c0', 0.5, (2, 2))
    """
    if isinstance(splits, bool) or not isinstance(splits, (int, np.integer)) or splits < 1:
        raise ValueError(f"splits is {splits!r}, wanted a whole number >= 1")
    levels = _checked_kl(DEFAULT_KL if kl is None else kl)
    if not options.get("within", True):
        raise ValueError("within=False: recommendations are of tilts inside prompts")
    parts = _layers(dump, constitutions)
    calls = [prepare(one, given, values, **options) for _, one, given in parts]
    for call in calls:
        _need_scores(call)
    first = calls[0]
    if first.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    _check_same_prompts(calls)
    weight = _weights(weights, first.n_values)
    scale = _scales(first)
    sums, held = (np.concatenate(x, axis=1) for x in zip(*(_gains_at(c, adjust, levels) for c in calls), strict=True))
    if len(sums) < 4:
        raise ValueError(f"there are {len(sums)} prompts (or clusters), wanted at least 4 to choose on half of them")
    names = tuple(name for c in calls for name in c.names)
    of_layer = np.repeat(np.arange(len(calls)), [c.n_scores for c in calls])
    K, B = len(names), len(levels)
    halves = _halves(len(sums), int(splits), random_state)
    share, honest, se, optimism = _split(sums, held, halves, weight, scale)
    objective = _objective(_ratio(sums.sum(axis=0), held.sum(axis=0)), weight, scale)
    best = int(np.lexsort((objective, share))[-1])
    k, b = divmod(best, B)
    by_layer = np.bincount(of_layer, share.reshape(K, B).sum(axis=1))
    several = isinstance(dump, Mapping)
    return Recommendation(
        names[k], float(levels[b]), (k, b), share.reshape(K, B), honest, se, optimism, objective.reshape(K, B),
        names, levels, first.value_names, int(splits), tuple(status for c in calls for status in c.fit_status),
        parts[of_layer[k]][0] if several else None,
        {layer: float(x) for (layer, _, _), x in zip(parts, by_layer, strict=True)} if several else {},
    )  # fmt: skip


def _layers(dump: Any, constitutions: Any) -> list[tuple[Any, Any, Any]]:
    """(layer, dump, constitutions) of each layer; one without a name where dump is not a mapping."""
    if not isinstance(dump, Mapping):
        return [(None, dump, constitutions)]
    if not dump or not isinstance(constitutions, Mapping) or set(constitutions) != set(dump):
        raise ValueError(
            f"dump maps layers {list(dump)}, wanted constitutions to map the same; it is "
            f"{list(constitutions) if isinstance(constitutions, Mapping) else type(constitutions).__name__}"
        )
    return [(layer, one, constitutions[layer]) for layer, one in dump.items()]


def _check_same_prompts(calls: list[Call]) -> None:
    first = calls[0].population
    for call in calls[1:]:
        p = call.population
        if not np.array_equal(p.ids, first.ids) or not np.array_equal(p.offsets, first.offsets):
            raise ValueError("dump: its layers do not hold the same prompts and rows")


def _gains_at(call: Call, adjust: Any, levels: Floats) -> tuple[Floats, Floats]:
    kept, exponent = in_range(adjusted(call, kept_scores(call), adjust))
    return _unit_gains(call, kept, _strength(call, kept, exponent, None, levels))


def _weights(given: ArrayLike | None, J: int) -> Floats | None:
    if given is None:
        return None
    a = np.atleast_1d(np.asarray(given, np.float64))
    if a.shape != (J,) or not np.isfinite(a).all() or (a < 0).any() or not a.any():
        raise ValueError(f"weights is {given!r}, wanted {J} finite numbers >= 0, not all 0")
    return np.asarray(a / a.sum())


def _scales(call: Call) -> Floats:
    from ..reporting.summary import within_sd

    sd = within_sd(call)
    if not (sd > 0).any():
        raise ValueError("values: none varies inside prompts, so nothing can be chosen by them")
    return np.where(sd > 0, sd, np.nan)


def _unit_gains(call: Call, kept: Floats, betas: Floats) -> tuple[Floats, Floats]:
    """Weighted gains and weights of the independent units, (C, K B, J) both."""
    p, gains, shares = call.population, [], []
    for cell in cells(call, kept, betas):
        gains.append(bucketed(unit_sums(cell.share * np.nan_to_num(cell.gain), p)))
        shares.append(bucketed(unit_sums(cell.share, p)))
    return np.stack(gains, axis=1), np.stack(shares, axis=1)


def _ratio(sums: Floats, held: Floats) -> Floats:
    return np.divide(sums, held, out=np.full_like(sums, np.nan), where=held > 0)


def _objective(gain: Floats, weight: Floats | None, scale: Floats) -> Floats:
    """Objective of gains (..., J): the worst, or the weighted mean, of those in sd; -inf without a number."""
    used = ~np.isnan(scale)
    in_sd = gain[..., used] / scale[used]
    out = in_sd.min(axis=-1) if weight is None else in_sd @ weight[used]
    return np.where(np.isnan(out), -np.inf, out)


def _halves(units: int, splits: int, seed: int) -> NDArray[np.bool_]:
    """Random halves (splits, units)."""
    rng = np.random.default_rng(seed)
    return np.argsort(rng.random((splits, units)), axis=1) < units // 2


def _split(
    sums: Floats, held: Floats, halves: NDArray[np.bool_], weight: Floats | None, scale: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Share of each cell, and gain, error and optimism of the chosen one, mean over splits."""
    share, gains, errors, optimism = np.zeros(sums.shape[1]), [], [], []
    for half in halves:
        chose = _ratio(sums[half].sum(axis=0), held[half].sum(axis=0))
        best = int(np.argmax(_objective(chose, weight, scale)))
        share[best] += 1 / len(halves)
        part, mass = sums[~half, best], held[~half, best]
        gain = _ratio(part.sum(axis=0), mass.sum(axis=0))
        psi = (part - mass * gain) / np.where(mass.sum(axis=0) > 0, mass.sum(axis=0), np.nan)
        n = np.maximum((mass > 0).sum(axis=0), 2)
        gains.append(gain)
        errors.append(np.sqrt(n / (n - 1) * (psi**2).sum(axis=0)))
        optimism.append(chose[best] - gain)
    return share, np.mean(gains, axis=0), np.mean(errors, axis=0), np.mean(optimism, axis=0)


def holm(p: ArrayLike) -> Floats:
    """p-values corrected so that any false sign among them is unlikely (Holm); NaN are left out and stay NaN.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    flat, known = _p_values(p)
    order = np.argsort(flat[known], kind="stable")
    m = len(order)
    stepped = np.maximum.accumulate(flat[known][order] * (m - np.arange(m)))
    corrected = np.empty(m)
    corrected[order] = np.minimum(stepped, 1.0)
    flat[known] = corrected
    return flat.reshape(np.shape(p))


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """p-values corrected so that few of those called are false (false discovery rate); NaN stay NaN.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    from scipy.stats import false_discovery_control

    flat, known = _p_values(p)
    if known.any():
        flat[known] = false_discovery_control(flat[known])
    return flat.reshape(np.shape(p))


def _p_values(p: ArrayLike | Sequence[float]) -> tuple[Floats, NDArray[np.bool_]]:
    flat = np.array(p, np.float64).ravel()
    known = ~np.isnan(flat)
    if not ((flat[known] >= 0) & (flat[known] <= 1)).all():
        raise ValueError("p holds a number outside [0, 1]")
    return flat, known
