"""Proposition 5's alpha from labelled text: worlds of known share, noise, confounding length and changes of basis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import clinometer as cm
from clinometer import theory
from clinometer.theory.generation import share_interval


def _world(seed: int = 0, **more: Any) -> Any:
    sizes = {"n_prompts": 250, "n_responses": 8, "dim": 6, "generation_alignment": 0.5, "world": 3}
    return cm.simulate(**{**sizes, "random_state": seed, **more})


def _truth(world: Any) -> float:
    """c'V^-1 c / Var of the directions behind the world."""
    t = world.truth
    c, V = t.u_values @ t.sigma @ t.u_gen, t.u_values @ t.sigma @ t.u_values.T
    return float(c @ np.linalg.solve(V, c) / (t.u_gen @ t.sigma @ t.u_gen))


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.35, 0.5, 0.9, 1.0])
def test_alpha_is_that_of_the_orthonormal_world(alpha: float) -> None:
    cos = theory.score_correlation([alpha, 1 - alpha], [1.0, 0.0]).item()
    assert theory.orthonormal_alpha(cos**2) == pytest.approx(alpha, abs=1e-9)


def test_one_value_and_two() -> None:
    for n_values, seed in ((1, 0), (2, 1)):
        world = _world(seed, n_values=n_values)
        found = theory.generation_share(world, ["s", "s2"][:n_values])
        truth = _truth(world)
        assert found.share_ci[0] < truth < found.share_ci[1] and found.share_ci[1] - found.share_ci[0] < 0.2
        assert found.alpha_ci[0] < theory.orthonormal_alpha(truth) < found.alpha_ci[1]
        assert found.cosine[0] == pytest.approx(0.5, abs=0.1) and found.resolved.all()
        assert found.generation_quality == pytest.approx(1.0, abs=1e-5)


def test_the_share_is_free_of_the_noise_of_fits() -> None:
    shares = [theory.generation_share(_world(seed, n_prompts=60, dim=12), "s").share for seed in range(30)]
    assert np.mean(shares) == pytest.approx(0.25, abs=4 * np.std(shares) / np.sqrt(30))
    world = _world(0, n_prompts=60, dim=12)
    fit = cm.fit_value_direction(world, "s", method="least_squares")
    noisy = theory.score_correlation(fit.vectors, world.truth.u_gen[None], world.truth.sigma).item() ** 2
    assert noisy < np.mean(shares)  # what a fit with noise says of it


def test_noise_explains_nothing() -> None:
    world, rng = _world(2), np.random.default_rng(2)
    noise = rng.normal(size=(world.n_rows, 3))
    with pytest.warns(UserWarning, match="do not show well that value0, value1, value2 is encoded"):
        found = theory.generation_share(world, noise)
    assert abs(found.share) < 0.02 and not found.resolved.any() and np.isnan(found.cosine).all()
    both = np.column_stack([world.column("s"), noise])
    with pytest.warns(UserWarning, match="do not show well that value1, value2, value3"):
        more = theory.generation_share(world, both)
    assert more.share == pytest.approx(theory.generation_share(world, "s").share, abs=0.03)


def test_a_value_twice_counts_once() -> None:
    world = _world(3)
    s = np.asarray(world.column("s"))
    found = theory.generation_share(world, np.column_stack([s, -2.0 * s]))
    assert found.share == pytest.approx(theory.generation_share(world, "s").share, abs=1e-6)
    assert found.cosine[1] == pytest.approx(-found.cosine[0])


def test_a_change_of_basis_does_not_matter() -> None:
    world = _world(4, n_values=2)
    phi, rng = world.read(0, world.n_rows, np.float64), np.random.default_rng(4)
    turned = phi @ (rng.normal(size=(6, 6)) + 3 * np.eye(6))
    s = np.column_stack([world.column("s"), world.column("s2")])
    options = {"prompt_ids": world.prompt_ids, "precision": "double"}
    a, b = (theory.generation_share(x, s, np.asarray(world.column("logprob")), **options) for x in (phi, turned))
    assert b.share == pytest.approx(a.share, rel=1e-6) and b.share_se == pytest.approx(a.share_se, rel=1e-6)
    np.testing.assert_allclose(b.cosine, a.cosine, rtol=1e-6)


def test_length_is_taken_out() -> None:
    world = _world(6, n_constitutions=1)
    length = np.asarray(world.column("n_tokens"), float)
    confounded = np.asarray(world.column("logprob")) - 0.05 * length  # the judge, and so the value, goes with length
    plain = theory.generation_share(world, "s", confounded)
    net = theory.generation_share(world, "s", confounded, covariates="n_tokens")
    assert net.share == pytest.approx(theory.generation_share(world, "s").share, rel=1e-5)
    assert net.generation_quality > 0.999 and abs(plain.share - 0.25) > 0.1


