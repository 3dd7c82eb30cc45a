"""Inference and reports: every float field against plain twins, definitions and what fields say of one another."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain import Floats, Prompts, agree, error, freedom
from scipy import optimize, stats

import clinometer as cm
from clinometer import reference, theory
from clinometer.engine.inputs import prepare
from clinometer.engine.passes import kept_scores
from clinometer.fit import DirectionFit
from clinometer.inference.policy import policy_gains
from clinometer.reporting import Report, export

G, N = 20, 8
IDS = np.repeat(np.arange(G), N)
RNG = np.random.default_rng(20265)
PHI = RNG.standard_normal((G * N, 3)) + RNG.standard_normal((G, 3))[IDS]
T = PHI @ [0.8, 0.3, -0.2]
S = np.column_stack([T + RNG.standard_normal(G * N), PHI[:, 1] - 0.5 * T + 0.5 * RNG.standard_normal(G * N)])
TOKENS = np.rint(np.exp(4 + 0.3 * T + 0.3 * RNG.standard_normal(G * N)))
MADE = PHI @ [0.2, 1.0, 0.1]
LEVELS = [0.05, 0.2]
P = Prompts(IDS)


def bounds(x: Any, se: Any, freedom: Any, level: float = 0.95) -> Floats:
    half = stats.t.ppf(0.5 + level / 2, freedom) * se
    return np.stack([x - half, x + half], axis=-1)


def win_bounds(x: Floats, se: Floats, freedom: Floats) -> Floats:
    """Each bound where its distance from x is t times an error that shrinks towards the furthest that a policy wins."""

    def at(win: float, se: float, freedom: float, far: float) -> tuple[float, float]:
        t, room = stats.t.ppf(0.975, freedom), far**2 + se**2 - (win - 0.5) ** 2

        def beyond(w: float) -> float:
            return float((w - win) ** 2 - t**2 * se**2 / room * (far**2 - (w - 0.5) ** 2))

        return optimize.brentq(beyond, 0.5 - far, win, xtol=1e-14), optimize.brentq(beyond, win, 0.5 + far, xtol=1e-14)

    far = np.broadcast_to(np.sqrt(np.array(LEVELS) / 6)[:, None], x.shape)
    return np.array([at(*of) for of in zip(*(a.ravel() for a in (x, se, freedom, far)), strict=True)]).reshape(
        *x.shape, 2
    )


@cache
def dump() -> cm.Dump:
    columns = {"t": T, "a": S[:, 0], "b": S[:, 1], "n_tokens": TOKENS, "made": MADE}
    return cm.open_dump(PHI, prompt_ids=IDS, columns=columns)


@cache
def fit() -> DirectionFit:
    return cm.fit_value_direction(dump(), "b", alpha=0.1, pooled=False)


@cache
def page() -> Report:
    """A column and a fit as judges of two values and the length; "b" is fitted too, so that its labels are known."""
    return cm.report(
        dump(), constitutions=["t", fit()], values=["a", "b"], kl=LEVELS, u_gen="made", texts=["x"] * (G * N),
        precision="double",
    )  # fmt: skip


@cache
def judged() -> Floats:
    """Scores of both judges, the fit out of fold."""
    return np.column_stack([T, cm.score(dump(), fit(), precision="double")[:, 0]])


def values() -> Floats:
    return np.column_stack([S, TOKENS])


@cache
def twin(k: int, b: int, j: int) -> tuple[float, ...]:
    return reference.policy_gain(judged()[:, k], values()[:, j], IDS, LEVELS[b])


def lopsided(f: Any) -> int:
    """Side of third moments about the middle of each prompt, where they are large and beyond chance."""
    d = np.concatenate([x - np.median(x) for x in np.split(f, G)])
    size = (d**3).sum() / (d**2).sum() ** 1.5
    return int(np.sign(size)) if abs(size) > max(0.07, 3 * np.sqrt(6) / len(d)) else 0


def gain_bounds(p: Any, level: float = 0.95) -> Floats:
    """Student's, and no nearer on that side than the error under independence."""
    out = bounds(p.gain, p.gain_se, p.freedom, level)
    far = np.array([lopsided(f) for f in values().T])[:, None] * [[-1, 1]] > 0
    chance = p.gain[..., None] + np.array([-1, 1]) * stats.norm.ppf(0.5 + level / 2) * p.null_se[..., None]
    return np.where(far, np.where([[True, False]], np.minimum(out, chance), np.maximum(out, chance)), out)


