#!/bin/sh
# Expected: numpy.save of an array of strings is read by numpy.load, as it is for fixed-width strings.
# Happens: arrays of StringDType are written as a pickle without a word, and numpy.load refuses them ("Object
# arrays cannot be loaded when allow_pickle=False"); other readers of .npy cannot read them at all.
# Seen: 2026-11-29, Python 3.11, NumPy 2.4.6
# Hurts: who saves prompt ids or texts with NumPy 2's own string type, and opens them elsewhere.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy']:
    print(name, importlib.metadata.version(name))
print('numpy.save of StringDType writes a pickle')

import numpy as np

np.save("ids.npy", np.array(["a", "bb"], dtype=np.dtypes.StringDType()))
try:
    said = str(np.load("ids.npy"))
except ValueError as error:
    said = f"ValueError: {error}"
with open("ids.npy", "rb") as file:
    head = file.read(80)
print(said, head)
same = "allow_pickle" in said and b"|O" in head
if not same:
    sys.exit("the behaviour has changed")
END
