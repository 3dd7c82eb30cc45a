"""Two dumps of the same prompts: layers, positions, checkpoints or models, and what changed (theory 5.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.common.visible import visible
from clinometer.dump import Dump, open_dump
from clinometer.fit import fit_value_direction

from .arrays import Floats
from .paired import Side, changes
from .shift import ShiftRank, shift_rank

__all__ = ["Comparison", "compare"]


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
    if not options.get("within", True):
        raise ValueError("within is False; wanted True: a policy is renormalised inside every prompt")
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
