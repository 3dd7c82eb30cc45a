"""Intervals of gains: against tilt's errors, finite differences, brute-force resampling, and by coverage."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import clinometer as cm
from clinometer.engine.inputs import prepare
from clinometer.engine.passes import kept_scores
from clinometer.inference.gains import cells
from clinometer.inference.label_error import label_errors

Floats = NDArray[np.float64]


class World:
    def __init__(self, seed: int, prompts: int = 60, n: int = 6, d: int = 4, pairs: int = 150) -> None:
        rng = np.random.default_rng(seed)
        self.ids = np.repeat(np.arange(prompts), n)
        self.phi = rng.normal(size=(prompts * n, d)) + rng.normal(size=(prompts, d))[self.ids]
        self.values = np.stack(
            [self.phi[:, 0] + rng.normal(size=len(self.ids)), rng.normal(size=len(self.ids))], axis=1
        )
        self.judge = self.phi @ np.linspace(1, 0.2, d) / np.sqrt(d) + 0.5 * rng.normal(size=len(self.ids))
        first = n * rng.integers(0, prompts, pairs) + rng.integers(0, n, pairs)
        second = n * (first // n) + (first + rng.integers(1, n, pairs)) % n
        self.pairs = np.stack([first, second], axis=1)
        z = 2 * (self.phi[first] - self.phi[second]) @ np.linspace(1, 0.2, d) / np.sqrt(d)
        self.hard = (rng.random(pairs) < 1 / (1 + np.exp(-z))).astype(float)
        self.length = rng.integers(10, 99, len(self.ids)) + 20.0 * (self.phi[:, 1] > 0)
        columns = {"a": self.values[:, 0], "b": self.values[:, 1], "judge": self.judge, "n_tokens": self.length}
        self.dump = cm.open_dump(self.phi, prompt_ids=self.ids, columns=columns)


@pytest.fixture(scope="module")
def world() -> World:
    return World(0)


@pytest.mark.parametrize("clusters", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
def test_given_the_direction_the_error_at_a_beta_is_that_of_tilt(world: World, clusters: bool, gaps: bool) -> None:
    values, rng = world.values.copy(), np.random.default_rng(1)
    if gaps:
        values[rng.random(values.shape) < 0.3] = np.nan
        values[:12, 1] = np.nan
    options: dict[str, Any] = {"prompt_weights": rng.uniform(0.5, 2, 60), "precision": "double"}
    if clusters:
        options["clusters"] = np.arange(60) // 3
    u, betas = rng.normal(size=(2, 4)), [1e8, 2.0, 0.5]
    found = cm.inference.gain_intervals(world.dump, u, betas, values, **options)
    want = cm.tilt(world.dump, u, betas, values, **options)
    np.testing.assert_allclose(found.gain, want.gain, rtol=1e-9)
    np.testing.assert_allclose(found.se, want.gain_se, rtol=1e-8)
    np.testing.assert_allclose(found.cov(1, 2), want.gain_cov(1, 2), rtol=1e-8)
    assert np.isnan(found.cov_labels(1, 2)).all()
    np.testing.assert_allclose(found.kl, want.kl, rtol=1e-6, atol=1e-15)
    alone = [cm.tilt(world.phi[world.ids == x], u, betas, prompt_ids=np.zeros(6, int)).ess for x in range(60)]
    np.testing.assert_allclose(
        found.ess_quantiles, np.moveaxis(np.quantile(alone, [0.05, 0.25, 0.5], axis=0), 0, -1), rtol=1e-5
    )
    assert not found.labels_known.any() and np.isnan(found.se_labels).all() and not found.matched
    assert found.n_units == (20 if clusters else 60)
    low, high = np.moveaxis(found.interval, -1, 0)
    omega = options["prompt_weights"]
    units = np.stack([np.where(np.isnan(v).reshape(60, -1).all(axis=1), 0.0, omega) for v in values.T])
    units = units.reshape(2, 20, 3).sum(axis=2) if clusters else units
    freedom = units.sum(axis=1) ** 2 / (units**2).sum(axis=1) - 1
    assert (found.units - 1 <= freedom * (1 + 1e-12)).all() and (found.units > 0.1 * freedom).all()
    np.testing.assert_allclose((high - low) / 2, stats.t.ppf(0.975, found.units - 1) * found.se, rtol=1e-9)


def test_at_matched_kl_the_error_is_that_of_solving_again() -> None:
    """Delete-one-prompt jackknife with beta solved on the remaining rows."""
    w = World(3, prompts=40)
    u = np.array([[1.0, 0.3, 0.0, -0.2]])
    found = cm.inference.gain_intervals(w.dump, u, values=w.values, kl=[0.4], precision="double")
    left = []
    for x in range(40):
        keep = w.ids != x
        left.append(cm.tilt(w.phi[keep], u, values=w.values[keep], kl=[0.4], prompt_ids=w.ids[keep], pareto_k=False,
                            precision="double").gain[0, 0])  # fmt: skip
    spread = np.asarray(left) - np.mean(left, axis=0)
    np.testing.assert_allclose(found.se[0, 0], np.sqrt(39 / 40 * (spread**2).sum(axis=0)), rtol=0.05)
    fixed = cm.inference.gain_intervals(w.dump, u, found.betas, w.values, precision="double").se
    assert np.abs(found.se / fixed - 1).max() > 0.01


def _fits(w: World) -> dict[str, cm.fit.DirectionFit]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "ridge": cm.fit_value_direction(w.dump, "judge", alpha=0.05, pooled=False, precision="double"),
            "pairs": cm.fit_preference_direction(w.dump, w.pairs, w.hard, alpha=0.05),
        }


@pytest.mark.parametrize("kind", ["ridge", "pairs"])
@pytest.mark.parametrize("matched", [False, True])
@pytest.mark.parametrize("adjust", [None, "n_tokens"])
def test_gradient_is_the_slope_of_the_gain_in_the_direction(
    world: World, kind: str, matched: bool, adjust: Any
) -> None:
    fit = _fits(world)[kind]
    call = prepare(world.dump, fit, ["a", "b"], precision="double")
    error = label_errors(call, adjust)[0]
    options: dict[str, Any] = {"values": ["a", "b"], "adjust": adjust, "pareto_k": False, "precision": "double"}
    strength: dict[str, Any] = {"kl": [0.3]} if matched else {"betas": [0.8]}

    def gain(shift: Floats) -> Floats:
        """Gains with every fold's direction moved alike."""
        moved = np.einsum("nd,nd->n", world.phi, (fit.fold_vectors[:, 0] + shift)[call.fold[world.ids]])
        return cm.tilt(world.dump, cm.Scores(moved), **strength, **options).gain[0, 0]

    from clinometer.engine import passes

    kept = passes.adjusted(call, kept_scores(call), adjust)
    table = passes.strength(call, kept, np.zeros(1, np.int64), strength.get("betas"), strength.get("kl"))
    cell = next(cells(call, kept, table))
    slope = cell.slope_in_kl(kept[:, 0]) if matched else np.zeros(2)
    got = error.sum_of_rows(error.slopes(cell, kept[:, 0], slope))
    scale = np.linalg.norm(fit.vector)
    for i in range(4):
        step = 1e-4 * scale * np.eye(4)[i]
        want = (gain(step) - gain(-step)) / (2e-4 * scale)
        np.testing.assert_allclose(got[:, i], want, rtol=2e-4, atol=1e-6 / scale)


