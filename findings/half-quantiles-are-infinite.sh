#!/bin/sh
# Expected: the median of finite numbers lies between them, and their standard deviation is at most half of
# their range.
# Happens: numpy.quantile interpolates with a difference that float16 does not hold: the 0.5 quantile of
# 60000 and -60000 is -inf, their standard deviation inf, while numpy.median is 0. All that is said is a
# RuntimeWarning of an overflow.
# Seen: 2026-11-29, Python 3.11, NumPy 2.4.6
# Hurts: who clips or normalises float16 activations by quantiles: models have coordinates of 10^4 and more.
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
print('numpy.quantile of finite float16 numbers is -inf')

import warnings

import numpy as np

warnings.simplefilter("ignore")
pair = np.array([60000, -60000], np.float16)
print("quantile", np.quantile(pair, 0.5), "percentile", np.percentile(pair, 50), "median", np.median(pair), "std", np.std(pair))
same = bool(np.isneginf(np.quantile(pair, 0.5)) and np.isposinf(np.std(pair)))
if not same:
    sys.exit("the behaviour has changed")
END
