"""`clinometer bench`: what the kernels take on this machine, beside its limits and what one would run instead."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any

from clinometer.common.command_lines import epilog
from clinometer.common.visible import did_you_mean

from .instead import LIBRARIES, calls

__all__ = ["main"]

BAD_INPUT, WRONG = 2, 1
# numbers of directions of each kernel; a tilt is taken with its scores, in one read
KERNELS = {
    "score": (1, 8, 64), "tilt": (1, 16), "tilted_mean": (4,), "covariance_projection": (16,),
    "covariance_within": (1,), "bradley_terry": (1,),
}  # fmt: skip
NOTES = """\
seconds: the median of one call. of limit: the least time the work can take, max(bytes / read bandwidth, flops / FMA
peak, exps / exp rate) as probed in the same rounds, over the time taken; beside it what binds. A library's column is
its time over ours, with a 95 % interval of the median: NumPy, torch and JAX from the definition; "inexact" where the
result misses our accuracy. error: the largest against float64, over what the accuracy mode allows."""


def main(argv: Sequence[str] | None = None) -> int:
    """Time the kernels chosen, print a table and return the exit code.

    0, or 1 where a timed result differs from float64 by more than its accuracy mode, or 2 for bad input.

    >>> from clinometer.bench import main
    >>> main(["no-such-kernel"])
    2
    """
    try:
        args = _parser().parse_args(argv)
        cells, libraries = _chosen(args)
        if args.list:
            print("\n".join(_name(*c) for c in cells))
            return 0
        return _run(args, cells, libraries)
    except SystemExit as stop:  # --help, or argparse has said what is wrong
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except BrokenPipeError:
        raise  # the reader has gone: the command line stays silent
    except (ValueError, OSError, MemoryError) as error:
        print(f"clinometer bench: {error}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "clinometer bench", allow_abbrev=False,
        description="Measure the kernels on this machine, beside its limits and what one would run instead.",
        epilog=epilog("bench"), formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"default all of {', '.join(KERNELS)}")
    p.add_argument("--cells", metavar="PATTERN", help="only lines whose name matches, such as 'score bf16 * K=8'")
    p.add_argument("--list", action="store_true", help="print the names of the lines and stop")
    p.add_argument("--peers", metavar="P,..", help=f"default all installed of {', '.join(LIBRARIES)}; 'none' for none")
    p.add_argument("--pairs", type=int, default=9, metavar="R", help="rounds a line at least; default 9")
    p.add_argument("--rows", type=int, default=1 << 15, metavar="N", help="rounded up to whole prompts of 16")
    p.add_argument("--dim", type=int, default=4096, metavar="D", help="width of the rows; default 4096")
    p.add_argument("--quick", action="store_true", help="4096 rows of width 256, three rounds, beside NumPy")
    p.add_argument("--dir", metavar="F", help="folder for files of rows; default the system's")
    p.add_argument("--json-file", metavar="F", help="also write every time to this file")
    return p


def _chosen(args: argparse.Namespace) -> tuple[list[tuple[str, str, int]], list[str]]:
    """Kernel, dtype and number of directions of each line, and the libraries asked for."""
    from .rows import SHORT

    for given, known, what in (
        (args.kernels, KERNELS, "kernel"),
        ((args.peers or "none").split(","), LIBRARIES, "peer"),
    ):
        for name in given:
            if name not in known and name != "none":
                raise ValueError(
                    f"{what} {name!r} is unknown, wanted some of {', '.join(known)}{did_you_mean(name, known)}"
                )
    for option in ("pairs", "rows", "dim"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option} is {getattr(args, option)}, wanted at least 1")
    for option, folder in (("json-file", os.path.dirname(args.json_file or "")), ("dir", args.dir)):
        if not os.path.isdir(folder or "."):
            raise ValueError(f"--{option}: no directory {folder!r}")
    if args.quick:
        args.rows, args.dim, args.pairs = min(args.rows, 4096), min(args.dim, 256), min(args.pairs, 3)
    asked = args.peers.split(",") if args.peers else ["numpy"] if args.quick else list(LIBRARIES)
    lines = [(k, t, n) for k in args.kernels or KERNELS for t in SHORT for n in KERNELS[k]]
    lines = [c for c in lines if fnmatchcase(_name(*c), args.cells or "*")]
    if not lines:
        raise ValueError(f"no line matches {args.cells!r}; --list prints their names")
    return lines, [p for p in LIBRARIES if p in asked and find_spec(p) is not None]


def _name(kernel: str, dtype: str, k: int) -> str:
    from .rows import SHORT

    return f"{kernel} {SHORT[dtype]} K={k}"


def _run(args: argparse.Namespace, cells: list[tuple[str, str, int]], libraries: list[str]) -> int:
    from clinometer.engine.inputs import thread_count

    from .limits import Limits, machine
    from .problem import Problem
    from .rows import GROUP, Files

    n, records = -(-args.rows // GROUP) * GROUP, []
    limits = Limits(thread_count(None), 0.2 if args.quick else 1.0)
    about = machine(limits.threads) | {"rows": n, "dim": args.dim}
    print(
        f"{about['cpu']}, {about['threads']} threads, kernels {about['isa']}, {n} rows of width {args.dim}\n\n"
        f"{'kernel':32}{'seconds':>10}{'of limit':>10}{'by':>6}{'error':>8}",
        *(f"{p + ' / ours':>21}" for p in libraries),
        sep="",
    )
    with tempfile.TemporaryDirectory(prefix="clinometer-bench-", dir=args.dir) as folder:
        files = Files(folder)
        for kernel, dtype, k in cells:
            problem = Problem("fused" if kernel == "tilt" else kernel, files.rows(dtype, n, args.dim), k)
            records.append({"name": _name(kernel, dtype, k)} | _measured(problem, libraries, limits, args.pairs))
            print(_line(records[-1], libraries), flush=True)
    print(f"\n{NOTES}")
    if args.json_file is not None:
        with open(args.json_file, "w", encoding="utf-8") as file:
            json.dump({"about": about, "limits": limits.settings, "cells": records}, file, indent=1)
    return 0 if all(r["checked"] for r in records) else WRONG


def _measured(problem: Any, libraries: list[str], limits: Any, pairs: int) -> dict[str, Any]:
    """Ours and the libraries' in the same rounds as the probes of the limits, every result checked."""
    from . import exact, ours
    from .limits import names, share
    from .pairs import ratios, timed_rounds

    timed = {"ours": ours.call(problem), **calls(problem, libraries)}
    for call in timed.values():
        call()
    probes = limits.probes(names(problem.work, True), problem.rows)
    rounds = timed_rounds(timed, probes, least=pairs, most=max(pairs, 25), pause=0.03)
    mine = rounds.seconds.pop("ours")
    peers = {
        name: {"ratio": ratios(s, mine), **exact.checked(problem, rounds.results[name])}
        for name, s in rounds.seconds.items()
    }
    found = exact.checked(problem, rounds.results["ours"])
    return {"seconds": mine, "peers": peers, **found, **share(problem, rounds, mine)}


def _line(r: dict[str, Any], libraries: list[str]) -> str:
    from .pairs import median, spread

    shown = [
        f"{r['name']:32}{median(r['seconds']):10.5f}{median(r['limit']):10.2f}{r['limit_by']:>6}"
        f"{r['error'] / r['tolerance']:8.0e}"
    ]
    for p in libraries:
        peer = r["peers"].get(p)
        shown.append(f"{'-' if peer is None else spread(peer['ratio']) if peer['checked'] else 'inexact':>21}")
    return "".join(shown) + ("" if r["checked"] else "  WRONG")
