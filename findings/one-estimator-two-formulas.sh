#!/bin/sh
# Expected: crps_ensemble(estimator="akr") is one number, whatever its backend; it adds |x_i - x_(i-1)| around a circle,
# so that turning the members does not matter.
# Happens: with backend="numba" scoringrules takes a wrong pair: for the first member x_0 - x_(m-2) and not x_0 -
# x_(m-1). Members 0, 0, ..., 0, 1 against 0 give 1 / (2 m) with numba and 0 without, and turning the members by one
# changes scores, by up to 1.1 of ensembles of three. No warning.
# Seen: 2026-11-30, Python 3.11, scoringrules 0.10.0, numba 0.68.1, NumPy 2.4.6
# Hurts: who compares scores of a fast run with those of a plain one: single scores of small ensembles are others.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 numba==0.68.1 scoringrules==0.10.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'numba', 'scoringrules']:
    print(name, importlib.metadata.version(name))
print('an estimator of the CRPS is another formula with numba')

import numpy as np
import scoringrules

random = np.random.default_rng(0)
observed, forecast = random.normal(size=500), random.normal(size=(500, 3))
scores = {}
for backend in ["numpy", "numba"]:
    for name, members in [("as they are", forecast), ("turned by one", np.roll(forecast, 1, axis=1))]:
        scores[backend, name] = scoringrules.crps_ensemble(observed, members, estimator="akr", backend=backend)
    print(backend, {n: round(float(scores[backend, n].mean()), 4) for n in ["as they are", "turned by one"]})
by_hand = abs(observed[:, None] - forecast).mean(1) - abs(forecast - np.roll(forecast, 1, axis=1)).mean(1) / 2
last = np.array([[0.0] * 9 + [1.0]])
ends = []
for backend in ["numpy", "numba"]:
    ends.append(float(scoringrules.crps_ensemble(np.zeros(1), last, estimator="akr", backend=backend)[0]))
turned = abs(scores["numba", "as they are"] - scores["numba", "turned by one"]).max()
print("one member of ten is off by 1:", ends, "largest change by turning", turned)
same = bool(np.allclose(scores["numpy", "as they are"], by_hand)) and turned > 0.1
same = same and not np.allclose(scores["numba", "as they are"], by_hand) and ends[1] > 0.04 > ends[0]
if not same:
    sys.exit("the behaviour has changed")
END
