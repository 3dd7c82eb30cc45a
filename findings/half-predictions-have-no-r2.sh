#!/bin/sh
# Expected: metrics compute in float64, whatever the predictions are stored in.
# Happens: r2_score sums squares in float16: 50,000 float16 labels with standard deviation 100 overflow, and
# R^2 of a good prediction is nan where float64 says 0.990. mean_squared_error of the same arrays is right.
# Seen: 2026-11-29, Python 3.11, scikit-learn 1.9.1, NumPy 2.4.6
# Hurts: who scores a probe on float16 labels and predictions; a search over hyperparameters may rank nan or
# stop.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'scikit-learn']:
    print(name, importlib.metadata.version(name))
print('r2_score of finite float16 arrays is nan')

import warnings

import numpy as np
from sklearn.metrics import mean_squared_error, r2_score

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
label = rng.normal(size=50_000) * 100
guess = label + rng.normal(size=50_000) * 10
halves = label.astype(np.float16), guess.astype(np.float16)
print("float64:", r2_score(label, guess), "float16:", r2_score(*halves), "mse of float16:", mean_squared_error(*halves))
same = bool(np.isnan(r2_score(*halves))) and abs(r2_score(label, guess) - 0.99) < 0.01
if not same:
    sys.exit("the behaviour has changed")
END
