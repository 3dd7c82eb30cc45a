"""Cones and linear programs: every float field of every result against HiGHS through SciPy, and closed forms."""

from __future__ import annotations

import sys
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from plain import Floats, Prompts, agree, freedom
from scipy import stats
from scipy.optimize import linprog

import clinometer as cm
from clinometer import lp

RNG = np.random.default_rng(20262)
SHARP = {"rtol": 1e-8, "atol": 1e-10}


def simplex_game(M: Floats, top: Any = None) -> tuple[float, Floats, Floats]:
    """max_w min_j (M w)_j over the simplex (w <= top): value, w and the prices of the rows."""
    k, m = M.shape
    out = linprog(
        [0.0] * m + [-1.0], A_ub=np.hstack([-M, np.ones((k, 1))]), b_ub=np.zeros(k), A_eq=[[1.0] * m + [0.0]],
        b_eq=[1.0], bounds=[(0, top)] * m + [(None, None)],
    )  # fmt: skip
    return -out.fun, out.x[:m], -out.ineqlin.marginals


def floored(M: Floats, c: Floats, tau: Floats) -> tuple[float, Floats, Floats]:
    """max c.w with M w >= tau over the simplex: value, w and what the floors cost."""
    out = linprog(-c, A_ub=-M, b_ub=-tau, A_eq=[[1.0] * len(c)], b_eq=[1.0], bounds=[(0, None)] * len(c))
    return -out.fun, out.x, -out.ineqlin.marginals


def round_cone(rows: Floats) -> tuple[float, Floats]:
    """Margin and weights of a cone whose rows all touch: equal products with the best direction."""
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    touch = np.linalg.solve(unit @ unit.T, np.ones(len(rows)))
    assert (touch > 0).all()
    return float(1 / np.sqrt(touch.sum())), touch / touch.sum()


def three(d: int = 4) -> Floats:
    """Three values near one another, so that all of them touch the best direction."""
    return np.eye(3, d) * [[2.0], [1.0], [0.7]] + 0.15 * np.random.default_rng(2).standard_normal((3, d))


def test_the_cone_in_a_box() -> None:
    a = three()
    out = linprog([0.0] * 4 + [-1.0], A_ub=np.hstack([-a, np.ones((3, 1))]), b_ub=np.zeros(3),
                  bounds=[(-1, 1)] * 4 + [(None, None)])  # fmt: skip
    found = lp.cone(a)
    agree(found, {
        "value": -out.fun, "weights": out.x[:4], "dual": -out.ineqlin.marginals, "lower": -out.fun, "upper": -out.fun,
    }, apart="scale_rows scale_columns", **SHARP)  # fmt: skip
    assert found.violation == 0


def test_an_ensemble() -> None:
    M, rows, columns = RNG.standard_normal((3, 30)) + 0.3, np.array([0.5, 2.0, 1.0]), RNG.uniform(0.5, 2, 30)
    value, w, dual = simplex_game(rows[:, None] * M * columns)
    found = lp.ensemble(M, scale_rows=rows, scale_columns=columns)
    agree(found, {
        "value": value, "weights": w, "dual": dual, "lower": value, "upper": value, "scale_rows": rows,
        "scale_columns": columns,
    }, **SHARP)  # fmt: skip


def test_floors() -> None:
    below = 0.0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        M, c, tau = rng.standard_normal((3, 20)), rng.standard_normal(20), np.array([0.3, 0.2, 0.1])
        value, w, dual = floored(M, c, tau)
        found = lp.constrained(M, c, tau)
        want = {"value": value, "weights": w, "dual": dual, "lower": value, "upper": value}
        agree(found, want, apart="scale_rows scale_columns", **SHARP)
        assert 0 <= found.violation <= 1e-13
        below = max(below, float(found.violation))
    assert below > 0  # rounding leaves some floor a little short, and it is said


