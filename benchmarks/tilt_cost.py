"""What `cm.tilt` costs beside the bare tilt of the same kept scores, and how often it walks them.

    python benchmarks/tilt_cost.py [--rows 1000000] [--prompt 16] [--directions 1 16] [--threads 1 2] [--rounds 3]
                                   [--busy] [--shapes] [--trace]

Kept scores of Gaussian rows, four values. Each line: walks over all kept scores, seconds, and the ratio to one pass of
the compiled tilt at the same betas with every moment, taken in turns in one process. `--shapes` changes one thing at a
time and prints time per row, direction, beta and value over that of prompts of 16, 4 values and 16 betas. `--trace`
counts walks, files and functions of a `tilt` and a `report`. `--busy` takes CPU seconds of all threads, for a machine
that others use.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import clinometer as cm
from clinometer import _core
from clinometer.engine.inputs import prepare, run
from clinometer.engine.passes import kept_scores, score_dump

LEVELS = (0.1, 0.25, 0.5, 1.0)
BETAS = np.geomspace(4.0, 0.5, 16)
OTHERS = (
    "prompt_tilt",
    "prompt_curve",
    "pareto_k",
    "pareto_tails",
)  # calls that walk kept scores or their ratios outside a scan


@dataclass
class Walks:
    """Calls into the core, by name; `some` are scans over fewer than half of the rows."""

    n_rows: int
    all: int = 0
    some: int = 0
    names: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, rows: int) -> None:
        whole = 2 * rows >= self.n_rows
        self.all, self.some = self.all + whole, self.some + (not whole)
        label = name if whole else name + " (sample)"
        self.names[label] = self.names.get(label, 0) + 1


@contextmanager
def walked(n_rows: int) -> Iterator[Walks]:
    """Counts scans, and the other calls that walk all rows, of what runs inside."""
    seen, scan = Walks(n_rows), _core.Scan
    held = {name: getattr(_core, name) for name in OTHERS if hasattr(_core, name)}

    class Counted(scan):  # type: ignore[misc, valid-type]
        def __init__(self, statistics: list[Any], *rest: Any) -> None:
            super().__init__(statistics, *rest)
            self.label = "+".join(type(s).__name__ for s in statistics)

        def absorb(self, **given: Any) -> None:
            seen.count(self.label, given["n_rows"])
            super().absorb(**given)

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            seen.count(name, max(getattr(x, "shape", (0,))[-1 if name == "pareto_k" else 0] for x in given))
            return call(*given, **named)

        return counted

    _core.Scan = Counted  # type: ignore[misc]
    for name, call in held.items():
        setattr(_core, name, counting(name, call))
    try:
        yield seen
    finally:
        _core.Scan = scan  # type: ignore[misc]
        for name, call in held.items():
            setattr(_core, name, call)


def traced(call: Callable[[], Any]) -> tuple[int, int]:
    """Files and functions of the package that a call enters."""
    seen: set[tuple[str, str, int]] = set()

    def enter(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and "/clinometer/" in code.co_filename and "<" not in code.co_name:
            seen.add((code.co_filename, code.co_name, code.co_firstlineno))

    sys.setprofile(enter)
    try:
        call()
    finally:
        sys.setprofile(None)
    return len({file for file, _, _ in seen}), len(seen)


def least(calls: dict[str, Callable[[], Any]], rounds: int, busy: bool) -> dict[str, float]:
    """Least seconds of each call, taken in turns; CPU seconds of all threads with `busy`."""
    out, clock = dict.fromkeys(calls, np.inf), time.process_time if busy else time.perf_counter
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            out[name] = min(out[name], clock() - start)
    return out


def world(rows: int, prompt: int, K: int, J: int, shuffled: bool = False) -> tuple[cm.Scores, np.ndarray]:
    """Scores (rows, K) and values (rows, J) that follow them."""
    rng = np.random.default_rng(0)
    scores, ids = rng.standard_normal((rows, K)), np.arange(rows) // prompt
    values = 0.5 * scores[:, np.arange(J) % K] + rng.standard_normal((rows, J))
    if shuffled:
        ids = rng.permutation(ids)
    return cm.Scores(scores, prompt_ids=ids), values


def calls_of(scores: cm.Scores, values: np.ndarray, betas: np.ndarray, threads: int) -> dict[str, Callable[[], Any]]:
    """The bare tilt of kept scores and `cm.tilt` in its ways, by name."""
    call = prepare(*score_dump(scores, None), values, n_threads=threads)
    kept, K = kept_scores(call), scores.array.shape[1]

    def bare(at: np.ndarray) -> Any:
        return run(call, [_core.Tilt(0, K, 0, values.shape[1], np.tile(at, (K, 1)), False, True)], kept=kept)

    def tilted(**given: Any) -> Any:
        return cm.tilt(scores, None, values=values, n_threads=threads, **given)

    return {
        "bare tilt, 4 betas": lambda: bare(np.array([4.0, 2.0, 1.0, 0.5])),
        "bare tilt": lambda: bare(betas),
        "4 KL levels": lambda: tilted(kl=LEVELS),
        "betas": lambda: tilted(betas=betas),
        "betas, no Pareto k": lambda: tilted(betas=betas, pareto_k=False),
    }


def costs(args: argparse.Namespace) -> None:
    """Walks, seconds and ratios by number of directions and threads."""
    print(f"{args.rows} rows in prompts of {args.prompt}, 4 values; ratio to one bare tilt at the same number of betas")
    for K in args.directions:
        scores, values = world(args.rows, args.prompt, K, 4)
        by_threads = {}
        for threads in args.threads:
            calls = calls_of(scores, values, BETAS, threads)
            by_threads[threads] = taken = least(calls, args.rounds, args.busy)
            for name, call in calls.items():
                with walked(args.rows) as seen:
                    call()
                over = taken["bare tilt, 4 betas" if name == "4 KL levels" else "bare tilt"]
                ratio = "" if name.startswith("bare") else f"{taken[name] / over:8.2f} x"
                print(f"K={K:4} threads={threads} {name:20} walks {seen.all:4} +{seen.some:3} of a sample "
                      f"{taken[name]:9.4f} s {ratio}")  # fmt: skip
        if len(by_threads) > 1:
            one, most = by_threads[args.threads[0]], by_threads[args.threads[-1]]
            print(f"K={K:4} threads help: " + ", ".join(f"{n} {one[n] / most[n]:.2f}" for n in one))


def shapes(args: argparse.Namespace) -> None:
    """Time per row, direction, beta and value over the usual shape's, one thing changed at a time."""
    usual = {"prompt": 16, "K": 4, "J": 4, "B": 16, "shuffled": False}
    changed: list[dict[str, Any]] = [
        {}, {"prompt": 2}, {"prompt": 64}, {"prompt": 65}, {"prompt": 1000}, {"prompt": 8192}, {"prompt": 50000},
        {"J": 1}, {"J": 16}, {"J": 64}, {"B": 1}, {"B": 256}, {"shuffled": True},
    ]  # fmt: skip
    first = None
    for change in changed:
        s = usual | change
        scores, values = world(args.rows, s["prompt"], s["K"], s["J"], s["shuffled"])
        betas = np.geomspace(4.0, 0.5, s["B"])
        calls = calls_of(scores, values, betas, args.threads[-1])
        taken = least({name: calls[name] for name in ("bare tilt", "betas")}, args.rounds, args.busy)
        each = {name: x / (args.rows * s["K"] * s["B"] * s["J"]) for name, x in taken.items()}
        first = first or each
        shape = ", ".join(f"{k} {v}" for k, v in change.items()) or "prompts of 16, K 4, J 4, B 16"
        print(f"{shape:32} cm.tilt {each['betas'] / first['betas']:7.2f} x   bare tilt "
              f"{each['bare tilt'] / first['bare tilt']:7.2f} x   {taken['betas']:8.3f} s")  # fmt: skip


