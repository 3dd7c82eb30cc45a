"""Drift of a judge over rounds: planes of known angle, still worlds, one that turns harmful, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import clinometer as cm
from clinometer import theory
from clinometer.theory.drift import Turned, fitted

TURN = 0.3 + 0.35 * np.arange(6)  # the value is lost in round 5


def _rounds(angles: Any, seed: int = 0, noise: float = 1.0, **more: Any) -> tuple[list[cm.Dump], list[Any]]:
    """u_C at these angles to u*, turning in one plane; the judge's scores carry noise of their own."""
    sizes = {"n_prompts": 120, "n_responses": 8, "dim": 5, "n_constitutions": 1, "world": 1, **more}
    dumps = [cm.simulate(**sizes, alignment=np.cos(a), random_state=100 * seed + r) for r, a in enumerate(angles)]
    rng = np.random.default_rng([seed, 7])
    return dumps, [np.asarray(d.column("judge/c0")) + noise * rng.normal(size=d.n_rows) for d in dumps]


def test_a_plane_turns_and_the_rule_stops_it() -> None:
    dumps, judges = _rounds(TURN)
    found = theory.judge_drift(dumps, judges, "s", bound=3.0)
    assert np.abs(found.angle - (TURN - 0.3)).max() < 0.25 and np.abs(found.step[1:] - 0.35).max() < 0.25
    assert np.isnan(found.step[0]) and found.angle_ci[0].tolist() == [0.0, 0.0]
    assert (found.angle_ci[2:, 0] > 0.3).all()
    assert (found.gain[:3, 0] > 0).all() and found.gain_ci[5, 0, 1] < 0
    assert found.stop in (5, 6) and found.reason == "the gain of s is below 0"
    sooner = theory.judge_drift(dumps, judges, "s", bound=0.7)
    assert sooner.stop is not None and sooner.stop < found.stop and "angle" in sooner.reason
    assert "stop at round" in str(found)


def test_a_still_judge_is_left_alone() -> None:
    stops, angles = [], []
    for seed in range(12):
        found = theory.judge_drift(*_rounds(np.full(3, 0.8), seed, n_prompts=60), "s", folds=4)
        stops.append(found.stop)
        angles.append(found.angle[1:])
        assert (found.angle_ci[1:, 0] <= 0.1).all()
    assert stops == [None] * 12


def test_noise_of_the_fits_is_no_drift() -> None:
    dumps, judges = _rounds(np.full(2, 0.5), 3, noise=4.0)
    plain = [cm.fit_value_direction(d, j, method="least_squares").vector for d, j in zip(dumps, judges, strict=True)]
    raw = np.arccos(theory.score_correlation(plain[0], plain[1], dumps[0].truth.sigma).item())
    found = theory.judge_drift(dumps, judges, "s")
    assert raw > 0.3 and found.angle[1] < 0.7 * raw and found.angle_ci[1, 0] < 0.05


def test_a_later_round_changes_no_earlier_answer() -> None:
    dumps, judges = _rounds(TURN, 1)
    whole = theory.judge_drift(dumps, judges, "s")
    assert whole.stop is not None
    for T in range(2, 6):
        part = theory.judge_drift(dumps[:T], judges[:T], "s")
        assert part.stop == (whole.stop if whole.stop <= T else None)
        np.testing.assert_allclose(part.angle, whole.angle[:T], rtol=1e-6)
        np.testing.assert_allclose(part.gain, whole.gain[:T], rtol=1e-9)


def test_the_error_of_a_cosine_is_a_jackknife_s() -> None:
    dumps, judges = _rounds([0.3, 1.1], 5, n_prompts=60, dim=3)

    def cosine(keep: Any) -> tuple[float, float]:
        some = [d.select(prompts=keep) for d in dumps]
        rows = [np.isin(np.asarray(d.prompt_ids), keep) for d in dumps]
        rounds = [fitted(d, cm.Scores(j[at]), 4, None, {}) for d, j, at in zip(some, judges, rows, strict=True)]
        return Turned(rounds, {}).cosine(0, 1)[:2]

    everyone = np.arange(60)
    centre, error = cosine(everyone)
    groups = [everyone[i::20] for i in range(20)]
    left = np.array([cosine(np.setdiff1d(everyone, g))[0] for g in groups])
    jackknife = float(np.sqrt(19 / 20 * ((left - left.mean()) ** 2).sum()))
    assert 0.7 < error / jackknife < 1.4
    assert abs(centre - np.cos(0.8)) < 4 * error


def test_gains_are_those_of_gain_intervals() -> None:
    dumps, _ = _rounds([0.3, 0.9], 4)
    found = theory.judge_drift(dumps, "judge/c0", "s", kl=0.05)
    for i, dump in enumerate(dumps):
        want = cm.inference.gain_intervals(dump, "judge/c0", values="s", kl=[0.05])
        assert found.gain[i] == want.estimate[0, 0] and found.gain_se[i] == want.estimate_se[0, 0]
        half = stats.t.ppf(0.975, want.units[0, 0] - 1) * found.gain_se[i]
        np.testing.assert_allclose(found.gain_ci[i, 0], found.gain[i] + half * [-1, 1])
    assert found.step[1] == found.angle[1] and np.array_equal(found.step_ci[1], found.angle_ci[1])


