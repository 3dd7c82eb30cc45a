"""cm.lp.cone and gram_cone: against HiGHS, rational arithmetic and theorems; batches, order, NaN, extremes."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

import clinometer as cm
from clinometer import lp, reference
from clinometer.theory import hull

optimize = pytest.importorskip("scipy.optimize")
SEED = 11


def by_highs(a: np.ndarray) -> float:
    k, d = a.shape
    box = [(-1, 1)] * d + [(None, None)]
    return -optimize.linprog(np.r_[np.zeros(d), -1.0], np.c_[-a, np.ones(k)], np.zeros(k), bounds=box).fun


def exact_product(row: np.ndarray, vector: np.ndarray) -> Fraction:
    return sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(row, vector, strict=True)), Fraction(0))


def check(a: np.ndarray, found: lp.LPResult) -> None:
    """The witnesses prove what they claim, in rational arithmetic."""
    assert np.abs(found.weights).max() <= 1
    assert (found.dual >= 0).all() and found.dual.sum() == pytest.approx(1.0)
    products = [exact_product(row, found.weights) for row in a]
    assert min(products) >= Fraction(found.lower)
    mu = [Fraction(float(x)) for x in found.dual]
    total = sum((abs(exact_product(column, found.dual)) for column in a.T), Fraction(0)) / sum(mu)
    assert total <= Fraction(found.upper) + Fraction(float(np.abs(a).sum())) / 2**50
    if found.status == "improvable":
        assert min(products) > 0 and found.lower > 0
    elif found.status == "blocked":
        assert found.lower == found.upper == found.value == 0
    assert found.lower <= found.upper


@pytest.mark.parametrize(
    ("k", "d"), [(1, 1), (1, 3), (2, 2), (3, 3), (3, 17), (5, 3), (7, 15), (8, 4), (17, 17), (33, 20), (64, 64)]
)
def test_value_is_that_of_highs(k: int, d: int) -> None:
    rng = np.random.default_rng(SEED + k + d)
    problems = rng.standard_normal((7 if k < 30 else 3, k, d))
    found = lp.cone(problems, n_threads=1)
    for p, a in enumerate(problems):
        want = by_highs(a)
        assert found.value[p] == pytest.approx(want, abs=1e-9)
        assert found.upper[p] - found.lower[p] <= 1e-9 * found.upper[p] + 1e-15
        check(a, lp.cone(a))


def test_small_integer_games_are_decided_as_rational_arithmetic_does() -> None:
    rng = np.random.default_rng(SEED)
    for k, d in [(2, 2), (3, 2), (4, 3), (3, 4), (5, 2)]:
        problems = rng.integers(-3, 4, (30, k, d)).astype(float)
        found = lp.cone(problems)
        for p, a in enumerate(problems):
            exact = reference.cone_value(a)
            assert found.status[p] == ("improvable" if exact > 0 else "blocked")
            assert Fraction(found.lower[p]) <= exact <= Fraction(found.upper[p])
            assert found.value[p] == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("e", [1e-1, 1e-6, 1e-9, 1e-12, 1.1e-13, 1e-16])
def test_margins_far_below_a_solvers_tolerance(e: float) -> None:
    found = lp.cone([[1.0, 0.0], [-1.0, e]])
    assert found.status == "improvable"
    assert found.value == pytest.approx(e / 2, rel=1e-3)
    rng = np.random.default_rng(SEED)
    a = rng.integers(-9, 10, (50, 6, 7)).astype(float)
    a[:, :, 6] = 0
    a[:, -1] = -np.einsum("pk,pkd->pd", rng.integers(1, 6, (50, 5)), a[:, :-1])
    assert set(lp.cone(a).status) == {"blocked"}
    a[:, :, 6] = e
    opened = lp.cone(a)
    if e > 1e-13:
        assert set(opened.status) == {"improvable"}
    assert not (opened.status == "blocked").any()


def test_wendel_and_certificates_of_closed_cones() -> None:
    rng = np.random.default_rng(SEED)
    for k, d in [(6, 3), (8, 4)]:
        found = lp.cone(rng.standard_normal((4000, k, d)))
        assert not (found.status == "undecided").any()
        want = 2.0 ** (1 - k) * sum(comb(k - 1, i) for i in range(d))
        assert (found.status == "improvable").mean() == pytest.approx(want, abs=4.5 * np.sqrt(want / 4000))


def test_order_threads_and_neighbours_change_no_bit() -> None:
    rng = np.random.default_rng(SEED)
    problems = rng.standard_normal((203, 5, 6))
    whole = lp.cone(problems, n_threads=1)
    order = rng.permutation(203)
    moved = lp.cone(problems[order], n_threads=2)
    for name in ("lower", "upper", "weights", "dual"):
        np.testing.assert_array_equal(getattr(whole, name)[order], getattr(moved, name))
    alone = [lp.cone(a) for a in problems[:9]]
    np.testing.assert_array_equal([r.weights for r in alone], whole.weights[:9])
    problems[[3, 100], 2, 1] = np.nan, np.inf
    holed = lp.cone(problems)
    assert (np.flatnonzero(holed.status == "invalid") == [3, 100]).all()
    assert np.isnan(holed.value[[3, 100]]).all() and np.isnan(holed.weights[3]).all()
    kept = np.delete(np.arange(203), [3, 100])
    np.testing.assert_array_equal(holed.weights[kept], whole.weights[kept])


def test_row_lengths_do_not_change_the_sign() -> None:
    rng = np.random.default_rng(SEED)
    problems = rng.standard_normal((60, 6, 4))
    want = lp.cone(problems).status
    for low, high in [(-12, 12), (-200, 200), (-300, 300)]:
        scaled = problems * 10.0 ** rng.uniform(low, high, (60, 6, 1))
        found = lp.cone(scaled)
        assert (found.status == want).all()
        for a, v in zip(scaled[want == "improvable"][:8], found.weights[want == "improvable"], strict=False):
            assert min(exact_product(row, v) for row in a) > 0
    assert (lp.cone(np.ldexp(problems, 900)).status == want).all()
    assert (lp.cone(np.ldexp(problems, -1000)).status == want).all()


def test_degenerate_rows() -> None:
    zero = lp.cone([[1.0, 2.0], [0.0, 0.0]])
    assert zero.status == "blocked" and zero.dual.tolist() == [0.0, 1.0]
    same = lp.cone(np.ones((9, 3)))
    assert same.status == "improvable" and same.value == pytest.approx(3.0)
    hadamard = np.array([[1]])
    for _ in range(4):
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    check(hadamard.astype(float), lp.cone(hadamard))
    assert lp.cone(np.vstack([hadamard, -hadamard.sum(axis=0, keepdims=True)])).status == "blocked"
    assert lp.cone(np.zeros((0, 3, 2))).value.shape == (0,)
    assert lp.cone([[5.0]]).value == pytest.approx(5.0) and lp.cone([[-5.0]]).weights.tolist() == [-1.0]


@pytest.mark.parametrize(("k", "d"), [(1, 2), (2, 3), (3, 3), (7, 9), (16, 16), (33, 40), (64, 80)])
def test_gram_margin_is_that_of_the_rows(k: int, d: int) -> None:
    rng = np.random.default_rng(SEED + k)
    rows = rng.standard_normal((20, k, d)) * 10.0 ** rng.uniform(-3, 3, (20, k, 1))
    found = lp.gram_cone(rows @ rows.swapaxes(1, 2))
    for p, a in enumerate(rows):
        want = hull.smallest_point(hull.unit_rows(a))
        assert found.status[p] == "improvable"
        assert found.margin[p] == pytest.approx(want.margin, rel=1e-6)
        np.testing.assert_allclose(found.weights[p], want.weights, atol=1e-6)
        assert found.half_angle[p] == np.arcsin(found.margin[p])
        assert found.lower[p] <= want.margin * (1 + 1e-7) and want.margin <= found.upper[p] * (1 + 1e-7)


def test_two_rows_have_a_closed_form() -> None:
    angle = np.linspace(0.01, np.pi - 0.01, 501)
    grams = np.ones((501, 2, 2))
    grams[:, 0, 1] = grams[:, 1, 0] = np.cos(angle)
    np.testing.assert_allclose(lp.gram_cone(grams).margin, np.cos(angle / 2), rtol=1e-10)


def test_gram_is_undecided_below_its_resolution_and_never_wrong() -> None:
    for e, status in [(0.0, "undecided"), (1e-12, "undecided"), (1e-9, "undecided"), (1e-6, "improvable")]:
        rows = np.array([[1.0, 0.0], [-1.0, e]])
        assert lp.gram_cone(rows @ rows.T).status == status
        assert lp.cone(rows).status == ("improvable" if e else "blocked")
    rng = np.random.default_rng(SEED)
    rows = rng.standard_normal((2000, 7, 4))
    sharp, coarse = lp.cone(rows).status, lp.gram_cone(rows @ rows.swapaxes(1, 2)).status
    assert set(coarse[sharp == "blocked"]) == {"undecided"}
    assert (coarse[sharp == "improvable"] == "improvable").mean() > 0.99
    assert lp.gram_cone([[1.0, 0.0], [0.0, 0.0]]).status == "blocked"


def test_gram_batches_keep_their_bits_and_their_invalid() -> None:
    rng = np.random.default_rng(SEED)
    rows = rng.standard_normal((101, 5, 8))
    grams = rows @ rows.swapaxes(1, 2)
    whole, order = lp.gram_cone(grams, n_threads=1), rng.permutation(101)
    moved = lp.gram_cone(grams[order], n_threads=2)
    np.testing.assert_array_equal(whole.weights[order], moved.weights)
    np.testing.assert_array_equal(lp.gram_cone(grams[7]).weights, whole.weights[7])
    grams[4, 1, 1], grams[9, 2, 0], grams[11, 0, 0] = np.nan, 1e9, -1.0
    holed = lp.gram_cone(grams)
    assert np.flatnonzero(holed.status == "invalid").tolist() == [4, 9, 11]
    kept = np.delete(np.arange(101), [4, 9, 11])
    np.testing.assert_array_equal(holed.margin[kept], whole.margin[kept])


def test_agrees_with_pareto_cone() -> None:
    rng = np.random.default_rng(SEED)
    for k, d in [(3, 2), (4, 6), (6, 3)]:
        for a in rng.standard_normal((10, k, d)):
            assert (lp.cone(a).status == "improvable") is cm.pareto_cone(a).feasible


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lp.cone([1.0, 2.0]), ValueError, r"a has shape \(2,\)"),
        (lambda: lp.cone(np.zeros((2, 0))), ValueError, "at least one row and one column"),
        (lambda: lp.cone([[1.0, np.nan]]), ValueError, r"a holds nan at \[0, 1\]"),
        (lambda: lp.cone([["x"]]), TypeError, "a has dtype"),
        (lambda: lp.cone(np.eye(2), n_threads=0), ValueError, "n_threads"),
        (lambda: lp.gram_cone(np.zeros((2, 3))), ValueError, "square"),
        (lambda: lp.gram_cone([[1.0, 3.0], [3.0, 1.0]]), ValueError, "not a Gram"),
    ],
)
def test_errors_name_the_argument(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]
