"""The cone of improving directions: theorems, certificates checked in rational arithmetic, exact ties."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinometer.lp.pareto_cone import ConeResult, pareto_cone
from clinometer.theory import hull, tradeoff_profile

SEED = 20240518


def products(rows: np.ndarray, direction: np.ndarray) -> list[Fraction]:
    """Inner products without rounding, by a route of their own."""
    vector = [Fraction(float(x)) for x in direction]
    return [sum((Fraction(float(a)) * v for a, v in zip(row, vector, strict=True)), Fraction(0)) for row in rows]


def check(rows: np.ndarray, cone: ConeResult) -> None:
    """What every answer about rows with Sigma = I must satisfy."""
    rows = np.asarray(rows, dtype=float)
    assert cone.weights.shape == (rows.shape[0],) and (cone.weights >= 0).all()
    assert cone.weights.sum() == pytest.approx(1.0)
    if cone.feasible is True:
        assert cone.direction is not None and cone.certificate is None and cone.margin > 0
        assert min(products(rows, cone.direction)) > 0
        assert np.linalg.norm(cone.direction) == pytest.approx(1.0)
        assert cone.half_angle == np.arcsin(cone.margin)
    elif cone.feasible is False:
        assert cone.direction is None and (cone.margin, cone.fraction, cone.half_angle) == (0.0, 0.0, 0.0)
        mu = [Fraction(float(x)) for x in cone.certificate]
        assert min(mu) >= 0 and max(mu) > 0
        total = products(rows.T, cone.certificate)
        size = sum(
            (m * max(abs(Fraction(float(a))) for a in row) for m, row in zip(mu, rows, strict=True)),
            Fraction(0),
        )
        # The largest entry of a row stands for its length: smaller, so a stricter test, without a root.
        assert max(abs(x) for x in total) <= Fraction(1, 10**13) * size


def check_optimal(rows: np.ndarray, cone: ConeResult) -> None:
    """KKT of the min-norm point: R lambda >= m^2, with equality on the support."""
    units = hull.unit_rows(rows)
    pull = units @ units.T @ cone.weights
    np.testing.assert_array_less(cone.margin**2 * (1 - 1e-7) - 1e-13, pull)
    np.testing.assert_allclose(pull[cone.weights > 1e-9], cone.margin**2, rtol=1e-6, atol=1e-13)
    assert np.sqrt(cone.weights @ pull) == pytest.approx(cone.margin, rel=1e-6)


# ---- closed forms


@pytest.mark.parametrize("theta", [0.0, 0.1, 1.0, np.pi / 2, 2.0, 3.0, np.pi - 1e-4, np.pi - 1e-9])
@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_two_values_margin_is_the_cosine_of_half_the_angle(theta: float, scale: float) -> None:
    rows = np.array([[1.0, 0.0], [scale * np.cos(theta), scale * np.sin(theta)]])
    cone = pareto_cone(rows)
    assert cone.feasible is True
    # sin of the half-gap, written so that the expectation does not cancel near pi.
    assert cone.margin == pytest.approx(np.sin((np.pi - theta) / 2.0), rel=1e-6)
    assert cone.fraction == pytest.approx((np.pi - theta) / (2.0 * np.pi), rel=1e-6)
    check(rows, cone)


@pytest.mark.parametrize("k", [1, 3, 7, 17, 33, 64])
def test_orthogonal_values(k: int) -> None:
    cone = pareto_cone(np.eye(k))
    assert cone.feasible is True and cone.margin == pytest.approx(1.0 / np.sqrt(k))
    np.testing.assert_allclose(cone.weights, 1.0 / k)
    assert cone.fraction == pytest.approx(0.5**k, rel=1e-6)


@pytest.mark.parametrize("k", [3, 5, 15])
def test_equicorrelated_values(k: int) -> None:
    gram = 0.5 * np.eye(k) + 0.5
    cone = pareto_cone(np.linalg.cholesky(gram))
    assert cone.margin == pytest.approx(np.sqrt((1.0 + 0.5 * (k - 1)) / k))
    assert cone.fraction == pytest.approx(1.0 / (k + 1), rel=2e-3)


# ---- random cones


@pytest.mark.parametrize(("k", "d"), [(4, 2), (6, 3), (8, 4), (9, 5)])
def test_wendel(k: int, d: int) -> None:
    rng = np.random.default_rng(SEED + k)
    trials = 120
    cones = [pareto_cone(rng.standard_normal((k, d))) for _ in range(trials)]
    assert all(cone.feasible is not None for cone in cones)
    share = np.mean([cone.feasible is True for cone in cones])
    want = 2.0 ** (1 - k) * sum(comb(k - 1, i) for i in range(d))
    assert share == pytest.approx(want, abs=4.5 * np.sqrt(want * (1 - want) / trials))


@pytest.mark.parametrize(("k", "d"), [(1, 1), (2, 3), (3, 3), (7, 15), (17, 17), (33, 64), (64, 64), (64, 200)])
def test_independent_values_always_leave_a_cone(k: int, d: int) -> None:
    rng = np.random.default_rng(SEED + k + d)
    for _ in range(3 if k < 30 else 1):
        rows = rng.standard_normal((k, d))
        cone = pareto_cone(rows)
        assert cone.feasible is True
        check(rows, cone)
        check_optimal(rows, cone)


@pytest.mark.parametrize(("k", "d"), [(3, 2), (5, 3), (8, 4), (8, 8), (16, 8), (33, 17)])
def test_sign_agrees_with_the_linear_program(k: int, d: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(SEED + k * d)
    for _ in range(20):
        rows = rng.standard_normal((k, d))
        units = rows / np.linalg.norm(rows, axis=1)[:, None]
        box = [(-1, 1)] * d + [(None, None)]
        lp = optimize.linprog(np.r_[np.zeros(d), -1.0], np.c_[-units, np.ones(k)], np.zeros(k), bounds=box)
        if abs(lp.fun) > 1e-6:
            assert pareto_cone(rows).feasible is bool(-lp.fun > 0)
        cone = pareto_cone(rows)
        check(rows, cone)
        if cone.feasible:
            check_optimal(rows, cone)


@pytest.mark.parametrize(("k", "d"), [(3, 10), (5, 3), (17, 40), (40, 12), (64, 80)])
def test_planted_dependence_is_found_and_certified(k: int, d: int) -> None:
    rng = np.random.default_rng(SEED + k)
    for _ in range(5):
        rows = rng.standard_normal((k, d)) * 10.0 ** rng.uniform(-6, 6, (k, 1))
        rows[-1] = -(rng.uniform(0.1, 1.0, k - 1) / np.linalg.norm(rows[:-1], axis=1)) @ rows[:-1]
        cone = pareto_cone(rows)
        assert cone.feasible is False
        check(rows, cone)


def test_margin_is_the_best_worst_case_over_random_directions() -> None:
    rng = np.random.default_rng(SEED)
    rows = rng.standard_normal((3, 4))
    cone = pareto_cone(rows)
    others = rng.standard_normal((200_000, 4))
    others /= np.linalg.norm(others, axis=1)[:, None]
    best = (others @ hull.unit_rows(rows).T).min(axis=1).max()
    assert best <= cone.margin <= best + 0.05
    share = (others @ rows.T > 0).all(axis=1).mean()
    assert cone.fraction == pytest.approx(share, abs=0.005)


# ---- sharp decisions


@pytest.mark.parametrize("e", [1e-1, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14, 1e-16, 1e-30, 1e-300])
def test_nearly_opposite_rows_are_open(e: float) -> None:
    rows = np.array([[1.0, 0.0], [-1.0, e]])
    cone = pareto_cone(rows)
    assert cone.feasible is True
    assert cone.margin == pytest.approx(np.sin(np.arctan(e) / 2.0) if e > 1e-6 else e / 2.0, rel=1e-9)
    check(rows, cone)
    # In more dimensions too, where rows are reduced first.
    wide = np.zeros((2, 9))
    wide[:, [3, 7]] = rows
    check(wide, pareto_cone(wide))
    if e >= 1e-12:
        assert pareto_cone(wide).feasible is True


@pytest.mark.parametrize("e", [1e-9, 1e-12, 1e-13])
def test_a_thin_margin_in_general_position(e: float) -> None:
    rng = np.random.default_rng(SEED)
    for k, d in [(3, 3), (5, 12), (9, 9)]:
        frame = np.linalg.qr(rng.standard_normal((d, d)))[0]
        rows = rng.standard_normal((k, k - 1))
        rows[-1] = -rng.uniform(0.5, 1.0, k - 1) @ rows[:-1]
        rows = hull.unit_rows(rows) @ frame[:, : k - 1].T + e * frame[:, k - 1]
        cone = pareto_cone(rows)
        assert cone.feasible is True and cone.margin == pytest.approx(e, rel=0.05)
        check(rows, cone)


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2, 3], [-1, -2, -3]],
        [[1, 0], [0, 1], [-1, -1]],
        [[3, 1], [-1, 3], [-3, -1], [1, -3]],
        [[1, 1, 0], [1, 0, 1], [0, 1, 1], [-2, -2, -2], [5, 5, 5]],
        [[0.1, 0.2], [-0.1, -0.2], [1.0, 0.0]],
        [[1e150, 0], [-1e-150, 0]],
    ],
)
def test_exact_ties_are_empty(rows: list[list[float]]) -> None:
    cone = pareto_cone(rows)
    assert cone.feasible is False
    check(np.array(rows, dtype=float), cone)


def test_proposition_19_needs_sigma_times_the_directions() -> None:
    values = np.array([[1.0, 1.0], [-1.0, 1.0]])
    assert pareto_cone(values).feasible is True
    for metric in ("kl", "euclid"):
        assert pareto_cone(values, np.diag([1.0, 0.0]), metric=metric).feasible is False
    # The same world in other coordinates, where Sigma is dense.
    turn = np.linalg.qr(np.random.default_rng(SEED).standard_normal((2, 2)))[0]
    sigma = turn @ np.diag([1.0, 0.0]) @ turn.T
    assert pareto_cone(values @ turn.T, sigma).feasible is False


def test_zero_duplicate_and_null_rows() -> None:
    zero = pareto_cone([[1.0, 0.0], [0.0, 0.0]])
    assert zero.feasible is False and zero.certificate is not None
    np.testing.assert_array_equal(zero.certificate, [0.0, 1.0])
    twice = pareto_cone([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    assert twice.feasible is True and twice.margin == pytest.approx(np.sqrt(0.5))
    assert twice.fraction == pytest.approx(0.25, rel=1e-3)
    same = pareto_cone(np.ones((64, 5)))
    assert same.feasible is True and same.margin == pytest.approx(1.0)
    # A direction in the null space of a dense Sigma: its row is rounding, and counts as zero.
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]
    sigma = (q * [3.0, 2.0, 1.0, 1.0, 0.5, 0.0]) @ q.T
    assert pareto_cone(np.stack([q[:, 0], q[:, 5]]), sigma).feasible is False


def test_single_value() -> None:
    for sigma in (None, np.diag([4.0, 1.0, 1.0])):
        cone = pareto_cone([3.0, 0.0, 0.0], sigma)
        assert cone.feasible is True and cone.margin == 1.0 and cone.fraction == 0.5
        assert cone.half_angle == pytest.approx(np.pi / 2)
    assert pareto_cone([0.0]).feasible is False


# ---- metrics and Sigma


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
@pytest.mark.parametrize("metric", ["kl", "euclid"])
def test_direction_improves_every_value_under_sigma(metric: str, scale: float) -> None:
    rng = np.random.default_rng(SEED)
    root = rng.standard_normal((7, 7))
    sigma, values = scale * (root @ root.T), rng.standard_normal((4, 7))
    cone = pareto_cone(values, SimpleNamespace(covariance=sigma), metric=metric)
    assert cone.feasible is True and cone.direction is not None
    profile = tradeoff_profile(values, sigma, cone.direction)[0]
    assert (profile > 0).all()
    form = sigma if metric == "kl" else np.eye(7)
    assert cone.direction @ form @ cone.direction == pytest.approx(1.0)
    rows = values @ sigma / scale
    gram = values @ rows.T if metric == "kl" else rows @ rows.T
    worst = profile / np.sqrt(np.diagonal(gram)) / (np.sqrt(scale) if metric == "kl" else scale)
    assert worst.min() == pytest.approx(cone.margin, rel=1e-6)
    from_gram = pareto_cone(gram=gram)
    assert from_gram.feasible is True and from_gram.margin == pytest.approx(cone.margin, rel=1e-6)
    assert from_gram.fraction == pytest.approx(cone.fraction, rel=1e-6)
    np.testing.assert_allclose(from_gram.weights, cone.weights, atol=1e-6)


def test_kl_margin_does_not_change_under_a_linear_map() -> None:
    rng = np.random.default_rng(SEED)
    root, a = rng.standard_normal((5, 5)), rng.standard_normal((5, 5)) + 2 * np.eye(5)
    sigma, values = root @ root.T, rng.standard_normal((4, 5))
    before = pareto_cone(values, sigma)
    after = pareto_cone(values @ np.linalg.inv(a), a @ sigma @ a.T)
    assert after.margin == pytest.approx(before.margin, rel=1e-6)
    np.testing.assert_allclose(after.weights, before.weights, atol=1e-6)


def test_row_scaling_and_order_change_nothing() -> None:
    rng = np.random.default_rng(SEED)
    rows = rng.standard_normal((6, 6))
    cone, order = pareto_cone(rows), rng.permutation(6)
    moved = pareto_cone((rows * 10.0 ** rng.uniform(-100, 100, (6, 1)))[order])
    assert moved.feasible is cone.feasible and moved.margin == pytest.approx(cone.margin)
    np.testing.assert_allclose(moved.weights, cone.weights[order], atol=1e-9)


# ---- Grams, dumps, results


def test_gram_below_its_resolution_is_undecided() -> None:
    for e in (0.0, 1e-12, 1e-9):
        rows = np.array([[1.0, 0.0], [-1.0, e]])
        cone = pareto_cone(gram=rows @ rows.T)
        assert cone.feasible is None and cone.direction is None and np.isnan(cone.fraction)
    rows = np.array([[1.0, 0.0], [-1.0, 1e-6]])
    assert pareto_cone(gram=rows @ rows.T).feasible is True
    assert pareto_cone(gram=[[1.0, 0.0], [0.0, 0.0]]).feasible is False
    with pytest.raises(ValueError, match="negative eigenvalue"):
        pareto_cone(gram=[[1.0, 3.0], [3.0, 1.0]])


@pytest.mark.parametrize("metric", ["kl", "euclid"])
def test_dump_gives_the_answer_of_its_moments(metric: str) -> None:
    rng = np.random.default_rng(SEED)
    ids = rng.integers(0, 12, 80)
    phi = rng.standard_normal((80, 5)) + 1e3 * rng.standard_normal((12, 1))[ids]
    dump = SimpleNamespace(n_rows=80, prompt_ids=ids, read=lambda a, b: phi[a:b])
    prompts = np.unique(ids)
    sigma = np.mean(
        [np.cov(phi[ids == p].T, ddof=0) if (ids == p).sum() > 1 else np.zeros((5, 5)) for p in prompts],
        axis=0,
    )
    values = rng.standard_normal((3, 5))
    got, want = pareto_cone(values, dump, metric=metric), pareto_cone(values, sigma, metric=metric)
    assert got.feasible is want.feasible is True
    assert got.margin == pytest.approx(want.margin, rel=1e-6)
    np.testing.assert_allclose(got.direction, want.direction, rtol=1e-5, atol=1e-7)


def test_result_is_frozen_and_exports() -> None:
    cone = pareto_cone(np.eye(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        cone.margin = 2.0  # type: ignore[misc]
    assert set(cone.to_dict()) == {f.name for f in dataclasses.fields(ConeResult)}
    assert "feasible" in repr(cone)


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match="values holds a NaN"):
        pareto_cone([[np.nan, 1.0]])
    with pytest.raises(ValueError, match="values has no rows"):
        pareto_cone(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="metric is 'cosine'"):
        pareto_cone(np.eye(2), metric="cosine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gram comes with"):
        pareto_cone(np.eye(2), gram=np.eye(2))
    with pytest.raises(TypeError, match="values is None"):
        pareto_cone()
    with pytest.raises(ValueError, match="sigma is 3 x 3; wanted 2 x 2"):
        pareto_cone(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="negative eigenvalue"):
        pareto_cone(np.eye(2), np.diag([1.0, -1.0]))


small = st.integers(-3, 3)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3).flatmap(lambda d: st.lists(st.lists(small, min_size=d, max_size=d), min_size=1, max_size=6)))
def test_small_integers_are_always_decided_with_a_proof(rows: list[list[int]]) -> None:
    table = np.array(rows, dtype=float)
    cone = pareto_cone(table)
    assert cone.feasible is not None
    check(table, cone)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300)), min_size=1, max_size=12))
def test_exact_dot_is_exact(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(column) for column in zip(*pairs, strict=True))
    assert hull.exact_dot(a, b) == sum((Fraction(x) * Fraction(y) for x, y in pairs), Fraction(0))
