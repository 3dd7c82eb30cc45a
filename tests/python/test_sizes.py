"""Very many, very long: what is printed, mapped and put on a page is bounded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.cli import main
from clinometer.common.visible import few, nearest
from clinometer.dump import opening, windows
from clinometer.dump.windows import is_windowed
from clinometer.reporting import responses as moved
from clinometer.sources import window

N = 24
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
IDS = np.arange(N) // 6


def test_inspect_shows_the_first_columns_and_counts_the_others(tmp_path: Path, capsys: Any) -> None:
    long = {f"value_{k:05d}{'x' * 5000}": np.arange(N) * k for k in range(700)}
    cm.write_dump(tmp_path / "d", X, prompt_ids=IDS, columns=long)
    assert main(["inspect", str(tmp_path / "d")]) == 0
    out = capsys.readouterr().out
    assert len(out) < 40_000 and "... and 501 more" in out and "value_00100" in out and "value_00400" not in out
    assert main(["inspect", str(tmp_path / "d"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_columns"] == 701 and len(found["columns"]) == 200


def test_no_table_or_message_prints_an_endless_name(tmp_path: Path, capsys: Any) -> None:
    long = {"judge/" + "g" * 50_000: X[:, 0], "judge/" + "h" * 50_000: X[:, 1], "value_" + "a" * 50_000: X[:, 2] ** 2}
    judge, other, value = long
    cm.write_dump(tmp_path / "d", X, prompt_ids=IDS, columns={**long, "value_b": X[:, 1] ** 2})
    dump, values = str(tmp_path / "d"), ["--value", value.removeprefix("value_")]
    page = ["-o", str(tmp_path / "r.html")]
    for command in (
        ["tilt", dump, "--constitutions", judge, *values, "--betas", "1"],
        ["pareto", dump, "--constitutions", judge, other, *values, "--value", "b"],
        ["report", dump, "--constitutions", judge, *values, *page],
        ["report", dump, "--constitutions", judge, *values, "--check", f"{values[1]} >= 5 at kl=0.1", *page],
        ["report", dump, "--constitutions", judge, "--value", "x" * 50_000, *page],
    ):
        assert main(command) in (0, 1, 2)
        said = capsys.readouterr()
        assert len(said.out) + len(said.err) < 12_000, command[0]
    assert (tmp_path / "r.html").stat().st_size < 1_000_000


@pytest.mark.parametrize("most", [2, 100])
def test_many_shards_are_read_by_windows_with_the_same_bits(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cm.write_dump(tmp_path / "d", X, prompt_ids=IDS, columns={"value_a": X[:, 0] ** 2}, shard_rows=1)
    monkeypatch.setattr(opening, "MAPS", most)
    dump, held = cm.open_dump(tmp_path / "d"), cm.open_dump(X, prompt_ids=IDS, columns={"value_a": X[:, 0] ** 2})
    assert is_windowed(dump) == (most == 2) and len(dump.segments) == N
    for call in (
        lambda d: cm.tilt(d, np.eye(3), [1.0], ["a"]).gain,
        lambda d: cm.moments(d).covariance,
        lambda d: cm.score(d, np.eye(3)),
        lambda d: cm.fit_value_direction(d, "a", folds=2).vectors,
    ):
        np.testing.assert_array_equal(call(dump), call(held))
    if most == 2:
        (tmp_path / "d" / "phi-00003.safetensors").write_bytes(b"other")
        with pytest.raises(cm.DumpChangedError):
            cm.moments(dump)


@pytest.mark.parametrize("ordered", [True, False])
def test_windows_over_many_files_have_few_pieces_and_the_same_bits(
    ordered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, rng = 20_011, np.random.default_rng(1)
    x, ids = rng.normal(size=(n, 3)).astype(np.float16), np.arange(n) // 7
    ids = ids if ordered else rng.permutation(ids)
    cm.write_dump(tmp_path / "d", x, prompt_ids=ids, columns={"value_a": x[:, 0] ** 2}, shard_rows=499)
    monkeypatch.setattr(opening, "MAPS", 2)
    monkeypatch.setattr(window, "WINDOW_BYTES", 1)
    dump, held = cm.open_dump(tmp_path / "d"), cm.open_dump(x, prompt_ids=ids, columns={"value_a": x[:, 0] ** 2})
    for call in (lambda d: cm.tilt(d, np.eye(3), [1.0], ["a"]).gain, lambda d: cm.moments(d).covariance):
        np.testing.assert_array_equal(call(dump), call(held))
    found = list(windows.resident(dump, None, None, 0, n, 8192))
    assert [(a, b) for a, b, _ in found] == [(0, 8192), (8192, 16384), (16384, n)]
    for a, b, pieces in found:
        assert (
            len(pieces) <= 3 and [at for _, at in pieces] == np.cumsum([0, *(len(p) for p, _ in pieces[:-1])]).tolist()
        )
        rows = np.concatenate([p for p, _ in pieces])
        np.testing.assert_array_equal(rows[a:b], x[a:b])
        assert np.isnan(rows[:a]).all() and np.isnan(rows[b:]).all()
    assert len(windows.placeholder(dump)) == 1 and dump.fingerprint() == held.fingerprint()


def test_an_error_names_a_few_of_very_many(tmp_path: Path) -> None:
    many = cm.open_dump(X, prompt_ids=IDS, columns={f"value_{k}": X[:, 0] for k in range(5000)})
    with pytest.raises(ValueError, match=r"'value_19' and 4,980 more") as caught:
        cm.tilt(many, np.eye(3), [1.0], ["nothing"])
    assert len(str(caught.value)) < 1000 and len(repr(many.columns)) < 1000
    assert nearest("x" * 100_000, ["x" * 100_000 + "y"]) is None and nearest("helpfol", ["helpful"]) == "helpful"
    with pytest.warns(UserWarning, match="and 480 more are zero") as warned:
        cm.tilt(X, np.zeros((500, 3)), [1.0], prompt_ids=IDS)
    assert len(str(warned[0].message)) < 1000


def test_maps_hold_no_descriptors(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no list of descriptors")
    cm.write_dump(tmp_path / "d", X, prompt_ids=IDS, shard_rows=1)
    before = len(os.listdir("/proc/self/fd"))
    dump = cm.open_dump(tmp_path / "d")
    cm.moments(dump)
    assert len(os.listdir("/proc/self/fd")) - before < 4


def test_texts_on_a_page_are_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "LONGEST", 50)
    world = cm.simulate(n_prompts=20, n_responses=4, dim=3, random_state=0)
    texts = [("p" * 10, "r" * 100_000)] * world.n_rows
    texts = [{"prompt": p, "response": r} for p, r in texts]
    report = cm.report(world, constitutions=["judge/c0"], values=["s"], kl=[0.2], texts=texts)
    assert {e["prompt"] for e in report.examples} == {"p" * 10}
    assert {e["text"] for e in report.examples} == {"r" * 50 + "... (99,950 more characters)"}
    assert len(report.to_json()) < 100_000


def test_overlong_names_are_cut_where_they_are_read_and_whole_where_they_are_data() -> None:
    rng, n = np.random.default_rng(0), 30_000
    x, ids = rng.normal(size=(120, 3)), np.repeat([f"{k}{'p' * n}" for k in range(12)], 10)
    judges, value, group = ["j" * n + end for end in "ab"], "v<" * n, "g" * n
    held = {f"judge/{j}": x[:, k] for k, j in enumerate(judges)} | {f"value_{value}": x[:, 0] + x[:, 1]}
    dump = cm.open_dump(x, prompt_ids=ids, columns=held | {group: np.repeat(["m" * n, "w"], 60)}, policy="on_policy")
    texts = [{"prompt": "p", "response": "r"}] * 120
    report = cm.report(dump, constitutions=[f"judge/{j}" for j in judges], values=[value], kl=[0.1], groups=[group],
                       texts=texts)  # fmt: skip
    assert report.groups[0].groups == ("m" * n, "w") and report.examples
    for shown in (report.to_html(), report.to_text(full=True), report.to_text(), report.verdict()):
        assert len(shown) < 200_000 and "more characters, long name" in shown
        assert not any(name in shown for name in (judges[0], judges[1], group))
    frame = report.to_frame()
    assert set(frame["constitution"]) == {f"judge/{j}" for j in judges} and set(frame["value"]) == {value}
    assert json.loads(report.to_json())["constitutions"] == [f"judge/{j}" for j in judges]


def test_messages_name_a_few() -> None:
    assert few(["a", "b"]) == "a, b"
    assert few([f"n{k}" for k in range(1000)]) == "n0, n1, n2, n3 and 996 more"
    assert len(few(["x" * 100_000])) < 100
