"""Rounds of training: a judge's direction fitted on all prompts and on two halves, and cosines between rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import unit_errors, worth
from clinometer.dump import Dump
from clinometer.dump.directions import Scores
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.passes import covariance_projection
from clinometer.engine.population import Population
from clinometer.fit import DirectionFit, fit_preference_direction, fit_value_direction
from clinometer.fit.quality import curvature_error
from clinometer.inference.label_error import label_errors, label_status

from .arrays import Floats
from .correlations import correlation_influence
from .rows import scored

__all__ = ["Round", "Turned", "checked", "fitted"]


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


def checked(dump: Dump, judge: Any, fits: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
    """A tuple (pairs, prob) of arrays, or the judge's scores of every row as `Scores`; nothing is read."""
    if isinstance(judge, tuple):
        if len(judge) != 2:
            raise ValueError(f"judge is a tuple of {len(judge)}; wanted (pairs (P, 2), prob (P,))")
        pairs, prob = (np.asarray(x) for x in judge)
        if pairs.ndim != 2 or prob.shape != pairs.shape[:1]:
            raise ValueError(f"judge: pairs {pairs.shape} and prob {prob.shape}; wanted (P, 2) and (P,)")
        return pairs, prob
    label = prepare(dump, Scores(judge) if isinstance(judge, np.ndarray) else judge, **options)
    if label.columns is None or label.n_scores != 1:
        raise ValueError("judge: wanted one column, Scores or array of scores, or a tuple (pairs, prob)")
    p, method = label.population, dict(fits or {}).get("method", "least_squares")
    if method not in ("least_squares", "ridge"):
        raise ValueError(f"fits: method is {method!r}, wanted 'least_squares' or 'ridge'")
    beyond = [int((p.sizes - 1)[p.folds(2) == h].sum()) for h in (0, 1)]
    if method == "least_squares" and min(beyond) <= 2 * dump.dim:
        raise ValueError(
            f"{dump.name} has {min(beyond)} rows beyond one a prompt in a half of its prompts and d = {dump.dim}; "
            "least squares wants more than 2 d: pass fits={'method': 'ridge', 'alpha': a}, one penalty for all rounds"
        )
    return Scores(label.columns[:, 0], names=label.names)


def fitted(dump: Dump, judge: Any, folds: int, fits: Mapping[str, Any] | None, options: dict[str, Any]) -> Round:
    """Fit a judge that is `checked` on all prompts and on the halves that a hash of ids makes."""
    p = prepare(dump, **options).population
    half = np.full(dump.n_rows, -1)
    half[p.rows] = p.on_rows(p.folds(2))
    how = {**dict(fits or {}), "folds": folds, **options}
    if isinstance(judge, tuple):
        (pairs, label), at = judge, half[judge[0][:, 0]]
        fit = fit_preference_direction(dump, pairs, label, **how)
        halves = fit_preference_direction(dump, pairs, _apart(label, at), **how)
    else:
        how = {"method": "least_squares", "pooled": False, **how}
        label = np.asarray(judge.array)[:, 0]
        fit = fit_value_direction(dump, label, **how)
        halves = fit_value_direction(dump, _apart(label, half), **how)
    call = prepare(dump, fit, **options)
    if (status := label_status(call)[0]) != "ok":
        raise ValueError(f"fits: {status}")
    return Round(dump, fit if isinstance(judge, tuple) else judge, fit, halves, call)


def _apart(label: Floats, half: NDArray[np.int64]) -> Floats:
    """Labels of either half alone, (n, 2)."""
    return np.stack([np.where(half == h, label, np.nan) for h in (0, 1)], axis=1)


class Turned:
    """Products of all fits under the first round's rows: full fits, halves and folds are rows of one table."""

    def __init__(self, rounds: list[Round], options: dict[str, Any]) -> None:
        self.rounds = rounds
        each = [np.concatenate([r.fit.vectors, r.halves.vectors, r.fit.fold_vectors[:, 0]]) for r in rounds]
        self.size, table = len(each[0]), np.concatenate(each)
        self.images = covariance_projection(rounds[0].dump, table, **options)
        self.gram = (table @ self.images.T + self.images @ table.T) / 2
        self.rows = scored(rounds[0].dump, table[:: self.size], None, **options)

    def at(self, r: int, q: int) -> Floats:
        """Products of the rows of rounds r and q."""
        n = self.size
        return np.asarray(self.gram[r * n : (r + 1) * n, q * n : (q + 1) * n])

    def cosine(self, r: int, q: int) -> tuple[float, float, float]:
        """(cosine of u_C between rounds r and q, its error, effective units)."""
        if r == q:
            return 1.0, 0.0, float("inf")
        across, own = self.at(r, q), [self.at(r, r)[1, 2], self.at(q, q)[1, 2]]
        if min(own) <= 0:  # the halves do not agree on any direction
            return float("nan"), float("nan"), float("nan")
        scale = np.sqrt(own[0] * own[1])
        c = float((across[1, 2] + across[2, 1]) / 2 / scale)
        first, second = (self.images[i * self.size] for i in (r, q))
        rows, t = self.rows.weights(), self.rows.scores
        psi, mass = _by_label(
            (self.rounds[r].moved(second / scale - c * first / own[0]), self.rounds[r].population),
            (self.rounds[q].moved(first / scale - c * second / own[1]), self.rounds[q].population),
            (correlation_influence(rows, rows.centre(t[:, r]), rows.centre(t[:, q]))[0], rows.p),
        )
        error = float(np.hypot(unit_errors(psi, mass)[0], self._second_order(r, q, own)))
        return c, error, float(worth(psi, mass)[0])

    def _second_order(self, r: int, q: int, own: list[float]) -> float:
        """Error of -|e_r - e_q|^2/2 for noise e of unit fits: sqrt(tr (M Sigma)^2), M from the fold fits."""
        cross, folds = self.at(r, q)[3:, 3:], slice(3, None)
        a, b = np.sqrt(own)
        left, right = self.at(r, r)[folds, folds] / a**2, self.at(q, q)[folds, folds] / b**2
        return float(curvature_error(left + right - (cross + cross.T) / (a * b)) / np.sqrt(2))


def _by_label(*parts: tuple[Floats, Population]) -> tuple[Floats, Floats]:
    """Influences (G,) of several dumps added up by prompt id or cluster label, and the units' mean weights, (C, 1)."""
    psi: dict[Any, float] = {}
    mass: dict[Any, float] = {}
    for influence, p in parts:
        labels = p.ids if p.cluster_ids is None else p.cluster_ids
        for label, x, omega in zip(labels.tolist(), influence.tolist(), p.prompt_weight().tolist(), strict=True):
            psi[label] = psi.get(label, 0.0) + x
            mass[label] = mass.get(label, 0.0) + omega / len(parts)
    return np.array(list(psi.values()))[:, None], np.array(list(mass.values()))[:, None]
