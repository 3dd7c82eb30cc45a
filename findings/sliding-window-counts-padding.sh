#!/bin/sh
# Expected: tokens that attention_mask hides do not matter, whichever place of a sequence they have.
# Happens: in models with sliding windows (Mistral, Gemma 2) the window is counted in places of the array, padding
# included. With padding inside a sequence, as behind a prompt padded on the right and before its response, the
# window reaches fewer tokens; position_ids and mask are right, and logits are off by 5. Padding in front is harmless.
# Seen: 2026-11-29, Python 3.11, transformers 5.24.0, torch 2.13.0, NumPy 2.4.6
# Hurts: who pads prompts to one length and scores or samples responses behind them with these models: the same
# response has other log-probabilities and states in another batch. It shows only in sequences longer than the window.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0 transformers==5.24.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'torch', 'transformers']:
    print(name, importlib.metadata.version(name))
print('padding inside a sequence shortens the sliding window')

import torch
from transformers import MistralConfig, MistralForCausalLM

sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
tokens = torch.randint(3, 50, (1, 12), generator=torch.Generator().manual_seed(0))
off = {}
for window in (7, None):
    torch.manual_seed(0)
    config = MistralConfig(vocab_size=50, num_key_value_heads=2, initializer_range=0.3, sliding_window=window, **sizes)
    for attention in ("eager", "sdpa"):
        config._attn_implementation = attention
        torch.manual_seed(0)
        model = MistralForCausalLM(config).eval()
        for at in (0, 8):  # padding of five places in front, or behind eight tokens
            hidden = torch.zeros(1, 5, dtype=torch.long)
            padded = torch.cat([tokens[:, :at], hidden, tokens[:, at:]], 1)
            mask = torch.cat([torch.ones(1, at), hidden, torch.ones(1, 12 - at)], 1).long()
            places = (mask.cumsum(-1) - 1).clamp_min(0)
            with torch.no_grad():
                got = model(padded, attention_mask=mask, position_ids=places).logits[0, -1]
                error = float((got - model(tokens).logits[0, -1]).abs().max())
            off[window, attention, at] = error
            print(f"window {window}, {attention}, padding behind {at} tokens: logits off by {error:.2g}")
same = all((error > 0.1) == (window == 7 and at == 8) for (window, _, at), error in off.items())
if not same:
    sys.exit("the behaviour has changed")
END
