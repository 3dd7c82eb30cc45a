"""Worlds in which a table of gains would fool, and what the verdict says of each."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats

import clinometer as cm
from clinometer.dump import open_dump
from clinometer.fit import fit_value_direction
from clinometer.reporting import Report, report
from clinometer.reporting.page.payload import view_data

Floats = Any
FAST = ("length", "intervals", "null", "selection")


def world(
    judges: Any, values: Any, *, n_prompts: int = 120, n: int = 16, dim: int = 6, seed: int = 0,
    policy: str | None = "on_policy", length: Any = None, shift: float = 1.0,
) -> Any:  # fmt: skip
    """Judges and values as functions of (phi, noise), noise drawing as many normal numbers as there are rows."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(n_prompts), n)
    phi = rng.standard_normal((len(ids), dim)) + shift * rng.standard_normal((n_prompts, dim))[ids]

    def noise() -> Floats:
        return rng.standard_normal(len(ids))

    columns = {name: np.asarray(make(phi, noise)) for name, make in {**judges, **values}.items()}
    columns["n_tokens"] = 50 + 5 * (noise() if length is None else length(phi, noise))
    return open_dump(phi.astype(np.float32), prompt_ids=ids, columns=columns, policy=policy)


def good(phi: Floats, noise: Any) -> Floats:
    """A value that follows two coordinates."""
    return phi[:, 0] + 0.5 * phi[:, 1] + noise()


def said(dump: Any, judges: Any, values: Any, **options: Any) -> tuple[Report, str]:
    """The report and its verdict."""
    options = {"kl": [0.1, 0.3], "sections": FAST, **options}
    made = report(dump, constitutions=judges, values=values, **options)
    assert len(str(made)) and str(made).count("verdict, at ") == 1
    return made, made.verdict()


def test_a_good_constitution_in_a_clean_world() -> None:
    values = {"good": good, "calm": lambda phi, noise: 0.5 * phi[:, 0] - phi[:, 2] + noise()}
    judges = {
        "kind": lambda phi, noise: phi[:, 0] + 0.3 * phi[:, 1] - 0.5 * phi[:, 2] + 0.2 * noise(),
        "idle": lambda phi, noise: noise(),
    }
    made, text = said(world(judges, values, dim=64), ["kind", "idle"], ["good", "calm"], sections="all")
    assert text.startswith("kind at 0.3 nats raises every value") and made.needs == ()
    assert made.chance is not None and made.chance > 0.99 and "above 99 %" in text
    for doubt in ("Cannot tell", "Length", "Random", "nats up to", "Only", "Halves", "disagree", "not a forecast"):
        assert doubt not in text
    assert made.selection is not None and made.selection.share[0].sum() == pytest.approx(1.0)
    assert made.linear_share is not None and made.linear_share[0] > 0.9 > 0.1 > made.linear_share[1]


def test_a_judge_of_length() -> None:
    def long(phi: Floats, noise: Any) -> Floats:
        return phi[:, 3]

    dump = world({"kind": long}, {"good": lambda phi, noise: phi[:, 3] + noise()}, length=long)
    text = said(dump, ["kind"], ["good"])[1]
    assert "Length may explain all of it" in text and "no longer settled for good" in text
    assert "Length may explain a part of it" not in text
    one = world(
        {"kind": lambda phi, noise: phi[:, 3] + phi[:, 0]},
        {"good": lambda phi, noise: phi[:, 0] + noise(), "wordy": lambda phi, noise: phi[:, 3] + noise()}, length=long,
    )  # fmt: skip
    text = said(one, ["kind"], ["good", "wordy"])[1]
    assert "Length may explain a part of it" in text and "no longer settled for wordy" in text
    partly = world(
        {"kind": lambda phi, noise: phi[:, 3] + 0.4 * phi[:, 0]},
        {"good": lambda phi, noise: phi[:, 3] + 0.3 * phi[:, 0] + 0.1 * noise()}, length=long,
    )  # fmt: skip
    assert "Length explains most of it" in said(partly, ["kind"], ["good"])[1]


