"""Ceilings: best-of-n, the oracle at matched KL, judges against their bound (theory 4)."""

from __future__ import annotations

from itertools import combinations

import numpy as np

import clinometer as cm
from clinometer import theory

from .registry import Check, at_most, claim, near, same
from .worlds import gaussian_grid, generator, prompts


@claim("A", "e_64, against the maximum of 64 normals drawn 40,000 times")
def _() -> Check:
    top = generator(50).standard_normal((40_000, 64)).max(axis=1)
    return near(float(theory.expected_max_normal(64)), top.mean(), 4.0 * top.std() / 200)


@claim("A", "e_4 is 1.0293753730 (quadrature of the order statistic)")
def _() -> Check:
    return near(float(theory.expected_max_normal(4)), 1.0293753730039641, 1e-10)


@claim("A", "regret of choosing the better of two by a proxy of correlation .6 is sd (1 - .6)/sqrt(pi)")
def _() -> Check:
    rng = generator(51)
    s = 2.0 * rng.standard_normal((100_000, 2))
    v = 0.6 * s / 2.0 + 0.8 * rng.standard_normal((100_000, 2))
    lost = s.max(axis=1) - np.take_along_axis(s, v.argmax(axis=1)[:, None], 1)[:, 0]
    return near(float(theory.best_of_n(2, 0.6, 2.0).regret.item()), lost.mean(), 4.0 * lost.std() / np.sqrt(100_000))


@claim("A", "best of 3 of a prompt with ties, against every subset, without replacement")
def _() -> Check:
    t, f = np.array([0.0, 1.0, 1.0, 2.0, 2.0, 0.5]), np.array([0.3, -1.0, 2.0, 0.0, 1.5, 0.2])
    picks = []
    for subset in combinations(range(6), 3):
        top = t[list(subset)].max()
        picks.append(np.mean([f[i] for i in subset if t[i] == top]))
    found = theory.best_of_n(t[:, None], [[1.0]], f, 3, prompt_ids=np.zeros(6, int))
    return near(found.gain.item(), float(np.mean(picks) - f.mean()), 1e-12)


@claim("A", "KL(best of 8 || pi0) = log 8 - 7/8 without ties (4000 rows)")
def _() -> Check:
    t = generator(52).standard_normal(4000)
    found = theory.best_of_n(t[:, None], [[1.0]], t, 8, prompt_ids=np.zeros(4000, int), replacement=True)
    return near(found.kl.item(), float(np.log(8) - 7 / 8), 2e-3)


@claim("A", "best-of-2 uses its KL to .908 of a tilt's gain")
def _() -> Check:
    return near(float(theory.best_of_n(2, 1.0, 1.0).efficiency[0]), 0.908, 5e-4)


@claim("A", "without replacement, 6 draws estimate best-of-4 of the policy without bias")
def _() -> Check:
    t = generator(53).standard_normal(60_000)
    found = theory.best_of_n(t[:, None], [[1.0]], t, 4, prompt_ids=prompts(10_000, 6))
    return near(found.gain.item(), float(theory.expected_max_normal(4)), 4.0 * found.gain_se.item())


