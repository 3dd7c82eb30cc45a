"""Ridge fits without a d x d matrix are those with one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.engine.inputs import prepare
from clinometer.fit.krylov import Krylov, Operator


def _world(prompts: int, d: int, dtype: str = "float32") -> cm.Dump:
    return cm.simulate(prompts, 6, d, unequal=True, dtype=dtype, random_state=d)


@pytest.mark.parametrize(("prompts", "d"), [(60, 1), (60, 7), (90, 33), (25, 150)])
@pytest.mark.parametrize("alpha", ["cv", 0.03])
def test_fits_by_passes_are_those_of_the_matrices(prompts: int, d: int, alpha: Any) -> None:
    world = _world(prompts, d, "bfloat16" if d == 33 else "float32")
    rng = np.random.default_rng(0)
    s = np.stack([world.column("s"), rng.normal(size=world.n_rows)], axis=1)
    s[rng.random(len(s)) < 0.2, 0] = np.nan
    options: dict[str, Any] = {"alpha": alpha, "precision": "double", "prompt_weights": rng.uniform(0.5, 2, prompts)}
    dense = cm.fit_value_direction(world, s, **options)
    found = cm.fit_value_direction(world, s, memory_limit=0, **options)
    np.testing.assert_array_equal(found.alpha, dense.alpha)
    for name in ("vectors", "fold_vectors"):
        got, want = getattr(found, name), getattr(dense, name)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-8 * np.abs(want).max())
    for name in ("value", "ci", "r", "se"):
        for quality in ("encoding_quality", "pooled_quality"):
            got, want = (getattr(getattr(fit, quality), name) for fit in (found, dense))
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)
    assert np.isnan(found.encoding_quality.rho2_debiased).all()
    errors = [
        cm.inference.gain_intervals(world, fit, values=s, kl=[0.1], precision="double").se_labels
        for fit in (found, dense)
    ]
    assert np.isfinite(errors[0]).all()
    np.testing.assert_allclose(errors[0], errors[1], rtol=1e-6)


def test_each_system_leaves_out_its_fold() -> None:
    world = _world(40, 5)
    call = prepare(world, None, "s", precision="double")
    p = call.population
    fold, phi = p.folds(4), np.asarray(world.read(0, world.n_rows), float)
    operator = Operator(call, p, fold, np.array([2, -1]))
    v = np.random.default_rng(1).normal(size=(2, 5))
    for k, left_out in enumerate((2, -1)):
        parts = [
            np.cov(phi[p.offsets[x] : p.offsets[x + 1]].T, bias=True) for x in range(p.n_prompts) if fold[x] != left_out
        ]
        sigma = np.mean(parts, axis=0)
        np.testing.assert_allclose((operator @ v)[k], sigma @ v[k], rtol=1e-10)
        np.testing.assert_allclose(operator.units()[k], np.trace(sigma) / 5, rtol=1e-6)


def test_a_space_that_is_used_up_holds_the_solution_and_a_zero_side_gives_zero() -> None:
    world = _world(30, 3)
    call = prepare(world, None, "s", precision="double")
    b = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    operator = Operator(call, call.population, without=np.array([-1, -1]))
    krylov = Krylov(operator, b)
    for _ in range(6):  # twice the dimension
        krylov.step()
    sigma = cm.moments(world, precision="double").covariance
    want = np.linalg.solve(sigma + 1e-6 * np.eye(3), b[0])
    np.testing.assert_allclose(krylov.solution(np.full(2, 1e-6)), [want, [0, 0, 0]], rtol=1e-7)


def test_unsettled_steps_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinometer.fit.krylov.STEPS", 3)
    with pytest.warns(UserWarning, match="residual"):
        cm.fit_value_direction(_world(60, 40), "s", alpha=1e-4, pooled=False, memory_limit=0)


@pytest.mark.parametrize("limit", [-1, "much", True, float("nan")])
def test_a_wrong_limit_is_named(limit: Any) -> None:
    with pytest.raises(ValueError, match="memory_limit"):
        cm.fit_value_direction(_world(30, 3), "s", memory_limit=limit)