@pytest.mark.parametrize(
    ("policy", "words"), [(None, "Who wrote these rows is unknown"), ("off_policy", "another policy")]
)
def test_rows_of_others(policy: str | None, words: str) -> None:
    text = said(world({"kind": good}, {"good": good}, policy=policy), ["kind"], ["good"])[1]
    assert words in text and "a re-weighting of them, not a forecast" in text


def test_labels_too_few_for_the_direction() -> None:
    """A direction fitted to the labels of a few prompts: settled as it stands, not once its labels are redrawn."""
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        judges = {"kind": lambda phi, noise: 0.05 * phi[:, 0] + noise()}
        dump = world(judges, {"good": lambda phi, noise: phi[:, 0] + noise()}, dim=24, seed=seed, n_prompts=600)
        labels = np.asarray(dump.columns["kind"]).copy()
        labels[np.isin(dump.prompt_ids, rng.permutation(600)[12:])] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = fit_value_direction(dump, labels, alpha=0.1, folds=4, pooled=False)
        made, text = said(dump, fit, ["good"], sections=("intervals",))
        assert made.labels_known is not None and made.labels_known.all()
        inside, plain = made.gain_interval_labels, made.gain_interval
        assert inside is not None and plain is not None
        assert (np.ptp(inside, axis=-1) >= np.ptp(plain, axis=-1) * (1 - 1e-9)).all()
        if "error of the labels" in text:
            assert text.startswith("Cannot tell") and any("times as many labels" in x for x in made.needs)
            found.append(seed)
    assert found


@pytest.mark.parametrize("seed", range(4))
def test_the_page_and_its_halves_choose_by_one_rule(seed: int) -> None:
    judges = {f"j{i}": lambda phi, noise, i=i: 0.2 * i * phi[:, 0] + noise() for i in range(4)}
    values = {
        "good": good,
        "flat": lambda phi, noise: 0 * phi[:, 0],
        "calm": lambda phi, noise: phi[:, 0] + 4 * noise(),
    }
    dump = world(judges, values, seed=seed, n_prompts=40)
    made, _ = said(dump, list(judges), list(values), kl=[0.05, 0.2, 0.5], sections=("selection",))
    best, halves = made.best(), made.selection
    assert best is not None and halves is not None
    assert best.index == np.unravel_index(np.argmax(halves.objective), halves.objective.shape)
    assert halves.share.max() < 1
    np.testing.assert_allclose(view_data(made)["bound"], halves.objective, rtol=1e-4)  # and the page sorts by it
    # a value that does not vary has no part in it
    two, _ = said(dump, list(judges), ["good", "calm"], kl=[0.05, 0.2, 0.5], sections=("selection",))
    assert two.best().index == best.index and (two.selection.share == halves.share).all()  # type: ignore[union-attr]


def test_two_hundred_constitutions_that_do_nothing() -> None:
    claims, chances = 0, []
    for seed in range(3):
        judges = {f"null{i}": (lambda phi, noise: noise()) for i in range(200)}
        dump = world(judges, {"good": good}, seed=seed, n_prompts=40, n=8)
        made, text = said(dump, list(judges), ["good"], kl=[0.1])
        claims += not text.startswith("Cannot tell")
        assert made.chance is not None and made.selection is not None
        chances.append(made.chance)
        assert made.selection.optimism[0] > 2 * made.selection.gain[0]
        assert "does not hold on the other half" in text or "only" in text
    assert claims == 0 and np.mean(chances) < 0.75


def test_a_value_constant_within_prompts() -> None:
    topic = np.repeat(np.random.default_rng(5).standard_normal(120), 16)
    dump = world({"kind": good}, {"good": good, "topic": lambda phi, noise: topic})
    text = said(dump, ["kind"], ["good", "topic"])[1]
    assert "topic does not vary inside any prompt: no constitution can change it" in text


