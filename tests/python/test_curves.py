"""Curves, ceilings and judges on rows, against mpmath, enumeration, SciPy and least squares."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq, minimize
from scipy.special import rel_entr

import clinometer as cm
from clinometer import theory
from clinometer.theory.learning import bradley_terry

Floats = NDArray[np.float64]
SIZES = [1, 3, 7, 15, 2]
IDS = np.repeat(np.arange(len(SIZES)), SIZES)


def rows(seed: int = 0, heavy: bool = False) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    t = rng.standard_normal(len(IDS)) + 5.0 * IDS
    f = np.column_stack([t**2 / 5.0 + rng.standard_normal(len(IDS)), rng.standard_normal(len(IDS))])
    return (np.exp(t / 5.0) if heavy else t)[:, None], f


def brute_tilt(t: Floats, f: Floats, lam: float, w: Floats | None = None) -> tuple[float, float]:
    """Mean gain and KL over prompts, by the definition."""
    gains, kls = [], []
    for x in np.unique(IDS):
        at = x == IDS
        base = np.full(at.sum(), 1.0 / at.sum()) if w is None else w[at] / w[at].sum()
        p = base * np.exp(lam * (t[at] - t[at].max()))
        p /= p.sum()
        gains.append((p - base) @ f[at])
        kls.append(float(rel_entr(p, base).sum()))
    return float(np.mean(gains)), float(np.mean(kls))


# ---- cumulants


def test_cumulants_are_the_taylor_series_at_80_digits() -> None:
    t, f = rows()
    found = theory.cumulants(t, [[1.0]], f, prompt_ids=IDS, precision="double")
    with mp.workdps(80):
        for j in range(2):
            want = np.zeros(3)
            for x in range(len(SIZES)):
                a = [mp.mpf(float(v)) for v in t[x == IDS, 0]]
                b = [mp.mpf(float(v)) for v in f[x == IDS, j]]
                a = [v - mp.fsum(a) / len(a) for v in a]

                def gain(lam, a=a, b=b):
                    e = [mp.exp(lam * v) for v in a]
                    return mp.fsum(p * q for p, q in zip(e, b, strict=True)) / mp.fsum(e)

                series = mp.taylor(gain, 0, 3)
                want += np.array([float(series[1]), float(2 * series[2]), float(6 * series[3])]) / len(SIZES)
            np.testing.assert_allclose(found.gain[0, :, j], want, rtol=1e-10)


def test_the_remainder_after_k4_is_of_fourth_order() -> None:
    t, f = rows(1)
    found = theory.cumulants(t, [[1.0]], f, prompt_ids=IDS, precision="double")
    lams = np.array([0.02, 0.04])
    exact = np.array([brute_tilt(t[:, 0], f[:, 0], x)[0] for x in lams])
    kl = np.array([brute_tilt(t[:, 0], f[:, 0], x)[1] for x in lams])
    left = exact - found.predict(1 / lams)[0, :, 0]
    assert np.log2(left[1] / left[0]) == pytest.approx(4.0, abs=0.25)
    left = kl - found.predict_kl(1 / lams)[0]
    assert np.log2(left[1] / left[0]) == pytest.approx(5.0, abs=0.4)


def test_radius_and_flip_are_roots_of_the_exact_curve() -> None:
    t, f = rows(12)
    values = np.column_stack([-((t[:, 0] - 5.0 * IDS - 0.1) ** 2), f[:, 1]])
    found = theory.cumulants(t, [[1.0]], values, q=0.2, prompt_ids=IDS, precision="double")
    for j, value in enumerate(values.T):
        radius, flip = found.exact_radius[0, j], found.sign_flip[0, j]
        assert abs(brute_tilt(t[:, 0], value, radius)[0] / (radius * found.gain[0, 0, j]) - 1) == pytest.approx(0.2)
        if np.isfinite(flip):
            root = brentq(lambda x, v=value: brute_tilt(t[:, 0], v, x)[0] / x, 0.9 * flip, 1.1 * flip)
            assert flip == pytest.approx(root, rel=1e-6)
    assert np.isfinite(found.sign_flip).any()


def test_cumulant_errors_cover() -> None:
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        t = rng.standard_normal((150, 40))  # t ~ N(0, 1), f = t + t^2: k2 = 1, k3 = 2 (ddof 0: a little less)
        found = theory.cumulants(
            t.reshape(-1, 1), [[1.0]], (t + t**2).ravel(), prompt_ids=np.repeat(np.arange(150), 40), q=0.5
        )
        inside += abs(found.gain[0, 1, 0] - 2.0 * (39 * 38 / 40**2)) < 2 * found.gain_se[0, 1, 0]
    assert 48 <= inside <= 60


def test_the_verdict_is_that_of_the_clustered_covariance() -> None:
    rng = np.random.default_rng(14)
    t, ids = rng.standard_normal((2000, 1)), np.repeat(np.arange(200), 10)
    f = np.column_stack([0.3 * t[:, 0], -0.3 * t[:, 0], np.zeros(2000)]) + rng.standard_normal((2000, 3))
    found = theory.cumulants(t, [[1.0]], f, prompt_ids=ids, precision="double")
    assert found.verdict[0].tolist() == ["improves", "harms", "undecided"]
    c = cm.cross_covariance(t, [[1.0]], f, prompt_ids=ids, ddof=0, precision="double")
    np.testing.assert_allclose(found.z, c.value / c.se, rtol=1e-9)
    assert theory.cumulants(np.ones((4, 1)), [[1.0]], np.arange(4.0), prompt_ids=[0, 0, 1, 1]).verdict == "undecided"


# ---- the frontier


def test_the_oracle_is_the_tilt_by_the_value_at_that_kl() -> None:
    t, f = rows(3)
    found = theory.gain_kl_frontier(t, [[1.0]], f, kl=[0.05, 0.2], prompt_ids=IDS, precision="double")
    for j, (b, level) in itertools.product(range(2), enumerate([0.05, 0.2])):
        lam = brentq(lambda x, j=j, kl=level: brute_tilt(f[:, j], f[:, j], x)[1] - kl, 1e-6, 1e3, xtol=1e-12)
        assert found.oracle[b, j] == pytest.approx(brute_tilt(f[:, j], f[:, j], lam)[0], rel=1e-8)
        assert found.oracle_limit[j] == pytest.approx(
            np.mean([f[x == IDS, j].max() - f[x == IDS, j].mean() for x in range(len(SIZES))])
        )
    assert (found.oracle[None] >= found.gain).all()
    np.testing.assert_allclose(found.efficiency, found.gain / found.oracle)
    np.testing.assert_allclose(found.regret, found.oracle[None] - found.gain, atol=1e-12)


def test_the_error_of_the_regret_is_paired_by_prompt() -> None:
    t, f = rows(13)
    found = theory.gain_kl_frontier(t, [[1.0]], f[:, 0], kl=[0.1], prompt_ids=IDS, precision="double")
    lam = brentq(lambda x: brute_tilt(f[:, 0], f[:, 0], x)[1] - 0.1, 1e-6, 1e3, xtol=1e-12)
    lost = []
    for x in range(len(SIZES)):
        at, gain = x == IDS, []
        for score, strength in ((f[:, 0], lam), (t[:, 0], 1.0 / found.betas[0, 0])):
            p = np.exp(strength * (score[at] - score[at].max()))
            gain.append(float((p / p.sum()) @ f[at, 0]))
        lost.append(gain[0] - gain[1])
    assert found.regret_se.item() == pytest.approx(np.std(lost, ddof=1) / np.sqrt(len(lost)), rel=1e-6)


def test_no_policy_of_that_kl_beats_the_oracle() -> None:
    t, f = rows(4)
    found = theory.gain_kl_frontier(t, [[1.0]], f[:, 0], kl=[0.1], prompt_ids=IDS)
    rng, best = np.random.default_rng(0), -np.inf
    for _ in range(300):
        score = f[:, 0] + rng.standard_normal() * rng.standard_normal(len(IDS)) * 3.0
        lam = brentq(lambda x, s=score: brute_tilt(s, s, x)[1] - 0.1, 1e-6, 1e4)
        best = max(best, brute_tilt(score, f[:, 0], lam)[0])
    assert best <= found.oracle[0, 0] * (1 + 1e-9)


def test_a_value_that_turns_back_is_said_to() -> None:
    rng = np.random.default_rng(5)
    t = rng.standard_normal((2000, 32))
    ids = np.repeat(np.arange(2000), 32)
    f = np.column_stack([-((t - 0.5) ** 2).ravel(), t.ravel(), -t.ravel(), (t - 0.5).ravel() ** 2, 0 * t.ravel()])
    found = theory.gain_kl_frontier(t.reshape(-1, 1), [[1.0]], f, kl=[0.5], prompt_ids=ids)
    assert found.shape[0].tolist() == ["rises then falls", "rising", "falling", "falls then rises", "flat"]
    assert found.non_monotone[0].tolist() == [True, False, False, True, False]
    # Proposition 15: the best shift is tau - m = 0.5, of KL 0.125
    assert found.peak_kl[0, 0] == pytest.approx(0.125, abs=0.05)
    assert "turns at KL" in str(found)


def test_noise_is_not_called_a_turn() -> None:
    ids, alarms = np.repeat(np.arange(60), 8), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        t, f = rng.standard_normal((480, 1)), rng.standard_normal(480)
        alarms += bool(
            theory.gain_kl_frontier(t, [[1.0]], f + 0.5 * t[:, 0], kl=[0.5], prompt_ids=ids).non_monotone[0, 0]
        )
    assert alarms <= 2


def test_frontier_with_missing_labels_is_the_frontier_of_the_labelled_rows() -> None:
    t, f = rows(6)
    keep = np.ones(len(IDS), bool)
    keep[[0, 2, 5, 9]] = False  # the only row of prompt 0, and rows of others
    gaps = np.where(keep, f[:, 0], np.nan)
    a = theory.gain_kl_frontier(t, [[1.0]], gaps, kl=[0.1], prompt_ids=IDS, precision="double")
    b = theory.gain_kl_frontier(t[keep], [[1.0]], f[keep, 0], kl=[0.1], prompt_ids=IDS[keep], precision="double")
    np.testing.assert_allclose(a.oracle, b.oracle, rtol=1e-9)
    np.testing.assert_allclose(a.correlation, b.correlation, rtol=1e-9)
    with (
        pytest.warns(UserWarning, match="no row that counts has a label"),
        pytest.raises(ValueError, match="has no label"),
    ):
        theory.gain_kl_frontier(t, [[1.0]], np.full(len(IDS), np.nan), prompt_ids=IDS)
    with pytest.raises(ValueError, match="within is False"):
        theory.gain_kl_frontier(t, [[1.0]], gaps, prompt_ids=IDS, within=False)


# ---- best of n


def enumerate_best(t: Floats, f: Floats, w: Floats, n: int, replacement: bool) -> float:
    """Every draw of n rows; ties shared by base weight among the distinct rows drawn at the top of their block."""
    total = 0.0
    index = range(len(t))
    draws = itertools.product(index, repeat=n) if replacement else itertools.permutations(index, n)
    for draw in draws:
        chance = float(np.prod(w[list(draw)])) if replacement else 1.0
        tops = [i for i in draw if t[i] == max(t[k] for k in draw)]
        total += chance * float(np.mean([f[i] for i in tops]))
    count = 1 if replacement else len(list(itertools.permutations(index, n)))
    return total / count - float(w @ f)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("replacement", [True, False])
def test_best_of_n_against_every_draw(n: int, replacement: bool) -> None:
    rng = np.random.default_rng(7)
    ids = np.repeat([0, 1, 2], [3, 4, 5])
    t = rng.integers(0, 3, 12).astype(float)  # many ties
    f = rng.standard_normal(12)
    found = theory.best_of_n(t[:, None], [[1.0]], f, n, prompt_ids=ids, replacement=replacement)
    want = [
        enumerate_best(t[ids == x], f[ids == x], np.full((ids == x).sum(), 1 / (ids == x).sum()), n, replacement)
        for x in range(3)
    ]
    assert found.gain[0, 0, 0] == pytest.approx(np.mean(want), abs=1e-12)
    assert found.gain_se[0, 0, 0] == pytest.approx(np.std(want, ddof=1) / np.sqrt(3), abs=1e-12)


def test_best_of_n_with_weights() -> None:
    rng = np.random.default_rng(8)
    counts, t, f = np.array([3, 1, 0, 2]), np.array([0.0, 1.0, 9.0, 1.0]), rng.standard_normal(4)
    drawn = np.repeat(np.arange(4), counts)
    for given in (None, False, True):  # whole counts are draws, and those are left out of what follows by default
        found = theory.best_of_n(
            t[:, None], [[1.0]], f, 3, prompt_ids=[0] * 4, base="counts", counts=counts, replacement=given
        )
        want = enumerate_best(t[drawn], f[drawn], np.full(6, 1 / 6), 3, bool(given))
        assert found.gain[0, 0, 0] == pytest.approx(want, abs=1e-12)  # the row of weight 0 never wins
    options = {"base": "logprob", "logprobs": np.log(counts + 0.5), "prompt_ids": [0] * 4}
    with pytest.raises(ValueError, match="replacement is False with base='logprob'"):
        theory.best_of_n(t[:, None], [[1.0]], f, 3, replacement=False, **options)


def test_without_replacement_is_unbiased_and_with_is_low() -> None:
    rng = np.random.default_rng(9)
    t = rng.standard_normal((20_000, 6))
    args = (t.reshape(-1, 1), [[1.0]], t.ravel(), 4)
    ids = np.repeat(np.arange(20_000), 6)
    a, b = (theory.best_of_n(*args, prompt_ids=ids, replacement=r) for r in (False, True))
    e4 = theory.expected_max_normal(4)
    assert abs(a.gain.item() - e4) < 3 * a.gain_se.item()
    assert b.gain.item() < e4 - 10 * b.gain_se.item()
    with pytest.raises(ValueError, match="n is 7 but a prompt has 6"):
        theory.best_of_n(args[0], args[1], args[2], 7, prompt_ids=ids)


def test_best_of_n_in_the_gaussian_world() -> None:
    found = theory.best_of_n([1, 2, 64], 0.6, 2.0)
    np.testing.assert_allclose(found.regret[0, :, 0], 0.4 * 2.0 * np.array([0.0, 0.5641895835, 2.3437335]), atol=1e-6)
    np.testing.assert_allclose(found.efficiency[1:], [0.908, 0.930], atol=5e-4)
    for bad in ((0, 0.5, 1.0), (2, 1.5, 1.0), (2, 0.5, -1.0)):
        with pytest.raises(ValueError, match="wanted"):
            theory.best_of_n(*bad)
    with pytest.raises(TypeError, match="wanted"):
        theory.best_of_n(2, "s", 1.0)


def test_kl_of_best_of_n_reaches_its_bound_without_ties() -> None:
    rng = np.random.default_rng(1)
    t = rng.standard_normal((4000, 1))
    found = theory.best_of_n(t, [[1.0]], t[:, 0], [2, 8], prompt_ids=np.zeros(4000, int), replacement=True)
    np.testing.assert_allclose(found.kl[0], found.kl_bound, atol=2e-3)
    tied = theory.best_of_n(np.sign(t), [[1.0]], t[:, 0], [2, 8], prompt_ids=np.zeros(4000, int), replacement=True)
    assert (tied.kl[0] < found.kl_bound - 0.05).all()


# ---- judges


def test_judge_ceiling_is_cauchy_schwarz() -> None:
    t, f = rows(10)
    judges = np.column_stack([t[:, 0], f[:, 0], 3.0 * f[:, 0], np.random.default_rng(0).standard_normal(len(IDS)) * 90])
    found = theory.judge_ceiling(cm.open_dump(judges, prompt_ids=IDS), np.eye(4), f[:, 0], beta=2.0, precision="double")
    assert (found.gain <= found.bound * (1 + 1e-12)).all()
    np.testing.assert_allclose(found.correlation[1:3, 0], 1.0, atol=1e-12)
    # judge 2 is perfectly correlated, but judge 3 is wider: the ceiling is not attained
    assert found.best.tolist() == [2] and not found.attained[0]
    assert found.ceiling[0] == found.bound[3, 0]
    three = theory.judge_ceiling(cm.open_dump(judges[:, :3], prompt_ids=IDS), np.eye(3), f[:, 0], precision="double")
    assert three.attained[0] and three.gain[2, 0] == pytest.approx(three.ceiling[0])
    np.testing.assert_allclose(three.per_kl[1], three.per_kl[2], rtol=1e-12)  # scaling a judge changes nothing
    c = cm.cross_covariance(judges, np.eye(4), f[:, 0], prompt_ids=IDS, precision="double")
    np.testing.assert_allclose(found.gain, c.value / 2.0)
    np.testing.assert_allclose(found.gain / found.bound, c.correlation, atol=1e-12)


def test_generation_judgment_gap() -> None:
    world = cm.simulate(n_prompts=300, n_responses=12, dim=5, generation_alignment=0.1, random_state=3)
    truth = world.truth
    exact = theory.generation_judgment_gap(truth.u_star, truth.u_c, truth.u_gen, truth.sigma)
    np.testing.assert_allclose(exact.gap[:, 0], [0.7, -0.5], atol=1e-9)
    a = np.random.default_rng(0).standard_normal((5, 5)) + 3.0 * np.eye(5)
    back = np.linalg.inv(a)
    moved = theory.generation_judgment_gap(
        truth.u_star @ back, truth.u_c @ back, truth.u_gen @ back, a @ truth.sigma @ a.T
    )
    np.testing.assert_allclose(moved.gap, exact.gap, atol=1e-9)
    assert abs(moved.cosine_gap - exact.cosine_gap).max() > 0.01
    m = cm.moments(world)
    on_rows = theory.generation_judgment_gap(truth.u_star, truth.u_c, truth.u_gen, world)
    np.testing.assert_allclose(
        on_rows.gap, theory.generation_judgment_gap(truth.u_star, truth.u_c, truth.u_gen, m).gap, atol=1e-5
    )
    inside = 0
    for seed in range(30):
        one = cm.simulate(n_prompts=80, n_responses=8, dim=3, generation_alignment=0.1, random_state=seed)
        t = one.truth
        found = theory.generation_judgment_gap(t.u_star, t.u_c, t.u_gen, one)
        inside += ((found.ci[..., 0] < exact.gap) & (exact.gap < found.ci[..., 1])).sum()
    assert 51 <= inside <= 60
    assert np.isnan(theory.generation_judgment_gap([0.0, 0.0], [1.0, 0.0], [0.0, 1.0]).gap).all()


@pytest.mark.parametrize("clusters", [False, True])
def test_the_error_of_the_gap_is_the_jackknife_of_prompts(clusters: bool) -> None:
    world = cm.simulate(n_prompts=40, n_responses=6, dim=4, unequal=True, random_state=6)
    t, ids, phi = world.truth, np.asarray(world.prompt_ids), world.read(0, world.n_rows, np.float64)
    unit = np.arange(40) // 2 if clusters else np.arange(40)
    options = {"clusters": unit} if clusters else {}
    found = theory.generation_judgment_gap(t.u_star, t.u_c, t.u_gen, world, precision="double", **options)
    without = np.array([
        theory.generation_judgment_gap(
            t.u_star, t.u_c, t.u_gen, cm.open_dump(phi[unit[ids] != c], prompt_ids=ids[unit[ids] != c])
        ).gap for c in np.unique(unit)
    ])  # fmt: skip
    C = len(without)
    jackknife = np.sqrt((C - 1) / C * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found.se, jackknife, rtol=0.15)
    assert (found.units <= C * (1 + 1e-12)).all() and not found.labels_known
    np.testing.assert_array_equal(found.interval(0.95), found.ci)
    half = np.diff(found.interval(0.8)[0, 0]).item() / 2
    assert half == pytest.approx(stats.t.ppf(0.9, found.units[0, 0] - 1) * found.se[0, 0], rel=1e-9)


def test_the_gap_of_fits_carries_their_labels() -> None:
    world = cm.simulate(n_prompts=60, n_responses=6, dim=8, random_state=7)
    rng = np.random.default_rng(0)
    judge = np.asarray(world.column("judge/c0")) + rng.normal(size=world.n_rows)
    logp = np.asarray(world.column("logprob")) + rng.normal(size=world.n_rows)
    fits = (
        cm.fit_value_direction(world, "s", pooled=False), cm.fit_value_direction(world, judge, pooled=False),
        cm.fit_generation_direction(world, logp),
    )  # fmt: skip
    found = theory.generation_judgment_gap(*fits, world)
    assert found.labels_known and np.isfinite(found.ci).all()
    # the same scores as columns: the fits' labels are out of sight
    columns = [cm.Scores(np.asarray(cm.score(world, fit, precision="double"))) for fit in fits]
    blind = theory.generation_judgment_gap(*columns, world)
    np.testing.assert_allclose(blind.gap, found.gap, atol=1e-6)
    assert found.se[0, 0] > 1.05 * blind.se[0, 0]
    flat = theory.generation_judgment_gap(np.zeros((1, 8)), fits[1], fits[2], world)
    assert np.isnan(flat.gap).all() and np.isnan(flat.ci).all()


@pytest.mark.parametrize("same", [False, True])
def test_complementarity_is_multiple_correlation(same: bool) -> None:
    rng = np.random.default_rng(11)
    a, b, noise = rng.standard_normal((3, len(IDS)))
    s = a + 2.0 * b + noise + 10.0 * IDS
    b = 2.0 * a if same else b
    found = theory.complementarity(a, b, s, prompt_ids=IDS)
    dump = cm.open_dump(np.column_stack([a, b]), prompt_ids=IDS, columns={"s": s})
    again = theory.complementarity([1.0, 0.0], [[0.0, 1.0]], "s", dump=dump, precision="double")
    assert again.together[0] == pytest.approx(found.together[0])

    def demean(x: Floats) -> Floats:
        return x - np.array([x[g == IDS].mean() for g in IDS])

    weight = np.sqrt(1.0 / np.bincount(IDS)[IDS])
    x, y = np.column_stack([demean(a), demean(b)]) * weight[:, None], demean(s) * weight
    fit = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    want = np.sqrt(1.0 - ((y - fit) ** 2).sum() / (y**2).sum())
    assert found.together[0] == pytest.approx(want, abs=1e-12)
    single = max(abs(found.first[0]), abs(found.second[0]))
    assert found.gain[0] == pytest.approx(want - single, abs=1e-9)
    if same:
        assert found.gain[0] == pytest.approx(0.0, abs=1e-9)


NULLS: dict[str, Any] = {
    "noise": lambda a, b, e: (a, b, a + e),
    "a noisy copy": lambda a, b, e: (a, a + b, a + e),
    "both useless": lambda a, b, e: (a, b, e),
    "a rare value": lambda a, b, e: (a, b, (a + e > 2.2) * 1.0),
}


@pytest.mark.parametrize("null", NULLS)
def test_a_judge_that_adds_nothing_is_not_said_to_add(null: str) -> None:
    """The gain on the rows is never negative; 150 dumps of 40 prompts, 2.5 standard errors over 5 %."""
    ids, claims = np.repeat(np.arange(40), 8), 0
    for seed in range(150):
        found = theory.complementarity(*NULLS[null](*np.random.default_rng(seed).normal(size=(3, 320))), prompt_ids=ids)
        claims += bool(found.ci[0, 0] > 0)
        assert found.gain[0] >= 0 and found.ci[0, 0] <= found.gain[0] <= found.ci[0, 1]
    assert claims <= 0.095 * 150


def test_what_a_judge_adds_is_covered_and_found() -> None:
    ids, hits, found_ = np.repeat(np.arange(40), 8), 0, 0
    want = np.sqrt(1.25 / 2.25) - np.sqrt(1 / 2.25)
    for seed in range(150):
        a, b, e = np.random.default_rng([1, seed]).normal(size=(3, 320))
        low, high = theory.complementarity(a, b, a + 0.5 * b + e, prompt_ids=ids, clusters=np.arange(40) // 2).ci[0]
        hits, found_ = hits + (low <= want <= high), found_ + (low > 0)
    assert hits >= 0.905 * 150 and found_ > 0.95 * 150


# ---- learning curves and layers


@pytest.mark.parametrize(("P", "d"), [(6, 15), (60, 5), (1, 3)])
def test_bradley_terry_is_the_minimum(P: int, d: int) -> None:
    rng = np.random.default_rng(P)
    D, p = rng.standard_normal((P, d)), rng.random(P)
    got = bradley_terry(D, p, ridge=0.05)
    penalty = 0.05 * (D**2).sum() / (P * d)

    def loss(u: Floats) -> float:
        z = D @ u
        return float((np.logaddexp(0, z) - p * z).mean() + 0.5 * penalty * u @ u)

    want = minimize(loss, np.zeros(d), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(got, want.x, atol=2e-5)
    assert loss(got) <= want.fun + 1e-12


def test_exact_soft_labels_are_recovered() -> None:
    rng = np.random.default_rng(0)
    D, u = rng.standard_normal((400, 6)), rng.standard_normal(6)
    np.testing.assert_allclose(bradley_terry(D, 1.0 / (1.0 + np.exp(-D @ u)), ridge=0.0 + 1e-12), u, atol=1e-8)


def test_learning_curve_holds_prompts_out() -> None:
    world = cm.simulate(n_prompts=120, n_responses=6, dim=8, rho2=0.6, random_state=4)
    pairs = np.arange(720).reshape(-1, 2)
    margin = world.column("s")[pairs[:, 0]] - world.column("s")[pairs[:, 1]]
    curve = theory.learning_curve(world, pairs, (margin > 0) * 1.0, "s", sizes=[10, 80, 270], repeats=6, random_state=1)
    assert curve.correlation.shape == (3, 6, 1)
    assert (curve.n_prompts + curve.n_held_out <= 120).all()
    assert curve.mean[0, 0] < curve.mean[1, 0] < curve.mean[2, 0] < np.sqrt(0.6) + 0.05
    # labels that say nothing about the value teach nothing
    noise = theory.learning_curve(world, pairs, np.random.default_rng(0).random(360), "s", sizes=[270], repeats=6)
    assert abs(noise.mean[0, 0]) < 0.25
    for bad, message in ((np.array([[0, 6]]), "joins rows of two prompts"), (np.zeros((0, 2), int), "names rows")):
        with pytest.raises(ValueError, match=message):
            theory.learning_curve(world, bad, np.ones(len(bad)), "s")
    with pytest.raises(ValueError, match="sizes is"):
        theory.learning_curve(world, pairs, np.ones(360), "s", sizes=[400])


def test_ceilings_follow_the_encoding() -> None:
    worlds = {r: cm.simulate(n_prompts=150, n_responses=8, dim=6, rho2=r, random_state=6) for r in (0.2, 0.8)}
    found = theory.ceiling_by_layer(worlds, "s", kl=[0.5], n=[4])
    assert found.best == (0.8,) and found.layers == (0.2, 0.8)
    fit = cm.fit_value_direction(worlds[0.8], "s").encoding_quality
    assert found.correlation[1, 0] == fit.r[0]
    np.testing.assert_allclose(found.ceiling[:, 0], found.correlation * found.oracle[0], rtol=1e-12)
    with pytest.raises(ValueError, match="names no layers"):
        theory.ceiling_by_layer(worlds[0.2], "s")


def test_a_judge_that_is_the_value_has_no_regret_where_labels_are_partial() -> None:
    rng = np.random.default_rng(11)
    ids = np.repeat(np.arange(40), 8)
    s = rng.standard_normal(320) * rng.choice([0.5, 2.0], 40)[ids]
    wide = s.reshape(40, 8).std(axis=1)[ids] > 1
    for known in (wide, ~wide, rng.random(320) < 0.5):
        found = theory.gain_kl_frontier(s[:, None], [[1.0]], np.where(known, s, np.nan), prompt_ids=ids)
        np.testing.assert_allclose(found.regret, 0.0, atol=1e-5)
        np.testing.assert_allclose(found.efficiency, 1.0, atol=1e-5)


def test_normal_best_of_four_draws_is_that_of_the_policy() -> None:
    """In a Gaussian world the formula is exact, whichever number of responses its spread is read from."""
    rng = np.random.default_rng(12)
    t = rng.standard_normal((4000, 4))
    found = theory.best_of_n(t.reshape(-1, 1), [[1.0]], t.ravel(), 4, prompt_ids=np.repeat(np.arange(4000), 4))
    assert abs(found.normal.item() - theory.expected_max_normal(4)) < 0.03
    assert abs(found.normal.item() - found.gain.item()) < 0.03


def test_best_of_n_says_nothing_of_values_too_rare_to_show_an_error() -> None:
    rng = np.random.default_rng(13)
    t = rng.standard_normal(48)
    options = {"prompt_ids": np.repeat(np.arange(12), 4)}
    rare = np.where(np.arange(48) == 5, 1.0, 0.0)
    found = theory.best_of_n(t[:, None], [[1.0]], np.column_stack([rare, np.exp(3 * t), t]), 3, **options)
    assert np.isnan(found.gain_interval[0, 0, 0]).all() and np.isnan(found.regret_interval[0, 0, 0]).all()
    assert np.isinf(found.gain_interval[0, 0, 1]).any()
    assert np.isfinite(found.gain_interval[0, 0, 2]).all()


def test_two_judges_explain_no_more_than_all() -> None:
    rng = np.random.default_rng(14)
    ids = np.repeat(np.arange(12), 4)
    for _ in range(20):
        a, b = rng.standard_normal((2, 48))
        rare = (rng.random(48) < 0.08) * 1.0
        found = theory.complementarity(a, b, np.column_stack([rare, 2 * a]), prompt_ids=ids)
        assert not (found.ci > 1).any()
        assert found.ci[1].tolist() == [0.0, 0.0]  # one judge is the value: nothing to add
