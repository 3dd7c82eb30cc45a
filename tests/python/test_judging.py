"""A language model as judge: its numbers against transformers' own, planted biases, warnings at their thresholds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import clinometer as cm
from clinometer.judging import assessed
from clinometer.judging.constitutions import as_constitutions, contrast_prompt, pairwise_prompt, pointwise_prompt
from clinometer.judging.judgment import ALIKE, CONSTANT, FOLLOWS_LENGTH, SAME_ANSWER
from clinometer.judging.pairs import clustered_mean, debiased, pair_scores, within_prompt_pairs

RNG = np.random.default_rng(7)
TEXTS = [
    {"prompt": f"question {i // 3}?", "response": "".join(RNG.choice(list("abcde .?"), n))}
    for i, n in enumerate([5, 1, 17, 3, 3, 9, 0, 2, 33])
]
IDS = np.repeat(["x", "y", "z"], 3)
PERSONAS = {"kind": ("You are kind.", "You are rude."), "short": ("Be short.", "Talk much.")}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("judging") / "dump"
    rows = {3: RNG.normal(size=(9, 4)).astype("f4"), 5: RNG.normal(size=(9, 7)).astype("f2")}
    columns = {"gold": np.array([1, 2, 3, np.nan, 0, 1, 0, 0, 0.0]), "judge/kind": np.zeros(9)}
    cm.write_dump(
        path, rows, prompt_ids=IDS, texts=TEXTS, columns=columns, policy="on_policy", sampling={"temperature": 1.0}
    )
    return str(path)


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2", "gpt_neo"])
def network(request):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import tiny_models

    return tiny_models.model(request.param, max_position_embeddings=1024, n_positions=1024)


def a_judge(network, dump, *args, template="chat", bias=0.0, **options):
    """The judge with a tokenizer of one token a character, told nothing about warnings that are expected of noise."""
    import tiny_models

    tokenizer = tiny_models.tokenizer() if template == "chat" else tiny_models.tokenizer(template=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cm.judge(leaning(network, tokenizer, bias), tokenizer, dump, *args, **options)


def leaning(network, tokenizer, bias):
    """The model with a bias on the logit of the letter A."""
    import copy

    import torch

    if bias == 0:
        return network
    out = copy.deepcopy(network)
    head = out.get_output_embeddings()
    letter = tokenizer("A", add_special_tokens=False)["input_ids"][0]

    def lean(_, __, logits):
        return logits + bias * torch.nn.functional.one_hot(torch.tensor(letter), logits.shape[-1])

    head.register_forward_hook(lean)
    return out


def said(network, tokens):
    """log p(next token) of a whole sequence, as transformers' manual does it; (T - 1,)."""
    import torch

    with torch.no_grad():
        logs = network(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
    return logs[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])].numpy(), logs[-1].numpy()


@pytest.mark.parametrize("budget", [1, 700, 8192])
@pytest.mark.parametrize("template", ["chat", "plain"])
def test_contrast_is_the_difference_of_two_log_probabilities_of_transformers(network, written, budget, template):
    import tiny_models

    chat = template == "chat"
    tokenizer = tiny_models.tokenizer() if chat else tiny_models.tokenizer(template=None)
    made = a_judge(network, cm.open_dump(written, layer=3), PERSONAS, template=template, token_budget=budget)
    for k, (persona, opposite) in enumerate(PERSONAS.values()):
        for row, text in enumerate(TEXTS):
            sums = []
            for side in (persona, opposite):
                asked = contrast_prompt(text["prompt"], side, chat=chat)
                messages = [{"role": "user", "content": asked}]
                whole = (
                    tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                    if chat
                    else asked
                )
                context = tokenizer(whole, add_special_tokens=not chat)["input_ids"]
                response = tokenizer(text["response"], add_special_tokens=False)["input_ids"]
                sums.append(said(network, [*context, *response])[0][len(context) - 1 :].sum())
            assert made.scores[row, k] == pytest.approx(sums[0] - sums[1], abs=2e-4)
    i, j = made.pairs.T
    np.testing.assert_allclose(made.prob, 1 / (1 + np.exp(made.scores[j] - made.scores[i])), atol=1e-6)
    assert (IDS[i] == IDS[j]).all() and len(made.pairs) == 9