@pytest.mark.parametrize("beside", [True, False])
def test_of_a_value_with_one_label_a_prompt_nothing_is_known(beside: bool) -> None:
    first = np.arange(120 * 16) % 16 == 0
    lone = {"lone": lambda phi, noise: np.where(first, good(phi, noise), np.nan)}
    values = {"good": good, **lone} if beside else lone
    made, text = said(world({"kind": good}, values), ["kind"], list(values))
    j = len(values) - 1
    assert "lone unknown" in text and "no prompt has two labels of lone" in text and "nan" not in text
    assert text.startswith("Cannot tell") and "changes no" not in text and "does not vary" not in text
    assert np.isnan(made.value_sd[j]) and np.isnan(made.gain[..., j]).all() and made.policy.unseen[j] == "alone"
    assert any(note.startswith("lone: no prompt has two labels") for note in made.notes)
    assert not beside or ("raises good" in text and made.policy.unseen[0] == "")


def test_labels_that_a_judge_decided_on_are_named() -> None:
    def asked(phi: Floats, noise: Any) -> Floats:  # raters look at what the judge likes least
        shown = stats.norm.cdf(noise()) < np.where(phi[:, 0] > 0, 0.2, 0.8)
        return np.where(shown, good(phi, noise), np.nan)

    made, text = said(world({"kind": lambda phi, noise: phi[:, 0]}, {"asked": asked}, shift=0), ["kind"], ["asked"])
    assert text.startswith("Cannot tell") and "but labels of asked are missing by the score of kind" in text
    assert "asked unknown" in text and "nan" not in str(made)
    assert "kind: labels of asked are missing by its score, so that no gain of it is known" in made.notes


def test_a_judge_that_is_mostly_nonlinear() -> None:
    def bent(phi: Floats, noise: Any) -> Floats:
        z = phi[:, 0]
        return np.sin(4 * z) + 0.15 * z

    dump = world({"kind": bent}, {"good": lambda phi, noise: bent(phi, noise) + 0.3 * noise()})
    made, text = said(dump, ["kind"], ["good"], sections=("encoding",))
    assert made.linear_share is not None and made.linear_share[0] < 0.3
    assert "is linear in the rows" in text and "the score itself" in text


def test_a_gain_that_turns_with_the_tilt() -> None:
    """The value falls where the judge is extreme: first order promises what the exact tilt takes back."""

    def overshoots(phi: Floats, noise: Any) -> Floats:
        t = phi[:, 0]
        return 0.35 * t - 0.5 * t**2

    dump = world({"kind": lambda phi, noise: phi[:, 0]}, {"good": overshoots}, n=24, n_prompts=200, shift=0.0)
    made, text = said(dump, ["kind"], ["good"], kl=[0.8])
    assert made.tilt.first_order[0, 0, 0] > 0 > made.tilt.gain[0, 0, 0]
    assert "disagree in sign for good" in text


def test_a_gain_that_random_directions_reach() -> None:
    """The value is a steep coordinate of the rows, so that directions that know nothing of it move it too."""
    rng = np.random.default_rng(7)
    ids = np.repeat(np.arange(400), 16)
    core = rng.standard_normal(len(ids))
    phi = np.outer(core, np.ones(8)) + 0.3 * rng.standard_normal((len(ids), 8))
    columns = {"good": core + 0.1 * rng.standard_normal(len(ids)), "n_tokens": rng.uniform(5, 9, len(ids))}
    columns["kind"] = 0.3 * core + rng.standard_normal(len(ids))
    dump = open_dump(phi.astype(np.float32), prompt_ids=ids, columns=columns, policy="on_policy")
    made, text = said(dump, ["kind"], ["good"])
    assert text.startswith("kind") and "Random directions at this KL gain as much for good" in text
    assert made.null_band is not None and made.null_band.shape == (2, 2, 2)


