"""`clinometer bench`: what it measures is checked against float64, wrong results are seen, verdicts follow the rule."""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinometer import _core, reference
from clinometer import bench as in_wheel
from clinometer.bench import exact, instead, ours
from clinometer.bench.limits import Limits, limit_seconds
from clinometer.bench.pairs import interval, median, timed_rounds
from clinometer.bench.problem import TOLERANCES, Problem, Work
from clinometer.bench.rows import Files, Rows

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.exists():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))
import bench  # noqa: E402
from bench import main  # noqa: E402
from kernel_bench.cells import GROUPS, Cell, Sizes, cells  # noqa: E402
from kernel_bench.measure import Bench  # noqa: E402
from kernel_bench.peers import MODULES, Peer, installed  # noqa: E402
from kernel_bench.targets import TARGETS, Target, judge, raised  # noqa: E402

SMALL = ["--quick", "--rows", "100", "--dim", "20", "--pairs", "1", "--peers", "numpy"]
SLOW_PEERS = ("torch", "torch.cov", "jax", "numba")  # to import or to compile
KERNELS = tuple(TOLERANCES)


def run(tmp_path: Path, *argv: str) -> dict[str, Any]:
    target = tmp_path / "bench.json"
    assert main([*argv, "--json-file", str(target)]) == 0
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def problem(tmp_path: Path, kernel: str, dtype: str = "bfloat16", n: int = 48, d: int = 9, k: int = 3) -> Problem:
    return Problem(kernel, Files(str(tmp_path)).rows(dtype, n, d), k)


def right(p: Problem) -> Any:
    """The result in float64, from the reference or from the definition."""
    x, ids, n = p.rows.exact(), np.arange(p.rows.n) // 16, p.rows.n
    if p.kernel in ("tilt", "tilt_global", "fused"):
        scores = x @ p.u.T if p.kernel == "fused" else p.scores.astype(np.float64)
        groups = np.zeros(n, np.int64) if p.kernel == "tilt_global" else ids
        want = reference.tilt(scores, p.betas, p.values.astype(np.float64), prompt_ids=groups)
        return want["gain"], want["kl"], want["log_partition"]
    centred = (x.reshape(-1, 16, x.shape[1]) - x.reshape(-1, 16, x.shape[1]).mean(axis=1, keepdims=True)).reshape(
        x.shape
    )
    if p.kernel == "tilted_mean":
        t = (x @ p.u.T).reshape(-1, 16, p.k, 1) / p.betas
        w = np.exp(t) / np.exp(t).sum(axis=1, keepdims=True)
        return np.einsum("gikb,gid->kbd", w, x.reshape(-1, 16, x.shape[1])) / (n // 16)
    if p.kernel == "bradley_terry":
        x = x[0::2] - x[1::2]
        chance = 1 / (1 + np.exp(-x @ p.u.T))
        y = p.chosen[:, None]
        return -np.mean(y * np.log(chance) + (1 - y) * np.log(1 - chance), axis=0), (chance - y).T @ x / len(x)
    return {
        "score": lambda: x @ p.u.T, "covariance": lambda: np.cov(x.T, bias=True),
        "covariance_within": lambda: centred.T @ centred / n,
        "covariance_projection": lambda: (centred @ p.u.T).T @ centred / n,
    }[p.kernel]()  # fmt: skip


def scaled(result: Any, by: float) -> Any:
    return tuple(by * np.asarray(a) for a in result) if isinstance(result, tuple) else by * np.asarray(result)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_checks_see_a_small_error(tmp_path: Path, kernel: str) -> None:
    p = problem(tmp_path, kernel)
    want = right(p)
    assert exact.error(p, want) < 1e-6 * TOLERANCES[kernel]
    assert exact.error(p, scaled(want, 1 + 1e-4)) > TOLERANCES[kernel]
    assert not exact.error(p, scaled(want, np.nan)) <= TOLERANCES[kernel]
    assert exact.error(p, "no array") == np.inf


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k != "bradley_terry" or hasattr(_core, "Pairs")])
def test_our_calls_compute_what_is_checked(tmp_path: Path, kernel: str) -> None:
    p = problem(tmp_path, kernel, "float16")
    assert exact.error(p, ours.call(p)()) <= TOLERANCES[kernel]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW_PEERS else n for n in MODULES])
