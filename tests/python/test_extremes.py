"""Scores and values near the ends of float64, and lists of directions and judge columns in any order."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

import clinometer as cm

RNG = np.random.default_rng(0)
IDS = np.repeat(np.arange(12), 5)
T, F = RNG.normal(size=(60, 2)), RNG.normal(size=60)
PHI = RNG.normal(size=(60, 3)).astype(np.float32)


@pytest.mark.parametrize("exponent", [997, 700, 1020, -997, -700])
@pytest.mark.parametrize("within", [True, False])
def test_a_tilt_does_not_see_the_unit_of_its_scores(exponent: int, within: bool) -> None:
    """Scaled by a power of two with its betas, a tilt keeps its bits; pytest turns any NumPy warning into a failure."""
    unit = 2.0**exponent
    plain, scaled = cm.Scores(T, prompt_ids=IDS), cm.Scores(T * unit, prompt_ids=IDS)
    betas = np.array([3.0, 0.5, 0.01])
    want = cm.tilt(plain, None, betas, F, within=within)
    got = cm.tilt(scaled, None, betas * unit, F, within=within)
    np.testing.assert_array_equal(got.betas, np.broadcast_to(betas * unit, (2, 3)))
    for name in ("gain", "gain_se", "kl", "chi2", "first_order", "first_order_se", "kl_horizon", "log_partition"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-12, err_msg=name)
    for name in ("linear_radius", "sign_flip"):
        np.testing.assert_allclose(getattr(got, name) * unit, getattr(want, name), rtol=1e-9, err_msg=name)
    levels = cm.tilt(scaled, None, None, F, kl=[0.1, 0.4], within=within)
    np.testing.assert_allclose(levels.kl, np.broadcast_to([0.1, 0.4], (2, 2)), rtol=1e-6)
    np.testing.assert_allclose(
        levels.betas / unit, cm.tilt(plain, None, None, F, kl=[0.1, 0.4], within=within).betas, rtol=1e-9
    )


@pytest.mark.parametrize("scale", [1e300, 1e200, 1e-300])
def test_a_beta_of_common_size_beside_extreme_scores(scale: float) -> None:
    scores = cm.Scores(T * scale, prompt_ids=IDS)
    got = cm.tilt(scores, None, [1.0, np.inf], F)
    limit = cm.tilt(cm.Scores(T, prompt_ids=IDS), None, [1e-290 if scale > 1 else 1e290, np.inf], F)
    np.testing.assert_allclose(got.gain, limit.gain, atol=1e-280)
    covariance = cm.cross_covariance(np.zeros((60, 1)), cm.Scores(T), F, prompt_ids=IDS)
    big = cm.cross_covariance(np.zeros((60, 1)), cm.Scores(T * scale), F, prompt_ids=IDS)
    np.testing.assert_allclose(big.value / scale, covariance.value, rtol=1e-6)
    np.testing.assert_allclose(big.correlation, covariance.correlation, rtol=1e-6)


def by_mpmath(t: Any, beta: float) -> dict[str, float]:
    """Means over the prompts of what one column of scores gives, in 700 digits."""
    total = dict.fromkeys(("log_partition", "log_partition_centred", "gain", "kl"), mpmath.mpf(0))
    with mpmath.workdps(700):
        for x in range(12):
            own, value = ([mpmath.mpf(float(v)) for v in a[x == IDS]] for a in (t, F))
            n, top, lam = len(own), max(own), 1 / mpmath.mpf(beta)
            power = [mpmath.exp(lam * (v - top)) for v in own]
            p = [v / sum(power) for v in power]
            whole = lam * top + mpmath.log(sum(power) / n)
            total["log_partition"] += whole / 12
            total["log_partition_centred"] += (whole - lam * sum(own) / n) / 12
            total["gain"] += sum((q - mpmath.mpf(1) / n) * v for q, v in zip(p, value, strict=True)) / 12
            total["kl"] += sum(q * mpmath.log(n * q) for q in p) / 12
        return {name: float(v) for name, v in total.items()}


@pytest.mark.parametrize("scale", [1e-308, 1e-160, 1.0, 1e60, 1e160, 1e300, 5e307])
@pytest.mark.parametrize("beta", [1e-308, 1e-100, 1.0, 1e100, 1e308])
def test_any_scores_and_betas_are_exact_in_core_and_twin(scale: float, beta: float) -> None:
    """Log-partitions are finite wherever their mean is, though lam t of a prompt is not; and nothing is NaN."""
    t = T[:, 0] * scale
    want = by_mpmath(t, beta)
    core = cm.tilt(cm.Scores(t, prompt_ids=IDS), None, [beta], F, precision="double").to_dict()
    twin = cm.reference.tilt(t, [beta], F, IDS)
    for found in (core, twin):
        for name, value in want.items():
            np.testing.assert_allclose(np.ravel(found[name]), value, rtol=1e-9, atol=1e-290, err_msg=name)
        for name in ("second_order", "first_order", "gain_se", "chi2", "ess", "linear_radius", "sign_flip"):
            assert not np.isnan(found[name]).any(), name


@pytest.mark.parametrize("exponent", [1000, 400, -400, -1000])
def test_a_tilt_does_not_see_the_unit_of_its_values(exponent: int) -> None:
    scores, unit = cm.Scores(T, prompt_ids=IDS), 2.0**exponent
    want, got = (cm.tilt(scores, None, [0.7], values) for values in (F, F * unit))
    for name in (
        "gain",
        "gain_se",
        "first_order",
        "second_order",
        "first_order_unbiased",
        "first_order_se",
        "baseline",
    ):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name) * unit, rtol=1e-12, err_msg=name)
    for name in ("win_rate", "linear_radius", "sign_flip"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-9, err_msg=name)


def test_a_beta_beyond_float64_is_refused_by_name() -> None:
    scores = cm.Scores(np.linspace(-1.0, 1.0, 60) * 1.7e308, prompt_ids=IDS * 0, names=["huge"])
    with pytest.raises(ValueError, match="kl: its beta for the scores of 'huge' is beyond float64"):
        cm.tilt(scores, None, None, F, kl=[1e-3])


def test_tilted_mean_of_extreme_scores() -> None:
    want = cm.tilted_mean(PHI, cm.Scores(T), [0.7], prompt_ids=IDS)
    got = cm.tilted_mean(PHI, cm.Scores(T * 2.0**990), [0.7 * 2.0**990], prompt_ids=IDS)
    np.testing.assert_array_equal(got.mean, want.mean)
    np.testing.assert_array_equal(got.betas, want.betas * 2.0**990)


def test_pooled_errors_of_scores_that_do_not_vary_are_zero() -> None:
    phi = np.full((60, 1), 29998.0, np.float16)
    weights = {"base": "logprob", "logprobs": RNG.normal(size=60)}
    u = np.array([[1 / 3]])
    got = cm.tilt(phi, u, [1e-8], F, prompt_ids=IDS, within=False, **weights)
    assert got.gain_se.tolist() == [[[0.0]]]
    crossed = cm.cross_covariance(phi, u, F, prompt_ids=IDS, within=False, **weights)
    assert crossed.se.tolist() == crossed.value.tolist() == [[0.0]]
    assert cm.tilt(phi, u, None, F, kl=[0.1], prompt_ids=IDS, **weights).betas.tolist() == [[np.inf]]


@pytest.mark.parametrize("method", ["ridge", "least_squares", "mean_difference"])
@pytest.mark.parametrize("exponent", [990, 500, 130, -130, -500, -990])
def test_a_fit_scales_with_its_values(method: str, exponent: int) -> None:
    values = (F > 0) * 1.0 if method == "mean_difference" else F
    want = cm.fit_value_direction(PHI, values, method=method, folds=2, prompt_ids=IDS)
    got = cm.fit_value_direction(PHI, values * 2.0**exponent, method=method, folds=2, prompt_ids=IDS)
    scale = 1.0 if method == "mean_difference" else 2.0**exponent  # mu_1 - mu_0 is in units of phi
    np.testing.assert_array_equal(got.vectors, want.vectors * scale)
    np.testing.assert_array_equal(got.fold_vectors, want.fold_vectors * scale)
    for name in ("value", "ci", "r", "auc"):
        np.testing.assert_array_equal(getattr(got.encoding_quality, name), getattr(want.encoding_quality, name))


def test_a_fit_beyond_float64_names_its_values() -> None:
    with pytest.raises(ValueError, match="values: 'value0' is too large for a direction"):
        cm.fit_value_direction(PHI * 1e-9, F * 1e305, method="least_squares", folds=2, prompt_ids=IDS)


def mixed() -> list[Any]:
    return ["b", cm.Directions(["north"], [[0.0, 1.0, 0.0]]), "-a", np.eye(3)[[2, 0]], cm.Scores(T, names=["s", "t"])]


NAMES = ("b", "north", "-a", "direction1", "direction2", "s", "t")


@pytest.mark.parametrize("within", [True, False])
def test_a_mixed_list_keeps_its_order(within: bool) -> None:
    columns = {"a": T[:, 0] + F, "b": T[:, 1] - F}
    dump = cm.open_dump(PHI, prompt_ids=IDS, columns=columns)
    table = np.column_stack([columns["b"], PHI[:, 1], -columns["a"], PHI[:, 2], PHI[:, 0], T])
    alone = cm.Scores(table, prompt_ids=IDS)
    got, want = cm.tilt(dump, mixed(), [0.5], F, within=within), cm.tilt(alone, None, [0.5], F, within=within)
    assert got.directions == NAMES and got.fit_status == ("score", "given", "score", "given", "given", "score", "score")
    np.testing.assert_allclose(got.gain, want.gain, rtol=1e-5)
    np.testing.assert_allclose(cm.score(dump, mixed()), table.astype(np.float32), rtol=1e-6, atol=1e-6)
    crossed = cm.cross_covariance(dump, mixed(), F, within=within)
    np.testing.assert_allclose(crossed.value, cm.cross_covariance(dump, cm.Scores(table), F, within=within).value, 1e-5)
    rows = cm.covariance_projection(dump, mixed(), within=within)
    np.testing.assert_allclose(rows, cm.covariance_projection(dump, cm.Scores(table), within=within), rtol=1e-4)
    mean = cm.tilted_mean(dump, mixed(), [0.5], within=within).mean
    np.testing.assert_allclose(mean, cm.tilted_mean(dump, cm.Scores(table), [0.5], within=within).mean, rtol=1e-4)
