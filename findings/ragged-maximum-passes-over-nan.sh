#!/bin/sh
# Expected: the largest of 1, NaN and 3 is NaN, as in NumPy, whose names Awkward Array takes and beside which it has
# nanmax; the largest of nothing but NaN is no number.
# Happens: ak.max passes over NaN and says 3; of a group of NaN alone it says -inf, and ak.min inf. ak.mean and ak.sum of
# the same groups are NaN. ak.sort puts NaN first, where NumPy has it last. No warning.
# Seen: 2026-11-30, Python 3.11, awkward 2.14.0, NumPy 2.4.6
# Hurts: who keeps scores as lists by prompt and takes the best of n: a missing score goes unseen, and a prompt without
# any is worth -inf, which a mean over prompts does not survive.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 awkward==2.14.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'awkward']:
    print(name, importlib.metadata.version(name))
print('ak.max passes over NaN, and makes -inf of a group of NaN')

import awkward as ak
import numpy as np

scores = ak.Array([[1.0, np.nan, 3.0], [np.nan, np.nan], [2.0, 5.0]])
largest, least = ak.max(scores, axis=1), ak.min(scores, axis=1)
print("max", largest.tolist(), "min", least.tolist(), "mean", ak.mean(scores, axis=1).tolist())
print("NumPy", [float(np.max(x)) for x in scores.tolist()])
order = ak.sort(ak.Array([[3.0, np.nan, 1.0]]), axis=1).tolist()[0]
print("sorted", order, "NumPy", np.sort([3.0, np.nan, 1.0]).tolist())
same = largest.tolist() == [3.0, -np.inf, 5.0] and least.tolist() == [1.0, np.inf, 2.0] and np.isnan(order[0])
same = same and np.isnan(ak.mean(scores, axis=1).to_numpy()[:2]).all()
if not same:
    sys.exit("the behaviour has changed")
END
