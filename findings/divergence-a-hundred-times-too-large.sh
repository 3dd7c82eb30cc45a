#!/bin/sh
# Expected: SimSIMD's Kullback-Leibler divergence of float64 distributions is SciPy's, and more exact than of float32.
# Happens: of float64, NumPy's own dtype, it is several times too large for 5 values and hundreds of times for 1000, up to
# millions where one probability is small; no value is zero. The Jensen-Shannon distance of float64 is up to a tenth too
# large. The same distributions as float32 are right. There is no warning, and the ranking of pairs is another.
# Seen: 2026-12-01, Python 3.11, simsimd 6.5.16, SciPy 1.17.1, NumPy 2.4.6
# Hurts: who measures the KL between policies, or between judges' ratings, with the fast function in the place of SciPy's:
# a policy at 0.48 nats from its reference seems at 234. Convert to float32, or take numkong, its successor.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 simsimd==6.5.16
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'simsimd']:
    print(name, importlib.metadata.version(name))
print('float64 divergences are many times too large, float32 ones right')

import numpy as np
import simsimd
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import spearmanr

rng = np.random.default_rng(0)
shares = {}
for n in (5, 1000):
    true, seen, half = [], {"f8": [], "f4": []}, []
    for _ in range(200):
        p, q = rng.dirichlet(np.full(n, 2.0), 2)
        true.append(rel_entr(p, q).sum())
        half.append(simsimd.jensenshannon(p, q) / jensenshannon(p, q))
        for dtype in seen:
            seen[dtype].append(simsimd.kullbackleibler(p.astype(dtype), q.astype(dtype)))
    shares[n] = {dtype: np.divide(seen[dtype], true) for dtype in seen}
    print(f"{n} values: KL of the first pair {true[0]:.4f}, float64 {seen['f8'][0]:.4f}, float32 {seen['f4'][0]:.4f}")
    for dtype, share in shares[n].items():
        print(f"  {dtype}, 200 pairs, share of the true KL: median {np.median(share):.4g}, largest {share.max():.4g}")
    print(f"  rank correlation of the 200 pairs, float64 with the true KL: {spearmanr(true, seen['f8'])[0]:.2f}")
    print(f"  Jensen-Shannon distance of float64, share of the true one: {min(half):.3f} to {max(half):.3f}")
same = np.median(shares[5]["f8"]) > 2 and np.median(shares[1000]["f8"]) > 100
same = same and all(np.allclose(shares[n]["f4"], 1, atol=0.02) for n in shares)
if not same:
    sys.exit("the behaviour has changed")
END