def test_pairwise_and_pointwise_are_read_off_the_next_token(network, written):
    import tiny_models

    tokenizer = tiny_models.tokenizer()
    dump = cm.open_dump(written, layer=5)
    principles = {"kind": "Be kind.", "true": "Be true."}

    def answers(question, labels):
        messages = [{"role": "user", "content": question}]
        tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        last = said(network, tokens)[1]
        return np.array([last[tokenizer(x, add_special_tokens=False)["input_ids"][0]] for x in labels])

    made = a_judge(network, dump, principles, kind="pairwise")
    odds = np.zeros((len(made.pairs), 2, 2))
    for p, (i, j) in enumerate(made.pairs):
        for k, principle in enumerate(principles.values()):
            for order, (a, b) in enumerate([(i, j), (j, i)]):
                replies = TEXTS[a]["response"], TEXTS[b]["response"]
                found = answers(pairwise_prompt(TEXTS[i]["prompt"], *replies, principle, chat=True), "AB")
                odds[p, k, order] = found[0] - found[1]
    np.testing.assert_allclose(made.dump.pairs["order_logits"], odds, atol=2e-4)
    np.testing.assert_allclose(made.prob, 1 / (1 + np.exp((odds[..., 1] - odds[..., 0]) / 2)), atol=1e-4)
    made = a_judge(network, dump, principles, kind="pointwise", levels=(1, 4))
    for row, text in enumerate(TEXTS):
        for k, principle in enumerate(principles.values()):
            question = pointwise_prompt(text["prompt"], text["response"], principle, (1, 4), chat=True)
            p = np.exp(answers(question, "1234"))
            assert made.scores[row, k] == pytest.approx(p @ [1, 2, 3, 4] / p.sum(), abs=1e-4)


def test_a_rating_of_1_is_not_the_beginning_of_a_10(written):
    """Where numbers are several tokens, p("1") holds p("10"), p("11") and p("12"), which are ratings of their own."""
    pytest.importorskip("torch")
    import tiny_models

    network, tokenizer = tiny_models.model(max_position_embeddings=1024), tiny_models.tokenizer()
    digit = [tokenizer(str(k), add_special_tokens=False)["input_ids"][0] for k in range(10)]
    made = a_judge(network, cm.open_dump(written, layer=3), {"kind": "Be kind."}, kind="pointwise", levels=(1, 12))
    for row, text in enumerate(TEXTS[:4]):
        asked = pointwise_prompt(text["prompt"], text["response"], "Be kind.", (1, 12), chat=True)
        messages = [{"role": "user", "content": asked}]
        context = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        first, after = (np.exp(said(network, [*context, *more])[1])[digit] for more in ([], [digit[1]]))
        p = np.array([first[1] * (1 - after[:3].sum()), *first[2:], *(first[1] * after[:3])])
        assert made.scores[row, 0] == pytest.approx(p @ np.arange(1, 13) / p.sum(), abs=1e-4)


