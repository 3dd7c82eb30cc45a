"""One round of training: the judge's direction fitted on all prompts and on two halves, and what prompts do to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clinometer.directions import Scores
from clinometer.dump import Dump
from clinometer.fit import DirectionFit, fit_preference_direction, fit_value_direction
from clinometer.inference.label_error import label_errors, label_status
from clinometer.inputs import Call, prepare
from clinometer.population import Population
from clinometer.theory._arrays import Floats

__all__ = ["Round", "fitted"]


@dataclass(frozen=True)
class Round:
    """A dump with its judge (what gains are of), the fit of u_C (1, d) and those of its halves (2, d)."""

    dump: Dump
    judge: Any
    fit: DirectionFit
    halves: DirectionFit
    call: Call

    @property
    def population(self) -> Population:
        return self.call.population

    def moved(self, gradient: Floats) -> Floats:
        """Influence (G,) of each prompt on a quantity with this gradient (d,) in u_C, through its labels."""
        return np.asarray(label_errors(self.call, None)[0].moved(gradient[None])[:, 0])

    def value_names(self, values: Any, options: dict[str, Any]) -> tuple[str, ...]:
        return prepare(self.dump, None, values, **options).value_names


def fitted(dump: Dump, judge: Any, folds: int, fits: Mapping[str, Any] | None, options: dict[str, Any]) -> Round:
    """Fit a judge's scores, or a tuple (pairs, prob), on all prompts and on the halves that a hash of ids makes."""
    in_half = prepare(dump, **options).population
    half = np.full(dump.n_rows, -1)
    half[in_half.rows] = np.repeat(in_half.folds(2), in_half.sizes)
    if isinstance(judge, tuple):
        pairs, prob = (np.asarray(x) for x in judge)
        how = {**dict(fits or {}), "folds": folds, **options}
        fit = fit_preference_direction(dump, pairs, prob, **how)
        apart = np.stack([np.where(half[pairs[:, 0]] == h, prob, np.nan) for h in (0, 1)], axis=1)
        halves = fit_preference_direction(dump, pairs, apart, **how)
        scored = fit
    else:
        scored = Scores(judge) if isinstance(judge, np.ndarray) else judge
        label = prepare(dump, scored, **options)
        if label.columns is None or label.columns.shape[1] != 1 or label.n_scores != 1:
            raise ValueError("judge: wanted one column, Scores or array of scores, or a tuple (pairs, prob)")
        how = {"method": "least_squares", "pooled": False, **dict(fits or {}), "folds": folds, **options}
        fit = fit_value_direction(dump, label.columns[:, 0], **how)
        apart = np.stack([np.where(half == h, label.columns[:, 0], np.nan) for h in (0, 1)], axis=1)
        halves = fit_value_direction(dump, apart, **how)
    call = prepare(dump, fit, **options)
    if (status := label_status(call)[0]) != "ok":
        raise ValueError(f"fits: {status}")
    return Round(dump, scored, fit, halves, call)
