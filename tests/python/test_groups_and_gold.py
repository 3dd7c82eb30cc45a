"""Reports that split the prompts, and reports that gold labels correct."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clinometer as cm

KL = [0.2, 0.5]


def world(seed: int = 0, prompts: int = 240, n: int = 12, strength: float = 1.0) -> tuple[cm.Dump, Any]:
    """A judge that helps in four topics of five and harms in the fifth; a model of the value shares its errors."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(prompts), n)
    topic = np.array(["law", "code", "art", "sport", "medicine"])[ids % 5]
    judge = rng.normal(size=len(ids))
    good = np.where(topic == "medicine", -0.8, 0.8) * judge + rng.normal(size=len(ids))
    error = rng.normal(size=len(ids))
    columns = {
        "judge": judge, "good": good, "topic": topic, "biased judge": 0.5 * good + strength * error,
        "model": good + error, "n_tokens": rng.integers(5, 90, len(ids)),
    }  # fmt: skip
    dump = cm.open_dump(rng.normal(size=(len(ids), 3)), prompt_ids=ids, columns=columns, policy="on_policy")
    return dump, ids


def test_a_subgroup_that_loses_is_named_in_the_verdict() -> None:
    dump, _ = world()
    r = cm.report(dump, constitutions=["judge"], values=["good"], kl=KL, groups=["topic"], sections=())
    assert "judge at 0.5 nats raises every value" in r.verdict()
    assert "By topic, it lowers good in medicine" in r.verdict() and "The mean hides losses" in r.verdict()
    (g,) = r.groups
    assert g.groups == ("art", "code", "law", "medicine", "sport") and g.n_prompts.tolist() == [48] * 5
    assert (g.gain[[0, 1, 2, 4], 0, :, 0] > 0.3).all() and (g.gain[3, 0, :, 0] < -0.3).all()
    assert (g.paid[..., 0] < g.interval[..., 0]).all()
    # one beta for all, so that prompts add up to the whole
    np.testing.assert_allclose(g.gain[..., 0].mean(axis=0), r.gain[..., 0], rtol=0.02)
    assert "by topic (prompts): gains of judge at 0.5 nats" in r.to_text(full=True) and "medicine (48)" in r.to_text(
        full=True
    )
    frame = g.to_frame()
    assert len(frame) == 5 * 2 * 2


def test_subgroups_of_noise_are_seldom_said_to_differ() -> None:
    rng, false = np.random.default_rng(1), 0
    ids = np.repeat(np.arange(120), 8)
    for _ in range(40):
        columns = {"judge": rng.normal(size=960), "good": rng.normal(size=960), "topic": (ids * 7) % 6}
        dump = cm.open_dump(rng.normal(size=(960, 2)), prompt_ids=ids, columns=columns)
        r = cm.report(dump, constitutions=["judge"], values=["good"], kl=[0.2], groups="topic", sections=())
        paid = r.groups[0].paid[:, 0, 0, 0]
        false += bool((paid[:, 0] > 0).any() or (paid[:, 1] < 0).any())
    assert false <= 6  # 2 expected


def test_groups_are_refused_by_name() -> None:
    dump, ids = world(prompts=20)
    for groups, words in (
        ({"topic": np.arange(21)}, r"shape \(21,\), wanted \(20,\)"),
        ({"row": np.arange(240)}, "varies inside a prompt"), ("nothing", "nothing"), (3, "groups is int"),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=words):
            cm.report(dump, constitutions=["judge"], values=["good"], kl=[0.1], groups=groups, sections=())
    with pytest.raises(ValueError, match="within=False"):
        cm.report(dump, constitutions=["judge"], values=["good"], kl=[0.1], groups="topic", within=False, sections=())
    many = cm.report(dump, constitutions=["judge"], values=["good"], kl=[0.1], groups={"id": ids}, sections=())
    assert np.isnan(many.groups[0].gain_se).all()  # one prompt has no error


def test_gold_takes_out_what_judge_and_model_share() -> None:
    inside, biased, shared = 0, [], 0
    for seed in range(30):
        dump, ids = world(seed)
        gold = np.where(ids < 60, np.asarray(dump.column("good")), np.nan)
        r = cm.report(dump, constitutions=["biased judge"], values=["model"], gold=gold, kl=[0.3], sections=())
        truth = cm.report(dump, constitutions=["biased judge"], values=["good"], kl=[0.3], sections=())
        assert r.gold is not None and r.gold.n_gold.tolist() == [60, 0]
        low, high = r.gain_interval[0, 0, 0]
        inside += low <= truth.gain[0, 0, 0] <= high
        biased.append(r.gold.gain_values[0, 0, 0] - truth.gain[0, 0, 0])
        shared += "share errors" in r.verdict()
        assert r.gold.shared[0, 0, 0] == pytest.approx(r.gold.gain_values[0, 0, 0] - r.gain[0, 0, 0])
        assert r.gain[0, 0, 1] == pytest.approx(truth.gain[0, 0, 1], rel=1e-9)  # length has no gold and stays
    assert min(biased) > 0.2 and inside >= 26 and shared >= 27