def test_a_judge_that_is_hacked_where_it_scores_most() -> None:
    """Responses that the judge likes best are made for it: a small tilt helps, a larger one harms."""

    def real(phi: Floats, noise: Any) -> Floats:
        t = phi[:, 0]
        return np.where(t > 1.3, -2.5, t) + 0.3 * noise()

    dump = world({"kind": lambda phi, noise: phi[:, 0]}, {"good": real}, n=24, n_prompts=300, shift=0.0)
    made, text = said(dump, ["kind"], ["good"], kl=[0.005, 0.8], sections=())
    assert text.startswith("kind at 0.005 nats raises every value") and made.gain[0, 1, 0] < 0
    assert said(dump, ["kind"], ["good"], kl=[0.8])[1].startswith(
        "Even the best choice, kind at 0.8 nats, lowers every"
    )


def test_a_model_of_the_value_that_shares_the_judges_errors() -> None:
    """The value's labels are a model's that likes what the judge likes; a person sees nothing of it."""
    values = {"model": lambda phi, noise: phi[:, 0] + phi[:, 1], "person": lambda phi, noise: phi[:, 1] + noise()}
    dump = world({"kind": lambda phi, noise: phi[:, 0]}, values, n_prompts=300)
    assert said(dump, ["kind"], ["model"], sections=())[1].startswith("kind at 0.3 nats raises every value")
    gold = np.where(np.repeat(np.arange(300), 16) < 100, np.asarray(dump.column("person")), np.nan)
    text = said(dump, ["kind"], ["model"], gold=gold, sections=())[1]
    assert text.startswith("Cannot tell") and "Judge and values share errors: by gold labels that is model +" in text


def test_labels_that_are_noise_and_two_raters_who_say_so() -> None:
    """Labels flipped for two responses in five leave a fifth of a gain; the raters' correlation says how much."""

    def rater(phi: Floats, noise: Any) -> Floats:
        flipped = noise() < np.quantile(noise(), 0.4)
        return np.where(flipped, phi[:, 0] <= 0, phi[:, 0] > 0) * 1.0

    values = {"one": rater, "two": rater, "truth": lambda phi, noise: (phi[:, 0] > 0) * 1.0}
    dump = world({"kind": lambda phi, noise: phi[:, 0]}, values, n_prompts=800, shift=0.0)
    made, text = said(dump, ["kind"], ["one", "two", "truth"], kl=[0.2], sections=("pareto",))
    assert text.startswith("kind at 0.2 nats raises every value")
    one, two, truth = made.gain_sd[0, 0, :3]
    assert made.value_correlation is not None
    reliability = made.value_correlation[0, 1]
    assert reliability == pytest.approx(0.2**2, abs=0.03) and one < 0.3 * truth > two
    assert (one + two) / 2 / np.sqrt(reliability) == pytest.approx(truth, rel=0.2)
    assert any("their correlation inside prompts is the reliability" in x for x in made.not_covered)
    few = world({"kind": lambda phi, noise: phi[:, 0]}, values, n_prompts=12, n=6, shift=0.0, seed=1)
    assert said(few, ["kind"], ["one"], kl=[0.2])[1].startswith("Cannot tell")


def test_a_massive_column_changes_no_word() -> None:
    """One column 2^13 times the others' scale, as real layers have: a fitted direction must not go blind."""
    plain = world({}, {"good": good}, n_prompts=100, dim=8, shift=0.0)
    rows = np.asarray(plain.read(0, plain.n_rows)).copy()
    columns = {name: np.asarray(plain.column(name)) for name in ("good", "n_tokens")}
    told = []
    for scale in (1.0, 2.0**13):
        rows[:, 5] *= scale
        dump = open_dump(rows, prompt_ids=np.asarray(plain.prompt_ids), columns=columns, policy="on_policy")
        fit = fit_value_direction(dump, "good", folds=4, pooled=False)
        told.append(said(dump, fit, ["good"], kl=[0.2], sections=("intervals",))[1])
    assert "raises every value: good +" in told[0] and told[0] == told[1]


