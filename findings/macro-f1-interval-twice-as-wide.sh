#!/bin/sh
# Expected: a 95 % interval of macro F1 is as wide as macro F1 scatters from sample to sample.
# Happens: for two labels confidenceinterval's f1_score(average="macro"), whose interval is analytical unless asked
# otherwise, gives one twice as wide, for three labels 1.6 times: of 300 samples of 200 rows the interval holds the true
# value in all. Macro precision and recall are right, and for all three the delta method worked out by hand.
# Seen: 2026-11-30, Python 3.11, confidenceinterval 1.0.5, scikit-learn 1.9.1, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who compares judges or probes by macro F1: four times the labels are asked for, and a judge that is better is
# said not to be. Take a bootstrap.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 \
    scikit-learn==1.9.1 statsmodels==0.15.0 confidenceinterval==1.0.5
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'scikit-learn', 'statsmodels', 'confidenceinterval']:
    print(name, importlib.metadata.version(name))
print('the interval of macro F1 is twice as wide as its scatter')

import numpy as np
from confidenceinterval import f1_score, precision_score, recall_score

scores = {"f1": f1_score, "precision": precision_score, "recall": recall_score}


def macro(table):
    right, rows, columns = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    per_label = {"f1": 2 * right / (rows + columns), "precision": right / columns, "recall": right / rows}
    return {name: values.mean() for name, values in per_label.items()}


def by_hand(table, name, size):
    """The standard error by the delta method, with derivatives by differences."""
    slope = np.zeros(table.size)
    for cell in range(table.size):
        step = np.zeros(table.size)
        step[cell] = 1e-6
        step = step.reshape(table.shape)
        slope[cell] = (macro(table + step)[name] - macro(table - step)[name]) / 2e-6
    share = table.ravel()
    return np.sqrt((share @ slope**2 - (share @ slope) ** 2) / size)


rng = np.random.default_rng(0)
ratios, covered = {}, 0
for labels in (2, 3):
    table = np.full((labels, labels), 0.3 / labels**2) + np.eye(labels) * 0.7 / labels
    truth = macro(table)
    for name, score in scores.items():
        found, errors = [], []
        for _ in range(300):
            cells = rng.choice(labels**2, size=200, p=table.ravel())
            value, (low, high) = score(cells // labels, cells % labels, average="macro")
            found.append(value)
            errors.append((high - low) / 2 / 1.959964)
            covered += labels == 2 and name == "f1" and low <= truth[name] <= high
        hand = by_hand(table, name, 200)
        ratios[labels, name] = np.mean(errors) / hand
        print(labels, "labels, macro", name, "%.3f" % truth[name], "scatter %.4f" % np.std(found))
        print("    standard error by hand %.4f, theirs %.4f" % (hand, np.mean(errors)))
print("two labels: of 300 intervals of macro F1", covered, "hold it")
same = 1.8 < ratios[2, "f1"] < 2.2 and 1.4 < ratios[3, "f1"] < 1.8 and covered >= 298
same = same and all(0.9 < ratio < 1.15 for (_, name), ratio in ratios.items() if name != "f1")
if not same:
    sys.exit("the behaviour has changed")
END
