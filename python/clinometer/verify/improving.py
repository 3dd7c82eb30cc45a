"""Self-improvement: Theorem 3, Corollary 4, Proposition 5 and the toy (theory 3)."""

from __future__ import annotations

import numpy as np

import clinometer as cm
from clinometer import theory

from .registry import Check, claim, near
from .worlds import Floats, covariance, gaussian_grid, generator, prompts, random_rows

SIGMA = np.array([[2.0, 0.6], [0.6, 0.5]])
STAR, JUDGE = np.array([0.7, -0.4]), np.array([0.5, 0.3])


def _gaussian(beta: float) -> tuple[cm.Dump, Floats, float, float]:
    dump = gaussian_grid(SIGMA, np.array([3.0, -1.0]))
    value = dump.read(0, dump.n_rows, np.float64) @ STAR
    found = cm.tilt(dump, JUDGE, [beta], value, base="logprob", precision="double")
    return dump, value, found.gain.item(), found.kl.item()


@claim("T3", "Gaussian phi: the exact gain is u*'Sigma u_C/beta at beta = .5, far from small tilts (relative error)")
def _() -> Check:
    return near(_gaussian(0.5)[2] / float(STAR @ SIGMA @ JUDGE / 0.5), 1.0, 1e-7)


@claim("T3", "Gaussian phi: KL = u_C'Sigma u_C/(2 beta^2) (relative error)")
def _() -> Check:
    return near(_gaussian(0.5)[3] / float(JUDGE @ SIGMA @ JUDGE / (2 * 0.25)), 1.0, 1e-7)


@claim("T3", "Gaussian phi: gain = corr sd(<u*, phi>) sqrt(2 KL) (relative error)")
def _() -> Check:
    _, _, gain, kl = _gaussian(1.0)
    r = theory.score_correlation(STAR, JUDGE, SIGMA).item()
    return near(gain / (r * np.sqrt(STAR @ SIGMA @ STAR) * np.sqrt(2.0 * kl)), 1.0, 1e-7)


@claim("T3", "the covariance of projected scores is u'Sigma v, Sigma formed (largest relative error)")
def _() -> Check:
    phi, ids = random_rows(40)
    u, v = generator(40).standard_normal((2, 4)), generator(41).standard_normal((3, 4))
    scores = cm.cross_covariance(phi, u, phi @ v.T, ddof=0, prompt_ids=ids, precision="double").value
    formed = u @ covariance(phi, prompt_ids=ids, precision="double") @ v.T
    return near(float(np.abs(scores / formed - 1.0).max()), 0.0, 1e-9)


@claim("T3", "Sigma of N rows in G prompts has rank N - G at most (N = 20, G = 5, d = 30)")
def _() -> Check:
    phi = generator(42).standard_normal((20, 30))
    sigma = covariance(phi, prompt_ids=prompts(5, 4), precision="double")
    return near(float(np.linalg.matrix_rank(sigma, tol=1e-9)), 15.0, 0.0)


@claim("C4", "the sign of the covariance is the sign of the gain at a small tilt (share of 100 worlds)")
def _() -> Check:
    agree = 0
    for seed in range(100):
        phi, ids = random_rows(600 + seed, n_prompts=8, n=6)
        found = cm.tilt(phi, [1.0, 0.2, 0.0, 0.0], [1e4], phi[:, 1] ** 3, prompt_ids=ids, precision="double")
        agree += np.sign(found.gain.item()) == np.sign(found.first_order.item())
    return near(agree / 100, 1.0, 0.0)


@claim("C4", "at zero covariance k3 decides: t symmetric, f = t^2 gains lam^2 k3/2 (relative error)")
def _() -> Check:
    t = np.array([-1.0, -0.5, 0.5, 1.0])
    found = cm.tilt(cm.Scores(t, prompt_ids=np.zeros(4, int)), None, [1e3], t**2, precision="double")
    return near(found.gain.item() / (1e-6 / 2 * float(np.mean(t**2 * (t**2 - np.mean(t**2))))), 1.0, 1e-5)


@claim("P5", "u_gen = .1 u + .9 n has cosine .1104 with u and not .1")
def _() -> Check:
    return near(theory.score_correlation([0.1, 0.9], [1.0, 0.0]).item(), 0.1104, 5e-5)


@claim("P5", "u_gen = .5 u + .5 n has cosine .7071 with u")
def _() -> Check:
    return near(theory.score_correlation([0.5, 0.5], [1.0, 0.0]).item(), 0.7071, 5e-5)


@claim("P5", "the generation-judgment gap does not change under phi -> A phi (largest change)")
def _() -> Check:
    rng = generator(43)
    u, root, a = rng.standard_normal((3, 4)), rng.standard_normal((4, 4)), rng.standard_normal((4, 4)) + 4 * np.eye(4)
    sigma, moved = root @ root.T, u @ np.linalg.inv(a)
    gaps = [
        theory.generation_judgment_gap(w[0], w[1], w[2], s).gap.item()
        for w, s in ((u, sigma), (moved, a @ sigma @ a.T))
    ]
    return near(gaps[1] - gaps[0], 0.0, 1e-9)


@claim("P5", "the gap measured on rows, of a world built with .8 - .1")
def _() -> Check:
    world = cm.simulate(n_prompts=1500, n_responses=8, dim=6, generation_alignment=0.1, random_state=4)
    t = world.truth
    found = theory.generation_judgment_gap(t.u_star, t.u_c[0], t.u_gen, world)
    return near(found.gap.item(), 0.7, 0.05)


@claim("4.4", "toy, beta = 1: cosine after the aligned constitution")
def _() -> Check:
    return near(float(theory.toy_example().cosine_after[0]), 0.573, 5e-4)


@claim("4.4", "toy, beta = .5: cosine after the adversarial constitution")
def _() -> Check:
    return near(float(theory.toy_example().cosine_after[3]), -0.564, 5e-4)


@claim("4.4", "toy, beta = 1: gain of the aligned constitution, integrated over the plane")
def _() -> Check:
    dump = gaussian_grid(np.eye(2))
    value = dump.read(0, dump.n_rows, np.float64)[:, 0]
    return near(cm.tilt(dump, [0.9, 0.436], [1.0], value, base="logprob").gain.item(), 0.9, 1e-6)


@claim("4.4", "the cosine saturates at that of u_C as beta falls, the gain does not: cosine at beta = 1e-4")
def _() -> Check:
    after = theory.policy_direction([0.1, 0.995], [0.9, 0.436], 1e-4)
    return near(theory.score_correlation(after, [1.0, 0.0]).item(), 0.9 / np.hypot(0.9, 0.436), 1e-3)


@claim("C4", "d cos/d lam = [u_C's - (e's)(u_C'e)]/|u_gen| (against a finite difference)")
def _() -> Check:
    g, c, s, h = np.array([0.3, 0.8, -0.1]), np.array([0.2, -0.5, 0.9]), np.array([0.0, 0.6, 0.8]), 1e-6
    cosine = [theory.score_correlation(g + x * c, s).item() for x in (h, -h)]
    e = g / np.linalg.norm(g)
    return near((cosine[0] - cosine[1]) / (2 * h), float((c @ s - (e @ s) * (c @ e)) / np.linalg.norm(g)), 1e-8)
