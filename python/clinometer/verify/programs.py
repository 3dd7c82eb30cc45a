"""What the linear programs promise, against the same programs stated apart and solved by HiGHS (theory 9)."""

from __future__ import annotations

import numpy as np

from clinometer import lp

from .registry import Check, at_least, at_most, claim, near
from .worlds import Floats, generator, prompts


def _game(M: Floats) -> tuple[float, float, Floats]:
    """max_w min_j (Mw)_j and min_lambda max_i (M'lambda)_i, each by a program of its own; and w."""
    from scipy.optimize import linprog

    k, m = M.shape
    primal = linprog(
        [0.0] * m + [-1.0], A_ub=np.hstack([-M, np.ones((k, 1))]), b_ub=np.zeros(k), A_eq=[[1.0] * m + [0.0]],
        b_eq=[1.0], bounds=[(0, None)] * m + [(None, None)],
    )  # fmt: skip
    dual = linprog(
        [0.0] * k + [1.0], A_ub=np.hstack([M.T, -np.ones((m, 1))]), b_ub=np.zeros(m), A_eq=[[1.0] * k + [0.0]],
        b_eq=[1.0], bounds=[(0, None)] * k + [(None, None)],
    )  # fmt: skip
    return -float(primal.fun), float(dual.fun), np.asarray(primal.x[:m])


@claim("L1", "the ensemble game has no duality gap: its value against the dual program (3 values, 40 candidates)")
def _() -> Check:
    M = generator(140).standard_normal((3, 40))
    return near(lp.ensemble(M).value, _game(M)[1], 1e-9)


@claim("L1", "a best ensemble of k values needs no more than k candidates (3 values, 40 candidates)")
def _() -> Check:
    found = lp.ensemble(generator(140).standard_normal((3, 40)))
    return at_most(float((found.weights > 0.0).sum()), 3.0)


@claim("L1", "adding a constant to all gains shifts the value of the game by it")
def _() -> Check:
    M = generator(141).standard_normal((3, 20))
    return near(lp.ensemble(M + 1.5).value - _game(M)[0], 1.5, 1e-9)


@claim("L1", "scaling one value changes the best ensemble, so units must be declared (change of the value)")
def _() -> Check:
    M = generator(142).standard_normal((3, 20)) + 0.5
    return at_least(abs(lp.ensemble(M, scale_rows=[10.0, 1.0, 1.0]).value - _game(M)[0]), 0.01)


def _constrained(M: Floats, c: Floats, tau: Floats) -> tuple[float, float]:
    """max c'w with Mw >= tau over the simplex, and min over mu >= 0 of max_i (c + M'mu)_i - tau'mu."""
    from scipy.optimize import linprog

    k, m = M.shape
    primal = linprog(-c, A_ub=-M, b_ub=-tau, A_eq=[[1.0] * m], b_eq=[1.0], bounds=[(0, None)] * m)
    dual = linprog(
        [*(-tau), 1.0], A_ub=np.hstack([M.T, -np.ones((m, 1))]), b_ub=-c, bounds=[(0, None)] * k + [(None, None)]
    )
    return (-float(primal.fun), float(dual.fun)) if primal.status == 0 else (-np.inf, float(dual.status))


@claim("L2", "the constrained program meets its dual, which was solved apart (2 floors, 30 candidates)")
def _() -> Check:
    M, c, tau = generator(143).standard_normal((2, 30)), generator(144).standard_normal(30), np.array([0.1, 0.2])
    return near(lp.constrained(M, c, tau).value, _constrained(M, c, tau)[1], 1e-9)


@claim("L2", "what a floor costs: slope of the value in the floor, by programs solved apart (largest difference)")
def _() -> Check:
    M, c, tau = generator(143).standard_normal((2, 30)), generator(144).standard_normal(30), np.array([0.1, 0.2])
    price = lp.constrained(M, c, tau).dual
    slope = [(_constrained(M, c, tau - h)[0] - _constrained(M, c, tau + h)[0]) / 2e-4 for h in 1e-4 * np.eye(2)]
    return near(float(np.abs(price - slope).max()), 0.0, 1e-6)


@claim("L2", "it is infeasible iff the game M - tau is lost: agreement over 60 cases")
def _() -> Check:
    rng, agree = generator(145), 0
    for _case in range(60):
        M, c, tau = rng.standard_normal((2, 6)), rng.standard_normal(6), rng.uniform(-0.5, 1.5, 2)
        agree += (lp.constrained(M, c, tau).status == "infeasible") == (_game(M - tau[:, None])[0] < 0.0)
    return near(agree, 60, 0)


def _prompt(S: Floats, cap: float | None) -> float:
    """max_q min_j of the centred values, q in the simplex of n rows with q_i <= cap/n."""
    from scipy.optimize import linprog

    n, k = S.shape
    M = ((S - S.mean(axis=0)) / S.std()).T
    top = None if cap is None else cap / n
    out = linprog(
        [0.0] * n + [-1.0], A_ub=np.hstack([-M, np.ones((k, 1))]), b_ub=np.zeros(k), A_eq=[[1.0] * n + [0.0]],
        b_eq=[1.0], bounds=[(0, top)] * n + [(None, None)],
    )  # fmt: skip
    return -float(out.fun)


def _margin(S: Floats, cap: float) -> float:
    """Margin of one prompt under a ratio cap."""
    return float(lp.prompt(S, ratio_cap=cap, prompt_ids=np.zeros(len(S), int)).margin[0])


@claim("L3", "without a cap every prompt of more rows than values looks improvable: share of 100, k = 3, n = 8")
def _() -> Check:
    S = generator(147).standard_normal((800, 3))
    found = lp.prompt(S, uncapped=True, prompt_ids=prompts(100, 8))
    return near(float(np.mean(found.status == "improvable")), 1.0, 0.0)


@claim("L3", "the margin never falls as the cap is loosened (least step over caps 1 to 8)")
def _() -> Check:
    S = generator(149).standard_normal((8, 3))
    return at_least(float(np.diff([_margin(S, c) for c in (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)]).min()), -1e-12)


@claim("L3", "a cap of 1/min w is no cap: the margin against the program without one")
def _() -> Check:
    S = generator(150).standard_normal((8, 3))
    return near(_margin(S, 8.0), _prompt(S / S.std(axis=0), None) * float((S / S.std(axis=0)).std()), 1e-9)
