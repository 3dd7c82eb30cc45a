"""Causal language models of random weights and a tokenizer, made in a moment without any download."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?'-\n<>|_()"
SPECIAL = ("<pad>", "<bos>", "<eos>")
VOCABULARY = len(SPECIAL) + len(ALPHABET)
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_SHARED = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_WIDE = _SHARED | {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
ARCHITECTURES = ("llama", "gpt2", "qwen2", "gemma2")


def model(architecture: str = "llama", *, seed: int = 0, dtype: torch.dtype = torch.float32, **changed: Any) -> Any:
    """A model of two layers whose next-token distributions are far from uniform."""
    torch.manual_seed(seed)
    if architecture == "gpt2":
        gpt2 = {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.3}
        made: Any = GPT2LMHeadModel(GPT2Config(**{**_SHARED, **gpt2, **changed}))
    elif architecture == "gpt_neo":  # the first layer sees a window, by a name of its own
        neo = {
            "hidden_size": 24, "num_layers": 2, "num_heads": 4, "attention_types": [[["local", "global"], 1]],
            "window_size": 7, "max_position_embeddings": 256, "initializer_range": 0.3,
        }  # fmt: skip
        made = GPTNeoForCausalLM(GPTNeoConfig(**{**_SHARED, **neo, **changed}))
    elif architecture == "gemma2":  # caps its logits, and every other layer sees a window
        gemma = {"head_dim": 6, "sliding_window": 7, "query_pre_attn_scalar": 6, "initializer_range": 0.3}
        made = Gemma2ForCausalLM(Gemma2Config(**{**_WIDE, **gemma, **changed}))
    else:
        kinds = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
        config, kind = kinds[architecture]
        made = kind(config(**{**_WIDE, "initializer_range": 0.3, **changed}))
    return made.to(dtype).eval()


def tokenizer(*, template: str | None = TEMPLATE, padding_side: str = "left") -> PreTrainedTokenizerFast:
    """One token a character."""
    vocabulary = {t: i for i, t in enumerate((*SPECIAL, *ALPHABET))}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token=None))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, padding_side=padding_side, **names)
    wrapped.chat_template = template
    return wrapped
