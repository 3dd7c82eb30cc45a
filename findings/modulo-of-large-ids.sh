#!/bin/sh
# Expected: the remainder of two int64 arrays is that of int64.
# Happens: blosc2 computes % of two int64 arrays in float64: of 2000 ids that are hashes 1702 get another remainder by 7
# than NumPy's and Python's. The result is int64, sums keep all 64 bits, and there is no warning.
# Seen: 2026-11-30, Python 3.11, blosc2 4.14.1, NumPy 2.4.6
# Hurts: who splits prompts into train and held-out by the remainder of a hashed id in compressed arrays: the split is
# another than the one computed anywhere else, and held-out prompts are trained on.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 blosc2==4.14.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'blosc2']:
    print(name, importlib.metadata.version(name))
print('remainders of large ids')

import blosc2
import numpy as np

ids = np.random.default_rng(0).integers(2**60, 2**62, 2000)
seven = np.full(2000, 7)
a, b = blosc2.asarray(ids), blosc2.asarray(seven)
rest, added = (a % b)[:], (a + b)[:]
wrong = int((rest != ids % 7).sum())
print("remainders that differ", wrong, "of 2000", rest.dtype, "sums that differ", int((added != ids + 7).sum()))
if not (wrong > 1000 and rest.dtype == np.int64 and (added == ids + 7).all()):
    sys.exit("the behaviour has changed")
END
