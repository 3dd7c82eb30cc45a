"""Units are units: whatever power of ten a value, a score or a weight is given in, the answer is the same one in those
units, or a ValueError names what is too large or too small."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import lp
from clinometer.common.results import Result

EXPONENTS = (-307, -200, -150, -100, -66, -60, -46, -45, -38, -30, -13, 13, 30, 38, 60, 66, 100, 150, 200, 306)
N, n, d = 40, 6, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N * n, d)).astype(np.float32)
IDS = np.repeat(np.arange(N), n)
U = np.array([[1.0, 0.2, 0.0], [0.0, 1.0, -0.5]])
V = np.column_stack([X[:, 0], X[:, 1] - X[:, 0]]) + RNG.normal(size=(N * n, 2))
V[5, 1] = np.nan
KW: dict[str, Any] = {"prompt_ids": IDS}

SCORED = (X @ U.T).astype(np.float64)
PAIRS = np.stack([np.arange(N) * n, np.arange(N) * n + 1], 1)
TOGETHER = ("gain", "ci", "together", "first", "second", "between")
POOLED = ("pool_gain", "pool_se", "mixture_gain", "mixture_se", "member_gain", "first_order")
# what a function gives for values, as (power of the unit, numbers)
Found = list[tuple[int, Any]]
VALUES: dict[str, Callable[[np.ndarray], Found]] = {
    "tilt": lambda v: _tilt(cm.tilt(X, U, None, v, kl=[0.1, 0.5], **KW)),
    "tilt pooled": lambda v: _tilt(cm.tilt(X, U, [1.0], v, within=False, **KW)),
    "tilt in double": lambda v: _tilt(cm.tilt(X, U, [0.7], v, precision="double", **KW)),
    "cross_covariance": lambda v: _covariance(cm.cross_covariance(X, U, v, **KW)),
    "stat.Tilt": lambda v: [(1, cm.scan(_dump(v), cm.stat.Tilt(U, ["a", "b"], betas=[1.0]))[0].gain)],
    "stat.CrossCovariance": lambda v: [(1, cm.scan(_dump(v), cm.stat.CrossCovariance(U, ["a", "b"]))[0].value)],
    "gain_intervals": lambda v: _intervals(cm.inference.gain_intervals(X, U, None, v, kl=[0.2], **KW)),
    "null_band": lambda v: [(1, cm.inference.null_band(X, v, kl=[0.2], draws=8, **KW).interval)],
    "fit_value_direction": lambda v: _fit(cm.fit_value_direction(X, v, **KW)),
    "pareto": lambda v: _pareto(lp.pareto(X, U, np.nan_to_num(v), splits=10, **KW)),
    "ppi_gain": lambda v: [(1, cm.inference.ppi_gain(X, U[:1], None, v[:, 0], gold=_gold(v), kl=[0.2], **KW).gain)],
    "screen": lambda v: [(0, cm.theory.screen(X, U, v[:, :1], **KW).worst_correlation)],
    "gain_kl_frontier": lambda v: [(1, cm.theory.gain_kl_frontier(X, U, v[:, 0], **KW).gain)],
    "report": lambda v: _report(v),
    "complementarity": lambda v: _fields(
        cm.theory.complementarity("f", "g", v, dump=_dump(SCORED, names="fg")), TOGETHER
    ),
    "learning_curve": lambda v: _fields(_curve(X, v[:, 0]), ("correlation",)),
    "ensembles": lambda v: _fields(cm.theory.ensembles(X, U, [[0.5, 0.5]], v, kl=[0.2], **KW), (), POOLED),
    "labeler_scaling": lambda v: _fields(_labelers(U[:1], v), ("quality", "quality_se"), ("gain", "gain_se")),
    "nonlinear_encoding": lambda v: _fields(_curved(X, v), ("linear", "nonlinear")),
}
SCORES: dict[str, Callable[[np.ndarray, float], Found]] = {
    "tilt": lambda s, c: _tilt(cm.tilt(cm.Scores(s, IDS), None, None, V, kl=[0.1, 0.5])),
    "tilt at betas": lambda s, c: _tilt(cm.tilt(cm.Scores(s, IDS), None, [0.7 * c], V)),
    "cross_covariance": lambda s, c: [(0, cm.cross_covariance(X, cm.Scores(s), V, **KW).correlation)],
    "gain_intervals": lambda s, c: _intervals(cm.inference.gain_intervals(X, cm.Scores(s), None, V, kl=[0.2], **KW)),
    "null_band": lambda s, c: [
        (0, cm.inference.null_band(X, V, judges=cm.Scores(s), kl=[0.2], draws=8, **KW).interval)
    ],
}
# those that take powers of scores as they are, which may refuse them
POWERS: dict[str, Callable[[np.ndarray, float], Found]] = {
    "cumulants": lambda s, c: [
        (0, found)
        for t in [cm.theory.cumulants(X, cm.Scores(s, IDS), V)]
        for found in (
            t.gain[:, 2] / c / c / c,
            t.gain_se[:, 2] / c / c / c,
            t.score[:, 1] / c / c / c,
            t.exact_radius * c,
        )
    ],
    "gain_kl_frontier": lambda s, c: [
        (0, x) for t in [cm.theory.gain_kl_frontier(X, cm.Scores(s), V[:, 0], **KW)] for x in (t.gain, t.gain_se)
    ],
    "judge_ceiling": lambda s, c: [(0, cm.theory.judge_ceiling(X, cm.Scores(s), V, beta=c, **KW).ceiling)],
    "best_of_n": lambda s, c: [(0, cm.theory.best_of_n(X, cm.Scores(s), V, n=[4], **KW).normal)],
    "baselines": lambda s, c: [(0, cm.inference.baselines(X, cm.Scores(s), V, **KW).correlation)],
    "pareto": lambda s, c: [(0, lp.pareto(X, cm.Scores(s), np.nan_to_num(V), splits=5, **KW).gains)],
    "stat.CrossCovariance": lambda s, c: [(0, _crossed(s).correlation), (0, _crossed(s).se / c)],
    "complementarity": lambda s, c: _fields(
        cm.theory.complementarity("f", "g", V[:, 0], dump=_dump(s, names="fg")), TOGETHER
    ),
    "ensembles": lambda s, c: _fields(
        cm.theory.ensembles(X, cm.Scores(s, IDS), [[0.5, 0.5]], V, kl=[0.2], **KW), POOLED
    ),
    "labeler_scaling": lambda s, c: _fields(
        _labelers({"a": cm.Scores(s[:, 0]), "b": cm.Scores(s[:, 1])}, V), ("quality", "quality_se", "gain", "gain_se")
    ),
    "report": lambda s, c: [(0, x) for r in [_judged(s)] for x in (r.baselines.correlation, r.pareto.gains, r.gain)],
}


def _fields(found: Any, plain: tuple[str, ...], in_units: tuple[str, ...] = ()) -> Found:
    return [(0, getattr(found, name)) for name in plain] + [(1, getattr(found, name)) for name in in_units]


def _curve(x: np.ndarray, v: np.ndarray) -> Any:
    prob = (V[PAIRS[:, 0], 0] > V[PAIRS[:, 1], 0]).astype(float)
    return cm.theory.learning_curve(cm.open_dump(x, **KW), PAIRS, prob, v, repeats=2)


def _labelers(judge: Any, v: np.ndarray) -> Any:
    models = {name: cm.open_dump(x, **KW) for name, x in (("a", X), ("b", X[:, ::-1]))}
    return cm.theory.labeler_scaling(models, judge, v, sizes=[7e9, 7e10])


def _curved(x: np.ndarray, v: np.ndarray) -> Any:
    return cm.theory.nonlinear_encoding(x, v, n_features=10, gammas=[1.0], alphas=[0.1, 1.0], folds=3, **KW)


def _crossed(s: np.ndarray) -> Any:
    dump = cm.open_dump(X, prompt_ids=IDS, columns={"a": s[:, 0], "v": V[:, 0]})
    return cm.scan(dump, cm.stat.CrossCovariance(["a"], ["v"]))[0]


def _judged(s: np.ndarray) -> Any:
    dump = cm.open_dump(X, prompt_ids=IDS, columns={"value_v": V[:, 0], "judge/a": s[:, 0]})
    return cm.report(dump, constitutions=["judge/a"], values=["v"], kl=[0.2])


def _tilt(t: Any) -> Found:
    plain = (t.win_rate, t.kl, t.ess, t.linear_radius * 0)
    return [(1, a) for a in (t.gain, t.gain_se, t.baseline, t.first_order_unbiased)] + [(0, a) for a in plain]


def _covariance(c: Any) -> Found:
    return [(1, c.value), (1, c.se), (0, c.correlation)]


def _intervals(g: Any) -> Found:
    return [(1, g.interval)]


def _fit(f: Any) -> Found:
    return [(1, f.vectors), (0, f.encoding_quality.value)]


def _gold(v: np.ndarray) -> np.ndarray:
    """The same labels in every third prompt."""
    return np.where(IDS % 3 == 0, v[:, 0], np.nan)


def _dump(v: np.ndarray, names: str = "ab") -> cm.Dump:
    return cm.open_dump(X, prompt_ids=IDS, columns=dict(zip(names, v.T, strict=True)))


def _pareto(p: Any) -> Found:
    return [(0, p.best), (0, p.direction), (0, p.mixture)]


def _report(v: np.ndarray) -> Found:
    dump = cm.open_dump(X, prompt_ids=IDS, columns={"value_a": v[:, 0], "judge/x": X[:, 0] + X[:, 1]})
    r = cm.report(dump, constitutions=["judge/x"], values=["value_a"], kl=[0.2])
    return [(1, r.tilt.gain), (1, r.tilt.gain_se), (1, r.gain_interval), (1, r.value_sd), (0, r.correlation)]


def agree(found: Found, want: Found, c: float) -> None:
    for (power, a), (_, b) in zip(found, want, strict=True):
        scale = np.nanmax(np.abs(b), initial=1e-12)
        np.testing.assert_allclose(np.asarray(a) / (c if power else 1.0) / scale, np.asarray(b) / scale, atol=3e-5)


@pytest.mark.parametrize("name", VALUES)
def test_values_in_any_unit(name: str) -> None:
    call, kept = VALUES[name], 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = call(V)
        for e in EXPONENTS:
            try:
                found = call(V * 10.0**e)
            except ValueError as error:
                assert not -61 < e < 61 and "values" in str(error), f"1e{e}: {error}"
                continue
            kept += 1
            agree(found, want, 10.0**e)
    assert kept >= 10


@pytest.mark.parametrize("name", SCORES)
def test_scores_in_any_unit(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = (X @ U.T).astype(np.float64)
        want = SCORES[name](scores, 1.0)
        for e in EXPONENTS:
            agree(SCORES[name](scores * 10.0**e, 10.0**e), want, 1.0)


@pytest.mark.parametrize("name", POWERS)
def test_scores_whose_powers_leave_float64_are_refused_by_name(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores, kept = (X @ U.T).astype(np.float64), 0
        want = POWERS[name](scores, 1.0)
        for e in EXPONENTS:
            try:
                found = POWERS[name](scores * 10.0**e, 10.0**e)
            except ValueError as error:
                assert not -34 < e < 34 and "scores: " in str(error), f"1e{e}: {error}"
                continue
            kept += 1
            agree(found, want, 1.0)
    assert kept >= 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_directions_whose_scores_leave_float64_are_refused(dtype: type) -> None:
    x, end = X.astype(dtype), 1.7e308
    u, dump = np.full((1, d), end), cm.open_dump(x, prompt_ids=IDS, columns={"v": V[:, 0]})
    fold = cm.Fold(cm.stat.Tilt(u, "v", betas=[end]), dim=d)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: cm.tilt(x, u, [end], V, **KW), lambda: cm.tilt(x, u, None, V, kl=[0.1], **KW),
        lambda: cm.score(x, u, **KW), lambda: cm.score(x, u, precision="double", **KW),
        lambda: cm.cross_covariance(x, u, V, **KW), lambda: cm.tilted_mean(x, u, [end], **KW),
        lambda: cm.scan(dump, cm.stat.Tilt(u, "v", betas=[end])),
        lambda: fold.absorb(x, IDS, v=V[:, 0]) or fold.finish(),
        lambda: cm.inference.gain_intervals(x, u, None, V, kl=[0.1], **KW),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=r"scores leave float64|too large"):
            call()


# for rows in a unit: numbers in that unit, and the power of ten from which a refusal is right
ROWS: dict[str, tuple[Callable[[np.ndarray, float], Any], int]] = {
    "moments": (lambda x, c: cm.moments(x, **KW).covariance / c / c, 139),
    "variances": (lambda x, c: cm.moments(x, covariance=False, **KW).variances / c / c, 139),
    "score": (lambda x, c: cm.score(x, U, **KW) / c, 33),
    "score in double": (lambda x, c: cm.score(x, U, precision="double", **KW) / c, 400),
    "projection": (lambda x, c: cm.covariance_projection(x, U / c, **KW) / c, 300),
    "tilted_mean": (lambda x, c: cm.tilted_mean(x, U, [1.0 * c], **KW).mean / c, 300),
    "tilt": (lambda x, c: cm.tilt(x, U, None, V, kl=[0.2], **KW).gain, 400),
    "fit": (lambda x, c: cm.fit_value_direction(x, V[:, 0], **KW).vectors * c, 139),
    "fit, logistic": (lambda x, c: cm.fit_value_direction(x, V[:, 0] > 0, method="logistic", alpha=1.0, **KW).vectors
                      * c, 139),
    "fit of pairs": (lambda x, c: cm.fit_preference_direction(x, PAIRS, X[PAIRS[:, 0], 0] > 0, **KW).vectors * c, 139),
    "nonlinear_encoding": (lambda x, c: [getattr(_curved(x, V), a) for a in ("linear", "nonlinear")], 139),
    "learning_curve": (lambda x, c: _curve(x, V[:, 0]).correlation, 63),
    "fit of a judge": (lambda x, c: cm.fit_generation_direction(x, V[:, 0], **KW).vectors * c, 139),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows_in_any_unit(name: str) -> None:
    call, limit = ROWS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        want = call(X.astype(float), 1.0)
        for e in EXPONENTS:
            c = 2.0 ** round(e * np.log2(10))
            try:
                found = call(X.astype(float) * c, c)
            except ValueError as error:
                assert abs(e) > limit and ("rows" in str(error) or "scores" in str(error)), f"1e{e}: {error}"
                continue
            assert abs(e) < limit + 9, f"1e{e}: not refused"
            np.testing.assert_allclose(found, want, atol=1e-4, err_msg=f"1e{e}")


@pytest.mark.parametrize("e", [-307, -200, -150, -40, 40, 150, 200, 306])
def test_weights_in_any_unit(e: int) -> None:
    omega = np.linspace(0.5, 2, N)
    counts = 1.0 + np.arange(N * n) % 4
    for kw in ({"prompt_weights": omega}, {"base": "counts", "counts": counts}):
        scaled = {k: v if k == "base" else v * 10.0**e for k, v in kw.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            want, got = (cm.tilt(X, U, None, V, kl=[0.2], **KW, **k) for k in (kw, scaled))
            moments = [cm.moments(X, **KW, **k).covariance for k in (kw, scaled)]
        for name in ("gain", "gain_se", "kl", "win_rate"):
            np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-6, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(*moments, rtol=1e-6, atol=1e-6)  # of variances just below 1


def test_weights_of_very_different_sizes() -> None:
    """Prompts of no weight beside the others are as good as left out, and no warning is due."""
    omega = np.where(np.arange(N) < N // 2, 1e300, 1e-300)
    some = {"prompt_ids": IDS[: N // 2 * n]}
    got = cm.tilt(X, U, [1.0], V, prompt_weights=omega, **KW)
    want = cm.tilt(X[: N // 2 * n], U, [1.0], V[: N // 2 * n], **some)
    np.testing.assert_allclose(got.gain, want.gain, atol=1e-6)
    logs = np.where(np.arange(N * n) % n < n // 2, 1e308, -1e308)
    half = np.arange(N * n) % n < n // 2
    got = cm.tilt(X, U, [1.0], V, base="logprob", logprobs=logs, **KW)
    want = cm.tilt(X[half], U, [1.0], V[half], base="logprob", logprobs=-logs[half], prompt_ids=IDS[half])  # equal ones
    np.testing.assert_allclose(got.gain, want.gain, atol=1e-6)


@pytest.mark.parametrize("scale", [1e308, 1e-308, 5e-324])
def test_the_last_numbers_end(scale: float) -> None:
    """Differences that leave float64 are no endless loop, in any of the ways of a tilt."""
    for size in (6, 100, 9000):
        v = np.where(np.arange(2 * size) % 2, scale, -scale)
        x = np.linspace(-1, 1, 2 * size)[:, None]
        for precision in ("mixed", "double"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                t = cm.tilt(x, [[1.0]], [1.0], v, prompt_ids=np.arange(2 * size) // size, precision=precision)
            assert np.isfinite(t.gain).all() and np.isfinite(t.win_rate).all()
        scanned = cm.open_dump(x, prompt_ids=np.arange(2 * size) // size, columns={"v": v})
        with pytest.raises(ValueError, match="values: 'v' reaches"):
            cm.scan(scanned, cm.stat.Tilt([[1.0]], "v", betas=[1.0]))


# on finished numbers and in what is left of the public functions: what does not change when the first argument's unit,
# or the one named, is a power of two (numbers of the unit are divided by it)
A, W, M = (np.random.default_rng(k).normal(size=(3, m)) for k, m in ((1, 3), (2, 3), (3, 7)))
S, EIGENVALUES, LEVELS = A @ A.T + np.eye(3), np.array([3.0, 2.0, 1.0, 0.1]), np.array([[1.0, 0.5], [1.0, -0.5]])
theory, inference = cm.theory, cm.inference
OTHERS: dict[str, Callable[[float], list[Any]]] = {
    "score_correlation": lambda c: [theory.score_correlation(W * c, U, S), theory.score_correlation(W, U, S * c)],
    "policy_direction": lambda c: [theory.policy_direction(W[0], W[1] * c, np.array([0.5, 2.0]) * c)],
    "gaussian_tilt": lambda c: [theory.gaussian_tilt(W * c, S, U, 0.5).gain / c],
    "gaussian_tilt of directions": lambda c: _named(theory.gaussian_tilt(W, S, U * c, 0.5 * c), "gain kl"),
    "gaussian_tilt of sigma": lambda c: [theory.gaussian_tilt(W, S * c, U, 0.5).gain / c],
    "quadratic_tilt": lambda c: _named(theory.quadratic_tilt(W[0], 0.5, 0.3, S, U[0] * c, [c]), "gain shift"),
    "generation_judgment_gap": lambda c: _named(
        theory.generation_judgment_gap(W[0] * c, W[1] * c, U[0] * c, S * c), "gap judgment generation cosine_gap"
    ),
    "effective_rank": lambda c: _named(theory.effective_rank(EIGENVALUES * c), "participation entropy stable energy"),
    "value_concentration": lambda c: [theory.value_concentration(U[0] * c, S * c, 1, draws=200).share],
    "worst_direction": lambda c: _named(theory.worst_direction(U[0] * c, S), "direction"),
    "worst_direction's value": lambda c: [
        theory.worst_direction(U[0] * c, S).value / c, theory.worst_direction(U[0], S * c, metric="euclid").value / c
    ],
    "robustness_radius": lambda c: [
        theory.robustness_radius(W * c, U * c, S * c, metric="euclid") / c, theory.robustness_radius(W * c, U, S)
    ],
    "tradeoff_profile": lambda c: [
        theory.tradeoff_profile(W * c, S, U) / c, theory.tradeoff_profile(W, S * c, U) / c
    ],
    "classify": lambda c: [theory.classify(LEVELS * c, se=LEVELS**2 * c / 9) == "tradeoff"],
    "class_probabilities": lambda c: _named(
        theory.class_probabilities(LEVELS / 8 * np.sqrt(c), S[:2, :2] / 99 * c), "improving degrading tradeoff"
    ),
    "optimal_direction": lambda c: [
        theory.optimal_direction(W * c, S, np.ones(3) * c),
        theory.optimal_direction(W, S * c, np.ones(3), metric="euclid"),
    ],
    "scalarise": lambda c: [
        theory.scalarise(LEVELS * c, LEVELS * c, kind=kind).value / c for kind in ("weighted", "worst_case")
    ],
    "pareto_fraction": lambda c: [theory.pareto_fraction(W @ W.T * c)],
    "value_angles": lambda c: [theory.value_angles(W * c, S), theory.value_angles(W, S * c)],
    "shift_rank": lambda c: [_shift(c).length / c, _shift(c).uncentred.participation, _shift(c).participation_se,
                             _shift(c).participation_unbiased, _shift(c).singular_values / c, _shift(c).mean_share],
    "randomised_spectrum": lambda c: [_spectrum(c).eigenvalues / c, _spectrum(c).participation],
    "iterate": lambda c: [theory.iterate(X, U, 1.0, V * c, **KW).gain / c],
    "ceiling_by_layer": lambda c: [theory.ceiling_by_layer({"l": _dump(V * c)}, ["a"], kl=[0.2]).ceiling / c],
    "generation_share": lambda c: [theory.generation_share(_dump(V * c), ["a", "b"], -np.abs(V[:, 0])).cosine],
    "judge_drift": lambda c: [theory.judge_drift([_judge_and(V * c)] * 2, "judge/x", ["a"]).gain / c],
    "cone": lambda c: [lp.cone(M * c).weights, lp.cone(M * c).value / c],
    "gram_cone": lambda c: _named(lp.gram_cone((W @ S @ W.T)[None] * c), "weights half_angle"),
    "ensemble": lambda c: [lp.ensemble(M * c).weights, lp.ensemble(M * c).value / c],
    "constrained": lambda c: [lp.constrained(M * c, M[0] * c, [-c] * 3).weights],
    "game": lambda c: [lp.ensemble(lp.game(X, U, V * c, **KW)).weights],
    "pareto_front": lambda c: [lp.pareto_front(SCORED[:20] * c)],
    "prompt": lambda c: [lp.prompt(V * c, ratio_cap=2.0, **KW).margin, lp.prompt(V * c, kl=0.1, **KW).margin],
    "recommend": lambda c: [
        inference.recommend(_judge_and(V * c), ["judge/x"], ["a"], kl=[0.2], splits=5).interval / c
    ],
    "compare": lambda c: _named(cm.compare(_dump(V * c), _dump(V * c), ["a"]), "quality_a own transfer"),
    "examples": lambda c: [cm.examples(_judge_and(V * c), "judge/x", n=2).ratio],
    "pareto_cone": lambda c: _named(cm.pareto_cone(W * c, S), "feasible fraction half_angle"),
    "Fold": lambda c: [_merged(V[:, 0] * c).gain / c],
    "CovarianceProjection": lambda c: [cm.scan(_rows(c), cm.stat.CovarianceProjection(U / c))[0] / c],
    "Moments": lambda c: [cm.scan(_rows(c), cm.stat.Moments())[0].covariance / c / c],
    "Scores": lambda c: [cm.scan(_rows(c), cm.stat.Scores(U), precision="double")[0] / c],
    "Scores in float32": lambda c: [cm.scan(_rows(c), cm.stat.Scores(U))[0].astype(float) / c],
    "Pairs PairLoss": lambda c: [cm.scan(_rows(c), cm.stat.Pairs(U / c, pairs=PAIRS, prob=np.full(N, 0.7)))[0].loss],
}  # fmt: skip
ELSEWHERE = {
    "capture", "judge", "simulate", "write_dump", "DumpWriter", "Dump", "open_dump", "Directions",  # no arithmetic
    "CheckFailed", "DumpChangedError", "DumpError", "Statistic", "toy_example", "pooled_versus_within",
    "expected_max_normal", "wendel_probability", "orthonormal_alpha", "holm", "benjamini_hochberg", "Adjust",
    "drifting_projection",  # no unit
    "solve", "Game", "to_arviz",  # what HiGHS and ArviZ make of numbers is theirs
}  # fmt: skip


def _named(found: Any, names: str) -> list[Any]:
    return [getattr(found, name) for name in names.split()]


def _shift(c: float) -> Any:
    return theory.shift_rank(X[:50].astype(float) * c + c, X[50:100].astype(float) * c)


def _merged(v: np.ndarray) -> Any:
    halves = [cm.Fold(cm.stat.Tilt(U, "v", betas=[1.0]), dim=d) for _ in range(2)]
    for fold, part in zip(halves, (slice(0, 120), slice(120, None)), strict=True):
        fold.absorb(X[part], IDS[part], v=v[part])
    return cm.merge(*halves)


def _spectrum(c: float) -> Any:
    return theory.randomised_spectrum(lambda u: u @ S * c, 2, trace=float(np.trace(S)) * c, dim=3)


def _rows(c: float) -> cm.Dump:
    return cm.open_dump(X.astype(float) * c, **KW)


def _judge_and(v: np.ndarray) -> cm.Dump:
    return cm.open_dump(X, columns={"a": v[:, 0], "judge/x": X[:, 0] + X[:, 1]}, **KW)


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_function_in_any_unit(name: str) -> None:
    kept = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        want = OTHERS[name](1.0)
        for e in EXPONENTS:
            try:
                found = OTHERS[name](2.0 ** (2 * round(e / 2 * np.log2(10))))
            except ValueError as error:
                assert abs(e) > 33 and any(w in str(error) for w in ("values", "scores", "rows", "squares")), error
                continue
            kept += 1
            for a, b in zip(found, want, strict=True):
                scale = np.nanmax(np.abs(np.asarray(b, float)), initial=1e-12)
                np.testing.assert_allclose(np.asarray(a) / scale, np.asarray(b) / scale, atol=3e-5, err_msg=f"1e{e}")
    assert kept >= 4


def test_no_public_function_is_left_out() -> None:
    tried = {word for table in (VALUES, SCORES, POWERS, ROWS, OTHERS) for name in table for word in name.split()}
    tried |= set(re.findall(r"(?:cm|theory|lp|inference|stat)\.(\w+)", Path(__file__).read_text()))
    for room in (cm, cm.theory, lp, cm.inference, cm.stat):
        for name in room.__all__:
            made = getattr(room, name)
            result = isinstance(made, type) and issubclass(made, Result)
            assert name in tried | ELSEWHERE or result or not callable(made), f"{room.__name__}.{name}"