def test_pairs_are_fitted_to() -> None:
    dumps, judges = _rounds([0.2, 1.4], 7, noise=0.5, n_prompts=200)
    pairs = np.stack([np.arange(0, 1600, 2), np.arange(1, 1600, 2)], axis=1)
    given = [(pairs, 1 / (1 + np.exp(-(j[pairs[:, 0]] - j[pairs[:, 1]])))) for j in judges]
    found = theory.judge_drift(dict(zip("ab", dumps, strict=True)), given, "s", fits={"alpha": 1e-3})
    assert found.rounds == ("a", "b") and found.angle[1] == pytest.approx(1.2, abs=0.25)
    assert found.angle_ci[1, 0] < 1.2 < found.angle_ci[1, 1]
    assert found.gain[0, 0] > found.gain[1, 0]


def test_fewer_rows_than_columns_take_a_ridge() -> None:
    dumps, judges = _rounds([0.3, 0.3, 1.7], 8, n_prompts=60, dim=300, spectrum=np.eye(300)[:8].sum(axis=0))
    with pytest.raises(ValueError, match="least squares wants more than 2 d"):
        theory.judge_drift(dumps, judges, "s")
    found = theory.judge_drift(dumps, judges, "s", fits={"method": "ridge", "alpha": 0.1}, folds=4)
    assert found.angle_ci[1, 0] < 0.3 and found.angle[2] == pytest.approx(1.4, abs=0.35)


def test_what_is_refused() -> None:
    dumps, _ = _rounds([0.3, 0.3], n_prompts=20)
    other = cm.simulate(20, 8, 6, n_constitutions=1)
    cases: list[tuple[Any, Any, str]] = [
        (([dumps[0]], "judge/c0"), {}, "two or more dumps"),
        (([dumps[0], other], "judge/c0"), {}, r"have \[5, 6\] columns"),
        ((dumps, ["judge/c0"]), {}, "lists 1 judges for 2 rounds"),
        ((dumps, np.eye(5)[:1]), {}, "scores have 1 rows"),
        ((dumps, cm.Directions(["u"], np.eye(5)[:1])), {}, "judge: wanted one column"),
        ((dumps, (np.zeros((3, 2), int), np.ones(2))), {}, "judge: pairs"),
        ((dumps, "judge/c0"), {"fits": {"method": "lda"}}, "method is 'lda'"),
        ((dumps, "judge/c0"), {"kl": 0.0}, "kl is 0.0"),
        ((dumps, "judge/c0"), {"bound": 4.0}, "bound is 4.0"),
        ((dumps, "judge/c0"), {"level": 2}, "level is 2"),
        ((dumps, "judge/c0"), {"within": False}, "within is False"),
    ]
    few = [cm.simulate(8, 3, 5, n_constitutions=1, random_state=r) for r in range(2)]
    cases.append(((few, "judge/c0"), {}, "least squares wants more than 2 d"))
    for (rounds, judge), options, message in cases:
        with pytest.raises(ValueError, match=message):
            theory.judge_drift(rounds, judge, "s", **options)


def test_clusters_are_those_of_the_errors() -> None:
    dumps, judges = _rounds(TURN[:2])
    alone = theory.judge_drift(dumps, judges, "s")
    by_topic = theory.judge_drift(dumps, judges, "s", clusters=np.asarray(dumps[0].prompt_ids) // 8)
    np.testing.assert_allclose(by_topic.angle, alone.angle, rtol=0.2)
    assert np.isfinite(by_topic.angle_ci).all() and (by_topic.angle_ci != alone.angle_ci).any()


def test_the_angle_is_covered_where_prompts_differ_in_spread() -> None:
    """A few prompts carry most of the judge's variance; by plain influences .87 of 200 such dumps held the angle."""
    held, G, n = 0, 60, 8
    for seed in range(80):
        rng = np.random.default_rng(seed)
        dumps = []
        for u in (np.array([1.0, 0, 0, 0]), np.array([0.9, np.sqrt(0.19), 0, 0])):
            spread = np.repeat(np.exp(1.2 * rng.standard_normal(G)), n)[:, None]
            phi = spread * rng.standard_normal((G * n, 4))
            t = phi @ u + 0.1 * spread[:, 0] * rng.standard_normal(G * n)
            ids = np.repeat(np.arange(G), n) + 1000 * len(dumps)
            dumps.append(cm.open_dump(phi, prompt_ids=ids, columns={"t": t, "a": phi[:, 0]}))
        low, high = theory.judge_drift(dumps, "t", "a", kl=0.1, bound=1.0).angle_ci[1]
        held += int(low < np.arccos(0.9) < high)
    assert held >= 74