def test_peers_compute_what_is_checked(tmp_path: Path, name: str) -> None:
    pytest.importorskip(MODULES[name])
    found, absent = installed([name], 2)
    assert absent == {}
    for kernel in found[name].kernels:
        for dtype in ("float32", "bfloat16", "float16"):
            folder = tmp_path / f"{kernel}-{dtype}"
            folder.mkdir()
            p = problem(folder, kernel, dtype, n=96)
            errors = {setting: exact.error(p, call()) for setting, call in found[name].settings(p).items()}
            assert min(errors.values()) <= 5 * TOLERANCES[kernel], (kernel, dtype, errors)


def test_peers_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULES, "ghost", "no_such_module_anywhere")
    monkeypatch.setitem(MODULES, "broken", "numpy")
    found, absent = installed(["numpy", "ghost", "broken"], 1)
    assert list(found) == ["numpy"] and absent["ghost"] == "not installed" and "cannot be used" in absent["broken"]


def test_an_inexact_peer_is_shown_and_not_counted(tmp_path: Path) -> None:
    def rounded(p: Problem) -> Any:
        return {"half": lambda: (p.rows.exact() @ p.u.T).astype(np.float16)}

    def failing(p: Problem) -> Any:
        raise RuntimeError("out of order")

    peers = {"rough": Peer("rough", "1", {"score": rounded}), "ill": Peer("ill", "1", {"score": failing})}
    found = Bench(Files(str(tmp_path)), peers, Limits(1, 0.01), 1, 1, 0.0).record(
        Cell("peers", "score", "float32", 2, 20, 64)
    )
    assert found["checked"] and found["best_peer"] is None and found["peer"] == []
    assert [(p["peer"], p["checked"]) for p in found["peers"]] == [("rough", False)]
    assert found["failed"] == {"ill": "RuntimeError: out of order"}


def test_score_has_limits_and_checked_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(tmp_path, "score", *SMALL)
    assert {(r["dtype"], r["k"]) for r in found["cells"]} == {
        (dtype, k) for dtype in ("float32", "bfloat16", "float16") for k in (1, 8, 64, 512)
    }
    for r in found["cells"]:
        assert r["checked"] is True and 0 <= r["error"] <= r["tolerance"] and r["n"] == (48 if r["k"] == 64 else 112)
        assert r["limit_by"] in ("read", "fma") and all(x > 0 for x in r["limit"])
        assert r["best_peer"] == "numpy" and len(r["peer"]) == len(r["seconds"]) == 1
    printed = capsys.readouterr()
    assert "not resolved" in printed.out and "GB/s" in printed.out
    assert printed.err == ""  # progress is for terminals


@pytest.mark.parametrize("group", ["tilt", "moments", "odd"])
def test_every_kernel_runs_at_odd_sizes(tmp_path: Path, group: str) -> None:
    found = run(tmp_path, group, "--quick", "--rows", "33", "--dim", "17", "--pairs", "1", "--peers", "none")
    done = [r for r in found["cells"] if "skipped" not in r]
    assert len(done) >= len(found["cells"]) - 3  # Bradley-Terry in three dtypes, until the core has it
    assert all(r["checked"] for r in done)


def test_processes_of_their_own(tmp_path: Path) -> None:
    found = run(tmp_path, "rest", "--cells", "[imf]*", *SMALL)
    by_name = {r["name"].split()[0]: r for r in found["cells"]}
    assert by_name["import"]["seconds"][0] < 5 and by_name["first"]["seconds"][0] < 5
    assert by_name["memory"]["bytes"] > 10 << 20


def test_a_tilt_and_a_report_are_measured_whole(tmp_path: Path) -> None:
    found = run(tmp_path, "rest", "--cells", "[wr]*", *SMALL)
    assert [r["name"].split()[0] for r in found["cells"]] == ["whole", "report"]
    assert all(r["checked"] and r["seconds"][0] > 0 for r in found["cells"])


