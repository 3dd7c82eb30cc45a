"""The plain definitions against theorems, 80-digit arithmetic and closed forms."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest

from clinometer import reference as ref

Array = npt.NDArray[np.float64]


def first_appearance(ids: Any) -> Any:
    """Distinct ids in the order of their first rows, which is that of weights and clusters."""
    return ids[np.sort(np.unique(ids, return_index=True)[1])]


def rows(seed: int, sizes: list[int], d: int = 3) -> tuple[Array, Array, np.random.Generator]:
    """phi with strong prompt means, ids with the prompts interleaved."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    phi = rng.normal(size=(len(ids), d)) + 3 * rng.normal(size=(len(sizes), d))[ids]
    return phi, ids, rng


def high_precision(t: Array, f: Array, mass_of_row: Array, beta: float) -> dict[str, float]:
    """One prompt, straight from the definitions, in 80 digits on the given doubles."""
    with mpmath.workdps(80):
        t_, f_, given = ([mpmath.mpf(float(x)) for x in column] for column in (t, f, mass_of_row))
        w, lam = [x / sum(given) for x in given], 1 / mpmath.mpf(beta)
        top = max(x for x, weight in zip(t_, w, strict=True) if weight > 0)
        raw = [weight * mpmath.exp(lam * (x - top)) for x, weight in zip(t_, w, strict=True)]
        mass = sum(raw)
        p = [x / mass for x in raw]
        log_z = lam * top + mpmath.log(mass)
        mean = sum(a * b for a, b in zip(w, t_, strict=True))
        ratio = [lam * x - log_z for x in t_]
        pairs = [(a, b, r) for a, b, r in zip(p, w, ratio, strict=True) if b > 0]
        answer = {
            "gain": sum((a - b) * x for a, b, x in zip(p, w, f_, strict=True)),
            "kl": sum(a * r for a, b, r in pairs),
            "reverse_kl": -sum(b * r for a, b, r in pairs),
            "chi2": sum(a * a / b for a, b, r in pairs) - 1,
            "log_partition": log_z,
            "log_partition_centred": log_z - lam * mean,
            "max_ratio": mpmath.exp(max(r for _, _, r in pairs)),
        }
        return {name: float(value) for name, value in answer.items()}


@pytest.mark.parametrize("lam", [1e-8, 1e-4, 0.03, 0.7, 1.0, 5.0, 300.0, 1e5])
@pytest.mark.parametrize("n", [2, 3, 7, 17])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_tilt_agrees_with_80_digits(lam: float, n: int, spread: float) -> None:
    rng = np.random.default_rng(n)
    t, f = 1e3 + spread * rng.normal(size=n), rng.normal(size=n)
    beta = 1 / lam
    want = high_precision(t, f, np.ones(n), beta)
    got = ref.tilt(t, beta, f)
    for name, value in want.items():
        found = float(np.ravel(got[name])[0])
        # Nothing but the last bits of 1/beta and of t itself may be lost; log Z sits on lam * 1e3.
        assert found == pytest.approx(value, rel=1e-9, abs=1e-300), name


def test_tilt_with_unequal_weights_and_a_zero_agrees_with_80_digits() -> None:
    rng = np.random.default_rng(5)
    counts = np.array([3.0, 1.0, 0.0, 4.0, 2.0])
    t, f = rng.normal(size=5), rng.normal(size=5)
    t[2] = 50.0  # the largest score has no base weight and must not win
    for beta in (1e8, 1.0, 0.01):
        want = high_precision(t, f, counts, beta)
        got = ref.tilt(t, beta, f, base="counts", counts=counts)
        for name, value in want.items():
            assert float(np.ravel(got[name])[0]) == pytest.approx(value, rel=1e-9), name


