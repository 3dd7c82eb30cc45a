"""The tilted policy: exact on rows, its expansions, and what finitely many rows do to it (theory 2)."""

from __future__ import annotations

import numpy as np

import clinometer as cm
from clinometer import theory

from .registry import Check, at_least, at_most, claim, near
from .worlds import covariance, demeaned, generator, kl_of, prompts, random_rows, tilted


@claim("P2", "least squares of log pi_C on phi returns u_gen + u_C/beta (largest error)")
def _() -> Check:
    phi, ids = random_rows(20)
    u_gen, u_c, beta = np.array([0.1, 0.2, -0.3, 0.05]), np.array([0.2, -0.1, 0.1, 0.3]), 0.5
    new = phi @ u_gen + np.log(tilted(phi @ u_c, ids, 1.0 / beta)) - np.log(1 / 9)
    fitted = np.linalg.lstsq(demeaned(phi, ids), demeaned(new, ids), rcond=None)[0]
    return near(float(np.abs(fitted - theory.policy_direction(u_gen, u_c, beta)[0]).max()), 0.0, 1e-8)


@claim("P2", "no policy beats the tilt in reward less beta KL: best of 2000 others, less the tilt's")
def _() -> Check:
    rng, t, beta = generator(21), generator(22).standard_normal(6), 0.7
    found = cm.tilt(cm.Scores(t, prompt_ids=np.zeros(6, int)), None, [beta], t, precision="double")
    best = found.gain.item() - beta * found.kl.item()
    p = rng.dirichlet(np.ones(6), 2000)
    others = p @ t - t.mean() - beta * (p * np.log(np.maximum(p, 1e-300) * 6)).sum(axis=1)
    return at_most(float(others.max() - best), 0.0)


@claim("L12", "d gain / d lam = E_x Cov under the tilted policy (relative error at lam = .7)")
def _() -> Check:
    phi, ids = random_rows(23)
    t, f, lam, h = phi[:, 0], phi[:, 1] ** 2, 0.7, 1e-4
    scores = cm.Scores(t, prompt_ids=ids)
    g = cm.tilt(scores, None, [1 / (lam + h), 1 / (lam - h)], f, precision="double").gain[0, :, 0]
    p = tilted(t, ids, lam)
    means = [np.bincount(ids, weights=p * x)[ids] for x in (t, f)]
    cov = float((p * (t - means[0]) * (f - means[1])).sum() / 40)
    return near((g[0] - g[1]) / (2 * h) / cov, 1.0, 1e-6)


def _remainders(order: int) -> float:
    phi, ids = random_rows(24)
    t, f = demeaned(phi[:, 0], ids) / 3.0, np.exp(phi[:, 1] / 5.0)
    dump = cm.open_dump(t[:, None], prompt_ids=ids)
    lams = np.array([0.01, 0.02]) if order == 2 else np.array([0.05, 0.1])
    exact = cm.tilt(dump, [[1.0]], 1 / lams, f, precision="double")
    found = theory.cumulants(dump, [[1.0]], f, precision="double")
    first = lams * found.gain[0, 0, 0]
    left = exact.gain[0, :, 0] - (first if order == 2 else found.predict(1 / lams)[0, :, 0])
    return float(np.log2(left[1] / left[0]))


@claim("T13", "the first order leaves a remainder of second order in lam (measured order)")
def _() -> Check:
    return near(_remainders(2), 2.0, 0.1)


@claim("L12", "cumulants to fourth order leave a remainder of fourth order in lam (measured order)")
def _() -> Check:
    return near(_remainders(4), 4.0, 0.2)


@claim("L12", "KL at lam = 1e-8 with scores near 1000 against the exact value in rationals (relative error)")
def _() -> Check:
    from fractions import Fraction

    t = np.array([1000.0, 1000.5, 1002.25, 999.0])
    lam = 1e-8
    exact = [Fraction(x) for x in t.tolist()]
    mean = sum(exact) / 4
    k2, k3 = (sum((x - mean) ** m for x in exact) / 4 for m in (2, 3))
    want = float(Fraction(lam) ** 2 * k2 / 2 + Fraction(lam) ** 3 * k3 / 3)
    found = cm.tilt(cm.Scores(t, prompt_ids=np.zeros(4, int)), None, [1.0 / lam], t, precision="double").kl.item()
    return near(found / want, 1.0, 1e-9)


