#!/bin/sh
# Expected: a forward pass of transformers refuses an argument that it does not know.
# Happens: its **kwargs take every name and the model goes on without the argument. Release 5.24 renamed
# past_key_values to cache; up to 5.23 cache=... is taken, nothing is stored in it and the tokens before are not
# seen: logits off by 3.7. A mask given as attn_mask is no mask. Neither warns.
# Seen: 2026-11-29, Python 3.11, transformers 5.23.0, torch 2.13.0, NumPy 2.4.6
# Hurts: who scores continuations from a cache with code written for another release, or mistypes a name:
# log-probabilities and states are those of other contexts.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'torch', 'transformers']:
    print(name, importlib.metadata.version(name))
print('a forward pass takes arguments it does not know and ignores them')

import inspect
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
model = LlamaForCausalLM(LlamaConfig(vocab_size=50, num_key_value_heads=2, initializer_range=0.3, **sizes)).eval()
print("cache" in inspect.signature(model.forward).parameters)
tokens = torch.arange(3, 13)[None]
padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), tokens], 1)
mask = (padded != 0).long()
off = {}
with torch.no_grad():
    wanted = model(tokens).logits[0, -1]
    for name in ("past_key_values", "cache", "kv_cache"):
        cache = DynamicCache()
        model(tokens[:, :-1], **{name: cache})
        off[name] = float((model(tokens[:, -1:], **{name: cache}).logits[0, -1] - wanted).abs().max())
    for name in ("attention_mask", "attn_mask"):
        places = (mask.cumsum(-1) - 1).clamp_min(0)
        off[name] = float((model(padded, position_ids=places, **{name: mask}).logits[0, -1] - wanted).abs().max())
for name, error in off.items():
    print(f"{name:16s} logits off by {error:.2g}")
right, ignored = ("past_key_values", "attention_mask"), ("cache", "kv_cache", "attn_mask")
same = all(off[n] < 1e-4 for n in right) and all(off[n] > 0.1 for n in ignored)
if not same:
    sys.exit("the behaviour has changed")
END
