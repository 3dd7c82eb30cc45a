#!/bin/sh
# Expected: the median of a group of two numbers is their mean, whatever the dtype of the column that groups; FireDucks is
# used in the place of pandas, with the same results.
# Happens: if the grouping column is of 8 or 16 bits (int8, uint8, int16, uint16), groups of exactly two rows get the smaller
# of their two numbers as median. Groups of other sizes are right, and so is each group where the column is int32, int64
# or text, so the wrong ones do not stand out.
# Seen: 2026-12-01, Python 3.11, fireducks 1.4.4, pandas 2.3.3, NumPy 2.4.6
# Hurts: who takes the median score of two judges or of two responses, by prompts whose numbers are category codes (int8 and
# int16 in pandas) or were stored small: it is the lower score, and the medians of all prompts together are too low.
# Convert the column before: astype("int64").
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pandas==2.3.3 fireducks==1.4.4
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pandas', 'fireducks']:
    print(name, importlib.metadata.version(name))
print('groups of two rows with small integer keys have the lower value as median')

import fireducks.pandas
import numpy as np
import pandas

rng = np.random.default_rng(0)
sizes = np.resize([1, 2, 3, 4, 5, 6], 120)
order = rng.permutation(sizes.sum())
prompts, scores = np.repeat(np.arange(120), sizes)[order], rng.normal(size=len(order))
wrong, lower = {}, {}
least = pandas.Series(scores).groupby(prompts).min().to_numpy()
for dtype in ("int8", "uint8", "int16", "uint16", "int32", "int64", "str"):
    names = [f"p{prompt:03d}" for prompt in prompts]
    table = {"prompt": names if dtype == "str" else prompts.astype(dtype), "score": scores}
    true = pandas.DataFrame(table).groupby("prompt")["score"].median()
    seen = fireducks.pandas.DataFrame(table).groupby("prompt")["score"].median().to_pandas()
    off = ~np.isclose(seen, true)
    wrong[dtype] = {size: int(off[sizes == size].sum()) for size in range(1, 7)}
    lower[dtype] = bool(np.array_equal(seen[sizes == 2], least[sizes == 2]))
    print(f"{dtype}: wrong medians of 20 by number of rows {wrong[dtype]}, of two rows the lower: {lower[dtype]}")
frame = {"prompt": np.repeat([f"prompt {k}" for k in range(100)], 2), "score": rng.normal(size=200)}
means = {}
for library in (pandas, fireducks.pandas):
    pairs = library.DataFrame(frame)
    pairs["code"] = pairs["prompt"].astype("category").cat.codes
    means[library.__name__] = float(pairs.groupby("code")["score"].median().mean())
    print(f"{library.__name__}: {pairs['code'].dtype} codes, mean of 100 medians of pairs {means[library.__name__]:.4f}")
small = ("int8", "uint8", "int16", "uint16")
same = all(wrong[dtype] == {1: 0, 2: 20, 3: 0, 4: 0, 5: 0, 6: 0} and lower[dtype] for dtype in small)
same = same and all(max(wrong[dtype].values()) == 0 for dtype in wrong if dtype not in small)
same = same and means["fireducks.pandas"] < means["pandas"] - 0.3
if not same:
    sys.exit("the behaviour has changed")
END