def test_letters_are_the_tokens_that_follow_the_question(written):
    """Tokenizers of Llama 2 and its kind put a space in front of every text: " A" alone is not " A" after a colon."""
    pytest.importorskip("torch")
    import tiny_models
    from tokenizers import normalizers

    network, tokenizer = tiny_models.model(max_position_embeddings=1024), tiny_models.tokenizer(template=None)
    tokenizer.backend_tokenizer.normalizer = normalizers.Prepend(" ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such a model is no good judge, and is told of
        made = cm.judge(network, tokenizer, cm.open_dump(written, layer=3), {"kind": "Be kind."}, kind="pairwise")
    i, j = made.pairs[0]
    asked = pairwise_prompt(TEXTS[i]["prompt"], TEXTS[i]["response"], TEXTS[j]["response"], "Be kind.", chat=False)
    a, b = (said(network, tokenizer(f"{asked} {letter}")["input_ids"])[0][-1] for letter in "AB")
    assert made.dump.pairs["order_logits"][0, 0, 0] == pytest.approx(a - b, abs=2e-4)


def test_a_bias_planted_in_the_model_moves_the_bias_and_nothing_else(written):
    pytest.importorskip("torch")
    import tiny_models

    network = tiny_models.model(max_position_embeddings=1024)
    dump = cm.open_dump(written, layer=3)
    plain, leaned = (a_judge(network, dump, {"kind": "Be kind."}, kind="pairwise", bias=b) for b in (0.0, 1.5))
    np.testing.assert_allclose(leaned.position_bias - plain.position_bias, 1.5, atol=1e-4)
    np.testing.assert_allclose(leaned.scores, plain.scores, atol=1e-4)
    np.testing.assert_allclose(leaned.prob, plain.prob, atol=1e-4)
    np.testing.assert_allclose(leaned.position_bias_se, plain.position_bias_se, atol=1e-4)


def test_a_planted_position_bias_is_recovered_within_its_error_and_leaves_preferences_alone():
    """Bias 0.7 with noise shared inside prompts: 95 % intervals hold it in 93 to 97 % of 2000 worlds."""
    rng = np.random.default_rng(0)
    held = 0
    units = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    for _ in range(2000):
        preference = rng.normal(size=(len(units), 1))
        bias = 0.7 + 0.5 * rng.normal(size=(40, 1))[units] + 0.3 * rng.normal(size=(len(units), 1))
        found, mean, se = debiased(bias + preference, bias - preference, units)
        np.testing.assert_allclose(found, preference, atol=1e-12)
        held += abs(mean[0] - 0.7) < 2.02 * se[0]
    assert 0.92 < held / 2000 < 0.97


def test_the_error_of_a_mean_is_that_of_a_plain_loop_with_values_missing():
    rng = np.random.default_rng(1)
    x, units = rng.normal(size=(33, 2)), rng.integers(0, 7, 33)
    x[rng.random((33, 2)) < 0.3] = np.nan
    mean, se = clustered_mean(x, units)
    for k in range(2):
        there = ~np.isnan(x[:, k])
        sums = [(x[there & (units == u), k] - mean[k]).sum() for u in np.unique(units[there])]
        g = len(sums)
        assert mean[k] == pytest.approx(np.nanmean(x[:, k]))
        assert se[k] == pytest.approx(np.sqrt(g / (g - 1) * np.square(sums).sum()) / there.sum())


def test_a_judgment_says_the_mean_lean_of_its_pairs_with_the_error_over_prompts():
    rng = np.random.default_rng(4)
    ids, pairs = np.repeat(np.arange(9), 4), np.stack([np.arange(0, 36, 2), np.arange(1, 36, 2)], axis=1)
    logits = 0.4 + rng.normal(size=(9, 2, 1))[ids[pairs[:, 0]]] + rng.normal(size=(18, 2, 2))
    prob = 1 / (1 + np.exp((logits[..., 1] - logits[..., 0]) / 2))
    made = assessed(["a", "b"], "pairwise", np.zeros((36, 2)), ids, pairs=pairs, prob=prob, order_logits=logits)
    by_prompt = logits.mean(axis=2).reshape(9, 2, 2).mean(axis=1)  # two pairs of each prompt
    np.testing.assert_allclose(made.position_bias, by_prompt.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(made.position_bias_se, by_prompt.std(axis=0, ddof=1) / 3, rtol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7])
def test_pairs_are_distinct_cover_every_response_and_depend_on_the_id_alone(n):
    cycle = within_prompt_pairs(n, None, "x", 3)
    assert len(cycle) == (0 if n < 2 else 1 if n == 2 else n)
    every = within_prompt_pairs(n, 1000, "x", 3)
    assert len({frozenset(p) for p in every.tolist()}) == len(every) == n * (n - 1) // 2
    assert all(len(set(p)) == 2 for p in every.tolist())
    if n > 2:
        assert (np.bincount(cycle.ravel(), minlength=n) == 2).all()
        assert (within_prompt_pairs(n, None, "x", 3) == cycle).all()
        assert any((within_prompt_pairs(n, None, "x", s) != cycle).any() for s in range(4, 9))


def test_scores_of_consistent_pairs_are_theirs_up_to_the_mean():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(7, 3))
    pairs = within_prompt_pairs(7, None, 0, 0)
    found = pair_scores(7, pairs, scores[pairs[:, 0]] - scores[pairs[:, 1]])
    np.testing.assert_allclose(found, scores - scores.mean(axis=0), atol=1e-12)
    assert pair_scores(3, np.zeros((0, 2), int), np.zeros((0, 2))).tolist() == [[0, 0]] * 3


