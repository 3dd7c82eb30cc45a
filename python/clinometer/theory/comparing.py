"""Two dumps of the same prompts: layers, positions, checkpoints or models, and what changed (theory 5.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.options import listed
from clinometer.common.resampling import t_bounds
from clinometer.common.results import Axes, Result
from clinometer.common.visible import visible
from clinometer.dump import Dump, open_dump
from clinometer.engine.checks import need_within
from clinometer.fit import DirectionFit, fit_value_direction
from clinometer.fit.quality import curvature_error, ratio_error, scores_of
from clinometer.inference.label_error import LabelError, label_errors

from .arrays import Floats
from .rows import Scored, correlation_influence, ratio, scored
from .shift import ShiftRank, shift_rank


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result):
    """What changed from a to b; arrays are (J,), 95 % intervals (J, 2), by Student's t on what each prompt or cluster,
    paired between the two, does to the change: through its rows, and through its labels to both fits.

    `quality_a`, `quality_b` are out-of-fold within R^2, `quality_change` = b - a with `quality_ci`. `transfer` is the
    out-of-fold correlation on b of the direction fitted on a, `own` that of b's own, `transfer_loss` = own - transfer
    with `transfer_ci`. `drift` is the angle in radians between both directions, arccos of the correlation of their
    scores, under b's rows; `drift_a` under a's. `shift` is None unless the rows are the same.

    `same_rows`: both dumps have the same responses in the same order.
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
    dump_a: Any, dump_b: Any, values: Any, *, values_b: Any = None, transfer: bool = True,
    fits: dict[str, Any] | None = None, **options: Any,
) -> Comparison:  # fmt: skip
    """Paired change between two dumps of the same prompts: layers, positions, checkpoints or models (theory 5.3).

    Folds follow the prompt ids, so both sides are fitted without the same prompts and compared on them. Prompts found
    on one side only are left out of the intervals and refused in the ids.

    Parameters
    ----------
    dump_a, dump_b : dumps with the same set of prompt ids; rows may differ, and so may d with ``transfer=False``
    values : columns of both, or an array of a's rows with `values_b` for b's
    transfer : whether to apply a's direction to b, and to compare the directions; needs equal d
    fits : keyword arguments of `fit_value_direction`; errors through the labels are those of ridge and least squares
    **options : base policy and pass options, for both

    Returns
    -------
    Comparison
        Cost: two covariances of each side's rows, a fit's and its errors', and some ten passes; the shift reads both
        twice.

    Errors: ValueError where a column is not in the dump, the prompts differ, or there are fewer prompts than
    folds.

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
    need_within(options)
    sides = [
        Side(x, v, fit_value_direction(x, v, **(fits or {}), **options), options)
        for x, v in ((a, values), (b, names_b))
    ]
    _check_prompts(*sides)
    J = sides[0].s.values.shape[1]
    if sides[1].s.values.shape[1] != J:
        raise ValueError(f"values_b holds {sides[1].s.values.shape[1]} values; wanted {J}, as for dump_a")
    parts = [changes(sides[0], sides[1], j, transfer) for j in range(J)]
    stacked = {name: np.array([p[name] for p in parts]) for name in parts[0]}
    same = a.n_rows == b.n_rows and a.dim == b.dim and _same(a.prompt_ids, b.prompt_ids)
    if a.has_column("response_id") and b.has_column("response_id"):
        same = same and _same(a.column("response_id"), b.column("response_id"))
    n = len(sides[0].s.population.ids)
    shift = shift_rank(b, a) if same and not _equal_rows(a, b) else None
    return Comparison(**stacked, shift=shift, same_rows=same, n_prompts=n, values=sides[0].s.call.value_names)


def _same(a: Any, b: Any) -> bool:
    return (a is None) == (b is None) and (a is None or np.array_equal(a, b))


def _equal_rows(a: Dump, b: Dump) -> bool:
    return a is b or (a.fingerprint() == b.fingerprint() and a.path == b.path and a.tensor == b.tensor)


def _check_prompts(a: Side, b: Side) -> None:
    left, right = (side.s.population.ids[side.order] for side in (a, b))
    if not _same(left, right):
        common = len(np.intersect1d(left, right))
        raise ValueError(
            f"dump_a has {len(left)} prompts and dump_b {len(right)}, {common} of them in both; wanted the same "
            "prompts: use .select(prompts=...)"
        )


class Side:
    """One dump with its fit, out-of-fold scores of the fit, and how its prompts line up with the other's."""

    def __init__(self, dump: Dump, values: Any, fit: DirectionFit, options: dict[str, Any]) -> None:
        self.dump, self.fit, self.options = dump, fit, options
        self.s: Scored = scored(dump, fit, values, **options)
        self.order = np.argsort(self.s.population.ids, kind="stable")
        self.errors: dict[int, LabelError] = label_errors(self.s.call, None)

    def under(self, fit: DirectionFit, j: int) -> Floats:
        """Scores of value j's direction of another fit, (N,): each prompt by the fold that did not see it."""
        folds = fit.fold_vectors[:, j]
        scores = scored(self.dump, folds, None, **self.options).scores
        p = self.s.population
        return np.asarray(scores[np.arange(p.n_rows), p.on_rows(p.folds(len(folds)))])

    def through(self, j: int, gradient: Floats) -> Floats:
        """What each prompt's labels do through the fit of value j to what has this gradient (d,) in it, (G,)."""
        return self.errors[j].moved(gradient[None])[:, 0] if j in self.errors else np.zeros(len(self.order))


