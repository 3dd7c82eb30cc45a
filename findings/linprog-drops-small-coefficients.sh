#!/bin/sh
# Expected: a program is solved as it is written, or refused.
# Happens: HiGHS drops matrix entries of size 1e-9 and below, and linprog does not say so: x = 0 is called
# optimal under 1e-10 x >= 1e-10, and a program with the solution (0.5, 5e9) infeasible. The status is 0, or
# 2.
# Seen: 2026-11-29, Python 3.11, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who puts covariances of small scores into a linear program unscaled: constraints vanish.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy']:
    print(name, importlib.metadata.version(name))
print('linprog ignores coefficients of 1e-10 and calls the result optimal')

from scipy.optimize import linprog

one = linprog([1.0], A_ub=[[-1e-10]], b_ub=[-1e-10])
two = linprog([1.0, 1.0], A_ub=[[-1.0, -1e-10]], b_ub=[-1.0], bounds=[(0, 0.5), (0, None)])
print("least x with 1e-10 x >= 1e-10:", one.x, "status", one.status, "(x = 1 is right)")
print("x + 1e-10 y >= 1, x <= 0.5: status", two.status, "(x = 0.5, y = 5e9 is right)")
same = one.status == 0 and one.x[0] == 0 and two.status == 2
if not same:
    sys.exit("the behaviour has changed")
END
