#!/bin/sh
# Expected: the CRPS of counts is a mean of fractions, whatever dtype observations and forecasts have.
# Happens: with backend="numba" scoringrules writes each score into an array of the dtype of the observations: those of
# the estimators "pwm", "akr" and "int" of int64 are cut to whole numbers, a mean of 1.66 becomes 1.19. "qd" is right,
# and so is every estimator without numba. No warning.
# Seen: 2026-11-30, Python 3.11, scoringrules 0.10.0, numba 0.68.1, NumPy 2.4.6
# Hurts: who scores forecasts of counts or ratings: every score loses its fraction, good forecasts become perfect ones.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 numba==0.68.1 scoringrules==0.10.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'numba', 'scoringrules']:
    print(name, importlib.metadata.version(name))
print('scores of integers are cut to integers with numba')

import numpy as np
import scoringrules

random = np.random.default_rng(0)
observed, forecast = random.integers(0, 10, 200), random.integers(0, 10, (200, 7))
mean = {}
for estimator in ["qd", "pwm", "akr", "int"]:
    for dtype in ["int64", "float64"]:
        x, y = observed.astype(dtype), forecast.astype(dtype)
        scores = scoringrules.crps_ensemble(x, y, estimator=estimator, backend="numba")
        mean[estimator, dtype] = float(np.mean(scores))
    print(estimator, {dtype: round(mean[estimator, dtype], 4) for dtype in ["int64", "float64"]})
same = abs(mean["qd", "int64"] - mean["qd", "float64"]) < 1e-9
same = same and all(mean[e, "int64"] < mean[e, "float64"] - 0.3 for e in ["pwm", "akr", "int"])
if not same:
    sys.exit("the behaviour has changed")
END