def test_gold_narrows_where_the_model_is_good_and_is_ignored_where_it_is_noise() -> None:
    dump, ids = world(strength=0.0)
    good = np.asarray(dump.column("good"))
    gold = np.where(ids < 60, good, np.nan)
    columns = dump.columns.merged({"close": good + 0.1 * np.asarray(dump.column("judge")), "noise": -good})
    made = [
        cm.report(
            dump.with_options(columns=columns), constitutions=["judge"], values=[v], gold=g, kl=[0.3], sections=()
        )
        for v, g in (("close", gold), ("noise", gold), ("good", None))
    ]  # fmt: skip
    close, noise, every = made
    assert close.gold is not None and noise.gold is not None
    assert close.gold.power[0, 0, 0] > 0.8 and noise.gold.power[0, 0, 0] == 0.0
    assert every.policy.gain_se[0, 0, 0] < close.policy.gain_se[0, 0, 0] < 0.7 * noise.policy.gain_se[0, 0, 0]
    with pytest.raises(ValueError, match="gold"):
        cm.report(
            dump, constitutions=["judge"], values=["model"], gold=np.full(len(ids), np.nan), kl=[0.3], sections=()
        )


def test_gold_corrects_every_gain_of_the_page_and_what_it_does_not_says_so() -> None:
    near: list[list[float]] = []
    for seed in range(4):
        dump, ids = world(seed)
        gold = np.where(ids < 80, np.asarray(dump.column("good")), np.nan)
        both = [
            cm.report(dump, constitutions=["biased judge"], values=[v], gold=g, kl=[0.3], groups="topic",
                      sections=("length", "null", "pareto", "baselines", "iterate"))
            for v, g in (("model", gold), ("good", None), ("model", None))
        ]  # fmt: skip
        found, truth, given = both
        assert found.gold is not None and found.net is not None and truth.net is not None
        np.testing.assert_allclose(found.gold.gain_rows_values, given.gain_rows, rtol=1e-12)
        np.testing.assert_array_equal(found.tilt.gain[..., 1], given.tilt.gain[..., 1])  # length has no gold
        pairs = (
            (found.gain_rows, truth.gain_rows, given.gain_rows), (found.net.gain, truth.net.gain, given.net.gain),  # type: ignore[union-attr]
            (found.tilt.first_order, truth.tilt.first_order, given.tilt.first_order),
            (found.groups[0].gain[:, 0], truth.groups[0].gain[:, 0], given.groups[0].gain[:, 0]),
        )  # fmt: skip
        near.append([float(np.abs(a - b)[..., 0].mean() / np.abs(c - b)[..., 0].mean()) for a, b, c in pairs])
        z = (found.gain_rows - truth.gain_rows)[0, 0, 0] / found.tilt.gain_se[0, 0, 0]
        assert abs(z) < 4
    assert (np.mean(near, axis=0) < 0.35).all()  # the share of the shared error that is left
    text, page = found.to_text(full=True), found.to_html()
    assert text.count("as given") >= 7 and page.count("values as given") >= 4
    assert "values as given" in " ".join(found.to_frame().attrs["notes"])
    frame = found.to_frame().set_index("value")
    assert frame.gain_values["model"] == found.gold.gain_values[0, 0, 0] and frame.gain["model"] == found.gain[0, 0, 0]
    assert np.isnan(given.to_frame().gain_values).all() and "as given" not in given.to_text(full=True)


def test_a_corrected_tilt_of_gold_on_every_row_is_that_of_the_gold() -> None:
    dump, _ = world(3, prompts=60)
    given: dict[str, Any] = {
        "constitutions": ["judge"],
        "kl": [0.2],
        "sections": ("length",),
        "groups": "topic",
        "precision": "double",
    }
    made, want = cm.report(dump, values=["model"], gold=["good"], **given), cm.report(dump, values=["good"], **given)
    for name in ("gain", "gain_se", "first_order", "second_order", "first_order_unbiased", "win_rate"):
        np.testing.assert_allclose(getattr(made.tilt, name), getattr(want.tilt, name), rtol=1e-9, err_msg=name)
    for a, b in ((made.policy, want.policy), (made.net, want.net), (made.groups[0], want.groups[0])):
        assert a is not None and b is not None
        np.testing.assert_allclose(a.gain, b.gain, rtol=1e-9)
        np.testing.assert_allclose(a.gain_se, b.gain_se, rtol=1e-9)


def test_a_subgroup_without_gold_has_no_corrected_gain() -> None:
    dump, ids = world(1, prompts=100)
    gold = np.where(ids % 5 == 0, np.asarray(dump.column("good")), np.nan)
    r = cm.report(dump, constitutions=["judge"], values=["model"], gold=gold, kl=[0.2], sections=(), groups="topic")
    (g,) = r.groups
    assert np.isnan(g.gain[..., 0]).sum() == 4 * g.gain[0, ..., 0].size and np.isfinite(g.gain[2, 0, 0, 0])
    assert np.isfinite(g.gain[..., 1]).all() and "law (20)" in r.to_text(full=True)


def test_rare_gold_labels_show_no_shared_errors() -> None:
    """A value of 2 % is in few of 12 gold prompts: no bound on its gain, and none on what the judge shares with it."""
    rng = np.random.default_rng(3)
    ids, unseen = np.repeat(np.arange(100), 8), 0
    for _ in range(10):
        t = rng.standard_normal((800, 1))
        y = (0.6 * t[:, 0] + 0.8 * rng.standard_normal(800) > 2.05) * 1.0
        gold = np.where(ids < 12, y, np.nan)
        dump = cm.open_dump(t, prompt_ids=ids, columns={"model": y + 0.3 * rng.standard_normal(800), "judge": t[:, 0]})
        report = cm.report(dump, constitutions=["judge"], values=["model"], gold=gold, kl=[0.1], sections=())
        corrected = report.gold
        assert corrected is not None
        hidden = corrected.policy.unseen != ""
        unseen += int(hidden[0])
        assert np.isnan(corrected.shared_interval[:, :, hidden]).all()
    assert unseen > 5
