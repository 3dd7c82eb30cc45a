"""Log-probabilities and states are those of transformers itself, however pairs are padded and batched."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models  # noqa: E402

from clinometer.models import loaded, not_applied  # noqa: E402
from clinometer.models.taps import tapped  # noqa: E402

RNG = np.random.default_rng(3)
PROMPTS = [list(RNG.integers(3, tiny_models.VOCABULARY, n)) for n in (1, 9, 4, 4, 17, 1, 6)]
RESPONSES = [[2], list(range(5, 14)), [], [7, 2], list(range(30, 41)), [4, 5, 6], [2]]


@pytest.fixture(scope="module", params=tiny_models.ARCHITECTURES)
def network(request):
    return tiny_models.model(request.param)


def alone(network, prompt, response):
    """One pair without padding, cache or hooks: transformers as its manual shows it."""
    ids = torch.tensor([[*prompt, *response]])
    with torch.no_grad():
        made = network(ids, output_hidden_states=True, use_cache=False)
    logs = made.logits[0].double().log_softmax(-1)
    at = torch.arange(len(prompt), ids.shape[1])
    return logs[at - 1, ids[0, at]].numpy(), [h[0, at] for h in made.hidden_states]


def normed(network, hidden):
    base = network.base_model
    with torch.no_grad():
        return (base.ln_f if hasattr(base, "ln_f") else base.norm)(hidden)


@pytest.mark.parametrize("budget", [1, 29, 64, 8192])
def test_every_pair_is_as_transformers_says_of_it_alone(network, budget):
    lm = loaded(network, tiny_models.tokenizer())
    found = list(lm.forward(PROMPTS, RESPONSES, layers=(2, 0, 1), token_budget=budget))
    assert [s.index for s in found] == list(range(len(PROMPTS)))
    for s, prompt, response in zip(found, PROMPTS, RESPONSES, strict=True):
        logprobs, hidden = alone(network, prompt, response)
        np.testing.assert_allclose(s.logprobs, logprobs, atol=1e-4)
        assert s.logprobs.dtype == np.float64 and list(s.hidden) == [2, 0, 1]
        for layer in (0, 1):
            torch.testing.assert_close(s.hidden[layer], hidden[layer], atol=2e-5, rtol=2e-5)
        torch.testing.assert_close(normed(network, s.hidden[2]), hidden[2], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_equals_a_batch_of_transformers_padded_on_either_side(network, side):
    tokenizer = tiny_models.tokenizer(padding_side=side)
    whole = [{"input_ids": [*map(int, p), *r]} for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    batch = tokenizer.pad(whole, return_tensors="pt")
    places = (batch.attention_mask.cumsum(-1) - 1).clamp_min(0)
    with torch.no_grad():
        made = network(**batch, position_ids=places, output_hidden_states=True)
    logs = made.logits.double().log_softmax(-1)
    for s in loaded(network, tokenizer).forward(PROMPTS, RESPONSES, layers=[1]):
        end = batch.input_ids.shape[1] if side == "left" else len(whole[s.index]["input_ids"])
        at = torch.arange(end - len(RESPONSES[s.index]), end)
        wanted = logs[s.index, at - 1, batch.input_ids[s.index, at]]
        np.testing.assert_allclose(s.logprobs, wanted.numpy(), atol=1e-4)
        torch.testing.assert_close(s.hidden[1], made.hidden_states[1][s.index, at], atol=2e-5, rtol=2e-5)


def test_a_prompt_of_many_responses_is_read_once(network, monkeypatch):
    lm = loaded(network, tiny_models.tokenizer())
    read = []
    prefix = lm.prefix
    monkeypatch.setattr(lm, "prefix", lambda prompts: read.append(len(prompts)) or prefix(prompts))
    found = list(lm.forward([PROMPTS[1]] * 7, RESPONSES))
    assert read == [1]
    for s, response in zip(found, RESPONSES, strict=True):
        np.testing.assert_allclose(s.logprobs, alone(network, PROMPTS[1], response)[0], atol=1e-4)


def test_a_batch_holds_no_more_tokens_than_its_budget(network, monkeypatch):
    lm = loaded(network, tiny_models.tokenizer())
    sizes = []
    score = lm.score

    def measured(prefix, responses, layers):
        sizes.append(len(responses) * (prefix.mask.shape[1] + max(map(len, responses))))
        return score(prefix, responses, layers)

    monkeypatch.setattr(lm, "score", measured)
    assert len(list(lm.forward(PROMPTS * 5, RESPONSES * 5, token_budget=100))) == 35
    assert max(sizes) <= 100 and len(sizes) < 35


def test_bfloat16_takes_the_softmax_in_float32_and_states_as_they_are():
    network = tiny_models.model("llama", dtype=torch.bfloat16)
    (s,) = loaded(network, tiny_models.tokenizer()).forward([PROMPTS[1]], [RESPONSES[1]], layers=[1])
    ids = torch.tensor([[*PROMPTS[1], *RESPONSES[1]]])
    with torch.no_grad():
        made = network(ids, output_hidden_states=True)
    logs = made.logits[0].float().log_softmax(-1)
    wanted = logs[torch.arange(8, 17), ids[0, 9:]]
    np.testing.assert_allclose(s.logprobs, wanted.numpy(), atol=0.15)  # bf16 rounds logits of size 10 by .03
    assert s.hidden[1].dtype == torch.bfloat16
    torch.testing.assert_close(s.hidden[1], made.hidden_states[1][0, 9:], atol=0.1, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probabilities_of_the_steps_that_drew_a_response_are_others_in_bfloat16(dtype):
    network = tiny_models.model("llama", dtype=dtype)
    torch.manual_seed(0)
    made = network.generate(
        torch.tensor([PROMPTS[1]] * 8), do_sample=True, top_k=0, max_new_tokens=40, output_logits=True,
        return_dict_in_generate=True, pad_token_id=0,
    )  # fmt: skip
    drawn = made.sequences[:, 9:].tolist()
    lengths = [r.index(2) + 1 if 2 in r else len(r) for r in drawn]
    steps = torch.stack(made.logits, 1).float().log_softmax(-1)
    worst = 0.0
    found = loaded(network, tiny_models.tokenizer()).forward(
        [PROMPTS[1]] * 8, [r[:n] for r, n in zip(drawn, lengths, strict=True)]
    )
    for s in found:
        n = lengths[s.index]
        own = steps[s.index, torch.arange(n), made.sequences[s.index, 9 : 9 + n]].double().sum()
        worst = max(worst, abs(float(own) - s.logprobs.sum()))
    assert worst < 1e-3 if dtype == torch.float32 else worst > 0.02


def test_a_model_in_training_is_scored_without_dropout_and_stays_in_training():
    network = tiny_models.model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    lm = loaded(network, tiny_models.tokenizer())
    still = [s.logprobs for s in lm.forward(PROMPTS, RESPONSES)]
    network.train()
    network.base_model.h[0].eval()
    flags = [m.training for m in network.modules()]
    trained = [s.logprobs for s in lm.forward(PROMPTS, RESPONSES)]
    assert all((a == b).all() for a, b in zip(still, trained, strict=True))
    assert flags == [m.training for m in network.modules()] and not network.lm_head._forward_pre_hooks


def test_prompts_and_responses_become_tokens_once_with_one_end():
    lm = loaded(tiny_models.model(), tiny_models.tokenizer())
    text = "<user>hi<eos>\n<assistant>"
    wanted = lm.tokenizer(text)["input_ids"]
    assert lm.prompt_tokens("hi") == lm.prompt_tokens([{"role": "user", "content": "hi"}]) == wanted
    assert lm.prompt_tokens("hi", chat=False) == lm.tokenizer("hi")["input_ids"]
    assert lm.response_tokens("ab")[-1] == 2 and lm.response_tokens("ab") == lm.response_tokens("ab<eos>")
    assert lm.response_tokens("") == [2] and lm.response_tokens("", end=False) == []
    assert lm.response_text(lm.response_tokens("ab")) == "ab"
    assert lm.template_digest is not None and lm.template_digest.startswith("sha256:")
    plain = loaded(lm.model, tiny_models.tokenizer(template=None))
    assert plain.template_digest is None and plain.prompt_tokens("hi") == lm.prompt_tokens("hi", chat=False)


def test_a_reply_in_a_chat_ends_as_the_template_ends_it():
    """Gemma and Phi end a turn by another token than a text: the tokenizer's end is never said there."""
    network = tiny_models.model()
    network.generation_config.eos_token_id = [1, 2]
    lm = loaded(network, tiny_models.tokenizer(template=tiny_models.TEMPLATE.replace("<eos>", "<bos>")))
    assert (lm.turn_end_id, lm.end_id) == (1, 2)
    assert lm.response_tokens("ab")[-1] == 1 and lm.response_tokens("ab", chat=False)[-1] == 2
    assert lm.response_tokens("ab<eos>")[-2:] == [*lm.response_tokens("b", end=False), 2]  # has an end already
    assert lm.response_text(lm.response_tokens("ab")) == "ab"
    network.generation_config.eos_token_id = 2  # by which the model would go on behind its turn
    assert loaded(network, lm.tokenizer).turn_end_id == 2
    refusing = tiny_models.tokenizer(template="{{ raise_exception('no') }}")
    assert loaded(network, refusing).turn_end_id == 2


