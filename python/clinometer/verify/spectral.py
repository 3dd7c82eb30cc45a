"""Effective ranks, concentration of a value, and the rank of a shift (theory 5)."""

from __future__ import annotations

import warnings

import numpy as np

import clinometer as cm
from clinometer import theory

from .registry import Check, at_least, at_most, claim, near, same
from .worlds import Floats, covariance, generator, prompts


@claim("D8", "participation of the identity in 7 dimensions, and of a rank-1 matrix (their sum)")
def _() -> Check:
    one = theory.effective_rank(np.outer([1.0, 2.0], [1.0, 2.0])).participation
    return near(theory.effective_rank(np.eye(7)).participation + one, 8.0, 1e-9)


@claim("D8", "tr(Sigma)^2/|Sigma|_F^2 without eigenvalues equals the participation ratio (relative error)")
def _() -> Check:
    root = generator(70).standard_normal((20, 20))
    sigma = root @ root.T
    found = theory.effective_rank(sigma).participation
    return near(np.trace(sigma) ** 2 / (sigma**2).sum() / found, 1.0, 1e-12)


@claim("D8", "100 rows of a true identity in 100 dimensions show about d/(1 + d/N) = 50")
def _() -> Check:
    phi = generator(71).standard_normal((100, 100))
    return near(theory.effective_rank(phi.T @ phi / 100).participation, 50.0, 2.0)


@claim("D8", "the leading eigenvalue of 400 dimensions, never forming Sigma, is within its stated residual")
def _() -> Check:
    world = cm.simulate(n_prompts=60, n_responses=8, dim=400, random_state=8)
    found = theory.randomised_spectrum(world, 4, n_iterations=2)
    exact = np.linalg.eigvalsh(covariance(world))[-1]
    return near(float(found.eigenvalues[0]), float(exact), float(found.residual[0]) + 1e-6 * float(exact))


@claim("D8", "participation of 400 dimensions, probed, is within four of its errors")
def _() -> Check:
    world = cm.simulate(n_prompts=60, n_responses=8, dim=400, random_state=8)
    found = theory.randomised_spectrum(world, 8)
    exact = theory.effective_rank(cm.moments(world)).participation
    return near(found.participation, exact, 4.0 * found.participation_se + 1e-5 * exact)


@claim("C9", "random values have uniform p-values (Kolmogorov-Smirnov p of 500 of them)")
def _() -> Check:
    from scipy.stats import kstest

    u = generator(72).standard_normal((500, 30))
    found = theory.value_concentration(u, np.diag(1.0 / np.arange(1, 31)), 5, draws=100)
    return at_least(float(kstest(found.p_value, "uniform").pvalue), 0.01)


@claim("C9", "a random value has share m/d in the leading space (mean of 2000, m = 5, d = 30)")
def _() -> Check:
    u = generator(73).standard_normal((2000, 30))
    share = theory.value_concentration(u, np.diag(1.0 / np.arange(1, 31)), 5, draws=100).share
    return near(float(share.mean()), 5 / 30, 4.0 * float(share.std()) / np.sqrt(2000))


def _shares() -> tuple[Floats, Floats]:
    """Mean share of random values in 6 of 60 power-law dimensions: of u itself, and of Sigma u."""
    sigma = np.diag(1.0 / np.arange(1, 61))
    u = generator(74).standard_normal((400, 60))
    return tuple(theory.value_concentration(x, sigma, 6, draws=100).share for x in (u, u @ sigma))  # type: ignore[return-value]


@claim("C9", "Sigma u, which mean differences estimate, looks concentrated for random u: share where truth is .10")
def _() -> Check:
    return at_least(float(_shares()[1].mean()), 0.8)


@claim("C9", "the mean difference is named as the estimator, with a warning")
def _() -> Check:
    world = cm.simulate(n_prompts=60, n_responses=6, dim=8, random_state=9)
    fit = cm.fit_value_direction(world, (world.column("s") > 0) * 1.0, method="mean_difference")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        name = theory.value_concentration(fit, cm.moments(world), 2, draws=10).estimator
    return same(f"{name}, {len(said)} warning", "mean_difference, 1 warning")


@claim("C9", "after whitening the leading space is not defined, and the tie is flagged")
def _() -> Check:
    return same(theory.value_concentration([1.0, 2.0, 3.0], np.eye(3), 1, draws=10).tie, True)


@claim("8.2", "a constant shift alone has rank 1 about zero")
def _() -> Check:
    before = generator(75).standard_normal((300, 20))
    after = before + np.arange(20) + 1e-3 * generator(76).standard_normal((300, 20))
    return near(theory.shift_rank(after, before).uncentred.participation, 1.0, 1e-4)


@claim("8.2", "... and about its mean the rank of the noise, d/(1 + d/N) of 20 dimensions and 300 rows")
def _() -> Check:
    before = generator(75).standard_normal((300, 20))
    after = before + np.arange(20) + 1e-3 * generator(76).standard_normal((300, 20))
    return near(theory.shift_rank(after, before).centred.participation, 20 / (1 + 20 / 300), 0.5)


@claim("8.2", "a shift along 3 of 50 dimensions has participation 3, corrected for 200 rows")
def _() -> Check:
    before = generator(77).standard_normal((200, 50))
    frame = np.linalg.qr(generator(78).standard_normal((50, 3)))[0]
    shift = generator(79).standard_normal((200, 3)) @ frame.T
    found = theory.shift_rank(before + shift, before)
    return near(found.participation_unbiased, 3.0, 4.0 * found.participation_se)


@claim("8.2", "a rotated copy of a layer keeps its quality: paired interval of the change holds 0")
def _() -> Check:
    a = cm.simulate(n_prompts=150, n_responses=6, dim=5, spectrum="flat", random_state=10)
    turn = np.linalg.qr(generator(80).standard_normal((5, 5)))[0]
    turned = a.read(0, a.n_rows, np.float64) @ turn
    b = cm.open_dump(turned, prompt_ids=a.prompt_ids, columns={"s": a.column("s")})
    ci = cm.compare(a, b, "s", fits={"alpha": 0.01}).quality_ci[0]
    return same(bool(ci[0] <= 1e-4 and ci[1] >= -1e-4), True)


@claim("8.2", "... and its direction does not transfer: out-of-fold r on the copy, where its own is .7")
def _() -> Check:
    a = cm.simulate(n_prompts=150, n_responses=6, dim=5, spectrum="flat", random_state=10)
    turn = np.linalg.qr(generator(80).standard_normal((5, 5)))[0]
    turned = a.read(0, a.n_rows, np.float64) @ turn
    b = cm.open_dump(turned, prompt_ids=a.prompt_ids, columns={"s": a.column("s")})
    found = cm.compare(a, b, "s", fits={"alpha": 0.01})
    return at_most(abs(float(found.transfer[0])), 0.6 * float(found.own[0]))


@claim("D8", "a value listed in every prompt weighs prompts and not rows: within participation of unequal prompts")
def _() -> Check:
    rng = generator(81)
    ids = np.concatenate([prompts(200, 2), 200 + prompts(5, 80)])
    phi = np.where((ids < 200)[:, None], rng.standard_normal((800, 3)), rng.standard_normal((800, 3)) * [9.0, 0.1, 0.1])
    want = np.mean([np.cov(phi[ids == g].T, ddof=0) for g in range(205)], axis=0)
    found = theory.effective_rank(cm.moments(phi, prompt_ids=ids, precision="double")).participation
    return near(found, float(np.trace(want) ** 2 / (want**2).sum()), 1e-8)
