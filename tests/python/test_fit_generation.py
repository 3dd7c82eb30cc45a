"""The generation direction against explicit dummy-variable least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import clinometer as cm
from clinometer.engine.population import population

Floats = NDArray[np.float64]


class World:
    def __init__(self, seed: int = 0, prompts: int = 40, d: int = 5, noise: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.ids = np.repeat(np.arange(prompts), rng.integers(1, 8, prompts))
        n = len(self.ids)
        self.length = rng.integers(5, 300, n).astype(float)
        self.phi = rng.normal(size=(n, d)) + 0.01 * self.length[:, None]
        self.u = rng.normal(size=d)
        self.extra = rng.normal(size=n)
        offsets = rng.uniform(-50, 50, prompts)[self.ids]
        self.logp = self.phi @ self.u - 1.3 * self.length + 0.4 * self.extra + offsets + noise * rng.normal(size=n)
        sizes = np.bincount(self.ids)
        self.root = np.sqrt(1 / sizes[self.ids])
        self.options: dict[str, Any] = {"prompt_ids": self.ids, "precision": "double"}

    def dummies(self, rows: Any, *more: Floats) -> Floats:
        """Coefficients on phi of least squares with a dummy for each prompt, rows weighted by 1/n_x."""
        design = np.column_stack([self.phi, *more, self.ids[:, None] == np.unique(self.ids)])[rows]
        root = self.root[rows]
        return np.linalg.lstsq(root[:, None] * design, root * self.logp[rows], rcond=1e-12)[0]


def test_the_direction_is_recovered_under_offsets_of_50_nats() -> None:
    w = World()
    fit = cm.fit_generation_direction(w.phi, w.logp, covariates=np.stack([w.length, w.extra], axis=1), **w.options)
    np.testing.assert_allclose(fit.vector, w.u, rtol=1e-10, atol=1e-10)
    assert fit.encoding_quality.value[0] == pytest.approx(1.0)
    assert (fit.method, fit.names, fit.labels) == ("generation", ("logprob",), ("scores",))


@pytest.mark.parametrize("covariates", [0, 1, 2])
def test_fits_are_dummy_variable_least_squares(covariates: int) -> None:
    w = World(1, noise=1.0)
    more = [w.length, w.extra][:covariates]
    given = np.stack(more, axis=1) if more else None
    fit = cm.fit_generation_direction(w.phi, w.logp, covariates=given, folds=3, **w.options)
    whole = w.dummies(slice(None), *more)
    np.testing.assert_allclose(fit.vector, whole[:5], rtol=1e-7)
    p = population(len(w.ids), w.ids)
    at = np.repeat(p.folds(3), p.sizes)
    sse = sst = 0.0
    for f in range(3):
        beta = w.dummies(at != f, *more)
        np.testing.assert_allclose(fit.fold_vectors[f, 0], beta[:5], rtol=1e-7)
        for x in np.unique(w.ids[at == f]):
            rows = w.ids == x
            net = w.logp[rows] - sum(b * z[rows] for b, z in zip(beta[5:], more, strict=False))
            error = net - w.phi[rows] @ beta[:5]
            sse, sst = sse + error.var(), sst + net.var()
    assert fit.encoding_quality.value[0] == pytest.approx(1 - sse / sst, rel=1e-7)


def test_columns_by_name_and_rows_without_log_probability() -> None:
    w = World(2, noise=0.5)
    logp = w.logp.copy()
    logp[::5] = np.nan
    dump = cm.open_dump(w.phi, prompt_ids=w.ids, columns={"logprob": logp, "n_tokens": w.length})
    fit = cm.fit_generation_direction(dump, covariates=["n_tokens"], precision="double")
    known = ~np.isnan(logp)
    again = cm.fit_generation_direction(
        w.phi[known], w.logp[known], covariates=w.length[known], prompt_ids=w.ids[known], precision="double"
    )
    np.testing.assert_allclose(fit.vectors, again.vectors, rtol=1e-8)
    assert cm.tilt(dump, fit, [1.0]).fit_status == ("cross-fitted",)


def test_useless_covariates_change_nothing() -> None:
    w = World(3, noise=0.5)
    constant = w.ids.astype(float)  # constant inside prompts
    plain = cm.fit_generation_direction(w.phi, w.logp, covariates=w.length, **w.options)
    more = np.stack([w.length, constant, 1e6 * w.length], axis=1)
    fit = cm.fit_generation_direction(w.phi, w.logp, covariates=more, **w.options)
    np.testing.assert_allclose(fit.vectors, plain.vectors, rtol=1e-7)


def test_length_confounds_without_its_column() -> None:
    w = World(4)
    net = cm.fit_generation_direction(w.phi, w.logp, covariates=w.length, **w.options).vector
    raw = cm.fit_generation_direction(w.phi, w.logp, **w.options).vector
    assert np.abs(net - w.u).max() < 0.5 < np.abs(raw - w.u).max()


@pytest.mark.parametrize("d", [40, 300])
def test_fewer_rows_than_columns_take_the_smallest_fit(d: int) -> None:
    w = World(5, prompts=12, d=d)
    fit = cm.fit_generation_direction(w.phi, w.logp, folds=2, **w.options)
    x, y = (a - np.stack([a[w.ids == i].mean(axis=0) for i in w.ids]) for a in (w.phi, w.logp))
    want = np.linalg.lstsq(w.root[:, None] * x, w.root * y, rcond=1e-10)[0]
    np.testing.assert_allclose(fit.vector, want, rtol=1e-6, atol=1e-8)


BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("logprobs", None, ValueError, "logprobs"),
    ("logprobs", np.zeros(3), ValueError, "logprobs has shape"),
    ("logprobs", "nope", ValueError, "nope"),
    ("logprobs", "inf", ValueError, "row 2 is infinite"),
    ("logprobs", "nan", ValueError, "NaN alone"),
    ("covariates", "nope", ValueError, "covariates.*nope"),
    ("covariates", "gaps", ValueError, "gaps"),
    ("covariates", np.zeros((3, 1)), ValueError, "covariates has shape"),
    ("alpha", "cv", ValueError, "alpha"),
    ("alpha", -1.0, ValueError, "alpha"),
    ("folds", 1, ValueError, "folds"),
    ("folds", 50, ValueError, "40 prompts"),
    ("nonsense", 1, TypeError, "nonsense"),
]


@pytest.mark.parametrize(("argument", "value", "error", "message"), BAD)
def test_a_wrong_argument_is_named(argument: str, value: Any, error: Any, message: str) -> None:
    w = World()
    n = len(w.ids)
    infinite = np.where(np.arange(n) == 2, -np.inf, 0.0)
    columns = {
        "l": w.logp,
        "inf": infinite,
        "nan": np.full(n, np.nan),
        "gaps": np.where(np.arange(n) == 2, np.nan, 0.0),
    }
    dump = cm.open_dump(w.phi, prompt_ids=w.ids, columns=columns)
    good: dict[str, Any] = {"logprobs": "l"}
    with pytest.raises(error, match=message):
        cm.fit_generation_direction(dump, **(good | {argument: value}))