def test_a_new_dump_has_everything_of_the_old_one_and_who_judged(written, tmp_path):
    pytest.importorskip("torch")
    import tiny_models

    network, dump = tiny_models.model(max_position_embeddings=1024), cm.open_dump(written, layer=5)
    made = a_judge(network, dump, PERSONAS, out=tmp_path / "new", gold="gold")
    memory = a_judge(network, dump, PERSONAS, gold="gold")
    new = cm.open_dump(tmp_path / "new", layer=5)
    for layer in (3, 5):
        old, again = (cm.open_dump(p, layer=layer) for p in (written, tmp_path / "new"))
        assert again.dtype == old.dtype and (again.read(0, 9) == old.read(0, 9)).all()
    assert (new.prompt_ids == IDS).all() and new.policy == "on_policy" and new.sampling["temperature"] == 1.0
    assert [dict(t) for t in new.texts] == TEXTS
    np.testing.assert_array_equal(new.column("gold"), dump.column("gold"))
    np.testing.assert_array_equal(new.column("judge/short"), memory.dump.column("judge/short"))
    assert new.column("judge/kind").any() and new.column("n_tokens").tolist() == [len(t["response"]) for t in TEXTS]
    assert new.source["judge"]["constitutions"]["kind"] == {
        "persona": PERSONAS["kind"][0],
        "opposite": PERSONAS["kind"][1],
    }
    np.testing.assert_array_equal(new.pairs["chosen"], memory.pairs[:, 0])
    np.testing.assert_allclose(new.pairs["prob"], memory.prob)
    np.testing.assert_allclose(made.gold_agreement, memory.gold_agreement)
    fit = cm.fit_preference_direction(new, made.pairs, made.prob, folds=2, alpha=1.0)
    assert fit.vectors.shape == (2, 7)


@pytest.mark.parametrize("stop_at", [3, 6])
def test_a_stopped_run_goes_on_to_the_same_bytes(written, tmp_path, stop_at):
    pytest.importorskip("torch")
    import tiny_models

    network, dump = tiny_models.model(max_position_embeddings=1024), cm.open_dump(written, layer=3)
    a_judge(network, dump, PERSONAS, out=tmp_path / "whole", kind="pairwise")
    seen = []

    def stop(done, total):
        seen.append(done)
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        a_judge(network, dump, PERSONAS, out=tmp_path / "halted", kind="pairwise", progress=stop)
    a_judge(
        network, dump, PERSONAS, out=tmp_path / "halted", kind="pairwise", progress=lambda done, _: seen.append(done)
    )
    assert seen == [*range(3, stop_at + 1, 3), *range(stop_at, 10, 3)]
    for file in sorted(p.name for p in (tmp_path / "whole").iterdir()):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "halted" / file).read_bytes(), file


def test_a_stopped_run_goes_on_with_the_same_model_constitutions_and_texts_alone(written, tmp_path):
    pytest.importorskip("torch")
    import tiny_models

    dump = cm.open_dump(written, layer=3)
    network, other = (tiny_models.model(seed=seed, max_position_embeddings=1024) for seed in (0, 1))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        a_judge(network, dump, PERSONAS, out=tmp_path / "halted", progress=stop)
    texts = [*TEXTS[:-1], {"prompt": "question 2?", "response": "another"}]
    for judge, personas, options, name in (
        (other, PERSONAS, {}, r"\['weights_digest'\]"), (network, PERSONAS, {"texts": texts}, r"\['texts_digest'\]"),
        (network, PERSONAS | {"kind": "Be kind."}, {}, r"\['constitutions'\]\['kind'\]\['persona'\] is 'Be kind.'"),
    ):  # fmt: skip
        with pytest.raises(cm.DumpError, match=rf"other settings: source\['judge'\]{name}"):
            a_judge(judge, dump, personas, out=tmp_path / "halted", **options)


def test_constitutions_share_the_tokens_of_the_prompt():
    """Six of them read a long prompt once: fewer tokens than two readings of it alone."""
    pytest.importorskip("torch")
    import tiny_models

    network, read = tiny_models.model(max_position_embeddings=1024), []
    network.register_forward_pre_hook(lambda _, __, given: read.append(given["input_ids"].numel()), with_kwargs=True)
    dump = cm.open_dump(np.zeros((2, 1)))
    texts = [{"prompt": "a long question " * 30, "response": r} for r in ("yes", "no")]
    a_judge(network, dump, {str(k): (f"p{k}", f"q{k}") for k in range(6)}, texts=texts, progress=True)
    assert 480 < sum(read) < 2 * 480


