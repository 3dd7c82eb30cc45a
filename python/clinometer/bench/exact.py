"""Errors of the timed results against float64, on a sample of rows or columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import numpy_side
from .rows import GROUP, Floats, Rows

__all__ = ["covariance_error", "mean_error", "projection_error", "score_error", "tilt_error", "tilt_rows_error"]

SAMPLE_ROWS = 256
SAMPLE_COLUMNS = 8
STRIP = 8192


def _columns(rows: Rows) -> Any:
    # column 0 is an outlier dimension, so it is always in the sample
    return np.unique(np.linspace(0, rows.d - 1, SAMPLE_COLUMNS).astype(np.int64))


def _scores(rows: Rows, directions: Floats) -> Floats:
    strips = range(0, rows.n, STRIP)
    return np.concatenate([rows.exact(slice(i, i + STRIP)) @ directions.T for i in strips])


def _within(a: Floats) -> Floats:
    grouped = a.reshape(-1, GROUP, a.shape[1])
    return np.asarray(grouped - grouped.mean(axis=1, keepdims=True)).reshape(a.shape)


def score_error(rows: Rows, directions: Floats, got: Any) -> float:
    """Largest |error| over sum_c |x_c u_c|."""
    pick = np.unique(np.linspace(0, rows.n - 1, SAMPLE_ROWS).astype(np.int64))
    x = rows.exact(pick)
    return float(np.max(np.abs(got[pick] - x @ directions.T) / (np.abs(x) @ np.abs(directions.T))))


def tilt_error(scores: Floats, values: Floats, betas: Floats, got: tuple[Any, Any, Any]) -> float:
    """Largest absolute error of gain, KL and log partition at the first and last beta; values have unit spread."""
    pick = np.array([0, len(betas) - 1])
    want = numpy_side.tilt(scores, values, betas[pick])
    return max(float(np.max(np.abs(np.asarray(g)[:, pick] - w))) for g, w in zip(got, want, strict=True))


def tilt_rows_error(rows: Rows, directions: Floats, values: Floats, betas: Floats, got: tuple[Any, Any, Any]) -> float:
    """`tilt_error` with float64 scores of the same rows."""
    return tilt_error(_scores(rows, directions), values, betas, got)


def mean_error(rows: Rows, directions: Floats, betas: Floats, got: Any) -> float:
    """Largest error over the column's root mean square, on sampled columns."""
    columns = _columns(rows)
    x = rows.exact(columns=columns)
    t = _scores(rows, directions).reshape(-1, GROUP, len(directions))
    w = np.exp((t - t.max(axis=1, keepdims=True))[..., None] / betas)
    w = (w / w.sum(axis=1, keepdims=True)).reshape(rows.n, -1)
    want = (w.T @ x / (rows.n // GROUP)).reshape(len(directions), len(betas), -1)
    return float(np.max(np.abs(np.asarray(got)[..., columns] - want) / np.sqrt(np.square(x).mean(axis=0))))


def projection_error(rows: Rows, directions: Floats, got: Any) -> float:
    """Largest error over sd(score) sd(column), on sampled columns."""
    columns = _columns(rows)
    x, s = _within(rows.exact(columns=columns)), _within(_scores(rows, directions))
    return float(np.max(np.abs(np.asarray(got)[:, columns] - s.T @ x / rows.n) / np.outer(_sd(s), _sd(x))))


def covariance_error(rows: Rows, got: Any) -> float:
    """Largest error over sd_a sd_b, on a block of sampled columns."""
    columns = _columns(rows)
    x = _within(rows.exact(columns=columns))
    block = np.asarray(got)[np.ix_(columns, columns)]
    return float(np.max(np.abs(block - x.T @ x / rows.n) / np.outer(_sd(x), _sd(x))))


def _sd(a: Floats) -> Floats:
    return np.asarray(np.sqrt(np.square(a).mean(axis=0)))
