"""Into training: a real run of DPO beside the forecast, the beta it trains at, preference columns there and back."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import clinometer as cm

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
    for trainer, options in (("dpo", {"label_scale": 3.0}), ("grpo", {"score_sd": 2.5}), ("rloo", {}), ("grpo", {})):
        assert policy_beta(trainer_beta(0.3, trainer, **options), trainer, **options) == pytest.approx(0.3)
    assert trainer_beta(0.3, "dpo", label_scale=3.0) == pytest.approx(0.9)
    assert trainer_beta(0.3, "grpo", score_sd=2.5) == pytest.approx(0.12)
    for wrong in (
        {"trainer": "ppo"},
        {"trainer": "dpo", "score_sd": 1.0},
        {"trainer": "rloo", "label_scale": 2.0},
        {"trainer": "grpo", "score_sd": 0.0},
    ):
        with pytest.raises(ValueError):
            trainer_beta(0.3, **wrong)
    with pytest.raises(ValueError, match="beta is 0"):
        policy_beta(0.0, "grpo")


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


def test_conversations_are_read_and_whole_ones_refused():
    message = [{"role": "user", "content": "hi"}]
    rows = [{"prompt": message, "chosen": [{"role": "assistant", "content": "a"}],
             "rejected": [{"role": "assistant", "content": "b"}]}]  # fmt: skip
    held = preferences(rows)
    assert held.prompts == [message] and [t["response"] for t in held.texts] == ["a", "b"]
    whole = {"prompt": "x", "chosen": message * 2, "rejected": "b"}
    with pytest.raises(ValueError, match="extract_prompt"):
        preferences([whole])
    with pytest.raises(ValueError, match=r"dataset\[0\] has no prompt"):
        preferences([{"chosen": "a", "rejected": "b"}])


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
