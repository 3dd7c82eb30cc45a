"""`clinometer bench`: what it measures is positive, checked against float64, and wrong results are seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinometer import reference
from clinometer.bench import exact, main, numpy_side
from clinometer.bench.cases import KERNELS, _covariance
from clinometer.bench.limits import Limits
from clinometer.bench.pairs import interval, median, timed_pairs
from clinometer.bench.rows import Rows, directions, make
from clinometer.bench.table import Timed

SMALL = ["--quick", "--rows", "2000", "--dim", "32", "--repeats", "1"]


def run(tmp_path: Path, *argv: str) -> dict[str, Any]:
    target = tmp_path / "bench.json"
    assert main([*argv, "--json-file", str(target)]) == 0
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def test_score_has_limits_and_checked_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(tmp_path, "score", *SMALL)
    assert all(found["limits"]["used"][name] > 0 for name in ("bandwidth", "flops", "exps"))
    assert {(r["dtype"], r["size"]) for r in found["rows"]} == {
        (dtype, size) for dtype in ("float32", "bfloat16", "float16") for size in ("K=1", "K=8", "K=64")
    }
    for r in found["rows"]:
        assert r["checked"] is True and 0 <= r["error"] <= r["tolerance"]
        assert len(r["seconds"]) == len(r["numpy_seconds"]) == 1
        assert r["best"] > 0 and r["numpy_best"] > 0 and r["ratio"] > 0
        assert 0 < r["of_limit"] <= 1  # no call beats a limit: it would have been raised
    printed = capsys.readouterr()
    assert "no target is claimed" in printed.out and "GB/s" in printed.out
    assert printed.err == ""  # progress is for terminals


@pytest.mark.parametrize("rows, dim", [("1", "1"), ("33", "17"), ("64", "65")])
def test_every_kernel_is_checked_at_odd_sizes(tmp_path: Path, rows: str, dim: str) -> None:
    found = run(tmp_path, "--quick", "--rows", rows, "--dim", dim, "--repeats", "1")
    assert {r["kernel"] for r in found["rows"]} == set(KERNELS)
    assert all(r["checked"] for r in found["rows"])
    assert found["machine"]["rows"] % 16 == 0 and found["machine"]["rows"] >= int(rows)


@pytest.mark.parametrize(
    "argv, wanted",
    [
        (["scores"], "'scores'"), (["score", "--rows", "0"], "--rows"), (["--repeats", "-1"], "--repeats"),
        (["--dim", "x"], "--dim"), (["score", "--json-file", "/no/such/folder/f.json"], "--json-file"),
    ],
)  # fmt: skip
def test_bad_input_is_exit_code_2(argv: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert wanted in capsys.readouterr().err


def test_a_wrong_result_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def off(rows: Rows) -> Any:
        for case in _covariance(rows):
            right = case.ours
            case.ours = lambda right=right: right() * (1 + 1e-3)
            yield case

    monkeypatch.setitem(KERNELS, "covariance", off)
    assert main(["covariance", *SMALL]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_the_numpy_side_agrees_with_the_reference() -> None:
    rows = make(64, 9, ("float16",))["float16"]
    u, betas = directions(2, 9), np.array([0.5, 3.0])
    scores, ids = rows.exact() @ u.T, np.arange(64) // 16
    values = np.random.default_rng(0).standard_normal((64, 2))
    gain, kl, log_partition = numpy_side.tilt(scores, values, betas)
    want = reference.tilt(scores, betas, values, prompt_ids=ids)
    np.testing.assert_allclose(gain, want["gain"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kl, want["kl"], rtol=1e-9)
    np.testing.assert_allclose(log_partition, want["log_partition"], rtol=1e-9)


def test_the_checks_see_a_small_error() -> None:
    rows = make(48, 7, ("bfloat16",))["bfloat16"]
    u = directions(1, 7)
    right = rows.exact() @ u.T
    assert exact.score_error(rows, u, right) < 1e-15
    assert exact.score_error(rows, u, right * 1.001) > 1e-6
    x = exact._within(rows.exact())
    assert exact.covariance_error(rows, x.T @ x / 48) < 1e-14
    assert exact.covariance_error(rows, x.T @ x / 47) > 1e-2
    case = next(iter(_covariance(rows)))
    assert not Timed(case, [1.0], [1.0], float("nan"), 0.0, None).checked


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_chunks_hold_the_exact_rows(dtype: str) -> None:
    rows = make(32768, 66, (dtype,))[dtype]  # more than one chunk
    parts = [(begin, x.copy()) for begin, x in rows.chunks()]
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate([x for _, x in parts]), rows.exact())
    assert abs(rows.exact()[:, 0].mean() - 30) < 0.5  # the outlier dimension


def test_interval_covers_the_median() -> None:
    assert interval([1.0] * 5) is None and median([4.0, 1.0, 2.0]) == 2.0
    rng = np.random.default_rng(0)
    found = [interval(list(rng.exponential(size=9))) for _ in range(2000)]
    covered = np.mean([a is not None and a[0] <= np.log(2) <= a[1] for a in found])
    assert 0.95 <= covered <= 0.975  # the nine give 0.961


def test_pairs_take_turns() -> None:
    order: list[str] = []
    ours, other, _, _ = timed_pairs(lambda: order.append("a"), lambda: order.append("b"), 3, None)
    assert order == ["a", "a", "b", "b", "a", "a", "b"] and len(ours) == len(other) == 3
    assert len(timed_pairs(lambda: None, lambda: None, 50, 0.0)[0]) == 3


def test_a_limit_that_is_beaten_is_raised() -> None:
    limits = Limits(1e9, 1e9, 1e9, {})
    assert limits.raise_to(0.5, 1e9, 1e8, 0) == ["bandwidth"] and limits.bandwidth == 2e9
    assert limits.seconds(1e9, 2e9, 0) == 2.0