def test_gains_of_the_policy() -> None:
    p = page().policy
    assert p.lopsided.tolist() == [lopsided(f) for f in values().T] and any(p.lopsided) and not p.skewed.any()
    rows = np.array([[P.beta_at(t, kl) for kl in LEVELS] for t in judged().T])
    agree(p, {
        "kl": [LEVELS] * 2, "correction": 1 - rows / p.betas, "interval": gain_bounds(p),
        "win_interval": win_bounds(p.win_rate, p.win_rate_se, p.win_freedom),
    }, apart="gain gain_se null_se win_rate win_rate_se betas freedom win_freedom harmed harmed_se outweighing "
       "overshoot", rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(p.bounds(0.8), gain_bounds(p, 0.8), rtol=1e-9)
    for k, b, j in ((0, 0, 0), (1, 1, 1)):
        gain, se, wins, win_se, beta = twin(k, b, j)
        np.testing.assert_allclose([p.gain[k, b, j], p.win_rate[k, b, j], p.betas[k, b]], [gain, wins, beta], rtol=1e-4)
        # the twin takes slopes by differences
        np.testing.assert_allclose([p.gain_se[k, b, j], p.win_rate_se[k, b, j]], [se, win_se], rtol=0.005)
        null_se = reference.policy_null_se(judged()[:, k], values()[:, j], IDS, LEVELS[b])
        np.testing.assert_allclose(p.null_se[k, b, j], null_se, rtol=0.005)  # the twin adds up coefficients


def half_and_half(harmed: int) -> tuple[cm.Dump, Floats]:
    """The same scores in every prompt; the value is minus the score in the first prompts, and the score in the others.
    With it, 1 where a prompt is harmed."""
    t, hurt = np.tile(np.linspace(-1.0, 1.0, N), G), (np.arange(G) < harmed) * 1.0
    return cm.open_dump(PHI, prompt_ids=IDS, columns={"t": t, "f": t * (1 - 2 * hurt[IDS])}), hurt


@pytest.mark.parametrize("harmed", [8, 1])
def test_prompts_that_a_judge_harms(harmed: int) -> None:
    held, hurt = half_and_half(harmed)
    whole = cm.report(held, constitutions=["t"], values=["f"], kl=[0.2], sections=[]).policy
    call = prepare(held, "t", "f")
    p = policy_gains(call, kept_scores(call), np.array([0.2]))
    np.testing.assert_allclose(whole.harmed_se, p.harmed_se, rtol=1e-9)
    t = np.tile(np.linspace(-1.0, 1.0, N), G)
    np.testing.assert_allclose(p.correction, 1 - P.beta_at(t, 0.2) / p.betas, rtol=1e-6)
    np.testing.assert_allclose(p.harmed, max(harmed / G - 0.1, 0) / 0.9, rtol=1e-9)
    np.testing.assert_allclose(p.harmed_se, error(hurt) / 0.9, rtol=1e-9)
    # gains and wins take two values, so that what a prompt adds to them is a coin's
    np.testing.assert_allclose([p.freedom, p.win_freedom], freedom(hurt - hurt.mean()), rtol=1e-6)


def policy_sd(x: Any) -> Any:
    """Of what the rows were drawn from, inside prompts."""
    return P.sd(x) * np.sqrt(N / (N - 1))


def test_a_report() -> None:
    r = page()
    t, f = judged(), values()
    sd = np.array([policy_sd(x) for x in f.T])
    gain = r.policy.gain
    null = cm.tilt(dump(), np.random.default_rng(0).standard_normal((64, 3)) / [P.sd(x) for x in PHI.T],
                   values=["a", "b", "n_tokens"], kl=LEVELS, precision="double").gain  # fmt: skip
    own = cm.inference.gain_intervals(dump(), fit(), values=["a", "b", "n_tokens"], kl=LEVELS, precision="double")
    labels = np.stack([np.full((2, 3, 2), np.nan), own.estimate_interval_labels[0]])
    linear = cm.fit_value_direction(dump(), "t", pooled=False).encoding_quality.value
    middle, wide = null.mean(axis=0), null.std(axis=0, ddof=1) * stats.t.ppf(0.975, 63) * np.sqrt(65 / 64)
    agree(r, {
        "kl": LEVELS, "value_sd": sd, "correlation": [[P.r(a, x) for x in f.T] for a in t.T],
        "generation_correlation": [P.r(MADE, x) for x in f.T],
        "value_correlation": [[P.r(x, y) for x in f.T] for y in f.T], "gain": gain, "gain_rows": r.tilt.gain,
        "gain_interval": r.policy.interval, "gain_sd": gain / sd, "gain_interval_labels": labels,
        "chosen_bounds": r.policy.bounds(0.95 ** (1 / r.compared)),
    }, apart="null_band chance horizon compared linear_share examples layers spectrum iterated", rtol=1e-5)  # fmt: skip
    np.testing.assert_allclose(r.null_band, np.stack([middle - wide, middle + wide], axis=-1), rtol=0.002, atol=1e-6)
    np.testing.assert_allclose(r.linear_share[:1], linear, rtol=1e-6)
    assert 1 < r.compared < 8 and 0 <= r.chance <= 1
    np.testing.assert_allclose(r.horizon, 0.35 * np.log(N), rtol=1e-9)  # of what prompts of N rows can reach
    lam = np.linalg.eigvalsh(np.mean([np.cov(PHI[i].T, ddof=0) for i in P.rows], axis=0))[::-1]
    share = lam / lam.sum()
    assert r.spectrum is not None and r.spectrum["m"] == 3  # of 3 dimensions: they hold all of a value
    want = {"eigenvalues": lam, "effective_rank": np.exp(-share @ np.log(share)), "participation": 1 / (share @ share),
            "stable": 1 / share[0], "concentration": [1, 1], "null": 1}  # fmt: skip
    for name, x in want.items():
        np.testing.assert_allclose(r.spectrum[name], x, rtol=1e-6, err_msg=name)


def test_how_many_numbers_a_choice_pays_for() -> None:
    one = cm.report(dump(), constitutions=["t"], values=["a"], kl=[0.05], sections=["selection"])
    assert one.compared == 1
    sure = cm.report(dump(), constitutions=["t"], values=["t"], kl=[0.2], sections=["selection"])
    assert sure.chance == pytest.approx(1, abs=1e-3)


def test_rounds_and_responses_of_the_choice() -> None:
    r, found = page(), page().best()
    assert found is not None
    k, b = found.index
    cell = r.policy.bounds(0.95 ** (1 / r.compared))[k, b, :2]
    agree(found, {"kl": LEVELS[b], "gain": r.policy.gain[k, b, :2], "lower": cell[:, 0], "upper": cell[:, 1]})
    alone = cm.open_dump(judged()[:, [k]], prompt_ids=IDS)
    beta = float(r.policy.betas[k, b])
    assert r.iterated is not None and r.iterated["beta"] == pytest.approx(beta)
    want = theory.iterate(alone, [1.0], beta, values(), rounds=4)
    np.testing.assert_allclose(r.iterated["ess"], want.ess, rtol=1e-5)
    one_tilt = cm.inference.gain_intervals(alone, [[1.0]], beta / np.arange(1.0, 5), values())
    np.testing.assert_allclose(r.iterated["gain"], one_tilt.estimate[0], rtol=1e-5)
    np.testing.assert_allclose(r.iterated["gain_se"], one_tilt.estimate_se[0], rtol=1e-5)
    assert r.iterated["kl"][0] == pytest.approx(LEVELS[b], rel=1e-4)
    assert (np.isnan(r.iterated["kl"]) | (r.iterated["kl"] <= r.horizon[k] * 1.01)).all()
    assert (np.isnan(r.iterated["kl"]) == np.isnan(r.iterated["gain"]).all(axis=1)).all()
    p = P.tilt(judged()[:, k], 1 / P.beta_at(judged()[:, k], LEVELS[b]))
    for one in r.examples:
        row = one["row"]
        assert one["ratio"] == pytest.approx(p[row] * N, rel=1e-5) and one["before"] == pytest.approx(1 / N)
        assert one["after"] == pytest.approx(p[row], rel=1e-5)
        np.testing.assert_allclose(one["values"], values()[row])


def test_rows_of_a_report() -> None:
    r = page()
    p, t = r.policy, r.tilt
    assert r.net is not None and r.gain_interval_labels is not None and r.null_band is not None
    assert r.selection is not None and r.linear_share is not None
    by_cell = {
        "gain": p.gain, "gain_se": p.gain_se, "lower": p.interval[..., 0], "upper": p.interval[..., 1],
        "gain_rows": t.gain, "gain_rows_se": t.gain_se, "lower_labels": r.gain_interval_labels[..., 0],
        "upper_labels": r.gain_interval_labels[..., 1], "first_order": t.first_order,
        "first_order_unbiased": t.first_order_unbiased, "first_order_se": t.first_order_se, "gain_sd": r.gain_sd,
        "win_rate": p.win_rate, "win_rate_se": p.win_rate_se, "win_lower": p.win_interval[..., 0],
        "win_upper": p.win_interval[..., 1], "harmed": p.harmed, "harmed_se": p.harmed_se,
        "net_of_length": r.net.gain, "net_of_length_se": r.net.gain_se,
        "gain_values": np.full(p.gain.shape, np.nan),  # without gold
    }  # fmt: skip
    by_tilt = {
        "kl_reached": t.kl, "beta": p.betas, "beta_rows": t.betas, "ess": t.ess, "pareto_k": t.pareto_k,
        "correction": p.correction, "chosen_share": r.selection.share,
    }  # fmt: skip
    found = iter(export.records(r))  # by the module, which mutants change
    for k, b, j in np.ndindex(2, 2, 3):
        row = next(found)
        want = {name: x[k, b, j] for name, x in by_cell.items()} | {name: x[k, b] for name, x in by_tilt.items()}
        want |= {
            "null_lower": r.null_band[b, j, 0], "null_upper": r.null_band[b, j, 1], "kl": LEVELS[b],
            "correlation": r.correlation[k, j], "linear_share": r.linear_share[k], "horizon": r.horizon[k],
        }  # fmt: skip
        floats = {name: x for name, x in row.items() if isinstance(x, float)}
        assert set(floats) == set(want), set(floats) ^ set(want)
        np.testing.assert_allclose([floats[name] for name in want], list(want.values()), err_msg=str(want))


def test_layers_of_a_report(tmp_path: Path) -> None:
    layers = {1: PHI, 2: PHI @ np.diag([1.0, 0.5, 2.0]) + 0.5 * np.random.default_rng(13).standard_normal(PHI.shape)}
    cm.write_dump(tmp_path, layers, prompt_ids=IDS, columns={"t": T, "a": S[:, 0], "b": S[:, 1]})
    found = cm.report(cm.open_dump(tmp_path, layer=1), constitutions=["t"], values=["a", "b"], kl=[0.05],
                      sections=["encoding", "cone", "layers"], precision="double").layers  # fmt: skip
    assert found is not None and [one["layer"] for one in found] == [1, 2]
    for one in found:
        own = cm.open_dump(tmp_path, layer=one["layer"])
        q = cm.fit_value_direction(own, ["a", "b"], pooled=False, precision="double").encoding_quality
        np.testing.assert_allclose(one["quality"], q.value, rtol=1e-6)
        np.testing.assert_allclose(one["quality_ci"], q.ci, rtol=1e-6)


def test_what_a_report_says_of_its_rows() -> None:
    sizes = [1, 3, 8, 8, 5]
    held = cm.open_dump(PHI[:25], prompt_ids=np.repeat(np.arange(5), sizes), columns={"t": T[:25], "a": S[:25, 0]})
    found = cm.report(held, constitutions=["t"], values=["a"], kl=[0.05], sections=[]).dump
    assert found.responses == (1.0, 5.0, 8.0)


def test_intervals_of_gains() -> None:
    found = cm.inference.gain_intervals(
        dump(), fit(), values=["a", "b"], kl=LEVELS, replicates=200, level=0.9, precision="double"
    )
    t = judged()[:, 1]
    lam = [1 / P.beta_at(t, x) for x in LEVELS]
    p = [P.tilt(t, x) for x in lam]
    gains = np.array([[P.moved(q, f) for f in S.T] for q in p])
    kl = np.array([P.kl(q) for q in p])
    # at matched KL a prompt also moves beta: its gain less d gain/d KL times its KL
    step = 1e-4
    ends = [[(P.tilt(t, x * (1 + h)), x) for h in (step, -step)] for x in lam]
    slope = [
        [(P.moved(up, f).mean() - P.moved(down, f).mean()) / (P.kl(up).mean() - P.kl(down).mean()) for f in S.T]
        for (up, _), (down, _) in ends
    ]
    psi = gains - np.array(slope)[..., None] * kl[:, None]
    share = np.array([P.each(lambda r, q=q: 1 / (len(r) * (q[r] @ q[r]))) for q in p])
    agree(found, {
        "betas": [1 / np.array(lam)], "gain": gains.mean(axis=2)[None], "kl": [LEVELS], "level": 0.9,
        "se": error(np.moveaxis(psi, 2, 0))[None],
        "interval": bounds(found.gain, found.se, found.units - 1, 0.9),
        "interval_labels": bounds(found.gain, found.se_labels, found.units_labels - 1, 0.9),
        "estimate_interval": bounds(found.estimate, found.estimate_se, found._estimate_units - 1, 0.9),
        "ess_quantiles": [np.quantile(share, [0.05, 0.25, 0.5], axis=1).T],
    }, apart="se_labels units units_labels bootstrap bootstrap_labels win_rate win_rate_se estimate estimate_se "
             "estimate_interval_labels",
       rtol=1e-4)  # fmt: skip
    gain, se, wins, win_se, _ = twin(1, 1, 0)
    cell = (found.estimate, found.estimate_se, found.win_rate, found.win_rate_se)
    np.testing.assert_allclose([x[0, 1, 0] for x in cell], [gain, se, wins, win_se], rtol=0.005)
    for b in range(2):
        np.testing.assert_allclose(found.cov(0, b), np.cov(psi[b]) / G, rtol=1e-4)
        np.testing.assert_allclose(np.sqrt(np.diagonal(found.cov_labels(0, b))), found.se_labels[0, b], rtol=1e-9)
    for low, high in ((found.bootstrap, found.interval), (found.bootstrap_labels, found.interval_labels)):
        np.testing.assert_allclose(low, high, atol=0.5 * float(found.se_labels.max()))
    middle = found.estimate_interval_labels.mean(axis=-1)
    np.testing.assert_allclose(middle, found.estimate, rtol=1e-9)
    assert (found.units > 1).all() and (found.units_labels > 1).all()


def test_bootstraps_of_prompts_that_are_alike() -> None:
    # gains are known to half of a percent, so that percentiles of draws and Student's bounds are within a fifth of one
    rng = np.random.default_rng(12)
    z = np.tile(np.linspace(-1, 1, N), G) + 0.03 * rng.standard_normal(G * N)
    held = cm.open_dump(z[:, None], prompt_ids=IDS, columns={"f": z + 0.03 * rng.standard_normal(G * N)})
    fit = cm.fit_value_direction(held, "f", alpha=0.1, pooled=False)
    found = cm.inference.gain_intervals(held, fit, values="f", kl=[0.2], replicates=400, precision="double")
    np.testing.assert_allclose(found.bootstrap, found.interval, rtol=0.003)
    np.testing.assert_allclose(found.bootstrap_labels, found.interval_labels, rtol=0.003)


def test_nulls_of_one_prompt() -> None:
    # three rows: a shuffling is one of six orders, and the gain is that of the tilt by them
    t, one = np.array([0.0, 1.0, 3.0]), Prompts(np.zeros(3, int))
    orders = [t[list(o)] for o in permutations(range(3))]
    gain = np.array([[one.gain(o, 1 / one.beta_at(o, x), t) for x in (0.1, 0.3)] for o in orders])
    held = cm.open_dump(t[:, None], prompt_ids=[0, 0, 0])
    found = cm.inference.null_band(held, t, judges=cm.Scores(t), kl=[0.1, 0.3], draws=40, level=0.9)
    drawn = found.gain[0, :, :, 0]
    order = np.abs(drawn[:, None, 0] - gain[None, :, 0]).argmin(axis=1)
    assert found.kind == "permuted" and len(set(order)) > 3
    agree(found, {
        "kl": [0.1, 0.3], "gain": gain[order][None, ..., None], "level": 0.9,
        "interval": np.moveaxis(np.quantile(gain[order][None, ..., None], [0.05, 0.95], axis=1), 0, -1),
    }, rtol=1e-6)  # fmt: skip


def test_gold_labels() -> None:
    gold = np.where(IDS < 8, S[:, 0], np.nan)
    label = S[:, 0] + RNG.standard_normal(G * N) + 0.3 * T**2
    found = cm.inference.ppi_gain(dump(), "t", [1.5], label, gold=gold, level=0.9, precision="double")
    p = P.tilt(T, 1 / 1.5)
    c, y = P.moved(p, label), P.moved(p, S[:, 0])[:8]
    f, rest = c[:8], c[8:]
    slopes = [np.polyfit(np.delete(f, i), np.delete(y, i), 1)[0] for i in range(8)]  # over the other prompts of gold
    own = np.clip(np.array(slopes) / (1 + 7 / 12), 0, 1)
    power, left = own.mean(), y - own * f
    gain = power * rest.mean() + left.mean()
    se = np.sqrt(power**2 * error(rest) ** 2 + error(left) ** 2)
    agree(found, {
        "betas": [[1.5]], "gain": [[[gain]]], "gain_values": [[[c.mean()]]], "gain_gold": [[[y.mean()]]],
        "gain_gold_se": [[[error(y)]]], "power": [[[power]]], "level": 0.9,
    }, apart="se interval", rtol=1e-6)  # fmt: skip
    assert found.se.item() == pytest.approx(se, rel=1e-6)
    half = (found.interval[..., 1] - found.interval[..., 0]) / 2
    np.testing.assert_allclose(found.interval.mean(axis=-1), found.gain, rtol=1e-9)
    assert stats.t.ppf(0.95, 30) < (half / found.se).item() < stats.t.ppf(0.95, 2)


def test_a_recommendation() -> None:
    found = cm.inference.recommend(dump(), ["t"], ["a", "b"], kl=LEVELS, splits=20, precision="double")
    agree(found, {"levels": LEVELS, "kl": LEVELS[found.index[1]]}, apart=(
        "share gain se optimism interval layer_share objective"), rtol=1e-4)  # fmt: skip
    for j, name in enumerate(("a", "b")):  # one cell compares nothing: its bound is the interval's
        one = cm.inference.recommend(dump(), ["t"], name, kl=LEVELS[:1], splits=20, precision="double")
        sign = cm.inference.gain_intervals(dump(), "t", values=name, kl=LEVELS[:1], precision="double")
        assert sign.estimate.item() == pytest.approx(twin(0, 0, j)[0], rel=1e-4)
        assert one.objective.item() == pytest.approx(sign.estimate_interval[0, 0, 0, 0] / policy_sd(S[:, j]), rel=1e-6)
    assert found.share.sum() == pytest.approx(1, rel=1e-12)
    assert (found.interval[:, 0] < found.gain).all() and (found.gain < found.interval[:, 1]).all()
    # one cell of many prompts: nothing is chosen, so halves gain what all prompts gain, with their error
    t = np.random.default_rng(1).standard_normal(3200)
    many = cm.open_dump(t[:, None], prompt_ids=np.arange(3200) // 8, columns={"t": t})
    one = cm.inference.recommend(many, ["t"], "t", kl=[0.2], splits=1000, precision="double")
    whole = cm.inference.gain_intervals(many, "t", values="t", kl=[0.2], precision="double")
    assert one.share.tolist() == [[1.0]] and one.gain[0] == pytest.approx(whole.estimate.item(), rel=0.005)
    assert one.se[0] == pytest.approx(whole.estimate_se.item(), rel=0.05)
    assert one.interval[0, 0] < one.gain[0] < one.interval[0, 1] and abs(one.optimism[0]) < 0.2 * one.se[0]
    both = cm.inference.recommend({"x": dump(), "y": dump()}, {"x": ["t"], "y": ["b"]}, "a", kl=[0.2], splits=20)
    assert both.layer_share == pytest.approx({"x": both.share[0, 0], "y": both.share[1, 0]}, rel=1e-12)


def test_a_recommendation_from_one_split() -> None:
    held, _ = half_and_half(7)
    t, f = (np.asarray(held.column(name)) for name in "tf")
    found = cm.inference.recommend(held, ["t"], "f", kl=[0.2], splits=1, precision="double")
    g = reference.policy_gain(t, t, IDS, 0.2)[0]
    judging = np.round((1 - found.gain[0] / g) * 5)  # of the ten prompts that judge, those that are harmed
    gain = np.repeat([-g, g], [int(judging), 10 - int(judging)])
    psi = (gain - gain.mean()) / 10
    size = np.sqrt((psi**2).sum())
    assert judging != 5
    half = stats.t.ppf(1 - 0.025 / 2, freedom(psi)) * np.sqrt(10 / 9) * size
    every = np.repeat([-g, g], [7, 13])
    psi = (every - every.mean()) / 20
    low = every.mean() - stats.t.ppf(0.975, freedom(psi)) * np.sqrt(20 / 19 * (psi**2).sum())
    agree(found, {
        "gain": [gain.mean()], "se": [np.sqrt(20 / 19) * size], "interval": [gain.mean() + half * np.array([-1, 1])],
        "optimism": [0.2 * g * (judging - (7 - judging))], "share": [[1.0]], "objective": [[low / policy_sd(f)]],
        "kl": 0.2, "levels": [0.2],
    }, apart="layer_share", rtol=1e-6)  # fmt: skip


def test_baselines() -> None:
    u = np.array([[0.8, 0.3, -0.2]])
    found = cm.inference.baselines(dump(), u, ["a", "b"], precision="double")
    ridge = cm.fit_value_direction(dump(), ["a", "b"], pooled=False, precision="double").vectors
    inside = [P.each(lambda r, f=f: np.corrcoef(T[r], f[r])[0, 1]).mean() for f in S.T]
    agree(found, {
        "cosine": [[u[0] @ v / np.linalg.norm(u) / np.linalg.norm(v) for v in ridge]], "correlation": [inside],
        "pooled_correlation": [[np.corrcoef(T, f)[0, 1] for f in S.T]],
    }, apart="projection_difference", rtol=1e-6)  # fmt: skip
    # in one dimension the value's direction is the column itself, up to a sign
    x = PHI[:, :1]
    best = P.each(lambda r: x[r, 0].max() - x[r, 0].mean()).mean() / P.sd(x[:, 0])
    plain = cm.inference.baselines(x, [[1.0]], x[:, 0], prompt_ids=IDS)
    np.testing.assert_allclose(plain.projection_difference, best, rtol=0.002)
