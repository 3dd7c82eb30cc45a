#!/bin/sh
# Expected: a graph whose inputs, outputs and constants are int64 or float64 computes in them; the result's dtype says
# int64 or float64.
# Happens: OpenVINO's CPU plugin computes in int32 and float32 and converts the result back. Ids keep their low 32 bits
# even where they are only picked or compared: 2^40 + 5 equals 2^41 + 5, its remainder by 1000 is 5 and not 781. A
# float64 sum of 1 and 1e-9 is 1. The dtype of every result still says 64 bits, and nothing is said.
# Seen: 2026-11-29, Python 3.11, openvino 2026.4.1, NumPy 2.4.6
# Hurts: who carries hashed ids through an exported scoring graph, or subtracts log-probabilities there: ids merge,
# differences are lost, and a look at the dtype does not show it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 openvino==2026.4.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'openvino']:
    print(name, importlib.metadata.version(name))
print('int64 and float64 graphs compute in 32 bits and return 64')

import numpy as np
import openvino as ov
import openvino.opset13 as op


def run(build, *arrays):
    inputs = [op.parameter(list(a.shape), a.dtype) for a in arrays]
    return ov.Core().compile_model(ov.Model([build(*inputs)], inputs, "graph"), "CPU")(list(arrays))[0]


ids, other = np.array([2**40 + 5, 7]), np.array([2**41 + 5, 7])
picked = run(lambda a: op.gather(a, op.constant(np.array([1, 0])), op.constant(np.int64(0))), ids)
equal = run(op.equal, ids, other)
rest = run(lambda a: op.floor_mod(a, op.constant(np.int64(1000))), ids)
one = run(lambda a: op.add(a, op.constant(np.float64(1e-9))), np.array([1.0]))
print("ids", ids, "picked in reverse", picked, picked.dtype, "equal to", other, equal, "by 1000", rest)
print("1 + 1e-9 - 1 =", one[0] - 1, one.dtype)
same = (
    picked.tolist() == [7, 5]
    and picked.dtype == rest.dtype == np.int64
    and equal.tolist() == [True, True]
    and rest.tolist() == [5, 7]
    and (one[0], one.dtype) == (1.0, np.float64)
)
if not same:
    sys.exit("the behaviour has changed")
END
