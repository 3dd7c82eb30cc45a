#!/bin/sh
# Expected: two dissimilarity matrices whose stimuli bear names are compared stimulus by stimulus, or refused.
# Happens: rsatoolbox's compare and eval_fixed go by place: a matrix and the same one with its stimuli in another order
# have a correlation of -.30. calc_rdm sorts the stimuli by name if it is given a descriptor and leaves them as they are
# if not, so two matrices of one dataset do not agree either. concat goes by name, and reorders the matrices that it is
# given where they are: after it compare says 1. No warning.
# Seen: 2026-11-30, Python 3.11, rsatoolbox 0.3.2, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who compares the representations of two models by prompts that were read in another order, or saved an array
# beside a matrix before concat. Call sort_by with the descriptor and "alpha" on every matrix first.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 \
    rsatoolbox==0.3.2
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys, warnings
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'pandas', 'rsatoolbox']:
    print(name, importlib.metadata.version(name))
print('dissimilarities of the same stimuli in another order do not agree, until concat has seen them')

import numpy as np
from rsatoolbox.data import Dataset
from rsatoolbox.inference import eval_fixed
from rsatoolbox.model import ModelFixed
from rsatoolbox.rdm import calc_rdm, compare, concat

rng = np.random.default_rng(0)
rows, names, order = rng.normal(size=(6, 20)), np.array(list("fbadce")), rng.permutation(6)
data = Dataset(rows, obs_descriptors={"prompt": names})
moved = Dataset(rows[order], obs_descriptors={"prompt": names[order]})


def agree(a, b):
    return float(compare(a, b, method="corr")[0, 0])


with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    one, other = calc_rdm(data), calc_rdm(moved)
    sorted_one, sorted_other = (calc_rdm(each, descriptor="prompt") for each in (data, moved))
    before = agree(one, other)
    model = float(np.ravel(eval_fixed([ModelFixed("m", other)], one, method="corr").get_means())[0])
    mixed = agree(one, sorted_one)
    by_name = agree(sorted_one, sorted_other)
    was = list(other.pattern_descriptors["prompt"])
    concat(one, other)
    now = list(other.pattern_descriptors["prompt"])
    after = agree(one, other)
    first, second = calc_rdm(data), calc_rdm(moved)
    first.sort_by(prompt="alpha")
    second.sort_by(prompt="alpha")
    both = agree(first, second)
print("prompts", *names, "and", *names[order], "agreement by compare %.3f" % before, "by eval_fixed %.3f" % model)
print("one dataset with and without a descriptor %.3f" % mixed, "both with one %.3f" % by_name, "both sorted %.3f" % both)
print("second matrix before concat", *was, "after", *now, "agreement %.3f" % after, "warnings", len(said))
same = before < 0 and np.isclose(model, before) and mixed < 0.99 and np.allclose([by_name, after, both], 1)
same = same and was == list(names[order]) and now == list(names) and not said
if not same:
    sys.exit("the behaviour has changed")
END
