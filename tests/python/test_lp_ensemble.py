"""cm.lp.ensemble and constrained: HiGHS, rational arithmetic, duality, floors missed by a hair, families that hurt."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from clinometer import lp, reference

optimize = pytest.importorskip("scipy.optimize")
SEED = 5


def by_highs(m: np.ndarray) -> float:
    k, n = m.shape
    found = optimize.linprog(
        np.r_[np.zeros(n), -1.0], np.c_[-m, np.ones(k)], np.zeros(k), np.r_[np.ones(n), 0.0][None], [1.0],
        [(0, None)] * n + [(None, None)],
    )  # fmt: skip
    return -found.fun


def rational(vector: np.ndarray) -> list[Fraction]:
    return [Fraction(float(x)) for x in vector]


def check(m: np.ndarray, found: lp.LPResult) -> None:
    """Bounds hold in rational arithmetic, up to weights that miss the simplex by rounding."""
    w, y = rational(found.weights), rational(found.dual)
    assert min(w) >= 0 and min(y) >= 0
    assert float(sum(w)) == pytest.approx(1.0) and float(sum(y)) == pytest.approx(1.0)
    used = np.flatnonzero(found.weights)
    low = min(sum((w[i] * Fraction(float(row[i])) for i in used), Fraction(0)) for row in m) / sum(w)
    prices = found.dual @ m
    near = np.flatnonzero(prices >= prices.max() - 1e-12 * np.abs(m).max())
    high = max(sum((y[j] * Fraction(float(m[j, i])) for j in range(len(m))), Fraction(0)) for i in near) / sum(y)
    slack = Fraction(1, 2**49) * Fraction(float(np.abs(m).max()))
    assert Fraction(found.lower) <= low + slack and high <= Fraction(found.upper) + slack
    if found.status == "improvable":
        assert low > 0
    elif found.status == "blocked" and found.upper < 0:
        assert high <= 0


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 9), (4, 1), (2, 2), (3, 4), (7, 33), (4, 300), (8, 5000), (17, 900)])
def test_value_is_that_of_highs(k: int, n: int) -> None:
    rng = np.random.default_rng(SEED + k + n)
    for shift in (0.0, -3.0):
        m = rng.standard_normal((k, n)) + shift
        found = lp.ensemble(m)
        assert found.value == pytest.approx(by_highs(m), abs=1e-9)
        assert found.upper - found.lower <= max(1e-9 * abs(found.value), 1e-15 * np.abs(m).max())
        assert np.count_nonzero(found.weights) <= k
        check(m, found)


def test_integer_games_are_decided_as_rational_arithmetic_does() -> None:
    rng = np.random.default_rng(SEED)
    seen = set()
    for _ in range(150):
        k, n = rng.integers(1, 5), rng.integers(1, 7)
        m = rng.integers(-3, 4, (k, n)).astype(float)
        exact, found = reference.game_value(m), lp.ensemble(m)
        assert found.status == ("improvable" if exact > 0 else "blocked")
        assert found.value == pytest.approx(float(exact), abs=1e-14)
        seen.add((found.status, exact == 0))
    assert ("blocked", True) in seen and ("improvable", False) in seen


@pytest.mark.parametrize("family", ["sphere", "near zero", "cauchy", "row scales", "low rank"])
@pytest.mark.parametrize("k", [4, 16])
def test_gap_is_closed_on_families_that_hurt(family: str, k: int) -> None:
    rng = np.random.default_rng(SEED)
    n = 30_000
    m = rng.standard_cauchy((k, n)) if family == "cauchy" else rng.standard_normal((k, n))
    if family == "sphere":
        m /= np.linalg.norm(m, axis=0)
    elif family == "near zero":
        m += 1e-3 * rng.standard_normal((k, n)) - m.mean(axis=0)
    elif family == "row scales":
        m *= 10.0 ** rng.uniform(0, 4, (k, 1))
    elif family == "low rank":
        m = rng.standard_normal((k, 2)) @ m[:2] + 1e-7 * rng.standard_normal((k, n))
    found = lp.ensemble(m)
    assert found.upper - found.lower <= max(1e-9 * abs(found.value), 2e-15 * np.abs(m).max())
    assert found.status == "improvable" and found.n_passes <= 10
    check(m, found)


@pytest.mark.parametrize("e", [1e-2, 1e-9, 1e-12, 1.1e-13])
def test_planted_margins_are_decided(e: float) -> None:
    for sign in (1, -1):
        m = np.array([[2.0, -1.0, -3.0], [-4.0, 2.0, 1.0]]) + sign * e
        # the game of the first two columns has value 0; the third is worse for both rows together
        assert lp.ensemble(m).status == ("improvable" if sign > 0 else "blocked")
        wide = np.repeat(m, 4000, axis=1)
        assert lp.ensemble(wide).status == lp.ensemble(m).status


def test_row_lengths_do_not_change_the_sign() -> None:
    rng = np.random.default_rng(SEED)
    for shift, spread in [(0.5, 12), (-0.5, 12), (0.5, 200), (-0.5, 200), (0.5, 300)]:
        m = rng.standard_normal((5, 40)) + shift
        want = lp.ensemble(m).status
        scaled = m * 10.0 ** rng.uniform(-spread, spread, (5, 1))
        found = lp.ensemble(scaled)
        assert found.status == want
        if want == "improvable":
            assert (
                min(sum(a * b for a, b in zip(rational(r), rational(found.weights), strict=True)) for r in scaled) > 0
            )


def test_shift_scale_duplicates_and_threads() -> None:
    rng = np.random.default_rng(SEED)
    m = rng.standard_normal((4, 40_000))
    found = lp.ensemble(m, n_threads=1)
    again = lp.ensemble(m, n_threads=2)
    for name in ("weights", "dual", "lower", "upper"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    assert lp.ensemble(m + 2).value == pytest.approx(found.value + 2, rel=1e-9)
    assert lp.ensemble(m * 8).value == pytest.approx(found.value * 8, rel=1e-9)
    assert lp.ensemble(np.tile(m, 2)).value == pytest.approx(found.value, rel=1e-9)
    rows, columns = rng.uniform(0.5, 2, 4), rng.uniform(0.5, 2, 40_000)
    scaled = lp.ensemble(m, scale_rows=rows, scale_columns=columns)
    assert scaled.value == pytest.approx(lp.ensemble(rows[:, None] * m * columns).value, rel=1e-12)
    np.testing.assert_array_equal(scaled.scale_rows, rows)
    assert lp.ensemble(np.zeros((3, 5))).status == "blocked"
    assert lp.ensemble(np.ones((3, 5))).value == pytest.approx(1.0)


def test_memory_maps_are_read_in_place(tmp_path: object) -> None:
    path = f"{tmp_path}/m.npy"
    m = np.random.default_rng(SEED).standard_normal((3, 20_000))
    np.save(path, m)
    assert lp.ensemble(np.load(path, mmap_mode="r")).value == lp.ensemble(m).value


WIDE = 70_001  # from 65,536 columns a sieve comes first


@pytest.mark.parametrize("k", [1, 3, 17])
@pytest.mark.parametrize("family", ["gaussian", "cauchy", "scales", "low rank", "copies", "near zero"])
def test_wide_games_carry_certificates_over_all_columns(k: int, family: str) -> None:
    rng = np.random.default_rng(SEED + k)
    m = rng.standard_cauchy((k, WIDE)) if family == "cauchy" else rng.standard_normal((k, WIDE))
    if family == "scales":
        m *= 10.0 ** np.linspace(-12, 12, k)[:, None]
    if family == "low rank":
        m = rng.standard_normal((k, 2)) @ m[: min(k, 2)].repeat(2, axis=0)[:2] + 1e-7 * m
    if family == "copies":
        m = m[:, np.arange(WIDE) % 11]
    if family == "near zero":
        m -= m.mean(axis=0)
    found = lp.ensemble(m)
    prices = found.dual @ m
    kept = np.union1d(np.flatnonzero(found.weights), np.argsort(-prices)[:3])
    check(m[:, kept], replace(found, weights=found.weights[kept]))
    assert prices.max() <= found.upper + 1e-15 * (found.dual @ np.abs(m)).max()
    assert found.upper - found.lower <= max(1e-9 * abs(found.value), 2e-15 * np.abs(m).max())
    two = lp.ensemble(m, n_threads=2)
    one = lp.ensemble(m, n_threads=1)
    assert np.array_equal(one.weights, two.weights) and np.array_equal(one.dual, two.dual) and one.upper == two.upper


def test_few_reads_suffice_and_odd_data_are_found_in_wide_games() -> None:
    rng = np.random.default_rng(SEED)
    m = rng.standard_normal((4, WIDE))
    assert lp.ensemble(m).n_passes <= 2
    assert lp.ensemble(np.broadcast_to(-1.0, (3, WIDE))).status == "blocked"
    assert lp.ensemble(np.zeros((3, WIDE))).value == 0
    spoilt = m.copy()
    spoilt[2, 40_123] = np.nan
    with pytest.raises(ValueError, match=r"holds nan at \[2, 40123\]"):
        lp.ensemble(spoilt)
    best = m.copy()
    best[:, 51_777] = 9.0  # one column that no sample holds
    assert lp.ensemble(best).weights[51_777] == 1.0


@pytest.mark.parametrize("n", [1, 3, 17, 1000, WIDE])
def test_float32_columns_are_read_as_they_are(n: int, tmp_path: Path) -> None:
    m = np.random.default_rng(SEED).standard_normal((3, n)).astype(np.float32)
    np.save(tmp_path / "m.npy", m)
    narrow, wide = lp.ensemble(np.load(tmp_path / "m.npy", mmap_mode="r")), lp.ensemble(m.astype(np.float64))
    assert narrow.value == wide.value and np.array_equal(narrow.weights, wide.weights) and narrow.upper == wide.upper


@pytest.mark.parametrize("n", [1, 5, 33, 400])
def test_a_batch_is_its_problems(n: int) -> None:
    m = np.random.default_rng(SEED).standard_normal((21, 3, n))
    together = lp.ensemble(m, n_threads=2)
    for p in range(21):
        alone = lp.ensemble(m[p])
        assert alone.status == together.status[p] and alone.value == together.value[p]
        assert np.array_equal(alone.weights, together.weights[p]) and np.array_equal(alone.dual, together.dual[p])


def test_batches_isolate_what_is_not_finite() -> None:
    rng = np.random.default_rng(SEED)
    m = rng.standard_normal((6, 3, 11))
    alone = [lp.ensemble(problem) for problem in m]
    m[2, 1, 4] = np.nan
    found = lp.ensemble(m)
    assert found.status[2] == "invalid" and np.isnan(found.value[2])
    for p in (0, 1, 3, 4, 5):
        assert found.value[p] == alone[p].value
        np.testing.assert_array_equal(found.weights[p], alone[p].weights)
    with pytest.raises(ValueError, match=r"m holds nan at \[1, 4\]"):
        lp.ensemble(m[2])


# ---- floors


def check_constrained(m: np.ndarray, c: np.ndarray, tau: np.ndarray, found: lp.LPResult) -> None:
    assert found.status == "optimal" and found.violation <= 1e-13
    scale = np.abs(m).max(axis=1) + np.abs(tau)
    assert (m @ found.weights - tau >= -2e-13 * scale).all()
    assert (found.dual >= 0).all()
    bound = (c + found.dual @ m).max() - tau @ found.dual
    assert found.value == pytest.approx(c @ found.weights, abs=1e-12)
    assert found.value - 1e-9 <= bound <= found.upper + 1e-9
    assert found.upper - found.lower <= 1e-9 * max(1.0, np.abs(c).max())


@pytest.mark.parametrize(("k", "n"), [(1, 2), (2, 9), (3, 300), (5, 4000), (12, 900)])
def test_floors_against_highs(k: int, n: int) -> None:
    rng = np.random.default_rng(SEED + k + n)
    for room in (2.0, 0.5, 0.01):
        m, c = rng.standard_normal((k, n)), rng.standard_normal(n)
        tau = np.full(k, lp.ensemble(m).value - room)
        found = lp.constrained(m, c, tau)
        want = optimize.linprog(-c, -m, -tau, np.ones((1, n)), [1.0], [(0, None)] * n)
        assert found.value == pytest.approx(-want.fun, abs=1e-7)
        check_constrained(m, c, tau, found)


def test_floors_missed_by_a_hair_have_a_certificate() -> None:
    rng = np.random.default_rng(SEED)
    for gap in (1e-3, 1e-9, 1e-10, 1e-12):
        m = np.vstack([np.r_[1.0, 0.0, rng.uniform(0, 0.4, 50)], np.r_[0.0, 1.0, rng.uniform(0, 0.4, 50)]])
        tau = np.array([0.5, 0.5 + gap])
        found = lp.constrained(m, np.ones(52), tau)
        assert found.status == "infeasible" and found.value == -np.inf
        y = rational(found.dual)
        excess = [
            sum(a * (Fraction(float(x)) - Fraction(float(t))) for a, x, t in zip(y, column, tau, strict=True))
            for column in m.T
        ]
        assert max(excess) < 0
        met = lp.constrained(m, np.r_[0.0, 1.0, np.zeros(50)], np.array([0.5, 0.5 - gap]))
        assert met.status == "optimal" and met.value == pytest.approx(0.5, abs=1e-9)


def test_small_floors_against_rational_arithmetic() -> None:
    rng = np.random.default_rng(SEED)
    seen = set()
    for _ in range(80):
        k, n = rng.integers(1, 4), rng.integers(1, 6)
        m, c = rng.integers(-3, 4, (k, n)).astype(float), rng.integers(-3, 4, n).astype(float)
        tau = rng.integers(-3, 2, k).astype(float)
        exact, found = reference.constrained_value(m, c, tau), lp.constrained(m, c, tau)
        if exact is None:
            assert found.status == "infeasible"
        else:
            assert found.status == "optimal" and found.value == pytest.approx(float(exact), abs=1e-12)
            check_constrained(m, c, tau, found)
        seen.add(found.status)
    assert seen == {"optimal", "infeasible"}


def test_price_of_a_floor_is_the_slope_of_the_optimum() -> None:
    rng = np.random.default_rng(SEED)
    m, c = rng.standard_normal((2, 500)), rng.standard_normal(500)
    tau = np.array([1.0, 0.5])
    found = lp.constrained(m, c, tau)
    for j in range(2):
        raised = tau.copy()
        raised[j] += 1e-6
        slope = (lp.constrained(m, c, raised).value - found.value) / 1e-6
        assert slope == pytest.approx(-found.dual[j], abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lp.ensemble([1.0]), "m has shape"),
        (lambda: lp.ensemble(np.zeros((2, 0))), "m has shape"),
        (lambda: lp.ensemble(np.eye(2), scale_rows=[1.0]), "scale_rows has shape"),
        (lambda: lp.ensemble(np.eye(2), scale_columns=[1.0, 0.0]), "scale_columns holds"),
        (lambda: lp.constrained(np.eye(2), [1.0], [0.0, 0.0]), "c has shape"),
        (lambda: lp.constrained(np.eye(2), [1.0, 1.0], [0.0]), "tau has shape"),
        (lambda: lp.constrained(np.eye(2), [1.0, np.nan], [0.0, 0.0]), "c holds nan"),
    ],
)
def test_errors_name_the_argument(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_a_violation_is_the_shortfall_over_the_largest_entry_of_the_row_also_where_no_mixture_serves() -> None:
    assert lp.constrained([[0.25, 0.5, -1.0]], [0.0, 0.0, 1.0], [1.0]).violation == 0.5
    rng, seen = np.random.default_rng(11), 0
    for _ in range(60):
        k, n = int(rng.integers(1, 5)), int(rng.integers(2, 9))
        m = rng.normal(size=(k, n)) * 10.0 ** rng.integers(-8, 8, (k, 1))
        tau = np.abs(m).max(axis=1) * rng.uniform(-0.5, 1.5, k)
        found = lp.constrained(m, rng.normal(size=n), tau)
        if found.status == "infeasible":
            size = np.maximum(np.abs(m).max(axis=1), np.abs(tau))
            short = max(float((tau[j] - m[j] @ found.weights) / size[j]) for j in range(k))
            assert found.violation == pytest.approx(short, rel=1e-12) and short > 0
            seen += 1
    assert seen > 15
    batch = lp.constrained(np.array([[[0.25, 0.5]], [[0.25, 2.0]]]), [1.0, 0.0], [1.0])
    assert batch.status.tolist() == ["infeasible", "optimal"] and batch.violation[0] == 0.5
    assert batch.violation[1] <= 1e-13
