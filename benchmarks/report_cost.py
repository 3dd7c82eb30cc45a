"""What a report costs beside its allowance: two passes of scores and a second, and one covariance pass for the fits.

    python benchmarks/report_cost.py [--rows 16384] [--dim 1024] [--rounds 3] [--profile]

Random bf16 rows in prompts of 16, 32 given directions, 3 values, 16 KLs. A ratio below 1 is within the allowance. Where
other programs want the machine, the ratio of CPU seconds (a second of allowance is one of every thread) says more.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

import clinometer as cm
from clinometer.engine.inputs import thread_count

# everything but the fits: encoding, layers, spectrum, and the simpler measures beside them
CHEAP = ("length", "cone", "intervals", "null", "selection", "pareto", "iterate")


def world(rows: int, dim: int, seed: int = 0) -> Any:
    """Rows with three values and a length that follow them, and 32 directions."""
    rng = np.random.default_rng(seed)
    phi = rng.standard_normal((rows, dim), dtype=np.float32).astype(ml_dtypes.bfloat16)
    given = cm.Directions([f"c{k}" for k in range(32)], rng.standard_normal((32, dim)))
    follow = phi[:, :64].astype(np.float64) @ rng.standard_normal((64, 4)) / 8
    columns = {f"v{j}": follow[:, j] + rng.standard_normal(rows) for j in range(3)}
    columns["n_tokens"] = 50 + 5 * follow[:, 3]
    return cm.open_dump(phi, prompt_ids=np.arange(rows) // 16, columns=columns, policy="on_policy"), given


def best(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Least wall and CPU seconds of each call, taken in turns."""
    out = dict.fromkeys(calls, (np.inf, np.inf))
    for _ in range(rounds):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            taken = time.perf_counter() - wall, time.process_time() - cpu
            out[name] = min(out[name][0], taken[0]), min(out[name][1], taken[1])
    return out


def main() -> None:
    """Time, print ratios, and with --profile what the time goes to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    dump, given = world(args.rows, args.dim)
    levels, values = np.geomspace(0.01, 1.0, 16), ["v0", "v1", "v2"]

    def report(sections: Any) -> Any:
        return cm.report(dump, constitutions=given, values=values, kl=levels, sections=sections)

    if args.profile:
        profile = cProfile.Profile()
        profile.runcall(report, "all")
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
    seconds = best({
        "scores": lambda: cm.score(dump, given), "covariance": lambda: cm.moments(dump),
        "cheap": lambda: report(CHEAP), "all": lambda: report("all"),
    }, args.rounds)  # fmt: skip
    threads = thread_count(None)
    print(f"{args.rows} x {args.dim} bfloat16, 32 directions, 3 values and a length, 16 KLs, {threads} threads")
    for name in ("scores", "covariance"):
        print(f"one pass of {name}: {seconds[name][0]:.3f} s, CPU {seconds[name][1]:.3f} s")
    for i, (clock, second) in enumerate((("wall", 1.0), ("CPU", float(threads)))):
        cheap = 2 * seconds["scores"][i] + second
        for name, allowed in (("cheap", cheap), ("all", cheap + seconds["covariance"][i])):
            took = seconds[name][i]
            print(f"{name:<6} {clock:<5} {took:6.2f} s, allowed {allowed:.2f} s: ratio {took / allowed:.2f}")


if __name__ == "__main__":
    main()
