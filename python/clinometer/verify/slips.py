"""Places where the paper is loose or wrong, each with its counter-example (theory 11)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

import clinometer as cm
from clinometer import theory

from .registry import Check, at_least, at_most, claim, near, same
from .worlds import Prompts, covariance, demeaned, gaussian_grid, generator, prompts, random_rows


def _exact_gain(u_star: list[float], u_c: list[float], sigma: list[list[float]] | None = None) -> float:
    """Gain of the tilt at beta = 2 in a Gaussian world, integrated."""
    dump = gaussian_grid(np.eye(2) if sigma is None else np.array(sigma))
    value = dump.read(0, dump.n_rows, np.float64) @ np.array(u_star)
    return cm.tilt(dump, u_c, [2.0], value, base="logprob", precision="double").gain.item()


@claim("11.1", "a judge worse than the generator (cosine .3 against .8) still improves: gain")
def _() -> Check:
    return at_least(_exact_gain([1.0, 0.0], [0.3, 0.95]), 0.1)


@claim("11.1", "a judge better than the generator (cosine -.3 against -.8) still harms: gain")
def _() -> Check:
    return at_most(_exact_gain([1.0, 0.0], [-0.3, 0.95]), -0.1)


@claim(
    "11.1", "the cosine and the value can part: cosine change of u_gen = (.8, .6) under u_C = (.3, .95), which gains"
)
def _() -> Check:
    before, after = (theory.score_correlation(x, [1.0, 0.0]).item() for x in ([0.8, 0.6], [1.1, 1.55]))
    return at_most(after - before, -0.1)


@claim("11.2", "zero covariance does not mean no improvement: gain of f = t^2 at beta = 1")
def _() -> Check:
    t = np.array([-1.0, -0.5, 0.5, 1.0])
    return at_least(cm.tilt(cm.Scores(t, prompt_ids=np.zeros(4, int)), None, [1.0], t**2).gain.item(), 0.05)


@claim("11.2", "a positive covariance does not mean improvement at finite beta: sign of gain at beta = 1 with k2 > 0")
def _() -> Check:
    dump = gaussian_grid(np.eye(1))
    t = dump.read(0, dump.n_rows, np.float64)[:, 0]
    found = cm.tilt(dump, [[1.0]], [1.0], -((t - 0.3) ** 2), base="logprob")
    return same(bool(found.first_order.item() > 0.0 > found.gain.item()), True)


@claim("11.3", "pooled covariance +8 promises a gain where every tilt loses: largest exact gain")
def _() -> Check:
    found = theory.pooled_versus_within(n_prompts=2000)
    return at_most(float(found.gain.max()) if found.pooled > 7.0 else np.nan, -0.05)


@claim("11.4", "rows whitened under the base policy have A(pi0) = 0 whatever u_gen: it leaves no trace")
def _() -> Check:
    world = cm.simulate(n_prompts=200, n_responses=8, dim=3, generation_alignment=0.9, random_state=11)
    phi = world.read(0, world.n_rows, np.float64)
    kept = float((phi @ world.truth.u_star).mean())
    white = (phi - phi.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(phi.T))).T
    return near(float((white @ world.truth.u_star).mean()) / kept, 0.0, 1e-9)


@claim("11.4", "... and its leading eigenspace, which Conjecture 9 speaks of, is gone (tie)")
def _() -> Check:
    phi = generator(160).standard_normal((500, 4)) * [4.0, 2.0, 1.0, 0.5]
    white = (phi - phi.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(phi.T, ddof=0))).T
    return same(theory.value_concentration([1.0, 0.0, 0.0, 0.0], np.cov(white.T, ddof=0), 2, draws=10).tie, True)


@claim("11.5", "Sigma is not positive definite: a constitution in its null space has neither gain nor KL (their sum)")
def _() -> Check:
    phi = generator(161).standard_normal((12, 10))
    ids = prompts(3, 4)
    sigma = covariance(phi, prompt_ids=ids, precision="double")
    null = np.linalg.eigh(sigma)[1][:, 0]
    found = cm.tilt(phi, null, [0.1], phi[:, 0], prompt_ids=ids, precision="double")
    return near(abs(found.gain.item()) + abs(found.kl.item()), 0.0, 1e-9)


@claim("11.6", "E|f t| < inf is too weak: with t = -Pareto(1.5), f bounded, the remainder is of order 1.5 and not 2")
def _() -> Check:
    # f = [X < 2]; log X is exponential: Gauss-Legendre on pieces that end where f jumps and where lam X is near 1
    ends = [0.0, np.log(2.0), 2.0, 4.0, *np.linspace(8.0, 20.0, 25), 25.0, 40.0, 60.0]
    x, w = np.polynomial.legendre.leggauss(24)
    y = np.concatenate([a + (b - a) * (x + 1) / 2 for a, b in pairwise(ends)])
    mass = np.concatenate([(b - a) / 2 * w for a, b in pairwise(ends)]) * 1.5 * np.exp(-1.5 * y)
    found = cm.tilt(
        cm.Scores(-np.exp(y), prompt_ids=np.zeros(len(y), int)), None, [5e5, 1e6], (y < np.log(2.0)) * 1.0,
        base="logprob", logprobs=np.log(mass), precision="double",
    )  # fmt: skip
    left = (found.gain - found.first_order)[0, :, 0]
    return near(float(np.log2(left[0] / left[1])), 1.5, 0.02)


@claim(
    "11.6", "with t heavier than exponential Z is infinite: log Z of 10^5 rows of a Pareto(1.5) score over that of 10^3"
)
def _() -> Check:
    t = generator(162).random(100_000) ** (-1 / 1.5)
    z = [cm.tilt(cm.Scores(x, prompt_ids=np.zeros(len(x), int)), None, [2.0], pareto_k=False).log_partition.item()
         for x in (t[:1000], t)]  # fmt: skip
    return at_least(z[1] / z[0], 10.0)


@claim("11.7", "cosine = alpha fails beyond small alpha: cosine less alpha at alpha = .5")
def _() -> Check:
    return near(theory.score_correlation([0.5, 0.5], [1.0, 0.0]).item() - 0.5, 0.2071, 5e-5)


@claim(
    "11.7",
    "gamma is no result: judges fitted on labels of pure noise have |cosine| sqrt(2/(pi d)), d = 20 (mean of 200)",
)
def _() -> Check:
    rng, pairs, found = generator(163), np.arange(80).reshape(-1, 2), []
    for _rows in range(10):
        phi, noise = rng.standard_normal((80, 20)), (rng.random((40, 20)) > 0.5) * 1.0
        fit = cm.fit_preference_direction(phi, pairs, noise, alpha=3.0, folds=2, prompt_ids=prompts(40, 2))
        found.append(np.abs(theory.score_correlation(fit.vectors, np.eye(20)[0])))
    cosines = np.concatenate(found)
    return near(float(np.mean(cosines)), np.sqrt(2 / (np.pi * 20)), 4.0 * float(np.std(cosines)) / np.sqrt(200))


@claim("11.8", "normalising u_gen + u_C/beta makes another policy: gain of the toy, .473 and not .900")
def _() -> Check:
    before, after = np.array([0.1, 0.995]), theory.toy_example().normalised[0]
    dump = gaussian_grid(np.eye(2))
    value = dump.read(0, dump.n_rows, np.float64)[:, 0]
    levels = cm.tilt(dump, np.stack([before, after]), [1.0], value, base="logprob").gain[:, 0, 0]
    return near(levels[1] - levels[0], 0.473, 5e-4)


@claim("11.9", "for general policies the loss is not 1 - rho: share of the oracle at matched beta, rho = .6, is .36")
def _() -> Check:
    dump = gaussian_grid(np.eye(2))
    x = dump.read(0, dump.n_rows, np.float64)
    s = 0.6 * x[:, 0] + 0.8 * x[:, 1]
    proxy = cm.tilt(dump, [0.6, 0.0], [1.0], s, base="logprob").gain.item()
    return near(proxy / cm.tilt(dump, cm.Scores(s), [1.0], s, base="logprob").gain.item(), 0.36, 1e-6)


@claim(
    "11.9", "without Gaussian noise the formula is off: regret of best-of-2 over sd (1 - rho)/sqrt(pi), mixture noise"
)
def _() -> Check:
    rng = generator(164)
    v = rng.standard_normal((200_000, 2))
    s = v + np.where(rng.random((200_000, 2)) < 0.02, 10.0, 0.5) * rng.standard_normal((200_000, 2))
    lost = s.max(axis=1) - np.take_along_axis(s, v.argmax(axis=1)[:, None], 1)[:, 0]
    rho = float(np.corrcoef(s.ravel(), v.ravel())[0, 1])
    return at_most(float(lost.mean() / theory.best_of_n(2, rho, float(s.std())).regret.item()), 0.85)


@claim("11.9", "rho is no ceiling if E[s | phi] is nonlinear: correlation of the judge E[s | phi], where rho is 0")
def _() -> Check:
    phi = generator(165).standard_normal((100_000, 1))
    s = phi[:, 0] ** 2 + generator(166).standard_normal(100_000)
    found = theory.judge_ceiling(phi**2, [[1.0]], s, prompt_ids=prompts(1000, 100))
    return near(float(found.promptability[0]), float(np.sqrt(2 / 3)), 0.01)


@claim("11.10", "the mean difference looks concentrated for random u*: its share in 6 of 60 dimensions (truth .10)")
def _() -> Check:
    rng, sd = generator(167), 1.0 / np.sqrt(np.arange(1, 61))
    shares = []
    for _world in range(20):
        phi, u = rng.standard_normal((4000, 60)) * sd, rng.standard_normal(60)
        high = phi @ u > 0.0
        difference = phi[high].mean(axis=0) - phi[~high].mean(axis=0)
        shares.append(theory.value_concentration(difference, np.diag(sd**2), 6, draws=10).share[0])
    return at_least(float(np.mean(shares)), 0.8)


@claim("11.11", "a negative Euclidean cosine can gain under Sigma: u* = (1, 3), u_C = (1, -1), Sigma = diag(10, .1)")
def _() -> Check:
    cosine = theory.score_correlation([1.0, 3.0], [1.0, -1.0]).item()
    gain = _exact_gain([1.0, 3.0], [1.0, -1.0], [[10.0, 0.0], [0.0, 0.1]])
    return at_least(gain if cosine < 0.0 else np.nan, 1.0)


@claim("11.11", "in a subspace the premise is idle: the worst of a span is minus its best (their sum)")
def _() -> Check:
    rng = generator(168)
    u, basis = rng.standard_normal(5), rng.standard_normal((2, 5))
    angle, frame = np.linspace(0, 2 * np.pi, 100_001), np.linalg.qr(basis.T)[0]
    best = (np.column_stack([np.cos(angle), np.sin(angle)]) @ (frame.T @ u)).max()
    return near(theory.worst_direction(u, None, basis).value + float(best), 0.0, 1e-8)


@claim("11.12", "ensembling does not raise the mean: first-order gain of the pool over the members' average")
def _() -> Check:
    world = cm.simulate(n_prompts=100, n_responses=8, dim=4, random_state=12)
    found = theory.ensembles(world, ["judge/c0", "judge/c1"], [0.5, 0.5], "s", [1e4])
    ids, s = np.asarray(world.prompt_ids), np.asarray(world.column("s"))
    t = [demeaned(np.asarray(world.column(f"judge/c{k}")), ids) for k in range(2)]
    average = np.mean([(x @ demeaned(s, ids)) / np.sqrt(len(x) * (x @ x)) for x in t])
    return near(1e4 * found.pool_gain.item() / float(average), 1.0, 1e-3)


@claim("11.12", "norms decide unless standardised: correlation of the pool with a member 50 times as long")
def _() -> Check:
    pool = np.array([0.5, 0.0]) + np.array([0.0, 0.5]) * 50.0
    return at_least(theory.score_correlation(pool, [0.0, 1.0]).item(), 0.999)


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
