#!/bin/sh
# Expected: a filter that stores scaled numbers in one byte saturates beyond its range, and keeps or refuses NaN.
# Happens: FixedScaleOffset of numcodecs, a filter of Zarr arrays, wraps around: with scale 10 in uint8, 25.7 is read
# back as .1 and -1 as 24.6; NaN becomes 0. No error; at most NumPy's warning of an invalid cast for NaN.
# Seen: 2026-11-30, Python 3.11, numcodecs 0.16.6, NumPy 2.4.6
# Hurts: who keeps scores or labels in bytes by a scale that a pilot gave: the largest become the smallest, and rows
# without a label get 0.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 numcodecs==0.16.6
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'numcodecs']:
    print(name, importlib.metadata.version(name))
print('numbers beyond the range of a scaled byte come back at its other end')

import warnings

import numcodecs
import numpy as np

warnings.simplefilter("ignore")
codec = numcodecs.FixedScaleOffset(offset=0, scale=10, dtype="f8", astype="u1")
values = np.array([1.0, 25.5, 25.7, -1.0, np.nan])
back = codec.decode(codec.encode(values))
print("written", values, "read", back)
same = bool(np.allclose(back, [1, 25.5, 0.1, 24.6, 0]))
if not same:
    sys.exit("the behaviour has changed")
END