@pytest.mark.parametrize(
    "argv, wanted",
    [
        (["scores"], "'scores'"), (["score", "--rows", "0"], "--rows"), (["--pairs", "-1"], "--pairs"),
        (["--dim", "x"], "--dim"), (["--dim", "1"], "--dim"), (["--peers", "pandas"], "'pandas'"),
        (["score", "--json-file", "/no/such/folder/f.json"], "--json-file"), (["--resume"], "--json-file"),
        (["--cells", "nothing*"], "nothing*"), (["--compare", "/no/such.json", "/no/such.json"], "no/such"),
        (["--output", "/no/such/folder"], "--output"),
    ],
)  # fmt: skip
def test_bad_input_is_exit_code_2(argv: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert wanted in capsys.readouterr().err


def test_a_wrong_result_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    honest = ours._CALLS["score"]
    monkeypatch.setitem(ours._CALLS, "score", lambda p, t: lambda: honest(p, t)() * np.float32(1 + 1e-3))
    assert main(["score", "--cells", "score f32 * K=8", *SMALL]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_resume_measures_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["score", "--cells", "score f32 * K=[18]", *SMALL]
    before = run(tmp_path, *argv)["cells"]
    monkeypatch.setattr(Bench, "record", lambda self, cell: pytest.fail(f"{cell.name} again"))
    assert run(tmp_path, *argv, "--resume")["cells"] == before
    path = tmp_path / "bench.json"
    old = json.loads(path.read_text())
    path.write_text(json.dumps({**old, "about": {**old["about"], "digest": "other code"}}))
    monkeypatch.setattr(Bench, "record", lambda self, cell: {"name": cell.name, "how": "x", "skipped": "again"})
    assert all(r["skipped"] == "again" for r in run(tmp_path, *argv, "--resume")["cells"])


def test_output_names_machine_and_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--cells", "score f32 * K=1", *SMALL, "--output", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("*.txt")
    assert written.read_text() == capsys.readouterr().out and "commit" in written.read_text()


def record(name: str, ratios: list[float] | float, **more: Any) -> dict[str, Any]:
    return {"name": name, "how": "odd", "odd": ratios, "checked": True, "seconds": [1.0], **more}


def verdict(ratios: list[float] | float, least: float, **more: Any) -> str:
    return judge([record("cell", ratios, **more)], [Target("row", "c*", "odd", least)])[0].verdict


def test_verdicts_follow_the_rule() -> None:
    nine = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8]  # interval [1.1, 1.7]
    assert verdict(nine, 1.1) == "met" and verdict(nine, 1.71) == "missed"
    assert verdict(nine, 1.2) == verdict(nine, 1.7) == "not resolved"
    assert verdict(nine[:8], 0.5) == "not resolved"  # fewer than nine pairs
    assert verdict(2.0, 2.0) == "met" and verdict(1.9, 2.0) == "missed"
    assert verdict(nine, 1.1, checked=False) == "WRONG"
    assert verdict([], 1.0) == "no such peer"
    skipped = {"name": "cell", "how": "odd", "skipped": "not built"}
    assert judge([skipped], [Target("row", "cell", "odd", 1.0)])[0].verdict == "not built"


def test_every_target_has_a_cell_and_every_cell_a_name_of_its_own() -> None:
    names = [c.name for c in cells(list(GROUPS), Sizes())]
    assert len(set(names)) == len(names)
    assert [t for t in TARGETS if not any(fnmatchcase(n, t.cells) for n in names)] == []


def test_a_limit_that_a_peer_beats_is_raised() -> None:
    peers = [{"checked": True, "seconds": 0.5}, {"checked": False, "seconds": 0.1}]
    r = record(
        "cell", [], peers=peers, limit=[0.9] * 9, limit_by="fma", limit_key="fma",
        work={"n_bytes": 1.0, "n_flops": 3e9, "n_exps": 0.0}, rates={"fma": [1e9, 2e9]},
    )  # fmt: skip
    assert raised([r]) == {"fma": 3.0}  # 6e9 by the exact peer over the best probe; the inexact one counts for nothing
    assert judge([r], [Target("row", "cell", "limit", 0.5)])[0].figure == pytest.approx(0.3)
    assert limit_seconds(Work(1e9, 2e9), {"read": 1e9, "fma": 1e9}) == (2.0, "fma")


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = {
        "limit_by": "fma", "limit_key": "fma", "work": {"n_bytes": 1.0, "n_flops": 1.0, "n_exps": 0.0},
        "rates": {"fma": [10.0]},
    }  # fmt: skip
    paths = []
    for name, share in (("a", 0.5), ("b", 0.8)):
        cell = record("odd x", [share + 0.1] * 9, limit=[share] * 9, **{**base, "seconds": [1 / share] * 9})
        run_ = {"about": {"cpu": "x", "commit": name}, "limits": {}, "cells": [cell, record(f"only {name}", [1.0])]}
        paths.append(str(tmp_path / name))
        Path(paths[-1]).write_text(json.dumps(run_))
    assert main(["--compare", *paths]) == 0
    out = capsys.readouterr().out
    assert "faster" in out and "0.50 [0.50, 0.50]" in out and "only in A: only a" in out
    assert "odd sizes: odd x, odd: missed -> not resolved" not in out and "missed" not in out.split("verdicts")[0]
    assert main(["--compare", paths[1], paths[0]]) == 0
    assert "slower" in capsys.readouterr().out
    Path(paths[0]).write_text("{}")
    assert main(["--compare", *paths]) == 2


def test_interval_covers_the_median() -> None:
    assert interval([1.0] * 5) is None and median([4.0, 1.0, 2.0]) == 2.0
    rng = np.random.default_rng(0)
    found = [interval(list(rng.exponential(size=9))) for _ in range(2000)]
    covered = np.mean([a is not None and a[0] <= np.log(2) <= a[1] for a in found])
    assert 0.95 <= covered <= 0.975  # the nine give 0.961


def test_rounds_take_turns() -> None:
    order: list[str] = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    out = timed_rounds(calls, {"p": lambda: len(order)}, least=3, most=3)
    assert order == ["a", "b", "b", "a", "a", "b"] and out.rates["p"] == [2, 2, 6]
    assert [len(out.seconds[name]) for name in calls] == [3, 3]
    assert len(timed_rounds(calls, {}, least=2, most=50, budget=0.0).seconds["a"]) == 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_chunks_hold_the_exact_rows(tmp_path: Path, dtype: str) -> None:
    rows = Files(str(tmp_path)).rows(dtype, 32768, 66)  # more than one chunk
    parts = [(begin, x.copy()) for begin, x in rows.chunks()]
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate([x for _, x in parts]), rows.exact())
    np.testing.assert_array_equal(rows.dump.read(0, 100), rows.exact()[:100])
    assert abs(rows.exact()[:, 0].mean() - 30) < 0.5  # the outlier dimension


