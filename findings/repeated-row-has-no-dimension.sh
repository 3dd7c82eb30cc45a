#!/bin/sh
# Expected: the intrinsic dimension of a thousand rows hardly changes if one of them is there twice, or the estimator
# refuses or warns of a distance of zero.
# Happens: MLE of scikit-dimension, the estimator of Levina and Bickel, gives 0.0: the row's own dimension is 0, and the
# harmonic mean over all rows, its default, with it. MiND_ML gives 1, its least. One repeated row among 1000 is enough, for
# rows of any dimension. NumPy's warning of a division by zero is not seen, as "import skdim" switches off all warnings of
# the program. TwoNN, MOM, TLE and CorrInt stay where they were.
# Seen: 2026-12-01, Python 3.11, scikit-dimension 0.5.0, scikit-learn 1.9.1, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who measures the dimension of activations layer by layer: a prompt that is there twice, or two that share the
# token looked at, makes a layer a single point. Pass numpy.unique(rows, axis=0), or MLE().fit(rows, comb="mean").
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 \
    scikit-learn==1.9.1 scikit-dimension==0.5.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'scikit-learn', 'scikit-dimension']:
    print(name, importlib.metadata.version(name))
print('one repeated row among a thousand makes the dimension zero')

import warnings

import numpy as np

before = warnings.filters[0][:3]
import skdim

silent = warnings.filters[0][:3] == ("ignore", None, Warning)
print("first filter of warnings before the import:", before, "and after:", warnings.filters[0][:3])
dimensions, one_twice = {}, {}
for true in (3, 8):
    rng = np.random.default_rng(true)
    rows = rng.normal(size=(1000, true)) @ rng.normal(size=(true, 20))
    repeated = np.vstack([rows, rows[:1]])
    for name in ("MLE", "MiND_ML", "TwoNN", "MOM", "TLE", "CorrInt"):
        estimator = getattr(skdim.id, name)
        dimensions[name, true] = estimator().fit(rows).dimension_
        one_twice[name, true] = estimator().fit(repeated).dimension_
        print(f"{true} dimensions, {name}: {dimensions[name, true]:.2f}, with one row twice {one_twice[name, true]:.2f}")
    mean = [skdim.id.MLE().fit(some, comb="mean").dimension_ for some in (rows, repeated)]
    print(f'{true} dimensions, MLE comb="mean": {mean[0]:.2f}, with one row twice {mean[1]:.2f}')
    single = skdim.id.MLE().fit(np.unique(repeated, axis=0)).dimension_
    print(f"{true} dimensions, MLE of numpy.unique: {single:.2f}")
same = silent and all(one_twice["MLE", true] == 0 and one_twice["MiND_ML", true] == 1 for true in (3, 8))
same = same and all(abs(dimensions[key] - one_twice[key]) < 0.1 for key in dimensions if key[0] not in ("MLE", "MiND_ML"))
same = same and dimensions["MLE", 8] > 6 and dimensions["MiND_ML", 8] > 6 and np.isclose(single, dimensions["MLE", 8])
if not same:
    sys.exit("the behaviour has changed")
END
