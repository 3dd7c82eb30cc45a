#!/bin/sh
# Expected: PCA centres rows before anything else, so their mean does not matter.
# Happens: with at most 1000 columns and ten times as many rows, the default solver forms X'X in the dtype of
# X and subtracts n mean mean'. In float32, rows whose mean is 100 standard deviations have a first variance
# a tenth too large and a last one of 0; at 1000 the first is 58 times too large. svd_solver="full" is right.
# Seen: 2026-11-29, Python 3.11, scikit-learn 1.9.1, NumPy 2.4.6
# Hurts: who runs PCA, or reads an effective rank off it, on float32 hidden states, whose coordinates are
# seldom centred.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'scikit-learn']:
    print(name, importlib.metadata.version(name))
print('PCA of float32 rows far from 0 gives wrong variances, without a warning')

import numpy as np
from sklearn.decomposition import PCA

rows = np.random.default_rng(0).normal(size=(20_000, 32)) * np.linspace(0.1, 1, 32)
true = np.linalg.eigvalsh(np.cov(rows, rowvar=False))[::-1]
print("true", true[[0, -1]].round(5))
worst = []
for mean in (0, 100, 1000):
    moved = (rows + mean).astype(np.float32)
    usual, full = (PCA(svd_solver=s).fit(moved).explained_variance_ for s in ("auto", "full"))
    print("mean", mean, "auto", usual[[0, -1]].round(5), "full", full[[0, -1]].round(5))
    worst.append((usual[0] / true[0], full[0] / true[0]))
same = worst[2][0] > 10 and abs(worst[2][1] - 1) < 1e-3 and abs(worst[0][0] - 1) < 1e-3
if not same:
    sys.exit("the behaviour has changed")
END
