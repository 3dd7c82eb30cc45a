"""The experiment from first sample to last table on a tiny model, and the theorems that its numbers rest on."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models  # noqa: E402

import clinometer  # noqa: E402
from clinometer.models import loaded  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2]))
pytest.importorskip("experiments")  # not in the source distribution
from experiments import (  # noqa: E402
    costs,
    efficiency,
    forecast,
    kept,
    measuring,
    network,
    page,
    predictions,
    rows,
    runner,
    settings,
    shortfall,
    table,
    training,
)


@pytest.fixture
def lm():
    made = tiny_models.model(num_hidden_layers=3, max_position_embeddings=512, initializer_range=0.15)
    made.generation_config.eos_token_id = [2, *range(10, 80, 9)]  # several ends, so that lengths differ
    return loaded(made, tiny_models.tokenizer())


def tiny(root, committed=False):
    counts = {"train": 8, "held": 6, "valid": 8, "more": 4}
    return settings.Settings(
        "tiny", root / "work", root / "frozen" / "tiny.json", committed, constitutions=1, blocks=1, max_new_tokens=6,
        prompts=counts, responses={"train": 6, "held": 7, "valid": 6, "more": 6}, kl=(0.02, 0.1), tries=2,
        gradient_steps=3, fresh=2, checkpoint_every=2, learning_rate=3e-3, policies=(
            settings.dpo("planted", fresh=True), settings.dpo("text/kind", 0.05, prompts=3, passes=2),
            settings.dpo("noise", prompts=10), settings.policy_gradient("length"),
            settings.policy_gradient("text/kind"),
        ), layers=(1, 2), second=("dpo-text_kind-kl0.05-seed0-prompts3-passes2", 8),
    )  # fmt: skip


def forecast_made(s, lm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights on eight prompts are told of in many ways
        rows.sample(s, lm)
        rows.judge(s, lm)
        return forecast.write_forecast(s)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*the direction is 0")  # of a few tiny texts some values do not vary
def test_every_step_runs_and_a_run_that_was_stopped_ends_in_the_same_policy(tmp_path, lm, monkeypatch):
    s = tiny(tmp_path)
    held = forecast_made(s, lm)
    assert held["judges"] == list(rows.judges(s)) and len(held["values"]) == len(rows.VALUES) + len(held["judges"])
    runner.train(s, lm)
    predictions.read_layers(s, lm)
    text = table.show(s)
    assert (
        costs.show_costs(s) in text
        and "5 trained policies of 5" in text
        and "closed form" in text
        and "policy gradient" in text
    )
    first = {p.name: json.loads(p.read_text()) for p in (s.folder / "policies").glob("*.json")}
    assert first["dpo-planted-kl0.1-seed0.json"]["fresh"]["mean_ratio"] == pytest.approx(1, abs=0.5)
    assert not list((s.folder / "policies").glob("*.pt"))
    ratio = np.load(s.folder / "policies" / "dpo-planted-kl0.1-seed0.npy")
    again = measuring.by_weights(ratio, rows.rows(s, "held").values.reshape(6, 7, -1))
    assert first["dpo-planted-kl0.1-seed0.json"]["held"]["kl"] == again["kl"]
    written = page.write_page(s, tmp_path / "docs").read_text()
    heads = {line.split()[1] for line in written.splitlines() if line.startswith("### ")}
    assert heads == {"Judgment", "Concentration", "Adversarial", "Shift", "Effective", "By", "Second"}
    once = "\n".join(table.every_policy(s, held, table.policies(s)))
    assert text.endswith(once) and once in written and text.removesuffix(once).strip() in written
    assert len(list((tmp_path / "docs" / "img").glob("*.png"))) == 2
    for path in (s.folder / "policies").iterdir():
        path.unlink()
    keep, calls = training.Training._keep, itertools.count()

    def stopping(*args):
        keep(*args)
        if next(calls) % 3 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Training, "_keep", stopping)
    for _ in range(60):
        try:
            runner.train(s, lm)
            break
        except KeyboardInterrupt:
            continue
    again = {p.name: json.loads(p.read_text()) for p in (s.folder / "policies").glob("*.json")}
    assert next(calls) > 6
    for name, found in first.items():
        assert again[name] | {"seconds": 0} == found | {"seconds": 0}


@pytest.mark.slow
def test_a_run_goes_on_elsewhere_from_what_git_holds(tmp_path, lm):
    s = tiny(tmp_path)
    s = replace(s, policies=s.policies[2:3])
    forecast_made(s, lm)
    runner.train(s, lm)
    kept.keep(s)
    elsewhere = replace(s, folder=tmp_path / "elsewhere")
    kept.restore(elsewhere, lm)
    assert forecast.digests(elsewhere) == forecast.digests(s)
    phi, again = (rows.dump_of(at, "held").read(0, 42) for at in (s, elsewhere))
    np.testing.assert_allclose(again, phi, rtol=0, atol=1e-4 * abs(phi).max())
    (policy,) = (s.folder / "policies").glob("*.json")
    assert (elsewhere.folder / "policies" / policy.name).read_text() == policy.read_text()
    (elsewhere.folder / "policies" / policy.name).unlink()
    runner.train(elsewhere, lm)
    one, other = (json.loads((at.folder / "policies" / policy.name).read_text())["held"] for at in (s, elsewhere))
    assert other["kl"] == pytest.approx(one["kl"], rel=0.05) and other["forecast_gain"] == pytest.approx(
        one["forecast_gain"], rel=0.1, abs=1e-3
    )
    (elsewhere.kept / "train.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.npz"):
        kept.restore(elsewhere, lm)


@pytest.mark.slow
def test_training_is_refused_without_the_forecast_that_was_committed(tmp_path, lm):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    s = tiny(tmp_path, committed=True)
    with pytest.raises(forecast.NotFrozen, match="not there"):
        runner.train(s, lm)
    forecast_made(s, lm)
    with pytest.raises(forecast.NotFrozen, match="not in git"):
        runner.train(s, lm)
    git("init", "-q")
    git("add", "frozen")
    with pytest.raises(forecast.NotFrozen, match="not in git"):
        runner.train(s, lm)
    git("commit", "-qm", "forecast")
    assert forecast.frozen_for_training(s)["judges"] == list(rows.judges(s))
    kept = s.forecast.read_text()
    s.forecast.write_text(kept.replace("text/kind", "text/kimd"))
    with pytest.raises(forecast.NotFrozen, match="not in git"):
        runner.train(s, lm)
    s.forecast.write_text(kept)
    with pytest.raises(forecast.NotFrozen, match="other policies"):
        runner.train(replace(s, policies=s.policies[1:]), lm)
    (s.folder / "rows" / "held.npz").rename(s.folder / "held.npz")
    with np.load(s.folder / "held.npz") as found:
        np.savez(s.folder / "rows" / "held.npz", **{**found, "scores": found["scores"] + 1e-9})
    with pytest.raises(forecast.NotFrozen, match="scores held"):
        runner.train(s, lm)


def test_log_ratios_of_packed_responses_are_those_of_transformers_one_by_one(lm):
    cut = network.halves(lm, 1)
    prompt, responses = [5, 9, 12, 7], [[8, 3, 2], [30], [11, 12, 13, 14, 15], [8, 3, 2]]
    p = network.pack(prompt, responses)
    residual, top = cut.residual(p), cut.trainable()
    with torch.no_grad():
        for parameter in top.layers.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    found = [cut.logprobs(p, residual, t).detach().numpy() for t in (None, top)]
    for k, response in enumerate(responses):
        ids = torch.tensor([[*prompt, *response]])
        for now, many in zip((False, True), found, strict=True):
            with cut.as_policy(top if now else cut.top), torch.no_grad():
                logs = lm.model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            alone = float(logs.gather(1, torch.tensor(response)[:, None]).sum())
            assert many[k] == pytest.approx(alone, abs=2e-5)
    assert abs(found[0] - found[1]).max() > 0.05
    states = lm.model(torch.tensor([[*prompt, *responses[2]]]), output_hidden_states=True).hidden_states[2]
    assert p.mean_of(residual)[2] == pytest.approx(states[0, len(prompt) :].mean(0).detach().numpy(), abs=1e-5)


def test_a_step_of_dpo_lowers_its_loss_which_is_least_at_the_tilt():
    rng, beta = np.random.default_rng(0), 0.4
    score = torch.tensor(rng.normal(size=5))
    best = training.dpo_loss(score / beta + 3.0, score, beta)
    ratio = torch.tensor(rng.normal(size=5), requires_grad=True)
    loss = training.dpo_loss(ratio, score, beta)
    (gradient,) = torch.autograd.grad(loss, ratio)
    assert best < training.dpo_loss(ratio - 0.1 * gradient, score, beta) < loss
    labels = 1 / (1 + np.exp(-(score[:, None] - score[None]).numpy()))
    z = beta * (ratio[:, None] - ratio[None]).detach().numpy()
    said = -labels * np.log(1 / (1 + np.exp(-z))) - (1 - labels) * np.log(1 / (1 + np.exp(z)))
    assert loss.item() == pytest.approx(said[np.triu_indices(5, 1)].mean(), rel=1e-12)


def test_a_step_of_dpo_through_the_blocks_lowers_the_loss_and_its_gradient_is_a_finite_difference(lm):
    cut = network.halves(lm, 1)
    p = network.pack([5, 9, 12], [[8, 3, 2], [30, 31], [11, 12, 13, 14]])
    residual, top = cut.residual(p), cut.trainable()
    reference, score = cut.logprobs(p, residual).double(), torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64)

    def loss():
        return training.dpo_loss(cut.logprobs(p, residual, top).double() - reference, score, 0.5)

    begin = loss()
    begin.backward()
    slopes = [q.grad.clone() for q in top.layers.parameters()]
    length = float(sum((g**2).sum() for g in slopes)) ** 0.5

    def moved(by):
        with torch.no_grad():
            for q, g in zip(top.layers.parameters(), slopes, strict=True):
                q.add_(by / length * g)
            found = loss().item()
            for q, g in zip(top.layers.parameters(), slopes, strict=True):
                q.sub_(by / length * g)
        return found

    assert moved(-0.01) < begin.item() < moved(0.01)
    assert (moved(0.01) - moved(-0.01)) / 0.02 == pytest.approx(length, rel=0.02)


def test_the_policy_gradient_is_in_its_mean_that_of_the_reward_less_the_divergence():
    rng, beta = np.random.default_rng(1), 0.7
    logits, score = torch.tensor(rng.normal(size=4), requires_grad=True), torch.tensor(rng.normal(size=4))
    reference = torch.tensor(rng.normal(size=4)).log_softmax(0)
    logs = logits.log_softmax(0)
    goal = (logs.exp() * (score - beta * (logs - reference))).sum()
    (wanted,) = torch.autograd.grad(goal, logits, retain_graph=True)
    mean = torch.zeros(4, dtype=torch.float64)
    for draw in itertools.product(range(4), repeat=3):  # all draws of three responses with their probability
        at = list(draw)
        loss = training.policy_gradient_loss(logs[at], reference[at], score[at], beta)
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        mean -= logs[at].sum().exp().item() * gradient
    assert mean.numpy() == pytest.approx(wanted.numpy(), abs=1e-12)


def test_gains_and_divergence_by_weights_and_by_samples_are_without_bias():
    rng = np.random.default_rng(2)
    base, other, f = (rng.normal(size=4) for _ in range(3))
    p0, p = np.exp(base) / np.exp(base).sum(), np.exp(other) / np.exp(other).sum()
    ratio = np.log(p / p0)
    kl, gain = p @ ratio, p @ f - p0 @ f
    sums = np.zeros(4)
    for draw in itertools.product(range(4), repeat=3):
        at = list(draw)
        weighed = measuring.by_weights(np.stack([ratio[at]] * 2), np.stack([f[at][:, None]] * 2))
        sums[:2] += p0[at].prod() * np.array([weighed["kl"], weighed["gain"][0]])
        own = measuring.by_samples(np.stack([ratio[at]] * 2), np.stack([f[at][:, None]] * 2), np.full((2, 1), p0 @ f))
        sums[2:] += p[at].prod() * np.array([own["kl"], own["gain"][0]])
    assert sums == pytest.approx([kl, gain, kl, gain], abs=1e-12)
    with np.errstate(invalid="ignore"):
        tilt = measuring.likeness(np.array([[1.0, 3.0, 5.0]]), np.array([[0.0, 1.0, 2.0]]))
    assert tilt == {"correlation": pytest.approx(1), "slope": pytest.approx(2)}


def test_weights_of_the_closed_form_are_those_of_the_tilt():
    rng, strength = np.random.default_rng(3), 0.5
    found = measuring.closed_form(rng.normal(size=(400, 800)), strength)  # of normal scores the KL is strength^2 / 2
    assert found["kl"] == pytest.approx(strength**2 / 2, rel=0.02)
    assert found["ess"] == pytest.approx(np.exp(-(strength**2)), rel=0.02)
    assert found["mean_ratio"] == pytest.approx(1, abs=2e-3)
    few = measuring.closed_form(rng.normal(size=(4000, 8)), strength)
    assert few["mean_ratio"] == pytest.approx(1 + np.expm1(strength**2) / 4, abs=0.03)


def test_signs_ranks_coverage_and_regret_of_cells_made_by_hand():
    judges, gains, forecasts = ["a", "b", "c", "d"], [0.4, 0.1, -0.2, 0.3], [0.2, 0.1, -0.11, 0.5]
    common = {"arm": "x", "asked": 0.1, "kl": 0.1, "value": "you", "gain_se": 0.04, "matched_se": 0.04}
    cells = [
        {**common, "judge": j, "gain": g, "forecast": f, "forecast_se": 0.03}
        for j, g, f in zip(judges, gains, forecasts, strict=True)
    ]
    found = table.summary(cells)
    assert found["inside both"] == 0.5 and found["inside forecast"] == 0.25
    f2, fg = (sum(f * x for f, x in zip(forecasts, xs, strict=True)) for xs in (forecasts, gains))
    assert found["slope, others"] == pytest.approx(fg / (f2 - 4 * 0.03**2))
    assert found["significant"] == 4 and found["signs right"] == 1 and found["rank"] == pytest.approx(0.8)
    curve = {"kl": [0.1], "estimate": [[[f]] for f in forecasts], "se": [[[0.03]]] * 4}
    cosine = [[0.0] * 8, [0.0] * 8, [1.0] * 8, [0.0] * 8]
    held = {"judges": judges, "curve": curve, "simpler": {"cosine": cosine}}
    lost = table.regrets(held, cells)
    assert lost.pop(table.EXACT) < 1e-3 and lost == {"clinometer": pytest.approx(0.25), "cosine": pytest.approx(1.5)}
    unsure = [{**c, "matched_se": 0.5} for c in cells]  # as wide as the forecasts are apart
    assert 0.2 < table.regrets(held, unsure)[table.EXACT] < 1
    stray = {**cells[2], "kl": 0.001, "gain": 1.0}  # of a hundredth of the KL: nothing is said of it
    assert table.regrets(held, [*cells[:2], stray, cells[3], *cells[2:3]])["cosine"] == pytest.approx(1.5)
    own = {**common, "judge": "a", "value": "own/a", "gain": 0.3, "forecast": 0.6, "forecast_se": 0.1}
    with_own = table.summary([*cells, own])
    assert with_own["efficiency"] == pytest.approx(0.5) and with_own["slope, others"] == found["slope, others"]
    far = [{**c, "forecast": k + 1.0, "matched_se": 1e-6} for k, c in enumerate(cells)]
    assert table.ranks(far, 0.5) == pytest.approx(1) and table.ranks(far, -0.5) == pytest.approx(-1)
    noisy = table.ranks([{**c, "matched_se": 0.5} for c in far], 0.5)  # steps of 1/2 in errors of 1/2
    assert 0.6 < noisy < 0.9 and abs(table.ranks([{**c, "matched_se": 1e6} for c in far], 0.5)) < 0.2
    rare = {**cells[0], "gain": 9.0, "forecast_se": np.nan}  # without an error it is neither inside nor outside
    assert table.summary([*cells, rare])["inside both"] == 0.5


def test_a_judge_that_is_a_value_has_every_simpler_measure_of_it_at_its_largest(monkeypatch):
    rng = np.random.default_rng(5)
    ids, phi = np.repeat(np.arange(40), 16), rng.normal(size=(640, 6))
    values = phi @ rng.normal(size=(6, 3))
    r = rows.Rows(ids, np.concatenate([values, -values], axis=1), values, np.zeros(640), tuple("abcdef"))
    monkeypatch.setattr(forecast, "dump_of", lambda *_: clinometer.open_dump(phi, prompt_ids=ids))
    found = forecast.simpler(None, r)
    for name, measure in found.items():
        assert (np.diag(measure) > 0).all() and (measure.argmax(axis=0) == [0, 1, 2]).all(), name
        assert (measure.argmin(axis=0) == [3, 4, 5]).all(), name
    assert np.diag(found["cosine"]) == pytest.approx(np.ones(3)) and np.diag(found["agreement"]) == pytest.approx(0.5)
    assert np.diag(found["correlation"]) == pytest.approx(np.ones(3))


def test_a_forecast_between_its_levels_is_linear_in_the_root_of_the_divergence():
    levels, gains = np.array([0.01, 0.04, 0.16]), np.array([[1.0, 0.0], [2.0, -1.0], [4.0, np.nan]])
    curve = forecast.Curve(levels, gains, 0.1 * abs(gains))
    gain, se, slope = curve.at(0.0225)
    assert gain == pytest.approx([1.5, -0.5]) and se == pytest.approx([0.15, 0.05])
    assert slope == pytest.approx([10 / (2 * 0.15), -10 / (2 * 0.15)])
    assert curve.at(0.0025)[0] == pytest.approx([0.5, 0.0]) and np.isnan(curve.at(0.09)[0][1])
    assert np.isnan(curve.at(0.17)[0]).all()
    held = {"judges": ["a"], "curve": {"kl": [0.01, 0.04, 0.16], "beta": [[4.0, 2.0, None]]}}
    assert forecast.strength_at(held, "a", 0.0225) == pytest.approx(0.375)


@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_a_model_of_efficiency_is_believed_only_where_it_tells_of_judges_left_out(effect):
    rng = np.random.default_rng(6)
    judges = [f"j{k}" for k in range(15) for _ in range(3)]
    x = rng.normal(size=(45, 7))
    x[:, 4:] = np.repeat(rng.normal(size=(15, 3)), 3, axis=0)  # what is of the judge alone
    y = 0.4 + effect * x[:, 4] + 0.1 * rng.normal(size=45) + 0.1 * np.repeat(rng.normal(size=15), 3)
    made = efficiency.predicted(x, y, judges)
    assert made["sure"] == (effect > 0) and (made["better"]["all together"] > 0.5) == (effect > 0)
    assert (max(made["better"], key=made["better"].get) in ("noise", "all together")) or not effect
    by_model, by_mean = efficiency.left_out(x, y, judges)
    z = (x[3:] - x[3:].mean(0)) / x[3:].std(0)
    fitted = np.linalg.lstsq(
        np.vstack([z, np.sqrt(efficiency.RIDGE) * np.eye(7)]), np.append(y[3:] - y[3:].mean(), np.zeros(7))
    )[0]
    assert by_mean[:3] == pytest.approx(y[3:].mean())
    assert by_model[:3] == pytest.approx(y[3:].mean() + (x[:3] - x[3:].mean(0)) / x[3:].std(0) @ fitted)


def test_what_takes_the_rest_is_found_in_policies_made_by_hand(tmp_path, monkeypatch):
    rng, (G, n) = np.random.default_rng(5), (300, 16)
    score, alike = rng.normal(size=(2, G, n))
    made = rows.Rows(
        np.repeat(np.arange(G), n), score.reshape(-1, 1), score.reshape(-1, 1), score.ravel(), ("planted",)
    )
    monkeypatch.setattr(shortfall, "rows", lambda *_: made)
    s, found = tiny(tmp_path), []
    (s.folder / "policies").mkdir(parents=True)
    for seed, prompts in ((0, None), (1, None), (2, None), (0, 3)):
        spec = settings.dpo("planted", seed=seed, prompts=prompts)
        np.save(s.folder / "policies" / f"{spec['name']}.npy", 0.6 * score + 0.6 * alike + rng.normal(size=(G, n)))
        held = {"efficiency": 0.2 if prompts else 0.5, "own": 0, "matched_se": [0.1], "forecast_gain": [2.0]}
        held |= {"correlation": 0.5, "slope": 0.3, "kl": 0.1, "gain": [0.4], "gain_se": [0.1]}
        fresh = {"kl": 0.2, "gain": [0.9], "gain_se": [0.1]}
        found.append({"spec": spec, "held": held, "seen": {"correlation": 0.9, "mean_ratio": 2.0}, "fresh": fresh,
                      "tries": [{"strength": 1.5}]})  # fmt: skip
    arms = shortfall.by_arm(found)[2]
    assert arms[2] == f"| {table.ONCE} | 3 | 0.5 | 0.5 | 0.9 | 2 | 0.2 | 2 | 0 |" and len(arms) == 4
    sizes = shortfall.by_data(s, found)[2][2:]
    assert sizes == ["| planted | 0.1 | 3 | 1 | 1 | 0.2 | 0.05 |", "| planted | 0.1 | 8 | 1 | 3 | 0.5 | 0.05 |"]
    shares = [float(x) for x in shortfall.by_seed(s, found)[2][2].strip("| ").split(" | ")[2:]]
    assert shares == pytest.approx([3, 0.36 / 1.72, 0.36 / 1.72, 1 / 1.72, np.sqrt(0.5)], abs=0.03)
    assert "several sizes" in shortfall.by_data(s, found[:1])[2][0] and "second seed" in shortfall.by_seed(s, [])[2][0]
    repeated = [found[k] | {"spec": found[k]["spec"] | {"prompts": 3 + k, "passes": 4}} for k in range(2)]
    assert "second seed" in shortfall.by_seed(s, repeated)[2][0]  # other rows are not another order of the same


def test_goals_say_met_or_missed_with_their_numbers():
    def cell(arm, judge, gain, forecast, **more):
        held = {"arm": arm, "judge": judge, "asked": 0.1, "kl": 0.1, "value": "you", "matched_se": 0.01}
        return held | {"gain": gain, "forecast": forecast, "gain_se": 0.01, "forecast_se": 0.01} | more

    closed = [cell("closed form", f"j{k}", 0.1 * k, 0.1 * k + (0.05 if k == 0 else 0.0)) for k in range(20)]
    once = [cell(table.ONCE, f"j{k}", -0.1 * k, 0.1 * (k + 1)) for k in range(5)]
    cells = [*closed, *once, cell(table.GRADIENT, "a", 0.45, 0.5, value="own/a")]
    lost = {"closed form": {"clinometer": 0.5, "cosine": 0.1}, table.ONCE: {"clinometer": 0.08, "cosine": 0.3}}
    found = {line[0]: line for line in table.goals([{}] * 40, cells, lost)}
    assert [line[3] for line in found.values()] == ["met", "met", "missed", "missed", "no number yet", "met", "met"]
    assert found["closed form inside, both errors"][2] == "0.95 +- 0.05"
    assert found["signs of sure gains right"][2] == "0.2 of 5" and found[f"regret, {table.ONCE}"][2] == "0.08"
    assert found["efficiency, policy gradient"][2] == "0.9"
    said = page.trusted(list(found.values()))
    assert len(said) == 5 and "a policy does not lack estimation" in said[0] and "checked after" in said[1]
    assert page.trusted([["trained policies", "", "3", "missed"]])[0].startswith("Nothing yet")


def test_what_is_left_of_a_run_costs_what_its_finished_part_did(tmp_path):
    s = tiny(tmp_path)
    for split, n in (("train", 48), ("held", 21)):
        (s.folder / "dumps" / split).mkdir(parents=True)
        (s.folder / "dumps" / split / "text.jsonl").write_text("{}\n" * n)
    for what, units, cpu in (("sample train, tokens", 0, 3.0), ("sample train, tokens", 200, 9.0)):
        line = {"what": what, "units": units, "cpu": cpu, "wall": cpu}
        with (s.folder / "costs.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
    for k, name in enumerate(p["name"] for p in s.policies[:2]):
        settings.write_json(s.folder / "policies" / f"{name}.json", {"seconds": {"cpu": 10.0 + 4 * k}})
    rows_left = 48 + 42 + 48 + 24 - 48 - 21
    assert costs.left(s)[0] == ["sample, rows", 69, 162, 12.0, pytest.approx(12 / 48 * rows_left)]
    assert costs.left(s)[2] == ["policies, dpo", 2, 3, 24.0, pytest.approx(12.0)]
    assert costs.left(s)[1][:3] == ["judge, rows", 0, 138] and np.isnan(costs.left(s)[3][4])
    assert "| sample, rows | 69 | 162 | 12 |" in costs.show_costs(s)
    (s.folder / "rows").mkdir()
    (s.folder / "rows" / "held.npz").write_bytes(b"")  # restored: its judgments are there, their files are not
    assert costs.left(s)[1][:3] == ["judge, rows", 42, 138]


def test_a_second_round_that_was_kept_is_shown_where_its_responses_are_gone(tmp_path):
    s = tiny(tmp_path)
    s.folder.mkdir(parents=True)
    (s.folder / "second.txt").write_text("Judged by the model as it was:\n\n    an angle\n")
    title, lines = predictions.second_round(s)
    assert title.endswith(s.second[0]) and lines == ["Judged by the model as it was:", "", "    an angle"]


def test_predictions_of_a_world_whose_directions_are_known(tmp_path, monkeypatch):
    rng, J = np.random.default_rng(7), len(rows.VALUES)
    ids, phi = np.repeat(np.arange(400), 16), rng.normal(size=(6400, 12))
    axes = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    values = phi @ axes[:J].T + 0.5 * rng.normal(size=(6400, J))
    at = [rows.VALUES.index(v) for v in predictions.INTENDED.values()]
    judges = tuple(f"text/{c}" for c in predictions.INTENDED)
    scores = phi @ (0.8 * axes[at] + 0.6 * axes[J]).T
    made = rows.Rows(ids, scores, values, 2 * phi @ axes[J + 1], judges)
    dump = clinometer.open_dump(phi, prompt_ids=ids, columns={"logprob": made.logprob, "n_tokens": ids % 7 + 0.0})
    for module in (predictions, efficiency):
        monkeypatch.setattr(module, "dump_of", lambda *_: dump)
        monkeypatch.setattr(module, "rows", lambda *_: made)
    s = replace(tiny(tmp_path), constitutions=12)

    def numbers(part):
        return np.array([[float(x) if x[-1].isdigit() else np.nan for x in line.split(" | ")[1:]] for line in
                         (row.strip("| ") for row in part[1][2:])])  # fmt: skip

    gap = numbers(predictions.judgment_gap(s))[:, 1:]
    assert gap[:, 0] == pytest.approx(np.full(len(at), 0.8), abs=0.03) and abs(gap[:, 1]).max() < 0.05
    assert (gap[:, 3] < 0.8).all() and (gap[:, 4] > 0.75).all()
    curve = {"kl": [0.1], "estimate": [np.full((1, J), 0.3 - 0.1 * k).tolist() for k in range(len(at))]}
    harm = numbers(predictions.adversarial(s, {"judges": judges, "curve": curve}))
    assert (harm[:, 1] == harm[:, 1].min()).all()  # the judge that the forecast calls the worst
    asked = (0.8 * axes[at] + 0.6 * axes[J]).T
    best = np.linalg.norm(asked @ np.linalg.pinv(asked) @ axes[:J].T, axis=0)
    assert harm[:, 4] == pytest.approx(-np.sqrt(0.2) * best, abs=0.03) and (abs(harm[:, 5] - harm[:, 4]) < 0.05).all()
    ratio = 0.4 * scores[:, 1] + 0.3 * phi @ axes[J + 1]
    spec = settings.dpo(judges[1])
    (s.folder / "policies").mkdir(parents=True)
    np.save(s.folder / "policies" / f"{spec['name']}.npy", ratio.reshape(400, 16))
    turned = numbers(predictions.turned(s, [{"spec": spec}]))[0]
    assert turned == pytest.approx([1, 1, 0.8, 0.6], abs=0.03)
    close = numbers(predictions.concentration(s))
    assert close.shape == (J, 4) and (close[:, 1] > 1e-3).any()


@pytest.mark.parametrize("passes", [1, 3])
def test_a_second_try_changes_the_rate_and_the_strength_only_where_responses_are_repeated(
    tmp_path, monkeypatch, passes
):
    s, kls, runs = tiny(tmp_path), itertools.cycle([0.025, 0.11]), []

    class Recorded:
        def __init__(self, top, loss, steps, rate, *rest):
            runs.append(rate)

        def run(self):
            return [1.0, 0.5]

    monkeypatch.setattr(runner, "Training", Recorded)
    monkeypatch.setattr(runner, "dpo_run", lambda *_: (None, 2))
    monkeypatch.setattr(runner, "by_weights", lambda *_: {"kl": next(kls)})
    world = runner.World.__new__(runner.World)
    world.s, world.forecast = s, {"judges": ["a"], "curve": {"kl": [0.1], "beta": [[2.0]]}}
    world.halves = type("Halves", (), {"trainable": lambda self: None})()
    world.ratios = world.table = lambda *_: None
    _, tries = runner.trained(world, settings.dpo("a", passes=passes), tmp_path / "a.json")
    assert [t["kl"] for t in tries] == [0.025, 0.11] and runs == [t["rate"] for t in tries]
    changed, kept = ("rate", "strength") if passes == 1 else ("strength", "rate")
    assert tries[1][changed] == pytest.approx(2 * tries[0][changed]) and tries[1][kept] == tries[0][kept]
    assert tries[0]["strength"] == pytest.approx(s.aim / 2) and tries[0]["rate"] == s.learning_rate


def test_a_judge_without_a_policy_is_left_out_and_states_of_other_rows_are_refused(tmp_path, monkeypatch, capsys):
    s = replace(tiny(tmp_path), policies=(settings.dpo("a"), settings.dpo("b")))
    held = {"judges": ["a", "b"], "curve": {"kl": [0.1], "beta": [[None], [2.0]]}}
    monkeypatch.setattr(runner, "frozen_for_training", lambda _: held)
    monkeypatch.setattr(runner, "World", lambda *_: None)
    monkeypatch.setattr(runner, "policy", lambda *_: {"held": {"kl": 0.1, "efficiency": None}})
    runner.train(s, None)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("dpo-a-kl0.1-seed0: left out") and second.startswith("dpo-b-kl0.1-seed0: KL 0.100")
    monkeypatch.undo()
    world = runner.World.__new__(runner.World)
    world.table = lambda *_: np.zeros((2, 3))
    world._check("held", np.full((2, 3), 0.001))
    with pytest.raises(ValueError, match=r"held are 0\.1 nats"):
        world._check("held", np.full((2, 3), 0.1))
