"""Several values: profiles, classes, scalarisations, the cone and its share (theory 8)."""

from __future__ import annotations

import numpy as np

import clinometer as cm
from clinometer import theory

from .registry import Check, at_least, at_most, claim, near, same
from .worlds import Floats, covariance, generator, prompts, random_rows


def _values() -> tuple[Floats, Floats]:
    rng = generator(120)
    root = rng.standard_normal((5, 5))
    return rng.standard_normal((3, 5)), root @ root.T


@claim("47", "the profile U Sigma u_C is beta times the small-tilt gain of every value (largest relative error)")
def _() -> Check:
    phi, ids = random_rows(121)
    u, v = generator(121).standard_normal((3, 4)), generator(122).standard_normal(4)
    sigma = covariance(phi, prompt_ids=ids, precision="double")
    gain = cm.tilt(phi, v, [1e6], phi @ u.T, prompt_ids=ids, precision="double").gain[0, 0]
    return near(float(np.abs(gain * 1e6 / theory.tradeoff_profile(u, sigma, v)[0] - 1.0).max()), 0.0, 1e-4)


@claim("D16-20", "slope of the worst case along a profile: that of the bottleneck, by a finite difference")
def _() -> Check:
    levels, rates, h = np.array([1.0, 1.0, 3.0]), np.array([0.4, -0.2, -5.0]), 1e-7
    at = theory.scalarise(levels, rates, kind="worst_case")
    after = theory.scalarise(levels + h * rates, kind="worst_case")
    return near(float(after.value - at.value) / h, float(at.rate), 1e-6)


@claim("D16-20", "slope of a weighted sum is the weighted profile, by a finite difference")
def _() -> Check:
    levels, rates, h = np.array([1.0, 1.0, 3.0]), np.array([0.4, -0.2, -5.0]), 1e-7
    w = [0.5, 2.0, 0.1]
    at, after = (theory.scalarise(x, rates, weights=w) for x in (levels, levels + h * rates))
    return near(float(after.value - at.value) / h, float(at.rate), 1e-6)


@claim("D16-20", "a broken constraint makes the constrained value minus infinity")
def _() -> Check:
    return near(float(theory.scalarise([1.0, 0.0], kind="constrained", floors=[0.5]).value), -np.inf, 0.0)


@claim("P18", "a profile is positive iff every value gains at a small tilt (share of 200 directions)")
def _() -> Check:
    phi, ids = random_rows(123)
    values = np.column_stack([phi[:, 0] ** 2, phi[:, 1], phi[:, 2] * phi[:, 3]])
    u = generator(123).standard_normal((200, 4))
    names = theory.classify(cm.cross_covariance(phi, u, values, prompt_ids=ids, precision="double").value)
    gain = cm.tilt(phi, u, [1e5], values, prompt_ids=ids, precision="double", pareto_k=False).gain[:, 0]
    return near(float(np.mean((names == "pareto_improving") == (gain > 0).all(axis=1))), 1.0, 0.0)


@claim("P21", "every pattern of signs of three values has exactly one of the six classes (of 27)")
def _() -> Check:
    table = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T.astype(float)
    names = theory.classify(table)
    up, down = (table > 0).any(axis=1), (table < 0).any(axis=1)
    full = (table != 0).all(axis=1)
    want = np.select(
        [up & down, up & full, down & full, up, down],
        ["tradeoff", "pareto_improving", "pareto_degrading", "weakly_improving", "weakly_degrading"], "neutral",
    )  # fmt: skip
    return near(float((names == want).sum()), 27.0, 0.0)


@claim("P21", "at the border, with errors that move together, the wrong class is 2.5 % at z = 1.96 (share of 40,000)")
def _() -> Check:
    noisy = 1e-9 + 0.3 * generator(124).standard_normal((40_000, 1)) * [1.0, 1.0]
    names = theory.classify(noisy, se=[0.3, 0.3])
    return near(float(np.mean(np.isin(names, ["tradeoff", "pareto_degrading"]))), 0.025, 0.003)


