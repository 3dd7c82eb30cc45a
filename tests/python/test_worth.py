"""What independent units are worth for an error that is estimated from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import clinometer as cm
from clinometer import theory
from clinometer.common.resampling import effective_units, worth


@pytest.mark.parametrize("n", [3, 7, 15, 33, 200])
def test_equal_units_have_the_freedom_of_their_kurtosis(n: int) -> None:
    psi = np.random.default_rng(n).standard_t(3, size=(n, 4))
    psi -= psi.mean(axis=0)
    excess = np.maximum(stats.kurtosis(psi, axis=0), 0.0)
    np.testing.assert_allclose(worth(psi, np.ones((n, 1))), 1 + 2 / (2 / (n - 1) + excess / n), rtol=1e-12)
    np.testing.assert_allclose(worth(1e200 * psi, np.full((n, 1), 1e-3)), worth(psi, np.ones((n, 1))), rtol=1e-9)


@pytest.mark.parametrize("kind", ["exponential", "normal", "rare"])
def test_the_variance_of_a_variance_is_that_of_chi_square_with_this_freedom(kind: str) -> None:
    """Units drawn anew from these very units: Var s^2 = 2 sigma^4/(worth - 1), exactly."""
    rng = np.random.default_rng(1)
    n = 40
    psi = {"exponential": rng.exponential(size=n), "normal": stats.norm.ppf((np.arange(n) + 0.5) / n) ** 3,
           "rare": np.where(np.arange(n) < 3, 5.0, rng.normal(size=n))}[kind]  # fmt: skip
    psi = psi - psi.mean()
    drawn = psi[rng.integers(0, n, (200_000, n))].var(axis=1, ddof=1)
    freedom = worth(psi[:, None], np.ones((n, 1))).item() - 1
    assert drawn.var() == pytest.approx(2 * (psi**2).mean() ** 2 / freedom, rel=0.03)
    assert freedom < n - 1


def test_short_tails_few_units_and_unequal_weights() -> None:
    rng = np.random.default_rng(2)
    held = rng.uniform(0.1, 3.0, (50, 1))
    even = held * np.where(np.arange(50) % 2, 1.0, -1.0)[:, None]  # kurtosis 1 for its weights
    assert worth(even, held).item() == pytest.approx(effective_units(held).item(), rel=1e-12)
    assert worth(even, held, 7.0).item() == pytest.approx(7.0)
    assert worth(np.ones((1, 1)), np.ones((1, 1))).item() == 1.0
    assert worth(np.zeros((5, 1)), np.ones((5, 1))).item() == pytest.approx(5.0)
    assert worth(np.full((5, 1), np.nan), np.ones((5, 1))).item() == pytest.approx(5.0)
    assert worth(np.array([[1e308], [np.inf]]), np.ones((2, 1))).item() <= 2.0
    normal = held * rng.normal(size=(50, 4000))
    assert np.median(worth(normal, held)) == pytest.approx(effective_units(held).item(), rel=0.35)


def test_intervals_of_heavy_tails_are_wider_than_the_count_of_prompts_says() -> None:
    world = cm.simulate(80, 6, 4, heavy_tails=True, random_state=3)
    found = cm.inference.gain_intervals(world, world.truth.u_c, values="s", kl=[0.2])
    assert (found.units < 60).all()
    half = (found.interval[..., 1] - found.interval[..., 0]) / 2
    np.testing.assert_allclose(half, stats.t.ppf(0.975, found.units - 1) * found.se, rtol=1e-9)


def test_the_second_order_of_fits_of_fewer_rows_than_columns_is_counted_once() -> None:
    """By influences alone the variance of the gap is said to be about twice what it is over dumps."""
    gaps, squares = [], []
    for seed in range(150):
        world = cm.simulate(24, 4, 90, n_constitutions=1, alignment=[0.6], random_state=seed, world=1)
        rng = np.random.default_rng([seed, 1])
        judge = np.asarray(world.column("judge/c0")) + rng.normal(size=world.n_rows)
        logp = np.asarray(world.column("logprob")) + rng.normal(size=world.n_rows)
        fits = [cm.fit_value_direction(world, y, alpha=1.0, pooled=False) for y in ("s", judge)]
        found = theory.generation_judgment_gap(*fits, cm.fit_generation_direction(world, logp, alpha=1.0), world)
        gaps.append(found.gap.item())
        squares.append(found.se.item() ** 2)
    assert 0.8 < np.mean(squares) / np.var(gaps) < 1.4
