#!/bin/sh
# Expected: crowd-kit's BradleyTerry(n_iter=1000) takes steps until they are smaller than tol, and gives the scores that make
# the comparisons likeliest, as its documentation says.
# Happens: it stops after two steps, whatever n_iter and whatever tol above 0: the last scores are compared with themselves.
# On a ladder, where each model beats the next lower in three of four games, the spread between first and last is a quarter
# of the true one, and a model of the second worst strength that plays against the last alone comes out first.
# Seen: 2026-12-01, Python 3.11, crowd-kit 1.4.2, pandas 3.1.1, NumPy 2.4.6
# Hurts: who ranks models or responses by pairwise preferences with it: gaps are too small everywhere, and the order is wrong
# where not all pairs are played alike. BradleyTerry(n_iter=10000, tol=0) never finds itself done early and is right.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 crowd-kit==1.4.2
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pandas', 'crowd-kit']:
    print(name, importlib.metadata.version(name))
print('a Bradley-Terry fit of many steps ends after two')

import numpy as np
import pandas as pd
from crowdkit.aggregation import BradleyTerry

wins = {}
for k in range(5):  # m0 is the best; each beats the next in 75 of 100 games
    wins[f"m{k}", f"m{k + 1}"], wins[f"m{k + 1}", f"m{k}"] = 75, 25
wins["expert", "m0"], wins["m0", "expert"] = 40, 60  # between m0 and m1, and plays only m0
wins["novice", "m5"], wins["m5", "novice"] = 80, 20  # between m3 and m4, and plays only m5
rows = [("w", a, b, a) for (a, b), n in wins.items() for _ in range(n)]
frame = pd.DataFrame(rows, columns=["worker", "left", "right", "label"])
true = {f"m{k}": -k * np.log(3) for k in range(6)}  # every game is on a tree: the maximum is known
true |= {"expert": np.log(40 / 60), "novice": true["m5"] + np.log(80 / 20)}
print("the likeliest  ", {name: round(float(true[name]), 2) for name in sorted(true)})
fits = {}
for steps, tol in ((2, 1e-5), (10, 1e-5), (1000, 1e-5), (1000, 1e-15), (10000, 0)):
    scores = np.log(BradleyTerry(n_iter=steps, tol=tol).fit_predict(frame))
    fits[steps, tol] = {name: float(scores[name] - scores["m0"]) for name in sorted(true)}
    print(f"n_iter {steps}, tol {tol}:", {name: round(value, 2) for name, value in fits[steps, tol].items()})
long, right = fits[1000, 1e-15], fits[10000, 0]
same = long == fits[2, 1e-5] and long["m5"] > true["m5"] / 2 and long["novice"] == max(long.values())
same = same and all(abs(right[name] - true[name]) < 0.05 for name in true)
if not same:
    sys.exit("the behaviour has changed")
END
