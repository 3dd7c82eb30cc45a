"""Assumptions 1 to 3, encoding quality, and the conventions everything rests on (theory 0 and 1)."""

from __future__ import annotations

import numpy as np

import clinometer as cm

from .registry import Check, at_least, claim, near
from .worlds import covariance, demeaned, generator, prompts, random_rows


@claim("A1", "least squares satisfies u'Sigma v = Cov(s, <v, phi>) for a nonlinear s, on the rows")
def _() -> Check:
    phi, ids = random_rows(1)
    s = np.sin(phi[:, 0]) + phi[:, 1] ** 2
    u = cm.fit_value_direction(phi, s, method="least_squares", prompt_ids=ids, precision="double").vector
    v = generator(2).standard_normal((3, 4))
    right = cm.cross_covariance(phi, v, s, ddof=0, prompt_ids=ids, precision="double").value[:, 0]
    left = v @ covariance(phi, prompt_ids=ids, precision="double") @ u
    return near(float(np.abs(left / right - 1.0).max()), 0.0, 1e-10)


@claim("A1", "with fewer rows than dimensions the fit is the minimum-norm one")
def _() -> Check:
    phi, ids = random_rows(3, n_prompts=6, n=3, d=30)
    s = generator(3).standard_normal(18)
    u = cm.fit_value_direction(phi, s, method="least_squares", folds=2, prompt_ids=ids, precision="double").vector
    want = np.linalg.pinv(demeaned(phi, ids), rcond=1e-9) @ demeaned(s, ids)
    return near(float(np.abs(u - want).max() / np.abs(want).max()), 0.0, 1e-8)


@claim("A2", "prompt fixed effects recover u_gen under offsets of +-50 nats (relative error)")
def _() -> Check:
    phi, ids = random_rows(4)
    u_gen = np.array([0.3, -1.0, 0.2, 0.5])
    logp = phi @ u_gen + generator(4).uniform(-50.0, 50.0, 40)[ids]
    u = cm.fit_value_direction(phi, logp, method="least_squares", prompt_ids=ids, precision="double").vector
    return near(float(np.abs(u - u_gen).max()), 0.0, 1e-10)


@claim("A2", "without fixed effects the same offsets contaminate u_gen (distance of the two estimates over |u_gen|)")
def _() -> Check:
    phi, ids = random_rows(4)
    u_gen = np.array([0.3, -1.0, 0.2, 0.5])
    logp = phi @ u_gen + generator(4).uniform(-50.0, 50.0, 40)[ids]
    pooled = np.linalg.lstsq(phi - phi.mean(axis=0), logp - logp.mean(), rcond=None)[0]
    off = cm.fit_generation_direction(phi, logp, prompt_ids=ids, precision="double").vector - pooled
    return at_least(float(np.linalg.norm(off) / np.linalg.norm(u_gen)), 0.3)


@claim("A3", "hard labels have no scale: a penalty 100 times smaller lengthens u by this factor")
def _() -> Check:
    rng = generator(6)
    phi, u = rng.standard_normal((1000, 5)), rng.standard_normal(5)
    pairs = np.arange(1000).reshape(-1, 2)
    hard, ids = ((phi[::2] - phi[1::2]) @ u > 0.0).astype(float), prompts(500, 2)
    long, short = (
        np.linalg.norm(cm.fit_preference_direction(phi, pairs, hard, alpha=a, folds=2, prompt_ids=ids).vector)
        for a in (1e-5, 1e-3)
    )
    return at_least(float(long / short), 2.0)


@claim("D1", "out-of-fold within R2 of a world with rho2 = .5 and many rows")
def _() -> Check:
    world = cm.simulate(n_prompts=1500, n_responses=10, dim=10, rho2=0.5, random_state=1)
    return near(float(cm.fit_value_direction(world, "s").encoding_quality.value[0]), 0.5, 0.02)


@claim("D1", "its 95 % interval over prompts holds rho2 = .5 when rows are many for d = 3 (share of 40 worlds)")
def _() -> Check:
    inside = 0
    for seed in range(40):
        world = cm.simulate(n_prompts=200, n_responses=8, dim=3, rho2=0.5, random_state=900 + seed)
        low, high = cm.fit_value_direction(world, "s", alpha=0.0).encoding_quality.ci[0]
        inside += bool(low < 0.5 < high)
    return at_least(inside / 40, 0.85)


