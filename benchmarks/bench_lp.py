"""cm.lp under pytest-benchmark: `pytest benchmarks/bench_lp.py`; beside peers: `lps/compare_lps.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clinometer import lp

pytest.importorskip("pytest_benchmark")


@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_cone(benchmark: Any, k: int) -> None:
    problems = np.random.default_rng(0).standard_normal((400_000 // k**2, k, k))
    assert (benchmark(lp.cone, problems).status == "improvable").all()


@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_gram_cone(benchmark: Any, k: int) -> None:
    rows = np.random.default_rng(0).standard_normal((400_000 // k**2, k, 2 * k))
    assert (benchmark(lp.gram_cone, rows @ rows.transpose(0, 2, 1)).status == "improvable").all()


@pytest.mark.parametrize(("k", "n"), [(3, 8), (4, 16), (8, 64)])
def test_prompt(benchmark: Any, k: int, n: int) -> None:
    values = np.random.default_rng(0).standard_normal((400_000 // k, k))
    values = values[: len(values) // n * n]
    found = benchmark(lp.prompt, values, prompt_ids=np.arange(len(values)) // n)
    assert (found.margin >= 0).all()


@pytest.mark.parametrize("k", [4, 16])
def test_ensemble(benchmark: Any, k: int) -> None:
    m = np.random.default_rng(0).standard_normal((k, 200_000))
    assert benchmark(lp.ensemble, m).status == "improvable"


def test_pareto_front(benchmark: Any) -> None:
    points = np.random.default_rng(0).standard_normal((200_000, 3))
    assert benchmark(lp.pareto_front, points).any()
