"""Time and memory of fits on rows that are streamed: ``python benchmarks/fits.py``.

    python benchmarks/fits.py [--rows 1000000] [--dim 1024] [--pairs 500000] [--threads 2] [--folder /tmp]

Makes rows in bfloat16 with planted directions in a temporary folder (2 GB at the defaults), runs each fit in a process
of its own, and prints seconds of the wall and of the process, the peak of memory that is not mapped from the file, that
over (folds + 1) d^2 float64, the peak of all resident pages, how near the fit comes to the planted direction, and the
time of scikit-learn on the first tenth of the rows, which it wants in float32 and in memory. Prompts of 10 rows, 5
folds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

N_PROMPT = 10
FITS = (
    "ridge, alpha by folds", "least squares", "ridge by passes, alpha=1", "logistic, alpha=0.1", "lda, alpha=0.1",
    "mean difference", "generation, with length", "hard pairs, alpha=0.1",
)  # fmt: skip
PEERS = ("scikit-learn Ridge", "scikit-learn LogisticRegression, rows", "scikit-learn LogisticRegression, pairs")


def make(folder: Path, rows: int, dim: int, pairs: int) -> None:
    """Rows as raw bfloat16 and columns beside them; coordinates fall off as 1/i^(1/4)."""
    rng = np.random.default_rng(0)
    sd = np.arange(1, dim + 1) ** -0.25
    u = (rng.normal(size=dim) / sd / np.sqrt(dim)).astype(np.float32)
    held = np.memmap(folder / "phi.bf16", np.uint16, "w+", shape=(rows, dim))
    score = np.empty(rows)
    for start in range(0, rows, 50_000):
        stop = min(start + 50_000, rows)
        x = rng.standard_normal((stop - start, dim), np.float32) * sd.astype(np.float32)
        prompt = np.arange(start, stop) // N_PROMPT
        x += np.random.default_rng(1).standard_normal((7, dim), np.float32)[prompt % 7]
        held[start:stop] = (x.view(np.uint32) + 0x8000 >> 16).astype(np.uint16)
        score[start:stop] = (held[start:stop].astype(np.uint32) << 16).view(np.float32) @ u
    held.flush()
    s = score + rng.normal(size=rows)
    first = rng.integers(0, rows // N_PROMPT, pairs) * N_PROMPT
    a, b = rng.integers(0, N_PROMPT, pairs), rng.integers(1, N_PROMPT, pairs)
    pair = np.stack([first + a, first + (a + b) % N_PROMPT], axis=1)
    hard = rng.random(pairs) < 1 / (1 + np.exp(score[pair[:, 1]] - score[pair[:, 0]]))
    centre = s.reshape(-1, N_PROMPT).mean(axis=1).repeat(N_PROMPT)
    np.savez(
        folder / "columns.npz", u=u, s=s, up=(s > centre) * 1.0, logp=score - 40 + rng.normal(size=rows),
        length=rng.integers(20, 400, rows), pairs=pair, hard=hard * 1.0,
    )  # fmt: skip


def data(folder: Path, dim: int) -> tuple[Any, dict[str, Any]]:
    import ml_dtypes

    rows = np.memmap(folder / "phi.bf16", np.uint16, "r").reshape(-1, dim).view(ml_dtypes.bfloat16)
    with np.load(folder / "columns.npz") as held:
        return rows, dict(held)


def one_fit(name: str, folder: Path, dim: int, threads: int) -> dict[str, float]:
    """Seconds, peaks in MB and cosine of one of ours, in this process."""
    import clinometer as cm

    phi, c = data(folder, dim)
    dump = cm.open_dump(phi, prompt_ids=np.arange(len(phi)) // N_PROMPT)
    fit: dict[str, Callable[[], Any]] = {
        FITS[0]: lambda: cm.fit_value_direction(dump, c["s"], pooled=False, n_threads=threads),
        FITS[1]: lambda: cm.fit_value_direction(dump, c["s"], method="least_squares", pooled=False, n_threads=threads),
        FITS[2]: lambda: cm.fit_value_direction(
            dump, c["s"], alpha=1.0, pooled=False, memory_limit=0, n_threads=threads
        ),
        FITS[3]: lambda: cm.fit_value_direction(
            dump, c["up"], method="logistic", alpha=0.1, pooled=False, n_threads=threads
        ),
        FITS[4]: lambda: cm.fit_value_direction(
            dump, c["up"], method="lda", alpha=0.1, pooled=False, n_threads=threads
        ),
        FITS[5]: lambda: cm.fit_value_direction(
            dump, c["up"], method="mean_difference", pooled=False, n_threads=threads
        ),
        FITS[6]: lambda: cm.fit_generation_direction(dump, c["logp"], covariates=c["length"], n_threads=threads),
        FITS[7]: lambda: cm.fit_preference_direction(dump, c["pairs"], c["hard"], alpha=0.1, n_threads=threads),
    }
    cm.score(dump, np.ones((1, dim)), n_threads=threads)  # pages of the file are in memory, as they are for the others
    with Peak() as peak:
        start, cpu = time.perf_counter(), time.process_time()
        found = fit[name]()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    u = c["u"].astype(float)
    return {
        "seconds": seconds, "cpu": cpu, "own": peak.own, "resident": peak.resident,
        "cosine": float(found.vector @ u / np.linalg.norm(u) / np.linalg.norm(found.vector)),
    }  # fmt: skip


def one_peer(name: str, folder: Path, dim: int, threads: int) -> dict[str, float]:
    """The same of scikit-learn on a tenth of the rows (or pairs), widened before the clock starts."""
    from sklearn.linear_model import LogisticRegression, Ridge

    phi, c = data(folder, dim)
    n = len(phi) // 10 // N_PROMPT * N_PROMPT
    if name == PEERS[2]:
        pair = c["pairs"][: len(c["pairs"]) // 10]
        x, y = (np.asarray(phi[p], np.float32) for p in pair.T), c["hard"][: len(pair)]
        x = np.subtract(*x)
    else:
        x = np.asarray(phi[:n], np.float32).reshape(-1, N_PROMPT, dim)
        x = (x - x.mean(axis=1, keepdims=True)).reshape(n, dim)
        y = c["up"][:n] if name == PEERS[1] else c["s"][:n]
    unit = float((x * x).mean())
    with Peak() as peak:
        start, cpu = time.perf_counter(), time.process_time()
        if name == PEERS[0]:
            u = Ridge(alpha=0.01 * n * unit, fit_intercept=False).fit(x, y).coef_
        else:
            model = LogisticRegression(C=1 / (0.1 * unit * len(x)), fit_intercept=name == PEERS[1], max_iter=1000)
            u = model.fit(x, y).coef_[0]
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    cosine = float(u @ c["u"] / np.linalg.norm(u) / np.linalg.norm(c["u"]))
    own = peak.own + x.nbytes / 1e6
    return {"seconds": seconds, "cpu": cpu, "own": own, "resident": peak.resident, "cosine": cosine}


class Peak:
    """Largest anonymous and resident memory in MB above what was there at the start, looked at every 5 ms."""

    def __enter__(self) -> Peak:
        self.base, self.own, self.resident, self.done = self._now(), 0.0, 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.005):
            now = self._now()
            self.own, self.resident = max(self.own, now[0] - self.base[0]), max(self.resident, now[1])

    @staticmethod
    def _now() -> tuple[float, float]:
        with open("/proc/self/status", encoding="ascii") as file:
            held = {line.split(":")[0]: line.split()[1] for line in file if line.startswith(("RssAnon", "VmRSS"))}
        return int(held["RssAnon"]) / 1000, int(held["VmRSS"]) / 1000


def run(kind: str, name: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """One fit in a process of its own."""
    threads = str(args.threads)
    own = dict(os.environ, OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads)
    command = [sys.executable, __file__, "--one", kind, name, "--folder", str(folder), "--dim", str(args.dim),
               "--threads", threads]  # fmt: skip
    out = subprocess.run(command, env=own, capture_output=True, text=True)
    if out.returncode:
        raise SystemExit(f"{name}: {out.stderr}")
    return dict(json.loads(out.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--pairs", type=int, default=500_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--fits", nargs="*", default=[*FITS, *PEERS])
    parser.add_argument("--one", nargs=2, metavar=("KIND", "NAME"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        kind, name = args.one
        print(json.dumps((one_fit if kind == "fit" else one_peer)(name, args.folder, args.dim, args.threads)))
        return
    d = args.dim
    print(f"{args.rows} x {d} bfloat16, {args.pairs} pairs, prompts of {N_PROMPT}, {args.threads} threads; "
          f"matrices (folds + 1) d^2 float64 are {6 * d * d * 8 / 1e6:.0f} MB, 4 folds d^2 at the peak "
          f"{20 * d * d * 8 / 1e6:.0f} MB; kept differences of pairs 1074 MB at most")  # fmt: skip
    print(f"{'fit':<40} {'seconds':>8} {'CPU s':>8} {'own MB':>8} {'/ stated':>8} {'resident MB':>12} {'cosine':>7}")
    stated = 6 * d * d * 8 / 1e6
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder = Path(temporary)
        make(folder, args.rows, args.dim, args.pairs)
        for name in args.fits:
            r = run("fit" if name in FITS else "peer", name, folder, args)
            shown = name + (", a tenth" if name in PEERS else "")
            print(
                f"{shown:<40} {r['seconds']:8.1f} {r['cpu']:8.1f} {r['own']:8.0f} {r['own'] / stated:8.1f} "
                f"{r['resident']:12.0f} {r['cosine']:7.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
