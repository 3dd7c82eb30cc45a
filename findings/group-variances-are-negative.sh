#!/bin/sh
# Expected: a variance is not negative, and numbagg.group_nanvar gives each group what numbagg.nanvar gives it alone.
# Happens: variances by group are the mean of squares less the square of the mean, in the dtype of the rows. Of float32
# rows with mean 10,000 and standard deviation 1 numbagg's group_nanvar and numpy_groupies' numba engine return -100 to
# 100, and group_nanstd NaN for half of the groups. numpy_groupies' NumPy engine and numbagg.nanvar are right. No warning.
# Seen: 2026-11-30, Python 3.11, numbagg 0.9.6, numpy-groupies 0.16.0, numba 0.68.1, NumPy 2.4.6
# Hurts: who takes the spread inside prompts of coordinates or scores that lie off zero: within-prompt units are noise.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 numba==0.68.1 numbagg==0.9.6 \
    numpy-groupies==0.16.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'numba', 'numbagg', 'numpy-groupies']:
    print(name, importlib.metadata.version(name))
print('variances of groups off zero are negative in float32')

import numbagg
import numpy as np
import numpy_groupies

group = np.repeat(np.arange(50), 200)
rows = (np.random.default_rng(0).normal(size=group.size) + 1e4).astype(np.float32)
alone = np.array([numbagg.nanvar(rows[group == g]) for g in range(50)])
by_group = numbagg.group_nanvar(rows, group)
other = numpy_groupies.aggregate_nb(group, rows, func="var")
right = numpy_groupies.aggregate_np(group, rows, func="var")
print("each alone", alone.min(), "to", alone.max())
print("numbagg.group_nanvar", by_group.min(), "to", by_group.max())
print("numpy_groupies, numba", other.min(), "to", other.max(), "NumPy", right.min(), "to", right.max())
same = by_group.min() < -1 and other.min() < -1
same = same and 0.5 < min(alone.min(), right.min()) and max(alone.max(), right.max()) < 1.5
if not same:
    sys.exit("the behaviour has changed")
END
