#!/bin/sh
# Expected: a virtual HDF5 dataset whose source file is missing cannot be read.
# Happens: its rows read as 0, without an error or a warning, as if a shard of activations had been zeros.
# Seen: 2026-11-29, Python 3.11, h5py 3.16.0, NumPy 2.4.6
# Hurts: who ties shards of activations together in a virtual dataset and moves or renames one: means shrink,
# zeros become a cluster.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 h5py==3.16.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'h5py']:
    print(name, importlib.metadata.version(name))
print('rows of a missing shard read as zeros')

import os

import h5py
import numpy as np

layout = h5py.VirtualLayout((6, 2), "f4")
for k in range(3):
    with h5py.File(f"shard{k}.h5", "w") as file:
        file["phi"] = np.full((2, 2), k + 1, "f4")
    layout[2 * k : 2 * k + 2] = h5py.VirtualSource(f"shard{k}.h5", "phi", shape=(2, 2))
with h5py.File("all.h5", "w", libver="latest") as file:
    file.create_virtual_dataset("phi", layout)
os.remove("shard1.h5")
with h5py.File("all.h5") as file:
    got = file["phi"][:, 0]
print("rows after shard1.h5 is gone:", got)
same = got.tolist() == [1, 1, 0, 0, 3, 3]
if not same:
    sys.exit("the behaviour has changed")
END
