#!/bin/sh
# Expected: a query of a PyTables table finds the same rows with an index on its column and without.
# Happens: the index that create_index() makes (kind medium) is built slice by slice. With one NaN in a slice none of the
# slice's rows is found by a lower bound: of 4575 scores above 2 among 200,000 only 1014 are, and none of those in the
# first 100 rows. Upper bounds are right, and so are full indices (create_csindex) and a table of 20,000 rows. No warning.
# Seen: 2026-11-30, x86-64, Python 3.11, PyTables 3.11.1, NumExpr 2.14.2, NumPy 2.4.6
# Hurts: who keeps scores or activations of many responses in one table and indexes a column to be faster: one missing
# score takes the high scores of tens of thousands of other rows away. Call create_csindex(), or query without an index.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 numexpr==2.14.2 tables==3.11.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys, warnings
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'numexpr', 'tables']:
    print(name, importlib.metadata.version(name))
print('one missing score hides high scores from an indexed query')

import numpy as np
import tables

queries = ["score > 2", "score >= 0", "(score > 0.5) & (id < 100)", "score < -2"]


def counts(scores, **index):
    rows = np.zeros(scores.size, [("id", "i8"), ("score", "f8")])
    rows["id"], rows["score"] = np.arange(scores.size), scores
    with tables.open_file("scores.h5", "w") as file:
        table = file.create_table("/", "scores", rows.dtype)
        table.append(rows)
        table.flush()
        plain = [len(table.read_where(query)) for query in queries]
        table.cols.score.create_index(**index)
        found = [len(table.read_where(query)) for query in queries]
        used = all(table.will_query_use_indexing(query) for query in queries)
        return plain, found, used


scores = np.random.default_rng(0).normal(size=200000)
gap = scores.copy()
gap[1234] = np.nan
right = [int((gap > 2).sum()), int((gap >= 0).sum()), int((gap[:100] > 0.5).sum()), int((gap < -2).sum())]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    seen = {kind: counts(gap, kind=kind) for kind in ("medium", "full")}
    default, whole, few = counts(gap), counts(scores), counts(gap[:20000])
ours = [str(w.message) for w in said if "NaN" in str(w.message) or "nan" in str(w.message)]
print("queries", queries, "right", right)
print("default index: without it", default[0], "with it", default[1])
for kind, (plain, found, used) in seen.items():
    print(kind, found)
print("no NaN", whole[0] == whole[1], "20,000 rows with one", few[0] == few[1], "warnings about NaN", len(ours))
same = default[0] == right and default[1] == seen["medium"][1] and default[2]
same = same and default[1][0] < right[0] / 3 and default[1][2] == 0 < right[2] and default[1][3] == right[3]
same = same and seen["full"][1] == right and whole[0] == whole[1] and few[0] == few[1] and not ours
if not same:
    sys.exit("the behaviour has changed")
END
