"""What is timed: each kernel beside NumPy on the same input, the work it must do and the check of its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import _core
from ..directions import Scores
from ..inputs import prepare, run
from ..passes import _score_dump, covariance_projection, moments, score, tilt, tilted_mean
from . import exact, numpy_side
from .rows import Floats, Rows, directions

__all__ = ["DTYPES", "KERNELS", "Case", "cases"]

DTYPES = ("float32", "bfloat16", "float16")
BETAS = np.geomspace(0.5, 20.0, 16)
FEW_BETAS = np.geomspace(0.5, 4.0, 4)
N_VALUES = 4


@dataclass
class Case:
    """One cell: two calls on one input; bytes, flops and exponentials are what any method must spend."""

    kernel: str
    dtype: str
    size: str
    ours: Callable[[], Any]
    numpy: Callable[[], Any]
    error: Callable[[Any], float]
    tolerance: float
    n_bytes: float
    n_flops: float
    n_exps: float = 0.0


def _score(rows: Rows) -> Iterator[Case]:
    for k in (1, 8, 64):
        u = directions(k, rows.d)
        single = u.astype(np.float32)
        out, other = np.empty((rows.n, k), np.float32), np.empty((rows.n, k), np.float32)
        yield Case(
            "score", rows.dtype, f"K={k}",
            partial(score, rows.dump, u, out=out), partial(numpy_side.score, rows, single, other),
            partial(exact.score_error, rows, u),
            2e-6, rows.n_bytes, 2.0 * rows.n * rows.d * k,
        )  # fmt: skip


def _values(scores: Floats) -> Floats:
    # correlated with the score, as a value that a constitution moves; noise alone has sign flips for `tilt` to find
    noise = np.random.default_rng(3).standard_normal((len(scores), N_VALUES))
    return np.asarray((0.5 * scores[:, :1] + noise) / np.sqrt(1.25))


def _tilt(rows: Rows) -> Iterator[Case]:
    for k in (1, 16):
        scores = np.random.default_rng(4).standard_normal((rows.n, k))
        values = _values(scores)
        dump, given = _score_dump(Scores(scores, prompt_ids=rows.dump.prompt_ids), None)
        call = prepare(dump, given, values)
        table = np.ascontiguousarray(np.broadcast_to(BETAS, (k, len(BETAS))))
        cells = float(rows.n * table.size)

        def ours(call: Any = call, scores: Any = scores, table: Any = table, k: int = k) -> tuple[Any, Any, Any]:
            state = run(call, [_core.Tilt(0, k, 0, N_VALUES, table, False, True)], kept=scores)[0].finish()
            return state["gain"], state["kl"], state["log_partition"]

        yield Case(
            "tilt", "scores", f"K={k}", ours,
            partial(numpy_side.tilt, scores, values, BETAS), partial(exact.tilt_error, scores, values, BETAS),
            1e-10, 8.0 * rows.n * (k + N_VALUES), 2 * cells * N_VALUES, cells,
        )  # fmt: skip


def _tilt_call(rows: Rows) -> Iterator[Case]:
    u = directions(1, rows.d)
    single, values = u.astype(np.float32), _values(score(rows.dump, u).astype(np.float64))

    def ours() -> tuple[Any, Any, Any]:
        r = tilt(rows.dump, u, BETAS, values, pareto_k=False)
        return r.gain, r.kl, r.log_partition

    cells = float(rows.n * len(BETAS))
    yield Case(
        "tilt_call", rows.dtype, "K=1", ours,
        partial(numpy_side.tilt_rows, rows, single, values, BETAS),
        partial(exact.tilt_rows_error, rows, u, values, BETAS),
        1e-4, rows.n_bytes, 2.0 * rows.n * rows.d + 2 * cells * N_VALUES, cells,
    )  # fmt: skip


def _tilted_mean(rows: Rows) -> Iterator[Case]:
    k, b = 4, len(FEW_BETAS)
    u = directions(k, rows.d)
    single = u.astype(np.float32)
    yield Case(
        "tilted_mean", rows.dtype, f"K={k} B={b}",
        lambda: tilted_mean(rows.dump, u, FEW_BETAS).mean,
        partial(numpy_side.tilted_mean, rows, single, FEW_BETAS), partial(exact.mean_error, rows, u, FEW_BETAS),
        1e-5, rows.n_bytes, 2.0 * rows.n * rows.d * (k + k * b), float(rows.n * k * b),
    )  # fmt: skip


def _covariance_projection(rows: Rows) -> Iterator[Case]:
    for k in (1, 16):
        u = directions(k, rows.d)
        single = u.astype(np.float32)
        yield Case(
            "covariance_projection", rows.dtype, f"K={k}",
            partial(covariance_projection, rows.dump, u), partial(numpy_side.covariance_projection, rows, single),
            partial(exact.projection_error, rows, u),
            1e-5, rows.n_bytes, 4.0 * rows.n * rows.d * k,
        )  # fmt: skip


def _covariance(rows: Rows) -> Iterator[Case]:
    # the matrix is symmetric: half of 2 N d^2
    yield Case(
        "covariance", rows.dtype, f"d={rows.d}",
        lambda: moments(rows.dump).covariance,
        partial(numpy_side.covariance, rows), partial(exact.covariance_error, rows),
        1e-5, rows.n_bytes, float(rows.n) * rows.d**2,
    )  # fmt: skip


KERNELS: dict[str, Callable[[Rows], Iterator[Case]]] = {
    "score": _score, "tilt": _tilt, "tilt_call": _tilt_call, "tilted_mean": _tilted_mean,
    "covariance_projection": _covariance_projection, "covariance": _covariance,
}  # fmt: skip


def cases(kernels: list[str], rows: dict[str, Rows]) -> Iterator[Case]:
    """Every cell of the kernels named; `tilt` works on given scores, so the dtype of the rows plays no part."""
    for kernel in kernels:
        for dtype in DTYPES[:1] if kernel == "tilt" else DTYPES:
            yield from KERNELS[kernel](rows[dtype])
