#!/bin/sh
# Expected: float16 sums are pairwise in float32, as numpy.sum of a vector shows: 4096 ones give 4096.
# Happens: down the columns of an array (axis=0) the running sum is float16 and stops at 2048, where 2048 + 1
# is 2048. The same numbers along a row give 4096. numpy.mean(axis=0) is right, numpy.cumsum and
# numpy.einsum("nd->d") are not.
# Seen: 2026-11-29, Python 3.11, NumPy 2.4.6
# Hurts: who counts, weighs or sums float16 activations by column, and finds it right on a transposed or a
# short array.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy']:
    print(name, importlib.metadata.version(name))
print('the sum of 4096 ones in float16 is 2048 by column and 4096 by row')

import numpy as np

ones = np.ones((4096, 3), np.float16)
down, along = np.sum(ones, axis=0), np.sum(np.ascontiguousarray(ones.T), axis=1)
print("axis=0:", down, "the transpose, axis=1:", along, "mean:", np.mean(ones, axis=0), "einsum:", np.einsum("nd->d", ones))
same = (down == 2048).all() and (along == 4096).all()
if not same:
    sys.exit("the behaviour has changed")
END