def test_derivative_of_the_gain_is_the_tilted_covariance() -> None:
    phi, ids, rng = rows(0, [4, 7, 1, 5])
    t, f, lam, step = phi[:, 0], rng.normal(size=len(phi)), 0.8, 1e-5
    gain = ref.tilt(t, [1 / (lam + step), 1 / (lam - step)], f, ids)["gain"][0, :, 0]
    base = ref.base_weights(len(t), ids)
    covariance = 0.0
    for block in base.blocks():
        p, tx, fx = ref.tilt_block(t, block, 1 / lam).p, t[block.rows], f[block.rows]
        covariance += block.omega * float(p @ ((fx - p @ fx) * (tx - p @ tx)))
    assert (gain[0] - gain[1]) / (2 * step) == pytest.approx(covariance, rel=1e-8)


@pytest.mark.parametrize("within", [True, False])
def test_jeffreys_identity(within: bool) -> None:
    phi, ids, _ = rows(1, [5, 3, 9, 1])
    t = phi[:, :1]
    betas = np.array([1e7, 10.0, 1.0, 0.2, 0.01])
    got = ref.tilt(t, betas, t, ids, within=within)
    np.testing.assert_allclose(got["gain"][0, :, 0] / betas, (got["kl"] + got["reverse_kl"])[0], rtol=1e-9)


def test_limits_and_ties() -> None:
    t, ids = np.array([1.0, 3.0, 3.0, 0.0, 2.0, 2.0]), np.array([0, 0, 0, 0, 1, 1])
    for beta in (0.0, 5e-324, 1e-300):
        got = ref.tilt(t, beta, np.arange(6.0), ids)
        assert got["kl"][0, 0] == pytest.approx(0.5 * math.log(2), rel=1e-14)
        assert got["gain"][0, 0, 0] == 0.0  # rows 1 and 2 share: 1.5, the mean of 0..3
        assert got["ess_min"][0, 0] == pytest.approx(0.5)
        assert got["reverse_kl"][0, 0] == (np.inf if beta < 1e-300 else pytest.approx(6.25e299))
        assert np.isfinite(got["win_rate"]).all()
    no_tilt = ref.tilt(t, np.inf, np.arange(6.0), ids)
    for name in ("gain", "kl", "reverse_kl", "chi2", "log_partition", "first_order", "second_order"):
        assert np.all(no_tilt[name] == 0), name
    assert no_tilt["win_rate"][0, 0, 0] == 0.5 and no_tilt["ess"][0, 0] == 1.0
    constant = ref.tilt(np.full(6, 0.1), [5e-324, 1.0], np.arange(6.0), ids)
    assert np.all(constant["gain"] == 0) and np.all(constant["kl"] == 0)
    assert np.all(constant["log_partition_centred"] == 0)
    assert ref.tilt(t, 5e-324, t, ids)["first_order"][0, 0, 0] == np.inf


def test_singletons_do_nothing_but_dilute() -> None:
    t, f = np.array([0.0, 1.0, 9.0]), np.array([0.0, 2.0, 5.0])
    got = ref.tilt(t, 1.0, f, ["a", "a", "b"])
    alone = ref.tilt(t[:2], 1.0, f[:2])
    assert got["gain"][0, 0, 0] == pytest.approx(alone["gain"][0, 0, 0] / 2)
    assert got["first_order"][0, 0, 0] == pytest.approx(0.25)  # ddof 0, the singleton counts as 0
    assert got["first_order_unbiased"][0, 0, 0] == pytest.approx(1.0)  # ddof 1, the singleton is dropped
    assert got["n_prompts"] == 2 and got["n_prompts_unbiased"] == 1
    assert np.isnan(alone["gain_se"]).all() and np.isnan(got["first_order_se"]).all()
    one = ref.tilt([3.0], [0.0, 1.0], [2.0])
    assert np.all(one["gain"] == 0) and np.all(one["ess"] == 1) and one["baseline"][0] == 2.0