def test_rows_that_lack_a_label_are_left_out() -> None:
    world = _world(6)
    s, logp = (np.array(world.column(name), float) for name in ("s", "logprob"))
    s[::5], logp[1::5] = np.nan, np.nan
    found = theory.generation_share(world, s, logp)
    kept = ~np.isnan(s + logp)
    phi, ids = world.read(0, world.n_rows)[kept], np.asarray(world.prompt_ids)[kept]
    alone = theory.generation_share(phi, s[kept], logp[kept], prompt_ids=ids)
    assert (found.n_rows, found.n_incomplete) == (kept.sum(), (~kept).sum())
    assert found.share == pytest.approx(alone.share, rel=1e-5)
    assert found.share_se == pytest.approx(alone.share_se, rel=1e-5)


def test_what_stands_beside_the_share() -> None:
    world = _world(9)
    found, wide = theory.generation_share(world, "s"), theory.generation_share(world, "s", level=0.99)
    quality = cm.fit_value_direction(world, "s", method="least_squares").encoding_quality
    np.testing.assert_allclose(found.rho2, quality.rho2_debiased, rtol=1e-9)
    np.testing.assert_allclose(found.rho2_ci, quality.rho2_ci, rtol=1e-9)
    assert found.alpha == theory.orthonormal_alpha(found.share)
    np.testing.assert_array_equal(found.alpha_ci, theory.orthonormal_alpha(found.share_ci))
    assert found.cosine[0] ** 2 == pytest.approx(found.share, rel=0.02)  # of one value
    for ci, level in ((found.share_ci, 0.95), (wide.share_ci, 0.99)):
        half = stats.t.ppf(0.5 + level / 2, found.units - 1) * found.share_se
        z, root = np.arctanh(np.sqrt(found.share)), np.sqrt(found.share)
        fisher = np.tanh(z + half / (2 * root * (1 - found.share)) * np.array([-1, 1])) ** 2
        np.testing.assert_allclose(ci, [min(fisher[0], found.share - half), max(fisher[1], found.share + half)])


def test_bounds_move_smoothly_and_stay_inside() -> None:
    shares = np.linspace(-0.05, 1.0, 2101)
    ci = np.array([share_interval(x, 0.01, 60.0, 0.95) for x in shares])
    assert (ci >= 0).all() and (ci <= 1).all() and (np.diff(ci, axis=0) > -1e-9).all()
    assert np.abs(np.diff(ci, axis=0)).max() < 0.02
    half = stats.t.ppf(0.975, 59) * 0.01
    assert ((ci[:, 0] > 0) == (shares > half)).all()  # an effect is seen where Student's t sees it
    assert np.isnan(share_interval(np.nan, np.nan, np.nan, 0.95)).all()


def test_the_error_is_a_jackknife_s() -> None:
    world = _world(10, n_prompts=100, dim=4)
    found = theory.generation_share(world, "s")
    left = [
        theory.generation_share(world.select(prompts=np.setdiff1d(np.arange(100), np.arange(i, 100, 25))), "s").share
        for i in range(25)
    ]
    jackknife = float(np.sqrt(24 / 25 * ((np.array(left) - np.mean(left)) ** 2).sum()))
    assert 0.7 < found.share_se / jackknife < 1.4


def test_clusters_are_the_units() -> None:
    world = _world(7)
    found = theory.generation_share(world, "s", clusters=np.arange(250) // 10)
    assert found.units <= 25.0 and found.share_ci[0] < 0.25 < found.share_ci[1]


def test_what_is_refused() -> None:
    world = _world(8, n_prompts=12)
    for values, options, message in (
        ("s", {"within": False}, "within is False"),
        ("s", {"folds": 1}, "folds is 1"),
        ("s", {"level": 0}, "level is 0"),
        ("s", {"logprobs": None}, "logprobs is None"),
        (np.where(np.arange(96) % 8 < 2, 1.0, np.nan), {}, "wanted more than 2 d"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.generation_share(world, values, **options)
    bare = pytest.warns(UserWarning, match="no row that counts has a label")
    with bare, pytest.raises(ValueError, match="no row in common"):
        theory.generation_share(world, np.full(96, np.nan))


def test_prompts_that_spread_all_scores_alike_leave_the_share() -> None:
    """Every direction's variance grows by one factor in a prompt, so that no share moves; bounds hold on to it."""
    held = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ids = np.repeat(np.arange(30), 8)
        phi = rng.standard_normal((240, 4)) * np.exp(0.7 * rng.standard_normal(30))[ids, None]
        own = 0.3 * rng.standard_normal(240)
        found = theory.generation_share(
            phi, phi @ [0.6, 0.8, 0.0, 0.0] + 0.3 * rng.standard_normal(240), phi[:, 0] + own, prompt_ids=ids
        )
        held += found.share_ci[0] <= 0.36 <= found.share_ci[1]
    assert held >= 25  # of 30; fewer in 1 of 200 runs if bounds hold in 95 %
