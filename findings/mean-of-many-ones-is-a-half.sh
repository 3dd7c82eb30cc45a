#!/bin/sh
# Expected: the mean of 2^25 float32 ones is 1, as NumPy, PyTorch and JAX have it, and that of 100,000 float16 ones too.
# Happens: MLX on a CPU adds a whole array in its own dtype with few running sums: float32 stops near 2^24, so the mean
# of 2^25 ones is .5 and their sum 2^24, along one axis as well; the mean of 100,000 float16 ones is inf. No warning.
# Seen: 2026-11-30, Python 3.11, mlx 0.32.4 with its CPU backend, NumPy 2.4.6
# Hurts: who averages scores, masks or losses of many tokens: 33 million entries are 8,000 rows of 4,096.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 "mlx[cpu]==0.32.4"
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'mlx']:
    print(name, importlib.metadata.version(name))
print('the mean of 2^25 ones is a half')

import mlx.core as mx
import numpy as np

ones = mx.ones((2**25,))
down = mx.ones((2**25, 1)).mean(axis=0)
half = mx.ones((100_000,), dtype=mx.float16).mean()
numpy = np.ones(2**25, "float32").mean(), np.ones(100_000, "float16").mean()
print("mean", ones.mean().item(), "sum", ones.sum().item(), "axis 0", down.item(), "float16", half.item())
print("NumPy's means", numpy)
same = ones.mean().item() == 0.5 and ones.sum().item() == 2**24 and down.item() == 0.5 and half.item() == float("inf")
same = same and numpy == (1, 1)
if not same:
    sys.exit("the behaviour has changed")
END