def test_text_to_go_on_with_has_no_end_behind_it():
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_models.tokenizer(template=None)
    marks = [("<bos>", 1), ("<eos>", 2)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=marks)
    lm = loaded(tiny_models.model(), tokenizer)
    assert tokenizer("hi")["input_ids"][-1] == 2
    assert lm.prompt_tokens("hi") == [1, *lm.response_tokens("hi", end=False)] and lm.prompt_tokens("") == [1]
    assert lm.prompt_tokens("hi<eos>")[-1] == 2  # written by the user


def test_what_a_generation_config_asks_for_is_told_where_1_is_not_off():
    network = tiny_models.model()
    strong = {"top_k": 1, "min_new_tokens": 1, "no_repeat_ngram_size": 1, "forced_bos_token_id": 1}
    network.generation_config.update(temperature=1.0, top_p=1, repetition_penalty=1.0, num_beams=1, **strong)
    assert not_applied(network) == strong
    network.generation_config.update(top_k=0, min_new_tokens=0, no_repeat_ngram_size=0, forced_bos_token_id=None)
    assert not_applied(network) == {}


@pytest.mark.parametrize("kind", ["both ways", "positions", "no cache"])
def test_models_that_padding_or_a_cache_would_change_are_refused(kind):
    """None of these says so: they give numbers, of other sequences."""
    from transformers import (
        BertConfig,
        BertLMHeadModel,
        OpenAIGPTConfig,
        OpenAIGPTLMHeadModel,
        RobertaConfig,
        RobertaForCausalLM,
    )

    sizes = {"vocab_size": 83, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    if kind == "both ways":
        made = BertLMHeadModel(BertConfig(**sizes, intermediate_size=40, initializer_range=0.3))
    elif kind == "positions":  # which count from behind the padding's number
        made = RobertaForCausalLM(RobertaConfig(**sizes, intermediate_size=40, initializer_range=0.3, is_decoder=True))
    else:
        made = OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=83, n_embd=24, n_layer=2, n_head=4))
    lm = loaded(made.eval(), tiny_models.tokenizer())
    with pytest.raises(ValueError, match=r"other log-probabilities in a padded batch|keeps no keys and values"):
        next(lm.forward(PROMPTS, RESPONSES))
    with pytest.raises(ValueError, match=r"other log-probabilities in a padded batch|keeps no keys and values"):
        lm.prefix(PROMPTS)  # and again


