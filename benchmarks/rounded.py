"""Scores of bfloat16 rows by directions rounded to bfloat16, beside "mixed" and the peers that round them too.

    python benchmarks/rounded.py [--rows 32768] [--dim 3072] [--directions 1 4 8 ...] [--threads 2] [--results FILE]

Calls are timed in turns in one process: milliseconds (median), and for the others the ratio of their time to that of
`precision="bfloat16"` with an interval of 95 %. The error is the largest against float64 on a sample, over the standard
deviation of the scores.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from kernel_bench.peers import installed
from resumable import commit

import clinometer as cm
from clinometer import _core
from clinometer.bench import exact
from clinometer.bench.pairs import median, ratios, spread, timed_rounds
from clinometer.bench.problem import Problem
from clinometer.bench.rows import Files

ROUNDING = {"jax": "bfloat16 dot", "numkong": "as is"}  # settings of the peers
OTHERS = ("mixed", *ROUNDING, "torch")
Calls = dict[str, Callable[[], Any]]


def calls(p: Problem, threads: int) -> Calls:
    """Ours in both precisions, and every peer that is installed."""
    out = np.empty((p.rows.n, p.k), np.float32)
    made: Calls = {
        name: lambda how=how: cm.score(p.rows.dump, p.u, out=out, precision=how, n_threads=threads).copy()
        for name, how in (("rounded", "bfloat16"), ("mixed", "mixed"))
    }
    found, _ = installed(ROUNDING, threads)
    return made | {name: peer.settings(p)[ROUNDING[name]] for name, peer in found.items()} | torch_product(p, threads)


def torch_product(p: Problem, threads: int) -> Calls:
    """One product in bfloat16, whose scores are bfloat16 too."""
    found, _ = installed(["torch"], threads)
    if not found:
        return {}
    import torch
    from kernel_bench.peers.torch_peer import tensor

    left, right = tensor(p.rows), torch.from_numpy(np.ascontiguousarray(p.single.T)).to(torch.bfloat16)
    return {"torch": lambda: torch.matmul(left, right).float().numpy()}


def line(p: Problem, threads: int) -> str:
    made = calls(p, threads)
    for call in made.values():
        call()
    rounds = timed_rounds(made, {}, most=15)
    ours = rounds.seconds["rounded"]
    said = [f"{p.k:4}  {1e3 * median(ours):8.2f} ms {2e-9 * p.rows.n * p.rows.d * p.k / median(ours):7.0f} GFLOP/s"]
    for name in OTHERS:
        said.append(spread(ratios(rounds.seconds[name], ours)) if name in made else "-")
    errors = [f"{name} {exact.error(p, rounds.results[name]):.1e}" for name in made]
    return "  ".join([said[0], *(f"{x:>18}" for x in said[1:])]) + "   " + ", ".join(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1 << 15)
    parser.add_argument("--dim", type=int, default=3072)
    parser.add_argument("--directions", type=int, nargs="+", default=[1, 3, 4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    versions = ", ".join(f"{p.name} {p.version}" for p in installed([*ROUNDING, "torch"], args.threads)[0].values())
    table = [
        f"{datetime.date.today()}  commit {commit()}  {platform.processor() or platform.machine()}, {_core.isa()}, "
        f"{args.threads} threads; {versions}",
        f"{args.rows} x {args.dim} bfloat16 in a mapped file; time of the others over that of the first",
        "   K  bfloat16".ljust(35) + "".join(f"{name:>20}" for name in OTHERS) + "   errors over the sd of scores",
    ]
    print(*table, sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        rows = Files(folder).rows("bfloat16", args.rows, args.dim)
        for k in args.directions:
            table.append(line(Problem("score", rows, k), args.threads))
            print(table[-1], flush=True)
    if args.results:
        args.results.write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
