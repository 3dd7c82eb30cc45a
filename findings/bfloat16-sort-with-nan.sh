#!/bin/sh
# Expected: numpy.sort puts NaN last, for bfloat16 as for every other float.
# Happens: NaN compares as neither smaller nor larger, so the sort stops moving: 3, NaN, 1, NaN, 2 comes back
# as it was, and numpy.unique and numpy.argsort with it. No warning.
# Seen: 2026-11-29, Python 3.11, NumPy 2.4.6, ml_dtypes 0.6.0
# Hurts: who ranks, takes quantiles or top-k of bfloat16 scores with unlabelled entries.
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
print('an array of bfloat16 with NaN is not sorted by numpy.sort')

import ml_dtypes
import numpy as np

scores = [3, np.nan, 1, np.nan, 2]
for dtype in (np.float16, ml_dtypes.bfloat16):
    print(np.dtype(dtype).name, "sorted", np.sort(np.array(scores, dtype)), "unique", np.unique(np.array(scores, dtype)))
got = np.sort(np.array(scores, ml_dtypes.bfloat16)).astype(float)
same = np.array_equal(got, scores, equal_nan=True)
if not same:
    sys.exit("the behaviour has changed")
END