@claim("T6", "the oracle at KL .3 is the constrained optimum over the simplex (SLSQP on 6 rows)")
def _() -> Check:
    from scipy.optimize import minimize

    s = generator(54).standard_normal(6)
    found = theory.gain_kl_frontier(s[:, None], [[1.0]], s, kl=[0.3], prompt_ids=np.zeros(6, int))
    start = np.full(6, 1 / 6) + 0.01 * np.linspace(-1, 1, 6)
    budget = {"type": "ineq", "fun": lambda p: 0.3 - float(p @ np.log(np.maximum(p, 1e-300) * 6))}
    one = {"type": "eq", "fun": lambda p: p.sum() - 1.0}
    best = minimize(
        lambda p: -(p @ s), start, bounds=[(1e-12, 1)] * 6, constraints=[budget, one], method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    return near(found.oracle.item(), float(-best.fun - s.mean()), 1e-6)


def _proxy(rho: float, beta: float | None) -> float:
    """Gain of the proxy over the oracle's, both integrated, at matched beta or at KL .5."""
    dump = gaussian_grid(np.eye(2))
    x = dump.read(0, dump.n_rows, np.float64)
    s = rho * x[:, 0] + np.sqrt(1.0 - rho**2) * x[:, 1]
    judges = ([rho if beta else 1.0, 0.0], cm.Scores(s))
    betas, kl = ([beta], None) if beta else (None, [0.5])
    proxy, oracle = (cm.tilt(dump, judge, betas, s, kl=kl, base="logprob").gain.item() for judge in judges)
    return float(proxy / oracle)


@claim("T6", "at matched beta the best encoded judge loses 1 - rho^2: its share of the oracle at rho = .6")
def _() -> Check:
    return near(_proxy(0.6, 0.8), 0.36, 1e-6)


@claim("T6", "at matched KL it loses 1 - rho: its share of the oracle at rho = .6")
def _() -> Check:
    return near(_proxy(0.6, None), 0.6, 1e-5)


@claim("T6", "the frontier of the rows ends at the mean of the prompts' maxima")
def _() -> Check:
    s, ids = generator(55).standard_normal(45), prompts(9, 5)
    found = theory.gain_kl_frontier(s[:, None], [[1.0]], s, kl=[0.2], prompt_ids=ids)
    table = s.reshape(9, 5)
    return near(float(found.oracle_limit[0]), float((table.max(axis=1) - table.mean(axis=1)).mean()), 1e-9)


@claim("T6", "a value that turns back is said to: quadratic value, best shift .5, so KL .125 at the turn")
def _() -> Check:
    t = generator(56).standard_normal(64_000)
    found = theory.gain_kl_frontier(t[:, None], [[1.0]], -((t - 0.5) ** 2), kl=[0.5], prompt_ids=prompts(2000, 32))
    return near(found.peak_kl.item() if found.non_monotone[0, 0] else np.nan, 0.125, 0.05)


@claim("C7", "layers of rho2 .2, .5 and .8 rank by their ceiling at KL .5")
def _() -> Check:
    worlds = {r: cm.simulate(n_prompts=200, n_responses=8, dim=8, rho2=r, random_state=5) for r in (0.5, 0.8, 0.2)}
    found = theory.ceiling_by_layer(worlds, "s", kl=[0.5])
    order = [found.layers[i] for i in np.argsort(found.ceiling[:, 0, 0])]
    return same(order == [0.2, 0.5, 0.8], True)


@claim("C7", "the ceiling of a layer is rho sd_s sqrt(2 KL): rho2 = .5, KL .5, sd_s^2 = 2 less a tenth on 10 rows")
def _() -> Check:
    world = cm.simulate(n_prompts=1500, n_responses=10, dim=6, rho2=0.5, random_state=6)
    found = theory.ceiling_by_layer({"only": world}, "s", kl=[0.5])
    return near(found.ceiling.item(), float(np.sqrt(0.9)), 0.02)


@claim("C7", "a learning curve rises with the pairs and stays below rho (8, 64, 512 pairs)")
def _() -> Check:
    world = cm.simulate(n_prompts=250, n_responses=6, dim=10, rho2=0.6, random_state=7)
    pairs = np.arange(1500).reshape(-1, 2)
    margin = world.column("s")[pairs[:, 0]] - world.column("s")[pairs[:, 1]]
    curve = theory.learning_curve(world, pairs, (margin > 0) * 1.0, "s", sizes=[8, 64, 512], repeats=4)
    mean = curve.mean[:, 0]
    return same(bool(mean[0] < mean[1] < mean[2] < np.sqrt(0.6) + 0.03), True)


@claim("D24", "the first-order gain of 200 judges never exceeds sd_s sd_g / beta (largest share)")
def _() -> Check:
    rng = generator(57)
    judges = rng.standard_normal((300, 200)) * rng.gamma(1.0, 1.0, 200)
    s = rng.standard_normal(300) + judges[:, 0]
    found = theory.judge_ceiling(judges, np.eye(200), s, prompt_ids=prompts(30, 10))
    return at_most(float((found.gain / found.bound).max()), 1.0)


@claim("P25", "the bound is reached by one judge, perfectly correlated and of the largest sd")
def _() -> Check:
    s = generator(58).standard_normal(60)
    judges = np.column_stack([3.0 * s, generator(59).standard_normal(60)])
    found = theory.judge_ceiling(judges, np.eye(2), s, prompt_ids=prompts(6, 10), precision="double")
    return near(float(found.gain[0, 0] / found.ceiling[0]), 1.0, 1e-9)


@claim("P25", "two judges together: multiple correlation sqrt(.5) of a value made of both and noise")
def _() -> Check:
    a, b, noise = generator(60).standard_normal((3, 40_000))
    found = theory.complementarity(a, b, a + b + np.sqrt(2.0) * noise, prompt_ids=prompts(4000, 10))
    return near(float(found.together[0]), float(np.sqrt(0.5)), 0.015)
