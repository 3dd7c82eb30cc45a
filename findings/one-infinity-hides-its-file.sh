#!/bin/sh
# Expected: rows of a Delta table that pass a filter are those that pass it in memory.
# Happens: the log of a table holds minimum and maximum of every column of a file, in JSON, where inf is null. deltalake's
# to_pyarrow_dataset, to_pyarrow_table(filters=) and to_pandas(filters=) read the null as a bound, and no value is above
# or below it: a file with one inf or -inf gives no row at all for any filter of that column. NaN is left out of the
# bounds, so a file whose bounds pass gives its NaN rows as well. SQL and a count without filter are right. No warning.
# Seen: 2026-11-30, Python 3.11, deltalake 1.6.6, pyarrow 26.0.1, NumPy 2.4.6
# Hurts: who keeps log-probabilities or log-weights in a Delta table: one response that a policy cannot give, with -inf,
# takes the other rows of its file with it. Filter in memory, or with QueryBuilder.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pyarrow==26.0.1 deltalake==1.6.6
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys, warnings
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pyarrow', 'deltalake']:
    print(name, importlib.metadata.version(name))
print('one infinite log-probability hides all rows of its file from a filter')

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder, write_deltalake

rng = np.random.default_rng(0)
logp = -20 * rng.exponential(size=2000)
logp[7] = -np.inf
for part in (slice(0, 1000), slice(1000, 2000)):
    rows = pa.table({"id": np.arange(2000)[part], "logp": logp[part]})
    write_deltalake("responses", rows, mode="append")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    table = DeltaTable("responses")
    whole = table.to_pyarrow_table()
    by_list = table.to_pyarrow_table(filters=[("logp", ">", -50)])
    data = table.to_pyarrow_dataset()
    by_expression = data.to_table(filter=pc.field("logp") > -50)
    by_id = data.to_table(filter=pc.field("id") < 10)
sql = QueryBuilder().register("t", table).execute("select id from t where logp > -50").read_all()
right = int((logp > -50).sum())
counts = [by_list.num_rows, by_expression.num_rows]
print("rows", whole.num_rows, "of them above -50", right, "by SQL", sql.num_rows, "warnings", len(said))
print("by filters= and by an expression", counts, "smallest id", min(by_list["id"].to_pylist()))
print("by another column, id < 10", by_id.num_rows)

scores = pa.table({"id": [0, 1, 2, 3], "score": [0.5, float("nan"), 0.25, 1.0]})
write_deltalake("scores", scores)
kept = DeltaTable("scores").to_pyarrow_table(filters=[("score", ">=", 0.25)])["score"].to_pylist()
middle = DeltaTable("scores").to_pyarrow_table(filters=[("score", ">=", 0.3)])["score"].to_pylist()
print("scores .5, nan, .25, 1 of at least .25:", kept, "of at least .3:", middle)
same = whole.num_rows == 2000 and sql.num_rows == right > 1500 and by_id.num_rows == 10 and not said
same = same and set(counts) == {int((logp[1000:] > -50).sum())} and min(by_list["id"].to_pylist()) >= 1000
same = same and len(kept) == 4 and len(middle) == 2
if not same:
    sys.exit("the behaviour has changed")
END