@claim("L12", "Jeffreys: lam (E_p t - E_0 t) = KL(p||w) + KL(w||p) (relative error)")
def _() -> Check:
    phi, ids = random_rows(25)
    found = cm.tilt(cm.Scores(phi[:, 0], prompt_ids=ids), None, [0.8], phi[:, 0], precision="double")
    return near(found.gain.item() / 0.8 / (found.kl + found.reverse_kl).item(), 1.0, 1e-12)


@claim("L12", "KL grows to log n as lam grows (n = 9)")
def _() -> Check:
    phi, ids = random_rows(25)
    return near(
        cm.tilt(cm.Scores(phi[:, 0], prompt_ids=ids), None, [1e-6], precision="double").kl.item(),
        float(np.log(9)),
        1e-9,
    )


@claim("L12", "KL is lam E_p t - log Z, the definition summed over rows (relative error)")
def _() -> Check:
    phi, ids = random_rows(26)
    found = cm.tilt(cm.Scores(phi[:, 0], prompt_ids=ids), None, [0.5], precision="double")
    return near(found.kl.item() / kl_of(tilted(phi[:, 0], ids, 2.0), ids), 1.0, 1e-10)


@claim("T13", "pooled covariance = within + covariance of the prompt means (largest error)")
def _() -> Check:
    phi, ids = random_rows(27)
    pooled, within = (covariance(phi, prompt_ids=ids, within=w, precision="double") for w in (False, True))
    means = np.stack([phi[ids == g].mean(axis=0) for g in range(40)])
    return near(float(np.abs(pooled - within - np.cov(means.T, ddof=0)).max()), 0.0, 1e-9)


@claim("T13", "prompt means of sd 2 make the pooled covariance 1 + 2^2 times the within one")
def _() -> Check:
    rng = generator(28)
    ids = prompts(4000, 8)
    t = 2.0 * rng.standard_normal(4000)[ids] + rng.standard_normal(32_000)
    a, b = (covariance(t[:, None], prompt_ids=ids, within=w, ddof=1).item() for w in (False, True))
    return near(a / b, 5.0, 0.3)


@claim("T13", "f = topic + z, t = topic - z: covariance inside prompts, where the pooled one is +8")
def _() -> Check:
    return near(theory.pooled_versus_within(n_prompts=2000).within, -1.0, 0.02)


@claim("T13", "the exact linear radius is where the gain leaves its first order by a tenth")
def _() -> Check:
    phi, ids = random_rows(29)
    t, f = demeaned(phi[:, 0], ids), phi[:, 1] ** 2
    dump = cm.open_dump(t[:, None], prompt_ids=ids)
    found = theory.cumulants(dump, [[1.0]], f, precision="double")
    lam = found.exact_radius.item()
    gain = cm.tilt(dump, [[1.0]], [1 / lam], f, precision="double").gain.item()
    return near(abs(gain / (lam * found.gain[0, 0, 0]) - 1.0), 0.1, 1e-6)


@claim("T13", "a value that grows with the score inside every prompt never changes sign (flips of 50)")
def _() -> Check:
    flips = 0
    for seed in range(50):
        t = generator(300 + seed).standard_normal(30)
        found = theory.cumulants(t[:, None], [[1.0]], np.round(np.exp(t)), prompt_ids=prompts(5, 6))
        flips += bool(np.isfinite(found.sign_flip.item()))
    return near(flips, 0, 0)


def _plug_in(lam: float, n: int) -> tuple[float, float]:
    t = generator(30 + n).standard_normal(n * 12_000)
    found = cm.tilt(cm.Scores(t, prompt_ids=prompts(12_000, n)), None, [1 / lam], t, pareto_k=False)
    return found.gain.item() / lam, 4.0 * found.gain_se.item() / lam


@claim("bias", "plug-in gain over the true one, Gaussian f = t: lam = 1, n = 8")
def _() -> Check:
    share, error = _plug_in(1.0, 8)
    return near(share, 0.77, error + 0.005)


@claim("bias", "plug-in gain over the true one, Gaussian f = t: lam = 2, n = 2")
def _() -> Check:
    share, error = _plug_in(2.0, 2)
    return near(share, 0.24, error + 0.005)


