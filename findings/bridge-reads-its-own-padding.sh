#!/bin/sh
# Expected: TransformerBridge.run_with_cache(texts) and run_with_cache(bridge.to_tokens(texts)) are one thing.
# Happens: given texts the bridge masks the padding, given the tokens that it made of them it does not. With a
# tokenizer that pads on the left, as chat models' do, every state of the shorter texts is that of a text that
# begins with padding: off by 29 where coordinates reach 13. With padding on the right the two agree.
# Seen: 2026-11-29, Python 3.11, transformer-lens 4.3.0, transformers 5.24.0, torch 2.13.0
# Hurts: who makes tokens once and takes activations of batches from them: rows depend on the longest text of
# their batch. Pass attention_mask=, or single sequences.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 transformer-lens==4.3.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['torch', 'transformers', 'transformer-lens']:
    print(name, importlib.metadata.version(name))
print('tokens that TransformerLens padded are read without their mask')

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformer_lens.model_bridge import TransformerBridge

words = {t: i for i, t in enumerate(["<pad>", "<bos>", "<eos>", *"abcdefgh"])}
letters = Tokenizer(models.BPE(words, []))
letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
marks = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=11, num_key_value_heads=2, initializer_range=0.3, **sizes))
texts, site, off = ["abc", "abcdefgh" * 2], "blocks.1.hook_resid_post", {}
for side in ("left", "right"):
    model.save_pretrained(side)
    PreTrainedTokenizerFast(tokenizer_object=letters, padding_side=side, **marks).save_pretrained(side)
    bridge = TransformerBridge.boot_transformers(side)
    tokens = bridge.to_tokens(texts)
    print(side, tokens[0].tolist())
    with torch.no_grad():
        alone = bridge.run_with_cache(texts[0])[1][site][0]
        at = slice(-len(alone), None) if side == "left" else slice(len(alone))
        mask = (tokens != 0).long()
        ways = {"texts": (texts, {}), "tokens": (tokens, {}), "tokens and mask": (tokens, {"attention_mask": mask})}
        for way, (given, more) in ways.items():
            state = bridge.run_with_cache(given, **more)[1][site][0]
            off[side, way] = float((state[at] - alone).abs().max())
            print(f"{side}, {way}: states off by {off[side, way]:.2g}, of size {float(alone.abs().max()):.2g}")
same = all((error > 0.1) == (way == ("left", "tokens")) for way, error in off.items())
if not same:
    sys.exit("the behaviour has changed")
END
