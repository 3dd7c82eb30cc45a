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
from clinometer.common.visible import few
from clinometer.dump import opening
from clinometer.dump.windows import is_windowed
from clinometer.reporting import moved_rows as moved

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


def test_messages_name_a_few() -> None:
    assert few(["a", "b"]) == "a, b"
    assert few([f"n{k}" for k in range(1000)]) == "n0, n1, n2, n3 and 996 more"
    assert len(few(["x" * 100_000])) < 100