@claim("bias", "all 20 cells of the plug-in table (lam .25 to 2, n 2 to 64): largest deviation of a share")
def _() -> Check:
    table = {2: (0.49, 0.45, 0.36, 0.24), 4: (0.74, 0.71, 0.61, 0.43), 8: (0.87, 0.85, 0.77, 0.57),
             16: (0.93, 0.92, 0.87, 0.68), 64: (0.98, 0.98, 0.96, 0.84)}  # fmt: skip
    lams, worst = np.array([0.25, 0.5, 1.0, 2.0]), 0.0
    for n, cells in table.items():
        t = generator(800 + n).standard_normal(n * (400_000 // (n + 12)))
        scores = cm.Scores(t, prompt_ids=prompts(len(t) // n, n))
        share = cm.tilt(scores, None, 1.0 / lams, t, pareto_k=False).gain[0, :, 0] / lams
        worst = max(worst, float(np.abs(share - cells).max()))
    return at_most(worst, 0.015)


@claim("bias", "the factor n/(n-1) makes the first order unbiased at n = 3")
def _() -> Check:
    t = generator(31).standard_normal(60_000)
    found = cm.cross_covariance(t[:, None], [[1.0]], t, prompt_ids=prompts(20_000, 3))
    return near(found.value.item(), 1.0, 4.0 * found.se.item())


@claim("bias", "the estimate of the policy's gain leaves this share of the plug-in's bias at n = 16, lam = .5")
def _() -> Check:
    t, ids = generator(32).standard_normal(16 * 4000), prompts(4000, 16)
    found = cm.inference.gain_intervals(t[:, None], [[1.0]], [2.0], t, prompt_ids=ids)
    return at_most(abs((found.estimate.item() - 0.5) / (found.gain.item() - 0.5)), 0.35)


@claim("bias", "shortfall of the gain at the KL up to which sizes are good to a tenth, n = 16")
def _() -> Check:
    t = generator(35).standard_normal(16 * 10_000)
    scores = cm.Scores(t, prompt_ids=prompts(10_000, 16))
    top = cm.tilt(scores, None, kl=[0.01], values=t, pareto_k=False).kl_horizon_sized.item()
    found = cm.tilt(scores, None, kl=[top], values=t, pareto_k=False)
    return near(1 - found.gain.item() / float(np.sqrt(2 * top)), 0.1, 0.02)


@claim("SE", "intervals of two clustered errors cover the true gain (share of 200 worlds, 95.4 %)")
def _() -> Check:
    inside, ids = 0, prompts(100, 6)
    for seed in range(200):
        rng = generator(400 + seed)
        t = rng.standard_normal(600) * rng.uniform(0.5, 1.5, 100)[ids]  # prompts of different spread
        found = cm.cross_covariance(t[:, None], [[1.0]], t, prompt_ids=ids)
        inside += abs(found.value.item() - 13.0 / 12.0) < 2.0 * found.se.item()
    return near(inside / 200, 0.94, 0.04)


@claim("SE", "errors that take rows as independent are too small, by this factor, when prompts differ")
def _() -> Check:
    rng, ids = generator(33), prompts(200, 20)
    t = rng.standard_normal(4000) * rng.gamma(2.0, 1.0, 200)[ids]
    found = cm.cross_covariance(t[:, None], [[1.0]], t, prompt_ids=ids)
    rowwise = float(np.std(demeaned(t, ids) ** 2) / np.sqrt(4000))
    return at_least(found.se.item() / rowwise, 1.5)


@claim("khat", "tail index of Pareto ratios of shape .3, .6 and .9 (largest error of the means of 20 draws)")
def _() -> Check:
    error = 0.0
    draws = np.stack([generator(500 + i).exponential(size=20_000) for i in range(20)], axis=1)
    for shape in (0.3, 0.6, 0.9):  # ratios e^(t/beta) of exponential scores are Pareto
        k = cm.tilt(cm.Scores(draws, prompt_ids=np.zeros(20_000, int)), None, [1 / shape]).pareto_k
        error = max(error, abs(float(np.mean(k)) - shape))
    return at_most(error, 0.06)


@claim("win", "win rate of the tilt against the base policy, every pair counted")
def _() -> Check:
    t, f = np.array([0.0, 1.0, 2.0, 0.5]), np.array([1.0, 0.0, 2.0, 1.0])
    p = tilted(t, np.zeros(4, int), 1.0)
    pairs = (f[:, None] > f[None, :]) + 0.5 * (f[:, None] == f[None, :])
    found = cm.tilt(cm.Scores(t, prompt_ids=np.zeros(4, int)), None, [1.0], f, precision="double").win_rate.item()
    return near(found, float(p @ pairs.mean(axis=1)), 1e-12)


@claim("adjust", "a score adjusted for length is uncorrelated with length inside prompts")
def _() -> Check:
    world = cm.simulate(n_prompts=50, n_responses=8, dim=4, random_state=3)
    length = np.asarray(world.column("n_tokens"), float)
    found = cm.cross_covariance(world, "judge/c0", length, adjust="n_tokens", ddof=0)
    return near(found.correlation.item(), 0.0, 1e-9)
