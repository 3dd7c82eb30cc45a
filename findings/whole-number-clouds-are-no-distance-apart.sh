#!/bin/sh
# Expected: the optimal transport cost between ratings 1 to 3 and ratings 4 to 6 is near 3, whether they are held as
# integers or as floats; the same for sliced Wasserstein distances of rows of counts.
# Happens: POT makes the uniform weights 1/n in the dtype of the positions, so for integers each weight is 0:
# wasserstein_1d, sliced_wasserstein_distance and max_sliced_wasserstein_distance say 0, however far apart the samples.
# emd2_1d and solve_sample of the same integers are right, and wasserstein_1d with weights of your own is. No warning.
# Seen: 2026-11-30, Python 3.11, POT 0.9.7.post1, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who compares the ratings of two judges or policies, or embeddings stored in eight bits: no shift is ever seen.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 pot==0.9.7.post1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys, warnings
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'pot']:
    print(name, importlib.metadata.version(name))
print('samples of whole numbers are no distance apart')

import numpy as np
import ot

rng = np.random.default_rng(0)
low, high = rng.integers(1, 4, (500, 3)), rng.integers(4, 7, (500, 3))
costs = {
    "wasserstein_1d": lambda a, b: ot.wasserstein_1d(a[:, 0], b[:, 0]),
    "sliced": lambda a, b: ot.sliced_wasserstein_distance(a, b, seed=0),
    "max sliced": lambda a, b: ot.max_sliced_wasserstein_distance(a, b, seed=0),
    "emd2_1d": lambda a, b: ot.emd2_1d(a[:, 0], b[:, 0], metric="cityblock"),
    "solve_sample": lambda a, b: ot.solve_sample(a, b).value,
    "wasserstein_1d, weights given": lambda a, b: ot.wasserstein_1d(a[:, 0], b[:, 0], *[np.full(500, 1 / 500)] * 2),
}
found = {}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for name, cost in costs.items():
        found[name] = [float(cost(low.astype(dtype), high.astype(dtype))) for dtype in ("int64", "int8", "float64")]
        print(name, "int64, int8, float64", found[name])
print("warnings", len(said))
*wrong, one, sample, weighted = found.values()
same = all(whole == byte == 0 and real > 2 for whole, byte, real in wrong) and not said
same = same and all(abs(whole - real) < 1e-9 and real > 2 for whole, _, real in (one, sample, weighted))
if not same:
    sys.exit("the behaviour has changed")
END
