"""Nonlinear values: Theorem 14 and Proposition 15 (theory 7)."""

from __future__ import annotations

import numpy as np

import clinometer as cm
from clinometer import theory

from .registry import Check, at_least, claim, near, same
from .worlds import Floats, gaussian_grid, generator, prompts

SIGMA = np.array([[1.2, -0.3], [-0.3, 0.6]])
MEAN = np.array([0.4, -0.2])
JUDGE = np.array([0.5, 0.8])


def _world() -> tuple[cm.Dump, Floats]:
    dump = gaussian_grid(SIGMA, MEAN)
    return dump, dump.read(0, dump.n_rows, np.float64)


def _weights(dump: cm.Dump) -> Floats:
    w = np.exp(np.asarray(dump.column("logprob")))
    return np.asarray(w / w.sum())


def _value(phi: Floats) -> Floats:
    return np.asarray(np.sin(phi[..., 0]) + phi[..., 0] * phi[..., 1] ** 2)


@claim("T14", "Stein: Cov(f, <u_C, phi>) = E[grad f]'Sigma u_C for f = sin x + x y^2 (relative error)")
def _() -> Check:
    dump, phi = _world()
    x, y = phi.T
    gradient = np.stack([np.cos(x) + y**2, 2.0 * x * y], axis=1)
    found = cm.cross_covariance(dump, JUDGE, _value(phi), base="logprob", precision="double").value.item()
    return near(found / float(_weights(dump) @ gradient @ SIGMA @ JUDGE), 1.0, 1e-7)


@claim("T14", "Stein by simulation: 200,000 draws of phi, within four errors")
def _() -> Check:
    rng = generator(110)
    phi = MEAN + rng.standard_normal((200_000, 2)) @ np.linalg.cholesky(SIGMA).T
    x, y = phi.T
    gradient = np.stack([np.cos(x) + y**2, 2.0 * x * y], axis=1) @ SIGMA @ JUDGE
    found = cm.cross_covariance(phi, JUDGE, _value(phi), prompt_ids=prompts(2000, 100))
    return near(found.value.item(), gradient.mean(), 4.0 * np.hypot(found.se.item(), gradient.std() / np.sqrt(2e5)))


@claim("T14", "the exact gain is E f(phi + Sigma u_C/beta) - E f(phi), at beta = .7 (difference)")
def _() -> Check:
    dump, phi = _world()
    w, f = _weights(dump), _value(phi)
    found = cm.tilt(dump, JUDGE, [0.7], f, base="logprob", precision="double").gain.item()
    return near(found, float(w @ (_value(phi + SIGMA @ JUDGE / 0.7) - f)), 1e-7)


@claim("T14", "the second order is (Sigma u_C)'E[Hess f](Sigma u_C)/2: k3/2 of the cumulants (relative error)")
def _() -> Check:
    dump, phi = _world()
    (x, y), move = phi.T, SIGMA @ JUDGE
    curve = -np.sin(x) * move[0] ** 2 + 4.0 * y * move[0] * move[1] + 2.0 * x * move[1] ** 2
    found = theory.cumulants(dump, JUDGE, _value(phi), base="logprob", precision="double").gain[0, 1, 0]
    return near(float(found) / float(_weights(dump) @ curve), 1.0, 1e-6)


@claim(
    "T14", "least squares is not E grad f without Gaussian phi: exponential phi, f = phi^2 gives 4, where E grad is 2"
)
def _() -> Check:
    phi = generator(111).exponential(size=(400_000, 1))
    u = cm.fit_value_direction(phi, phi[:, 0] ** 2, method="least_squares", prompt_ids=prompts(4000, 100)).vector
    return near(float(u[0]), 4.0, 0.15)


@claim("P15", "quadratic value: the exact gain is 2 (tau - m) h - h^2 (beta = .8, integrated)")
def _() -> Check:
    dump, phi = _world()
    v, tau = np.array([1.0, 0.5]), 1.0
    value = -((phi @ v - tau) ** 2)
    found = cm.tilt(dump, JUDGE, [0.8], value, base="logprob", precision="double").gain.item()
    return near(found, theory.quadratic_tilt(v, tau, float(MEAN @ v), SIGMA, JUDGE, 0.8).gain.item(), 1e-7)


@claim("P15", "the best beta is v'Sigma u_C/(tau - m): the best of a grid of 400 exact tilts")
def _() -> Check:
    dump, phi = _world()
    v, tau = np.array([1.0, 0.5]), 1.0
    best = theory.quadratic_tilt(v, tau, float(MEAN @ v), SIGMA, JUDGE, 1.0).best_beta
    grid = best * np.geomspace(0.5, 2.0, 400)
    gain = cm.tilt(dump, JUDGE, grid, -((phi @ v - tau) ** 2), base="logprob", pareto_k=False).gain[0, :, 0]
    return near(float(grid[np.argmax(gain)]), best, 0.005 * best)


@claim("P15", "past the overshoot the first order still promises a gain: exact gain there, first order positive")
def _() -> Check:
    found = theory.quadratic_tilt([1.0], 1.0, 0.0, None, [1.0], [0.4])
    return same(bool(found.gain[0] < 0.0 < found.first_order[0]), True)


@claim("P15", "the cumulants flag the overshoot: k2 > 0 with k3 < 0, and a finite sign flip 2 (tau - m)")
def _() -> Check:
    t = generator(112).standard_normal(200_000)
    found = theory.cumulants(t[:, None], [[1.0]], -((t - 0.3) ** 2), prompt_ids=prompts(200, 1000))
    return near(found.sign_flip.item() if found.overshoots.item() else np.nan, 0.6, 0.05)


@claim("P15", "the judge g = f always improves the value it judges: least gain over 8 strengths")
def _() -> Check:
    dump, phi = _world()
    f = -((phi @ np.array([1.0, 0.5]) - 1.0) ** 2)
    gain = cm.tilt(dump, cm.Scores(f), np.geomspace(0.1, 100.0, 8), f, base="logprob").gain
    return at_least(float(gain.min()), 1e-6)
