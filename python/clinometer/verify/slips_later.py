"""Places 13 to 23 where the paper is loose or wrong, each with its counter-example (theory 11)."""

from __future__ import annotations

import numpy as np

import clinometer as cm
from clinometer import theory

from .plain import Prompts
from .registry import Check, at_least, at_most, claim, near, same
from .worlds import gaussian_grid, generator, prompts, random_rows


@claim("11.13", "the policy does not converge: gain of 8 Gaussian rounds at beta = 2")
def _() -> Check:
    dump = gaussian_grid(np.eye(1), m=120)
    t = dump.read(0, dump.n_rows, np.float64)[:, 0]
    found = theory.iterate(dump, [[1.0]], 2.0, t, rounds=8, base="logprob")
    return near(float(found.gain[7, 0]), 8.0 / 2.0, 1e-4)


@claim("11.13", "improvement is not monotone: the value after 10 rounds less its best, in sd of the value")
def _() -> Check:
    t, ids = generator(170).standard_normal(3000), prompts(100, 30)
    f = -((t - 0.5) ** 2)
    found = theory.iterate(t[:, None], [1.0], 4.0, f, rounds=10, prompt_ids=ids)
    return at_most(float((found.gain[-1, 0] - found.gain[:, 0].max()) / f.std()), -0.5)


@claim("11.13", "the limit is the argmax and not the rho ceiling: its gain over rho times the oracle's limit")
def _() -> Check:
    t = generator(171).standard_normal(4000)
    s = np.where(t > 1.0, 0.0, t) + 0.1 * generator(172).standard_normal(4000)  # the judge misleads at its top
    ids = prompts(400, 10)
    limit = theory.iterate(t[:, None], [1.0], 1.0, s, rounds=1, prompt_ids=ids).limit[0]
    oracle = theory.gain_kl_frontier(t[:, None], [[1.0]], s, kl=[0.5], prompt_ids=ids)
    return at_most(float(limit / (oracle.correlation.item() * oracle.oracle_limit[0])), 0.75)


@claim("11.14", "differentiable almost everywhere is not enough: a step has gradient 0 and covariance pdf(0)")
def _() -> Check:
    t = generator(173).standard_normal(400_000)
    found = cm.cross_covariance(t[:, None], [[1.0]], (t > 0.0) * 1.0, prompt_ids=prompts(4000, 100))
    return near(found.value.item(), 1.0 / np.sqrt(2.0 * np.pi), 4.0 * found.se.item())


@claim("11.14", "Gaussian prompts are not a Gaussian mixture: pooled gradient times Sigma, over the true covariance")
def _() -> Check:
    rng, ids = generator(174), prompts(2000, 50)
    sd = np.where(np.arange(2000) % 2, 3.0, 0.3)[ids]
    t = sd * rng.standard_normal(100_000)
    f = t**3  # gradient 3 t^2: E grad * E Sigma_x against E_x[grad Sigma_x]
    truth = cm.cross_covariance(t[:, None], [[1.0]], f, prompt_ids=ids).value.item()
    return at_most(float((3.0 * t**2).mean() * (sd**2).mean()) / truth, 0.6)


@claim("11.15", "an average improvement exists: the best exact gain on a quadratic value is (tau - m)^2")
def _() -> Check:
    dump = gaussian_grid(np.eye(1))
    t = dump.read(0, dump.n_rows, np.float64)[:, 0]
    found = cm.tilt(dump, [[1.0]], np.geomspace(0.5, 8.0, 400), -((t - 0.8) ** 2), base="logprob", pareto_k=False)
    return near(float(found.gain.max()), 0.64, 1e-3)


@claim("11.15", "the first order is blind to the overshoot: it promises this at the beta where the exact gain is 0")
def _() -> Check:
    flip = theory.quadratic_tilt([1.0], 0.8, 0.0, None, [1.0], 1.0).sign_flip
    found = theory.quadratic_tilt([1.0], 0.8, 0.0, None, [1.0], 1.0 / flip)
    return at_least(float(found.first_order[0]) if abs(found.gain[0]) < 1e-12 else np.nan, 1.0)


@claim("11.16", "Sigma is not bookkeeping: two values at right angles improve together for this share, not 1/4")
def _() -> Check:
    sigma = np.array([[1.0, 0.9], [0.9, 1.0]])
    scores = generator(175).standard_normal((200_000, 2)) @ np.linalg.cholesky(sigma).T
    counted = float((scores > 0).all(axis=1).mean())
    return near(theory.pareto_fraction(sigma), counted, 0.006)


@claim("11.16", "... and their angle is 26 degrees and not 90")
def _() -> Check:
    angle = theory.value_angles(np.eye(2), [[1.0, 0.9], [0.9, 1.0]])[0, 1]
    return near(float(np.degrees(angle)), 25.84, 0.01)


