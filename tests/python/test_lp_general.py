"""cm.lp.solve: SciPy's answers, our own forms, weak duality, and statuses of programs without an optimum."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from clinometer import lp

pytest.importorskip("highspy")
optimize = pytest.importorskip("scipy.optimize")
SEED = 2


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 7), (7, 3), (15, 17), (33, 31)])
def test_value_is_that_of_scipy_and_prices_prove_it(m: int, n: int) -> None:
    rng = np.random.default_rng(SEED + n)
    a, c, inside = rng.standard_normal((m, n)), rng.standard_normal(n), rng.uniform(0, 1, n)
    low, high = a @ inside - rng.uniform(0, 1, m), a @ inside + rng.uniform(0, 1, m)
    found = lp.solve(c, a, row_lower=low, row_upper=high, lower=-1.0, upper=2.0)
    want = optimize.linprog(-c, np.vstack([a, -a]), np.r_[high, -low], bounds=[(-1, 2)] * n)
    assert found.status == "optimal" and found.value == pytest.approx(-want.fun, abs=1e-7)
    assert found.violation <= 1e-7 and found.upper == pytest.approx(found.value, abs=1e-7)
    assert found.upper >= c @ inside


def test_our_own_form_gives_our_own_answer() -> None:
    rng = np.random.default_rng(SEED)
    m, c = rng.standard_normal((3, 40)), rng.standard_normal(40)
    floors = lp.constrained(m, c, np.zeros(3))
    found = lp.solve(c, np.vstack([m, np.ones(40)]), row_lower=[0, 0, 0, 1], row_upper=[np.inf] * 3 + [1])
    assert found.value == pytest.approx(floors.value, abs=1e-7)


def test_programs_without_an_optimum() -> None:
    assert lp.solve([1.0], [[1.0]], row_lower=2.0, upper=1.0).status == "infeasible"
    assert lp.solve([1.0], [[0.0]]).status == "unbounded"


def vertices(rows: list[list[Fraction]], bounds: list[Fraction]) -> Any:
    """Points where as many rows as unknowns are tight and all hold, in rational arithmetic."""
    n = len(rows[0])
    for chosen in itertools.combinations(range(len(rows)), n):
        table = [[*rows[i], bounds[i]] for i in chosen]
        for at in range(n):
            pivot = next((i for i in range(at, n) if table[i][at]), None)
            if pivot is None:
                break
            table[at], table[pivot] = table[pivot], table[at]
            table[at] = [v / table[at][at] for v in table[at]]
            for i in set(range(n)) - {at}:
                table[i] = [v - table[i][at] * w for v, w in zip(table[i], table[at], strict=True)]
        else:
            x = [row[-1] for row in table]
            if all(inner(row, x) <= bound for row, bound in zip(rows, bounds, strict=True)):
                yield x


def inner(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0))


def exact(c: Any, a: Any, high: Any) -> tuple[str, float]:
    """Status and value of max c.x, a x <= high, x >= 0: the best vertex, and the best direction in a box."""
    goal, n = [Fraction(v) for v in c.tolist()], len(c)
    unit = [[Fraction(i == j) for j in range(n)] for i in range(n)]
    rows = [[Fraction(v) for v in row] for row in a.tolist()] + [[-v for v in row] for row in unit]
    values = [inner(goal, x) for x in vertices(rows, [Fraction(v) for v in high.tolist()] + [Fraction(0)] * n)]
    if not values:
        return "infeasible", -np.inf
    onward = vertices(rows + unit, [Fraction(0)] * len(rows) + [Fraction(1)] * n)
    return ("unbounded", np.inf) if max(inner(goal, x) for x in onward) > 0 else ("optimal", float(max(values)))


@pytest.mark.parametrize("seed", range(60))
def test_units_of_rows_unknowns_and_goal_change_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 4, 2)
    a, c, high = (rng.integers(-4, 5, size).astype(float) for size in ((m, n), n, m))
    row, column, goal = rng.integers(-60, 61, m), rng.integers(-60, 61, n), int(rng.integers(-60, 61))
    status, value = exact(c, a, high)
    found = lp.solve(
        np.ldexp(c, column + goal), np.ldexp(a, row[:, None] + column), row_upper=np.ldexp(high, row)
    )  # fmt: skip
    plain = lp.solve(c, a, row_upper=high)
    assert found.status == plain.status == status
    assert np.ldexp(found.value, -goal) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert plain.value == pytest.approx(value, rel=1e-9, abs=1e-9)
    if status == "optimal":
        assert np.ldexp(found.upper, -goal) == pytest.approx(value, rel=1e-7, abs=1e-7)
        assert np.ldexp(c, column + goal) @ found.weights == pytest.approx(found.value, rel=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_units_change_nothing_with_floors_equalities_and_free_unknowns(seed: int) -> None:
    """Programs with bounds of every kind beside themselves in other units; a feasible point attains no more."""
    rng = np.random.default_rng(100 + seed)
    m, n = rng.integers(1, 7, 2)
    a, c, inside = (rng.integers(-4, 5, size).astype(float) for size in ((m, n), n, n))
    low = np.where(rng.random(m) < 0.5, -np.inf, a @ inside - rng.integers(0, 3, m))
    high = np.where(rng.random(m) < 0.3, np.inf, a @ inside + rng.integers(0, 3, m))
    least = np.where(rng.random(n) < 0.3, -np.inf, inside - rng.integers(0, 3, n))
    most = np.where(rng.random(n) < 0.5, np.inf, inside + rng.integers(0, 3, n))
    row, column, goal = rng.integers(-60, 61, m), rng.integers(-60, 61, n), int(rng.integers(-60, 61))
    plain = lp.solve(c, a, row_lower=low, row_upper=high, lower=least, upper=most)
    found = lp.solve(
        np.ldexp(c, column + goal), np.ldexp(a, row[:, None] + column), row_lower=np.ldexp(low, row),
        row_upper=np.ldexp(high, row), lower=np.ldexp(least, -column), upper=np.ldexp(most, -column),
    )  # fmt: skip
    assert found.status == plain.status and plain.status in ("optimal", "unbounded")
    assert np.ldexp(found.value, -goal) == pytest.approx(plain.value, rel=1e-9, abs=1e-9)
    assert plain.value >= c @ inside - 1e-9


@pytest.mark.parametrize("spread", [6, 12, 40])
def test_entries_of_any_size_are_solved_or_undecided_never_wrong(spread: int) -> None:
    rng, decided = np.random.default_rng(spread), 0
    for _ in range(40):
        m, n = rng.integers(1, 4, 2)
        a, c, high = (
            np.ldexp(rng.integers(-4, 5, size), rng.integers(-spread, spread + 1, size)) for size in ((m, n), n, m)
        )
        (status, value), found = exact(c, a, high), lp.solve(c, a, row_upper=high)
        assert found.status in (status, "undecided")
        decided += found.status == status
        if found.status == "optimal":
            assert found.value == pytest.approx(value, rel=1e-6, abs=0)
    assert decided >= (40 if spread < 40 else 30)


@pytest.mark.parametrize("small", [1e-9, 1e-10, 1e-13, 1e-30, 1e-300])
def test_small_entries_are_entries(small: float) -> None:
    assert lp.solve([1.0], [[small]], row_upper=1.0).value == pytest.approx(1 / small)
    assert lp.solve([1.0], [[small]], row_lower=2 * small, upper=1.0).status == "infeasible"
    assert lp.solve([1.0], [[small]], row_lower=small, upper=1.0).status == "optimal"
    assert lp.solve([1.0, 1.0], [[1.0, small], [small, 1.0]], row_upper=1.0).value == pytest.approx(2 / (1 + small))
    assert lp.solve([1.0, 0.0], [[1.0, -small]], row_upper=0.0, upper=[np.inf, 1.0]).value == pytest.approx(small)


def test_nothing_is_printed() -> None:
    """The solver writes to the process's own output, past Python's."""
    code = "import clinometer as cm; cm.lp.solve([1.0], [[1.0]], row_upper=1.0)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == ran.stderr == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lp.solve([1.0], [1.0]), r"a has shape \(1,\)"),
        (lambda: lp.solve([1.0, 2.0], [[1.0]]), r"c has shape \(2,\); wanted \(1,\)"),
        (lambda: lp.solve([np.nan], [[1.0]]), "c holds nan"),
        (lambda: lp.solve([1.0], [[1.0]], lower=2.0, upper=1.0), r"lower\[0\] is 2.0, above upper"),
        (lambda: lp.solve([1.0], [[1.0]], row_upper=[1.0, 2.0]), r"row_upper has shape"),
        (lambda: lp.solve([1.0], [[1.0]], row_upper=np.nan), "row_upper holds NaN"),
    ],
)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    with pytest.raises(ImportError, match=r"clinometer\[lp\]"):
        lp.solve([1.0], [[1.0]])
