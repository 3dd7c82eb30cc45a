#!/bin/sh
# Expected: sae.decode(features) of SAELens is a function of the features and the weights: what was encoded between does not
# matter.
# Happens: with normalize_activations="layer_norm" or "constant_norm_rescale", encode keeps the scale (and mean) of each of
# its rows in the SAE, and decode takes those of the last batch. Features of ordinary activations, decoded after a batch of
# large ones was encoded, give reconstructions many times too large; a single row of features becomes as many rows as the
# last batch had. Only a decode with no encode since the last one is an error. With "none" all is well.
# Seen: 2026-12-01, Python 3.11, sae-lens 6.54.12, PyTorch 2.13.0, NumPy 2.4.6
# Hurts: who encodes two prompts, or all batches, before decoding, or edits the features of one prompt after looking at
# another: each row gets another row's scale. Encode each batch again just before its decoding.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0 sae-lens==6.54.12
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'torch', 'sae-lens']:
    print(name, importlib.metadata.version(name))
print('reconstructions hang on which batch was encoded last')

import torch
from sae_lens import StandardSAE, StandardSAEConfig

torch.manual_seed(0)
torch.set_num_threads(1)
ordinary, large = torch.randn(6, 16) * 3 + 1, torch.randn(6, 16) * 50 - 7
kept, off, rows = {}, {}, {}
with torch.no_grad():
    for name in ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm"):
        config = StandardSAEConfig(d_in=16, d_sae=64, dtype="float32", device="cpu", normalize_activations=name)
        sae = StandardSAE(config)
        for weights in sae.parameters():
            weights.add_(torch.randn_like(weights) * 0.1)
        features = sae.encode(ordinary)
        first = sae.decode(features)
        sae.encode(large)
        second = sae.decode(features)
        kept[name] = torch.equal(first, second)
        off[name] = float((second - first).norm() / first.norm())
        sae.encode(large)
        rows[name] = len(sae.decode(features[:1]))
        sae.encode(ordinary)
        print(f"{name}: norm {first.norm():.1f}, after another batch {second.norm():.1f}", end=", ")
        again = torch.equal(first, sae.decode(features))
        print(f"after the first again the same: {again}; one row of features gives {rows[name]}")
same = kept["none"] and kept["expected_average_only_in"] and rows["none"] == 1 and again
same = same and all(off[name] > 3 and rows[name] == 6 for name in ("constant_norm_rescale", "layer_norm"))
if not same:
    sys.exit("the behaviour has changed")
END
