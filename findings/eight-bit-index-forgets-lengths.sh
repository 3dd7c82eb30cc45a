#!/bin/sh
# Expected: an index of dtype "i8" and metric "l2sq" or "ip" gives those distances, to the rounding of eight bits.
# Happens: usearch scales every vector to one length when it makes eight bits of it, whatever the metric: "l2sq" and
# "ip" rank by the angle, in other units. Of vectors of different lengths the nearest ten are others (recall .35 here),
# and get() returns int8 of that scale. "cos" is right, and so are "f16" and "bf16". No warning.
# Seen: 2026-11-30, Python 3.11, usearch 2.26.6, NumPy 2.4.6
# Hurts: who looks for near hidden states or the largest score w.x in little memory: exact=True does not help.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 usearch==2.26.6
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'usearch']:
    print(name, importlib.metadata.version(name))
print('an index of eight bits ranks by angle whatever its metric is')

import numpy as np
from usearch.index import Index

random = np.random.default_rng(0)
rows = (random.normal(size=(1000, 64)) * np.linspace(0.5, 4, 1000)[:, None]).astype("float32")
queries = rows[::50]
length = np.linalg.norm(rows, axis=1)
exact = {
    "l2sq": ((queries[:, None] - rows) ** 2).sum(-1),
    "ip": 1 - queries @ rows.T,
    "cos": 1 - queries @ rows.T / length / length[::50, None],
}
recall = {}
for metric, distances in exact.items():
    for dtype in ["bf16", "i8"]:
        index = Index(ndim=64, metric=metric, dtype=dtype)
        index.add(np.arange(1000), rows)
        found = index.search(queries, 10, exact=True)
        nearest = np.argsort(distances, axis=1)[:, :10]
        hits = [len(set(a) & set(b)) for a, b in zip(np.asarray(found.keys).tolist(), nearest.tolist())]
        recall[metric, dtype] = float(np.mean(hits)) / 10
        second = float(np.asarray(found.distances)[0, 1]), float(np.sort(distances[0])[1])
        print(metric, dtype, "recall of ten", round(recall[metric, dtype], 2), "a distance and the exact one", second)
same = all(recall[m, "bf16"] > 0.9 for m in exact) and recall["cos", "i8"] > 0.9
same = same and recall["l2sq", "i8"] < 0.6 and recall["ip", "i8"] < 0.6
if not same:
    sys.exit("the behaviour has changed")
END