def trace(args: argparse.Namespace) -> None:
    """Walks, files and functions of small calls."""
    rng = np.random.default_rng(0)
    phi, ids = rng.standard_normal((4000, 8)).astype(np.float32), np.arange(4000) // 8
    follow = phi[:, :3].astype(float) + rng.standard_normal((4000, 3))
    columns = {"a": follow[:, 0], "b": follow[:, 1], "n_tokens": 50 + 5 * follow[:, 2], "judge": 1.0 * phi[:, 3]}
    dump, u = cm.open_dump(phi, prompt_ids=ids, columns=columns, policy="on_policy"), rng.standard_normal((2, 8))
    named: dict[str, Callable[[], Any]] = {
        "tilt(betas)": lambda: cm.tilt(dump, u, [2.0], ["a", "b"]),
        "tilt(kl)": lambda: cm.tilt(dump, u, None, ["a", "b"], kl=LEVELS),
        "report": lambda: cm.report(dump, constitutions=["judge"], values=["a", "b"], kl=[0.1, 0.25]),
    }
    for name, call in named.items():
        call()
        with walked(len(ids)) as seen:
            files, functions = traced(call)
        print(f"{name:12} walks {seen.all:3} +{seen.some:3} of a sample, files {files:3}, functions {functions:3}")
        print("   ", ", ".join(f"{n} {c}" for n, c in sorted(seen.names.items())))


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--prompt", type=int, default=16)
    parser.add_argument("--directions", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--shapes", action="store_true")
    parser.add_argument("--trace", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.trace:
        trace(args)
    elif args.shapes:
        shapes(args)
    else:
        costs(args)


if __name__ == "__main__":
    main()
