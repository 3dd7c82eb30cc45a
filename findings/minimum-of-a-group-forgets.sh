#!/bin/sh
# Expected: the minimum of a group in DataFusion is its smallest number, or NaN where a NaN is in it, whatever the order of
# the rows, and the same with and without GROUP BY.
# Happens: with GROUP BY, a NaN makes min and max begin anew: 1, NaN, 2 has a minimum of 2, and 2, NaN, 1 a maximum of 1;
# only where the NaN comes last is it the answer. Without GROUP BY the minimum is 1 and the maximum NaN. Of 1000 groups of
# five with one NaN, 300 have a minimum that is another row's ordinary number, and 200 have NaN.
# Seen: 2026-12-01, Python 3.11, datafusion 55.0.0, pyarrow 25.0.1, NumPy 2.4.6 (reported to its makers in August 2026)
# Hurts: who takes the best or worst of n responses per prompt by SQL, with some responses unscored: a lower reward passes
# for the best, and other partitions give other numbers. Add WHERE NOT isnan(score), or turn NaN into NULL before.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pyarrow==25.0.1 datafusion==55.0.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pyarrow', 'datafusion']:
    print(name, importlib.metadata.version(name))
print('minima and maxima by group begin anew behind a NaN')

import numpy as np
import pyarrow as pa
from datafusion import SessionContext

nan = float("nan")


def extremes(prompts, scores, rest=""):
    context = SessionContext()
    context.from_arrow(pa.table({"prompt": prompts, "score": scores}), "t")
    rows = pa.Table.from_batches(context.sql("SELECT min(score) low, max(score) high FROM t " + rest).collect())
    return np.array([rows["low"].to_pylist(), rows["high"].to_pylist()])


three = {}
for scores in ([nan, 1.0, 2.0], [1.0, nan, 2.0], [2.0, nan, 1.0], [1.0, 2.0, nan]):
    three[str(scores)] = extremes(["a"] * 3, scores, "GROUP BY prompt")[:, 0]
    print(scores, "by group", three[str(scores)], "without", extremes(["a"] * 3, scores)[:, 0])
rng = np.random.default_rng(0)
table = rng.normal(size=(1000, 5))
table[np.arange(1000), rng.integers(0, 5, 1000)] = nan
prompts, true = np.repeat(np.arange(1000), 5), np.array([np.nanmin(table, 1), np.nanmax(table, 1)])
grouped = extremes(prompts, table.ravel(), "GROUP BY prompt ORDER BY prompt")
for name, got, right in zip(("minima", "maxima"), grouped, true):
    wrong = int((~np.isnan(got) & (got != right)).sum())
    print(f"{name} of 1000 prompts: right {int((got == right).sum())}, NaN {int(np.isnan(got).sum())}, another {wrong}")
kept = extremes(prompts, table.ravel(), "WHERE NOT isnan(score) GROUP BY prompt ORDER BY prompt")
print("right without the NaN rows:", np.array_equal(kept, true))
same = three["[1.0, nan, 2.0]"].tolist() == [2, 2] and three["[2.0, nan, 1.0]"].tolist() == [1, 1]
same = same and (~np.isnan(grouped) & (grouped != true)).sum() > 400 and np.array_equal(kept, true)
if not same:
    sys.exit("the behaviour has changed")
END
