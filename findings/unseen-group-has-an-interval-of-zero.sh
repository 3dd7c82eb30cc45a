#!/bin/sh
# Expected: conformal intervals by category cover what they promise, or are infinite where calibration had no row of a
# category; crepes says so, with a warning, of a category that had too few.
# Happens: for a category that calibration never saw, ConformalRegressor.predict_int gives the interval from 0 to 0,
# wherever the prediction lies; so does ConformalPredictiveSystem, whose p-values and percentiles are 0 too. No warning.
# ConformalClassifier holds every label of such a category possible, as it should.
# Seen: 2026-11-30, Python 3.11, crepes 0.9.1, scikit-learn 1.9.1, pandas 3.1.1, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who calibrates a judge or reward model by domain and then meets a new one: the least known answers look the
# surest. Evaluated over all rows, the new domain is counted as missed and makes the mean width smaller.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 \
    scikit-learn==1.9.1 crepes==0.9.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys, warnings
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'pandas', 'scikit-learn', 'crepes']:
    print(name, importlib.metadata.version(name))
print('a group that calibration never saw has an interval of width zero')

import numpy as np
from crepes import ConformalClassifier, ConformalPredictiveSystem, ConformalRegressor

rng = np.random.default_rng(0)
residuals, groups = rng.normal(size=2000), np.repeat([0, 1], 1000)
predicted, new = np.full(3, 5.0), np.array([0, 1, 2])
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    regressor = ConformalRegressor().fit(residuals, bins=groups)
    system = ConformalPredictiveSystem().fit(residuals, bins=groups)
    intervals = regressor.predict_int(predicted, bins=new, confidence=0.9)
    of_system = system.predict_int(predicted, bins=new, confidence=0.9)
    top = system.predict_percentiles(predicted, bins=new, higher_percentiles=[90])
    p = system.predict_p(predicted, predicted, bins=new, smoothing=False)
    classifier = ConformalClassifier().fit(rng.random(2000), bins=groups)
    labels = classifier.predict_set(np.full((3, 2), 0.99), bins=new, confidence=0.9)
    many = np.repeat(new, 500)
    truth = 5 + rng.normal(size=1500)
    low, high = regressor.predict_int(np.full(1500, 5.0), bins=many, confidence=0.9).T
    covered = [float(((low <= truth) & (truth <= high))[many == group].mean()) for group in new]
print("warnings", len(said))
print("prediction 5 in groups 0, 1 and the unseen 2, 90 % intervals", intervals.round(3).tolist())
print("predictive system", of_system.round(3).tolist())
print("its 90th percentiles", np.ravel(top).round(3).tolist(), "p-values", p.round(3).tolist())
print("covered", covered, "labels held possible", labels.tolist())
with warnings.catch_warnings(record=True) as few:
    warnings.simplefilter("always")
    small = ConformalRegressor().fit(residuals[:1003], bins=np.r_[groups[:1000], 1, 1, 1])
    small = small.predict_int(predicted[:2], bins=new[:2], confidence=0.9)
print("with three rows of group 1", small.round(3).tolist(), "warnings", len(few))
same = not said and (intervals[2] == 0).all() and (of_system[2] == 0).all() and np.ravel(top)[2] == p[2] == 0
same = same and min(covered[:2]) > 0.85 and covered[2] == 0 and labels[2].all() and np.isinf(small[1]).all() and few
if not same:
    sys.exit("the behaviour has changed")
END
