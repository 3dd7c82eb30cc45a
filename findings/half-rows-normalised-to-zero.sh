#!/bin/sh
# Expected: normalize gives rows of length 1, and cosine_similarity of the same rows is their product.
# Happens: normalize keeps float16 and its norm overflows beyond 65504 = 255.9^2: the row becomes zeros,
# silently. cosine_similarity, in the same library, converts first and is right.
# Seen: 2026-11-29, Python 3.11, scikit-learn 1.9.1, NumPy 2.4.6
# Hurts: who stores unit-length float16 hidden states: one massive coordinate makes the row vanish from every
# later product.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'scipy', 'scikit-learn']:
    print(name, importlib.metadata.version(name))
print('float16 rows of norm 640 are normalised to 0')

import warnings

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize

warnings.simplefilter("ignore")
rows = np.full((2, 4096), 10, np.float16)
unit = normalize(rows)
print("length after normalize:", np.linalg.norm(unit.astype(float), axis=1), "cosine:", cosine_similarity(rows)[0])
same = not unit.any() and bool(np.allclose(cosine_similarity(rows), 1, atol=1e-3))
if not same:
    sys.exit("the behaviour has changed")
END
