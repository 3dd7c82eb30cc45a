#!/bin/sh
# Expected: a cast from float64 gives the nearest bfloat16.
# Happens: it goes through float32, which rounds first: 1 + 2^-8 + 2^-30 becomes the tie 1 + 2^-8 and then
# 1.0, though 1.0078125 is nearer. float8 casts round twice as well; NumPy's own cast to float16 does not.
# Seen: 2026-11-29, Python 3.11, NumPy 2.4.6, ml_dtypes 0.6.0
# Hurts: who checks bit for bit against a correctly rounding writer, or measures rounding bias: ties of sums
# of few bfloat16 are common.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 ml_dtypes==0.6.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'ml_dtypes']:
    print(name, importlib.metadata.version(name))
print('float64 to bfloat16 does not give the nearest number')

import ml_dtypes
import numpy as np

x = np.float64(1 + 2**-8 + 2**-30)
got = float(np.array(x).astype(ml_dtypes.bfloat16))
print("bfloat16 of 1 + 2^-8 + 2^-30:", got, "off by", abs(got - x), "; 1.0078125 is off by", abs(1.0078125 - x))
print("float8_e4m3fn of 1 + 2^-4 + 2^-40:", float(np.array(1 + 2**-4 + 2**-40).astype(ml_dtypes.float8_e4m3fn)))
print("float16 of 1 + 2^-11 + 2^-40:", float(np.float16(np.float64(1 + 2**-11 + 2**-40))))
same = got == 1.0
if not same:
    sys.exit("the behaviour has changed")
END
