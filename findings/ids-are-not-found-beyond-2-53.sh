#!/bin/sh
# Expected: == and % of int64 arrays are computed in int64.
# Happens: blosc2 sends an integer that does not fit 32 bits to its engine as a float64, and takes remainders of int64
# in float64 even between two int64 arrays. An id beyond 2^53 is found nowhere (== of it is False everywhere, >= is
# right); of 2000 ids of 63 bits 1997 have another remainder by 1000. Remainders of negative numbers have C's sign. +, -
# and // are right, and the dtype is int64 throughout. No warning.
# Seen: 2026-11-30, Python 3.11, blosc2 4.14.1, NumPy 2.4.6
# Hurts: who keeps hashed ids beside activations and selects rows, or splits prompts into folds, by them.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 blosc2==4.14.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'blosc2']:
    print(name, importlib.metadata.version(name))
print('ids beyond 2^53 are not found, and their remainders are others')

import blosc2
import numpy as np

ids = np.random.default_rng(0).integers(2**62, 2**63 - 1, 2000)
stored = blosc2.asarray(ids)
copy = blosc2.asarray(ids.copy())
thousand = blosc2.asarray(np.full(2000, 1000))
found = [int((stored == int(one))[:].sum()) for one in ids[:100]]
remainder = (stored % thousand)[:]
negative = (blosc2.asarray(np.array([-7, 7])) % blosc2.asarray(np.array([4, 4])))[:]
print("ids found by their value:", sum(found), "of 100; equal to a copy:", int((stored == copy)[:].sum()), "of 2000")
print("other remainders:", int((remainder != ids % 1000).sum()), "of 2000", remainder.dtype, "-7 % 4 =", negative[0])
right = (stored + 1)[:], (stored - copy)[:], (stored // thousand)[:]
exact = [np.array_equal(a, b) for a, b in zip(right, [ids + 1, ids * 0, ids // 1000])]
print("+, - and // right:", exact)
same = sum(found) == 0 and int((remainder != ids % 1000).sum()) > 1000 and negative[0] == -3 and all(exact)
if not same:
    sys.exit("the behaviour has changed")
END
