"""`clinometer bench`: the kernels on this machine, beside its limits and beside NumPy."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from ..inputs import thread_count
from .blas import Blas
from .cases import DTYPES, KERNELS, cases
from .limits import Limits, measure
from .pairs import timed_pairs
from .rows import GROUP, make
from .table import Timed, as_json, machine, render

__all__ = ["main"]

BAD_INPUT = 2
WRONG = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Time the kernels named, print the tables and return the exit code.

    0, or 1 where a timed result differs from float64 by more than its tolerance, or 2 for bad input.

    >>> from clinometer.bench import main
    >>> main(["no-such-kernel"])
    2
    """
    try:
        args = _parser().parse_args(sys.argv[1:] if argv is None else list(argv))
        _check(args)
        return _run(args)
    except SystemExit as stop:  # --help, or argparse has said what is wrong
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except (ValueError, OSError, MemoryError) as error:
        print(f"clinometer bench: {error}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "clinometer bench", description="Measure the kernels on this machine, beside its limits and beside NumPy.",
        allow_abbrev=False,
    )  # fmt: skip
    p.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"default all of {', '.join(KERNELS)}; or lp")
    p.add_argument("--rows", type=int, metavar="N", help=f"default 32768, with --quick 8192; whole prompts of {GROUP}")
    p.add_argument("--dim", type=int, metavar="D", help="default 512, with --quick 256")
    p.add_argument("--repeats", type=int, metavar="R", help="pairs per cell; default 3 to 15 by how long they take")
    p.add_argument("--json-file", metavar="F", help="write every time to this file")
    p.add_argument("--quick", action="store_true", help="small sizes and few pairs, under 10 s")
    return p


def _check(args: argparse.Namespace) -> None:
    unknown = [k for k in args.kernels if k not in KERNELS and k != "lp"]
    if unknown:
        raise ValueError(f"kernel {unknown[0]!r} is unknown, wanted some of {', '.join(KERNELS)}, or lp by itself")
    if "lp" in args.kernels and len(set(args.kernels)) > 1:
        raise ValueError("lp has peers and a table of its own; wanted it by itself")
    for name in ("rows", "dim", "repeats"):
        given = getattr(args, name)
        if given is not None and given < 1:
            raise ValueError(f"--{name} is {given}, wanted at least 1")
    if args.json_file is not None and not os.path.isdir(os.path.dirname(args.json_file) or "."):
        raise ValueError(f"--json-file: no directory {os.path.dirname(args.json_file)!r}")


def _run_lp(args: argparse.Namespace) -> int:
    from .lp import lp_cases, render_lp, time_lp

    repeats, done = args.repeats or (6 if args.quick else 9), []
    for case in lp_cases(args.quick):
        _progress(f"{case.kernel} {case.size} {case.peer_name}")
        # HiGHS takes seconds on a game of 1e6 columns: three pairs of it
        done.append(time_lp(case, min(repeats, 3) if case.one_game and not args.quick else repeats))
    _progress("")
    if args.json_file is not None:
        record = [
            {"kernel": c.kernel, "size": c.size, "peer": c.peer_name, "seconds": c.seconds, "target": c.target,
             "peer_seconds": c.peer_seconds, "difference": c.difference, "verdict": c.verdict}
            for c in done
        ]  # fmt: skip
        with open(args.json_file, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(thread_count(None)), "rows": record}, file, indent=1)
    about = machine(thread_count(None))
    print(f"{about['cpu']}, {about['threads']} threads, kernels {about['isa']}, Python {about['python']}\n")
    print(render_lp(done))
    return 0 if all(c.checked for c in done) else WRONG


def _run(args: argparse.Namespace) -> int:
    if "lp" in args.kernels:
        return _run_lp(args)
    n, d = args.rows or (8192 if args.quick else 32768), args.dim or (256 if args.quick else 512)
    n = -(-n // GROUP) * GROUP
    threads = thread_count(None)
    about = {**machine(threads), "rows": n, "dim": d}
    _progress("limits")
    limits = measure(threads, max(4 * n * d, (32 if args.quick else 128) << 20), 0.1 if args.quick else 0.4)
    timed = _time(args, n, d)
    raised = _raise(limits, timed)
    if args.json_file is not None:
        with open(args.json_file, "w", encoding="utf-8") as file:
            json.dump(as_json(about, limits, raised, timed), file, indent=1)
    print(render(about, limits, raised, timed))
    return 0 if all(t.checked for t in timed) else WRONG


def _time(args: argparse.Namespace, n: int, d: int) -> list[Timed]:
    _progress("rows")
    rows, blas = make(n, d, DTYPES), Blas()
    budget = None if args.repeats else (0.1 if args.quick else 0.4)
    out = []
    for case in cases(list(dict.fromkeys(args.kernels)) or list(KERNELS), rows):
        _progress(f"{case.kernel} {case.dtype} {case.size}")
        n_blas = blas.best(case.numpy)
        with blas.limit(n_blas):
            ours, numpy, result, other = timed_pairs(case.ours, case.numpy, args.repeats or 15, budget)
        out.append(Timed(case, ours, numpy, case.error(result), case.error(other), n_blas))
    _progress("")
    return out


def _raise(limits: Limits, timed: list[Timed]) -> list[str]:
    raised: list[str] = []
    for t in timed:
        best = min(*t.ours, *t.numpy)
        raised += limits.raise_to(best, t.case.n_bytes, t.case.n_flops, t.case.n_exps)
    return list(dict.fromkeys(raised))


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{what:50}" if what else "\r" + " " * 50 + "\r", end="", file=sys.stderr, flush=True)