def test_longrope_is_read_up_to_where_a_long_sequence_changes_the_others():
    from transformers import Phi3Config, Phi3ForCausalLM

    rope = {
        "rope_type": "longrope", "short_factor": [1.0] * 3, "long_factor": [1.0, 4.0, 9.0], "rope_theta": 1e4,
        "original_max_position_embeddings": 14, "partial_rotary_factor": 1.0,
    }  # fmt: skip
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=83, **sizes, pad_token_id=0, initializer_range=0.3, max_position_embeddings=256,
        original_max_position_embeddings=14, rope_parameters=rope,
    )  # fmt: skip
    network = Phi3ForCausalLM(config).eval()
    lm = loaded(network, tiny_models.tokenizer())
    assert lm.context == 14
    short, long = ([4, 5, 6], [7, 8]), (list(range(3, 13)), [5, 6, 7, 8, 9])
    (s,) = lm.forward(*([x] for x in short))
    np.testing.assert_allclose(s.logprobs, alone(network, *short)[0], atol=1e-4)
    with pytest.raises(ValueError, match="pair 1 has 15 tokens; the context of 'Phi3ForCausalLM' is 14"):
        list(lm.forward(*zip(short, long, strict=True)))


def test_states_that_are_no_vector_a_token_are_refused():
    network, at = tiny_models.model(), (torch.tensor([0]), torch.tensor([0]))
    block = network.model.layers[0]
    block.forward = lambda *_, **__: torch.zeros(4, 2, 3, 24)  # as models with several streams have them
    with tapped(network, [1], at, at), pytest.raises(ValueError, match=r"states of shape \(4, 2, 3, 24\) between"):
        block(None)


