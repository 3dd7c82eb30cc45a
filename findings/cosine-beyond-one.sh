#!/bin/sh
# Expected: the cosine similarity of two columns lies between -1 and 1, and that of a column with itself is 1.
# Happens: cosine_sim of polars-ds divides by the square root of the product of the two norms, not by the product. The
# similarity of 1, 2, 3 with itself is 3.74, with its double 5.29, and of 4096 rows it is 60 where it should be 0.89.
# Columns of length 1 are right, and so is weighted_cosine_sim with weights of 1. No warning.
# Seen: 2026-11-30, Python 3.11, polars-ds 0.13.0, polars 2.1.0, NumPy 2.4.6
# Hurts: who compares directions or scores column by column: pairs are ranked by their lengths as well, and a threshold
# of 0.9 lets nearly all pairs of long columns pass. Normalise the columns first.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 polars==2.1.0 polars-ds==0.13.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'polars', 'polars-ds']:
    print(name, importlib.metadata.version(name))
print('the cosine similarity of a column with itself is not 1')

import numpy as np
import polars as pl
import polars_ds as pds


def cosine(x, y):
    return pl.DataFrame({"x": x, "y": y}).select(pds.cosine_sim("x", "y")).item()


x = np.array([1.0, 2.0, 3.0])
itself, doubled = cosine(x, x), cosine(x, 2 * x)
unit = cosine(x / np.linalg.norm(x), x / np.linalg.norm(x))
print("of 1, 2, 3 with itself", round(itself, 4), "with its double", round(doubled, 4), "of the unit column", round(unit, 4))
weighted = pl.DataFrame({"x": x, "w": np.ones(3)}).select(pds.weighted_cosine_sim("x", "x", "w")).item()
print("weighted_cosine_sim with weights of 1", round(weighted, 4))

rng = np.random.default_rng(0)
direction = rng.normal(size=4096)
near = direction + 0.5 * rng.normal(size=4096)
far = 10 * (direction + 3 * rng.normal(size=4096))
true = [float(v @ direction / np.linalg.norm(v) / np.linalg.norm(direction)) for v in (near, far)]
theirs = [cosine(v, direction) for v in (near, far)]
print("a near column and a long far one, by NumPy", np.round(true, 3).tolist(), "by polars-ds", np.round(theirs, 3).tolist())
same = abs(itself - 14**0.5) < 1e-9 and abs(doubled - 28**0.5) < 1e-9 and abs(unit - 1) < 1e-9
same = same and abs(weighted - 1) < 1e-9 and true[0] > true[1] and theirs[0] < theirs[1]
if not same:
    sys.exit("the behaviour has changed")
END