@claim("P21", "joint errors: P(both gain) for a profile (1, .5) with errors of correlation .8, against draws")
def _() -> Check:
    cov = np.array([[1.0, 0.8], [0.8, 1.0]])
    draws = np.array([1.0, 0.5]) + generator(125).standard_normal((400_000, 2)) @ np.linalg.cholesky(cov).T
    return near(theory.class_probabilities([1.0, 0.5], cov).improving[0], float((draws > 0).all(axis=1).mean()), 0.004)


@claim("P19", "the cone is open iff a linear program finds a direction (share of 150 random cases)")
def _() -> Check:
    from scipy.optimize import linprog

    rng, agree = generator(126), 0
    for _case in range(150):
        k, d = int(rng.integers(2, 7)), int(rng.integers(1, 4))
        a = rng.standard_normal((k, d))
        lp = linprog(
            [0.0] * d + [-1.0], A_ub=np.hstack([-a, np.ones((k, 1))]), b_ub=np.zeros(k),
            bounds=[(-1, 1)] * d + [(None, None)],
        )  # fmt: skip
        agree += cm.pareto_cone(a).feasible is bool(-lp.fun > 1e-9)
    return near(agree / 150, 1.0, 0.0)


@claim("P19", "the margin is the best worst-case score correlation: none of 50,000 directions beats it (share)")
def _() -> Check:
    u, sigma = _values()
    cone = cm.pareto_cone(u, sigma)
    v = generator(127).standard_normal((50_000, 5))
    worst = theory.score_correlation(v, u, sigma).min(axis=1).max()
    return at_most(float(worst / cone.margin), 1.0)


@claim("P19", "its direction attains it (difference)")
def _() -> Check:
    u, sigma = _values()
    cone = cm.pareto_cone(u, sigma)
    reached = theory.score_correlation(cone.direction, u, sigma).min()
    return near(float(reached) - cone.margin, 0.0, 1e-9)


@claim("P19", "the optimum satisfies R lambda >= m^2, with equality where lambda > 0 (largest violation)")
def _() -> Check:
    u, sigma = _values()
    cone = cm.pareto_cone(u, sigma)
    slack = theory.score_correlation(u, u, sigma) @ cone.weights - cone.margin**2
    return at_most(float(max(-slack.min(), np.abs(slack[cone.weights > 1e-12]).max())), 1e-9)


@claim("P19", "two values at an angle theta have margin cos(theta/2) (theta = 2)")
def _() -> Check:
    return near(cm.pareto_cone([[1.0, 0.0], [np.cos(2.0), np.sin(2.0)]]).margin, np.cos(1.0), 1e-12)


@claim("P19", "five random values in three dimensions can all be improved with Wendel's probability (2000 cases)")
def _() -> Check:
    open_ = cm.lp.cone(generator(128).standard_normal((2000, 5, 3))).status == "improvable"
    return near(float(np.mean(open_)), theory.wendel_probability(5, 3), 0.045)


@claim("P19", "an empty cone carries its proof: |sum mu_j a_j| of the certificate")
def _() -> Check:
    a = np.array([[1.0, 0.2], [-0.6, 1.0], [-0.5, -1.3]])
    cone = cm.pareto_cone(a)
    residual = np.nan if cone.certificate is None else np.linalg.norm(cone.certificate @ a)
    return near(float(residual), 0.0, 1e-12)


def _share(gram: Floats, draws: int = 400_000) -> float:
    root = np.linalg.cholesky(gram + 1e-12 * np.eye(len(gram)))
    return float((generator(129).standard_normal((draws, len(gram))) @ root.T > 0).all(axis=1).mean())


@claim("P22", "share of directions that improve two values at 60 degrees: (pi - theta)/(2 pi)")
def _() -> Check:
    return near(theory.pareto_fraction([[1.0, 0.5], [0.5, 1.0]]), 1 / 3, 1e-12)


