"""Passes of 1e9 rows and more: on paper, simulated, and by the workers of a Dask cluster on this machine.

    python benchmarks/scale.py paper [--rows 1e9 1e11] [--dim 4096] [--disk 2e9] [--price 0.05]
    python benchmarks/scale.py simulate [--rows 1e9] [--state FILE]      goes on where an interrupted run stopped
    python benchmarks/scale.py workers [--seconds 10] [--rounds 3]       1, 2 and 4 workers, no Dask, the model
    python benchmarks/scale.py scheduler [--rate 200] [--seconds 60]     small tasks on loopback, each counted

`paper` takes what one core does here (`measured`) and prints, for a tilt of one direction and for moments: bytes read,
core seconds, wall seconds by cores and by the bandwidth of the store, memory and money. docs/scale.md explains it.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import tempfile
import time
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import clinometer as cm
from clinometer import _core
from clinometer.dump import Dump
from clinometer.dump.segments import Segment
from clinometer.engine.inputs import LEAF, Call, absorb
from clinometer.engine.population import Population
from clinometer.stream.nodes import collapse, push

CELL = np.array([[0, 0, 3], [0, 1, 0], [2, 0, 0], [0, 0, 1], [0, 5, 0], [0, 0, 0], [1, 0, 0], [1, 2, 0]])  # one prompt


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip() or "no commit"


def header() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")
    print(f"{date.today()}, commit {commit()}, {cpu}, {os.cpu_count()} CPUs, kernels {_core.isa()}")


# ---- on paper


def measured(dim: int, rows: int = 1 << 15) -> tuple[float, float]:
    """Seconds of one core a row: scoring one direction, and moments with their covariance."""
    phi, ids = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float16), np.arange(rows) // 16
    dump, u = cm.open_dump(phi, prompt_ids=ids), np.ones((1, dim))
    out = []
    for f in (lambda: cm.score(dump, u, n_threads=1), lambda: cm.moments(dump, n_threads=1)):
        took = []
        for _ in range(3):
            begun = time.process_time()
            f()
            took.append(time.process_time() - begun)
        out.append(min(took) / rows)
    return out[0], out[1]


def paper(args: argparse.Namespace) -> None:
    header()
    d, by_row = args.dim, measured(args.dim)
    print(f"one core: {by_row[0] * 1e9:.0f} ns a row of {d} float16 for a score, {by_row[1] * 1e6:.1f} us for moments")
    for n in map(float, args.rows):
        read, leaves = 2 * n * d, n / LEAF
        print(f"\n{n:.0e} rows of {d} float16: {read / 1e12:.1f} TB, {leaves:.0f} leaves; at the one that calls")
        print(f"  {n / 2e9:.1f} GB for prompts of 16 rows, {8 * n / 1e9:.0f} GB a value and a direction's kept scores")
        for name, seconds, state in (("score or tilt", by_row[0], 0), ("moments", by_row[1], 4 * d * d)):
            hours, held = n * seconds / 3600, state * (np.log2(max(leaves / 8, 1)) + 2) / 1e9
            print(f"  {name}: {hours:.1f} core hours, {hours * args.price:.2f} of money; states {held:.2f} GB")
            for cores in (1, 16, 256):
                store = read / (args.disk * min(cores, args.disk_most)) / 3600
                limit = "cores" if hours / cores >= store else "store"
                print(f"    {cores:4} cores: {max(hours / cores, store):9.2f} h, by the {limit}")


# ---- simulated


def source(n: int) -> Dump:
    """n rows of one block in memory, repeated: whole prompts of `CELL`, as float16."""
    block = np.tile(CELL, (1 << 16, 1)).astype(np.float16)
    starts = range(0, n, len(block))
    segments = tuple(Segment(block[: min(len(block), n - a)], a) for a in starts)
    return Dump(segments, n, CELL.shape[1], "float16", name="repeated")


def exact() -> tuple[list[Fraction], list[list[Fraction]]]:
    """Mean and covariance of one prompt, which are those of any number of equal ones."""
    m, d = len(CELL), CELL.shape[1]
    cells = [[Fraction(int(x)) for x in row] for row in CELL]
    mean = [sum(row[i] for row in cells) / m for i in range(d)]
    return mean, [[sum((r[i] - mean[i]) * (r[j] - mean[j]) for r in cells) / m for j in range(d)] for i in range(d)]


def simulate(args: argparse.Namespace) -> None:
    header()
    n, per = int(float(args.rows)) // len(CELL) * len(CELL), LEAF * 1024
    dump, path = source(n), Path(args.state)
    nodes: list[Any] = []
    kind = {"n": n, "precision": args.precision}
    done, spent, double = 0, 0.0, args.precision == "double"
    if path.exists():
        held = pickle.loads(path.read_bytes())
        if {name: held[name] for name in kind} == kind:
            done, spent, nodes = held["done"], held["spent"], held["nodes"]
            print(f"goes on at row {done:,}")
    direction, betas = np.array([[1.0, 0.5, -1.0]]), np.array([[1.5]])
    for begin in range(done, n, per):
        begun, end = time.perf_counter(), min(begin + per, n)
        first, last = begin // len(CELL), end // len(CELL)
        offsets = np.arange(first, last + 1) * len(CELL)
        values = np.tile(CELL[:, :1].astype(float), (last - first, 1))
        p = Population(n, offsets, np.zeros(len(offsets) - 1, np.int64))
        call = Call(dump, p, directions=direction, values=values, n_threads=args.threads, in_double=double)
        scan = _core.Scan(
            [_core.Moments(3, 0, 1, 0, True), _core.Tilt(0, 1, 0, 1, betas, False, not double)], begin // LEAF
        )
        absorb(call, scan, population=p, begin=begin, end=end, part=(begin, begin))
        for node in scan.nodes():
            push(nodes, node)
        spent += time.perf_counter() - begun
        path.write_bytes(pickle.dumps({**kind, "done": end, "spent": spent, "nodes": nodes}))
    moments, tilt = (s.finish() for s in collapse(nodes))
    mean, covariance = (np.array(x, float) for x in exact())
    sd = np.sqrt(np.diag(covariance))
    of_mean = (np.abs(moments["mean"] - mean) / sd).max()
    of_covariance = (np.abs(moments["scatter"][0] / moments["mass"][0] - covariance) / np.outer(sd, sd)).max()
    t = CELL @ direction[0]
    w = np.exp((t - t.max()) / betas[0, 0])
    of_gain = abs(float(tilt["gain"][0, 0, 0]) - float(w @ CELL[:, 0] / w.sum() - CELL[:, 0].mean())) / sd[0]
    print(f"{n:,} rows in {n // len(CELL):,} prompts, {args.precision}: {spent:.0f} s, {n / spent / 1e6:.1f} million/s")
    print(f"mass {moments['mass'][0]:.0f} of {n // len(CELL)}; errors in standard deviations: of a mean {of_mean:.1e},")
    print(f"of a covariance {of_covariance:.1e}, of the gain {of_gain:.1e}")
    assert moments["mass"][0] == n // len(CELL) and max(of_mean, of_covariance, of_gain) < (1e-10 if double else 1e-6)
    path.unlink()


# ---- workers


def workers(args: argparse.Namespace) -> None:
    from distributed import Client, LocalCluster

    header()
    d = 768
    with tempfile.TemporaryDirectory() as folder:
        rows = 1 << 16
        phi = np.random.default_rng(0).normal(size=(rows, d)).astype(np.float16)
        a_row = (
            min(_timed(lambda: cm.moments(phi, prompt_ids=np.arange(rows) // 16, n_threads=1)) for _ in range(2)) / rows
        )
        n = max(int(args.seconds / a_row) // rows, 1) * rows
        with cm.DumpWriter(folder + "/d", dim=d, dtype="float16") as writer:
            for a in range(0, n, rows):
                writer.append(phi, np.arange(a, a + rows) // 16)
        dump = cm.open_dump(folder + "/d")
        print(f"moments of {n:,} rows of {d} float16 ({2 * n * d / 1e9:.1f} GB in the page cache), covariance and all")
        want = cm.moments(dump, n_threads=1).covariance
        one = _show("no Dask", [_timed(lambda: cm.moments(dump, n_threads=1)) for _ in range(args.rounds)], 0)
        best, cores = {}, len(os.sched_getaffinity(0))
        for k in (1, 2, 4):
            with (
                LocalCluster(n_workers=k, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
                Client(cluster) as client,
            ):
                found = [cm.distributed.moments(dump, client=client)]
                took = []
                for _ in range(args.rounds):
                    begun = time.perf_counter()
                    found.append(cm.distributed.moments(dump, client=client))
                    took.append(time.perf_counter() - begun)
            assert all((x.covariance == want).all() for x in found)
            best[k] = _show(f"{k} workers", took, one / min(k, cores))
        print(f"  1 to 2 workers: {best[1] / best[2]:.2f} times; Dask at one: {100 * (best[1] / one - 1):+.1f} %")


def _show(name: str, took: list[float], model: float) -> float:
    best = min(took)
    of_model = f" = {best / model:.3f} of the model's" if model else ""
    print(f"  {name}: {' '.join(f'{t:.2f}' for t in took)} s, best {best:.2f}{of_model}", flush=True)
    return best


def _timed(f: Any) -> float:
    begun = time.perf_counter()
    f()
    return time.perf_counter() - begun


def one_small(i: int) -> float:
    rows = np.array([[float(i)], [0.0]])
    return float(cm.moments(rows, prompt_ids=[0, 0], precision="double").covariance[0, 0])


def scheduler(args: argparse.Namespace) -> None:
    from distributed import Client, LocalCluster

    header()
    total = int(args.rate * args.seconds)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        client.gather(client.map(one_small, range(2)))
        begun, futures = time.perf_counter(), []
        for i in range(total):
            futures.append(client.submit(one_small, i, pure=False))
            time.sleep(max(0.0, begun + (i + 1) / args.rate - time.perf_counter()))
        sent = time.perf_counter() - begun
        got = client.gather(futures)
        took = time.perf_counter() - begun
    right = sum(x == one_small(i) for i, x in enumerate(got))
    print(f"{total} tasks sent in {sent:.1f} s ({total / sent:.0f} a second), all back after {took:.1f} s")
    print(f"right {right}, lost {total - len(got)}")
    assert right == total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = parser.add_subparsers(required=True)
    one = jobs.add_parser("paper")
    one.add_argument("--rows", nargs="+", default=["1e9", "1e11"])
    one.add_argument("--dim", type=int, default=4096)
    one.add_argument("--disk", type=float, default=2e9, help="bytes a second that one reader gets from the store")
    one.add_argument("--disk-most", type=float, default=50, help="readers at which the store gives no more")
    one.add_argument("--price", type=float, default=0.05, help="money a core hour")
    one.set_defaults(run=paper)
    two = jobs.add_parser("simulate")
    two.add_argument("--rows", default="1e9")
    two.add_argument("--state", default=str(Path(tempfile.gettempdir()) / "clinometer-scale.state"))
    two.add_argument("--threads", type=int, default=1)
    two.add_argument("--precision", choices=["mixed", "double"], default="mixed")
    two.set_defaults(run=simulate)
    three = jobs.add_parser("workers")
    three.add_argument("--seconds", type=float, default=10)
    three.add_argument("--rounds", type=int, default=3)
    three.set_defaults(run=workers)
    four = jobs.add_parser("scheduler")
    four.add_argument("--rate", type=float, default=200)
    four.add_argument("--seconds", type=float, default=60)
    four.set_defaults(run=scheduler)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
