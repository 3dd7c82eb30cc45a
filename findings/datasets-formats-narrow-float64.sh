#!/bin/sh
# Expected: datasets.Dataset.with_format("numpy") gives a float64 column as float64, as it does int64 as int64.
# Happens: it gives float32, and so does "torch": 1234.56789 becomes 1234.5679, 1e300 becomes inf, two sums of
# log-probabilities that differ by 5e-5 become equal. The column's own type still says float64.
# Seen: 2026-11-29, Python 3.11, datasets 5.2.0, torch 2.13.0, NumPy 2.4.6
# Hurts: who keeps log-probabilities, times or scores in float64 and subtracts them: log-ratios of long responses
# keep three digits or fewer. Read with_format("arrow"), or pass dtype="float64".
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0 datasets==5.2.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'torch', 'datasets']:
    print(name, importlib.metadata.version(name))
print('formats numpy and torch give float64 columns as float32')

import numpy as np
from datasets import Dataset

logprob = [-1234.56789, -1234.56784, 1e300]
data = Dataset.from_dict({"logprob": logprob, "id": [2**53 + 1, 2**62 + 1, 0]})
print(data.features)
same = True
for name in ("numpy", "torch"):
    got = data.with_format(name)[:]
    x = np.asarray(got["logprob"])
    print(name, x.dtype, x.tolist(), "difference", float(x[1] - x[0]), "ids", got["id"].dtype)
    same = same and x.dtype == np.float32 and bool(np.isinf(x[2])) and x[0] == x[1]
wide = data.with_format("numpy", dtype="float64")[:]["logprob"]
plain = data.with_format("arrow")[:]["logprob"].to_numpy()
print("dtype=float64", wide.tolist(), "arrow", plain.tolist())
same = same and wide.tolist() == plain.tolist() == logprob
if not same:
    sys.exit("the behaviour has changed")
END
