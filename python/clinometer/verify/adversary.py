"""Adversarial constitutions, ensembles, and repeated RLAIF (theory 6)."""

from __future__ import annotations

import numpy as np

import clinometer as cm
from clinometer import theory

from .registry import Check, at_least, at_most, claim, near
from .worlds import Floats, Prompts, demeaned, generator, prompts, random_rows, tilted


def _span() -> tuple[Floats, Floats, Floats, Floats]:
    rng = generator(90)
    root = rng.standard_normal((6, 6))
    basis = rng.standard_normal((3, 6))
    return rng.standard_normal(6), root @ root.T, basis, rng.standard_normal((20_000, 3)) @ basis


@claim("T10", "the worst direction of a span, |v| <= 1, beats 20,000 random ones (least of them over its value)")
def _() -> Check:
    u, sigma, basis, random = _span()
    worst = theory.worst_direction(u, sigma, basis, metric="euclid").value
    values = random @ sigma @ u / np.linalg.norm(random, axis=1)
    return at_most(float(values.min() / worst), 1.0)


@claim("T10", "the same in the KL ball v'Sigma v <= 1")
def _() -> Check:
    u, sigma, basis, random = _span()
    worst = theory.worst_direction(u, sigma, basis).value
    values = random @ sigma @ u / np.sqrt(np.einsum("nd,de,ne->n", random, sigma, random))
    return at_most(float(values.min() / worst), 1.0)


@claim("T10", "over the whole space the worst direction of the KL ball reaches -sd(<u*, phi>)")
def _() -> Check:
    u, sigma, _, _ = _span()
    return near(theory.worst_direction(u, sigma).value, -float(np.sqrt(u @ sigma @ u)), 1e-9)


@claim("R2", "moving a constitution by its robustness radius in the worst direction leaves no gain")
def _() -> Check:
    u, sigma, _, random = _span()
    c = random[0] * np.sign(random[0] @ sigma @ u)
    radius = theory.robustness_radius(u, c, sigma).item()
    worst = theory.worst_direction(u, sigma, radius=radius).direction
    return near(float((c + worst) @ sigma @ u), 0.0, 1e-9)


@claim("R2", "a screen of 2000 candidates without effect among 40 with: mean share of false findings at level .1")
def _() -> Check:
    shares = []
    for seed in range(10):
        rng = generator(700 + seed)
        phi = rng.standard_normal((1200, 50))
        u = np.zeros((2040, 50))
        u[:40, :5], u[40:, 5:] = rng.standard_normal((40, 5)), rng.standard_normal((2000, 45))
        s = phi[:, :5].sum(axis=1) + 0.5 * rng.standard_normal(1200)
        hit = (
            theory.screen(cm.open_dump(phi, prompt_ids=prompts(120, 10)), u, s, fdr=0.1, method="by").status[:, 0] != 0
        )
        shares.append(hit[40:].sum() / max(int(hit.sum()), 1))
    return at_most(float(np.mean(shares)), 0.1)


@claim("R2", "the screen's errors are those of the covariance pass, or of values in any order (largest relative error)")
def _() -> Check:
    phi, ids = random_rows(91)
    u, s = generator(91).standard_normal((20, 4)), phi[:, 0] ** 2
    found = theory.screen(cm.open_dump(phi, prompt_ids=ids), u, s)
    seen = cm.cross_covariance(phi, u, s, prompt_ids=ids, precision="double").se[:, 0]
    each = [(phi[ids == g] @ u.T, s[ids == g]) for g in np.unique(ids)]
    shuffled = [t.var(axis=0, ddof=1) * f.var(ddof=1) / (len(f) - 1) for t, f in each]
    want = np.maximum(seen, np.sqrt(np.sum(shuffled, axis=0)) / len(each))[found.worst[0]]
    return near(float(np.abs(found.worst_se[0] / want - 1.0).max()), 0.0, 1e-9)


def _ensemble(betas: list[float]) -> theory.Ensembles:
    phi, ids = random_rows(92)
    f = phi[:, 0] + phi[:, 1] ** 2
    return theory.ensembles(cm.open_dump(phi, prompt_ids=ids), np.eye(4)[:3], [0.2, 0.3, 0.5], f, betas)


def _members() -> tuple[Prompts, Floats, Floats]:
    """The same members by hand: scores of unit sd, and the value."""
    phi, ids = random_rows(92)
    prompts = Prompts(ids)
    return prompts, phi[:, :3] / [prompts.sd(t) for t in phi[:, :3].T], phi[:, 0] + phi[:, 1] ** 2


@claim("9.2", "the gain of a mixture of policies is that of the mixed probabilities, at beta = .2 (relative error)")
def _() -> Check:
    prompts, t, f = _members()
    mixed = sum(w * prompts.tilt(x, 1 / 0.2) for w, x in zip((0.2, 0.3, 0.5), t.T, strict=True))
    return near(_ensemble([0.2]).mixture_gain.item() / float(prompts.moved(np.asarray(mixed), f).mean()), 1.0, 1e-5)


