#!/bin/sh
# Expected: fixed-size binary columns (digests, UUIDs) come back from Parquet with the bytes that were written.
# Happens: fastparquet drops zero bytes at the end: of 16-byte digests written by pyarrow one in 256 comes back with
# 15 bytes or fewer, all others are right. A float16 column comes as such bytes too, 1.5 as two bytes, 0 as none.
# Seen: 2026-11-29, Python 3.11, fastparquet 2026.9.0, pyarrow 26.0.1, pandas 3.1.1, NumPy 2.4.6
# Hurts: who joins responses or labels on hashes as ids: a join loses one row in 256, silently, and the same rows each
# time; digests that differ in trailing zeros alone become one.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1 fastparquet==2026.9.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pandas', 'pyarrow', 'fastparquet']:
    print(name, importlib.metadata.version(name))
print('16-byte ids that end in a zero byte come back shorter')

import hashlib

import fastparquet
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ids = [hashlib.blake2b(b"%d" % i, digest_size=16).digest() for i in range(4096)]
half = np.resize(np.array([1.5, 0.0, 2.0**-24], np.float16), 4096)
pq.write_table(pa.table({"id": pa.array(ids, pa.binary(16)), "label": range(4096), "half": half}), "labels.parquet")
frame = fastparquet.ParquetFile("labels.parquet").to_pandas()
cut = [i for i, (written, read) in enumerate(zip(ids, frame["id"])) if written != read]
print("cut:", len(cut), "of", len(ids), "for example", ids[cut[0]].hex(), "->", frame["id"][cut[0]].hex())
print("pyarrow reads them whole:", pq.read_table("labels.parquet")["id"].to_pylist() == ids)
joined = frame.merge(pd.DataFrame({"id": ids}), on="id")
print("rows of a join with the ids:", len(joined), "float16:", frame["half"][:3].tolist())
ends = [i for i, written in enumerate(ids) if written.endswith(b"\0")]
same = cut == ends and len(cut) > 0 and len(joined) == 4096 - len(cut) and frame["half"][1] == b""
if not same:
    sys.exit("the behaviour has changed")
END
