"""`benchmarks/lps`: peers solve what we solve, ratios and verdicts are what the times say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clinometer import lp

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks/lps"))
import lp_cases as bench
from lp_peers import Highs, daqp_cone, quadprog_margin, scipy_game
from lp_peers_qp import clarabel_game, clarabel_margin, glop_game, proxqp_margin, torchjd_margin

RNG = np.random.default_rng(1)


def case(target: float | None, seconds: list[float], peer: list[float]) -> bench.LPCase:
    made = bench.LPCase("cone", "k=2", "peer", np.zeros((1, 2, 2)), lambda b: b, None, target, 1)
    made.seconds, made.peer_seconds = seconds, peer
    return made


def test_verdicts_follow_the_interval() -> None:
    nine = [1.0] * 9
    assert case(2.0, nine, [3.0] * 9).verdict == "met"
    assert case(4.0, nine, [3.0] * 9).verdict == "missed"
    assert case(3.0, nine, [2.0] * 4 + [4.0] * 5).verdict == "not resolved"
    assert case(3.0, [1.0] * 3, [4.0] * 3).verdict == "too few pairs"
    assert case(None, nine, nine).verdict == ""
    assert case(2.0, [0.5] * 9, [3.0] * 9).ratios == [6.0] * 9


def test_a_wrong_value_is_seen() -> None:
    batch = RNG.standard_normal((40, 3, 3))
    right = bench.LPCase("cone", "k=3", "SciPy", batch, bench._cone, scipy_game("cone"), None, 5)
    assert bench.time_lp(right, 2).checked and len(right.ratios) == 2
    wrong = bench.LPCase("cone", "k=3", "SciPy", batch, lambda b: bench._cone(b) + 1e-3, scipy_game("cone"), None, 5)
    assert not bench.time_lp(wrong, 1).checked and "WRONG" in bench.render_lp([wrong])


def test_games_of_prompts_are_the_games_peers_solve() -> None:
    batch = RNG.standard_normal((6, 3, 7))
    batch -= batch.mean(axis=2, keepdims=True)
    found = bench._games(batch)
    for m, value in zip(batch, found, strict=True):
        assert value == pytest.approx(scipy_game("game")(m), abs=1e-9)
        assert value == pytest.approx(lp.ensemble(m).value, abs=1e-9)


def test_peers_agree() -> None:
    a = RNG.standard_normal((4, 4))
    want = lp.cone(a).value
    assert scipy_game("cone")(a) == pytest.approx(want, abs=1e-7)
    if (daqp := daqp_cone()) is not None:
        assert daqp(a) == pytest.approx(want, abs=1e-4)
    if (quadprog := quadprog_margin()) is not None:
        assert quadprog(a @ a.T) > 0
        units = a / np.linalg.norm(a, axis=1)[:, None]
        assert quadprog(units @ units.T) == pytest.approx(lp.gram_cone(a @ a.T).margin, abs=1e-9)
    pytest.importorskip("highspy")
    highs = Highs("cone")
    assert highs(a) == pytest.approx(want, abs=1e-7) and highs.inside >= 0
    wide = RNG.standard_normal((3, 50))
    assert Highs("game", primal=True)(wide) == pytest.approx(lp.ensemble(wide).value, abs=1e-7)


def test_more_peers_agree_where_they_are_installed() -> None:
    a, wide = RNG.standard_normal((4, 4)), RNG.standard_normal((3, 9))
    units = a / np.linalg.norm(a, axis=1)[:, None]
    gram = np.ascontiguousarray(units @ units.T)
    margin = lp.gram_cone(gram).margin
    for make, tolerance in ((proxqp_margin, 1e-4), (clarabel_margin, 1e-4), (torchjd_margin, 0.2)):
        if (peer := make()) is not None:
            assert peer(gram) == pytest.approx(margin, abs=tolerance)
    for make_game in (clarabel_game, glop_game):
        if (peer := make_game("cone")) is not None:
            assert peer(a) == pytest.approx(lp.cone(a).value, abs=1e-6)
        if (peer := make_game("game")) is not None:
            assert peer(wide) == pytest.approx(lp.ensemble(wide).value, abs=1e-6)


def test_what_it_does_not_take_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, bench.__file__.replace("lp_cases", "compare_lps"), "score"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "unrecognized arguments: score" in done.stderr
