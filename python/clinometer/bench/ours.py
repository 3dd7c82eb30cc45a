"""clinometer's own call of each kernel: the only place that knows how the package spells them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from clinometer import _core
from clinometer.dump.directions import Scores
from clinometer.engine.inputs import prepare, run
from clinometer.engine.passes import covariance_projection, moments, score, score_dump, tilted_mean

from .problem import Problem

__all__ = ["NotBuilt", "call", "score_into"]

Result = Callable[[], Any]


class NotBuilt(Exception):
    """The installed package has no such kernel."""


def call(problem: Problem, n_threads: int | None = None, extras: bool = True) -> Result:
    """The call to be timed. `extras=False` asks for a tilt without the moments beyond gain, KL and log partition."""
    if not extras:
        return _tilt_stage(problem, n_threads, extras=False)
    return _CALLS[problem.kernel](problem, n_threads)


def score_into(p: Problem, n_threads: int | None) -> Result:
    """Scores into an array that is there already."""
    out = np.empty((p.rows.n, p.k), np.float32)
    return lambda: score(p.rows.dump, p.u, out=out, n_threads=n_threads)


def _three(state: dict[str, Any]) -> tuple[Any, Any, Any]:
    return state["gain"], state["kl"], state["log_partition"]


def _table(p: Problem) -> Any:
    return np.ascontiguousarray(np.broadcast_to(p.betas, (p.k, len(p.betas))))


def _tilt_stage(p: Problem, n_threads: int | None, within: bool = True, extras: bool = True) -> Result:
    kept = p.scores.astype(np.float64)
    dump, given = score_dump(Scores(kept, prompt_ids=p.rows.dump.prompt_ids), None)
    prepared = prepare(dump, given, p.values, within=within, n_threads=n_threads)
    table = _table(p)

    def stage() -> tuple[Any, Any, Any]:
        statistic = _core.Tilt(0, p.k, 0, p.values.shape[1], table, False, True, extras)
        return _three(run(prepared, [statistic], kept=kept)[0].finish())

    return stage


def _tilt_global(p: Problem, n_threads: int | None) -> Result:
    return _tilt_stage(p, n_threads, within=False)


def _fused(p: Problem, n_threads: int | None) -> Result:
    """Rows to tilt in one pass: no scores are kept."""
    table = _table(p)

    def fused() -> tuple[Any, Any, Any]:
        prepared = prepare(p.rows.dump, p.u, p.values, n_threads=n_threads)
        return _three(run(prepared, [_core.Tilt(0, p.k, 0, p.values.shape[1], table, False, True)])[0].finish())

    return fused


def _tilted_mean(p: Problem, n_threads: int | None) -> Result:
    return lambda: tilted_mean(p.rows.dump, p.u, p.betas, n_threads=n_threads).mean


def _projection(p: Problem, n_threads: int | None) -> Result:
    return lambda: covariance_projection(p.rows.dump, p.u, n_threads=n_threads)


def _covariance(p: Problem, n_threads: int | None, within: bool = False) -> Result:
    return lambda: moments(p.rows.dump, within=within, n_threads=n_threads).covariance


def _covariance_within(p: Problem, n_threads: int | None) -> Result:
    return _covariance(p, n_threads, within=True)


def _bradley_terry(p: Problem, n_threads: int | None) -> Result:
    core: Any = _core
    if not hasattr(core, "Pairs"):
        raise NotBuilt("a pass of Bradley-Terry loss and gradient over pairs of rows")
    prepared = prepare(p.rows.dump, p.u, n_threads=n_threads)
    n = len(p.chosen)
    even = 2 * np.arange(n)
    label = np.ascontiguousarray(np.broadcast_to(p.chosen[:, None], (n, p.k)))
    pairs = core.PairList(even, even + 1, label, np.full((n, 1), 1 / n))

    def loss_and_gradient() -> tuple[Any, Any]:
        state = run(prepared, [core.Pairs(p.rows.d, 0, p.k, pairs, np.zeros(p.k))])[0].finish()
        return state["loss"], state["gradient"]

    return loss_and_gradient


_CALLS: dict[str, Callable[[Problem, int | None], Result]] = {
    "score": score_into, "tilt": _tilt_stage, "tilt_global": _tilt_global, "fused": _fused,
    "tilted_mean": _tilted_mean, "covariance_projection": _projection, "covariance": _covariance,
    "covariance_within": _covariance_within, "bradley_terry": _bradley_terry,
}  # fmt: skip