@claim("P22", "three values, closed form against draws")
def _() -> Check:
    gram = np.array([[1.0, 0.3, -0.4], [0.3, 1.0, 0.2], [-0.4, 0.2, 1.0]])
    return near(theory.pareto_fraction(gram), _share(gram), 0.002)


@claim("P22", "six values of correlation one half: 1/(k + 1)")
def _() -> Check:
    return near(theory.pareto_fraction(0.5 + 0.5 * np.eye(6)), 1 / 7, 1e-9)


@claim("P22", "five values of any correlation, separated variables against draws")
def _() -> Check:
    root = generator(130).standard_normal((5, 7))
    gram = root @ root.T
    scale = np.sqrt(np.diagonal(gram))
    return near(theory.pareto_fraction(gram), _share(gram / np.outer(scale, scale)), 0.003)


@claim("P22", "the share counted over 100,000 isotropic directions v is that of the Euclidean Gram U Sigma^2 U'")
def _() -> Check:
    u, sigma = _values()
    v = generator(131).standard_normal((100_000, 5))
    counted = (v @ sigma @ u.T > 0).all(axis=1).mean()
    return near(theory.pareto_fraction(u @ sigma @ sigma @ u.T), float(counted), 0.006)


@claim("R8", "the angle of two values is that of their scores: arccos of the sample correlation of 200,000 rows")
def _() -> Check:
    u, sigma = _values()
    scores = generator(132).standard_normal((200_000, 5)) @ np.linalg.cholesky(sigma).T @ u[:2].T
    return near(
        float(theory.value_angles(u[:2], sigma)[0, 1]), float(np.arccos(np.asarray(np.corrcoef(scores.T))[0, 1])), 0.02
    )


def _beaten(metric: str) -> float:
    u, sigma = _values()
    w = np.array([1.0, 0.5, 2.0])
    best = theory.optimal_direction(u, sigma, w, metric=metric)  # type: ignore[arg-type]
    v = generator(133).standard_normal((50_000, 5))
    size = np.sqrt(np.einsum("nd,de,ne->n", v, sigma, v)) if metric == "kl" else np.linalg.norm(v, axis=1)
    return float(((v @ sigma @ u.T @ w) / size).max() / (best @ sigma @ u.T @ w))


@claim("P23", "in the KL ball the optimum u_w/sd beats 50,000 directions (best of them over it)")
def _() -> Check:
    return at_most(_beaten("kl"), 1.0)


@claim("P23", "in the unit ball the optimum Sigma u_w/|Sigma u_w| beats them")
def _() -> Check:
    return at_most(_beaten("euclid"), 1.0)


@claim("R9", "the two optima are different directions: their cosine")
def _() -> Check:
    u, sigma = _values()
    a, b = (theory.optimal_direction(u, sigma, [1.0, 0.5, 2.0], metric=m) for m in ("kl", "euclid"))
    return at_most(theory.score_correlation(a, b).item(), 0.99)


@claim("D16-20", "the standardised profile is a correlation, and joint errors of two equal values are equal")
def _() -> Check:
    phi, ids = random_rows(134)
    found = cm.cross_covariance(phi, np.eye(4)[:1], np.column_stack([phi[:, 1]] * 2), prompt_ids=ids)
    cov = found.cov(0)
    return near(float(cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])), 1.0, 1e-9)


@claim("P18", "with few values the cone is open almost surely, so its margin says more: open cones of 200, k=3, d=40")
def _() -> Check:
    rng = generator(135)
    open_ = sum(cm.pareto_cone(rng.standard_normal((3, 40))).feasible is True for _case in range(200))
    return at_least(open_, 200.0)


@claim("P21", "a real trade-off on rows is seen: class of a direction that raises one value and lowers another")
def _() -> Check:
    t = generator(136).standard_normal((4000, 1))
    noise = generator(137).standard_normal((4000, 2))
    found = cm.cross_covariance(t, [[1.0]], t * [1.0, -1.0] + noise, prompt_ids=prompts(400, 10))
    return same(theory.classify(found.value, se=found.se)[0], "tradeoff")