@pytest.mark.parametrize("metric", ["kl", "euclid"])
def test_pareto_cones(metric: str) -> None:
    u = three()
    sigma = np.eye(4) + 0.1 * np.ones((4, 4))
    lam, axes = np.linalg.eigh(sigma)
    rows = u @ sigma if metric == "euclid" else u @ (axes * np.sqrt(lam)) @ axes.T
    margin, weights = round_cone(rows)
    mixed = (weights / np.linalg.norm(rows, axis=1)) @ (rows if metric == "euclid" else u)
    size = np.linalg.norm(mixed) if metric == "euclid" else np.sqrt(mixed @ sigma @ mixed)
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    r = unit @ unit.T
    fraction = 1 / 8 + (np.arcsin(r[0, 1]) + np.arcsin(r[0, 2]) + np.arcsin(r[1, 2])) / (4 * np.pi)
    found = cm.pareto_cone(u, sigma, metric=metric)
    agree(found, {
        "margin": margin, "weights": weights, "direction": mixed / size, "half_angle": np.arcsin(margin),
        "fraction": fraction,
    }, apart="certificate", **SHARP)  # fmt: skip
    flat = lp.gram_cone(rows @ rows.T)
    names = ("margin", "lower", "upper")
    agree(flat, {**dict.fromkeys(names, margin), "weights": weights, "half_angle": np.arcsin(margin)}, rtol=1e-7)


def test_the_certificate_of_an_empty_cone() -> None:
    a = np.array([[1.0, 0.2], [-0.6, 1.0], [-0.5, -1.3]])
    mu = np.array([np.linalg.det(a[[1, 2]]), np.linalg.det(a[[2, 0]]), np.linalg.det(a[[0, 1]])])  # sum mu_j a_j = 0
    size = np.linalg.norm(a, axis=1)
    found = cm.pareto_cone(a)
    np.testing.assert_allclose(found.certificate, mu / mu.sum(), rtol=1e-9)
    np.testing.assert_allclose(found.weights, mu * size / (mu * size).sum(), rtol=1e-9)


@pytest.mark.parametrize("cap", [1.5, None])
def test_prompts(cap: float | None) -> None:
    ids = np.repeat(np.arange(8), 6)
    S = np.random.default_rng(3).standard_normal((48, 2)) * [1.0, 3.0]
    prompts = Prompts(ids)
    scale = np.array([prompts.sd(s) for s in S.T])
    games = [simplex_game(((S[r] - S[r].mean(axis=0)) / scale).T, None if cap is None else cap / 6)
             for r in prompts.rows]  # fmt: skip
    value = [g[0] for g in games]
    found = lp.prompt(S, ratio_cap=cap, uncapped=cap is None, prompt_ids=ids)
    agree(found, {
        "margin": value, "lower": value, "upper": value, "dual": [g[2] for g in games], "scale": scale,
        "weights": np.concatenate([g[1] for g in games]),
    }, **SHARP)  # fmt: skip


def test_prompts_at_a_budget() -> None:
    # two values: the shorter of the two scores, or the point of their segment nearest to 0
    ids = np.repeat(np.arange(8), 6)
    S = np.random.default_rng(4).standard_normal((48, 2))
    prompts = Prompts(ids)
    scale = np.array([prompts.sd(s) for s in S.T])
    found = lp.prompt(S, kl=0.02, prompt_ids=ids)
    share = np.linspace(0, 1, 100_001)
    for g, rows in enumerate(prompts.rows):
        C = np.cov((S[rows] / scale).T, ddof=0)
        square = share**2 * C[0, 0] + 2 * share * (1 - share) * C[0, 1] + (1 - share) ** 2 * C[1, 1]
        assert found.margin[g] == pytest.approx(np.sqrt(0.04 * square.min()), rel=1e-6)
        assert found.dual[g, 0] == pytest.approx(share[square.argmin()], abs=1e-4)


def test_pareto_of_constitutions() -> None:
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(60), 8)
    prompts, common = Prompts(ids), rng.standard_normal(480)
    values = np.column_stack([common + 1.2 * rng.standard_normal(480) for _ in range(2)])
    t = np.column_stack([values[:, 0] + rng.standard_normal(480), values[:, 1] - 0.5 * values[:, 0],
                         rng.standard_normal(480) + 0.3 * common])  # fmt: skip
    found = lp.pareto(cm.open_dump(t, prompt_ids=ids), np.eye(3), values, precision="double")
    gains = np.array([[prompts.r(a, f) for f in values.T] for a in t.T])
    r = prompts.r(*values.T)
    value, w, _ = simplex_game(gains.T)
    alone = int(np.argmax(gains.min(axis=1)))
    best = [floored(gains.T[[1 - i]], gains[:, i], np.zeros(1)) for i in range(2)]
    agree(found, {
        "gains": gains, "margin": np.sqrt((1 + r) / 2), "direction": [0.5, 0.5], "mixture_value": value,
        "mixture": w, "alone_value": gains[alone].min(), "best": [b[0] for b in best],
        "price": [[0, best[0][2][0]], [best[1][2][0], 0]],
    }, apart="margin_ci sure mixture_ci mixture_sure mixture_gain", rtol=1e-6, atol=1e-9)  # fmt: skip
    assert found.price.any()