def test_repeated_rows_fill_the_file(tmp_path: Path) -> None:
    n, d = 3 * (1 << 18) // 3 + 7, 33  # the last piece is a short one
    rows = Files(str(tmp_path)).rows("bfloat16", n, d, repeat=True)
    assert rows.stored.shape == (n, d) and np.isfinite(rows.exact(slice(n - 9, n))).all()
    assert np.abs(rows.exact(slice(n - 9, n), slice(1, d))).max() < 10


def test_unaligned_rows_have_the_same_scores(tmp_path: Path) -> None:
    made = Bench(Files(str(tmp_path)), {}, Limits(1, 0.01), 1, 1, 0.0)
    cell = Cell("odd", "score", "bfloat16", 8, 20, 64, other=(64, 20, 8, 16), shifted=True)
    rows = made.rows(cell)
    assert rows.stored.ctypes.data % 2 == 1
    assert made.record(cell)["checked"]


@pytest.mark.parametrize("level", _core.isa_available())
def test_the_exponential_probe_computes_exponentials(level: str) -> None:
    kept = _core.isa()
    x = np.linspace(-80, 80, 10001, dtype=np.float32)
    try:
        _core.isa_select(level)
        np.testing.assert_allclose(_core.probe_exp_values(x), np.exp(x.astype(np.float64)), rtol=3e-7)
        assert _core.probe_exp(0.1, 2) > 0
    finally:
        _core.isa_select(kept)


