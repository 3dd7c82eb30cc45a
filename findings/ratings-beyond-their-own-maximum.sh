#!/bin/sh
# Expected: of a fastdigest of ratings from 1 to 5, the probability of a value in [1, 5] is 1, that in [3, 3] the share of
# threes, and cdf(3) the share of ratings up to 3.
# Happens: an equal value counts as above: cdf(3) is the share below 3, cdf(5) is 0.80 though no rating is larger,
# probability(1, 5) 0.80 and probability(3, 3) 0. Quantiles and means are right. The README calls cdf the cumulative
# probability of a value, and the interval is written with brackets as closed.
# Seen: 2026-12-01, Python 3.11, fastdigest 0.12.0, NumPy 2.4.6
# Hurts: who keeps sketches of ratings, ranks or numbers of tokens, in which values repeat, and asks them for a win rate or
# a share at a threshold: the ratings at the threshold itself are missing. Ask half a step higher: cdf(3.5).
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 fastdigest==0.12.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'fastdigest']:
    print(name, importlib.metadata.version(name))
print('a fifth of the ratings is larger than the largest')

import numpy as np
from fastdigest import TDigest

ratings = np.repeat([1.0, 2, 3, 4, 5], 2000)
digest = TDigest.from_values(ratings)
print("values", digest.n_values, "least", digest.min(), "largest", digest.max(), "mean", digest.mean())
for rating in range(1, 6):
    print(f"cdf({rating}) = {digest.cdf(rating):.3f}, ratings up to it {(ratings <= rating).mean():.3f}, below it", end=" ")
    print(f"{(ratings < rating).mean():.3f}, cdf half a step higher {digest.cdf(rating + 0.5):.3f}")
print(f"probability(1, 5) = {digest.probability(1, 5):.3f}, probability(3, 3) = {digest.probability(3, 3):.3f}")
same = digest.cdf(1) == 0 and digest.cdf(5) < 0.85 and digest.probability(1, 5) < 0.85 and digest.probability(3, 3) == 0
if not same:
    sys.exit("the behaviour has changed")
END
