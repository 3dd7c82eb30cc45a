#!/bin/sh
# Expected: weighted agreement of ratings "1", "2", ..., "10" is that of the numbers, or the texts are refused.
# Happens: irrCAC weighs texts by their place in alphabetical order, "1", "10", "2", "3": 9 and 10 are far apart. The
# ratings of two judges who differ by one at most have quadratic alpha .96 as numbers and .64 as texts. No warning.
# Seen: 2026-11-30, Python 3.11, irrCAC 0.4.4, pandas 2.3.3, NumPy 1.26.4
# Hurts: who reads a judge's ratings out of JSON or answers, where they are texts, and goes to 10: agreement is wrong
# for linear, quadratic and ordinal weights, and right for a scale of 1 to 9.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==1.26.4 scipy==1.12.0 pandas==2.3.3 irrCAC==0.4.4
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'pandas', 'irrCAC']:
    print(name, importlib.metadata.version(name))
print('ratings that are texts are weighed in alphabetical order')

import numpy as np
import pandas as pd
from irrCAC.raw import CAC

random = np.random.default_rng(0)
first = random.integers(1, 11, 100)
ratings = np.c_[first, np.clip(first + random.integers(-1, 2, 100), 1, 10)]
alpha = {}
for weights in ["identity", "linear", "quadratic", "ordinal"]:
    for name, table in [("numbers", ratings), ("texts", ratings.astype(str))]:
        result = CAC(pd.DataFrame(table), weights=weights).krippendorff()
        alpha[weights, name] = float(result["est"]["coefficient_value"])
    print(weights, {name: alpha[weights, name] for name in ["numbers", "texts"]})
same = alpha["identity", "numbers"] == alpha["identity", "texts"]
same = same and all(alpha[w, "numbers"] > alpha[w, "texts"] + 0.1 for w in ["linear", "quadratic", "ordinal"])
if not same:
    sys.exit("the behaviour has changed")
END
