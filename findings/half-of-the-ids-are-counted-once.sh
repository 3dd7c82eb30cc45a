#!/bin/sh
# Expected: a sketch that counts distinct ids takes 64-bit ids for what they are, or refuses those that it cannot hold.
# Happens: hll_sketch and theta sketches read an int of 2^63 and above as a double, in which 2048 neighbours are one.
# Ids that hold a hash of the prompt above and the number of the response below are counted once a prompt where the
# hash begins with a one: of 16,000 ids about 9,000. Two sets with no id in common then intersect. cpc_sketch counts
# these, and merges negative ids in the same way, which the other two count. No warning.
# Seen: 2026-11-30, Python 3.11, datasketches 5.2.0, NumPy 2.4.6
# Hurts: who counts distinct responses over many files, or looks for responses held out that were trained on.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 datasketches==5.2.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'datasketches']:
    print(name, importlib.metadata.version(name))
print('ids of 2^63 and above are counted once for all their neighbours')

import datasketches
import numpy as np

rng = np.random.default_rng(0)
prompts = rng.integers(0, 2**54, 2000, dtype=np.uint64) << np.uint64(10)
ids = prompts[:, None] | np.arange(8, dtype=np.uint64)


def sketch(make, values):
    made = make()
    for value in np.ravel(values):
        made.update(value)
    return made


def theta():
    return datasketches.update_theta_sketch(16)


print("ids", ids.size, "distinct", np.unique(ids).size, "of 2^63 and above", int((ids >= 2**63).sum()))
counts = {}
for name, make in [
    ("hll", lambda: datasketches.hll_sketch(14)),
    ("theta", theta),
    ("cpc", lambda: datasketches.cpc_sketch(14)),
]:
    counts[name] = [sketch(make, values).get_estimate() for values in (ids, ids.view(np.int64))]
    print(name, "uint64, the same bits as int64", [round(count) for count in counts[name]])
common = datasketches.theta_intersection()
for half in (ids[:, :4], ids[:, 4:]):
    common.update(sketch(theta, half))
shared = common.get_result().get_estimate()
print("ids in common", np.intersect1d(ids[:, :4], ids[:, 4:]).size, "theta says", round(shared))
(hll, hll_signed), (theta_, theta_signed), (cpc, cpc_signed) = counts.values()
same = max(hll, theta_, cpc_signed) < 10_000 and min(hll_signed, theta_signed, cpc) > 15_000 and 800 < shared < 1200
if not same:
    sys.exit("the behaviour has changed")
END
