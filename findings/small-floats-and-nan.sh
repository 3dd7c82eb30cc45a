#!/bin/sh
# Expected: beyond their range small floats saturate, and NaN stays NaN or is refused.
# Happens: each does another thing: float8_e4m3fn makes 448 of 460 but NaN of 470, float4_e2m1fn makes 6 of
# 100 and -0 of NaN, float6_e2m3fn -0 of NaN, int4 makes -8 of 8. All without a word.
# Seen: 2026-11-29, Python 3.11, NumPy 2.4.6, ml_dtypes 0.6.0
# Hurts: who stores labels or activations in four to eight bits: unlabelled entries become zeros, outliers
# NaN.
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
print('NaN becomes 0 in four and six bits, 470 becomes NaN in eight')

import ml_dtypes
import numpy as np

eight = np.array([448.0, 460, 470, 1e9]).astype(ml_dtypes.float8_e4m3fn).astype(float)
four = np.array([5.0, 100, np.nan]).astype(ml_dtypes.float4_e2m1fn).astype(float)
six = np.array([np.nan]).astype(ml_dtypes.float6_e2m3fn).astype(float)
whole = np.array([7, 8]).astype(ml_dtypes.int4).astype(int)
print("float8_e4m3fn of 448, 460, 470, 1e9:", eight)
print("float4_e2m1fn of 5, 100, NaN:", four, "float6_e2m3fn of NaN:", six, "int4 of 7, 8:", whole)
same = bool(np.isnan(eight[2]) and four[1] == 6 and four[2] == 0 and six[0] == 0 and whole[1] == -8)
if not same:
    sys.exit("the behaviour has changed")
END