def test_blocks_that_run_twice_in_a_pass_have_no_number():
    network, at = tiny_models.model(), (torch.tensor([0]), torch.tensor([0]))
    block = network.model.layers[0]
    block.forward = lambda *_, **__: torch.zeros(1, 1, 24)
    with tapped(network, [1], at, at) as states, pytest.raises(ValueError, match="runs its blocks several times"):
        block(None)
        assert states[1].shape == (1, 24)
        block(None)


def test_what_cannot_be_used_is_refused_by_name():
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    lm = loaded(network, tokenizer)
    with pytest.raises(ValueError, match="no chat template"):
        loaded(network, tiny_models.tokenizer(template=None)).prompt_tokens([{"role": "user", "content": "x"}])
    with pytest.raises(ValueError, match="ends with a message of the assistant"):
        lm.prompt_tokens([{"role": "assistant", "content": "x"}])
    with pytest.raises(ValueError, match="layers holds 3; 0"):
        next(lm.forward(PROMPTS, RESPONSES, layers=[3]))
    with pytest.raises(ValueError, match="without tokens"):
        next(lm.forward([[]], [[5]]))
    with pytest.raises(ValueError, match="responses has 1 entries; 2 are wanted"):
        next(lm.forward([[4], [5]], [[5]]))
    with pytest.raises(ValueError, match="no name to find one by"):
        loaded(network)
    with pytest.raises(ValueError, match="give neither beside it"):
        loaded(lm, tokenizer)
    with pytest.raises(ValueError, match="no output layer"):
        loaded(network.base_model, tokenizer)


def test_recurrent_models_and_encoders_with_decoders_are_refused():
    from transformers import MambaConfig, MambaForCausalLM, T5Config, T5ForConditionalGeneration

    mamba = MambaForCausalLM(MambaConfig(vocab_size=83, hidden_size=8, num_hidden_layers=2, state_size=4))
    with pytest.raises(ValueError, match="recurrent state"):
        loaded(mamba, tiny_models.tokenizer())
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=83, d_model=8, d_kv=4, d_ff=8, num_layers=2, num_heads=2))
    with pytest.raises(ValueError, match="encoder with a decoder"):
        loaded(t5, tiny_models.tokenizer())


def test_a_folder_is_loaded_with_its_tokenizer(tmp_path):
    network = tiny_models.model("qwen2")
    network.save_pretrained(tmp_path)
    tiny_models.tokenizer().save_pretrained(tmp_path)
    lm = loaded(tmp_path, dtype="float32")
    (a,), (b,) = (x.forward([PROMPTS[1]], [RESPONSES[1]]) for x in (lm, loaded(network, lm.tokenizer)))
    assert (a.logprobs == b.logprobs).all() and lm.name == tmp_path.name


def test_what_transformers_does_in_silence_and_is_worked_around_here():
    from transformers import DynamicCache

    gpt2, ids, mask = tiny_models.model("gpt2"), torch.tensor([[0, 0, 0, 7, 8, 9]]), torch.tensor([[0, 0, 0, 1, 1, 1]])
    with torch.no_grad():
        wanted = gpt2(ids[:, 3:]).logits[0, -1]
        unplaced = gpt2(ids, attention_mask=mask).logits[0, -1]
        placed = gpt2(ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp_min(0)).logits[0, -1]
    torch.testing.assert_close(placed, wanted, atol=1e-4, rtol=1e-4)
    assert (unplaced - wanted).abs().max() > 0.1  # positions count the padding

    llama = loaded(tiny_models.model("llama"), tiny_models.tokenizer())
    prefix = llama.prefix([[5, 6, 7]])
    with torch.no_grad():
        llama.model(torch.tensor([[8]]), **{llama._cache_name: prefix.cache}, use_cache=False)
    assert prefix.cache.get_seq_length() == 4  # a cache grows though none was to be used
    kept = llama.prefix([[5, 6, 7]])
    copy = kept.take([0, 0])
    llama.score(copy, [[8], [9, 9]])
    assert (kept.cache.get_seq_length(), copy.cache.get_seq_length()) == (3, 5)
    assert isinstance(kept.cache, DynamicCache)

    made = llama.tokenizer.apply_chat_template([{"role": "user", "content": "a long message"}])
    assert len(made) == 2 and len(made["input_ids"]) > 10  # not tokens but two fields
