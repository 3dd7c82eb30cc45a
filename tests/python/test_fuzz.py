"""The kept corpus of the fuzzers, and some fresh mutations: every parser refuses or agrees with its own library."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
from targets import TARGETS, Finding, run

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
FRESH = 150


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_and_fresh_mutations(name: str, tmp_path: Path) -> None:
    seeds = TARGETS[name].seeds(tmp_path)
    assert all(run(name, data, tmp_path) for data in seeds)
    for path in sorted((CORPUS / name).glob("*")):
        run(name, path.read_bytes(), tmp_path)
    rng = random.Random(name)
    kinds = [run(name, TARGETS[name].mutate(rng.choice(seeds), rng), tmp_path) for _ in range(FRESH)]
    assert 0 < sum(kinds) < FRESH, "mutations are all refused or all accepted"


def test_a_law_that_does_not_hold_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import targets

    data = TARGETS["npy"].seeds(tmp_path)[0]
    assert run("npy", data, tmp_path) and not run("npy", data[:-1], tmp_path)
    monkeypatch.setattr(targets.np, "load", lambda *_, **__: targets.PHI * 2)
    with pytest.raises(Finding, match="other values"):
        run("npy", data, tmp_path)
