"""Errors of the timed results against float64, on a sample of rows, columns or strengths, in units of the natural
scale of each quantity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .problem import TOLERANCES, Problem
from .rows import Floats, Rows

__all__ = ["checked", "error", "gain_error"]

SAMPLE_ROWS = 256
SAMPLE_COLUMNS = 8
SAMPLE_DIRECTIONS = 3
STRIP_CELLS = 1 << 24
GAIN, KL, LOG = 1e-6, 1e-5, 1e-5  # accuracy modes of the tilt; errors of it are multiples of these


def error(problem: Problem, got: Any) -> float:
    """Largest error of a result; NaN where the result holds one, infinity where it has a wrong shape."""
    try:
        return float(_CHECKS[problem.kernel](problem, got))
    except (ValueError, IndexError, TypeError):  # a result that cannot even be compared
        return float("inf")


def checked(problem: Problem, got: Any) -> dict[str, Any]:
    """The error of a result, what its accuracy mode allows, and whether it keeps to that."""
    found, tolerance = error(problem, got), TOLERANCES[problem.kernel]
    return {"error": found, "tolerance": tolerance, "checked": bool(found <= tolerance)}  # False for NaN


def _spaced(n: int, count: int) -> Any:
    return np.unique(np.linspace(0, n - 1, count).astype(np.int64))


def _strips(rows: Rows) -> Any:
    step = max(STRIP_CELLS // rows.d // rows.group, 1) * rows.group
    return (slice(i, i + step) for i in range(0, rows.n, step))


def _scores(p: Problem, pick: Any) -> Floats:
    u = p.u[pick].T
    return np.concatenate([p.rows.exact(cut) @ u for cut in _strips(p.rows)])


def _centred(a: Floats, group: int) -> Floats:
    """Less the mean of each prompt; of all rows where the group is 0."""
    if group == 0 or len(a) <= group:
        return np.asarray(a - a.mean(axis=0))
    whole = len(a) // group * group
    head = a[:whole].reshape(-1, group, a.shape[1])
    head = (head - head.mean(axis=1, keepdims=True)).reshape(-1, a.shape[1])
    tail = a[whole:]
    return head if len(tail) == 0 else np.concatenate([head, tail - tail.mean(axis=0)])


def _score(p: Problem, got: Any) -> float:
    pick = _spaced(p.rows.n, SAMPLE_ROWS)
    x = p.rows.exact(pick)
    return float(np.max(np.abs(got[pick] - x @ p.u.T) / (np.abs(x) @ np.abs(p.u.T))))


def tilted(t: Floats, f: Floats, beta: float, group: int) -> tuple[Floats, float, float]:
    """Gain (J,), KL and log partition of one tilt of scores (N,) in whole prompts of `group` rows, averaged."""
    t, f = t.reshape(-1, group), f.reshape(-1, group, f.shape[1])
    top = t.max(axis=1, keepdims=True)
    x = (t - top) / beta
    e = np.exp(x)
    z = e.mean(axis=1)
    w = e / (group * z[:, None])
    kl = np.sum(w * (x - np.log(z)[:, None]), axis=1)
    gain = np.einsum("gi,gij->gj", w, f) - f.mean(axis=1)
    return gain.mean(axis=0), float(kl.mean()), float(np.mean(np.log(z) + top[:, 0] / beta))


def _direction(p: Problem, k: int) -> Floats:
    return _scores(p, slice(k, k + 1))[:, 0] if p.kernel == "fused" else p.scores[:, k].astype(np.float64)


def _gain_scale(spread: float, beta: float, f: Floats) -> float:
    """The accuracy mode of a gain: sd m (1 + s / beta), m = min(1, s / beta)."""
    s = spread / beta
    return float(f.std() * min(1.0, s) * (1 + s) * GAIN)


def gain_error(p: Problem, k: int, beta: float, got: Any) -> float:
    """Largest error of the gains (J,) of one tilt, as a multiple of the accuracy mode."""
    t, f = _direction(p, k), p.values[:, : len(got)].astype(np.float64)
    want = tilted(t, f, beta, p.rows.group)[0]
    spread = float(_centred(t[:, None], p.rows.group).std())
    return float(np.max(np.abs(np.asarray(got) - want)) / _gain_scale(spread, beta, f))


def _tilt(p: Problem, got: Any) -> float:
    """As multiples of the accuracy modes of gain, KL and log partition."""
    group = p.rows.n if p.kernel == "tilt_global" else p.rows.group
    f, worst = p.values.astype(np.float64), 0.0
    for k in _spaced(p.k, SAMPLE_DIRECTIONS):
        t = _direction(p, k)
        spread = float(_centred(t[:, None], group).std())
        for b in (0, len(p.betas) - 1):
            gain, kl, log = tilted(t, f, p.betas[b], group)
            gain_off = np.max(np.abs(np.asarray(got[0])[k, b] - gain)) / _gain_scale(spread, p.betas[b], f)
            kl_off = abs(got[1][k, b] - kl) / max(kl, 1e-300) / KL
            log_off = abs(got[2][k, b] - log) / max(abs(log), spread / p.betas[b]) / LOG
            worst = np.max([worst, gain_off, kl_off, log_off])
    return float(worst)


def _tilted_mean(p: Problem, got: Any) -> float:
    """Over the column's root mean square, on sampled columns."""
    columns = _spaced(p.rows.d, SAMPLE_COLUMNS)  # column 0, an outlier dimension, is always among them
    x = p.rows.exact(columns=columns)
    t = _scores(p, slice(None)).reshape(-1, p.rows.group, p.k)
    w = np.exp((t - t.max(axis=1, keepdims=True))[..., None] / p.betas)
    w = (w / w.sum(axis=1, keepdims=True)).reshape(p.rows.n, -1)
    want = (w.T @ x / (p.rows.n // p.rows.group)).reshape(p.k, len(p.betas), -1)
    return float(np.max(np.abs(np.asarray(got)[..., columns] - want) / np.sqrt(np.square(x).mean(axis=0))))


def _projection(p: Problem, got: Any) -> float:
    """Over sd(score) sd(column), on sampled columns."""
    columns = _spaced(p.rows.d, SAMPLE_COLUMNS)
    x, s = (_centred(a, p.rows.group) for a in (p.rows.exact(columns=columns), _scores(p, slice(None))))
    return float(np.max(np.abs(np.asarray(got)[:, columns] - s.T @ x / p.rows.n) / np.outer(_sd(s), _sd(x))))


def _covariance(p: Problem, got: Any) -> float:
    """Over sd_a sd_b, on a block of sampled columns."""
    columns = _spaced(p.rows.d, SAMPLE_COLUMNS)
    x = _centred(p.rows.exact(columns=columns), p.rows.group if p.kernel == "covariance_within" else 0)
    block = np.asarray(got)[np.ix_(columns, columns)]
    return float(np.max(np.abs(block - x.T @ x / p.rows.n) / np.outer(_sd(x), _sd(x))))


def _bradley_terry(p: Problem, got: Any) -> float:
    """Loss relative, gradient over the root mean square of the column's differences, on sampled columns."""
    columns = _spaced(p.rows.d, SAMPLE_COLUMNS)
    margin = _scores(p, slice(None))
    margin = margin[0 : 2 * len(p.chosen) : 2] - margin[1 : 2 * len(p.chosen) : 2]
    want_loss = np.mean(np.logaddexp(0, margin) - p.chosen[:, None] * margin, axis=0)
    x = p.rows.exact(columns=columns)[: 2 * len(p.chosen)]
    x = x[0::2] - x[1::2]
    want = ((1 / (1 + np.exp(-margin))) - p.chosen[:, None]).T @ x / len(x)
    loss, gradient = np.asarray(got[0]).reshape(p.k), np.asarray(got[1]).reshape(p.k, -1)
    off = np.abs(gradient[:, columns] - want) / np.sqrt(np.square(x).mean(axis=0))
    return float(max(np.max(np.abs(loss - want_loss) / want_loss), np.max(off)))


def _sd(a: Floats) -> Floats:
    return np.asarray(np.maximum(a.std(axis=0), 1e-30))


_CHECKS: dict[str, Callable[[Problem, Any], float]] = {
    "score": _score, "tilt": _tilt, "tilt_global": _tilt, "fused": _tilt, "tilted_mean": _tilted_mean,
    "covariance_projection": _projection, "covariance": _covariance, "covariance_within": _covariance,
    "bradley_terry": _bradley_terry,
}  # fmt: skip
