"""The same prompts seen twice: layers, positions, checkpoints or models, and what changed between them (theory 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .dump import Dump, open_dump
from .fit import DirectionFit, fit_value_direction
from .options import listed
from .results import Axes, Result
from .theory._arrays import Floats
from .theory._bootstrap import correlations, interval, per_prompt_grams, resampled
from .theory._rows import Scored, Weights, ratio, scored
from .theory.shift import ShiftRank, shift_rank
from .visible import visible

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result):
    """What changed from a to b; arrays are (J,), intervals (J, 2), by a bootstrap of prompts paired between them.

    `quality_a`, `quality_b` are out-of-fold within R^2, `quality_change` = b - a with `quality_ci`. `transfer` is the
    out-of-fold correlation on b of the direction fitted on a, `own` that of b's own, `transfer_loss` = own - transfer
    with `transfer_ci`. `drift` is the angle in radians between both directions, arccos of the correlation of their
    scores, under b's rows; `drift_a` under a's. `shift` is None unless the rows are the same.
    """

    axes: ClassVar[Axes] = {
        "value": "quality_a quality_b quality_change own transfer transfer_loss drift drift_a",
        "value bound": "quality_ci transfer_ci",
    }

    quality_a: Floats
    quality_b: Floats
    quality_change: Floats
    quality_ci: Floats
    own: Floats
    transfer: Floats
    transfer_loss: Floats
    transfer_ci: Floats
    drift: Floats
    drift_a: Floats
    shift: ShiftRank | None
    same_rows: bool
    n_prompts: int
    values: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.n_prompts} prompts in both, {'the same rows' if self.same_rows else 'different rows'}"]
        for j, name in enumerate(self.values):
            low, high = self.quality_ci[j]
            lines.append(
                f"{visible(name)}: R2 {self.quality_a[j]:.3f} -> {self.quality_b[j]:.3f} ({low:+.3f} to {high:+.3f}), "
                f"transfer r {self.transfer[j]:.3f} of {self.own[j]:.3f}, drift {np.degrees(self.drift[j]):.0f} degrees"
            )
        if self.shift is not None:
            s = self.shift
            lines.append(
                f"shift: participation {s.uncentred.participation:.1f} +- {s.participation_se:.2g}, "
                f"centred {s.centred.participation:.1f}, mean share {s.mean_share:.2f}"
            )
        return "\n".join(lines)


@listed("within")
def compare(
    dump_a: Any, dump_b: Any, values: Any, *, values_b: Any = None, transfer: bool = True, draws: int = 400,
    random_state: int = 0, fits: dict[str, Any] | None = None, **options: Any,
) -> Comparison:  # fmt: skip
    """Paired change between two dumps of the same prompts: layers, positions, checkpoints or models (theory 5).

    Folds follow the prompt ids, so both sides are fitted without the same prompts and compared on them. Prompts found
    on one side only are left out of the intervals and refused in the ids.

    Parameters
    ----------
    dump_a, dump_b : dumps with the same set of prompt ids; rows may differ, and so may d with ``transfer=False``
    values : columns of both, or an array of a's rows with `values_b` for b's
    transfer : whether to apply a's direction to b, and to compare the directions; needs equal d
    draws, random_state : bootstrap over prompts
    fits : keyword arguments of `fit_value_direction`
    **options : base policy and pass options, for both

    Returns
    -------
    Comparison
        Cost: a fit of each side, two passes over a and three over b; the shift reads both twice.

    Examples
    --------
    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=5)
    >>> same = compare(world, world, "s", fits={"alpha": 0.01})
    >>> same.quality_change.tolist(), same.drift.round(6).tolist(), same.shift is None
    ([0.0], [0.0], True)
    """
    a, b = (x if isinstance(x, Dump) else open_dump(x) for x in (dump_a, dump_b))
    if transfer and a.dim != b.dim:
        raise ValueError(f"dump_a has {a.dim} columns and dump_b {b.dim}; wanted equal d, or transfer=False")
    names_b = values if values_b is None else values_b
    if not options.get("within", True):
        raise ValueError("within is False; wanted True: a policy is renormalised inside every prompt")
    sides = [
        _Side(x, v, fit_value_direction(x, v, **(fits or {}), **options), options)
        for x, v in ((a, values), (b, names_b))
    ]
    _check_prompts(*sides)
    J = sides[0].s.values.shape[1]
    if sides[1].s.values.shape[1] != J:
        raise ValueError(f"values_b holds {sides[1].s.values.shape[1]} values; wanted {J}, as for dump_a")
    parts = [_value(sides, j, transfer, draws, random_state) for j in range(J)]
    stacked = {name: np.array([p[name] for p in parts]) for name in parts[0]}
    same = a.n_rows == b.n_rows and a.dim == b.dim and _same(a.prompt_ids, b.prompt_ids)
    n = len(sides[0].s.population.ids)
    shift = shift_rank(b, a) if same and not _equal_rows(a, b) else None
    return Comparison(**stacked, shift=shift, same_rows=same, n_prompts=n, values=sides[0].s.call.value_names)


class _Side:
    """One dump with its fit, out-of-fold scores of the fit, and how its prompts line up with the other's."""

    def __init__(self, dump: Dump, values: Any, fit: DirectionFit, options: dict[str, Any]) -> None:
        self.dump, self.values, self.fit, self.options = dump, values, fit, options
        self.s: Scored = scored(dump, fit, values, **options)
        self.order = np.argsort(self.s.population.ids, kind="stable")

    def under(self, fit: DirectionFit, j: int) -> Floats:
        """Scores of value j's direction of another fit, (N,): each prompt by the fold that did not see it."""
        folds = fit.fold_vectors[:, j]
        scores = scored(self.dump, folds, None, **self.options).scores
        p = self.s.population
        return scores[np.arange(p.n_rows), np.repeat(p.folds(len(folds)), p.sizes)]

    def moments(self, columns: Floats, j: int) -> Floats:
        """Per-prompt covariances of columns and value j, prompts sorted by id."""
        return per_prompt_grams(self.s, np.column_stack([columns, self.s.value(j)]), j)[self.order]

    def weights(self, j: int) -> Weights:
        return self.s.weights(j)


