"""The passes and their NumPy counterparts under pytest-benchmark: `pytest benchmarks/bench_passes.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.bench import numpy_side
from clinometer.bench.blas import Blas
from clinometer.bench.rows import GROUP, Rows, directions, make

pytest.importorskip("pytest_benchmark")

N, D = 8192, 256
DTYPES = ("float32", "bfloat16", "float16")
BETAS = np.geomspace(0.5, 20.0, 16)
SIDES = ("clinometer", "numpy")
by_side = pytest.mark.parametrize("side", SIDES)
by_dtype = pytest.mark.parametrize("dtype", DTYPES)


@cache
def all_rows() -> dict[str, Rows]:
    return make(N, D, DTYPES)


@cache
def values() -> np.ndarray[Any, np.dtype[np.float64]]:
    t = all_rows()["float32"].exact() @ directions(1, D).T
    noise = np.random.default_rng(0).standard_normal((N, 4))
    return np.asarray((0.5 * (t - 30 * directions(1, D)[:, ::64].sum()) + noise) / np.sqrt(1.25))


def timed(benchmark: Any, name: str, sides: dict[str, Callable[[], Any]], side: str) -> Any:
    """Time one side; NumPy's products get the number of threads that is the faster for them."""
    benchmark.group = name
    if side == "clinometer":
        return benchmark(sides[side])
    blas = Blas()
    with blas.limit(blas.best(sides[side])):
        return benchmark(sides[side])


def cross_covariance_numpy(rows: Rows, u: Any, f: Any) -> Any:
    """Value and standard error (K, J) of the within-prompt cross-covariance with n/(n-1)."""
    s = numpy_side.score(rows, u, np.empty((rows.n, len(u)), np.float32)).astype(np.float64)
    t, v = s.reshape(-1, GROUP, len(u)), f.reshape(-1, GROUP, f.shape[1])
    t, v = t - t.mean(axis=1, keepdims=True), v - v.mean(axis=1, keepdims=True)
    per_prompt = np.matmul(t.transpose(0, 2, 1), v) / (GROUP - 1)
    return per_prompt.mean(axis=0), per_prompt.std(axis=0, ddof=1) / np.sqrt(len(per_prompt))


@by_side
@by_dtype
@pytest.mark.parametrize("k", [1, 8, 64])
def test_score(benchmark: Any, dtype: str, k: int, side: str) -> None:
    rows, u = all_rows()[dtype], directions(k, D)
    single, out = u.astype(np.float32), np.empty((N, k), np.float32)
    sides = {
        "clinometer": lambda: cm.score(rows.dump, u, out=out),
        "numpy": lambda: numpy_side.score(rows, single, out),
    }
    got = timed(benchmark, f"score {dtype} K={k}", sides, side)
    x = rows.exact(slice(0, 64))
    assert (np.abs(got[:64] - x @ u.T) <= 1e-5 * (np.abs(x) @ np.abs(u.T))).all()


@by_side
@by_dtype
def test_tilt(benchmark: Any, dtype: str, side: str) -> None:
    # clinometer returns the whole TiltResult, NumPy gain, KL and log partition only
    rows, u = all_rows()[dtype], directions(1, D)
    single = u.astype(np.float32)
    sides = {
        "clinometer": lambda: cm.tilt(rows.dump, u, BETAS, values(), pareto_k=False).gain,
        "numpy": lambda: numpy_side.tilt_rows(rows, single, values(), BETAS)[0],
    }
    got = timed(benchmark, f"tilt {dtype} K=1", sides, side)
    want = numpy_side.tilt(rows.exact() @ u.T, values(), BETAS)[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)


@by_side
@by_dtype
def test_moments(benchmark: Any, dtype: str, side: str) -> None:
    rows = all_rows()[dtype]
    sides = {
        "clinometer": lambda: cm.moments(rows.dump).covariance,
        "numpy": lambda: numpy_side.covariance(rows),
    }
    got = timed(benchmark, f"moments {dtype} d={D}", sides, side)
    x = rows.exact().reshape(-1, GROUP, D)[..., :8]
    x = (x - x.mean(axis=1, keepdims=True)).reshape(N, 8)
    np.testing.assert_allclose(got[:8, :8], x.T @ x / N, rtol=1e-5, atol=1e-4)


@by_side
@by_dtype
@pytest.mark.parametrize("k", [1, 16])
def test_covariance_projection(benchmark: Any, dtype: str, k: int, side: str) -> None:
    rows, u = all_rows()[dtype], directions(k, D)
    single = u.astype(np.float32)
    sides = {
        "clinometer": lambda: cm.covariance_projection(rows.dump, u),
        "numpy": lambda: numpy_side.covariance_projection(rows, single),
    }
    got = timed(benchmark, f"covariance_projection {dtype} K={k}", sides, side)
    x = rows.exact().reshape(-1, GROUP, D)
    x = (x - x.mean(axis=1, keepdims=True)).reshape(N, D)
    np.testing.assert_allclose(got, (x @ u.T).T @ x / N, rtol=0, atol=1e-4)


@by_side
@by_dtype
def test_cross_covariance(benchmark: Any, dtype: str, side: str) -> None:
    # clinometer also returns correlations and the joint errors over values
    rows, u = all_rows()[dtype], directions(8, D)
    single = u.astype(np.float32)

    def ours() -> Any:
        r = cm.cross_covariance(rows.dump, u, values())
        return r.value, r.se

    sides = {"clinometer": ours, "numpy": lambda: cross_covariance_numpy(rows, single, values())}
    got = timed(benchmark, f"cross_covariance {dtype} K=8 J=4", sides, side)
    x = rows.exact().reshape(-1, GROUP, D)
    f = values().reshape(-1, GROUP, 4)
    each = np.matmul(((x - x.mean(axis=1, keepdims=True)) @ u.T).transpose(0, 2, 1), f) / (GROUP - 1)
    np.testing.assert_allclose(got[0], each.mean(axis=0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(got[1], each.std(axis=0, ddof=1) / np.sqrt(len(each)), rtol=1e-3)
