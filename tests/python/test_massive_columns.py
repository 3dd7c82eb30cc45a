"""Multiplying a column by a power of two changes nothing about what the rows know: no fit or cone may lose by it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import clinometer as cm
from clinometer import theory
from clinometer.fit.scale import column_scale, null_space, without_null

Floats = NDArray[np.float64]
G, N_EACH, D, AT = 80, 8, 12, 5
IDS = np.repeat(np.arange(G), N_EACH)
RNG = np.random.default_rng(0)
PHI = RNG.normal(size=(G * N_EACH, D))
U = RNG.normal(size=(3, D))
S = PHI @ U.T + 0.5 * RNG.normal(size=(len(IDS), 3))
BINARY = (S[:, 0] + RNG.normal(size=len(IDS)) > 0) * 1.0
PAIRS = np.arange(len(IDS)).reshape(-1, 2)
SOFT = 1 / (1 + np.exp(-(S[PAIRS[:, 0], 0] - S[PAIRS[:, 1], 0])))
HARD = (RNG.random(len(SOFT)) < SOFT) * 1.0


def _value(label: Floats, **fit: Any) -> Callable[..., cm.fit.DirectionFit]:
    return lambda x, **o: cm.fit_value_direction(x, label, **fit, **o)


def _pairs(prob: Floats, **fit: Any) -> Callable[..., cm.fit.DirectionFit]:
    return lambda x, **o: cm.fit_preference_direction(x, PAIRS, prob, **fit, **o)


def _generation(x: Any, **o: Any) -> cm.fit.DirectionFit:
    return cm.fit_generation_direction(x, S[:, 0], covariates=PHI[:, 2], **o)


FITS: dict[str, Callable[..., cm.fit.DirectionFit]] = {
    "least squares": _value(S[:, 0], method="least_squares"),
    "ridge": _value(S[:, 0]),
    "ridge by passes": _value(S[:, 0], memory_limit=0),
    "lda": _value(BINARY, method="lda"),
    "logistic": _value(BINARY, method="logistic"),
    "logistic without a penalty": _value(BINARY, method="logistic", alpha=0),
    "soft pairs": _pairs(SOFT),
    "hard pairs": _pairs(HARD),
    "pairs without a penalty": _pairs(SOFT, alpha=0, position_bias=True),
    "generation": _generation,
}


def scaled(k: int, dtype: Any = np.float64) -> NDArray[Any]:
    rows = PHI.copy()
    rows[:, AT] *= 2.0**k
    return rows.astype(dtype)


@cache
def _plain(name: str, dtype: Any, precision: str) -> cm.fit.DirectionFit:
    return FITS[name](scaled(0, dtype), prompt_ids=IDS, precision=precision)


@pytest.mark.parametrize("k", [3, 8, 13])
@pytest.mark.parametrize(("dtype", "precision"), [(np.float32, "mixed"), (np.float64, "double"), (np.float16, "mixed")])
@pytest.mark.parametrize("name", FITS)
def test_no_fit_is_blinded(name: str, dtype: Any, precision: str, k: int) -> None:
    plain = _plain(name, dtype, precision)
    fit = FITS[name](scaled(k, dtype), prompt_ids=IDS, precision=precision)
    for part in ("value", "r"):
        got, want = (float(getattr(f.encoding_quality, part)[0]) for f in (fit, plain))
        assert got == pytest.approx(want, abs=0.004)
    if k >= 8:  # the column is in its own unit: the same fit but for the unit of one coordinate
        back = np.where(np.arange(D) == AT, 2.0**k, 1.0)
        np.testing.assert_allclose(fit.vector * back, plain.vector, atol=2e-4 * np.abs(plain.vector).max())


@pytest.mark.parametrize("k", [8, 13])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_fewer_rows_than_columns(alpha: float, k: int) -> None:
    """The norm that is least, and a penalty that is given, are of the columns in their own unit."""
    rows = slice(0, 30)
    fits = [
        cm.fit_value_direction(scaled(at)[rows], S[rows, 0], alpha=alpha, prompt_ids=IDS[rows] * 9, folds=2,
                               precision="double", pooled=False)
        for at in (0, k)
    ]  # fmt: skip
    back = np.where(np.arange(D) == AT, 2.0**k, 1.0)
    np.testing.assert_allclose(fits[1].fold_vectors * back, fits[0].fold_vectors, rtol=1e-9, atol=1e-12)


def test_label_errors_and_curves() -> None:
    def numbers(k: int) -> list[float]:
        x, o = scaled(k), {"prompt_ids": IDS, "precision": "double"}
        made = [
            cm.inference.gain_intervals(x, FITS[name](x, **o), values=S[:, 0], kl=[0.1], **o).se_labels[0, 0, 0]
            for name in ("ridge", "ridge by passes", "soft pairs", "generation")
        ]
        curve = theory.learning_curve(x, PAIRS, SOFT, S[:, 0], sizes=[100], repeats=2, **o)
        return [*made, float(curve.mean[0, 0])]

    np.testing.assert_allclose(numbers(8), numbers(0), rtol=1e-6)
    np.testing.assert_allclose(numbers(13), numbers(0), rtol=1e-6)


def _geometry(k: int) -> list[Floats]:
    x, back = scaled(k), np.where(np.arange(D) == AT, 2.0**-k, 1.0)
    u, dump = U * back, cm.open_dump(scaled(k), prompt_ids=IDS)
    sigma = cm.moments(x, prompt_ids=IDS, precision="double").covariance
    cones = [cm.pareto_cone(u, of) for of in (sigma, dump)]
    gram, ceiling = u @ sigma @ u.T, theory.judge_ceiling(x, u, S, prompt_ids=IDS, precision="double")
    made: list[Any] = [
        [c.margin for c in cones], [c.fraction for c in cones], cones[0].weights, cones[0].direction / back,
        cm.lp.gram_cone(gram).margin, theory.pareto_fraction(gram), theory.score_correlation(u, u, sigma),
        ceiling.correlation, ceiling.bound, ceiling.promptability, theory.robustness_radius(u, u, sigma),
        theory.worst_direction(u[0], sigma, u[1:]).value, theory.optimal_direction(u, sigma, np.ones(3)) / back,
    ]  # fmt: skip
    return [np.asarray(part, np.float64) for part in made]


@pytest.mark.parametrize("k", [-8, 4, 8, 13, 20])
def test_what_is_of_scores_does_not_know_the_unit(k: int) -> None:
    for got, want in zip(_geometry(k), _geometry(0), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3, 17])
def test_scales_are_powers_of_two_and_ordinary_columns_keep_theirs(d: int) -> None:
    variance = np.random.default_rng(d).uniform(0.01, 4, d)
    assert (column_scale(variance) == 1).all()
    for k in (8, 13, 30):
        grown = variance * np.where(np.arange(d) == d - 1, 4.0**k, 1.0)
        scale = column_scale(grown)
        assert (np.frexp(scale)[0] == 0.5).all() and (scale[:-1] == 1).all()
        if d > 1:
            ratio = np.sqrt(grown * scale**2 / np.sort(variance[:-1])[(d - 2) // 2])
            assert 0.25 < ratio[-1] < 4
    assert (column_scale(np.zeros(d)) == 1).all()


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_null_directions_are_those_of_the_correlations(precision: str) -> None:
    """A column that the others make up, one constant in prompts and one 1e-3 of the others' size; means far away."""
    x = PHI + 100.0
    x[:, 1], x[:, 3], x[:, 4] = x[:, 0] + 2 * x[:, 2], 7.0 * IDS, PHI[:, 4] / 1024
    label = PHI @ np.where(np.isin(np.arange(D), [1, 3]), 0.0, U[0])
    fit = cm.fit_value_direction(x, label, method="least_squares", prompt_ids=IDS, precision=precision)
    assert fit.encoding_quality.value[0] > 1 - 1e-6
    centred = x - np.stack([x[g == IDS].mean(axis=0) for g in IDS])
    want = np.linalg.pinv(centred[:, np.arange(D) != 3], rcond=1e-9) @ label
    tol = 1e-9 if precision == "double" else 5e-3  # f32 null vectors miss by 4e-9 of 1024, against an entry of 483
    np.testing.assert_allclose(np.delete(fit.vector, 3), want, rtol=tol, atol=tol)
    assert abs(fit.vector[3]) < 1e-9


