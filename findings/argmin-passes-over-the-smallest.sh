#!/bin/sh
# Expected: argmin of int8 numbers in PyTensor is the place of the smallest, where min stands.
# Happens: it is written as argmax of the negatives, and -(-128) is -128 again: argmin passes over the smallest number that
# its dtype holds, -128 in int8, and the same in int16, int32 and int64. The argmin of 3, -128 and 5 is 0, though min is
# -128. In mode FAST_COMPILE min goes wrong in the same way. max, argmax, argsort and unsigned integers are right.
# Seen: 2026-12-01, Python 3.11, pytensor 3.0.7, numba 0.65.1, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who looks for the least unit or token in activations that are quantised to eight bits, in which -128 is where all
# large negative numbers end, or for a mark of what is missing in integers: another place is named. Widen before, as in
# x.astype("int16").argmin(axis=1), or take argsort.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 \
    numba==0.65.1 pytensor==3.0.7
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'numba', 'pytensor']:
    print(name, importlib.metadata.version(name))
print('argmin passes over the smallest number of its dtype')

import numpy as np
import pytensor
import pytensor.tensor as pt

places = {}
for dtype in ("int8", "int16", "int32", "int64", "uint8"):
    rows = np.array([[3, np.iinfo(dtype).min, 5], [2, 7, 1]], dtype)
    matrix = pt.matrix("rows", dtype=dtype)
    asked = [function(matrix, axis=1) for function in (pt.argmin, pt.min, pt.argmax)]
    places[dtype], *others = (found.tolist() for found in pytensor.function([matrix], asked)(rows))
    print(f"{dtype}, rows {rows.tolist()}: argmin {places[dtype]}, min and argmax {others}")
    assert others == [rows.min(1).tolist(), rows.argmax(1).tolist()]
rng = np.random.default_rng(0)
activations = np.clip(np.round(rng.normal(size=(2000, 64)) * 50), -128, 127).astype("int8")
lowest = activations.min(1)
matrix = pt.matrix("activations", dtype="int8")
named = pytensor.function([matrix], matrix.argmin(axis=1))(activations)
wide = pytensor.function([matrix], matrix.astype("int16").argmin(axis=1))(activations)
fast = pytensor.function([matrix], matrix.min(axis=1), mode="FAST_COMPILE")(activations)
there = np.take_along_axis(activations, named[:, None], 1)[:, 0]
print(f"2000 rows of quantised activations, {(lowest == -128).sum()} with -128: argmin names another number in", end=" ")
print(f"{(there != lowest).sum()}, of int16 in {(wide != activations.argmin(1)).sum()}; mean of the minima", end=" ")
print(f"{lowest.mean():.1f}, of what argmin names {there.mean():.1f}, of min in FAST_COMPILE {fast.mean():.1f}")
same = all(places[dtype] == [0, 2] for dtype in ("int8", "int16", "int32", "int64")) and places["uint8"] == [1, 2]
same = same and np.array_equal(there != lowest, lowest == -128) and (there != lowest).sum() > 500
same = same and np.array_equal(wide, activations.argmin(1)) and np.array_equal(fast, there)
if not same:
    sys.exit("the behaviour has changed")
END
