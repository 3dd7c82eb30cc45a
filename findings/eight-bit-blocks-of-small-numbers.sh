#!/bin/sh
# Expected: Q8_0 of GGUF has a scale for each block of 32 numbers, so its error is below 1 % of the block's largest
# number, whatever the size of the numbers.
# Happens: the scale is a float16, that largest number over 127. Below 0.008 it is subnormal: rows of size 1e-5 are
# off by a tenth, of 1e-6 keep a cosine of 0.1 with what was written, of 1e-7 are zeros. Scaled to size 1 they are right.
# Seen: 2026-11-29, Python 3.11, gguf 0.19.0, NumPy 2.4.6
# Hurts: who keeps gradients, probe directions or steering vectors in GGUF files in eight bits: small ones lose
# their direction or vanish, though each file's blocks are said to scale themselves.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 gguf==0.19.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'gguf']:
    print(name, importlib.metadata.version(name))
print('blocks of small numbers have large errors or are zero in Q8_0')

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import quants

row = np.random.default_rng(0).standard_normal((1, 4096)).astype(np.float32)


def error(scale):
    with np.errstate(over="ignore", invalid="ignore"):
        read = quants.dequantize(quants.quantize(row * np.float32(scale), Kind.Q8_0), Kind.Q8_0) / np.float32(scale)
    cosine = float((read * row).sum() / np.linalg.norm(read) / np.linalg.norm(row)) if read.any() else 0.0
    return float(np.abs(read - row).max() / np.abs(row).max()), round(cosine, 4)


errors = {scale: error(scale) for scale in (1e3, 1.0, 1e-2, 1e-4, 1e-5, 2e-6, 1e-6, 1e-7)}
for scale, (largest, cosine) in errors.items():
    print(f"rows of size {scale:g}: error {largest:.3f} of the largest number, cosine {cosine}")
same = errors[1.0][0] < 0.01 and errors[1e-2][0] < 0.01 and errors[1e-5][0] > 0.05 and errors[1e-7] == (1.0, 0.0)
if not same:
    sys.exit("the behaviour has changed")
END
