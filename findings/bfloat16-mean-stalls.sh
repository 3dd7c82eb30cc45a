#!/bin/sh
# Expected: numpy.mean sums half-precision numbers in a wider dtype, as it does for float16.
# Happens: for ml_dtypes.bfloat16 it adds in bfloat16, where 256 + 1 is 256: the mean of 4096 ones is 0.0625,
# and numpy.std and numpy.average are as wrong. numpy.nanmean does not even leave NaN out. With weights=, or
# dtype=numpy.float32, all is right.
# Seen: 2026-11-29, Python 3.11, NumPy 2.4.6, ml_dtypes 0.6.0
# Hurts: who averages bfloat16 activations or scores in NumPy, as they come from JAX or safetensors.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 ml_dtypes==0.6.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'ml_dtypes']:
    print(name, importlib.metadata.version(name))
print('means of bfloat16 stall at 256 / n, and nanmean keeps NaN')

import ml_dtypes
import numpy as np

ones = np.ones(4096, ml_dtypes.bfloat16)
gaps = np.array([1, np.nan, 3], ml_dtypes.bfloat16)
print("mean of 4096 ones:", np.mean(ones), "in float32:", np.mean(ones, dtype=np.float32))
print("std of 0 ... 999:", np.std(np.arange(1000).astype(ml_dtypes.bfloat16)), "in float64:", np.std(np.arange(1000.0)))
print("nanmean of 1, NaN, 3:", np.nanmean(gaps), "nanmedian:", np.nanmedian(gaps))
same = float(np.mean(ones)) == 0.0625 and bool(np.isnan(np.nanmean(gaps).astype(float)))
if not same:
    sys.exit("the behaviour has changed")
END