def test_rows_without_their_pairs_get_them_when_a_run_goes_on(written, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    import tiny_models

    from clinometer.dump import DumpWriter

    network, dump = tiny_models.model(max_position_embeddings=1024), cm.open_dump(written, layer=3)
    whole = a_judge(network, dump, PERSONAS, out=tmp_path / "whole")
    add, calls = DumpWriter.append_pairs, []

    def once(self, pairs):
        calls.append(len(pairs["prob"]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        add(self, pairs)

    monkeypatch.setattr(DumpWriter, "append_pairs", once)
    with pytest.raises(KeyboardInterrupt):
        a_judge(network, dump, PERSONAS, out=tmp_path / "halted")
    again = a_judge(network, dump, PERSONAS, out=tmp_path / "halted")
    np.testing.assert_array_equal(again.pairs, whole.pairs)
    np.testing.assert_array_equal(again.prob, whole.prob)
    assert again.dump.n_rows == 9


def assessed_of(scores, **options):
    n = len(scores)
    return assessed(
        [f"c{k}" for k in range(scores.shape[1])],
        options.pop("kind", "contrast"),
        scores,
        np.repeat(np.arange(n // 4), 4),
        **options,
    )


@pytest.mark.parametrize("side", [-1, 1])
def test_each_warning_comes_at_its_threshold_and_not_below(side):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 4000))
    centre = lambda a: (a.reshape(-1, 4) - a.reshape(-1, 4).mean(axis=1, keepdims=True)).ravel()  # noqa: E731
    x, y = centre(x), centre(y)
    y -= x * (x @ y) / (x @ x)
    y *= np.sqrt((x @ x) / (y @ y))

    def near(r):
        return side * (r * x + np.sqrt(1 - r * r) * y)

    for r, told in ((FOLLOWS_LENGTH - 0.01, False), (FOLLOWS_LENGTH + 0.01, True)):
        made = assessed_of(near(r)[:, None], n_tokens=100 + x)
        assert made.length_correlation[0] == pytest.approx(side * r)
        assert any("follows length" in w for w in made.warnings) == told
    for r, told in ((ALIKE - 0.01, False), (ALIKE + 0.01, True)):
        made = assessed_of(np.stack([x, near(r)], axis=1))
        assert made.correlation[0, 1] == pytest.approx(side * r)
        assert any("are answered" in w for w in made.warnings) == told
    sd = x.std()
    for share, told in ((CONSTANT * 1.02, False), (CONSTANT * 0.98, True)):
        made = assessed_of((x / sd * share * 100 + side * 100)[:, None])
        assert made.same_answer[0] > SAME_ANSWER
        assert any("says the same" in w for w in made.warnings) == told
        made = assessed_of((3 + side * 1.5 + x / sd * share * 4)[:, None], kind="pointwise")
        assert made.spread[0] == pytest.approx(share)
        assert any("of the scale" in w for w in made.warnings) == (told and made.same_answer[0] >= SAME_ANSWER)


def test_a_judge_that_gives_one_score_to_all_is_told_of_and_single_responses_have_no_letters():
    made = assessed_of(np.zeros((8, 1)))
    assert made.spread[0] == 0 and any("says the same to 100%" in w for w in made.warnings)
    made = assessed(["c"], "pairwise", np.zeros((3, 1)), [0, 1, 2])
    assert np.isnan(made.same_answer[0]) and not len(made.warnings) and "nan" not in str(made)


@pytest.mark.parametrize(("share", "told"), [(SAME_ANSWER - 0.02, False), (SAME_ANSWER + 0.02, True)])
def test_a_judge_that_says_one_letter_in_both_orders_is_told_of(share, told):
    pairs = np.arange(200).reshape(100, 2)
    logits = np.ones((100, 1, 2))
    alike = round(100 * (1 - share) * 2)
    logits[:alike, 0, 1] = -1  # these depend on the reply, not on its place
    made = assessed(
        ["c"],
        "pairwise",
        np.zeros((200, 1)),
        np.repeat(np.arange(50), 4),
        pairs=pairs,
        prob=np.full((100, 1), 0.5),
        order_logits=logits,
    )
    assert made.same_answer[0] == pytest.approx(share, abs=0.011)
    assert made.order_agreement[0] == pytest.approx(alike / 100) and made.ties[0] == 1
    assert any("the same letter" in w for w in made.warnings) == told


def test_agreement_with_gold_counts_pairs_that_gold_orders():
    scores = np.array([[1.0], [2], [3], [5], [5], [7]])
    made = assessed(["c"], "contrast", scores, [0, 0, 0, 1, 1, 1], gold=[1, 0, 2, 0, 1, np.nan])
    # prompt 0: pairs (0, 1) wrong, (0, 2) and (1, 2) right; prompt 1: (3, 4) tied; unlabelled rows count for nothing
    assert made.gold_agreement[0] == pytest.approx(2.5 / 4)
    # residuals (0, 1, 1, 1/2) - 5/8 add up to 1/8 in prompt 0 and -1/8 in prompt 1
    assert made.gold_se[0] == pytest.approx(np.sqrt(2 * 2 / 64) / 4)


def test_constitutions_come_as_texts_pairs_mappings_and_files(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"judge/kind": {"persona": "a", "opposite": "b"}, "true": "c"}')
    held = as_constitutions(str(path))
    assert [(c.name, c.text, c.opposite) for c in held] == [("kind", "a", "b"), ("true", "c", None)]
    for wrong, said_ in (
        ({"x": 3}, "is 3"), ({}, "mapping of name"), ({"x": {"text": "a"}}, "persona and opposite"),
        (["x"], "is a list"),
        ({"x": "a", "judge/x": "b"}, "a name twice"), ({"x": ("a", " a")}, "the same text as persona and opposite"),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=said_):
            as_constitutions(wrong)
    path.write_text('{"kind": "a", "true": "b", "kind": "c"}')  # JSON itself keeps the last
    with pytest.raises(ValueError, match="a name twice among kind, true, kind"):
        as_constitutions(path)


def test_arguments_are_refused_before_a_model_is_looked_at(written):
    dump = cm.open_dump(written, layer=3)
    for options, said_ in (
        ({"kind": "guess"}, "kind is 'guess'"),
        ({"levels": (5, 1)}, r"levels is \(5, 1\)"),
        ({"tie": 0.7}, "tie is 0.7"),
        ({"pairs_per_prompt": 0}, "pairs_per_prompt is 0"),
        ({"texts": TEXTS[:2]}, "2 entries; 9 are wanted"),
        ({"gold": [1.0]}, r"gold has shape \(1,\)"),
    ):
        with pytest.raises(ValueError, match=said_):
            cm.judge(None, None, dump, PERSONAS, **options)
    with pytest.raises(ValueError, match="has no texts"):
        cm.judge(None, None, np.zeros((2, 2)), PERSONAS)
    with pytest.raises(TypeError, match=r"texts\[0\]"):
        cm.judge(None, None, np.zeros((1, 2)), PERSONAS, texts=["only a response"])


def test_contrast_without_an_opposite_says_that_it_is_weaker(written):
    pytest.importorskip("torch")
    import tiny_models

    with pytest.warns(UserWarning, match="'kind' have no opposite"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(follows length|answered|says the same)")
        warnings.filterwarnings("ignore", category=FutureWarning)  # of transformers
        cm.judge(
            tiny_models.model(max_position_embeddings=1024),
            tiny_models.tokenizer(),
            cm.open_dump(written, layer=3),
            {"kind": "Be kind."},
        )


def test_the_command_judges_by_a_model_in_a_folder(written, tmp_path, capsys):
    pytest.importorskip("torch")
    import json

    import tiny_models

    from clinometer.cli import main

    network, tokenizer = tiny_models.model(max_position_embeddings=1024), tiny_models.tokenizer()
    network.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "c.json").write_text(json.dumps({k: list(v) for k, v in PERSONAS.items()}))
    line = ["judge", written, "--model", str(tmp_path / "model"), "--gold", "gold"]
    line += ["--constitutions", str(tmp_path / "c.json"), "-o", str(tmp_path / "new"), "--json"]
    capsys.readouterr()
    assert main(line) == 0
    told = json.loads(capsys.readouterr().out)
    wanted = a_judge(network, cm.open_dump(written, layer=3), PERSONAS, gold="gold")
    assert told["constitutions"] == ["kind", "short"] and told["dump"] == str(tmp_path / "new")
    np.testing.assert_allclose(told["gold_agreement"], wanted.gold_agreement)
    assert a_judge(network, written, PERSONAS).dump.dim == 7  # of layers 3 and 5, which a judge does not read
    new = cm.open_dump(tmp_path / "new", layer=3)
    np.testing.assert_allclose(new.column("judge/short"), wanted.dump.column("judge/short"), atol=1e-5)
    assert main([*line[:2], "--model", "x", "--constitutions", "none.json", "-o", "y"]) == 2
    assert "none.json" in capsys.readouterr().err