def test_total_covariance_is_within_plus_between() -> None:
    phi, ids, rng = rows(2, [3, 1, 6, 4])
    omega = rng.random(4)
    given = omega[first_appearance(ids)]
    within = ref.moments(phi, ids, prompt_weights=given)
    total = ref.moments(phi, ids, prompt_weights=given, within=False)
    means = np.array([phi[ids == x].mean(axis=0) for x in range(4)])
    share = omega / omega.sum()
    centred = means - share @ means
    between = centred.T @ (share[:, None] * centred)
    np.testing.assert_allclose(total["covariance"], within["covariance"] + between, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(total["mean"], share @ means, rtol=1e-12)


def test_pooled_covariance_can_have_the_wrong_sign() -> None:
    rng = np.random.default_rng(3)
    ids = np.repeat(np.arange(2000), 8)
    topic, z = 3 * rng.normal(size=2000)[ids], rng.normal(size=16000)
    f, t = topic + z, topic - z
    assert ref.cross_covariance(t, f, ids)["value"][0, 0] == pytest.approx(-1, abs=0.05)
    assert ref.cross_covariance(t, f, ids, within=False)["value"][0, 0] == pytest.approx(8, abs=0.8)
    assert np.all(ref.tilt(t, [10.0, 1.0, 0.1], f, ids)["gain"] < 0)


@pytest.mark.parametrize("d", [3, 15])
def test_least_squares_identity(d: int) -> None:
    phi, ids, rng = rows(4, [4, 5, 2], d)  # d = 15 exceeds N - G: the smallest solution
    s, v = rng.normal(size=len(phi)) ** 3, rng.normal(size=(4, d))
    u = ref.fit_value_direction(phi, s, ids)
    want = ref.cross_covariance(ref.score(phi, v), s, ids, ddof=0)["value"][:, 0]
    np.testing.assert_allclose(ref.covariance_projection(phi, u, ids) @ v.T, [want], rtol=1e-10, atol=1e-10)
    ridge = ref.fit_value_direction(phi, s, ids, method="ridge", alpha=1e8)
    c = ref.cross_covariance(phi, s, ids, ddof=0)["value"][:, 0]
    assert abs(ridge @ c) == pytest.approx(np.linalg.norm(ridge) * np.linalg.norm(c), rel=1e-6)


def test_estimators_on_binary_labels() -> None:
    phi, ids, rng = rows(6, [9, 8, 11, 7])
    s = (rng.random(len(phi)) < 0.4).astype(float)
    ls = ref.fit_value_direction(phi, s, ids)
    c = ref.cross_covariance(phi, s, ids, ddof=0)["value"][:, 0]
    difference = ref.fit_value_direction(phi, s, ids, method="mean_difference")
    assert c @ difference == pytest.approx(np.linalg.norm(c) * np.linalg.norm(difference), rel=1e-12)
    with pytest.raises(ValueError, match="0 and 1"):
        ref.fit_value_direction(phi, phi[:, 0], ids, method="lda")
    one_prompt = ref.fit_value_direction(phi, s, method="lda")
    pooled = ref.fit_value_direction(phi, s)
    for u, v in ((one_prompt, pooled), (ref.fit_value_direction(phi, s, ids, method="lda"), ls)):
        cosine = u @ v / (np.linalg.norm(u) * np.linalg.norm(v))
        assert cosine == pytest.approx(1, rel=1e-12)


def test_nan_leaves_the_row_out_of_that_value_only() -> None:
    phi, ids, rng = rows(7, [4, 3, 5, 2, 6])
    f = rng.normal(size=(len(phi), 2))
    f[ids == 3, 0] = np.nan
    f[np.flatnonzero(ids == 0)[:2], 0] = np.nan
    known = ~np.isnan(f[:, 0])
    got = ref.tilt(phi[:, :2], [2.0, 0.5], f, ids)
    alone = ref.tilt(phi[known, :2], [2.0, 0.5], f[known, 0], ids[known])
    first = ("first_order", "second_order", "first_order_unbiased", "first_order_se")
    for name in ("gain", "gain_se", "win_rate", *first):
        np.testing.assert_allclose(got[name][..., 0], alone[name][..., 0], rtol=1e-11, err_msg=name)
    whole = ref.tilt(phi[:, :2], [2.0, 0.5], f[:, 1], ids)
    np.testing.assert_array_equal(got["gain"][..., 1], whole["gain"][..., 0])
    np.testing.assert_array_equal(got["kl"], whole["kl"])
    covariance = ref.cross_covariance(phi, f, ids)
    sub = ref.cross_covariance(phi[known], f[known, 0], ids[known])
    for name in ("value", "se", "correlation"):
        np.testing.assert_allclose(covariance[name][:, 0], sub[name][:, 0], rtol=1e-11)


@pytest.mark.parametrize("within", [True, False])
def test_counts_are_repeated_draws(within: bool) -> None:
    phi, ids, rng = rows(8, [4, 3, 5])
    counts, f = rng.integers(0, 4, len(phi)), rng.normal(size=len(phi))
    counts[[np.flatnonzero(ids == x)[0] for x in range(3)]] = 2
    again = np.repeat(np.arange(len(phi)), counts)
    options: dict[str, Any] = {"base": "counts", "counts": counts, "within": within}
    got = ref.tilt(phi, [3.0, 0.3], f, ids, **options)
    want = ref.tilt(phi[again], [3.0, 0.3], f[again], ids[again], within=within)
    for name, value in want.items():
        if name != "pareto_k":
            np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(
        ref.moments(phi, ids, ddof=1, **options)["covariance"],
        ref.moments(phi[again], ids[again], ddof=1, within=within)["covariance"],
        rtol=1e-10,
    )
    if within:
        some = {"base": "counts", "counts": counts}
        bias = ref.jackknife_bias(phi, [1.0], f, ids, **some)  # type: ignore[arg-type]
        want_bias = ref.jackknife_bias(phi[again], [1.0], f[again], ids[again])
        np.testing.assert_allclose(bias, want_bias, rtol=1e-9)


def test_reweighting_by_equal_policies_is_sampling() -> None:
    phi, ids, rng = rows(9, [8, 3, 15, 1])
    f, logp = rng.normal(size=len(phi)), -500 + rng.normal(size=len(phi))
    got = ref.tilt(phi, [1.0], f, ids, base="reweight", logprobs=logp, proposal_logprobs=logp)
    for name, value in ref.tilt(phi, [1.0], f, ids).items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-13, err_msg=name)


