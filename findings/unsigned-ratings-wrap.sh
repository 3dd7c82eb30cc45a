#!/bin/sh
# Expected: Krippendorff's alpha of ratings 1 to 6 is the same in whatever dtype they are stored.
# Happens: krippendorff subtracts values in their own dtype: of unsigned integers 1 - 2 is 255, and the interval and
# ratio distances of every second pair are those of other numbers. Ratings with alpha .84 get .34 as uint8 or uint32;
# signed integers and floats are right, nominal and ordinal alpha too. No warning.
# Seen: 2026-11-30, Python 3.11, krippendorff 0.9.0, NumPy 2.4.6
# Hurts: who measures how far judges agree on ratings kept in a small dtype: good judges look useless.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 krippendorff==0.9.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'krippendorff']:
    print(name, importlib.metadata.version(name))
print('the interval alpha of unsigned ratings is that of other numbers')

import krippendorff
import numpy as np

random = np.random.default_rng(0)
truth = random.integers(1, 7, 40)
ratings = np.clip(truth + random.integers(-1, 2, (3, 40)), 1, 6)
alpha = {}
for level in ["interval", "ratio", "ordinal"]:
    for dtype in ["float64", "int8", "uint8", "uint32"]:
        data = ratings.astype(dtype)
        alpha[level, dtype] = krippendorff.alpha(reliability_data=data, level_of_measurement=level)
    print(level, {dtype: round(float(alpha[level, dtype]), 3) for dtype in ["float64", "int8", "uint8", "uint32"]})
right, cut = alpha["interval", "float64"], alpha["interval", "uint8"]
same = right > 0.75 > 0.6 > cut and abs(alpha["interval", "int8"] - right) < 1e-9
same = same and abs(alpha["ordinal", "uint8"] - alpha["ordinal", "float64"]) < 1e-9
if not same:
    sys.exit("the behaviour has changed")
END