def test_a_harm_too_rare_for_its_rows() -> None:
    """Three events in 240 prompts' worth of rows, all among the judge's favourites: no interval, and the reason."""

    def harm(phi: Floats, noise: Any) -> Floats:
        out = np.zeros(len(phi))
        out[np.argsort(phi[:, 0])[-3:]] = 1.0
        return out

    dump = world({"kind": good}, {"good": good, "harm": harm})
    made, text = said(dump, ["kind"], ["good", "-harm"])
    assert text.startswith("Cannot tell") and "too few responses differ in -harm for an interval" in text
    assert "what is settled: it raises good" in text and made.chance is not None and np.isnan(made.chance)
    assert np.isnan(made.gain_interval[0, :, 1]).all() and np.isfinite(made.gain_interval[0, :, 0]).all()
    assert any(note.startswith("-harm: fewer than 10 responses, or prompts, differ") for note in made.notes)
    assert made.selection is not None and np.isnan(made.selection.interval[1]).all()
    with pytest.raises(AssertionError):
        made.check("-harm >= -0.5 at kl=0.1")


def rich(phi: Floats, noise: Any) -> Floats:
    """A value whose gain hangs on a few extremes."""
    return np.exp(0.6 * phi[:, 0] + 0.8 * noise())


def test_a_skewed_value_that_rises_has_a_bound_below_and_none_above() -> None:
    judges = {"kind": lambda phi, noise: phi[:, 0], "back": lambda phi, noise: 0.1 * noise() - phi[:, 0]}
    dump = world(judges, {"rich": rich, "good": good}, n_prompts=100, n=8, shift=0.0)
    made, text = said(dump, ["kind", "back"], ["rich", "good"], groups={"odd": np.repeat(np.arange(100) % 2, 8)})
    assert text.startswith("kind at 0.3 nats raises every value")
    assert "Extremes of rich are too rare in 100 prompts for a second bound: rich gains at least +0." in text
    assert (made.policy.skewed == [1, 0, 0]).all() and made.needs == ()
    best, frame = made.best(), made.to_text(full=True)
    assert best is not None and best.upper[0] == np.inf > best.upper[1] and (best.lower > 0).all()
    assert made.best(floor=-0.5) is not None and made.classes[1].tolist() == ["pareto_degrading"] * 2
    assert "at least +0." in frame and "at most -0." in frame and "-inf" not in frame and " inf" not in frame
    row = made.check("rich > 0 at kl=0.3 for kind")
    assert row["upper"] == np.inf and made.check("good > 0 at kl=0.3 for recommended")["upper"] < 2
    with pytest.raises(AssertionError, match=r"cannot tell: gain .* bounds at least"):
        made.check("rich <= 99 at kl=0.3 for kind")
    with pytest.raises(AssertionError, match=r"bounds at most -0.*for back"):
        made.check("rich >= 0 at kl=0.3 for all")
    cells = [line.split(",") for line in made.to_csv().splitlines()]
    low, high = (cells[0].index(name) for name in ("lower", "upper"))
    assert cells[1][high] == "" and float(cells[1][low]) == made.gain_interval[0, 0, 0, 0]
    assert '"inf"' in made.to_json() and "at least +0." in made.to_html()
    assert any(note.startswith("rich: so skewed that 100 prompts") for note in made.notes)


