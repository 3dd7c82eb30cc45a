"""cm.lp.solve: SciPy's answers, our own forms, weak duality, and statuses of programs without an optimum."""

from __future__ import annotations

import sys

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
    assert lp.solve([1.0], [[0.0]]).status in ("unbounded", "undecided")


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