@claim("D1", "in-sample R2 is high by (1 - rho2) d/(N - G): mean over 60 worlds, rho2 = .5")
def _() -> Check:
    ids, found = prompts(60, 6), []
    for seed in range(60):
        rng = generator(100 + seed)
        phi = demeaned(rng.standard_normal((360, 60)), ids)
        s = demeaned(phi[:, 0] + rng.standard_normal(360), ids)
        left = s - phi @ cm.fit_value_direction(phi, s, method="least_squares", prompt_ids=ids, pooled=False).vector
        found.append(1.0 - (left @ left) / (s @ s))
    return near(float(np.mean(found)), 0.5 + 0.5 * 60 / 300, 4.0 * float(np.std(found)) / np.sqrt(60))


@claim("D1", "a value constant in every prompt: pooled R2 high, within R2 not (their difference)")
def _() -> Check:
    rng = generator(7)
    ids = prompts(200, 8)
    topic = 3.0 * rng.standard_normal(200)[ids]
    phi = np.column_stack([topic + rng.standard_normal(1600), rng.standard_normal(1600)])
    s = topic + 0.5 * rng.standard_normal(1600)
    pooled = float(np.corrcoef(phi[:, 0], s)[0, 1] ** 2)
    within = cm.fit_value_direction(phi, s, prompt_ids=ids).encoding_quality.value[0]
    return at_least(pooled - max(float(within), 0.0), 0.6)


@claim("App D", "rho2 = u*'Sigma u* / (u*'Sigma u* + sigma^2) with Sigma not the identity, from moments")
def _() -> Check:
    world = cm.simulate(n_prompts=3000, n_responses=10, dim=6, rho2=0.3, random_state=2)
    explained = world.truth.u_star @ covariance(world, ddof=1) @ world.truth.u_star
    s = world.column("s")
    total = float((demeaned(s, np.asarray(world.prompt_ids)) ** 2).sum() / (world.n_rows * 0.9))
    return near(float(explained / total), 0.3, 0.01)


@claim("D11", "a value f(phi) + noise: the slope of the exact gain at lam = 0 is u_LS'Sigma u_C (relative error)")
def _() -> Check:
    phi, ids = random_rows(8)
    f = np.tanh(phi[:, 0]) + phi[:, 1] * phi[:, 2]
    u = cm.fit_value_direction(phi, f, method="least_squares", prompt_ids=ids, precision="double").vector
    v, h = np.array([0.2, 0.1, -0.3, 0.1]), 1e-4
    gains = [cm.tilt(phi, w, [1 / h], f, prompt_ids=ids, precision="double").gain.item() for w in (v, -v)]
    first = u @ covariance(phi, prompt_ids=ids, precision="double") @ v
    return near((gains[0] - gains[1]) / (2.0 * h) / float(first), 1.0, 1e-6)


@claim("rule 2", "prompts are averaged and not rows: mean of prompts of 1 and 9 rows with means 0 and 1")
def _() -> Check:
    phi = np.array([[0.0], *[[1.0]] * 9])
    return near(float(cm.moments(phi, prompt_ids=[0] + [1] * 9, precision="double").mean[0]), 0.5, 1e-9)


@claim("rule 3", "a constant added to the scores of a prompt moves no gain (largest change)")
def _() -> Check:
    phi, ids = random_rows(9)
    t, f = phi[:, :1], phi[:, 1]
    moved = t + generator(9).uniform(-1e3, 1e3, 40)[ids, None]
    gains = [cm.tilt(cm.Scores(x, prompt_ids=ids), None, [1.0], f, precision="double").gain.item() for x in (t, moved)]
    return near(gains[1] - gains[0], 0.0, 1e-9)


@claim("base", "weighting sampled rows by their probability squares the policy: mean of (0, 1, 2) at (.2, .3, .5)")
def _() -> Check:
    p = np.array([0.2, 0.3, 0.5])
    drawn = generator(10).choice(3, 20_000, p=p)
    scores = cm.Scores(drawn.astype(float), prompt_ids=np.zeros(20_000, int))
    found = cm.tilt(scores, None, [np.inf], drawn.astype(float), base="logprob", logprobs=np.log(p)[drawn])
    return near(found.baseline.item(), float((p**2 / (p**2).sum()) @ np.arange(3)), 0.02)
