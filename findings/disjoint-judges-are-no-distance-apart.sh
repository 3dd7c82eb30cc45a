#!/bin/sh
# Expected: NumKong's Jensen-Shannon distance, "equivalent to scipy.spatial.distance.jensenshannon", of two distributions
# with no value in common is the largest there is, the root of ln 2 (0.8326).
# Happens: on CPUs with AVX-512 it is 0: a value that one of the two never takes counts for neither. Two judges who never
# give the same rating are the same judge, and 16 zeros in 64 probabilities take off a seventh. float64, float32 and
# float16 do so alike; with the AVX-512 kernels turned off the distance is right. SimSIMD 6.5, its older name, does so
# to float32.
# Seen: 2026-12-01, Python 3.11, numkong 7.8.6, SciPy 1.17.1, NumPy 2.4.6, on a CPU with AVX-512
# Hurts: who compares histograms of ratings, topics or tokens, where zeros are common: the further apart, the closer they
# seem, and another machine says otherwise. nk.disable_capability("skylake"), or SciPy; it shows only with AVX-512.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 numkong==7.8.6
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'numkong']:
    print(name, importlib.metadata.version(name))
print('the Jensen-Shannon distance leaves out what one of the two never says')

import numkong as nk
import numpy as np
from scipy.spatial.distance import jensenshannon

if not nk.get_capabilities()["skylake"]:
    sys.exit("this CPU has no AVX-512, where the behaviour shows")
rng = np.random.default_rng(0)
p, q = rng.dirichlet(np.ones(64)), rng.dirichlet(np.ones(64))
sparse = np.where(np.arange(64) % 4 == 0, 0, p)
pairs = {
    "never the same rating": (np.array([0.5, 0.5, 0, 0, 0]), np.array([0, 0, 0.2, 0.3, 0.5])),
    "64 values, no zeros": (p, q),
    "64 values, 16 zeros": (sparse / sparse.sum(), q),
}
got = {}
for kernels in ("AVX-512", "others"):
    for name, (a, b) in pairs.items():
        true = jensenshannon(a, b)
        got[kernels, name] = [float(nk.jensenshannon(a.astype(t), b.astype(t))) / true for t in ("f8", "f4", "f2")]
        print(f"{kernels}, {name}: SciPy {true:.4f}, NumKong", [f"{true * share:.4f}" for share in got[kernels, name]])
    nk.disable_capability("skylake")
same = max(got["AVX-512", "never the same rating"]) < 0.01 and max(got["AVX-512", "64 values, 16 zeros"]) < 0.9
same = same and np.allclose(got["AVX-512", "64 values, no zeros"], 1, atol=0.01)
same = same and np.allclose([got["others", name] for name in pairs], 1, atol=0.01)
if not same:
    sys.exit("the behaviour has changed")
END
