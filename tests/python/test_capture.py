"""A capture's columns, rows and texts are what transformers says of the drawn tokens; kills change no byte."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models  # noqa: E402

import clinometer as cm  # noqa: E402
from clinometer.cli import main  # noqa: E402
from clinometer.models import loaded, sampled, uniforms  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "torture"))
import model_kills  # noqa: E402

PROMPTS = [
    "why",
    "",
    "name a colour, please",
    "x",
    [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hm"}],
]


def alone(network, prompt, response):
    ids = torch.tensor([[*prompt, *response]])
    with torch.no_grad():
        made = network(ids, output_hidden_states=True, use_cache=False)
    logs = made.logits[0].double().log_softmax(-1)
    at = torch.arange(len(prompt), ids.shape[1])
    return float(logs[at - 1, ids[0, at]].sum()), [h[0, at].double().numpy() for h in made.hidden_states]


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
@pytest.mark.parametrize(("side", "budget"), [("left", 40), ("right", 333), ("right", 8192)])
def test_rows_and_log_probabilities_are_those_of_the_drawn_tokens(tmp_path, architecture, side, budget):
    network, tokenizer = tiny_models.model(architecture), tiny_models.tokenizer(padding_side=side)
    network.generation_config.eos_token_id = [2, *range(10, 80, 9)]  # several ends, as chat models have
    stops = {2, *range(10, 80, 9)}
    options = {"n": 3, "max_new_tokens": 13, "random_state": 5, "token_budget": budget}
    dump = cm.capture(network, tokenizer, PROMPTS, layers=[0, 1], out=tmp_path / "d", **options)
    last = cm.capture(network, tokenizer, PROMPTS, layers=1, position="last", out=tmp_path / "l", **options)
    span = cm.capture(network, tokenizer, PROMPTS, layers=1, position=(-3, None), out=tmp_path / "s", **options)
    assert dump.n_rows == 15 and dump.prompt_ids.tolist() == np.repeat(np.arange(5), 3).tolist()
    lm, embedded = loaded(network, tokenizer), cm.open_dump(tmp_path / "d", layer=0)
    for row, text in enumerate(dump.texts):
        tokens = text["tokens"]
        logprob, hidden = alone(network, lm.prompt_tokens(PROMPTS[row // 3]), tokens)
        assert dump.columns["logprob"][row] == pytest.approx(logprob, abs=1e-4)
        assert dump.columns["n_tokens"][row] == len(tokens) <= 13
        ended = tokens[-1] in stops
        assert dump.columns["ended"][row] == ended and not stops & set(tokens[:-1])
        for found, wanted in (
            (dump, hidden[1].mean(0)), (embedded, hidden[0].mean(0)), (last, hidden[1][-1]),
            (span, hidden[1][-3:].mean(0)),
        ):  # fmt: skip
            np.testing.assert_allclose(found.read(row, row + 1)[0], wanted, atol=2e-5, rtol=2e-5)
        assert text["response"] == tokenizer.decode(tokens[: len(tokens) - ended])
    ended = dump.columns["ended"]
    assert 0 < ended.sum() < 15 and (dump.columns["n_tokens"][~ended] == 13).all()


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_one_token_prompts_and_an_end_at_once_are_rows_like_others(tmp_path, architecture):
    network, tokenizer = tiny_models.model(architecture), tiny_models.tokenizer(template=None)
    network.generation_config.eos_token_id = list(range(tiny_models.VOCABULARY))
    drawn = cm.capture(network, tokenizer, ["a"], n=3, layers=1, out=tmp_path / "at once")
    assert drawn.columns["n_tokens"].tolist() == [1, 1, 1] and drawn.columns["ended"].all()
    assert [t["response"] for t in drawn.texts] == [""] * 3
    network.generation_config.eos_token_id = 2
    given = [[[2], "ab", ""], [[5, 6, 7]]]
    dump = cm.capture(network, tokenizer, ["a", "b"], responses=given, layers=1, out=tmp_path / "d")
    assert dump.columns["n_tokens"].tolist() == [1, 3, 1, 3] and dump.columns["ended"].tolist() == [
        True,
        True,
        True,
        False,
    ]
    assert dump.policy is None and dump.columns["response_id"].tolist() == [0, 1, 2, 0]
    assert [t["response"] for t in dump.texts] == ["", "ab", "", tokenizer.decode([5, 6, 7])]
    for row, (prompt, response) in enumerate(
        [("a", [2]), ("a", [*tokenizer("ab")["input_ids"], 2]), ("a", [2]), ("b", [5, 6, 7])]
    ):
        ids = tokenizer(prompt)["input_ids"]
        assert len(ids) == 1
        logprob, hidden = alone(network, ids, response)
        assert dump.columns["logprob"][row] == pytest.approx(logprob, abs=1e-4)
        np.testing.assert_allclose(dump.read(row, row + 1)[0], hidden[1].mean(0), atol=2e-5)


def test_draws_follow_the_model_at_temperature_one_over_every_token():
    network = tiny_models.model("llama", initializer_range=0.5)
    network.generation_config.update(temperature=0.3, top_k=2, top_p=0.1, do_sample=True)
    lm = loaded(network, tiny_models.tokenizer())
    prompt, count = lm.prompt_tokens("a"), 20_000
    prefix = lm.prefix([prompt])
    wanted = prefix.logits[0].double().softmax(-1).numpy()
    draws = np.stack([uniforms(1, 0, j, 1) for j in range(count)])
    tokens = [t for (t,) in sampled(lm, prefix.take([0] * count), draws)]
    found = np.bincount(tokens, minlength=len(wanted))
    assert (wanted > 0).all() and (found > 0).sum() > 10
    deviation = (found - count * wanted) / np.sqrt(count * wanted * (1 - wanted))
    assert np.abs(deviation[count * wanted > 5]).max() < 4.5  # chance of more: below 1e-3
    common = wanted * count > 5
    chi2 = ((found - count * wanted) ** 2 / (count * wanted))[common].sum()
    assert chi2 < common.sum() + 5 * np.sqrt(2 * common.sum())


def test_each_response_has_random_numbers_of_its_own(tmp_path):
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    options = {"layers": 1, "max_new_tokens": 9}
    few = cm.capture(network, tokenizer, ["p", "q"], n=2, prompt_ids=["a", "b"], out=tmp_path / "2", **options)
    more = cm.capture(network, tokenizer, ["r", "q"], n=4, prompt_ids=["c", "b"], out=tmp_path / "4", **options)
    assert [few.texts[i]["tokens"] for i in (2, 3)] == [more.texts[i]["tokens"] for i in (4, 5)]
    assert len({tuple(t["tokens"]) for t in more.texts}) == 8
    other = cm.capture(network, tokenizer, ["p", "q"], n=2, random_state=1, out=tmp_path / "1", **options)
    assert [t["tokens"] for t in other.texts] != [t["tokens"] for t in few.texts]
    longer = cm.capture(network, tokenizer, ["p", "q"], n=2, prompt_ids=["a", "b"], layers=1, max_new_tokens=20,
                        out=tmp_path / "20")  # fmt: skip
    assert all(a["tokens"] == b["tokens"][:9] for a, b in zip(few.texts, longer.texts, strict=True))


def test_the_manifest_says_how_rows_came_about(tmp_path):
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    network.generation_config.update(temperature=0.7, top_p=0.9, repetition_penalty=1.1, do_sample=True)
    with pytest.warns(UserWarning, match=r"'repetition_penalty': 1.1, 'temperature': 0.7, 'top_p': 0.9.*not applied"):
        dump = cm.capture(network, tokenizer, ["p"], n=2, layers=2, max_new_tokens=4, out=tmp_path / "d")
    assert (
        dump.policy == "on_policy" and dump.source["layer"] == 2 and dump.source["layer_convention"] == "0=embeddings"
    )
    assert dump.source["chat_template_digest"] == loaded(network, tokenizer).template_digest
    assert dump.source["position"] == "mean_response" and dump.dtype == "float32"
    said = dump.sampling
    assert (said["temperature"], said["top_p"], said["top_k"], said["logprob"]) == (1.0, 1.0, 0, "sum")
    assert said["generation_config_not_applied"] == {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1}


def test_bfloat16_models_write_bfloat16_rows(tmp_path):
    network, tokenizer = tiny_models.model(dtype=torch.bfloat16), tiny_models.tokenizer()
    dump = cm.capture(network, tokenizer, PROMPTS, n=2, layers=1, max_new_tokens=6, out=tmp_path / "d")
    assert dump.dtype == "bfloat16"
    lm = loaded(network, tokenizer)
    for row, text in enumerate(dump.texts):
        _, hidden = alone(network, lm.prompt_tokens(PROMPTS[row // 2]), text["tokens"])
        np.testing.assert_allclose(dump.read(row, row + 1)[0], hidden[1].mean(0), atol=0.05, rtol=0.02)


def test_a_response_without_a_token_at_the_span_is_a_row_of_nan_and_counted(tmp_path):
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    given = [["abcdef", "a"], ["abc"]]
    with pytest.warns(UserWarning, match=r"1 responses have no token at response\[2:4\]"):
        dump = cm.capture(
            network, tokenizer, ["p", "q"], responses=given, layers=1, position=(2, 4), out=tmp_path / "d"
        )
    whole = cm.open_dump(tmp_path / "d", nonfinite="keep").read(0, 3)
    assert np.isnan(whole).all(axis=1).tolist() == [False, True, False] and dump.source["position"] == "response[2:4]"
    lm = loaded(network, tokenizer)
    _, hidden = alone(network, lm.prompt_tokens("p"), lm.response_tokens("abcdef"))
    np.testing.assert_allclose(whole[0], hidden[1][2:4].mean(0), atol=2e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": 3}, "layers holds 3; 0 .embeddings. to 2"),
        ({"layers": []}, "distinct numbers of layers"),
        ({"layers": 1.0}, "layers holds 1.0"),
        ({"layers": [1, "2"]}, "layers holds '2'"),
        ({"position": "first"}, "position is .*'mean_response'"),
        ({"n": 0}, "n is 0; a positive integer"),
        ({"max_new_tokens": 500}, r"prompts\[0\] with a response of up to 500 tokens has 5.. tokens; the context"),
        ({"random_state": -1}, "random_state is -1"),
        ({"prompt_ids": [1, 1]}, "2 distinct integers or strings"),
        ({"prompt_ids": [1, "b"]}, "2 distinct integers or strings"),
        ({"policy": "off_policy"}, "are on-policy"),
        ({"responses": [["a"]]}, "responses has 1 entries; 2 are wanted"),
        ({"responses": [["a"], []]}, r"responses\[1\] is empty"),
        ({"responses": [["a"], [[]]]}, r"responses\[1\]\[0\] has no tokens"),
        ({"responses": [["a"], [[999]]]}, r"responses\[1\]\[0\] holds tokens outside"),
        ({"token_budget": 0}, "token_budget is 0"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, changed, message):
    options = {"layers": 1, "max_new_tokens": 4, "out": tmp_path / "d"} | changed
    with pytest.raises(ValueError, match=message):
        cm.capture(tiny_models.model(), tiny_models.tokenizer(), ["p", "q"], **options)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "prompts is empty"),
        ("ab", {}, "prompts is str"),
        ({"a": "p"}, {}, "prompts is dict"),
        (["p", ""], {"chat": False}, r"prompts\[1\] has no tokens"),
        (["p", "\ud800"], {}, r"prompts\[1\]: text has half a character .* at 0"),
        (["p", None], {}, r"prompts\[1\]: prompt is None; a str or a list of messages"),
        (["p", {"role": "user", "content": "q"}], {}, r"prompts\[1\]: .* a list of messages"),
        (["p", [{"role": "user"}]], {}, r"prompts\[1\]: .*a message with a content"),
        (["p", [{"role": "assistant", "content": "q"}]], {}, r"prompts\[1\]: prompt ends with a message of the ass"),
        ([[{"role": "user", "content": "q"}]], {"template": None}, r"prompts\[0\]: .* has no chat template"),
        (["zzz"], {"vocab_size": 40}, r"prompts\[0\]: the tokenizer is another model's: it gives token 76"),
    ],
)
def test_odd_prompts_are_refused_with_their_number(tmp_path, prompts, options, message):
    tokenizer = tiny_models.tokenizer(**{k: options[k] for k in options if k == "template"})
    network = tiny_models.model(**{k: options[k] for k in options if k == "vocab_size"})
    with pytest.raises((ValueError, TypeError), match=message):
        cm.capture(network, tokenizer, prompts, layers=1, chat=options.get("chat"), out=tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_template_that_refuses_a_prompt_is_named_with_it(tmp_path):
    refusing = tiny_models.tokenizer(
        template="{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}{{ m['content'] }}{% endfor %}"
    )
    prompts = ["p", [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]]
    with pytest.raises(ValueError, match=r"prompts\[1\]: .* chat template of .* refuses: no system role"):
        cm.capture(tiny_models.model(), refusing, prompts, layers=1, out=tmp_path / "d")


def test_given_replies_of_a_chat_end_as_its_turns_do(tmp_path):
    network = tiny_models.model()
    network.generation_config.eos_token_id = [1, 2]
    tokenizer = tiny_models.tokenizer(template=tiny_models.TEMPLATE.replace("<eos>", "<bos>"))
    for chat, end in ((None, 1), (True, 1), (False, 2)):
        out = tmp_path / str(chat)
        dump = cm.capture(network, tokenizer, ["p"], responses=[["ab"]], layers=1, chat=chat, out=out)
        assert dump.texts[0]["tokens"][-1] == end and dump.columns["ended"][0]


@pytest.fixture
def folder(tmp_path):
    """A model in a folder, as a shell names it."""
    tiny_models.model().save_pretrained(tmp_path / "tiny")
    tiny_models.tokenizer().save_pretrained(tmp_path / "tiny")
    return tmp_path


def from_a_shell(folder, prompts):
    return main(
        ["capture", str(folder / "tiny"), str(prompts), str(folder / "out"), "--layers", "1", "-n", "2",
         "--max-new-tokens", "4"]
    )  # fmt: skip


def test_a_byte_order_mark_is_no_part_of_the_first_prompt(folder):
    (folder / "prompts.txt").write_bytes(b"\xef\xbb\xbfwhy\r\nwho\n")
    assert from_a_shell(folder, folder / "prompts.txt") == 0
    assert [t["prompt"] for t in cm.open_dump(folder / "out").texts] == ["why", "why", "who", "who"]


def test_names_in_a_file_of_prompts_that_mean_nothing_are_told(folder, capsys):
    (folder / "prompts.jsonl").write_text('{"prompt": "why", "response": "so"}\n')
    assert from_a_shell(folder, folder / "prompts.jsonl") == 0
    assert "response not read; prompt, prompt_id and responses are" in capsys.readouterr().err
    (folder / "prompts.json").write_text('[{"prompt": "why"}]')
    assert from_a_shell(folder, folder / "prompts.json") == 2
    assert "line 1: an object with a prompt, on a line of its own, is wanted" in capsys.readouterr().err


def test_a_model_that_overflows_is_refused_and_not_written_down(tmp_path):
    network = tiny_models.model()
    network.model.layers[0].mlp.up_proj.weight.data.fill_(float("nan"))
    for folder, responses in (("drawn", None), ("given", [["a"]])):
        with pytest.raises(ValueError, match=r"model gives log.* (NaN|not finite)"):
            cm.capture(network, tiny_models.tokenizer(), ["p"], responses=responses, layers=1, out=tmp_path / folder)


def test_another_seed_prompt_or_model_does_not_go_on_in_the_same_folder(tmp_path):
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    options = {"layers": 1, "n": 2, "max_new_tokens": 4, "out": tmp_path / "d"}
    done = []
    cm.capture(network, tokenizer, ["p", "q"], progress=lambda *x: done.append(x), **options)
    assert done[0] == (0, 4) and done[-1] == (4, 4)
    cm.capture(network, tokenizer, ["p", "q"], progress=lambda *x: done.append(x), **options)
    assert done[-1] == (4, 4) and done.count((0, 4)) == 1  # nothing is drawn again
    other = tiny_models.model(seed=1)  # of the same class and sizes
    for changed, name in (
        ({"prompts": ["p", "x"]}, r"source\['prompts_digest'\]"), ({"model": other}, r"source\['weights_digest'\]"),
        ({"random_state": 1}, r"sampling\['random_state'\] is 1"),
        ({"position": "last"}, r"source\['position'\] is 'last'"),
    ):  # fmt: skip
        call = {"model": network, "tokenizer": tokenizer, "prompts": ["p", "q"], **options, **changed}
        with pytest.raises(cm.DumpError, match=f"other settings: {name}"):
            cm.capture(**call)


@pytest.mark.parametrize("kind", model_kills.KINDS)
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_resume_to_the_same_bytes(tmp_path, kind, kills):
    found = model_kills.torture(kind, kills, np.random.default_rng(kills), tmp_path)
    assert json.loads((tmp_path / kind / "manifest.json").read_text())["n_rows"] == 36
    assert found["kills"] >= kills and found["ends"] > 0 and found["wrong"] == 0
    assert found["unfinished"] > 0 or kills < 20