def test_score_labels_move_the_direction_as_the_fit_says(world: World) -> None:
    """g'(change of the fit when the labels of one prompt change) is linear in the residuals of that prompt."""
    fit = _fits(world)["ridge"]
    call = prepare(world.dump, fit, ["a"], precision="double")
    error = label_errors(call, None)[0]
    g = np.random.default_rng(4).normal(size=(2, 4))
    change = np.where(world.ids == 7, np.random.default_rng(5).normal(size=len(world.ids)), 0.0)
    moved = cm.fit_value_direction(world.dump, world.judge + change, alpha=0.05, pooled=False, precision="double")
    centred = change - np.where(world.ids == 7, change[world.ids == 7].mean(), 0.0)
    error.residual = centred / 6 / 60
    part = error.moved(g)
    # the constant that centres influences is the same for every prompt
    np.testing.assert_allclose(part[7] - part[8], g @ (moved.vector - fit.vector), rtol=1e-8)


@pytest.mark.parametrize("d", [4, 200])
@pytest.mark.parametrize("bias", [False, True])
def test_pairs_move_the_direction_as_the_fit_says(d: int, bias: bool) -> None:
    """Adding a little weight to one pair's label changes the fit by H^-1 (change of p) D."""
    w = World(6, d=d)
    rng = np.random.default_rng(0)
    soft = rng.uniform(0.2, 0.8, len(w.pairs))
    fit = cm.fit_preference_direction(w.dump, w.pairs, soft, alpha=0.05, position_bias=bias)
    call = prepare(w.dump, fit, ["a"])
    error = label_errors(call, None)[0]
    eps, one = 1e-2, np.arange(len(soft)) == 11
    up, down = (
        cm.fit_preference_direction(w.dump, w.pairs, soft + sign * eps * one, alpha=0.05, position_bias=bias).vector
        for sign in (1, -1)
    )
    z = (w.phi[w.pairs[:, 0]] - w.phi[w.pairs[:, 1]]) @ fit.vector + fit.intercepts[0]
    s = 1 / (1 + np.exp(-z))
    error.curvature = s * (1 - s) / len(z)  # at the full fit, where the change is taken
    residual = np.zeros(len(z))
    residual[11] = 1 / len(z)
    error.residual = residual
    g = (w.phi[w.pairs[:5, 0]] - w.phi[w.pairs[:5, 1]])[:2]
    part = error.moved(g)
    change = part.sum(axis=0)  # influences are centred: compare the one prompt less its share of the total
    np.testing.assert_allclose(change, 0, atol=1e-12)
    own = w.pairs[11, 0] // 6
    share = np.mean(w.pairs[:, 0] // 6 == own)
    np.testing.assert_allclose(part[own] / (1 - share), g @ (up - down) / (2 * eps), rtol=1e-3)


def test_bootstrap_of_prompts_is_that_of_refolded_rows(world: World) -> None:
    u = np.array([[1.0, 0.0, 0.5, 0.0]])
    found = cm.inference.gain_intervals(world.dump, u, [1.0], world.values, replicates=20000, random_state=3)
    again = cm.inference.gain_intervals(world.dump, u, [1.0], world.values, replicates=20000, random_state=3)
    np.testing.assert_array_equal(found.bootstrap, again.bootstrap)
    contributions = np.stack(
        [cm.tilt(world.phi[world.ids == x], u, [1.0], world.values[world.ids == x], prompt_ids=np.zeros(6, int),
                 pareto_k=False).gain[0, 0] for x in range(60)]
    )  # fmt: skip
    rng = np.random.default_rng(0)
    draws = np.array([contributions[rng.integers(0, 60, 60)].mean(axis=0) for _ in range(20000)])
    want = np.quantile(draws, [0.025, 0.975], axis=0).T
    np.testing.assert_allclose(found.bootstrap[0, 0], want, atol=0.07 * found.se[0, 0].max())


def test_fits_of_other_dumps_and_saved_fits_know_no_labels(world: World, tmp_path: Any) -> None:
    fit = _fits(world)["ridge"]
    fit.save(tmp_path / "f")
    elsewhere = cm.fit_value_direction(world.phi + 1, world.judge, pooled=False, prompt_ids=world.ids)
    for other in (cm.fit.DirectionFit.load(tmp_path / "f"), elsewhere):
        got = cm.inference.gain_intervals(world.dump, [other, "judge"], [1.0], "a")
        assert not got.labels_known.any() and np.isfinite(got.se).all()
    both = cm.inference.gain_intervals(world.dump, [fit, "judge"], [1.0], "a")
    assert both.labels_known.tolist() == [True, False] and both.fit_status == ("cross-fitted", "score")


def test_odd_but_valid(world: World) -> None:
    fit = _fits(world)["pairs"]
    ends = cm.inference.gain_intervals(world.dump, fit, [np.inf, 1e300, 1e-6], "a")
    assert not ends.gain[0, 0].any() and not ends.se_labels[0, 0].any() and np.isfinite(ends.se_labels).all()
    one = cm.inference.gain_intervals(world.phi[:6], np.ones((1, 4)), [1.0], world.values[:6], prompt_ids=world.ids[:6])
    assert np.isnan(one.se).all() and np.isfinite(one.gain).all()
    flat = cm.inference.gain_intervals(world.dump, np.zeros((1, 4)), values="a", kl=[0.1])
    assert not flat.gain.any() and not flat.se.any()


@pytest.mark.parametrize("labelled", [1.0, 0.6])
@pytest.mark.parametrize("sizes", [(6, 6), (3, 12)])
@pytest.mark.parametrize("kl", [0.05, 0.25])
def test_the_estimate_is_its_definition(sizes: tuple[int, int], kl: float, labelled: float) -> None:
    """The twin deletes rows and prompts one at a time."""
    rng = np.random.default_rng(3)
    ids = np.repeat(np.arange(24), rng.integers(sizes[0], sizes[1] + 1, 24))
    t, f = rng.normal(size=len(ids)), np.round(2 * rng.normal(size=len(ids)))  # ties
    f += np.round(t)
    second = np.arange(len(ids)) - np.searchsorted(ids, ids) < 2  # labels stay, so that every prompt says something
    f[~second & (rng.random(len(ids)) > labelled)] = np.nan
    found = cm.inference.gain_intervals(t[:, None], cm.Scores(t[:, None]), values=f, kl=[kl], prompt_ids=ids)
    gain, se, win, win_se, beta = cm.reference.policy_gain(t, f, ids, kl)
    assert found.estimate.item() == pytest.approx(gain, rel=1e-6)
    assert found.estimate_se.item() == pytest.approx(se, rel=1e-5)
    assert found.win_rate.item() == pytest.approx(win, rel=1e-6)
    assert found.win_rate_se.item() == pytest.approx(win_se, rel=1e-5)
    # at that beta the gain is the same, and its error is that of the gain at a given beta
    again = cm.inference.gain_intervals(t[:, None], cm.Scores(t[:, None]), [beta], f, prompt_ids=ids)
    assert again.estimate.item() == pytest.approx(gain, rel=1e-5)
    assert again.estimate_kind.tolist() == [["jackknife"]]


def test_counts_are_copies_for_the_estimate() -> None:
    rng = np.random.default_rng(5)
    ids, counts = np.repeat(np.arange(15), 5), rng.integers(1, 4, 75)
    t, f = rng.normal(size=(2, 75))
    few = cm.inference.gain_intervals(
        t[:, None], cm.Scores(t[:, None]), values=f, kl=[0.2], prompt_ids=ids, base="counts", counts=counts
    )
    written = np.repeat(np.arange(75), counts)
    many = cm.inference.gain_intervals(
        t[written, None], cm.Scores(t[written, None]), values=f[written], kl=[0.2], prompt_ids=ids[written]
    )
    for name in ("estimate", "estimate_se", "win_rate", "win_rate_se"):
        np.testing.assert_allclose(getattr(few, name), getattr(many, name), rtol=1e-8)


def test_small_prompts_have_only_a_first_order_and_logprob_is_exact(world: World) -> None:
    few = world.ids.copy()
    few = 3 * few + (np.arange(len(few)) % 6) // 2  # two responses a prompt
    got = cm.inference.gain_intervals(world.phi, np.ones((1, 4)), values=world.values, kl=[0.05, 0.5], prompt_ids=few)
    assert got.estimate_kind.tolist() == [["first order", "none"]] and np.isfinite(got.estimate[0, 0]).all()
    assert np.isnan(got.estimate[0, 1]).all()
    first = cm.tilt(world.phi, np.ones((1, 4)), [1.0], world.values, prompt_ids=few).first_order_unbiased[0, 0]
    sd = np.sqrt(np.mean([2 * np.var(world.phi[few == x].sum(axis=1)) for x in np.unique(few)]))
    np.testing.assert_allclose(got.estimate[0, 0], np.sqrt(2 * 0.05) / sd * first, rtol=1e-4)
    logp = np.random.default_rng(0).normal(size=len(few))
    whole = cm.inference.gain_intervals(world.dump, np.ones((1, 4)), [1.0, np.inf], "a", base="logprob", logprobs=logp)
    assert whole.estimate_kind[0, 0] == "exact" and whole.win_rate[0, 1, 0] == pytest.approx(0.5)
    np.testing.assert_allclose(whole.estimate[0, 0], whole.gain[0, 0], rtol=1e-5)


def test_the_jackknife_takes_out_most_of_the_plug_in_bias() -> None:
    """Gaussian world: the gain of the policy is lam u*'Sigma u_C exactly (theory 3.1)."""
    world = cm.simulate(6000, 6, 3, n_constitutions=1, random_state=2)
    got = cm.inference.gain_intervals(world, world.truth.u_c, [2.0], "s")
    truth = world.truth.gain(2.0).item()
    assert got.gain.item() < 0.87 * truth
    assert abs(got.estimate.item() - truth) < 4 * got.estimate_se.item() + 0.01 * truth


def test_another_level_is_another_t(world: World) -> None:
    fit = _fits(world)["pairs"]
    found = cm.inference.gain_intervals(world.dump, [fit, "judge"], [1.0], "a", replicates=20)
    wide, again = found.at(0.99), found.at(0.95)
    np.testing.assert_array_equal(again.interval, found.interval)
    np.testing.assert_array_equal(again.interval_labels, found.interval_labels)
    np.testing.assert_array_equal(again.estimate_interval, found.estimate_interval)
    judged = len(np.unique(world.pairs[:, 0] // 6))
    assert found.units_labels[0].item() <= judged and np.isnan(found.units_labels[1]).all()
    assert (found.units <= 60 * (1 + 1e-12)).all()
    half = np.diff(wide.interval_labels[0, 0, 0])[0] / 2
    freedom = found.units_labels[0].item() - 1
    assert half == pytest.approx(stats.t.ppf(0.995, freedom) * found.se_labels[0, 0, 0], rel=1e-9)
    assert wide.level == 0.99 and np.isnan(wide.bootstrap).all()
    with pytest.raises(ValueError, match="level"):
        found.at(1.5)


def test_why_labels_are_not_known_is_said(world: World, tmp_path: Any) -> None:
    fit = _fits(world)["ridge"]
    fit.save(tmp_path / "f")
    binary = cm.fit_value_direction(world.dump, world.values[:, 0] > 0, method="lda", pooled=False)
    other = cm.fit_value_direction(world.phi + 1, world.judge, pooled=False, prompt_ids=world.ids)
    given = [fit, np.ones((1, 4)), "judge", cm.fit.DirectionFit.load(tmp_path / "f"), other, binary]
    said = ["ok", "is given", "a score", "loaded from a file", "given", "lda"]
    got = cm.inference.gain_intervals(world.dump, given, [1.0], "a")
    assert len(got.status) == 6 and all(word in status for word, status in zip(said, got.status, strict=True))
    assert [s == "ok" for s in got.status] == got.labels_known.tolist()


@pytest.mark.parametrize("covariates", [None, ["n_tokens", "b"]])
def test_log_probabilities_move_the_generation_direction_as_the_fit_says(world: World, covariates: Any) -> None:
    rng = np.random.default_rng(5)
    logp = world.phi @ [0.3, -1.0, 0.2, 0.5] + 0.02 * world.length + rng.normal(size=len(world.ids))
    options: dict[str, Any] = {"covariates": covariates, "precision": "double", "alpha": 0.1}
    fit = cm.fit_generation_direction(world.dump, logp, **options)
    call = prepare(world.dump, fit, ["a"], precision="double")
    error = label_errors(call, None)[0]
    change = np.where(world.ids == 7, rng.normal(size=len(world.ids)), 0.0)
    moved = cm.fit_generation_direction(world.dump, logp + change, **options)
    error.residual = error.share * error._centred(change)
    g = rng.normal(size=(2, 4))
    part = error.moved(g)
    np.testing.assert_allclose(part.sum(axis=0), 0, atol=1e-12)
    # influences are centred: a prompt whose labels stay carries its share of the change of the fit
    np.testing.assert_allclose(-60 * part[20], g @ (moved.vector - fit.vector), rtol=1e-6)


BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("level", 1.0, ValueError, "level"),
    ("level", "high", ValueError, "level"),
    ("replicates", -1, ValueError, "replicates"),
    ("replicates", 2.5, ValueError, "replicates"),
    ("values", None, ValueError, "values"),
    ("within", False, ValueError, "within"),
    ("kl", -1.0, ValueError, "kl"),
    ("betas", -1.0, ValueError, "betas"),
    ("adjust", "nope", ValueError, "nope"),
    ("nonsense", 1, TypeError, "nonsense"),
]


@pytest.mark.parametrize(("argument", "value", "error", "message"), BAD)
def test_a_wrong_argument_is_named(world: World, argument: str, value: Any, error: Any, message: str) -> None:
    good: dict[str, Any] = {"directions": np.ones((1, 4)), "values": "a"}
    with pytest.raises(error, match=message):
        cm.inference.gain_intervals(world.dump, **(good | {argument: value}))


def _coverage(kind: str, repeats: int, d: int, n_labels: int) -> tuple[float, float]:
    """Share of intervals, with and without labels, that hold the mean of the estimate over repeated worlds."""
    gains, plain, full = [], [], []
    for seed in range(repeats):
        w = World(1000 + seed, prompts=60, d=d, pairs=n_labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "pairs":
                fit = cm.fit_preference_direction(w.dump, w.pairs, w.hard, alpha=0.3)
            else:
                fit = cm.fit_value_direction(w.dump, "judge", alpha=0.05, pooled=False)
        got = cm.inference.gain_intervals(w.dump, fit, values="a", kl=[0.2])
        gains.append(got.gain[0, 0, 0])
        plain.append(got.interval[0, 0, 0])
        full.append(got.interval_labels[0, 0, 0])
    target = np.mean(gains)
    inside = [np.mean([low <= target <= high for low, high in x]) for x in (full, plain)]
    return float(inside[0]), float(inside[1])


@pytest.mark.parametrize(("kind", "d", "n_labels"), [("pairs", 4, 60), ("pairs", 30, 100), ("ridge", 12, 0)])
def test_intervals_that_include_the_labels_cover(kind: str, d: int, n_labels: int) -> None:
    full, plain = _coverage(kind, 150, d, max(n_labels, 60))
    assert full >= 0.95 - 2.6 * np.sqrt(0.95 * 0.05 / 150)
    if kind == "pairs":
        assert plain < full - 0.03  # the judge's own noise is a good part of the error