def test_probes_refuse_nonsense() -> None:
    rows = np.ones((9, 33), np.float32)
    assert all(_core.probe_read(rows, s, t) > 0 for s in (1, 4, 8) for t in (1, 2)) and _core.probe_fma(0.001, 2) > 0
    for call in (
        lambda: _core.probe_read(rows, 2, 1), lambda: _core.probe_read(rows.T, 1, 1), lambda: _core.probe_fma(0.0, 1),
        lambda: _core.probe_read(rows, 1, 0), lambda: _core.probe_exp(-1.0, 1), lambda: _core.probe_fma(1.0, 10**6),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"wanted|positive"):
            call()


def test_listing_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "odd"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("odd score bf16")
    assert bench.__doc__ is not None and isinstance(Rows.__doc__, str)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW_PEERS else n
                                  for n in instead.LIBRARIES])  # fmt: skip
def test_what_one_would_run_instead_computes_the_same(tmp_path: Path, name: str) -> None:
    pytest.importorskip(name)
    for kernel in instead.DEFINED:
        for dtype in ("float32", "bfloat16", "float16"):
            folder = tmp_path / f"{kernel}-{dtype}"
            folder.mkdir()
            p = problem(folder, kernel, dtype, n=96)
            error = exact.error(p, instead.calls(p, [name])[name]())
            assert error <= 20 * TOLERANCES[kernel], (kernel, dtype)  # float32 as it comes


def test_the_command_measures_every_kernel_beside_numpy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "bench.json"
    argv = ["--quick", "--rows", "33", "--dim", "17", "--pairs", "1", "--peers", "numpy", "--json-file", str(target)]
    assert in_wheel.main(argv) == 0
    found = json.loads(target.read_text())
    names = [r["name"] for r in found["cells"]]
    assert len(names) == 3 * sum(map(len, in_wheel.KERNELS.values())) == len(set(names))
    assert found["about"]["rows"] == 48 and found["about"]["threads"] >= 1 and found["limits"]
    for r in found["cells"]:
        assert r["checked"] and r["error"] <= r["tolerance"] and r["limit_by"] in ("read", "fma", "exp")
        assert len(r["seconds"]) == len(r["peers"]["numpy"]["ratio"]) == len(r["limit"]) >= 1
    printed = capsys.readouterr().out
    assert all(name in printed for name in names) and "numpy / ours" in printed
    assert in_wheel.main(["--list", "score"]) == 0
    assert capsys.readouterr().out.split("\n")[:2] == ["score f32 K=1", "score f32 K=8"]


def test_the_command_says_when_a_result_is_wrong(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    honest = ours._CALLS["score"]
    monkeypatch.setitem(ours._CALLS, "score", lambda p, t: lambda: honest(p, t)() * np.float32(1 + 1e-3))
    assert in_wheel.main(["score", "--quick", "--cells", "*f32 K=8", "--peers", "none"]) == 1
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, wanted",
    [
        (["scores"], "'scores'"), (["--rows", "0"], "--rows"), (["--pairs", "-1"], "--pairs"),
        (["--dim", "x"], "--dim"), (["--peers", "pandas"], "'pandas'"), (["--dir", "/no/such/folder"], "--dir"),
        (["--json-file", "/no/such/folder/f.json"], "--json-file"), (["--cells", "nothing*"], "nothing*"),
    ],
)  # fmt: skip
def test_bad_input_of_the_command_is_exit_code_2(argv: list[str], wanted: str, capsys: Any) -> None:
    assert in_wheel.main(argv) == 2
    assert wanted in capsys.readouterr().err
