#!/bin/sh
# Expected: an ORC writer refuses an integer that its column cannot hold, and a file means the same to each reader.
# Happens: pyorc wraps in a tinyint, where 200 becomes -56 and 300 becomes 44, and writes into smallint and int columns
# whatever fits 64 bits. Its own reader gives that back, so that a check passes; pyarrow reads the low bits of the same
# file: 40,000 is -25,536, the id 2^40 + 7 is 7. No warning by either.
# Seen: 2026-11-30, Python 3.11, pyorc 0.12.0, pyarrow 26.0.1, NumPy 2.4.6
# Hurts: who writes ids that are hashes of 32 bits, or ratings of 0 to 255, with a schema of small integers: ids turn
# negative or merge elsewhere, the best ratings become the worst. Use bigint, or compare with the column's range before.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pyarrow==26.0.1 pyorc==0.12.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys, warnings
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pyarrow', 'pyorc']:
    print(name, importlib.metadata.version(name))
print('one ORC file holds other integers for another reader')

import pyarrow.orc
import pyorc

written = {"tinyint": [100, 200, 300], "smallint": [1, 40_000, 70_000], "int": [1, 2**32 - 2, 2**40 + 7, 7]}
seen = {}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for kind, numbers in written.items():
        with open(kind, "wb") as file, pyorc.Writer(file, f"struct<number:{kind}>") as writer:
            for number in numbers:
                writer.write((number,))
        with open(kind, "rb") as file:
            own = [row[0] for row in pyorc.Reader(file)]
        seen[kind] = own, pyarrow.orc.read_table(kind)["number"].to_pylist()
        print(kind, "written", numbers, "read by pyorc", own, "by pyarrow", seen[kind][1])
print("warnings", len(said))
same = seen["tinyint"] == ([100, -56, 44], [100, -56, 44]) and seen["smallint"] == (written["smallint"], [1, -25536, 4464])
same = same and seen["int"] == (written["int"], [1, -2, 7, 7]) and not said
if not same:
    sys.exit("the behaviour has changed")
END
