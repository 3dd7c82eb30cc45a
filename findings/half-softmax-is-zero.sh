#!/bin/sh
# Expected: softmax sums to 1, whatever the dtype; logsumexp exists so that nothing overflows.
# Happens: scipy.special.softmax and logsumexp add in the dtype they are given. Over more than 65504 equal
# float16 logits the sum is inf: every probability is 0 and logsumexp is inf.
# Seen: 2026-11-29, Python 3.11, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who turns float16 logits over a vocabulary of 128,000 into log-probabilities: those of flat
# distributions are lost, those of peaked ones lose digits.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy']:
    print(name, importlib.metadata.version(name))
print('softmax of 70,000 equal float16 logits is 0 everywhere')

import warnings

import numpy as np
from scipy.special import logsumexp, softmax

warnings.simplefilter("ignore")
flat = np.zeros(70_000, np.float16)
total = softmax(flat).astype(float).sum()
print("sum of softmax:", total, "in float32:", softmax(flat.astype(np.float32)).astype(float).sum())
print("logsumexp:", logsumexp(flat), "in float32:", logsumexp(flat.astype(np.float32)))
same = total == 0 and bool(np.isposinf(logsumexp(flat)))
if not same:
    sys.exit("the behaviour has changed")
END