@claim("9.2", "the pool of directions agrees at first order: gain times beta = 1e4 over sum w Cov (relative error)")
def _() -> Check:
    prompts, t, f = _members()
    first = float(prompts.cov(t @ [0.2, 0.3, 0.5], f).mean())
    return near(1e4 * _ensemble([1e4]).pool_gain.item() / first, 1.0, 1e-3)


@claim("9.2", "... and not beyond: relative difference at beta = .2")
def _() -> Check:
    found = _ensemble([0.2])
    return at_least(abs(found.pool_gain.item() / found.mixture_gain.item() - 1.0), 0.05)


@claim("9.4", "5 re-based rounds at beta are one tilt at beta/5 (largest difference)")
def _() -> Check:
    phi, ids = random_rows(93)
    f = phi[:, 1] ** 2
    rounds = theory.iterate(phi, [1.0, 0.0, 0.0, 0.0], 10.0, f, rounds=5, prompt_ids=ids, precision="double")
    return near(rounds.gain[4, 0], Prompts(ids).gain(phi[:, 0], 1 / 2, f), 1e-9)


@claim("9.4", "the policy goes to the argmax of the score: KL after 400 rounds over log n")
def _() -> Check:
    phi, ids = random_rows(94)
    found = theory.iterate(phi, [1.0, 0.0, 0.0, 0.0], 0.05, phi[:, 1], rounds=400, prompt_ids=ids)
    return near(float(found.kl[-1]) / np.log(9), 1.0, 0.02)


@claim("9.4", "with the reference kept at pi0 the second round adds nothing (difference)")
def _() -> Check:
    phi, ids = random_rows(94)
    found = theory.iterate(phi, [1.0, 0, 0, 0], 2.0, phi[:, 1], rounds=2, rebase=False, prompt_ids=ids)
    return near(found.gain[1, 0] - Prompts(ids).gain(phi[:, 0], 1 / 2, phi[:, 1]), 0.0, 1e-5)


@claim("9.4", "the direction converges as |u_gen,perp|^2/(2 (T|u_C|/beta)^2): 1 - cos at T = 200 over it")
def _() -> Check:
    g, c, T = np.array([0.6, -0.8, 0.3]), np.array([1.0, 0.0, 0.0]), 200.0
    cosine = theory.score_correlation(theory.policy_direction(g, c, 1 / T), c).item()
    return near((1.0 - cosine) / ((0.8**2 + 0.3**2) / (2 * (T + 0.6) ** 2)), 1.0, 1e-3)


@claim("9.4", "improvement never turns back when s grows with t inside every prompt (rounds that do)")
def _() -> Check:
    t, ids = generator(95).standard_normal(90), prompts(10, 9)
    found = theory.iterate(t[:, None], [1.0], 1.0, np.exp(t), rounds=30, prompt_ids=ids)
    return near(int((np.diff(found.gain[:, 0]) < -1e-12).sum()), 0, 0)


@claim("9.4", "otherwise it may: rounds on a quadratic value that harm, of 10")
def _() -> Check:
    t, ids = generator(96).standard_normal(3000), prompts(100, 30)
    found = theory.iterate(t[:, None], [1.0], 4.0, -((t - 0.5) ** 2), rounds=10, prompt_ids=ids)
    return at_least(int((np.diff(found.gain[:, 0]) < 0.0).sum()), 3)


@claim("9.4", "a constitution that turns by .2 a round: projection after 15 rounds in closed form, and added up")
def _() -> Check:
    angles = 0.3 + 0.2 * np.arange(15)
    return near(float(theory.drifting_projection(15, step=0.2, start=0.3)), float(np.cos(angles).sum()), 1e-9)


@claim("9.4", "... it peaks at T = ceil((pi/2 - a0)/th)")
def _() -> Check:
    curve = theory.drifting_projection(np.arange(40), step=0.2, start=0.3)
    return near(int(np.argmax(curve)), float(np.ceil((np.pi / 2 - 0.3) / 0.2)), 0)


@claim("9.4", "random-walk drift of variance q = .1 a round: mean cosine after 12 rounds is e^(-q t/2)")
def _() -> Check:
    angle = np.sqrt(0.1) * generator(97).standard_normal((100_000, 12)).sum(axis=1)
    cosine = theory.score_correlation(np.column_stack([np.cos(angle), np.sin(angle)]), [1.0, 0.0])
    return near(float(cosine.mean()), float(np.exp(-0.1 * 12 / 2)), 4.0 * float(cosine.std()) / np.sqrt(100_000))


@claim("9.4", "the step KL of a round is KL(pi_t || pi_(t-1)), written out (relative error)")
def _() -> Check:
    phi, ids = random_rows(98)
    t = demeaned(phi[:, 0], ids)
    found = theory.iterate(t[:, None], [1.0], 2.0, t, rounds=3, prompt_ids=ids, precision="double")
    p, q = (tilted(t, ids, lam) for lam in (1.5, 1.0))
    return near(float(found.kl_step[2]) / float((p * np.log(p / q)).sum() / 40), 1.0, 1e-8)
