#!/bin/sh
# Expected: an aggregate of float64 numbers is float64, and collected ids are the ids.
# Happens: torchmetrics converts what its aggregates are given to torch's default dtype: SumMetric of 1e8 and 1 is 1e8,
# MeanMetric of log-probabilities loses the seventh digit, and CatMetric turns int64 ids into float32, where 2^40 + 5
# and 2^40 + 6 are one. The module's .double() leaves all as it was. No warning.
# Seen: 2026-11-30, Python 3.11, torchmetrics 1.9.0, torch 2.13.0, NumPy 2.4.6
# Hurts: who gathers ids or sums log-probabilities over a run with them: ids merge, and small differences are gone.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0 torchmetrics==1.9.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'torch', 'torchmetrics']:
    print(name, importlib.metadata.version(name))
print('aggregates narrow float64 and int64 to float32')

import torch
import torchmetrics


def gather(metric, *values, dtype):
    for value in values:
        metric.update(torch.tensor(value, dtype=dtype))
    return metric.compute()


total = gather(torchmetrics.SumMetric(), 1e8, 1.0, dtype=torch.float64)
mean = gather(torchmetrics.MeanMetric(), -1234.56789012, -1234.56789014, dtype=torch.float64)
ids = gather(torchmetrics.CatMetric(), [2**40 + 5], [2**40 + 6], dtype=torch.int64)
wide = gather(torchmetrics.SumMetric().double(), 1e8, 1.0, dtype=torch.float64)
print("sum", total.item(), total.dtype, "mean", mean.item(), "after .double()", wide.item())
print("ids", ids.tolist(), ids.dtype)
same = total.item() == 1e8 and ids.unique().numel() == 1 and abs(mean.item() + 1234.56789013) > 1e-6
same = same and wide.item() == 1e8
if not same:
    sys.exit("the behaviour has changed")
END
