"""Planted directions come back at the rate the estimators promise (theory 10.3)."""

from __future__ import annotations

from functools import cache

import numpy as np

import clinometer as cm

from .registry import Check, claim, near
from .worlds import Floats, generator

D, N = 8, 6
SIZES = (20, 40, 80, 160, 320)  # prompts
REPEATS = 60
PAIRS = (200, 400, 800, 1600)


@cache
def _least_squares() -> tuple[Floats, Floats]:
    """Mean miss |u - u*|^2 in Sigma-norm over sigma^2 d, and 1/(N - G - d - 1), by number of prompts."""
    miss = np.zeros(len(SIZES))
    for i, prompts in enumerate(SIZES):
        for seed in range(REPEATS):
            world = cm.simulate(prompts, N, D, rho2=0.5, random_state=1000 * i + seed, world=3)
            t = world.truth
            off = cm.fit_value_direction(world, "s", method="least_squares", pooled=False).vector - t.u_star
            miss[i] += off @ t.sigma @ off / (t.noise_sd**2 * D) / REPEATS
    return miss, 1 / (np.array(SIZES) * (N - 1) - D - 1.0)


@cache
def _pairs() -> tuple[Floats, Floats]:
    """Mean miss |u - u_C|^2 in the norm of the curvature H of the loss over d, and 1/P, by number of pairs."""
    rng, u = generator(61), np.linspace(0.2, 0.9, D) / np.sqrt(D)
    many = rng.standard_normal((200_000, D)) * np.sqrt(2)
    s = 1 / (1 + np.exp(-many @ u))
    curvature = (many * (s * (1 - s))[:, None]).T @ many / len(many)
    miss = np.zeros(len(PAIRS))
    for i, P in enumerate(PAIRS):
        for _ in range(REPEATS):
            phi = rng.standard_normal((2 * P, D))
            pairs = np.arange(2 * P).reshape(-1, 2)
            hard = rng.random(P) < 1 / (1 + np.exp(-(phi[::2] - phi[1::2]) @ u))
            fit = cm.fit_preference_direction(
                phi, pairs, hard.astype(float), alpha=1e-6, folds=2, prompt_ids=np.repeat(np.arange(P), 2)
            )
            off = fit.vector - u
            miss[i] += off @ curvature @ off / D / REPEATS
    return miss, 1 / np.array(PAIRS)


def _slope(miss: Floats, predicted: Floats) -> float:
    return float(np.polyfit(np.log(predicted), np.log(miss), 1)[0])


@claim("10", "least squares misses a planted direction by sigma^2 d/(N-G-d-1), Sigma-norm: measured over that")
def _() -> Check:
    miss, predicted = _least_squares()
    return near(float(np.mean(miss / predicted)), 1.0, 4 * np.sqrt(2 / D / REPEATS / len(SIZES)))


@claim("10", "the same: power of the miss in 1/(N-G-d-1), from 100 to 1600 rows")
def _() -> Check:
    return near(_slope(*_least_squares()), 1.0, 0.1)


@claim("10", "hard pairs miss a planted direction by d/P in the norm of the loss's curvature: measured over that")
def _() -> Check:
    miss, predicted = _pairs()
    return near(float(miss[-1] / predicted[-1]), 1.0, 0.2)


@claim("10", "the same: power of the miss in 1/P, from 200 to 1600 pairs")
def _() -> Check:
    return near(_slope(*_pairs()), 1.0, 0.15)


@claim("10", "learning curve: power in 1/P of 1/r^2 - 1, r the held-out correlation, from 300 to 2400 pairs")
def _() -> Check:
    sizes, gone = np.array([300, 600, 1200, 2400]), np.zeros(4)
    for seed in range(4):
        world = cm.simulate(1600, 6, D, spectrum="flat", random_state=seed)
        pairs = np.arange(world.n_rows).reshape(-1, 2)
        t = world.read(0, world.n_rows, np.float64) @ world.truth.u_star
        p = 1 / (1 + np.exp(t[pairs[:, 1]] - t[pairs[:, 0]]))
        hard = (generator(62 + seed).random(len(p)) < p).astype(float)
        # the value is the planted score itself: the limit of r is 1, and held-out rows add no noise of their own
        curve = cm.theory.learning_curve(world, pairs, hard, t, sizes=sizes, repeats=32, ridge=1e-6)
        gone += (1 / curve.correlation[:, :, 0] ** 2 - 1).mean(axis=1)
    return near(_slope(gone, 1 / sizes), 1.0, 0.15)
