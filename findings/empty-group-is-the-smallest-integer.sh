#!/bin/sh
# Expected: the sum over a group without a row is 0, as for numpy.sum of nothing, or NaN, as flox says of floats.
# Happens: flox's groupby_reduce with expected_groups= casts NaN to the dtype of the result: a sum or a maximum of int64,
# and a sum of booleans, is -9223372036854775808 for a group without a row, a maximum or a minimum of booleans is True,
# and that of uint8 0. xarray's groupby with labels and flox installed gives the same. Means and counts are right. No
# warning.
# Seen: 2026-11-30, x86-64, Python 3.11, flox 0.11.2, xarray 2026.9.0, numpy-groupies 0.16.0, pandas 2.3.3, NumPy 2.4.6
# Hurts: who counts correct responses by prompt with a list of all prompts: a prompt without a response counts as solved
# by the maximum, and the sum over prompts is -9e18. Pass fill_value=0 to flox, or convert to float64 first.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 \
    numpy-groupies==0.16.0 xarray==2026.9.0 flox==0.11.2
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys, warnings
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pandas', 'numpy-groupies', 'xarray', 'flox']:
    print(name, importlib.metadata.version(name))
print('a prompt without a response has -2^63 correct ones, and is solved')

import numpy as np
import xarray as xr
from flox.core import groupby_reduce
from xarray.groupers import UniqueGrouper

prompts, names = np.array([0, 0, 1, 3, 3]), np.arange(4)
correct = np.array([True, False, True, True, False])
seen, others = {}, set()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for dtype in (bool, np.int64, np.uint8, np.float64):
        for func in ("sum", "max", "min", "mean", "count"):
            result, _ = groupby_reduce(correct.astype(dtype), prompts, func=func, expected_groups=names)
            seen[np.dtype(dtype).name, func] = result[2].item()
        print("prompt 2, which has no row, as", np.dtype(dtype), {f: seen[np.dtype(dtype).name, f] for f in ("sum", "max", "mean")})
    values = xr.DataArray(correct, dims="row", coords={"prompt": ("row", prompts)})
    groups = values.groupby(prompt=UniqueGrouper(labels=list(names)))
    sums, best = groups.sum().values, groups.max().values
    filled, _ = groupby_reduce(correct, prompts, func="sum", expected_groups=names, fill_value=0)
print("xarray sums", sums.tolist(), "maxima", best.tolist(), "flox with fill_value=0", filled.tolist())
print("warnings", sorted({str(w.message) for w in said}))
lowest = -(2**63)
same = seen["bool", "sum"] == seen["int64", "sum"] == seen["int64", "max"] == lowest == sums[2]
same = same and seen["bool", "max"] and seen["uint8", "max"] == 0 and best.all() and filled.tolist() == [1, 1, 0, 1]
same = same and all(np.isnan(seen["float64", func]) for func in ("sum", "max", "mean")) and np.isnan(seen["bool", "mean"])
if not same:
    sys.exit("the behaviour has changed")
END
