"""The coverage benchmark draws, keeps and judges what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (BENCHMARKS / "interval_coverage.py").exists():
        pytest.skip("no benchmarks beside the tests")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import interval_coverage

    return interval_coverage


def test_dumps_of_a_world_share_its_truth_and_nothing_else(bench: Any) -> None:
    a, b, c = bench.draw("equal", 0), bench.draw("equal", 1), bench.draw("unequal", 0)
    np.testing.assert_array_equal(a.dump.truth.u_star, b.dump.truth.u_star)
    np.testing.assert_array_equal(a.dump.truth.u_star, c.dump.truth.u_star)
    assert not np.array_equal(a.dump.read(0, 8), b.dump.read(0, 8))
    assert not np.array_equal(a.dump.read(0, 8), c.dump.read(0, 8))
    assert bench.draw("12 clusters", 0).options["clusters"].max() == 11


def test_a_run_goes_on_where_it_stopped(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state.jsonl"
    first = bench.run(["equal", "100 hard pairs"], 2, 5.0, state)
    with state.open("a") as file:
        file.write('{"cut off')
    drawn: list[tuple[str, int]] = []
    measured = bench.measured
    monkeypatch.setattr(bench, "measured", lambda world, seed: drawn.append((world, seed)) or measured(world, seed))
    again = bench.run(["equal", "100 hard pairs"], 3, 5.0, state)
    assert drawn == [("equal", 2), ("100 hard pairs", 2)]
    assert again["equal"][1] == first["equal"][1] and "path" in again["equal"][0]
    assert len(list(bench.shown(["equal"], again, "code"))) == 14


def test_a_line_counts_what_it_holds(bench: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    rows = [[v, v - 1.645, v + 1.645, v - 1.96, v + 1.96, bench.TRUTH, 0.0] for v in x]
    line = bench._line("w", "gain", rows, np.zeros((0, 0)))
    assert line.endswith("met") and abs(float(line.split()[2]) - 0.9) < 0.02
    short = [[v, v - 1, v + 1, v - 1.4, v + 1.4, bench.TRUTH, 0.0] for v in x]
    assert bench._line("w", "gain", short, np.zeros((0, 0))).endswith("MISSED")
    none = [row if i % 5 else [row[0], None, None, None, None, *row[5:]] for i, row in enumerate(rows)]
    assert bench._line("w", "gain", none, np.zeros((0, 0))).endswith("MISSED")  # a fifth without an interval
    at = [[v + k, v + k - 1.645, v + k + 1.645, v + k - 1.96, v + k + 1.96, bench.AT_ALPHA, k]
          for v, k in zip(x, rng.integers(0, 2, len(x)).tolist(), strict=True)]  # fmt: skip
    assert bench._line("w", "quality", at, np.array([[0.0, 1.0]])).endswith("met")