def test_a_judge_with_heavy_tails_is_named_where_gains_fall_short() -> None:
    def laplace(phi: Floats, noise: Any) -> Floats:
        return np.asarray(-np.sign(phi[:, 0]) * np.log(2 * stats.norm.sf(np.abs(phi[:, 0]))))

    dump = world(
        {"kind": laplace}, {"good": lambda phi, noise: laplace(phi, noise) + noise()}, n_prompts=200, n=16, shift=0
    )
    made, text = said(dump, ["kind"], ["good"], kl=[0.7])
    assert text.startswith("kind at 0.7 nats raises every value")
    assert (
        "The scores of kind have so heavy a tail that gains fall short at this KL, with one bound: good gains at"
        in text
    )
    why = "win rates are left out at kl 0.7; gains fall short at kl 0.7 and have one bound there"
    assert f"kind: scores so heavy-tailed that {why}" in made.notes and np.isnan(made.policy.win_rate).all()
    assert not any("so skewed" in note for note in made.notes)
    assert not any("heavy-tailed that" in note for note in said(dump, ["kind"], ["good"], kl=[0.05])[0].notes)


def test_a_skewed_value_that_falls_is_said_to_fall() -> None:
    dump = world({"kind": lambda phi, noise: phi[:, 0]}, {"-rich": lambda *a: -rich(*a)}, n_prompts=100, n=8, shift=0.0)
    made, text = said(dump, ["kind"], ["-rich"], sections=("selection",))
    assert text.startswith("Even the best choice, kind at 0.1 nats, lowers every value: -rich -0.")
    assert "-rich gains at most -0." in text and made.chance is not None and made.chance < 0.05
    assert (made.gain_interval[0, :, 0, 0] == -np.inf).all() and (made.gain_interval[0, :, 0, 1] < 0).all()
    assert made.best(floor=-100) is None  # nothing is known of how far it falls


def test_a_skewed_value_of_a_judge_that_knows_nothing_of_it() -> None:
    judges = {"kind": lambda phi, noise: phi[:, 1]}
    for seed, sign in (2, 1), (3, -1):
        made, text = said(world(judges, {"rich": rich}, n_prompts=40, n=8, seed=seed), ["kind"], ["rich"])
        assert text.startswith("Cannot tell") and "the bounds of rich include 0" in text and "Extremes" not in text
        best = made.best()
        assert best is not None and best.upper[0] == np.inf and best.lower[0] < 0 and np.sign(best.gain[0]) == sign
        more = int(made.needs[0].split("about ")[1].split(" ")[0])
        half = (best.gain[0] - best.lower[0]) * (1.0 if sign > 0 else 1.5)  # to fall it must be so far below zero
        assert half * np.sqrt(40 / (40 + more)) <= abs(best.gain[0]) < half * np.sqrt(40 / (40 + 0.8 * more))


def test_a_kl_that_the_rows_cannot_size() -> None:
    dump = world({"kind": good}, {"good": good}, n=5, n_prompts=300)
    made, text = said(dump, ["kind"], ["good"], kl=[1.3])
    assert made.past_horizon.all() and text.startswith("Cannot tell") and "beyond the horizon" in text
    assert "every KL asked for is beyond" in text and any("responses a prompt" in x for x in made.needs)
    assert np.isnan(made.gain).all() and made.classes.tolist() == [["undetermined"]]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_responses_still_give_small_tilts(n: int) -> None:
    dump = world(
        {"kind": lambda phi, noise: phi[:, 0]}, {"good": lambda phi, noise: phi[:, 0] + noise()}, n=n,
        n_prompts=12_000 // n, shift=3.0,
    )  # fmt: skip
    made, text = said(dump, ["kind"], ["good"], kl=[0.05], sections=("intervals",))
    assert (made.policy.kind[0, 0] == "first order") == (n == 2) == ("only the first order" in text)
    truth = np.sqrt(2 * 0.05)
    error = float(made.policy.gain_se[0, 0, 0])
    assert abs(made.gain[0, 0, 0] - truth) < 4 * error < 0.2 * truth
    assert made.tilt.gain[0, 0, 0] < 0.95 * truth
    best = made.best()
    assert best is not None and best.gain[0] == made.gain[0, 0, 0]


