"""Every kernel beside the limits of this machine and the best peer, and verdicts on targets.

python benchmarks/bench.py [GROUP ...] [--cells 'score bf16 * K=8']
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase

from kernel_bench.cells import GROUPS, LEAF, Cell, Sizes, cells
from kernel_bench.compare import compare
from kernel_bench.measure import Bench
from kernel_bench.peers import LIGHT, MODULES, installed
from kernel_bench.store import Store, about, read, slug
from kernel_bench.table import render

from clinometer.bench.limits import Limits
from clinometer.bench.rows import Files
from clinometer.common.visible import did_you_mean
from clinometer.engine.inputs import thread_count

__all__ = ["main"]

BAD_INPUT = 2
WRONG = 1
QUICK = Sizes(
    (), 256, 512, LEAF // 2, LEAF // 2, LEAF // 2, (1 << 14, 1 << 12, 1 << 10), (10**4, 10**5), 256, (50_000, 64), 512
)


def main(argv: Sequence[str] | None = None) -> int:
    """Time the cells chosen, print the tables and return the exit code.

    0, or 1 where a timed result differs from float64 by more than its accuracy mode, or 2 for bad input.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        args = _parser().parse_args(given)
        if args.compare:
            print(compare(*(read(path) for path in args.compare)))
            return 0
        return _run(args, *_checked(args))
    except SystemExit as stop:  # --help, or argparse has said what is wrong
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except (ValueError, OSError, MemoryError) as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "bench.py", allow_abbrev=False,
        description="Measure the kernels on this machine, beside its limits and beside other libraries.",
    )  # fmt: skip
    p.add_argument("groups", nargs="*", metavar="GROUP", help=f"default all of {', '.join(GROUPS)}")
    p.add_argument("--cells", metavar="PATTERN", help="only cells whose name matches, such as 'score bf16 * K=8'")
    p.add_argument("--list", action="store_true", help="print the names of the cells and stop")
    p.add_argument("--peers", metavar="P,..", help=f"default all installed of {', '.join(MODULES)}; 'none' for none")
    p.add_argument("--pairs", type=int, metavar="R", help="rounds per cell at least, default 9, with --quick 3")
    p.add_argument("--scale", type=int, default=1, metavar="S", help="that many times the rows")
    p.add_argument("--rows", type=int, metavar="N", help="rows of every cell, rounded up to whole prompts of 16")
    p.add_argument("--dim", type=int, metavar="D", help="width of every cell")
    p.add_argument("--quick", action="store_true", help="small sizes, few rounds, quickly imported peers; under 20 s")
    p.add_argument("--dir", metavar="F", help="folder for files of rows, 9 GB at most; default the system's")
    p.add_argument("--json-file", metavar="F", help="write every time to this file, after every cell")
    p.add_argument("--resume", action="store_true", help="keep what --json-file holds of this code on this machine")
    p.add_argument("--output", metavar="DIR", help="also write what is printed to DIR/<date>-<cpu>.txt")
    p.add_argument("--compare", nargs=2, metavar=("A", "B"), help="compare two files of --json-file and stop")
    return p


def _checked(args: argparse.Namespace) -> tuple[list[Cell], list[str]]:
    """The cells and the names of the peers that were asked for."""
    unknown = [g for g in args.groups if g not in GROUPS]
    if unknown:
        raise ValueError(
            f"group {unknown[0]!r} is unknown, wanted some of {', '.join(GROUPS)}{did_you_mean(unknown[0], GROUPS)}"
        )
    for name in ("pairs", "scale", "rows", "dim"):
        given = getattr(args, name)
        if given is not None and given < 1:
            raise ValueError(f"--{name} is {given}, wanted at least 1")
    if args.dim == 1:
        raise ValueError("--dim is 1, wanted at least 2: odd widths are one below it")
    for name, folder in (("json-file", os.path.dirname(args.json_file or "") or "."), ("output", args.output or "."),
                         ("dir", args.dir or ".")):  # fmt: skip
        if not os.path.isdir(folder):
            raise ValueError(f"--{name}: no directory {folder!r}")
    if args.resume and args.json_file is None:
        raise ValueError("--resume needs --json-file, which holds what has been measured")
    wanted = cells(args.groups or list(GROUPS), _sizes(args))
    if args.cells is not None:
        wanted = [c for c in wanted if fnmatchcase(c.name, args.cells)]
    if not wanted:
        raise ValueError(f"no cell matches {args.cells!r}; --list prints their names")
    peers = [p for p in MODULES if p in LIGHT or not args.quick]
    if args.peers is not None:
        peers = [p for p in args.peers.split(",") if p and p != "none"]
        wrong = [p for p in peers if p not in MODULES]
        if wrong:
            raise ValueError(f"peer {wrong[0]!r} is unknown, wanted some of {', '.join(MODULES)}")
    return wanted, peers


def _sizes(args: argparse.Namespace) -> Sizes:
    s, by = QUICK if args.quick else Sizes(), args.scale
    n = None if args.rows is None else -(-args.rows // 16) * 16
    grid = () if n or args.dim else tuple((d, by * m) for d, m in s.grid)
    return Sizes(
        grid,
        args.dim or s.narrow, args.dim or s.wide, n or by * s.narrow_rows, n or by * s.wide_rows, n or by * s.gram_rows,
        (n,) * 3 if n else tuple(by * m for m in s.scores), (n, 2 * n) if n else s.growth, args.dim or s.growth_d,
        (n, args.dim or s.memory[1]) if n else s.memory, n or by * s.report_rows,
    )  # fmt: skip


def _run(args: argparse.Namespace, wanted: list[Cell], names: list[str]) -> int:
    if args.list:
        print("\n".join(c.name for c in wanted))
        return 0
    threads = thread_count(None)
    _progress("peers")
    peers, absent = installed(names, threads)
    setting = f"{'quick' if args.quick else 'full'} x{args.scale} rows={args.rows} dim={args.dim}"
    store = Store(about(threads, peers, absent, setting), args.json_file, args.resume)
    with tempfile.TemporaryDirectory(prefix="clinometer-bench-", dir=args.dir) as folder:
        limits = Limits(threads, 0.2 if args.quick else 1.0)
        pairs = args.pairs or (3 if args.quick else 9)
        bench = Bench(Files(folder), peers, limits, pairs, pairs if args.quick else 25, 0.0 if args.quick else 0.03)
        for i, cell in enumerate(wanted):
            if cell.name not in store.cells:
                _progress(f"{i + 1}/{len(wanted)} {cell.name}")
                store.add(bench.record(cell), limits.settings)
    _progress("")
    records = [store.cells[c.name] for c in wanted]
    text = render(store.about, store.settings, records)
    print(text)
    _write(args.output, store.about, text)
    return 0 if all(r.get("checked", True) for r in records) else WRONG


def _write(folder: str | None, about: dict[str, str], text: str) -> None:
    if folder is not None:
        with open(os.path.join(folder, f"{about['date']}-{slug(about['cpu'])}.txt"), "w", encoding="utf-8") as file:
            file.write(text + "\n")


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{what:70}" if what else "\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