@claim("11.17", "independent values always have an open cone, whatever their angles (open of 200, 3 in 3 dimensions)")
def _() -> Check:
    rng = generator(176)
    return near(sum(cm.pareto_cone(rng.standard_normal((3, 3))).feasible is True for _case in range(200)), 200, 0)


@claim("11.17", "0 outside conv{u_j} and yet empty: Sigma = diag(1, 0), u = (1, 1), (-1, 1)")
def _() -> Check:
    u, sigma = [[1.0, 1.0], [-1.0, 1.0]], np.diag([1.0, 0.0])
    both = cm.pareto_cone(u).feasible, cm.pareto_cone(u, sigma).feasible
    return same(f"{both[0]} without Sigma, {both[1]} with", "True without Sigma, False with")


@claim("11.18", "a profile (1, 0) is in none of the printed classes")
def _() -> Check:
    return same(theory.classify([1.0, 0.0])[0], "weakly_improving")


@claim("11.19", "never more than half of the directions improve two values: largest share for theta in (0, pi/2)")
def _() -> Check:
    angles = np.linspace(1e-6, np.pi / 2, 500)
    return at_most(max(theory.pareto_fraction([[1.0, np.cos(a)], [np.cos(a), 1.0]]) for a in angles), 0.5)


@claim("11.19", "at theta = pi/2 it is a quarter, counted over 400,000 directions")
def _() -> Check:
    v = generator(177).standard_normal((400_000, 2))
    return near(float((v > 0).all(axis=1).mean()), theory.pareto_fraction(np.eye(2)), 0.003)


@claim("11.19", "of those that improve a value, a majority improves both iff theta < pi/3: the share there")
def _() -> Check:
    both = theory.pareto_fraction([[1.0, 0.5], [0.5, 1.0]])
    return near(both / (1.0 - both), 0.5, 1e-9)


@claim("11.20", "the norm decides the optimum: cosine of the two answers for u_w = (1, 1), Sigma = diag(9, 1)")
def _() -> Check:
    a, b = (theory.optimal_direction([1.0, 1.0], np.diag([9.0, 1.0]), [1.0], metric=m) for m in ("kl", "euclid"))
    return near(theory.score_correlation(a, b).item(), 10.0 / np.sqrt(2.0 * 82.0), 1e-9)


@claim("11.21", "a set of judges closed under scaling has no bound: the ceiling of 1000 g over sd_s sd_g")
def _() -> Check:
    phi, ids = random_rows(178)
    found = theory.judge_ceiling(phi, [[1e3, 0.0, 0.0, 0.0]], phi[:, 1], prompt_ids=ids).ceiling[0]
    both = [np.sqrt(Prompts(ids).unbiased(x, x).mean()) for x in phi[:, :2].T]
    return near(float(found / (both[0] * both[1])), 1000.0, 1e-2)


@claim("11.21", "... while the gain per sqrt(2 KL) is that of g, Cov(s, g)/sd_g (relative error)")
def _() -> Check:
    phi, ids = random_rows(178)
    found = theory.judge_ceiling(phi, [[1e3, 0.0, 0.0, 0.0]], phi[:, 1], prompt_ids=ids).per_kl[0, 0]
    g, s, inside = phi[:, 0], phi[:, 1], Prompts(ids)
    want = inside.unbiased(g, s).mean() / np.sqrt(inside.unbiased(g, g).mean())
    return near(float(found / want), 1.0, 1e-5)


@claim("11.21", "a perfect correlation alone does not reach the bound: gain over ceiling beside a wider judge")
def _() -> Check:
    s = generator(179).standard_normal(60)
    judges = np.column_stack([s, 5.0 * generator(180).standard_normal(60)])
    found = theory.judge_ceiling(judges, np.eye(2), s, prompt_ids=prompts(6, 10))
    return at_most(float(found.gain[0, 0] / found.ceiling[0]) if found.correlation[0, 0] > 1 - 1e-6 else np.nan, 0.5)


@claim("11.22", "lowering a value that is no bottleneck raises the worst case: slope along (1, -1) at levels (0, 1)")
def _() -> Check:
    return near(float(theory.scalarise([0.0, 1.0], [1.0, -1.0], kind="worst_case").rate), 1.0, 1e-12)


@claim("11.22", "the worst case depends on units: slope of the same profile with the second value in other units")
def _() -> Check:
    found = theory.scalarise([0.5, 1.0], [1.0, -1.0], kind="worst_case", scale=[1.0, 4.0])
    return near(float(found.rate), -0.25, 1e-12)


@claim("11.23", "harm is not safety: the same constitution improves one and degrades the other")
def _() -> Check:
    world = cm.simulate(n_prompts=200, n_responses=8, dim=4, random_state=13)
    found = cm.cross_covariance(world, "judge/c0", ["s", "-s"])
    names = [theory.classify(found.value[:, j : j + 1], se=found.se[:, j : j + 1])[0] for j in range(2)]
    return same(", ".join(names), "pareto_improving, pareto_degrading")
