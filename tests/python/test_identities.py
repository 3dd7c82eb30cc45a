"""Identities of the theory, through the public functions: what must hold whatever the rows are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import clinometer as cm

IDS = np.repeat(np.arange(40), 8)


def world(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(len(IDS), 4)) + rng.normal(size=(40, 4))[IDS]
    values = np.stack([phi[:, 0] ** 2 + phi[:, 1], rng.normal(size=len(IDS)) + phi[:, 2]], axis=1)
    return phi, rng.normal(size=(3, 4)), values


def test_finite_differences_of_the_exact_tilt_are_the_first_order() -> None:
    phi, u, values = world()
    lam = 1e-4
    exact = cm.tilt(phi, u, [1 / lam], values, prompt_ids=IDS, precision="double")
    opposite = cm.tilt(phi, -u, [1 / lam], values, prompt_ids=IDS, precision="double")
    slope = (exact.gain - opposite.gain) / (2 * lam)  # central: the error is lam^2 k4 / 6
    np.testing.assert_allclose(slope, exact.first_order / lam, rtol=1e-5, atol=1e-6)
    curve = (exact.gain + opposite.gain) / 2
    np.testing.assert_allclose(curve, exact.second_order - exact.first_order, rtol=1e-4, atol=1e-12)


def test_derivative_of_the_gain_is_the_tilted_covariance() -> None:
    phi, u, values = world(1)
    lam, h = 0.7, 1e-5
    at = cm.tilt(phi, u[:1], [1 / (lam + h), 1 / (lam - h)], values, prompt_ids=IDS, precision="double").gain[0]
    t = phi @ u[0]
    want = np.zeros(2)
    for x in range(40):
        rows = x == IDS
        p = np.exp(lam * (t[rows] - t[rows].max()))
        p /= p.sum()
        f = values[rows]
        want += p @ ((f - p @ f) * (t[rows] - p @ t[rows])[:, None]) / 40
    np.testing.assert_allclose((at[0] - at[1]) / (2 * h), want, rtol=1e-6)


BETAS = np.array([1e8, 100.0, 3.0, 1.0, 0.2, 0.01])


def test_jeffreys_identity_and_kl_from_the_partition() -> None:
    phi, u, _ = world(2)
    scores = phi @ u.T
    got = cm.tilt(phi, u, BETAS, scores, prompt_ids=IDS, precision="double")
    own = np.stack([got.gain[k, :, k] for k in range(3)])  # E_p t - E_0 t
    lam = 1 / BETAS
    np.testing.assert_allclose(lam * own, got.kl + got.reverse_kl, rtol=1e-9)
    np.testing.assert_allclose(lam * own - got.log_partition_centred, got.kl, rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(got.log_partition, got.log_partition_centred + lam * got.baseline[:, None], rtol=1e-9)
    assert (np.diff(got.kl, axis=1) >= 0).all() and (np.diff(got.ess, axis=1) <= 0).all()


def test_argmax_limit() -> None:
    phi, u, values = world(3)
    got = cm.tilt(phi, u, [1e-9], values, prompt_ids=IDS)
    best = np.stack([(phi @ k).reshape(40, 8).argmax(axis=1) + 8 * np.arange(40) for k in u])
    base = values.reshape(40, 8, 2).mean(axis=1)
    np.testing.assert_allclose(got.gain[:, 0], (values[best] - base).mean(axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got.kl, np.log(8), rtol=1e-12)
    np.testing.assert_allclose(got.ess, 1 / 8, rtol=1e-12)
    np.testing.assert_allclose(got.max_ratio, 8.0, rtol=1e-12)


def test_argmax_ties_share_by_base_weight_and_zero_weight_never_wins() -> None:
    scores = np.array([[1.0], [1.0], [0.0], [9.0]])
    counts = np.array([1.0, 3.0, 2.0, 0.0])
    value = np.array([0.0, 1.0, 5.0, 100.0])
    dump = cm.Scores(scores, prompt_ids=np.zeros(4, int))
    got = cm.tilt(dump, None, [1e-12], value, base="counts", counts=counts)
    assert got.gain[0, 0, 0] == pytest.approx(0.75 - counts @ value / 6)
    assert got.kl[0, 0] == pytest.approx(-np.log(4 / 6))


def test_infinite_beta_is_the_base_policy_exactly() -> None:
    phi, u, values = world(4)
    got = cm.tilt(phi, u, [np.inf], values, prompt_ids=IDS)
    for name in ("gain", "kl", "reverse_kl", "chi2", "first_order", "second_order", "log_partition"):
        assert not getattr(got, name).any(), name
    assert (got.ess == 1).all() and (got.max_ratio == 1).all() and (got.win_rate == 0.5).all()


def test_gaussian_world_is_exact_at_every_strength() -> None:
    betas = np.array([4.0, 2.0, 1.0])
    dump = cm.simulate(n_prompts=150, n_responses=400, dim=6, n_constitutions=2, n_values=1, random_state=7)
    truth = dump.truth
    values = dump.read(0, dump.n_rows).astype(float) @ truth.u_values.T
    got = cm.tilt(dump, truth.u_c, betas, values, pareto_k=False)
    # plug-in values are low by about lam^2 / n (theory 2.5); the rest is sampling
    want = truth.gain(betas)
    slack = 4 * got.gain_se + 2 / betas[None, :, None] ** 2 / 400 * np.abs(want) + 0.01 * np.abs(want)
    assert (np.abs(got.gain - want) < slack).all()
    np.testing.assert_allclose(got.kl, truth.kl(betas), rtol=0.08)
    first = got.first_order_unbiased - want
    assert (np.abs(first) < 4 * got.first_order_se).all()
    # gain = correlation x sd x sqrt(2 KL)
    cross = cm.cross_covariance(dump, truth.u_c, values)
    sd = np.sqrt(truth.u_star @ truth.sigma @ truth.u_star)
    np.testing.assert_allclose(got.gain[:, 0, 0], cross.correlation[:, 0] * sd * np.sqrt(2 * got.kl[:, 0]), rtol=0.05)


def test_toy_example_prints_its_table() -> None:
    lines = str(cm.theory.toy_example()).splitlines()
    assert len(lines) == 5
    for line, pieces in zip(
        lines[1:],
        [
            ("aligned", "(1.000, 1.431)", "(0.573, 0.820)", "0.100 -> 0.573", "+0.900", "0.50"),
            ("aligned", "(1.900, 1.867)", "(0.713, 0.701)", "0.100 -> 0.713", "+1.800", "2.00"),
            ("adversarial", "(-0.700, 1.595)", "(-0.402, 0.916)", "0.100 -> -0.402", "-0.800", "0.50"),
            ("adversarial", "(-1.500, 2.195)", "(-0.564, 0.826)", "0.100 -> -0.564", "-1.600", "2.00"),
        ],
        strict=True,
    ):
        for piece in pieces:
            assert piece in line


def test_pooled_covariance_promises_the_wrong_sign() -> None:
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(2000), 16)
    topic, z = 3 * rng.normal(size=2000)[ids], rng.normal(size=len(ids))
    f, scores = topic + z, cm.Scores((topic - z)[:, None], prompt_ids=ids)
    dump = cm.open_dump(np.zeros((len(ids), 1), np.float32), prompt_ids=ids)
    within, pooled = (cm.cross_covariance(dump, scores, f, within=w).value[0, 0] for w in (True, False))
    assert within == pytest.approx(-1, abs=0.05) and pooled == pytest.approx(8, abs=0.6)
    gains = cm.tilt(scores, None, [100.0, 2.0, 0.5, 0.01], f)
    assert (gains.gain < 0).all() and (gains.first_order < 0).all()


@pytest.mark.parametrize("levels", [[0.1, 0.25, 0.5, 1.0], [1e-8], [1.9999]])
def test_kl_roots_hit_their_target(levels: list[float]) -> None:
    phi, u, values = world(5)
    for precision, rtol in (("mixed", 1e-6), ("double", 1e-8)):
        scaled = u * np.array([[1e-6], [1.0], [1e6]])
        got = cm.tilt(phi, scaled, None, values, kl=levels, prompt_ids=IDS, precision=precision)
        np.testing.assert_allclose(got.kl, np.broadcast_to(levels, (3, len(levels))), rtol=rtol)
        assert np.isfinite(got.betas).all() and (got.betas > 0).all()


def test_kl_out_of_reach_is_the_argmax_limit_and_a_warning() -> None:
    phi, u, values = world(6)
    with pytest.warns(UserWarning, match="beyond what the rows can reach"):
        got = cm.tilt(phi, u, None, values, kl=[0.5, 3.0], prompt_ids=IDS)
    assert (got.betas[:, 1] == 0).all() and (got.betas[:, 0] > 0).all()
    np.testing.assert_allclose(got.kl[:, 1], np.log(8))
    sure = cm.tilt(phi, u, [1e-9], values, prompt_ids=IDS)
    np.testing.assert_allclose(got.gain[:, 1], sure.gain[:, 0], atol=1e-12)


def test_a_direction_without_variance_gives_beta_inf_and_zeros() -> None:
    phi, u, values = world(6)
    u[1] = 0
    with pytest.warns(UserWarning, match="directions direction1 are zero"):
        got = cm.tilt(phi, u, None, values, kl=[0.5], prompt_ids=IDS)
    assert got.betas[1, 0] == np.inf and not got.gain[1].any() and got.kl[1, 0] == 0 and got.kl_horizon[1] == 0


def test_sign_flip_and_linear_radius_of_a_known_curve() -> None:
    # f = tau^2 - (t - tau)^2 with t = -1, 0, 1: gain(lam) = 2 tau E t - (E t^2 - 2/3)
    t, tau = np.array([-1.0, 0.0, 1.0]), 0.1
    f = tau**2 - (t - tau) ** 2
    lam = np.linspace(1e-4, 8, 400_001)
    weight = np.exp(np.outer(t, lam))
    weight /= weight.sum(axis=0)
    gain = f @ weight - f.mean()
    flip = lam[np.flatnonzero(gain < 0)[0]]
    got = cm.tilt(cm.Scores(t[:, None], prompt_ids=np.zeros(3, int)), None, [10.0, 2.0, 1.0, 0.3, 0.125], f)
    assert got.sign_flip[0, 0] == pytest.approx(flip, abs=3e-5)
    k2, k3 = np.mean(f * t), np.mean((f - f.mean()) * t**2)
    k4 = np.mean(f * t**3) - 3 * k2 * np.mean(t**2)
    assert got.linear_radius[0, 0] == pytest.approx(min(0.2 * abs(k2 / k3), np.sqrt(0.6 * abs(k2 / k4))))
    radius = got.linear_radius[0, 0]
    at = cm.tilt(cm.Scores(t[:, None], prompt_ids=np.zeros(3, int)), None, [1 / radius], f)
    assert abs(at.gain / at.first_order - 1).item() == pytest.approx(0.1, rel=0.3)


def test_a_value_monotone_in_the_score_never_flips() -> None:
    phi, u, _ = world(8)
    got = cm.tilt(phi, u[:1], np.geomspace(1e-3, 1e3, 13), np.tanh(phi @ u[0]), prompt_ids=IDS)
    assert (got.gain > 0).all() and np.isinf(got.sign_flip).all()


def test_adjusted_scores_are_uncorrelated_with_the_column() -> None:
    phi, u, values = world(9)
    length = phi @ np.array([1.0, 0.5, 0.0, 2.0]) + np.random.default_rng(0).normal(size=len(IDS))
    other = np.random.default_rng(1).normal(size=len(IDS))
    dump = cm.open_dump(phi, prompt_ids=IDS, columns={"n_tokens": length, "other": other, "v": values[:, 0]})
    plain = cm.cross_covariance(dump, u, "n_tokens")
    assert (np.abs(plain.correlation) > 0.05).any()
    for adjust in ("n_tokens", ["n_tokens", "other"]):
        got = cm.cross_covariance(dump, u, "n_tokens", adjust=adjust, ddof=0)
        np.testing.assert_allclose(got.value, 0, atol=1e-6)
        first = cm.tilt(dump, u, [1.0], "n_tokens", adjust=adjust)
        np.testing.assert_allclose(first.first_order, 0, atol=1e-6)
    residual = cm.reference.within_residual(phi @ u.T, length, IDS)
    want = cm.reference.tilt(residual, [1.0], values[:, 0], IDS)["gain"]
    linear = cm.inference.Adjust(
        "n_tokens", method="linear"
    )  # the spline takes out more than the twin's one coefficient
    np.testing.assert_allclose(cm.tilt(dump, u, [1.0], "v", adjust=linear).gain, want, rtol=1e-4, atol=1e-6)


def test_adjust_uses_the_ids_of_the_call() -> None:
    phi, u, values = world(9)
    dump = cm.open_dump(phi, columns={"n_tokens": phi[:, 0] + values[:, 1]})
    named = cm.open_dump(phi, prompt_ids=IDS, columns={"n_tokens": phi[:, 0] + values[:, 1]})
    a = cm.tilt(dump, u, [1.0], values, adjust="n_tokens", prompt_ids=IDS)
    b = cm.tilt(named, u, [1.0], values, adjust="n_tokens")
    np.testing.assert_array_equal(a.gain, b.gain)


def test_minus_turns_a_value_and_a_judge_round() -> None:
    phi, u, values = world(10)
    dump = cm.open_dump(phi, prompt_ids=IDS, columns={"harm": values[:, 0], "kind": phi @ u[0]})
    plain, turned = (cm.tilt(dump, ["kind"], [1e4], name) for name in ("harm", "-harm"))
    np.testing.assert_array_equal(plain.gain, -turned.gain)
    assert turned.values == ("-harm",)
    away = cm.tilt(dump, ["-kind"], [1e4], "harm")
    assert away.gain[0, 0, 0] * plain.gain[0, 0, 0] < 0


def test_sigma_u_through_three_routes() -> None:
    phi, u, _ = world(11)
    options = {"prompt_ids": IDS, "precision": "double"}
    sigma = cm.moments(phi, **options).covariance
    projected = cm.covariance_projection(phi, u, **options)
    cross = cm.cross_covariance(phi, u, phi, ddof=0, **options).value
    np.testing.assert_allclose(projected, u @ sigma, atol=1e-12)
    np.testing.assert_allclose(cross, u @ sigma, atol=1e-12)
    lam = 1e-6
    shift = cm.tilted_mean(phi, u, [1 / lam, np.inf], **options).mean
    np.testing.assert_allclose((shift[:, 0] - shift[:, 1]) / lam, projected, rtol=1e-4, atol=1e-6)


def test_least_squares_direction_predicts_every_covariance() -> None:
    phi, u, values = world(12)
    fit = cm.fit_value_direction(phi, values, method="least_squares", prompt_ids=IDS, precision="double")
    sigma = cm.moments(phi, prompt_ids=IDS, precision="double").covariance
    cross = cm.cross_covariance(phi, u, values, ddof=0, prompt_ids=IDS, precision="double").value
    np.testing.assert_allclose(u @ sigma @ fit.vectors.T, cross, atol=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 6),
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(0, 2**31),
    st.floats(-8, 8),
    st.floats(-300, 300),
    st.sampled_from(["mixed", "double"]),
    st.booleans(),
)
def test_any_small_dump_gives_finite_and_ordered_numbers(
    prompts: int, n: int, d: int, seed: int, log_beta: float, mean: float, precision: str, within: bool
) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, n + 1, prompts)
    ids = np.repeat(np.arange(prompts), sizes)
    phi = np.round(rng.normal(size=(len(ids), d)), 1).astype(np.float32) + np.float32(mean)  # with ties
    values = rng.normal(size=(len(ids), 2))
    got = cm.tilt(
        phi,
        rng.normal(size=(2, d)),
        [10.0**log_beta, np.inf],
        values,
        prompt_ids=ids,
        precision=precision,
        within=within,
    )
    for name in ("gain", "kl", "chi2", "ess", "ess_min", "max_ratio", "baseline", "win_rate", "first_order"):
        assert np.isfinite(getattr(got, name)).all(), name
    assert (got.kl >= 0).all() and (got.reverse_kl >= 0).all() and (got.chi2 >= 0).all()
    smallest = 1 / sizes.max() / (1 if within else prompts)
    assert (got.ess >= smallest - 1e-12).all() and (got.ess <= 1 + 1e-12).all()
    assert (got.ess_min <= got.ess + 1e-12).all() and (got.max_ratio >= 1 - 1e-12).all()
    assert (got.kl <= np.log(1 / smallest) + 1e-12).all()
    assert ((got.win_rate >= 0) & (got.win_rate <= 1)).all()
    spread = np.ptp(values, axis=0)
    assert (np.abs(got.gain) <= spread + 1e-12).all()
