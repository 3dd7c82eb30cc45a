#!/bin/sh
# Expected: a compressor with an error bound keeps NaN or refuses it.
# Happens: zfpy with tolerance= (or precision=, rate=) returns an ordinary number where NaN was, 8 among standard normal
# rows; the rows around it hold the bound. Without a bound, lossless, NaN comes back. No error and no warning.
# Seen: 2026-11-30, Python 3.11, zfpy 1.0.1.post0, NumPy 2.4.6
# Hurts: who shrinks activations or scores on disk: a missing score becomes one of the largest, and rows that overflowed
# to NaN in the model no longer show.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 zfpy==1.0.1.post0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'zfpy']:
    print(name, importlib.metadata.version(name))
print('a lossy array has a number where NaN was')

import numpy as np
import zfpy

rows = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
holed = rows.copy()
holed[10, 10] = np.nan
found = {}
for how in ({"tolerance": 1e-3}, {"precision": 24}, {"rate": 16}, {}):
    back = zfpy.decompress_numpy(zfpy.compress_numpy(holed, **how))
    off = np.abs(back - rows)
    off[10, 10] = 0
    found[str(how)] = float(back[10, 10])
    print(how or "lossless", "NaN became", back[10, 10], "largest error elsewhere", off.max())
*lossy, lossless = found.values()
if not (np.isfinite(lossy).all() and np.isnan(lossless)):
    sys.exit("the behaviour has changed")
END
