"""The small LPs beside their peers: `python benchmarks/lps/compare_lps.py [--quick]`."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec

from lp_cases import lp_cases, render_lp, time_lp
from lp_peers_qp import MODULES

from clinometer.bench.limits import machine as this_machine
from clinometer.engine.inputs import thread_count


def main() -> int:
    """Time the LPs beside their peers; 1 where a result differs from its peer's by more than the tolerance."""
    p = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    p.add_argument("--pairs", type=int, metavar="R", help="rounds per cell, default 9, with --quick 6")
    p.add_argument("--quick", action="store_true", help="small batches")
    p.add_argument("--json-file", metavar="F", help="write every time to this file")
    args = p.parse_args()
    if args.pairs is not None and args.pairs < 1:
        p.error(f"--pairs is {args.pairs}, wanted at least 1")
    repeats, done = args.pairs or (6 if args.quick else 9), []
    for case in lp_cases(args.quick):
        _progress(f"{case.kernel} {case.size} {case.peer_name}")
        # HiGHS takes seconds on a game of 1e6 columns: as few pairs of it as give an interval
        done.append(time_lp(case, min(repeats, 6) if case.one_game and not args.quick else repeats))
    _progress("")
    machine = this_machine(thread_count(None))
    if args.json_file is not None:
        record = [
            {"kernel": c.kernel, "size": c.size, "peer": c.peer_name, "seconds": c.seconds, "target": c.target,
             "peer_seconds": c.peer_seconds, "difference": c.difference, "verdict": c.verdict}
            for c in done
        ]  # fmt: skip
        with open(args.json_file, "w", encoding="utf-8") as file:
            json.dump({"machine": machine, "rows": record}, file, indent=1)
    print(f"{machine['cpu']}, {machine['threads']} threads, kernels {machine['isa']}\n")
    print(render_lp(done))
    if absent := [name for name in MODULES if find_spec(name) is None]:
        print(f"\nabsent: {', '.join(absent)}")
    return 0 if all(c.checked for c in done) else 1


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{what:50}" if what else "\r" + " " * 50 + "\r", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
