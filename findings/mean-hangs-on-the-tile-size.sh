#!/bin/sh
# Expected: the mean of an attribute is its sum by the number of cells it sums, however the array is cut into tiles.
# Happens: of a dense array that is not wholly written, agg leaves unwritten cells out of sum, min and max, but the mean
# counts those that share a tile with a written one: 1, 2, 3, 4 in ten cells have a mean of 1 in one tile of ten, of 2 in
# tiles of five and of 2.5 in tiles of two. "count" is 10 for all. Read as an array the empty cells are NaN. No warning.
# Seen: 2026-11-30, Python 3.11, tiledb 0.36.1, NumPy 2.4.6
# Hurts: who makes an array of scores for all prompts and fills it while a run goes on: means of what is there are too
# small by a factor that the tile size sets. Name the written cells, agg(...)[:n], or read and average them.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 tiledb==0.36.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys, warnings
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'tiledb']:
    print(name, importlib.metadata.version(name))
print('the mean of a half-written array depends on its tiles')

import numpy as np
import tiledb

found = {}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for dtype in (np.float64, np.int64):
        for tile in (10, 5, 2):
            name = f"scores-{np.dtype(dtype)}-{tile}"
            domain = tiledb.Domain(tiledb.Dim("prompt", domain=(0, 9), tile=tile, dtype=np.int32))
            schema = tiledb.ArraySchema(domain=domain, attrs=[tiledb.Attr("score", dtype=dtype)])
            tiledb.Array.create(name, schema)
            with tiledb.open(name, "w") as scores:
                scores[0:4] = {"score": np.array([1, 2, 3, 4], dtype=dtype)}
            with tiledb.open(name) as scores:
                query = scores.query()
                whole = query.agg({"score": ["sum", "min", "max", "mean", "count"]})[:]
                part = scores.query().agg("mean")[0:4]
                read = scores[:]["score"]
            if dtype is np.float64:
                empty = read[4:]
            found[str(np.dtype(dtype)), tile] = whole["mean"], whole["sum"], whole["min"], part
            print(np.dtype(dtype), "tiles of", tile, whole, "of the first four", part)
    print("empty cells of float64 as read", empty.tolist(), "warnings", len(said))
same = all(value[0] == {10: 1, 5: 2, 2: 2.5}[tile] for (_, tile), value in found.items())
same = same and all(value[1] == 10 and value[2] == 1 for value in found.values()) and not said
same = same and all(value[3] == 2.5 for value in found.values())
if not same:
    sys.exit("the behaviour has changed")
END