def test_the_least_norm_is_that_of_the_pseudo_inverse() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(7, 11)) * np.ldexp(1.0, rng.integers(-6, 6, 11))
    lam, q, scale, null = null_space(x.T @ x, 1e-12)
    assert len(lam) == 7 and null.shape == (11, 4)
    y = rng.normal(size=(2, 7))
    u = np.linalg.lstsq(x, y.T, rcond=None)[0].T
    other = u + rng.normal(size=(2, 4)) @ null.T
    np.testing.assert_allclose(without_null(other, null), u, atol=1e-10)
    np.testing.assert_allclose((q * lam) @ q.T, x.T @ x * np.outer(scale, scale), atol=1e-10)


def test_a_mean_difference_keeps_the_units_of_the_rows() -> None:
    """mu_1 - mu_0 is what it says: its entry grows with the column, and its scores are then mostly that column's."""
    plain, grown = (
        cm.fit_value_direction(scaled(k), BINARY, method="mean_difference", prompt_ids=IDS, precision="double")
        for k in (0, 8)
    )
    np.testing.assert_allclose(grown.vector, plain.vector * np.where(np.arange(D) == AT, 2.0**8, 1.0), rtol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        column = np.corrcoef(cm.score(scaled(8), grown.vectors)[:, 0], PHI[:, AT])[0, 1]
    assert abs(column) > 0.99
