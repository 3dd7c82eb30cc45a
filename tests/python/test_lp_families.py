"""The failure families of benchmarks/lp_families.py, few instances of each: no wrong verdict, none undecided."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "lp_families.py"


def load() -> object:
    spec = importlib.util.spec_from_file_location("lp_families", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lp_families"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("instances", "seed"), [(800, 1), pytest.param(12_000, 2, marks=pytest.mark.slow)])
def test_no_wrong_verdict_and_none_undecided_above_the_floor(instances: int, seed: int) -> None:
    tallies = load().run(instances, seed)  # type: ignore[attr-defined]
    assert sum(t.count for t in tallies.values()) >= instances // 2 and len(tallies) >= 30
    assert {name: t.wrong for name, t in tallies.items() if t.wrong} == {}
    assert {name: t.above for name, t in tallies.items() if t.above} == {}


def test_a_wrong_verdict_is_counted() -> None:
    module = load()
    tally = module.Tally()  # type: ignore[attr-defined]
    from fractions import Fraction

    tally.add("improvable", Fraction(0), Fraction(0), True)
    tally.add("improvable", Fraction(1), Fraction(1), False)
    tally.add("undecided", Fraction(1), Fraction(1), True)
    tally.add("blocked", Fraction(0), Fraction(0), True)
    assert (tally.count, tally.wrong, tally.undecided, tally.above) == (4, 2, 1, 1)