def _same(a: Any, b: Any) -> bool:
    return (a is None) == (b is None) and (a is None or np.array_equal(a, b))


def _equal_rows(a: Dump, b: Dump) -> bool:
    return a is b or (a.fingerprint() == b.fingerprint() and a.path == b.path and a.tensor == b.tensor)


def _check_prompts(a: _Side, b: _Side) -> None:
    left, right = (side.s.population.ids[side.order] for side in (a, b))
    if not _same(left, right):
        common = len(np.intersect1d(left, right))
        raise ValueError(
            f"dump_a has {len(left)} prompts and dump_b {len(right)}, {common} of them in both; wanted the same "
            "prompts: use .select(prompts=...)"
        )


def _value(sides: list[_Side], j: int, transfer: bool, draws: int, random_state: int) -> dict[str, Any]:
    """Every quantity of value j with its paired bootstrap."""
    a, b = sides
    own = [side.s.scores[:, j] for side in sides]
    across = b.under(a.fit, j) if transfer else own[1]
    back = a.under(b.fit, j) if transfer else own[0]
    grams = [a.moments(np.column_stack([own[0], back]), j), b.moments(np.column_stack([own[1], across]), j)]
    weights = [side.weights(j).prompt[side.order] for side in sides]
    labels = a.s.population.cluster
    cluster = None if labels is None else labels[a.order]

    def measured(wa: Floats, wb: Floats) -> NDArray[Any]:
        sums = [np.tensordot(w, g, 1) for w, g in zip((wa, wb), grams, strict=True)]
        quality = [float(ratio(2.0 * m[0, 2] - m[0, 0], m[2, 2])) for m in sums]
        r = correlations(sums[1])
        return np.array([quality[0], quality[1], quality[1] - quality[0], r[0, 2], r[1, 2], r[0, 2] - r[1, 2]])

    point = measured(*weights)
    both = zip(*(resampled(w, draws, random_state, cluster) for w in weights), strict=True)
    ci = interval(np.stack([measured(wa, wb) for wa, wb in both]))
    angles = [np.arccos(correlations(np.tensordot(w, g, 1))[0, 1]) for w, g in zip(weights, grams, strict=True)]
    unknown = np.nan if not transfer else 1.0
    return {
        "quality_a": point[0], "quality_b": point[1], "quality_change": point[2], "quality_ci": ci[2],
        "own": point[3], "transfer": point[4] * unknown, "transfer_loss": point[5] * unknown,
        "transfer_ci": ci[5] * unknown, "drift": angles[1] * unknown, "drift_a": angles[0] * unknown,
    }  # fmt: skip