def test_base_weight_errors_and_order() -> None:
    base = ref.base_weights(4, ["b", "a", "b", "c"], prompt_weights=[1, 2, 1], clusters=["u", "v", "w"])
    assert base.ids.tolist() == ["b", "a", "c"] and base.clusters.tolist() == ["u", "v", "w"]
    assert base.omega.tolist() == [0.25, 0.5, 0.25] and base.rows[0].tolist() == [0, 2]
    np.testing.assert_array_equal(base.factor, [2.0, np.nan, np.nan])
    with pytest.raises(ValueError, match=r"prompt .*7"):
        ref.base_weights(3, [1, 7, 7], base="logprob", logprobs=[0.0, -np.inf, -np.inf])
    with pytest.raises(ValueError, match="logprob"):
        ref.cross_covariance([0.0, 1.0], [0.0, 1.0], ddof=1, base="logprob", logprobs=[0.0, 0.0])
    with pytest.raises(ValueError, match="row 1"):
        ref.tilt([0.0, np.nan], 1.0)
    fixed = ref.tilt([0.0, 1.0], 1.0, [0.0, 1.0], base="logprob", logprobs=[-800.0, -801.0])
    assert np.isfinite(fixed["gain"]).all() and np.isnan(fixed["first_order_unbiased"]).all()


def test_a_winner_whose_weight_underflows() -> None:
    got = ref.tilt([0.0, 5000.0], [1.0], [0.0, 1.0], base="logprob", logprobs=[0.0, -900.0])
    assert got["gain"][0, 0, 0] == 1.0 and got["kl"][0, 0] == pytest.approx(900)
    assert got["max_ratio"][0, 0] == np.inf and got["ess"][0, 0] == 0.0


