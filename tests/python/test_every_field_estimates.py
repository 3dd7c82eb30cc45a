"""Estimates over rounds, models, groups and gold labels: every float field against definitions and simpler routes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plain import Floats, Prompts, agree
from scipy import stats

import clinometer as cm
from clinometer import theory

G, N = 60, 8
IDS = np.repeat(np.arange(G), N)
P = Prompts(IDS)
LEVEL = 0.9


def rows(seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((G * N, 3)) * [1.5, 1.0, 0.7] + rng.standard_normal((G, 3))[IDS]


def half(se: Any, units: Any, level: float = LEVEL) -> Floats:
    return np.asarray(stats.t.ppf(0.5 + level / 2, np.asarray(units) - 1) * se)


def test_a_judge_that_turns() -> None:
    judges = np.array([[1.0, 0.0, 0.2], [0.8, 0.5, 0.2], [0.2, 1.0, 0.1]])
    phi = [rows(i) for i in range(3)]
    dumps = [
        cm.open_dump(x, prompt_ids=IDS, columns={"t": x @ u, "a": x[:, 0] + np.sin(9 * x[:, 1])})
        for x, u in zip(phi, judges, strict=True)
    ]
    found = theory.judge_drift(dumps, "t", "a", kl=0.15, bound=0.5, level=LEVEL, precision="double")
    own = [cm.inference.gain_intervals(d, "t", values="a", kl=[0.15], level=LEVEL, precision="double") for d in dumps]
    # judges that are linear leave no noise in the fits: angles are those of the scores on the rows of the first round
    t = (phi[0] @ judges.T).T
    angle = [0.0] + [np.arccos(P.r(t[0], t[r])) for r in (1, 2)]
    step = [np.nan] + [np.arccos(P.r(t[r - 1], t[r])) for r in (1, 2)]
    agree(found, {
        "gain": [x.estimate[0, 0] for x in own], "gain_se": [x.estimate_se[0, 0] for x in own],
        "angle": angle, "step": step, "bound": 0.5, "kl": 0.15, "level": LEVEL,
    }, apart="angle_ci step_ci gain_ci", rtol=1e-4, atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(found.gain_ci.mean(axis=-1), found.gain, rtol=1e-9)
    np.testing.assert_allclose(found.gain_ci, [x.estimate_interval[0, 0] for x in own], rtol=0.01)
    for at, ends in (found.angle, found.angle_ci), (found.step, found.step_ci):  # bounds are of the cosine
        np.testing.assert_allclose(np.cos(ends[1:]).mean(axis=1), np.cos(at[1:]), rtol=1e-6)
        assert (ends[1:, 0] < ends[1:, 1]).all()


def test_labelers_of_several_sizes() -> None:
    phi = rows(5)
    rng = np.random.default_rng(6)
    truth = phi @ [0.5, 0.5, 0.1]
    noise = {"1M": 2.0, "10M": 1.5, "100M": 1.6, "1B": 0.5}
    t = {name: truth + sd * rng.standard_normal(G * N) for name, sd in noise.items()}
    s = truth + 0.5 * rng.standard_normal(G * N)
    dumps = {name: cm.open_dump(phi, prompt_ids=IDS, columns={"t": x, "s": s}) for name, x in t.items()}
    found = theory.labeler_scaling(dumps, "t", "s", kl=0.15, level=LEVEL, precision="double")
    own = [
        cm.inference.gain_intervals(d, "t", values="s", kl=[0.15], level=LEVEL, precision="double")
        for d in dumps.values()
    ]
    r = np.array([P.r(x, s) for x in t.values()])
    gain = np.array([x.estimate.item() for x in own])
    size = [6.0, 7.0, 8.0, 9.0]
    tau = [stats.kendalltau(size, x, method="exact") for x in (r, gain)]
    step, each = 1e-4, []  # errors: the derivative of r in the weight of a prompt

    def weighted(w: Floats, a: Floats) -> float:
        x, y = (v - P.each(lambda i, v=v: v[i].mean())[IDS] for v in (a, s))
        return float(w @ (x * y) / np.sqrt((w @ (x * x)) * (w @ (y * y))))

    for x in t.values():
        psi = [weighted(1 + step * (g == IDS), x) - weighted(1 - step * (g == IDS), x) for g in range(G)]
        each.append(np.sqrt(G / (G - 1) * np.sum(np.square(psi))) / (2 * step))
    agree(found, {
        "sizes": 10 ** np.array(size), "quality": r[:, None], "quality_se": np.array(each)[:, None],
        "gain": gain[:, None], "gain_se": [x.estimate_se[0, 0] for x in own],
        "quality_tau": [tau[0].statistic],
        "quality_p": [tau[0].pvalue], "gain_tau": [tau[1].statistic], "gain_p": [tau[1].pvalue], "kl": 0.15,
        "level": LEVEL,
    }, apart="gain_ci quality_ci quality_slope quality_slope_ci gain_slope gain_slope_ci", rtol=1e-4)  # fmt: skip
    np.testing.assert_allclose(np.arctanh(found.quality_ci).mean(axis=-1), np.arctanh(found.quality), rtol=1e-6)
    lines = (found.quality_slope, found.quality_slope_ci), (found.gain_slope, found.gain_slope_ci)
    for at, ends in (*lines, (found.gain, found.gain_ci)):
        np.testing.assert_allclose(ends.mean(axis=-1), at, rtol=1e-6)
    # two models have one line through them, whatever they weigh
    two = theory.labeler_scaling({k: dumps[k] for k in ("1M", "1B")}, "t", "s", kl=0.15, precision="double")
    np.testing.assert_allclose(two.quality_slope, (r[3] - r[0]) / 3, rtol=1e-6)
    np.testing.assert_allclose(two.gain_slope, (gain[3] - gain[0]) / 3, rtol=1e-4)


def test_nonlinear_encoding() -> None:
    pytest.importorskip("sklearn")
    phi = rows(7)
    rng = np.random.default_rng(8)
    values = np.column_stack([phi @ [1.0, -0.5, 0.3], phi[:, 0] * phi[:, 1] + rng.standard_normal(G * N)])
    found = theory.nonlinear_encoding(
        phi, values, prompt_ids=IDS, n_features=40, gammas=[0.7], alphas=[0.003], level=LEVEL, folds=3
    )
    agree(found, {
        "difference": found.nonlinear - found.linear, "gamma": np.full((3, 2), 0.7),
        "linear_alpha": np.full((3, 2), 0.003), "level": LEVEL,
    }, apart="linear nonlinear linear_ci nonlinear_ci difference_ci linear_se nonlinear_se difference_se units "
             "linear_r nonlinear_r alpha", rtol=1e-9)  # fmt: skip
    assert set(found.alpha.ravel()) <= {0.003, np.inf} and np.isfinite(found.alpha[:, 1]).all()
    for i, name in enumerate(("linear", "nonlinear", "difference")):
        at, se, ends = (getattr(found, f"{name}{end}") for end in ("", "_se", "_ci"))
        wide = half(se, found.units[:, i])
        np.testing.assert_allclose(ends, np.stack([at - wide, at + wide], axis=-1), rtol=1e-8, atol=1e-12)
    # a linear value without noise is predicted but for the penalty, which bends its direction by a thousandth
    for x in (found.linear[0], found.nonlinear[0], found.linear_r[0], found.nonlinear_r[0]):
        assert 0.9999 < x <= 1


def test_the_share_of_generation_that_values_explain() -> None:
    phi = rows(9)
    made, u = np.array([0.5, 0.4, -0.3]), np.array([1.0, 0.2, 0.1])
    held = cm.open_dump(phi, prompt_ids=IDS, columns={"logprob": phi @ made, "s": phi @ u})
    found = theory.generation_share(held, "s", level=LEVEL, precision="double")
    r = P.r(phi @ made, phi @ u)
    cos = abs(r)
    alpha = cos / (cos + np.sqrt(1 - r * r))
    ends = np.sqrt(found.share_ci)
    agree(found, {
        "share": r * r, "alpha": alpha, "alpha_ci": ends / (ends + np.sqrt(1 - found.share_ci)), "cosine": [r],
        "rho2": [1.0], "generation_quality": 1.0, "level": LEVEL,
    }, apart="share_se share_ci units rho2_ci", rtol=0.004)  # fmt: skip  # weights of other prompts cost a little
    np.testing.assert_allclose(found.rho2_ci, 1.0, atol=1e-4)
    own = found.share + half(found.share_se, found.units) * np.array([-1, 1])
    root = np.sqrt(found.share)
    z, slope = np.arctanh(root), 1 / (2 * root * (1 - found.share))  # of the root, on Fisher's scale
    fisher = np.tanh(z + half(found.share_se * slope, found.units) * np.array([-1, 1])) ** 2
    wide = np.array([min(own[0], fisher[0]), max(own[1], fisher[1])])
    np.testing.assert_allclose(found.share_ci, wide, rtol=1e-6)


def two_topics() -> cm.Dump:
    phi = rows(10)
    rng = np.random.default_rng(11)
    t = phi[:, 0]
    columns = {
        "t": t, "a": t + rng.standard_normal(G * N), "topic": np.where(IDS < 25, 0, 1),
        "gold": np.where(IDS % 3 == 0, t + 0.3 * rng.standard_normal(G * N), np.nan),
    }  # fmt: skip
    return cm.open_dump(phi, prompt_ids=IDS, columns=columns)


def test_groups_of_a_report() -> None:
    held = two_topics()
    r = cm.report(held, constitutions=["t"], values=["a"], kl=[0.05, 0.2], groups=["topic"], sections=[],
                  precision="double")  # fmt: skip
    found = r.groups[0]
    parts = [held.select(prompts=x) for x in (np.arange(25), np.arange(25, G))]
    own = [cm.inference.gain_intervals(d, "t", r.policy.betas, "a", precision="double") for d in parts]
    agree(found, {
        "kl": [[0.05, 0.2]], "gain": [x.estimate for x in own], "gain_se": [x.estimate_se for x in own],
        "interval": [x.estimate_interval for x in own],
    }, apart="paid", rtol=1e-5)  # fmt: skip
    np.testing.assert_allclose(found.paid.mean(axis=-1), found.gain, rtol=1e-9)
    assert (found.paid[..., 0] < found.interval[..., 0]).all() and (found.paid[..., 1] > found.interval[..., 1]).all()


def test_gold_labels_of_a_report() -> None:
    held = two_topics()
    r = cm.report(held, constitutions=["t"], values=["a"], kl=[0.05, 0.2], gold="gold", sections=[], precision="double")
    found = r.gold
    gold = np.asarray(held.column("gold"))
    a = np.asarray(held.column("a"))
    on_gold = np.where(np.isnan(gold), np.nan, a)
    three = cm.report(held.with_options(columns=held.columns.merged({"on": on_gold})), constitutions=["t"],
                      values=["a", "gold", "on"], kl=[0.05, 0.2], sections=[], precision="double").policy  # fmt: skip
    f, y, on = np.moveaxis(three.gain[0], 1, 0)
    moved = three.units()[:, 0] * (G / 3)  # gains by prompt of gold: each has a weight of 3 / G
    agree(found, {
        "kl": [[0.05, 0.2]], "gain_values": f[None, :, None], "shared": found.gain_values - found.policy.gain,
        "interval_values": three.interval[:, :, :1],
        "gain_rows_values": cm.tilt(held, "t", values="a", kl=[0.05, 0.2], precision="double").gain,
    }, apart="shared_interval power", rtol=1e-5)  # fmt: skip
    known = ~np.isnan(gold[::N])
    for b in range(2):  # each prompt's weight is the slope of its gold gains in those of the values over the others
        own, of_value = moved[known, b, 1], moved[known, b, 2]
        lam = []
        for i in range(len(own)):
            u, v = np.delete(of_value - on[b], i), np.delete(own - y[b], i)
            lam.append(np.clip(u @ v / (u @ u), 0, 1))
        rest = 1 - known.mean()
        gain = y[b] - np.mean(lam) * (on[b] - f[b]) - rest * np.mean((lam - np.mean(lam)) * (of_value - on[b]))
        assert found.power[0, b, 0] == pytest.approx(np.mean(lam), rel=1e-6)
        assert found.policy.gain[0, b, 0] == pytest.approx(gain, rel=1e-6)
    np.testing.assert_allclose(found.shared_interval.mean(axis=-1), found.shared, rtol=1e-9)
    assert (found.power > 0.1).all()
