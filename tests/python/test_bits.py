"""A report is the same byte for byte whatever BLAS, the hash seed, the locale, the time zone, the number of cores and
the folder it is made in are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import clinometer as cm
from clinometer.common.threads import product
from clinometer.fit.descent import Triangle

CODE = """
import hashlib, os, sys, warnings
if os.environ.get("CORES") == "one" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np, clinometer as cm
warnings.simplefilter("ignore")
dump = cm.open_dump(sys.argv[1])
kw = dict(constitutions=["judge/kind", "judge/honest"], values=["helpful", "-harm"], kl=[0.25, 0.5])
report = cm.report(dump, **kw)
said = [report.to_json(), report.to_html(), report.to_csv(), report.to_text(full=True)]
found = cm.inference.gain_intervals(dump, "judge/kind", None, ["helpful"], kl=[0.2], replicates=20)
said.append(found.interval.tobytes().hex())
said.append(cm.fit_value_direction(dump, "helpful", method="logistic", alpha=1.0).vectors.tobytes().hex())
pairs = np.arange(dump.n_rows).reshape(-1, 2)
labels = dump.column("value_helpful")[pairs[:, 0]]
said.append(cm.fit_preference_direction(dump, pairs, labels, alpha=0.1).vectors.tobytes().hex())
print(hashlib.sha256("".join(said).encode()).hexdigest())
"""


def test_reports_do_not_know_the_environment(tmp_path: Path) -> None:
    G, n, d = 700, 8, 130  # wide enough that BLAS shares products, and LAPACK factorisations, among its threads
    rng = np.random.default_rng(3)
    x, u = rng.normal(size=(G * n, d)), rng.normal(size=(4, d))
    names = ("value_harm", "judge/kind", "judge/honest")
    columns = {name: (x @ u[k] + rng.normal(size=G * n)).astype(np.float32) for k, name in enumerate(names)}
    columns["value_helpful"] = (x @ u[3] > 0).astype(np.float32)
    cm.write_dump(tmp_path / "d", x.astype(np.float16), prompt_ids=np.repeat(np.arange(G), n), columns=columns)
    odd = {
        "OPENBLAS_NUM_THREADS": "2",
        "OMP_NUM_THREADS": "3",
        "PYTHONHASHSEED": "7",
        "LC_ALL": "C",
        "TZ": "Asia/Tokyo",
        "CORES": "one",
        "PYTHONOPTIMIZE": "2",
    }
    said = set()
    for more in ({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}, odd):
        command = [sys.executable, "-c", CODE, str(tmp_path / "d")]
        there = tmp_path / more["PYTHONHASHSEED"]
        there.mkdir()
        env = {**os.environ, **more}
        said.add(subprocess.run(command, env=env, cwd=there, capture_output=True, text=True, check=True).stdout)
    assert len(said) == 1


def test_a_product_of_its_own_order() -> None:
    rng = np.random.default_rng(0)
    for n, k, m in ((1, 1, 1), (3, 0, 2), (7, 33, 5), (200, 1500, 17), (65, 129, 65), (2, 5000, 3), (300, 3, 1)):
        a, b = rng.normal(size=(n, k)), rng.normal(size=(k, m))
        np.testing.assert_allclose(product(a, b), a @ b, atol=1e-11)
    np.testing.assert_allclose(product(a.T, a), a.T @ a, atol=1e-11)
    counts = rng.integers(0, 3, (4, 9))
    assert (product(counts, counts.T > 1) == counts @ (counts.T > 1)).all()


def test_a_triangle_in_blocks_solves_from_either_side() -> None:
    rng = np.random.default_rng(1)
    for n in (1, 5, 64, 65, 200):
        x, v = rng.normal(size=(n, n + 9)), rng.normal(size=(3, n))
        root = Triangle(x @ x.T)
        np.testing.assert_allclose(root.factor, np.linalg.cholesky(x @ x.T), atol=1e-9)
        np.testing.assert_allclose(root.over(v) @ root.factor, v, atol=1e-8)
        np.testing.assert_allclose(root.over_transposed(v) @ root.factor.T, v, atol=1e-8)
    with pytest.raises(np.linalg.LinAlgError):
        Triangle(-np.eye(70))