def test_clustered_error_and_pooled_influence() -> None:
    phi, ids, rng = rows(10, [4] * 6)
    f = rng.normal(size=len(phi))
    c = [ref.tilt(phi[ids == x, 0], 1.0, f[ids == x])["gain"][0, 0, 0] for x in range(6)]
    got = ref.tilt(phi[:, 0], 1.0, f, ids)
    assert got["gain_se"][0, 0, 0] == pytest.approx(np.std(c, ddof=1) / math.sqrt(6), rel=1e-12)
    paired = ref.tilt(phi[:, 0], 1.0, f, ids, clusters=first_appearance(ids) // 2)
    pairs = np.mean(np.reshape(c, (3, 2)), axis=1)
    assert paired["gain_se"][0, 0, 0] == pytest.approx(np.std(pairs, ddof=1) / math.sqrt(3), rel=1e-12)
    both = ref.tilt(phi[:, 0], 1.0, np.column_stack([f, 2 * f]), ids)["gain_cov"][0, 0]
    np.testing.assert_allclose(both, got["gain_cov"][0, 0, 0, 0] * np.array([[1, 2], [2, 4]]), rtol=1e-12)

    # One normaliser: the influence is the derivative of the gain in the weight of a prompt.
    def gain(weights: Array) -> float:
        return float(
            ref.tilt(phi[:, 0], 1.0, f, ids, within=False, prompt_weights=weights[first_appearance(ids)])["gain"][
                0, 0, 0
            ]
        )

    psi = []
    for x in range(6):
        step = np.zeros(6)
        step[x] = 1e-5
        psi.append((gain(np.full(6, 1 / 6) + step) - gain(np.full(6, 1 / 6) - step)) / 2e-5 / 6)
    se = ref.tilt(phi[:, 0], 1.0, f, ids, within=False)["gain_se"][0, 0, 0]
    assert se == pytest.approx(math.sqrt(6 / 5 * np.sum(np.square(psi))), rel=1e-6)


def test_cumulants_and_linear_radius() -> None:
    phi, ids, rng = rows(11, [5, 8, 3])
    t, f = phi[:, 0], rng.normal(size=len(phi))
    lam = np.array([1e-2, 1e-3])
    got = ref.tilt(t, 1 / lam, f, ids)
    left = got["gain"][0, :, 0] - got["second_order"][0, :, 0]
    assert left[0] / left[1] == pytest.approx(1e3, rel=0.15)  # the remainder is third order
    third = 6 * left[1] / lam[1] ** 3
    k2 = got["first_order"][0, 1, 0] / lam[1]
    k3 = 2 * (got["second_order"][0, 1, 0] - got["first_order"][0, 1, 0]) / lam[1] ** 2
    want = min(0.2 * abs(k2 / k3), math.sqrt(0.6 * abs(k2 / third)))
    assert got["linear_radius"][0, 0] == pytest.approx(want, rel=0.02)
    # f symmetric and uncorrelated with t has k2 = 0; a constant score has no curvature at all
    assert ref.tilt([-2.0, -1.0, 1.0, 2.0], 1.0, [1.0, 0.0, 0.0, 1.0])["linear_radius"][0, 0] == 0.0
    assert ref.tilt([2.0, 2.0], 1.0, [1.0, 0.0])["linear_radius"][0, 0] == np.inf


def test_sign_flip() -> None:
    t = np.linspace(-3, 3, 61)
    f = -((t - 0.5) ** 2)  # rises first, falls after the overshoot
    got = ref.tilt(t, [10.0, 1.0, 0.2], f)
    flip = got["sign_flip"][0, 0]
    assert ref.tilt(t, 1 / flip, f)["gain"][0, 0, 0] == pytest.approx(0, abs=1e-10)
    assert 0.1 < flip < 5
    assert ref.tilt(t, [10.0, 1.0, 0.2], t)["sign_flip"][0, 0] == np.inf


def test_win_rate_counts_ties_half() -> None:
    f, t = np.array([0.0, 1.0, 1.0, 3.0]), np.array([0.3, -1.0, 2.0, 0.5])
    p = np.exp(t) / np.exp(t).sum()
    beats = (f[:, None] > f) + 0.5 * (f[:, None] == f)
    wins = float(p @ beats.mean(axis=1))
    assert ref.tilt(t, 1.0, f)["win_rate"][0, 0, 0] == pytest.approx(wins, rel=1e-13)


def test_kl_budget_round_trip_and_limits() -> None:
    phi, ids, _ = rows(12, [6, 9, 4])
    levels = np.array([1e-9, 0.1, 0.5, 1.0, 10.0])
    betas = ref.solve_kl(phi[:, :2], levels, ids)
    got = ref.tilt(phi[:, :2], betas, None, ids)["kl"]
    np.testing.assert_allclose(got[:, :4], np.tile(levels[:4], (2, 1)), rtol=1e-10)
    np.testing.assert_array_equal(betas[:, 4], 0)
    assert got[0, 4] == pytest.approx(np.mean(np.log([6, 9, 4])))
    assert np.all(ref.solve_kl(np.ones(5), [0.1, 3.0]) == np.inf)
    curve = ref.kl_curve(phi[:, 0], np.geomspace(1e-4, 1e4, 50), ids)[0]
    assert np.all(np.diff(curve) >= 0)


def test_jackknife_is_the_textbook_one() -> None:
    phi, ids, rng = rows(13, [4, 1, 5])
    t, f = phi[:, 0], rng.normal(size=len(phi))
    want = 0.0
    for x in range(3):
        tx, fx = t[ids == x], f[ids == x]
        n = len(tx)
        if n > 1:
            left = [ref.tilt(np.delete(tx, i), 0.7, np.delete(fx, i))["gain"][0, 0, 0] for i in range(n)]
            want += (n - 1) * (np.mean(left) - ref.tilt(tx, 0.7, fx)["gain"][0, 0, 0]) / 3
    assert ref.jackknife_bias(t, 0.7, f, ids)[0, 0, 0] == pytest.approx(want, rel=1e-11)


def test_bias_table_and_kl_horizon() -> None:
    rng = np.random.default_rng(14)
    n, prompts, lam = 8, 2000, 1.0
    t, ids = rng.normal(size=n * prompts), np.repeat(np.arange(prompts), n)
    got = ref.tilt(t, 1 / lam, t, ids)
    ratio = got["gain"][0, 0, 0] / lam  # the true gain of a Gaussian score is lam
    assert ratio == pytest.approx(0.77, abs=0.02)
    assert got["first_order_unbiased"][0, 0, 0] == pytest.approx(1, abs=0.03)
    assert got["first_order"][0, 0, 0] == pytest.approx(7 / 8, abs=0.03)
    jackknifed = ratio - ref.jackknife_bias(t, 1 / lam, t, ids)[0, 0, 0] / lam
    assert abs(jackknifed - 1) < 0.5 * abs(ratio - 1)
    few = ref.kl_horizon(t[: 4 * n], ids[: 4 * n])[0]
    many = ref.kl_horizon(t[: 300 * n], ids[: 300 * n])[0]
    assert 0 <= many <= few <= 0.5 * math.log(n) + 1e-12 and few > 0  # the SE shrinks, the bias does not
    assert ref.kl_horizon(np.ones(16), np.repeat([0, 1], 8))[0] == 0
    single = ref.kl_horizon(np.arange(3.0), [0, 1, 2])
    assert single.tolist() == [0.0]


def test_toy_table_in_a_gaussian_world() -> None:
    """Theory 3: the tilt shifts the mean by u_C / beta, and the plug-in on many rows says so."""
    rng = np.random.default_rng(15)
    half = rng.normal(size=(60_000, 2))
    phi = np.vstack([half, -half])
    for u_c, beta, gain, kl in (((0.9, 0.436), 1.0, 0.9, 0.5), ((-0.8, 0.6), 1.0, -0.8, 0.5)):
        t = ref.score(phi, u_c)
        got = ref.tilt(t, beta, phi[:, 0])
        assert got["gain"][0, 0, 0] == pytest.approx(gain, abs=0.02)
        assert got["kl"][0, 0] == pytest.approx(kl, abs=0.02)
        moved = ref.tilted_mean(phi, t, beta)[0, 0]
        np.testing.assert_allclose(moved, np.array(u_c) / beta, atol=0.02)
        after = np.array([0.1, 0.995]) + moved
        assert after[0] / np.linalg.norm(after) == pytest.approx(0.573 if gain > 0 else -0.402, abs=0.02)


def test_within_residual_is_uncorrelated_with_the_columns() -> None:
    phi, ids, _ = rows(16, [5, 2, 7, 1])
    scores, columns = phi[:, :2], np.column_stack([phi[:, 2] * 1e6, phi[:, 2] + 4, np.ones(len(phi))])
    left = ref.within_residual(scores, columns, ids)
    covariance = ref.cross_covariance(left, phi[:, 2], ids, ddof=0)["value"]
    np.testing.assert_allclose(covariance, 0, atol=1e-12)
    kept = ref.within_residual(scores, np.ones(len(phi)), ids)
    want = ref.cross_covariance(scores, scores, ids)["value"]
    np.testing.assert_allclose(ref.cross_covariance(kept, scores, ids)["value"], want, rtol=1e-12)


def test_encoding_quality_within_and_pooled() -> None:
    rng = np.random.default_rng(17)
    ids = np.repeat(np.arange(300), 5)
    topic, noise = 2 * rng.normal(size=300)[ids], rng.normal(size=1500)
    got = ref.encoding_quality(topic, topic + noise, ids)
    assert got["pooled"] > 0.6 and abs(got["value"]) < 1e-12 and np.isnan(got["r"])
    assert ref.encoding_quality(-noise, noise, ids)["value"] == pytest.approx(-3)
    assert np.isnan(ref.encoding_quality(noise, topic, ids)["value"])


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_pareto_k_recovers_the_shape(shape: float) -> None:
    rng = np.random.default_rng(18)
    ratios = rng.random(40_000) ** -shape  # exactly Pareto with tail index 1/shape
    assert ref.pareto_k(np.log(ratios)) == pytest.approx(shape, abs=0.12)
    assert ref.pareto_k(np.log(ratios) + 900) == pytest.approx(ref.pareto_k(np.log(ratios)), rel=1e-9)


def test_pareto_k_not_applicable() -> None:
    assert math.isnan(ref.pareto_k(np.arange(20.0)))  # four tail points
    assert not math.isnan(ref.pareto_k(np.arange(21.0)))
    assert math.isnan(ref.pareto_k(np.r_[np.zeros(100), np.ones(10)]))
    assert math.isnan(ref.pareto_k([])) and math.isnan(ref.pareto_k([1.0]))


def test_pareto_k_against_arviz() -> None:
    stats = pytest.importorskip("arviz_stats.base")
    # 900 because 3 sqrt(900) is whole: whether the tail's length is rounded up differs; psislw takes minus log-ratios
    log_ratios = np.random.default_rng(19).normal(size=900) * 1.5
    _, k = stats.array_stats.psislw(-log_ratios)
    assert ref.pareto_k(log_ratios) == pytest.approx(float(k), rel=1e-3)


def test_huge_column_means_change_nothing() -> None:
    phi, ids, rng = rows(20, [3, 7, 15])
    f = rng.normal(size=len(phi))
    exact = np.round(phi * 2**20) / 2**20
    for name in ("gain", "kl", "gain_se"):
        want = ref.tilt(exact, [0.5], f, ids)[name]
        np.testing.assert_allclose(ref.tilt(exact + 2.0**20, [0.5], f, ids)[name], want, rtol=1e-9)
    want = ref.moments(exact, ids)["covariance"]
    np.testing.assert_allclose(ref.moments(exact + 2.0**20, ids)["covariance"], want, rtol=1e-9)
