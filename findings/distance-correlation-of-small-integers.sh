#!/bin/sh
# Expected: a distance correlation lies between 0 and 1, whatever dtype its two samples have.
# Happens: dcor's fast algorithm for single columns, its default, computes with products in the dtype given: of uint8
# ratings it returns a million. energy_distance of the same is below 0 instead of .55. int64 and floats are right. The
# one warning is of speed.
# Seen: 2026-11-30, Python 3.11, dcor 0.7, numba 0.68.1, NumPy 2.4.6
# Hurts: who tests whether a judge's ratings hang together with length or with other ratings kept in eight bits.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 numba==0.68.1 dcor==0.7
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'numba', 'dcor']:
    print(name, importlib.metadata.version(name))
print('distances of unsigned integers are those of other numbers')

import warnings

import dcor
import numpy as np

warnings.simplefilter("ignore")
random = np.random.default_rng(0)
x = random.integers(0, 200, 80)
y = np.clip(x + random.integers(-30, 30, 80), 0, 255)
got = {}
for dtype in ["float64", "int64", "uint8"]:
    a, b = x.astype(dtype), y.astype(dtype)
    got[dtype] = float(dcor.distance_correlation(a, b)), float(dcor.energy_distance(a[:, None], b[:, None]))
    print(dtype, "distance correlation", got[dtype][0], "energy distance", got[dtype][1])
same = np.allclose(got["int64"], got["float64"]) and 0.9 < got["float64"][0] < 1 < got["uint8"][0]
same = same and got["uint8"][1] < 0.3 < got["float64"][1]
if not same:
    sys.exit("the behaviour has changed")
END
