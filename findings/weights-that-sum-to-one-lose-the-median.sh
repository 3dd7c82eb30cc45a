#!/bin/sh
# Expected: DDSketch.add(value, weight) takes weights as shares, so weights ten or a thousand times smaller give the same
# quantiles, within the 1 % that the sketch promises.
# Happens: a quantile q is looked for at q times the weight of all less 1, as if weights were numbers of values. Weights that
# sum to 1 put each quantile at the smallest value; where the sum is rounded to less than 1, or is a thousandth, at a place
# before the first, and of positive values each quantile but the least is -0.99, though no value is negative. With a sum
# of 20 the quantile 0.99 is 4.0 for 9.1. Mean and sum are right at each scale, and nothing is said.
# Seen: 2026-12-01, Python 3.11, ddsketch 3.0.1, NumPy 2.4.6
# Hurts: who keeps quantiles of rewards with importance weights, or with weights normalised to 1: the medians are one and the
# same number, or a negative reward. Multiply the weights by a million.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 ddsketch==3.0.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'ddsketch']:
    print(name, importlib.metadata.version(name))
print('quantiles of weighted values hang on the scale of the weights')

import numpy as np
from ddsketch import DDSketch

rng = np.random.default_rng(0)
rewards, shares = rng.lognormal(size=1000), rng.dirichlet(np.ones(1000))
order = np.argsort(rewards)
asked = (0, 0.1, 0.5, 0.9, 0.99, 1)
true = rewards[order][np.searchsorted(np.cumsum(shares[order]), np.array(asked) * (1 - 1e-12))]
print("true quantiles at", asked, true.round(3), "mean", (rewards * shares).sum().round(4))
medians, means = {}, {}
for total in (1e6, 1000, 20, 1, 0.001):
    sketch = DDSketch(0.01)
    for reward, share in zip(rewards, shares):
        sketch.add(reward, share * total)
    seen = np.array([sketch.get_quantile_value(q) for q in asked])
    medians[total], means[total] = seen[2], sketch.avg
    print(f"weights that sum to {total:g} ({float(sketch.count)!r}):", seen.round(3), f"mean {sketch.avg:.4f}")
even = DDSketch(0.01)
for reward in (1.0, 2.0, 3.0, 4.0):
    even.add(reward, 0.25)
quarters = [even.get_quantile_value(q) for q in (0, 0.5, 1)]
print("1, 2, 3 and 4 with a weight of 1/4 each: least, median and largest", np.round(quarters, 2))
same = abs(medians[1e6] / true[2] - 1) < 0.02 and max(medians[1], medians[0.001]) < 0.1 and -1 < medians[0.001] < -0.98
same = same and np.allclose(list(means.values()), (rewards * shares).sum()) and np.ptp(quarters) == 0
if not same:
    sys.exit("the behaviour has changed")
END
