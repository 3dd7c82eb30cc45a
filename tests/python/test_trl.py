"""Into training: a real run of DPO beside the forecast, the beta it trains at, preference columns there and back."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import clinometer as cm
from clinometer import Scores

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models  # noqa: E402

from clinometer.trl import (  # noqa: E402
    ForecastCallback,
    policy_beta,
    preference_columns,
    preferences,
    trainer_beta,
)

BETA, SCALE = 0.4, 1.0
LETTERS = "abcd"
SCORES = np.array([np.log(3), 0.0, -np.log(3), 0.0])  # differences of 0, log 3 and log 9: shares of 1/2, 3/4 and 9/10


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """First letters that the model itself draws to three prompts, with a judge and a value that opposes it."""
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    rng = np.random.default_rng(0)
    texts, ids, tokens = [], [], []
    for x, prompt in enumerate(["one", "two", "three"]):
        from clinometer.models import loaded

        lm = loaded(network, tokenizer)
        p = lm.prefix([lm.prompt_tokens(prompt)]).logits[0].double().softmax(-1).numpy()
        for token in rng.choice(len(p), 40, p=p):
            texts.append({"prompt": prompt, "response": tokenizer.decode([token]), "tokens": [int(token)]})
            ids.append(x)
            tokens.append(token)
    judge = SCORES[(np.array(tokens) - len(tiny_models.SPECIAL)) % 4]  # of a, b, c, d, and again for the letters behind
    value = -judge + 0.1 * rng.normal(size=len(judge))
    path = tmp_path_factory.mktemp("trl") / "held"
    cm.write_dump(
        path, rng.normal(size=(len(ids), 3)).astype("f4"), prompt_ids=np.array(ids), texts=texts,
        columns={"judge/letter": judge, "against": value, "noise": rng.normal(size=len(ids))}, policy="on_policy",
    )  # fmt: skip
    return str(path)


def trained(tmp_path, held_out, *, steps, watched=True, evaluate=1):
    """Full-batch DPO on pairs of letters in the proportions that the judge's scores give."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    times = {0.0: (1, 1), np.log(3): (3, 1), np.log(9): (9, 1)}
    rows = []
    for i in range(4):
        for j in range(i + 1, 4):
            gap = SCORES[i] - SCORES[j]
            won, lost = times[min(times, key=lambda t: abs(t - abs(gap)))][:: 1 if gap >= 0 else -1]
            for _ in range(60 // (won + lost) // 3 * won):
                rows.append((LETTERS[i], LETTERS[j]))
            for _ in range(60 // (won + lost) // 3 * lost):
                rows.append((LETTERS[j], LETTERS[i]))
    data = datasets.Dataset.from_dict({
        "prompt": ["<user>one<eos>\n<assistant>"] * len(rows), "chosen": [a for a, _ in rows],
        "rejected": [b for _, b in rows],
    })  # fmt: skip
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer(template=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, transformers and TRL, whatever their releases
        config = trl.DPOConfig(
            output_dir=str(tmp_path), beta=BETA, max_steps=steps, per_device_train_batch_size=len(rows),
            per_device_eval_batch_size=len(rows), learning_rate=5e-3, lr_scheduler_type="constant", warmup_steps=0,
            report_to=[], save_strategy="no", eval_strategy="steps", eval_steps=max(1, steps // evaluate),
            logging_steps=1, bf16=False, fp16=False, activation_checkpointing=False, use_cpu=True, max_grad_norm=1e9,
            weight_decay=0.0, disable_tqdm=True,
        )  # fmt: skip
        trainer = trl.DPOTrainer(
            model=network, ref_model=copy.deepcopy(network), args=config, train_dataset=data, eval_dataset=data,
            processing_class=tokenizer,
        )  # fmt: skip
        callback = None
        if watched:
            callback = ForecastCallback(
                held_out, "judge/letter", ["against", "noise"], trainer=trainer, tokenizer=tiny_models.tokenizer()
            )
            trainer.add_callback(callback)
        trainer.train()
    return network, trainer, callback


def log_probabilities(network, texts):
    """log p(response, end | prompt) by transformers alone, one sequence at a time."""
    tokenizer = tiny_models.tokenizer()
    out = []
    for prompt, response in texts:
        before = tokenizer(f"<user>{prompt}<eos>\n<assistant>")["input_ids"]
        with torch.no_grad():
            logs = network(torch.tensor([[*before, *response]])).logits[0].double().log_softmax(-1)
        out.append(sum(float(logs[len(before) - 1 + k, token]) for k, token in enumerate(response)))
    return np.array(out)


@pytest.mark.slow
def test_dpo_on_labels_of_the_judge_reaches_the_tilt_at_the_trainers_beta(tmp_path, held_out):
    """log pi - log pi0 of the letters differs by (s_a - s_b)/beta, with beta the policy's of the trainer's."""
    network, _, _ = trained(tmp_path, held_out, steps=150, watched=False)
    letters = [tiny_models.tokenizer()(c, add_special_tokens=False)["input_ids"][0] for c in LETTERS]
    texts = [("one", [letter, 2]) for letter in letters]
    moved = log_probabilities(network, texts) - log_probabilities(tiny_models.model(), texts)
    wanted = SCORES / policy_beta(BETA, "dpo")
    np.testing.assert_allclose(moved - moved.mean(), wanted - wanted.mean(), atol=0.15)
    assert np.ptp(wanted) > 5


@pytest.mark.slow
def test_the_callback_equals_an_independent_scoring_and_leaves_training_alone(tmp_path, held_out):
    network, trainer, callback = trained(tmp_path / "a", held_out, steps=6, evaluate=2)
    alone, _, _ = trained(tmp_path / "b", held_out, steps=6, watched=False)
    for mine, other in zip(network.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine, other)
    dump = cm.open_dump(held_out)
    texts = [(t["prompt"], t["tokens"]) for t in dump.texts]
    r = log_probabilities(network, texts) - log_probabilities(tiny_models.model(), texts)
    np.testing.assert_allclose(callback.log_ratio, r, atol=1e-4)
    found = callback.history[-1]
    weight = np.zeros(len(r))
    kl, gains = 0.0, dict.fromkeys(("judge/letter", "against", "noise"), 0.0)
    for x in range(3):
        rows = dump.prompt_ids == x
        weight = np.exp(r[rows]) / np.exp(r[rows]).sum()
        kl += (weight * np.log(weight * rows.sum())).sum() / 3
        for name in gains:
            gains[name] += (weight - 1 / rows.sum()) @ dump.column(name)[rows] / 3
    assert found["kl"] == pytest.approx(kl, rel=1e-3)
    forecast = cm.tilt(dump, ["judge/letter"], kl=found["kl"], values=list(gains)).gain[0, 0]
    for name, wanted in zip(gains, forecast, strict=True):
        assert found[f"gain/{name}"] == pytest.approx(gains[name], rel=1e-3, abs=1e-5)
        assert found[f"forecast/{name}"] == pytest.approx(wanted)
    logged = [entry for entry in trainer.state.log_history if "forecast/kl" in entry]
    assert [entry["step"] for entry in logged] == [h["step"] for h in callback.history] == [3, 6]
    assert logged[-1]["forecast/gain/against"] == found["gain/against"]


def centred(x, ids):
    return x - (np.bincount(ids, x) / np.bincount(ids))[ids]


def test_a_policy_that_is_the_judges_tilt_is_met_by_its_forecast(held_out):
    dump = cm.open_dump(held_out)
    callback = ForecastCallback(held_out, "judge/letter", ["against", "noise"])
    judge = np.asarray(dump.column("judge/letter"))
    found = callback.measured(0.7 * judge + dump.prompt_ids)
    assert found["efficiency"] == pytest.approx(1, abs=1e-6) and found["angle"] == pytest.approx(0, abs=1e-4)
    for name in ("judge/letter", "against", "noise"):
        assert found[f"gain/{name}"] == pytest.approx(found[f"forecast/{name}"], abs=1e-7)
    still = callback.measured(np.zeros(dump.n_rows))
    assert still["kl"] == 0 and still["gain/noise"] == 0 and still["mean_ratio"] == 1
    other = np.random.default_rng(2).normal(size=dump.n_rows)
    a, b = centred(other, dump.prompt_ids), centred(judge, dump.prompt_ids)
    wanted = np.degrees(np.arccos(a @ b / np.sqrt((a @ a) * (b @ b))))
    assert callback.measured(other)["angle"] == pytest.approx(wanted)


def test_proxy_and_value_that_part_are_told_of_once_and_only_beside_the_forecast(held_out):
    dump = cm.open_dump(held_out)
    judge, noise = (np.asarray(dump.column(n), float) for n in ("judge/letter", "noise"))
    callback = ForecastCallback(held_out, "judge/letter", ["noise", "against"])
    ids = dump.prompt_ids
    push = 0.3 * centred(judge, ids) - 0.5 * centred(noise, ids)
    push -= np.log((np.bincount(ids, np.exp(push)) / np.bincount(ids))[ids])  # of a policy: the mean ratio is 1
    found = callback.measured(push)
    assert found["gain/noise"] < -2 * found["gain_se/noise"] and found["gain/judge/letter"] > 0
    told = dict(found) | {"forecast/noise": 0.01, "gain_se/judge/letter": 0.0}
    with pytest.warns(UserWarning, match="noise .* proxy and value part") as heard:
        callback._warn(told)
        callback._warn(told)
    assert len(heard) == 1  # against loses as was forecast
    with pytest.warns(UserWarning, match=r"mean of exp\(log ratio\) is 1.284"):
        callback._warn(callback.measured(np.full(dump.n_rows, 0.25)))


def test_names_and_texts_are_checked_before_training(held_out):
    with pytest.raises(ValueError, match="no column 'judge/lettre'"):
        ForecastCallback(held_out, "judge/lettre", ["noise"])
    with pytest.raises(ValueError, match="dump has no texts"):
        ForecastCallback(np.zeros((2, 2)), "x", ["y"])


def test_betas_of_trainers_are_inverses_and_refuse_what_does_not_apply():
    for trainer, options in (("dpo", {"label_scale": 3.0}), ("grpo", {"score_sd": 2.5}), ("rloo", {})):
        assert policy_beta(trainer_beta(0.3, trainer, **options), trainer, **options) == pytest.approx(0.3)
    assert trainer_beta(0.3, "dpo", label_scale=3.0) == pytest.approx(0.9)
    assert trainer_beta(0.3, "grpo", score_sd=2.5) == pytest.approx(0.12)
    for wrong in (
        {"trainer": "ppo"},
        {"trainer": "dpo", "score_sd": 1.0},
        {"trainer": "rloo", "label_scale": 2.0},
        {"trainer": "grpo", "score_sd": 0.0},
        {"trainer": "grpo"},
    ):
        with pytest.raises(ValueError):
            trainer_beta(0.3, **wrong)
    with pytest.raises(ValueError, match="beta is 0"):
        policy_beta(0.0, "rloo")


NAMES = (
    "prompt", "chosen", "rejected", "score_chosen", "score_rejected", "ref_chosen_logps", "ref_rejected_logps",
)  # fmt: skip
PREFERENCES = [
    dict(zip(NAMES, row, strict=True))
    for row in (
        ("p", "a", "b", 2.0, 1.0, -3.0, -4.0), ("q", "c", "d", 5.0, 0.0, -1.0, -2.0),
        ("p", "e", "a", 3.0, 2.0, -5.0, -3.0),
    )
]  # fmt: skip


def test_preference_columns_go_to_a_dump_and_come_back(tmp_path):
    held = preferences(PREFERENCES)
    assert held.prompts == ["p", "q"] and held.prompt_ids.tolist() == [0, 0, 0, 1, 1]
    assert [t["response"] for t in held.texts] == ["a", "b", "e", "c", "d"]
    assert held.columns["score"].tolist() == [2, 1, 3, 5, 0] and held.columns["ref_logps"][2] == -5
    columns = {"judge/s": held.columns["score"], "logprob": held.columns["ref_logps"]}
    cm.write_dump(
        tmp_path / "d", np.zeros((5, 2), "f4"), prompt_ids=held.prompt_ids, texts=held.texts, pairs=held.pairs,
        columns=columns,
    )  # fmt: skip
    back = preference_columns(tmp_path / "d", "judge/s")
    assert back == {name: [row[name] for row in PREFERENCES] for name in PREFERENCES[0]}
    as_columns = preferences(back)
    assert (as_columns.pairs == held.pairs).all() and as_columns.texts == held.texts


def test_drawn_labels_follow_the_pairs_probability(tmp_path):
    n = 4000
    texts = [{"prompt": "p", "response": str(i)} for i in range(2)]
    cm.write_dump(
        tmp_path / "d", np.zeros((2, 2), "f4"), prompt_ids=[0, 0], texts=texts, columns={"judge/s": [np.log(3), 0.0]},
        pairs=(np.tile([[0, 1]], (n, 1)), np.full(n, 0.75)),
    )  # fmt: skip
    drawn = preference_columns(tmp_path / "d", "judge/s", random_state=0)
    share = np.mean([c == "0" for c in drawn["chosen"]])
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / n) and "ref_chosen_logps" not in drawn
    sure = preference_columns(tmp_path / "d", "judge/s")
    assert set(sure["chosen"]) == {"0"} and len(sure["chosen"]) == n


def messages(*contents):
    """A conversation that the user begins."""
    return [{"role": ("user", "assistant")[k % 2], "content": c} for k, c in enumerate(contents)]


@pytest.mark.parametrize("kind", ["own prompt", "whole", "whole beside a text"])
def test_conversations_are_read_with_a_prompt_of_their_own_or_in_front(kind):
    asked, replies = messages("hi", "yes?", "why"), [messages("", c)[1:] for c in "ab"]
    if kind == "own prompt":
        row = {"prompt": asked, "chosen": replies[0], "rejected": replies[1]}
    else:
        row = {"chosen": asked + replies[0], "rejected": asked + replies[1]}
        row |= {"prompt": "hi"} if kind == "whole beside a text" else {}
    held = preferences([row])
    assert held.prompts == [asked] and held.responses == [["a", "b"]]
    assert held.texts[0] == {"prompt": "why", "messages": asked, "response": "a"}


def test_rows_that_are_no_pair_of_replies_to_one_prompt_are_refused():
    for row, message in (
        ({"prompt": "x", "chosen": messages("x", "a"), "rejected": "b"}, r"\['chosen'\] is .* of the assistant"),
        ({"chosen": messages("x", "a"), "rejected": messages("y", "b")}, "of different prompts"),
        ({"prompt": "x", "chosen": messages("a"), "rejected": messages("b")}, "of the assistant"),
        ({"chosen": "a", "rejected": "b"}, r"dataset\[0\] has no prompt"),
        ({"prompt": "x", "chosen": "a"}, r"dataset\[0\] has no rejected"),
        ({}, "no prompt, chosen, rejected"),
    ):
        with pytest.raises(ValueError, match=message):
            preferences([row])


def test_a_hub_dataset_becomes_gains_and_a_judged_capture_becomes_one(tmp_path):
    """Columns of a real Dataset to prompts and responses, captured, to a gain; and back from the dump's pairs."""
    datasets = pytest.importorskip("datasets")
    asked = [messages(p) for p in ("one", "two", "three", "four")]
    rows = [
        {"chosen": asked[x] + messages("", a)[1:], "rejected": asked[x] + messages("", b)[1:],
         "score_chosen": s, "score_rejected": t}
        for x in range(4) for a, b, s, t in (("ab", "c", 5.0, 2.0 + x / 2), ("d" * (x + 1), "ab", 7.0, 5.0))
    ]  # fmt: skip
    held = preferences(datasets.Dataset.from_list(rows))
    assert held.prompts == asked and held.responses == [["ab", "c", "d" * (x + 1)] for x in range(4)]
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    dump = cm.capture(network, tokenizer, held.prompts, responses=held.responses, layers=1, out=tmp_path / "c")
    assert [t["response"] for t in dump.texts] == [t["response"] for t in held.texts]
    found = cm.tilt(dump, Scores(held.columns["score"][:, None], prompt_ids=dump.prompt_ids), [2.0], "n_tokens")
    gain = 0.0
    for x in range(4):
        score, length = np.array([5, 2 + x / 2, 7.0]), np.array([3, 2, x + 2.0])
        weight = np.exp(score / 2) / np.exp(score / 2).sum()
        gain += (weight @ length - length.mean()) / 4
    assert found.gain[0, 0, 0] == pytest.approx(gain, rel=1e-6)
    fit = cm.fit_preference_direction(dump, held.pairs, np.full(8, 0.9), alpha=0.01, folds=2)
    phi = dump.read(0, dump.n_rows)
    assert ((phi[held.pairs[:, 0]] - phi[held.pairs[:, 1]]) @ fit.vectors[0]).mean() > 0.1
    cm.write_dump(tmp_path / "j", dump, pairs=held.pairs, columns={"judge/s": held.columns["score"]})
    back = datasets.Dataset.from_dict(preference_columns(tmp_path / "j", "judge/s"))
    again = preferences(back)
    assert again.prompts == held.prompts and again.texts == held.texts and (again.pairs == held.pairs).all()
    assert again.columns["score"].tolist() == held.columns["score"].tolist()


def trainer_of(columns, folder, tokenizer, network=None, **options):
    """TRL's own reading of preference columns, by a model that is named after the tiny one in a folder."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    tiny_models.model().save_pretrained(folder)
    network = network or tiny_models.model()
    tokenizer.save_pretrained(folder)
    network.config._name_or_path = str(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = trl.DPOConfig(
            output_dir=str(folder / "o"), report_to=[], bf16=False, use_cpu=True, disable_tqdm=True, **options
        )
        data = datasets.Dataset.from_dict(columns)
        return trl.DPOTrainer(model=network, args=config, train_dataset=data, processing_class=tokenizer)


@pytest.mark.parametrize("chat", [None, False])
def test_reference_log_probabilities_are_those_of_the_trainer(tmp_path, chat):
    """Of the same prompts in the same template; TRL's count what the template has behind the end token as well."""
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    dump = cm.capture(
        network, tokenizer, ["why", "x"], responses=[["ab", "c"], ["", "abc"]], layers=1, chat=chat, out=tmp_path / "c"
    )
    cm.write_dump(tmp_path / "j", dump, pairs=[[0, 1], [2, 3]], columns={"judge/s": [1.0, 0.0, 1.0, 0.0]})
    columns = preference_columns(tmp_path / "j", "judge/s")
    assert columns["prompt"] == (["why", "x"] if chat is False else [messages("why"), messages("x")])
    bare = {n: v for n, v in columns.items() if not n.startswith("ref")}
    assert bare == preference_columns(tmp_path / "j", "judge/s", logprobs=None)
    read = trainer_of(bare, tmp_path / "m", tokenizer, precompute_ref_log_probs=True).train_dataset
    for name in ("ref_chosen_logps", "ref_rejected_logps"):
        end = name.removeprefix("ref_").removesuffix("_logps") + "_ids"
        for theirs, ours, prompt, tokens in zip(
            read[name], columns[name], read["prompt_ids"], read[end], strict=True
        ):  # fmt: skip
            behind = [] if chat is False else [tokens[-1]]
            with torch.no_grad():
                logs = network(torch.tensor([[*prompt, *tokens]])).logits[0].double().log_softmax(-1)
            assert theirs - sum(float(logs[-2, t]) for t in behind) == pytest.approx(ours, abs=1e-4)
    assert trainer_of(columns, tmp_path / "n", tokenizer).train_dataset.num_rows == 2  # taken with them too


def test_what_trl_does_in_silence_and_is_told_of(tmp_path):
    """The reference is what lies on disk; evaluation averages means of batches, and a tie is no win."""
    letters = [("a", "b"), ("c", "d"), ("b", "b")]
    columns = {"prompt": ["one"] * 3, "chosen": [a for a, _ in letters], "rejected": [b for _, b in letters]}
    trainer = trainer_of(columns, tmp_path / "m", tiny_models.tokenizer(template=None), per_device_eval_batch_size=2)
    assert torch.equal(trainer.ref_model.lm_head.weight, trainer.model.lm_head.weight)
    network = tiny_models.model(seed=1)  # other weights than those in the folder that it names
    trainer = trainer_of(
        columns, tmp_path / "m", tiny_models.tokenizer(template=None), network=network, per_device_eval_batch_size=2
    )
    assert not torch.equal(trainer.ref_model.lm_head.weight, network.lm_head.weight)
    assert torch.equal(trainer.ref_model.lm_head.weight, tiny_models.model().lm_head.weight)
    margin = []
    for a, b in letters:
        logs = []
        for end in (a, b):
            prompt, tokens = (tiny_models.tokenizer(template=None)(t)["input_ids"] for t in ("one", f"{end}<eos>"))
            for m in (network, trainer.ref_model):
                with torch.no_grad():
                    found = m(torch.tensor([[*prompt, *tokens]])).logits[0].double().log_softmax(-1)
                logs.append(sum(float(found[len(prompt) - 1 + k, t]) for k, t in enumerate(tokens)))
        margin.append(trainer.args.beta * (logs[0] - logs[1] - logs[2] + logs[3]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = trainer.evaluate(eval_dataset=trainer.train_dataset)
    assert told["eval_rewards/margins"] == pytest.approx((sum(margin[:2]) / 2 + margin[2]) / 2, abs=1e-4)
    assert abs(np.mean(margin) - told["eval_rewards/margins"]) > 1e-3
    won = np.array(margin) > 0
    assert told["eval_rewards/accuracies"] == pytest.approx((won[:2].mean() + 0) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("corrected", [True, False])
def test_the_penalty_of_grpo_pulls_along_the_divergence_that_is_told(tmp_path, corrected):
    """One step of gradient descent without rewards, beside exact gradients of both divergences of the next token."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    reference, policy, tokenizer = tiny_models.model(), tiny_models.model(), tiny_models.tokenizer(template=None)
    reference.save_pretrained(tmp_path / "model")
    policy.config._name_or_path = str(tmp_path / "model")
    weight = policy.lm_head.weight
    weight.data += 0.4 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    asked = torch.tensor([tokenizer("a")["input_ids"]])
    p, q = (m(asked).logits[0, -1].log_softmax(-1) for m in (policy, reference))
    there, back = (
        torch.autograd.grad((x.exp() * (x - y)).sum(), weight, retain_graph=True)[0].flatten()
        for x, y in ((p, q.detach()), (q.detach(), p))
    )
    before, n, rate = weight.detach().clone(), 4096, 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trl.GRPOTrainer(
            model=policy, processing_class=tokenizer, reward_funcs=lambda completions, **_: [0.0] * len(completions),
            train_dataset=datasets.Dataset.from_dict({"prompt": ["a"] * n}),
            args=trl.GRPOConfig(
                output_dir=str(tmp_path), beta=1.0, max_steps=1, per_device_train_batch_size=n, num_generations=n,
                max_completion_length=1, learning_rate=rate, optim="sgd", lr_scheduler_type="constant",
                max_grad_norm=1e9, report_to=[], save_strategy="no", bf16=False, use_cpu=True, disable_tqdm=True,
                activation_checkpointing=False, use_bias_correction_kl=corrected,
            ),
        ).train()  # fmt: skip
    step = (before - weight.detach()).flatten() / rate
    told, other = (there, back) if corrected else (back, there)
    assert (step - told).norm() < 0.2 * told.norm() < 0.5 * (step - other).norm()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rloo", "grpo"])
def test_reinforcement_on_the_judges_score_reaches_the_tilt_at_the_trainers_beta(tmp_path, kind):
    """log pi - log pi0 of every token rises by score/beta: the slope, weighted by pi, within a tenth after 60 steps."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    wanted, network, tokenizer = 2.0, tiny_models.model(), tiny_models.tokenizer()
    prompt = [{"role": "user", "content": "one"}]
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)

    def next_token():
        with torch.no_grad():
            return network(asked["input_ids"]).logits[0, -1].double().log_softmax(-1).numpy()

    before = next_token()
    score = np.arange(len(before)) % 2 * 1.0
    sd = np.sqrt(np.exp(before) @ (score - np.exp(before) @ score) ** 2)
    beta = trainer_beta(wanted, kind, score_sd=sd if kind == "grpo" else None)
    network.save_pretrained(tmp_path / "model")  # where the trainer finds its reference
    network.config._name_or_path = str(tmp_path / "model")
    configuration, trainer = (getattr(trl, kind.upper() + what) for what in ("Config", "Trainer"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(
            model=network, processing_class=tokenizer,
            reward_funcs=lambda completion_ids, **_: [float(score[c[0]]) for c in completion_ids],
            train_dataset=datasets.Dataset.from_dict({"prompt": [prompt] * 256}),
            args=configuration(
                output_dir=str(tmp_path), beta=beta, max_steps=60, per_device_train_batch_size=256, num_generations=256,
                max_completion_length=1, learning_rate=3e-3, report_to=[], save_strategy="no", bf16=False, use_cpu=True,
                weight_decay=0.0, max_grad_norm=1e9, temperature=1.0, disable_tqdm=True, activation_checkpointing=False,
            ),
        ).train()  # fmt: skip
    after = next_token()
    weight, moved = np.exp(after), after - before
    x = score - weight @ score
    slope = (weight * x) @ (moved - weight @ moved) / ((weight * x) @ x)
    assert slope == pytest.approx(1 / wanted, rel=0.1)