def test_cannot_tell_says_how_many_prompts_would_decide() -> None:
    """What the power calculation asks for settles it, in a world whose gain is the one seen."""
    judges = {"kind": lambda phi, noise: phi[:, 0] + noise()}
    values = {"good": lambda phi, noise: 0.05 * phi[:, 0] + noise()}
    made, text = said(world(judges, values, n_prompts=40, n=8, seed=2), ["kind"], ["good"], kl=[0.1])
    assert text.startswith("Cannot tell") and "the bounds of good include 0" in text
    assert "more prompts (of 40 now)" in text and "To decide: good" in text
    more = int(made.needs[0].split("about ")[1].split(" ")[0])
    best = made.best()
    assert best is not None
    half = best.gain[0] - best.lower[0]
    assert half * np.sqrt(40 / (40 + more)) <= abs(best.gain[0]) < half * np.sqrt(40 / (40 + 0.8 * more))


def test_one_prompt_has_no_error() -> None:
    made, text = said(world({"kind": good}, {"good": good}, n_prompts=1, n=30), ["kind"], ["good"], sections="all")
    assert "there is no standard error" in text and any(x.startswith("prompt_ids=, if these rows") for x in made.needs)
    assert any(note.startswith("no selection") for note in made.notes)


def test_within_false_leaves_out_what_is_of_prompts() -> None:
    made = report(world({"kind": good}, {"good": good}), constitutions=["kind"], values=["good"], within=False)
    assert (
        (made.policy.kind == "pooled").all()
        and np.isfinite(made.gain_interval).all()
        and made.chance is None
        and any("within=False" in n for n in made.notes)
    )


def test_a_judge_that_says_the_same_of_every_response_moves_nothing_and_is_called_that() -> None:
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(40), 8)
    columns = {"good": rng.normal(size=320), "flat": rng.normal(size=40)[ids], "seven": np.full(320, 7.0)}
    columns["judge"] = columns["good"] + rng.normal(size=320)
    dump = cm.open_dump(rng.normal(size=(320, 3)), prompt_ids=ids, columns=columns)
    made = cm.report(dump, constitutions=["flat", "judge", "seven"], values=["good"], kl=[0.1, 0.4])
    assert made.idle.tolist() == [True, False, True] and made.best().constitution == "judge"  # type: ignore[union-attr]
    said = " ".join(made.notes)
    assert "flat moves nothing: its scores are equal inside every prompt" in said and "horizon" not in said
    assert made.to_text(full=True).count("moves nothing") >= 4 and made.to_text().count("moves nothing") >= 2
    for name in ("flat", "seven"):
        with pytest.raises(cm.CheckFailed, match=f"cannot tell: {name} moves nothing"):
            made.check(f"good <= 1 at kl=0.1 for {name}")
    alone = cm.report(dump, constitutions=["seven"], values=["good"], kl=[0.1])
    assert "seven at 0.1 nats moves nothing" in alone.verdict() and "horizon" not in alone.verdict()
    assert "beyond" not in " ".join([*alone.notes, *alone.not_covered]) and not alone.needs


def test_a_report_and_its_tilt_have_a_horizon_each_under_its_own_name() -> None:
    rng = np.random.default_rng(6)
    ids = np.repeat(np.arange(300), 8)
    columns = {"judge": rng.normal(size=2400), "good": rng.normal(size=2400)}
    made = cm.report(
        cm.open_dump(rng.normal(size=(2400, 2)), prompt_ids=ids, columns=columns), constitutions=["judge"],
        values=["good"], kl=[0.1], sections=(),
    )  # fmt: skip
    frame, table = made.to_frame(), made.to_xarray()
    assert frame.horizon[0] == made.horizon[0] == pytest.approx(0.35 * np.log(8)) and "kl_horizon" not in frame
    assert float(table.horizon[0]) == made.horizon[0] and "kl_horizon" not in table
    assert float(table.kl_horizon_rows[0]) == made.tilt.kl_horizon[0] < 0.5 * made.horizon[0]
