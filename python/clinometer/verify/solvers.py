"""The fits and linear programs of the package against routes of their own (theory 1 and 9)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import clinometer as cm

from .programs import _constrained, _game, _prompt
from .registry import Check, at_least, at_most, claim, near, same
from .worlds import Floats, demeaned, generator, prompts, random_rows


@claim("A2", "fit_generation_direction recovers u_gen under offsets of +-50 nats (largest error)")
def _() -> Check:
    phi, ids = random_rows(190)
    u_gen = np.array([0.3, -1.0, 0.2, 0.5])
    logp = phi @ u_gen + generator(190).uniform(-50.0, 50.0, 40)[ids]
    u = cm.fit_generation_direction(phi, logp, prompt_ids=ids, precision="double").vector
    return near(float(np.abs(u - u_gen).max()), 0.0, 1e-10)


@claim("A3", "fit_preference_direction recovers u_C from exact soft labels (largest error)")
def _() -> Check:
    phi, ids = random_rows(191)
    u = np.array([0.2, -0.1, 0.3, 0.1])
    pairs = np.array([(9 * g + a, 9 * g + b) for g in range(40) for a in range(9) for b in range(a)])
    p = 1.0 / (1.0 + np.exp(-(phi[pairs[:, 0]] - phi[pairs[:, 1]]) @ u))
    found = cm.fit_preference_direction(phi, pairs, p, alpha=0.0, prompt_ids=ids, precision="double").vector
    return near(float(np.abs(found - u).max()), 0.0, 1e-8)


@claim("L1", "lp.ensemble against the program solved apart (largest difference of 30 games)")
def _() -> Check:
    games = generator(192).standard_normal((30, 4, 60))
    return near(max(abs(cm.lp.ensemble(M).value - _game(M)[0]) for M in games), 0.0, 1e-9)


@claim("L1", "its bounds close to 1e-9 of the value over 2000 candidates (largest gap over its allowance)")
def _() -> Check:
    found = [cm.lp.ensemble(M) for M in generator(193).standard_normal((10, 5, 2000))]
    return at_most(max(float(f.upper - f.lower) / max(1e-9 * abs(f.value), 5e-15) for f in found), 1.0)


@claim("L2", "lp.constrained against the program solved apart, the infeasible ones alike (agreement over 60)")
def _() -> Check:
    rng, agree = generator(194), 0
    for _case in range(60):
        M, c, tau = rng.standard_normal((2, 8)), rng.standard_normal(8), rng.uniform(-0.5, 1.5, 2)
        found, (value, _bound) = cm.lp.constrained(M, c, tau), _constrained(M, c, tau)
        infeasible = bool(np.isneginf(value))
        agree += found.status == ("infeasible" if infeasible else "optimal") and (
            infeasible or abs(found.value - value) < 1e-9
        )
    return near(agree, 60, 0)


@claim("L2", "its certificate of infeasibility holds: max_i (mu'(M - tau))_i")
def _() -> Check:
    M, tau = generator(195).standard_normal((2, 8)), np.array([3.0, 3.0])
    found = cm.lp.constrained(M, np.ones(8), tau)
    proof = float((found.dual @ (M - tau[:, None])).max()) if found.status == "infeasible" else np.nan
    return at_most(proof, -0.1)


@claim("L3", "lp.prompt against the program solved apart, cap 2 (largest difference of 20 prompts)")
def _() -> Check:
    S = generator(196).standard_normal((20, 7, 3))
    S -= S.mean(axis=1, keepdims=True)
    sd = np.sqrt((S**2).mean(axis=(0, 1)))
    found = cm.lp.prompt(S.reshape(-1, 3), ratio_cap=2.0, prompt_ids=prompts(20, 7)).margin
    want = [_prompt(x / sd, 2.0) * float((x / sd).std()) for x in S]
    return near(float(np.abs(found - want).max()), 0.0, 1e-9)


@claim("L3", "lp.prompt with a cap of 1 leaves every prompt where it is (largest margin)")
def _() -> Check:
    S = generator(197).standard_normal((50, 2))
    return near(float(np.abs(cm.lp.prompt(S, ratio_cap=1.0, prompt_ids=prompts(10, 5)).margin).max()), 0.0, 1e-12)


@claim("P19", "lp.cone and pareto_cone agree on whether a direction exists (share of 100 cases)")
def _() -> Check:
    rng, agree = generator(198), 0
    for _case in range(100):
        a = rng.standard_normal((int(rng.integers(2, 6)), int(rng.integers(1, 4))))
        agree += (cm.lp.cone(a).status == "improvable") == bool(cm.pareto_cone(a).feasible)
    return at_least(agree / 100, 1.0)


@claim("L1", "a game that no ensemble wins is called blocked, with prices that prove it")
def _() -> Check:
    M = np.array([[1.0, -2.0, 0.5], [-2.0, 1.0, -1.0]])
    found = cm.lp.ensemble(M)
    return same(f"{found.status}, {bool((found.dual @ M).max() <= 0.0)}", "blocked, True")


@claim("P19", "margins of cones by products of their rows alone: cos(theta/2) of two rows (largest of 50 angles)")
def _() -> Check:
    angle = np.linspace(0.05, 3.0, 50)
    grams = np.array([[[1.0, np.cos(a)], [np.cos(a), 1.0]] for a in angle])
    return near(float(np.abs(cm.lp.gram_cone(grams).margin - np.cos(angle / 2)).max()), 0.0, 1e-7)


@claim("L1", "the front of 300 points of three values: those that no other point reaches in all (agreement)")
def _() -> Check:
    x = np.round(generator(199).standard_normal((300, 3)), 1)
    beaten = [bool(((x >= p).all(axis=1) & (x > p).any(axis=1)).any()) for p in x]
    return near(float((cm.lp.pareto_front(x) == ~np.array(beaten)).sum()), 300.0, 0.0)


@claim("L1", "lp.pareto: best mixture of three judges by their correlations, the program solved apart (difference)")
def _() -> Check:
    t, s, ids = _judges()
    r = np.array([[_correlation(a, f, ids) for a in t.T] for f in s.T])
    return near(cm.lp.pareto(cm.open_dump(t, prompt_ids=ids), np.eye(3), s).mixture_value, _game(r)[0], 1e-5)


@claim("P19", "... and the best direction of two values of correlation r reaches sqrt((1 + r)/2) of each (difference)")
def _() -> Check:
    t, s, ids = _judges()
    found = cm.lp.pareto(cm.open_dump(t, prompt_ids=ids), np.eye(3), s).margin
    return near(found, float(np.sqrt((1 + _correlation(s[:, 0], s[:, 1], ids)) / 2)), 1e-5)


def _judges() -> tuple[Floats, Floats, NDArray[np.int64]]:
    rng = generator(200)
    s = rng.standard_normal((600, 2)) + rng.standard_normal((600, 1))
    return np.column_stack([s + rng.standard_normal((600, 2)), rng.standard_normal(600)]), s, prompts(75, 8)


def _correlation(a: Floats, b: Floats, ids: NDArray[np.int64]) -> float:
    a, b = demeaned(a, ids), demeaned(b, ids)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
