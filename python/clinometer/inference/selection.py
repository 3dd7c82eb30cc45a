"""Choosing among constitutions without the winner's curse, and signs corrected for being many."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.options import listed, used
from clinometer.common.resampling import t_factor
from clinometer.common.results import Axes, Result
from clinometer.common.visible import visible
from clinometer.engine.checks import DEFAULT_KL, checked_kl, need_scores
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.intake import numbers
from clinometer.engine.passes import adjusted, kept_scores

from .policy import PolicyGains, policy_gains
from .split import Judged, Split, objective, ranked
from .tails import in_words, nearest, opened

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Recommendation(Result):
    """Which cell wins, how often, and what it gains on prompts that did not choose it.

    Attributes
    ----------
    constitution, kl : the cell chosen most often
    share : (K, B) share of splits in which each cell was chosen on one half; K counts the constitutions of all layers
    layer, layer_share : where dump is a mapping, the layer of the cell and the share of splits in which each was chosen
    gain, se, interval : (J,) and (J, 2) mean over splits of what the chosen cell gains on the other half, its error
        over prompts, and its 95 % bounds (one of them where the value is skewed, as in `PolicyGains`)
    optimism : (J,) by how much the half that chose was better, the winner's curse
    objective : (K, B) of all prompts: the lower bound of the worst value, or the weighted mean of bounds, in sd

    index, levels : where the cell stands in `share`, and the KLs (B,) in nats
    """

    axes: ClassVar[Axes] = {
        "value": "gain se optimism",
        "value bound": "interval",
        "constitution level": "share objective",
        "level": "levels",
        "constitution": "fit_status",
    }

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
    interval: Floats
    layer: Any = None
    layer_share: dict[Any, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n  verdict: {self.verdict()}"

    def _repr_html_(self) -> str:
        return f"{super()._repr_html_()}<p>{html.escape(self.verdict())}</p>"

    def verdict(self) -> str:
        """Say what the choice gains on prompts that did not make it; "cannot tell" is an answer."""
        gains = ", ".join(
            f"{visible(v)} {g:+.3g} ({in_words(ends)})"
            for v, g, ends in zip(self.values, self.gain, self.interval, strict=True)
        )
        low, high = self.interval.T
        raises, lowers = bool((low > 0).all()), bool((high < 0).any())
        said = (
            "raises every value"
            if raises
            else "lowers a value"
            if lowers
            else "cannot tell whether it raises every value"
        )
        return (
            f"{visible(self.constitution)} at {self.kl:g} nats, chosen by {100 * self.share[self.index]:.0f} % of "
            f"halves of the prompts: {said}; on the other halves it gains {gains} (95 %)."
        )


@listed("within")
def recommend(
    dump: Any, constitutions: Any, values: Any, *, kl: Any = None, adjust: Any = None, weights: ArrayLike | None = None,
    splits: int = 200, random_state: int = 0, **options: Any,
) -> Recommendation:  # fmt: skip
    """Choose a constitution and KL on half of the prompts and measure it on the other, many times (theory 10.4).

    The cell chosen is the one of largest objective, as a report chooses: the lower 95 % bound of the worst value in
    units of its within-prompt sd, or with weights the weighted mean of these bounds. Bounds are those of the half that
    chooses and pay for all its cells, so that a gain that these prompts do not show wins nothing. Halves are of
    prompts, or of clusters.

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

    Errors: ValueError where a column is not in the dump, splits is below 1, or weights are negative or of another
    length.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=100, n_responses=8, dim=4, random_state=1)
    >>> best = cm.inference.recommend(world, ["judge/c0", "judge/c1"], "s", kl=[0.1, 0.5])
    >>> best.constitution, best.kl, best.share.shape
    ('judge/c0', 0.5, (2, 2))
    """
    if isinstance(splits, bool) or not isinstance(splits, (int, np.integer)) or splits < 1:
        raise ValueError(f"splits is {splits!r}, wanted a whole number >= 1")
    levels = checked_kl(DEFAULT_KL if kl is None else kl)
    options = used("recommend", options, within="is of tilts inside prompts")
    parts = _layers(dump, constitutions)
    calls = [prepare(one, given, values, **options) for _, one, given in parts]
    for call in calls:
        need_scores(call)
    first = calls[0]
    if first.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    _check_same_prompts(calls)
    weight = _weights(weights, first.n_values)
    scale = _scales(first)
    gains = [policy_gains(c, adjusted(c, kept_scores(c), adjust), levels) for c in calls]
    of_layer = np.repeat(np.arange(len(calls)), [c.n_scores for c in calls])
    status = [s for c in calls for s in c.fit_status]
    voting = np.flatnonzero(~np.isnan(scale))
    compared = sum(g.comparisons(np.all(np.isfinite(g.gain[..., voting]), axis=-1), first.n_values) for g in gains)
    found, _ = recommended(gains, scale, weight, int(splits), random_state, status, compared)
    if not isinstance(dump, Mapping):
        return found
    by_layer = np.bincount(of_layer, found.share.sum(axis=1), len(parts))
    return replace(
        found, layer=parts[of_layer[found.index[0]]][0],
        layer_share={layer: float(x) for (layer, _, _), x in zip(parts, by_layer, strict=True)},
    )  # fmt: skip


def recommended(
    gains: Sequence[PolicyGains], scale: Floats, weight: Floats | None, splits: int, seed: int, status: Sequence[str],
    compared: float,
) -> tuple[Recommendation, Judged]:  # fmt: skip
    """The recommendation among cells whose gains are there already; those past what the rows can say are not chosen.

    `compared` is how many independent comparisons the cells amount to, for which their bounds pay.
    """
    names = tuple(name for g in gains for name in g.directions)
    held, J = gains[0]._held, len(gains[0].values)
    levels, shape, level = gains[0].kl[0], (len(names), gains[0].kl.shape[1]), 0.95 ** (1 / compared)
    units = np.concatenate([g.units() for g in gains], axis=1).reshape(len(held), -1, J)
    every, freedom = (np.concatenate([getattr(g, n) for g in gains]).reshape(-1, J) for n in ("gain", "freedom"))
    open_ = np.isfinite(every[:, ~np.isnan(scale)]).all(axis=1)
    if not open_.any():
        raise ValueError("no constitution has an estimate at these levels; ask for smaller kl, or for more responses")
    split = Split.of(units, held, splits, seed)
    best = split.chosen(scale, weight, open_, t_factor(np.maximum((freedom - 1) / 2, 1.0), level))
    judged = split.judged(best)
    blind = gains[0].unseen != ""  # no error can be seen
    judged = replace(judged, se=np.where(blind, np.nan, judged.se), errors=np.where(blind, np.nan, judged.errors))
    share = np.bincount(best, minlength=len(every)) / len(best)
    low = nearest(np.concatenate([g.bounds(level) for g in gains]).reshape(-1, J, 2), every)
    score = ranked(objective(low, weight, scale), objective(every, weight, scale), open_)
    k, b = divmod(int(np.lexsort((score, share))[-1]), shape[1])
    made = Recommendation(
        names[k], float(levels[b]), (k, b), share.reshape(shape), judged.gain, judged.se, judged.optimism,
        score.reshape(shape), names, levels, gains[0].values, splits, tuple(status),
        opened(judged.bounds(0.95), judged.gain, np.concatenate([g.skewed for g in gains])[k, b]),
    )  # fmt: skip
    return made, judged


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


def _weights(given: ArrayLike | None, J: int) -> Floats | None:
    if given is None:
        return None
    a = np.atleast_1d(numbers("weights", given))
    if a.shape != (J,) or not np.isfinite(a).all() or (a < 0).any() or not a.any():
        raise ValueError(f"weights is {given!r}, wanted {J} finite numbers >= 0, not all 0")
    return np.asarray(a / a.sum())


def _scales(call: Call) -> Floats:
    from clinometer.engine.weights import within_sd

    sd = within_sd(call)
    if not (sd > 0).any():
        raise ValueError("values: none varies inside prompts, so nothing can be chosen by them")
    return np.where(sd > 0, sd, np.nan)


def holm(p: ArrayLike) -> Floats:
    """p-values corrected so that any false sign among them is unlikely (Holm 1979); NaN are left out and stay NaN.

    `p` (m,) in [0, 1], else a ValueError; the result too, without unit. Cost: a sort, O(m log m).

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
    """p-values corrected so that few of those called are false (Benjamini and Hochberg 1995); NaN stay NaN.

    `p` (m,) in [0, 1], else a ValueError; the result too, without unit. Cost: a sort, O(m log m).

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    from scipy.stats import false_discovery_control

    flat, known = _p_values(p)
    if known.any():
        flat[known] = false_discovery_control(flat[known])
    return flat.reshape(np.shape(p))


def _p_values(p: ArrayLike | Sequence[float]) -> tuple[Floats, NDArray[np.bool_]]:
    flat = np.array(numbers("p", p)).ravel()
    known = ~np.isnan(flat)
    if not ((flat[known] >= 0) & (flat[known] <= 1)).all():
        raise ValueError("p holds a number outside [0, 1]")
    return flat, known
