#!/bin/sh
# Expected: the program that m2cgen writes of a LightGBM model gives the model's predictions, or m2cgen refuses the model.
# Happens: of a model with linear_tree=True it takes the constant of each leaf and leaves the slopes out. The program runs
# and its scores are plausible: here they correlate with the model's at 0.93, but their error is ten times as large. With
# ordinary leaves the two agree exactly. treelite refuses the same model.
# Seen: 2026-12-01, Python 3.11, m2cgen 0.10.0, LightGBM 4.7.0, scikit-learn 1.9.1, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who carries a small scorer or reward model into another language, or into a program without LightGBM: responses
# are scored by another model than the one that was validated. Train without linear_tree, and compare a few rows.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 \
    scikit-learn==1.9.1 lightgbm==4.7.0 m2cgen==0.10.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'scikit-learn', 'lightgbm', 'm2cgen']:
    print(name, importlib.metadata.version(name))
print('programs of models with linear leaves leave the slopes out')

import lightgbm
import m2cgen
import numpy as np

rng = np.random.default_rng(0)
features = rng.normal(size=(2000, 3))
rewards = 3 * features[:, 0] - 2 * features[:, 1] + rng.normal(size=2000) * 0.1
better = (rewards > 0).astype(int)
gaps, errors = {}, {}
for linear in (False, True):
    options = dict(n_estimators=50, num_leaves=8, linear_tree=linear, verbose=-1, n_jobs=1)
    for name, model, goal in (
        ("rewards", lightgbm.LGBMRegressor(**options), rewards),
        ("chances", lightgbm.LGBMClassifier(**options), better),
    ):
        model.fit(features, goal)
        program = {}
        exec(m2cgen.export_to_python(model), program)
        written = np.array([program["score"](row.tolist()) for row in features])
        own = model.predict(features) if name == "rewards" else model.predict_proba(features)
        gaps[name, linear] = np.abs(written - own).max()
        print(f"linear_tree={linear}, {name}: program and model differ by up to {gaps[name, linear]:.3g}", end=", ")
        print(f"correlation {np.corrcoef(written.T.ravel(), own.T.ravel())[0, 1]:.4f}")
        if name == "rewards":
            errors[linear] = [float(np.sqrt(np.mean((scores - goal) ** 2))) for scores in (own, written)]
            print(f"  error of the model {errors[linear][0]:.3f}, of the program {errors[linear][1]:.3f}")
same = max(gaps[name, False] for name in ("rewards", "chances")) < 1e-9 and gaps["rewards", True] > 2
same = same and gaps["chances", True] > 0.2 and errors[True][1] > 5 * errors[True][0]
if not same:
    sys.exit("the behaviour has changed")
END
