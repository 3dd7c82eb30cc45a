"""What a second judge adds to the first (theory 10.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from clinometer.common.options import listed
from clinometer.common.resampling import t_bounds
from clinometer.common.results import Axes, Result
from clinometer.dump import open_dump
from clinometer.dump.directions import Scores
from clinometer.engine.weights import Weights
from clinometer.fit.quality import ratio_error

from .arrays import Floats
from .rows import correlation_influence, correlations, per_prompt_grams, ratio, scored

LEVEL = 0.95


@dataclass(frozen=True, repr=False, eq=False)
class Complementarity(Result):
    """Within multiple correlation of each value on two judges, less the larger single one; arrays are (J,).

    `together` is the multiple correlation, `first` and `second` the single ones, `gain` = together - max(|first|,
    |second|) >= 0 with its 95 % interval `ci` (J, 2), which begins at 0 where the judges may be no better together than
    alone; `weights` (J, 2) the regression weights in score units, `between` the judges' own correlation (J,).
    """

    axes: ClassVar[Axes] = {
        "value": "gain together first second between",
        "value bound": "ci",
        "value judge": "weights",
    }

    gain: Floats
    ci: Floats
    together: Floats
    first: Floats
    second: Floats
    between: Floats
    weights: Floats
    values: tuple[str, ...]
    n_prompts: int


@listed("within")
def complementarity(judge_a: Any, judge_b: Any, value: Any, *, dump: Any = None, **options: Any) -> Complementarity:
    """What a second judge adds to the best single one (theory 10.3).

    R^2 = c' V^-1 c / Var(s) with V the judges' within-prompt covariance and c their covariances with the value. Never
    negative on the rows it is computed on, so that a judge that adds nothing shows a gain too: two useless ones about
    1/sqrt(N). The interval is valid there: with r the larger single correlation and p the other judge's correlation
    with the value net of the first (semipartial), R^2 = r^2 + p^2, so that gain = h^2 with h = p / sqrt(R + |r|), which
    has a sign and an error. Bounds of h are Student's t on the influence of each prompt or cluster.

    Parameters
    ----------
    judge_a, judge_b : scores (N,) of every row; with `dump` also columns, directions or fits
    value : array (N,) or (N, J); with `dump` also columns
    dump : where names and directions are looked up; without it ``prompt_ids=`` says which rows go together
    **options : base policy and pass options

    Returns
    -------
    Complementarity
        Cost: two passes over the dump, or none.

    Errors: ValueError where scores and value differ in length or a column is not in the dump; TypeError for names
    without a dump.

    >>> import numpy as np
    >>> a, b = np.array([1.0, 0.0, -1.0, 0.0]), np.array([0.0, 1.0, 0.0, -1.0])
    >>> found = complementarity(a, b, a + b, prompt_ids=[0, 0, 0, 0])
    >>> round(float(found.together[0]), 6), round(float(found.gain[0]), 4)
    (1.0, 0.2929)
    """
    judges = [judge_a, judge_b]
    if dump is None:
        judges = [j if isinstance(j, Scores) else Scores(j) for j in judges]
        ids = next((j.prompt_ids for j in judges if j.prompt_ids is not None), options.pop("prompt_ids", None))
        dump = open_dump(np.zeros((len(judges[0]), 1), np.float32), prompt_ids=ids)
    parts = [scored(dump, judge, value, **options) for judge in judges]
    for name, part in zip(("judge_a", "judge_b"), parts, strict=True):
        if part.scores.shape[1] != 1:
            raise ValueError(f"{name} holds {part.scores.shape[1]} judges; wanted one")
    s, J = parts[0], parts[0].values.shape[1]
    out = np.empty((J, 5))
    ci, weights = np.empty((J, 2)), np.empty((J, 2))
    for j in range(J):
        w = s.weights(j)
        columns = np.column_stack([parts[0].scores, parts[1].scores, s.value(j)])
        out[j], weights[j] = _together(np.tensordot(w.prompt, per_prompt_grams(s, columns, j), 1))
        ci[j] = _interval(w, w.centre(columns), out[j])
    return Complementarity(
        out[:, 0], ci, out[:, 1], out[:, 2], out[:, 3], out[:, 4], weights, s.call.value_names, s.population.n_prompts
    )


def _together(gram: Floats) -> tuple[Floats, Floats]:
    """(gain, multiple correlation, both single ones, between) and the weights, from a 3 x 3 covariance."""
    r = correlations(gram)
    if np.isnan(r[2, 2]):
        return np.full(5, np.nan), np.full(2, np.nan)
    scale = np.sqrt(np.diagonal(gram)[:2])
    inner, cross = np.nan_to_num(r[:2, :2]), np.nan_to_num(r[:2, 2])
    solved = np.linalg.pinv(inner, rcond=1e-10, hermitian=True) @ cross
    together = float(np.sqrt(np.clip(cross @ solved, 0.0, 1.0)))
    single = float(np.abs(cross).max())
    weights = ratio(solved * np.sqrt(gram[2, 2]), scale)
    return np.array([max(0.0, together - single), max(together, single), r[0, 2], r[1, 2], r[0, 1]]), weights


def _interval(w: Weights, x: Floats, found: Floats) -> Floats:
    """Bounds (2,) of the gain from centred scores and value x (N, 3) and what `_together` found of them."""
    _, R, *single, between = found
    best = int(np.argmax(np.abs(np.nan_to_num(single))))
    r, other, left = single[best], single[1 - best], 1 - between**2
    if np.isnan([r, other, between]).any() or R == 0:
        return np.full(2, np.nan if np.isnan(R) else 0.0)
    if not left > 1e-10 or 1 - r**2 < 1e-12:  # one judge twice, or the value itself
        return np.zeros(2)
    psi = {
        pair: correlation_influence(w, x[:, pair[0]], x[:, pair[1]])[0] for pair in ((best, 2), (1 - best, 2), (0, 1))
    }
    dr, dother, dbetween = psi.values()
    p = (other - r * between) / np.sqrt(left)
    dp = (dother - between * dr - r * dbetween) / np.sqrt(left) + p * between / left * dbetween
    total = R + abs(r)
    dtotal = (r * dr + p * dp) / R + np.sign(r) * dr
    h, dh = p / np.sqrt(total), dp / np.sqrt(total) - p / 2 * total**-1.5 * dtotal
    variance = w.prompt * w.total(w.row * x[:, 2] ** 2)
    psi_h, below, held = w.p.unit_sums(np.stack([dh, variance, w.prompt], axis=1)).T
    se, units = ratio_error(psi_h[held > 0], below[held > 0], held[held > 0])
    low, high = t_bounds(np.array(h), np.array(se), np.array(units), LEVEL)
    square = np.minimum(np.sort(np.square([low, high])), 1.0)
    return np.asarray(np.where([low < 0 < high, False], 0.0, square))