def correlations(weight: Floats, t: Floats, values: Floats, prompts: Prompts) -> Floats:
    """Of a score with each value, and of the two values, inside prompts that weigh (G,)."""
    x, y, z = t, *values.T
    return np.array([
        weight @ prompts.cov(a, b) / np.sqrt((weight @ prompts.cov(a, a)) * (weight @ prompts.cov(b, b)))
        for a, b in ((x, y), (x, z), (y, z))
    ])  # fmt: skip


def test_what_half_of_the_prompts_choose_is_judged_on_the_other() -> None:
    # a single score has nothing to mix, and two values are best served half and half: with one split of 8 prompts into
    # halves, what was judged is one of 70 sets of four, told by its gains
    rng = np.random.default_rng(7)
    ids = np.repeat(np.arange(8), 6)
    prompts, t = Prompts(ids), rng.standard_normal(48)
    values = t[:, None] + rng.standard_normal((48, 2))
    found = lp.pareto(cm.open_dump(t[:, None], prompt_ids=ids), [[1.0]], values, splits=1, precision="double")
    judging = np.array([np.isin(np.arange(8), half) * 1.0 for half in combinations(range(8), 4)])
    gains = np.array([correlations(w, t, values, prompts)[:2] for w in judging])
    w = judging[np.abs(gains - found.mixture_gain).max(axis=1).argmin()]
    r, step = correlations(w, t, values, prompts), 1e-5
    each = w > 0  # what a prompt does: the derivative in its weight
    psi = np.array([
        correlations(w + step * e, t, values, prompts) - correlations(w - step * e, t, values, prompts)
        for e in np.eye(8)[each]
    ]) / (2 * step)  # fmt: skip
    chosen = np.sqrt(2 * (1 + correlations(1 - w, t, values, prompts)[2]))  # the length of both values together
    x, psi = np.append(r[:2], (1 + r[2]) / chosen), psi / [1, 1, chosen]
    se = np.sqrt(4 / 3 * (psi**2).sum(axis=0))
    law = stats.t(freedom(psi))
    low, high = x - law.ppf(1 - 0.025 / 2) * se, x + law.ppf(1 - 0.025 / 4) * se  # upwards either value may stay
    sure = 1 - 2 * law.sf(x / se)
    np.testing.assert_allclose(found.mixture_gain, x[:2], rtol=1e-9)
    np.testing.assert_allclose(found.mixture_ci, [low[:2].min(), high[:2].min()], rtol=1e-6)
    np.testing.assert_allclose(found.margin_ci, [low[2], high[2]], rtol=1e-6)
    np.testing.assert_allclose([found.mixture_sure, found.sure], [sure[:2].min(), sure[2]], rtol=1e-6)
    assert found.mixture_sure > 0.1


def test_a_general_program() -> None:
    pytest.importorskip("highspy")
    rng = np.random.default_rng(6)
    a, c, inside = rng.standard_normal((4, 6)), rng.standard_normal(6), rng.uniform(0, 1, 6)
    high = a @ inside + 0.3
    out = linprog(-c, a, high, bounds=[(-1, 2)] * 6)
    found = lp.solve(c, a, row_upper=high, lower=-1.0, upper=2.0)
    want = {"value": -out.fun, "upper": -out.fun, "weights": out.x, "dual": -out.ineqlin.marginals}
    agree(found, want, apart="violation", rtol=1e-6, atol=1e-7)


def test_a_solver_that_breaks_a_bound_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # x far out, cut to (1, 1) where x0 + x1 <= 1: 1 beyond, of terms of size 2 and a bound of 1
    answer = SimpleNamespace(col_value=[1e30, 1e30], row_dual=[1.0])

    class Highs:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: answer if name == "getSolution" else 0

    parts = {"ObjSense": SimpleNamespace(kMaximize=1), "MatrixFormat": SimpleNamespace(kRowwise=1)}
    made = SimpleNamespace(Highs=Highs, HighsStatus=SimpleNamespace(kError=1), **parts)
    made.HighsLp = lambda: SimpleNamespace(a_matrix_=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "highspy", made)
    found = lp.solve([1.0, 1.0], [[1.0, 1.0]], row_upper=1.0, upper=1.0)
    assert found.status == "undecided"
    # the goal at (1, 1), and by the price of 1 no more than 1 where it may be had
    agree(found, {"value": 2.0, "weights": [1.0, 1.0], "dual": [1.0], "upper": 1.0, "violation": 1 / 3}, rtol=1e-6)
