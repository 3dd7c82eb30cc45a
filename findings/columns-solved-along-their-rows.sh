#!/bin/sh
# Expected: daqp.solve takes a column of a table as its cost vector f, or its bounds, for the numbers that stand in it.
# Happens: of H, f, bupper and blower it takes the memory from the first number on, and does not look at the strides: a
# column of a C-ordered array is read along its row, with the next columns' numbers. A is converted, and Model.setup
# converts all. exitflag is 1, "optimal solution found", and the weights obey their bounds.
# Seen: 2026-12-01, Python 3.11, daqp 0.11.0, NumPy 2.4.6
# Hurts: who solves one small program per column (weights of judges for each trait, of reward models for each prompt set)
# or keeps limits as columns of a table: the solutions are those of other programs. Hand it f.copy() or use Model.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 daqp==0.11.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'daqp']:
    print(name, importlib.metadata.version(name))
print('a cost vector that is a column of a table is read along the rows')

import daqp
import numpy as np

rng = np.random.default_rng(0)
judges = rng.normal(size=(200, 4))  # scores of 200 responses by four judges
shares = rng.dirichlet(np.ones(4), 3).T  # how three traits are made of them
traits = judges @ shares + rng.normal(size=(200, 3)) * 0.1
H, F = judges.T @ judges, -judges.T @ traits
A, upper, lower, sense = np.zeros((0, 4)), np.ones(4), np.zeros(4), np.zeros(4, np.int32)
wrong, right, model = [], [], []
for k in range(3):
    for f, found in ((F[:, k], wrong), (F[:, k].copy(), right)):
        x, _, flag, _ = daqp.solve(H, f, A, upper, lower, sense)
        found.append(x)
        print(f"trait {k}, {'a copy' if f.flags.c_contiguous else 'a view'} of its column: exitflag {flag},", x.round(2))
    solver = daqp.Model()
    solver.setup(H, F[:, k], A, upper, lower, sense)
    model.append(solver.solve()[0])
    print(f"trait {k}, Model: {model[k].round(2)}, true {shares[:, k].round(2)}")
G = rng.normal(size=(8, 4))
limits = np.tile([0.1, 9.0], (8, 1))  # used are the first limits
seen = [daqp.solve(H, F[:, 0].copy(), G, column)[0] for column in (limits[:, 0], limits[:, 0].copy())]
print("largest G x under limits of 0.1: of a view", (G @ seen[0]).max().round(3), "of a copy", (G @ seen[1]).max().round(3))
same = min(np.abs(np.subtract(wrong, shares.T)).max(1)) > 0.15 and np.abs(np.subtract(right, shares.T)).max() < 0.05
same = same and np.allclose(model, right) and (G @ seen[0]).max() > 0.15 and (G @ seen[1]).max() < 0.1 + 1e-6
if not same:
    sys.exit("the behaviour has changed")
END
