#!/bin/sh
# Expected: maxsim_cpu scores a query and documents by their numbers, in whatever order NumPy keeps them in memory.
# Happens: of an array in Fortran order (a transposed view, as of embeddings stored dimension by token) it takes the memory
# as if in C order, so numbers of all tokens are mixed into each. Views with gaps are refused ("not contiguous"), these
# not. It is so of queries, of documents, and of whole batches; the scores look like those of unrelated texts.
# Seen: 2026-12-01, Python 3.11, maxsim-cpu 0.1.0, NumPy 2.4.6
# Hurts: who reranks by late interaction with arrays that came transposed from another tool, or from numpy.load of a file
# saved in Fortran order: the matching document is lost among the others. numpy.ascontiguousarray before makes it right.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 maxsim-cpu==0.1.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'maxsim-cpu']:
    print(name, importlib.metadata.version(name))
print('the best document is lost when arrays are in Fortran order')

import maxsim_cpu
import numpy as np


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype("f4")


rng = np.random.default_rng(0)
found = {"C order": 0, "query in Fortran order": 0, "documents in Fortran order": 0}
for _ in range(200):
    query = unit(rng.normal(size=(8, 128)))
    documents = [unit(rng.normal(size=(30, 128))) for _ in range(10)]
    documents[4][:8] = unit(query + 0.05 * rng.normal(size=query.shape))
    true = np.array([(query @ rows.T).max(1).sum() for rows in documents])
    turned = [np.asfortranarray(rows) for rows in documents]
    scores = [(query, documents), (np.asfortranarray(query), documents), (query, turned)]
    scores = [maxsim_cpu.maxsim_scores_variable(q, rows) for q, rows in scores]
    for name, score in zip(found, scores):
        found[name] += int(score.argmax() == 4)
print("true scores", true.round(2))
for name, score in zip(found, scores):
    print(f"{name}: scores {score.round(2)}, the right document first in {found[name]} of 200 queries")
batch = np.stack(documents)
stored = np.asfortranarray(batch)
whole = [maxsim_cpu.maxsim_scores(query, rows) for rows in (batch, stored)]
print("the same of a batch:", *(score.round(2) for score in whole))
same = np.allclose(scores[0], true, atol=1e-4) and found["C order"] == 200 and max(list(found.values())[1:]) < 60
same = same and np.allclose(whole[0], true, atol=1e-4) and not np.allclose(whole[1], true, atol=1)
if not same:
    sys.exit("the behaviour has changed")
END
