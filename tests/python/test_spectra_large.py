"""Spectra that are never formed and shifts between dumps, against eigh, SVD and the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

import clinometer as cm
from clinometer import theory


def matrix(d: int, seed: int = 0) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    return (q / np.arange(1, d + 1)) @ q.T


@pytest.mark.parametrize("n_iterations", [0, 1, 4])
@pytest.mark.parametrize("d", [7, 60, 200])
def test_every_eigenvalue_is_within_its_residual(d: int, n_iterations: int) -> None:
    sigma = matrix(d)
    found = theory.randomised_spectrum(
        lambda u: u @ sigma, 5, oversample=6, n_iterations=n_iterations, trace=float(np.trace(sigma)), dim=d
    )
    exact = np.linalg.eigvalsh(sigma)[::-1]
    gap = np.abs(exact[:, None] - found.eigenvalues[None, :]).min(axis=0)
    assert (gap <= found.residual + 1e-12).all()
    assert abs(found.square - (exact**2).sum()) <= 4 * found.square_se + 1e-12
    part = exact.sum() ** 2 / (exact**2).sum()
    assert abs(found.participation - part) <= 4 * found.participation_se + 1e-9
    assert found.stable >= exact.sum() / exact[0] - 1e-9
    if n_iterations == 4:
        np.testing.assert_allclose(found.eigenvalues, exact[:5], rtol=1e-3)
        np.testing.assert_allclose(found.energy_share[-1], exact[:5].sum() / exact.sum(), rtol=1e-3)


def test_the_error_of_the_square_is_its_spread() -> None:
    sigma = matrix(80)
    runs = [
        theory.randomised_spectrum(
            lambda u: u @ sigma, 2, oversample=2, n_iterations=0, n_probes=8, trace=1.0, dim=80, random_state=i
        )
        for i in range(200)
    ]
    truth = float((sigma**2).sum())
    assert np.mean([r.square for r in runs]) == pytest.approx(truth, rel=2e-3)
    inside = np.mean([abs(r.square - truth) < 2.4 * r.square_se for r in runs])  # t with 7 degrees of freedom
    assert inside > 0.85


def test_a_dump_gives_the_spectrum_of_its_moments() -> None:
    world = cm.simulate(n_prompts=40, n_responses=6, dim=30, unequal=True, random_state=1)
    sigma = cm.moments(world).covariance
    found = theory.randomised_spectrum(world, 6, n_iterations=6)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(sigma)[::-1][:6], rtol=1e-4)
    assert found.trace == pytest.approx(np.trace(sigma), rel=1e-5)
    zero = theory.randomised_spectrum(lambda u: 0.0 * u, 2, trace=0.0, dim=5)
    assert zero.participation == 0.0 and zero.stable == 0.0
    for bad in ({"rank": 0}, {"rank": 31}, {"n_probes": 1}, {"within": False}):
        with pytest.raises(ValueError, match=r"rank|n_probes|within"):
            theory.randomised_spectrum(world, **bad)
    with pytest.raises(ValueError, match="trace= and dim="):
        theory.randomised_spectrum(lambda u: u)


# ---- shift rank


@pytest.mark.parametrize(("n", "d"), [(40, 7), (5, 17), (1, 3), (300, 33)])
def test_shift_ranks_are_those_of_the_singular_values(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    before = rng.standard_normal((n, d)) * 100.0
    D = rng.standard_normal((n, d)) / np.arange(1, d + 1) + 0.3
    found = theory.shift_rank(before + D, before)
    for result, rv, table in (
        (found.uncentred, found.roy_vetterli, D),
        (found.centred, found.roy_vetterli_centred, D - D.mean(axis=0)),
    ):
        sv = np.linalg.svd(table, compute_uv=False)
        if sv[0] < 1e-9:
            assert result.participation == 0.0
            continue
        assert result.participation == pytest.approx((sv**2).sum() ** 2 / (sv**4).sum(), rel=1e-6)
        assert result.stable == pytest.approx((sv**2).sum() / sv[0] ** 2, rel=1e-6)
        share = sv[sv > 1e-9 * sv[0]] / sv.sum()
        assert rv == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-4)
    np.testing.assert_allclose(found.singular_values, np.linalg.svd(D, compute_uv=False), atol=1e-6)
    assert found.mean_share == pytest.approx(n * (D.mean(axis=0) ** 2).sum() / (D**2).sum())
    assert found.length == pytest.approx(np.sqrt((D**2).sum(axis=1).mean()))


def test_a_constant_shift_alone_has_rank_one() -> None:
    before = np.random.default_rng(0).standard_normal((200, 12))
    found = theory.shift_rank(before + np.arange(1.0, 13.0), before)
    assert found.uncentred.participation == pytest.approx(1.0)
    assert found.mean_share == pytest.approx(1.0)


def test_the_error_of_participation_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(80), 5)
    D = rng.standard_normal((400, 10)) / np.arange(1, 11) * (1.0 + rng.random(80)[ids, None])
    found = theory.shift_rank(cm.open_dump(D, prompt_ids=ids), cm.open_dump(0 * D, prompt_ids=ids))
    boot = []
    for _ in range(400):
        pick = np.concatenate([np.flatnonzero(ids == g) for g in rng.integers(0, 80, 80)])
        sv = np.linalg.svd(D[pick], compute_uv=False) ** 2
        boot.append(sv.sum() ** 2 / (sv**2).sum())
    assert found.participation_se == pytest.approx(np.std(boot), rel=0.2)


def test_few_rows_hide_dimensions_and_the_unbiased_form_finds_them() -> None:
    naive, fixed = [], []
    for seed in range(40):
        D = np.random.default_rng(seed).standard_normal((50, 50))
        found = theory.shift_rank(D, 0 * D)
        naive.append(found.uncentred.participation)
        fixed.append(found.participation_unbiased)
    assert np.mean(naive) == pytest.approx(50 / (1 + 50 / 50), rel=0.05)  # d / (1 + d / N), theory 5.1
    assert np.mean(fixed) == pytest.approx(50.0, rel=0.05)


def test_rows_that_are_not_aligned_are_refused() -> None:
    a = cm.open_dump(np.ones((4, 2)), prompt_ids=[0, 0, 1, 1])
    for other, message in (
        (cm.open_dump(np.ones((3, 2)), prompt_ids=[0, 0, 1]), "wanted the same rows"),
        (cm.open_dump(np.zeros((4, 2)), prompt_ids=[0, 1, 1, 1]), "different prompt ids"),
        (a, "wanted a shift"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.shift_rank(a, other)
    with pytest.raises(ValueError, match="row 2 of the difference"):
        theory.shift_rank(np.array([[1.0], [2.0], [np.nan]]), np.zeros((3, 1)))


def test_an_estimator_that_concentrates_is_named() -> None:
    world = cm.simulate(n_prompts=60, n_responses=6, dim=12, random_state=2)
    labels = (world.column("s") > np.median(world.column("s"))) * 1.0
    m = cm.moments(world)
    fit = cm.fit_value_direction(world, labels, method="mean_difference")
    with pytest.warns(UserWarning, match="look concentrated whatever the value"):
        assert theory.value_concentration(fit, m, 3).estimator == "mean_difference"
    honest = cm.fit_value_direction(world, labels, method="least_squares")
    assert theory.value_concentration(honest, m, 3).estimator == "least_squares"
    assert theory.value_concentration(fit.vectors, m, 3).estimator == "given"


@pytest.mark.parametrize("d", [24, 64])
def test_a_fit_to_fewer_rows_than_dimensions_is_not_concentrated(d: int) -> None:
    """An isotropic value, read without noise from 36 rows beyond one a prompt: p is uniform, whichever m."""
    rng, p = np.random.default_rng(6), []
    ids = np.repeat(np.arange(12), 4)
    for _ in range(80):
        phi = rng.standard_normal((48, d))
        inside = phi - phi.reshape(12, 4, d).mean(axis=1)[ids]
        u = np.linalg.lstsq(inside, inside @ rng.standard_normal(d), rcond=None)[0]
        found = theory.value_concentration(u, cm.moments(phi, prompt_ids=ids))
        assert found.null_mean == found.m / min(d, 36)
        p.append(found.p_value[0])
    assert abs(np.mean(p) - 0.5) < 3.5 / np.sqrt(12 * len(p)) and np.mean(np.array(p) < 0.05) <= 0.13


def test_rows_of_a_prompt_that_move_together_hide_no_dimension() -> None:
    rng, found = np.random.default_rng(7), []
    ids = np.repeat(np.arange(60), 6)
    for _ in range(20):
        D = np.sqrt(0.8) * rng.standard_normal((60, 16))[ids] + np.sqrt(0.2) * rng.standard_normal((360, 16))
        found.append(theory.shift_rank(D, np.zeros_like(D), clusters=ids).participation_unbiased)
    assert abs(np.mean(found) - 16) < 3.5 * np.std(found) / np.sqrt(len(found))


@pytest.mark.parametrize("d", [3, 40])
def test_own_products_go_by_cluster_in_any_order(d: int) -> None:
    """Clusters of one row, of several and of more rows than dimensions, scattered over the dump."""
    rng = np.random.default_rng(8)
    ids = rng.permutation(np.repeat(np.arange(6), [1, 1, 2, 5, 9, 20]))
    D = rng.standard_normal((len(ids), d)) + 0.5
    products = (D @ D.T) ** 2
    lengths = np.outer((D**2).sum(axis=1), (D**2).sum(axis=1))
    apart = ids[:, None] != ids
    found = theory.shift_rank(D, np.zeros_like(D), clusters=ids).participation_unbiased
    assert found == pytest.approx(lengths[apart].sum() / products[apart].sum(), rel=1e-10)
