"""A capture's columns, rows and texts are what transformers says of the drawn tokens; kills change no byte."""

from __future__ import annotations

import contextlib
import filecmp
import json
import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models  # noqa: E402

import clinometer as cm  # noqa: E402
from clinometer.models import loaded, sampled, uniforms  # noqa: E402

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


def test_one_token_prompts_and_an_end_at_once_are_rows_like_others(tmp_path):
    network, tokenizer = tiny_models.model("gpt2"), tiny_models.tokenizer(template=None)
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
        ({"position": "first"}, "position is .*'mean_response'"),
        ({"n": 0}, "n is 0; a positive integer"),
        ({"max_new_tokens": 500}, r"prompts\[0\] with a response of up to 500 tokens has 5.. tokens; the context"),
        ({"random_state": -1}, "random_state is -1"),
        ({"prompt_ids": [1, 1]}, "2 distinct integers or strings"),
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


def test_an_empty_plain_prompt_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"prompts\[1\] has no tokens"):
        cm.capture(tiny_models.model(), tiny_models.tokenizer(), ["p", ""], layers=1, chat=False, out=tmp_path / "d")


def test_another_seed_or_prompt_does_not_go_on_in_the_same_folder(tmp_path):
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    options = {"layers": 1, "n": 2, "max_new_tokens": 4, "out": tmp_path / "d"}
    done = []
    cm.capture(network, tokenizer, ["p", "q"], progress=lambda *x: done.append(x), **options)
    assert done[0] == (0, 4) and done[-1] == (4, 4)
    cm.capture(network, tokenizer, ["p", "q"], progress=lambda *x: done.append(x), **options)
    assert done[-1] == (4, 4) and done.count((0, 4)) == 1  # nothing is drawn again
    for prompts, seed in ((["p", "x"], 0), (["p", "q"], 1)):
        with pytest.raises(cm.DumpError):
            cm.capture(network, tokenizer, prompts, random_state=seed, **options)


def work(out: str, said: Any) -> None:
    """A capture of 36 rows in several batches, as a process of its own does it."""
    torch.set_num_threads(1)
    prompts = [f"prompt number {k}" * (1 + k % 3) for k in range(12)]
    cm.capture(
        tiny_models.model("llama"), tiny_models.tokenizer(), prompts, n=3, layers=[1, 2], max_new_tokens=12,
        token_budget=300, out=out, progress=lambda done, total: said.send(done),
    )  # fmt: skip
    said.close()


def run(out: Path, until: int = 1 << 30, delay: float = 0.0) -> int:
    """One process, killed `delay` seconds after it said that `until` rows are in; its exit code."""
    context = multiprocessing.get_context("forkserver")  # whose server has torch, and no thread yet
    context.set_forkserver_preload(["tiny_models", "clinometer.capturing"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(str(out), there))
    process.start()
    there.close()
    with here, contextlib.suppress(EOFError):
        while here.recv() < until:
            pass
        time.sleep(delay)
        process.kill()
    process.join()
    code = process.exitcode
    process.close()
    return code


def killed_and_resumed(out, whole, kills, rng):
    """Kill at random rows until none is left to kill; how often rows were left for the next one."""
    left = 0
    while kills:
        n_done = 0
        while kills and n_done < 30:
            n_done += int(rng.integers(1, 13))
            kills -= run(out, n_done, rng.uniform(0, 0.02)) == -signal.SIGKILL
            left += not (out / "manifest.json").exists()
        assert run(out) == 0 and same(out, whole)
        if kills:
            for path in out.iterdir():
                path.unlink()
    return left


def same(a: Path, b: Path) -> bool:
    names = sorted(p.name for p in b.iterdir())
    return sorted(p.name for p in a.iterdir()) == names and filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_resume_to_the_same_bytes(tmp_path, kills):
    assert run(tmp_path / "whole") == 0
    assert json.loads((tmp_path / "whole" / "manifest.json").read_text())["n_rows"] == 36
    assert killed_and_resumed(tmp_path / "killed", tmp_path / "whole", kills, np.random.default_rng(kills)) > 0