class _Labelled:
    """Value j of a side: centred labels and out-of-fold scores, and what prompts do to R^2 and to correlations."""

    def __init__(self, side: Side, j: int) -> None:
        self.side, self.j, self.w = side, j, side.s.weights(j)
        self.row = self.w.row * self.w.p.on_rows(self.w.prompt)
        self.f, self.t = self.w.centre(side.s.value(j)), self.w.centre(side.s.scores[:, j])
        self.sst = float(self.row @ (self.f * self.f))
        self.bad = float(self.row @ (self.f - self.t) ** 2)
        self.quality = float(1 - ratio(self.bad, self.sst))

    def gradient(self, slopes: Floats) -> Floats:
        """Derivative (d,) in the direction of what has these slopes (N,) in each row's score."""
        errors = self.side.errors
        return errors[self.j].sum_of_rows(slopes[:, None])[0] if self.j in errors else np.zeros(self.side.dump.dim)

    def of_quality(self) -> Floats:
        """Influence of each prompt on R^2, sorted by id, (G,)."""
        e = self.f - self.t
        psi = self.w.total(self.row * (self.bad / self.sst * self.f**2 - e * e)) / self.sst
        through = self.side.through(self.j, self.gradient(2 * self.row * e / self.sst))
        return np.asarray((psi + through)[self.side.order])

    def gram(self) -> Floats:
        """Of the scores of all fold fits, over the label's variance: what noise of the fit costs in R^2."""
        folds = scores_of(self.side.s.call, self.side.fit.fold_vectors[:, self.j])
        x = self.w.centre(folds)
        return np.asarray((self.row[:, None] * x).T @ x / self.sst)

    def share(self) -> Floats:
        """Of each prompt in the label's variance, and its weight, sorted by id, (G, 2)."""
        variance = self.w.total(self.row * self.f**2) / self.sst
        return np.stack([variance, self.w.prompt], axis=1)[self.side.order]

    def correlation(self, t: Floats, source: Side) -> tuple[float, Floats]:
        """Of centred scores t with the value, and the influence of each prompt, through the fit of `source` too."""
        psi, (slopes, _) = correlation_influence(self.w, t, self.f)
        r = float(ratio(self.row @ (t * self.f), np.sqrt((self.row @ (t * t)) * self.sst)))
        through = source.through(self.j, self.gradient(slopes))
        return r, psi[self.side.order] + through[source.order]


def changes(a: Side, b: Side, j: int, transfer: bool) -> dict[str, Any]:
    """Every quantity of value j with its paired error."""
    one, two = _Labelled(a, j), _Labelled(b, j)
    own, d_own = two.correlation(two.t, b)
    change, spread = np.full(len(a.order), np.nan), np.nan
    if one.sst > 0 and two.sst > 0:
        change, spread = two.of_quality() - one.of_quality(), curvature_error(two.gram() - one.gram())
    weights, labels = (one.share() + two.share()) / 2, a.s.population.cluster
    unit = np.arange(len(a.order)) if labels is None else labels[a.order]
    out = {
        "quality_a": one.quality, "quality_b": two.quality, "quality_change": two.quality - one.quality,
        "quality_ci": _ci(two.quality - one.quality, change, spread, weights, unit), "own": own,
        "transfer": np.nan, "transfer_loss": np.nan, "transfer_ci": np.full(2, np.nan), "drift": np.nan,
        "drift_a": np.nan,
    }  # fmt: skip
    if not transfer:
        return out
    across, back = two.w.centre(b.under(a.fit, j)), one.w.centre(a.under(b.fit, j))
    moved, d_moved = two.correlation(across, a)
    loss = own - moved
    drift, drift_a = (_angle(v, t) for v, t in ((two, across), (one, back)))
    ci = _ci(loss, d_own - d_moved, 0.0, weights, unit)
    return out | {
        "transfer": moved, "transfer_loss": loss, "transfer_ci": ci, "drift": drift, "drift_a": drift_a,
    }  # fmt: skip


def _ci(at: float, psi: Floats, spread: float, weights: Floats, unit: NDArray[np.int64]) -> Floats:
    """95 % interval from influences of prompts (G,), their shares and weights (G, 2), and the units they are of."""
    moved, below, held = (np.asarray(np.bincount(unit, x), np.float64) for x in (psi, *weights.T))
    some = held > 0
    se, units = ratio_error(moved[some], below[some], held[some])
    return t_bounds(np.array(at), np.hypot(se, spread), np.array(units), 0.95)


def _angle(v: _Labelled, other: Floats) -> float:
    """Between the direction of a side and another, by their scores (N,) on its rows."""
    r = ratio(v.row @ (v.t * other), np.sqrt((v.row @ (v.t * v.t)) * (v.row @ (other * other))))
    return float(np.arccos(np.clip(r, -1.0, 1.0)))
