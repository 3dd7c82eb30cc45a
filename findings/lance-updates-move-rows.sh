#!/bin/sh
# Expected: changing a value of a row leaves the row where it is.
# Happens: update and merge_insert write the changed rows anew behind all others: after an update of id 3 the
# order is 0, 1, 2, 4, ..., 9, 3, and take() counts in that order.
# Seen: 2026-11-29, Python 3.11, pylance 14.0.2, pyarrow 26.0.1
# Hurts: who corrects a label in a table of activations and goes on pairing its rows with arrays saved
# before.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pyarrow==26.0.1 pylance==14.0.2
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pyarrow', 'pylance']:
    print(name, importlib.metadata.version(name))
print('an updated row of a Lance table is no longer where it was')

import lance
import pyarrow as pa

table = pa.table({"id": list(range(10)), "label": [0.0] * 10})
data = lance.write_dataset(table, "labels.lance")
data.update({"label": "1.0"}, where="id = 3")
updated = data.to_table()["id"].to_pylist()
data.merge_insert("id").when_matched_update_all().execute(table.slice(5, 2))
merged = lance.dataset("labels.lance").to_table()["id"].to_pylist()
print("after update:", updated, "after merge_insert:", merged)
same = updated == [0, 1, 2, 4, 5, 6, 7, 8, 9, 3] and merged[-2:] == [5, 6]
if not same:
    sys.exit("the behaviour has changed")
END
