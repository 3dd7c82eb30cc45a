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
    assert bench.run(["equal", "100 hard pairs"], 3, 5.0, state) and len(drawn) == 2  # none was lost with the cut line
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


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (BENCHMARKS / "page_coverage.py").exists():
        pytest.skip("no benchmarks beside the tests")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import page_coverage

    return page_coverage


def test_the_truth_of_a_world_is_its_closed_form(pages: Any) -> None:
    from scipy.stats import norm

    for kl in (0.1, 1.0):
        gain, win = pages.truth("gauss", kl)
        assert gain == pytest.approx(0.8 * np.sqrt(2 * kl), rel=2e-3)
        assert win == pytest.approx(norm.cdf(gain / np.sqrt(2)), rel=2e-3)
    assert pages.truth("null", 0.5) == pytest.approx((0.0, 0.5), abs=1e-6)
    assert pages.truth("null_skewed", 0.5) == pytest.approx((0.0, 0.5), abs=1e-6)
    assert pages.truth("lowered", 0.5)[0] == pytest.approx(np.exp(0.5) * np.expm1(-0.6), rel=2e-3)
    lam = 0.8  # E exp(lam t) is 1/(1 - lam^2/2)
    mean = lam / (1 - lam**2 / 2)
    kl = lam * mean + np.log1p(-(lam**2) / 2)
    assert pages.truth("laplace", kl)[0] == pytest.approx(0.8 * mean, rel=2e-3)
    rare = pages.truth("rare", 0.5)[0]  # of Phi((0.6 z - c)/0.8) at z ~ N(1, 1)
    assert rare == pytest.approx(norm.cdf(0.6 - norm.ppf(0.98)) - 0.02, rel=5e-3)


def test_pages_are_drawn_once_and_counted(pages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "WORLDS", [w for w in pages.WORLDS if w.prompts in (5, 12) and w.responses == 8][:3])
    state = tmp_path / "pages.jsonl"
    first = pages.run(3, 5.0, state)
    monkeypatch.setattr(pages, "measured", lambda world, seed: pytest.fail("drawn again"))
    again = pages.run(3, 5.0, state)
    assert str(again) == str(first) and all(len(done) == 3 for done in first.values())
    lines = list(pages.shown(first, "code"))
    assert any("gain at 0.5" in line for line in lines) and any("cannot tell" in line for line in lines)


def test_a_page_line_judges_coverage_and_width(pages: Any) -> None:
    rng, world = np.random.default_rng(0), pages.WORLDS[2]
    gain = pages.truth(world.kind, 0.1)[0]
    x = gain + rng.normal(size=4000)
    for half, verdict in ((1.96, "met"), (1.5, "MISSED"), (3.2, "MISSED")):
        rows = [{"gain": [v], "bounds": [[v - half, v + half]]} for v in x]
        line = pages._covered(world, "gain at 0.1", rows, "gain", "bounds", 0, gain, 49)
        assert line.endswith(verdict), line
    none = [row if i % 5 == 0 else {**row, "bounds": [[None, None]]} for i, row in enumerate(rows)]
    for half, verdict in ((1.6, "few"), (0.9, "MISSED")):  # 11 % of a fifth are false, and 37 %
        some = [{**r, "bounds": [[r["gain"][0] - half, r["gain"][0] + half]] if r["bounds"][0][0] else r["bounds"]}
                for r in none]  # fmt: skip
        assert pages._covered(world, "gain at 0.1", some, "gain", "bounds", 0, gain, 49).endswith(verdict)


def test_a_fingerprint_is_of_statements(bench: Any, tmp_path: Path) -> None:
    import resumable

    def of(text: str) -> str:
        (tmp_path / "a.py").write_text(text)
        return str(resumable.fingerprint([tmp_path / "a.py"]))

    plain = of("def f(x):\n    return 2 * x\n")
    assert of('"""Doc."""\nfrom a import b  # why\n\ndef f(x):\n    """Twice."""\n    return 2*x\n') == plain
    assert of("def f(x):\n    return 3 * x\n") != plain


def test_one_bound_is_held_to_half_of_the_misses_and_has_no_width(pages: Any) -> None:
    rng, world = np.random.default_rng(1), pages.World("gauss", 8, 100)
    x = rng.normal(size=4000)

    def line(low: Any, high: Any) -> list[str]:
        rows = [{"x": [v], "ends": [[float(a), float(b)]]} for v, a, b in zip(x, low, high, strict=True)]
        said: str = pages._covered(world, "gain", rows, "x", "ends", 0, 0.0, 99)
        return said.split("gain")[1].split()

    both, one = line(x - 1.96, x + 1.96), line(x - 1.96, np.full(4000, np.inf))
    assert both[-1] == one[-1] == "met" and both[-4] == "0.00" and one[-4] == "1.00" and one[2] == "nan"
    assert abs(float(both[0]) - 0.95) < 0.015 and abs(float(one[0]) - 0.975) < 0.01
    assert line(x - 1.3, np.full(4000, np.inf))[-1] == "MISSED" and line(x - 9, np.full(4000, np.inf))[-1] == "met"
    some = np.where(rng.random(4000) < 0.3, np.inf, x + 1.96)
    assert line(x - 1.96, np.where(rng.random(4000) < 0.9, np.inf, x + 9))[2] == "nan"
    mixed = line(x - 1.96, some)
    assert mixed[-1] == "met" and abs(float(mixed[-4]) - 0.3) < 0.05 and float(mixed[2]) == pytest.approx(1.0, abs=0.05)


def test_only_worlds_asked_for_are_drawn(pages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(pages, "measured", lambda world, seed: drawn.append(world.name) or {})
    pages.run(1, 5.0, tmp_path / "state.jsonl", "^lowered, 12|null_skewed, 100")
    assert drawn == ["lowered, 12 x 8", "null_skewed, 100 x 8"]
