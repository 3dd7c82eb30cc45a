"""What each command does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..dump.atomic import new_file, save_text
from . import sharding
from .output import emit, written

__all__ = [
    "bench",
    "complete_judges",
    "convert",
    "demo",
    "inspect",
    "pareto",
    "reading",
    "report",
    "score",
    "tilt",
    "verify",
]

DEMO_JUDGES = ("judge/kind", "judge/honest")
DEMO_VALUES = ("helpful", "-harm", "positive")
DEMO_LAYER = 24


def _check_folders(args: argparse.Namespace) -> None:
    """Refuse a file to write whose folder is not there, before any work."""
    named = (("-o", "output"), ("--state", "state"), ("--json-file", "json_file"))
    for option, given in ((option, getattr(args, name, None)) for option, name in named):
        if given is not None and not Path(given).absolute().parent.is_dir():
            raise ValueError(f"{option} is {given!r}, but its folder does not exist")


def _open(args: argparse.Namespace) -> Any:
    from ..dump import open_dump

    _check_folders(args)
    return open_dump(args.dump, nonfinite=args.nonfinite, **reading(args))


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """How a source is read, as arguments of `open_dump`."""
    names = ("tensor", "layer", "prompt_ids", "columns", "policy", "half_bits", "pool", "prompt_tokens")
    return {name: getattr(args, name) for name in names}


def _options(args: argparse.Namespace) -> dict[str, Any]:
    out = {"base": args.base, "precision": args.precision, "n_threads": args.threads}
    if sys.stderr.isatty():
        out["progress"] = True
    return out


def complete_judges(dump: Any) -> list[str]:
    """Judge columns (judge/* or judge_*) that have a finite number for every row."""
    names = [n for n in dump.columns if n.startswith(("judge/", "judge_")) and n != "judge_row"]
    return [n for n in names if dump.columns[n].dtype.kind in "fiub" and np.isfinite(dump.columns[n]).all()]


def _constitutions(args: argparse.Namespace, dump: Any) -> list[str] | None:
    return args.constitutions or complete_judges(dump) or None


def _values(args: argparse.Namespace) -> list[str]:
    if not args.value:
        raise ValueError("no values: pass --value NAME, repeatable (--value=-NAME if smaller is better)")
    return list(args.value)


def demo(args: argparse.Namespace) -> int:
    """Report on the packaged dump."""
    from ..dump import open_dump
    from ..reporting import report as make

    _check_folders(args)
    path = Path(__file__).resolve().parent.parent / "data" / "demo"
    made = make(open_dump(path, layer=DEMO_LAYER), constitutions=list(DEMO_JUDGES), values=list(DEMO_VALUES))
    return _finish(args, made, every_kl=False)


def report(args: argparse.Namespace) -> int:
    """Report on a dump; checks decide the exit code after everything is printed and written."""
    from ..reporting import report as make
    from ..reporting.check import parse

    values = _values(args)
    for text in args.check:
        parse(text)
    dump = _open(args)
    made = make(
        dump, constitutions=_constitutions(args, dump), values=values, kl=args.kl, clusters=args.clusters,
        **_options(args),
    )  # fmt: skip
    return _finish(args, made, every_kl=args.every_kl, checks=args.check)


def _finish(args: argparse.Namespace, made: Any, *, every_kl: bool, checks: list[str] | None = None) -> int:
    from ..errors import CheckFailed

    if args.output is not None:
        made.to_html(args.output)  # before anything is printed: a full disk is then the only thing said
    results, failed = [], False
    for text in checks or []:
        try:
            row, message = made.check(text), "holds"
        except CheckFailed as error:
            row, message, failed = error.row, str(error), True
        results.append({"check": text, "holds": message == "holds", "message": message, "row": row})
    if args.json or args.json_file:
        payload = {**made.to_dict(), "best": made.best(), "verdict": made.verdict(), "checks": results}
        emit(args, payload)
    if not args.json:
        print(made.to_text(every_kl=every_kl))
    if args.output is not None:
        written(args, args.output)
    for r in results:
        line = f"check holds: {r['check']}" if r["holds"] else str(r["message"])
        written(args, line, label="", to_stderr=not r["holds"])
    return 1 if failed else 0


def inspect(args: argparse.Namespace) -> int:
    """Shape, sites, prompts, columns and warnings of a dump."""
    from .inspection import look, shown

    found = look(args)
    emit(args, found)
    if not args.json:
        print(shown(found))
    return 0


def convert(args: argparse.Namespace) -> int:
    """Any source as a dump of our own format."""
    from dataclasses import asdict

    from ..dump.converting import convert_dump
    from ..progress import bar

    _check_folders(args)
    made = convert_dump(
        args.source, args.path, dtype=args.dtype, shard_rows=args.shard_rows, digests=args.digests,
        progress=bar() if sys.stderr.isatty() else None, **reading(args),
    )  # fmt: skip
    emit(args, asdict(made))
    if args.json:
        return 0
    went_on = f", {made.rows_before} of them from a run that was stopped" if made.rows_before else ""
    written(args, f"{made.path}: {made.n_rows} rows of {', '.join(made.tensors)}{went_on}")
    if made.left_out:
        written(args, f"left out, not one entry per row: {', '.join(made.left_out)}", label="")
    return 0


def score(args: argparse.Namespace) -> int:
    """Scores of every row, summarised or written as (N, K)."""
    from ..inputs import prepare
    from ..passes import score as score_rows
    from ..reporting.safe import fit

    dump = _open(args)
    judges = _constitutions(args, dump)
    if judges is None:
        raise ValueError("no constitutions: the dump has no complete judge column; pass --constitutions")
    table = score_rows(dump, judges, **_options(args))
    if args.output is not None:
        with new_file(args.output) as file:
            np.save(file, table)
    names = prepare(dump, judges, base=args.base).names
    with np.errstate(invalid="ignore"):
        seen = table[~np.isnan(table).any(axis=1)].astype(np.float64)
        rows = [
            {
                "constitution": n,
                "rows": len(c),
                "mean": c.mean(),
                "sd": c.std(),
                "min": c.min(),
                "max": c.max(),
            }
            for n, c in zip(names, seen.T, strict=True)
        ]
    emit(args, {"scores": rows, "shape": list(table.shape), "file": args.output})
    if not args.json:
        print(fit("constitution", 30) + f"{'rows':>10}{'mean':>12}{'sd':>12}{'min':>12}{'max':>12}")
        for r in rows:
            print(
                fit(r["constitution"], 30)
                + f"{r['rows']:>10}{r['mean']:>12.4g}{r['sd']:>12.4g}{r['min']:>12.4g}{r['max']:>12.4g}"
            )
        if args.output is not None:
            written(args, args.output)
    return 0


def tilt(args: argparse.Namespace) -> int:
    """Gains, KL and diagnostics of each tilt."""
    from ..passes import tilt as tilt_rows
    from .output import tilt_table

    values = args.value or None
    if args.betas is not None and args.kl is not None:
        raise ValueError("give --betas or --kl, not both")
    share = sharding.checked(args)
    dump = _open(args)
    judges = _constitutions(args, dump) or values
    if judges is None:
        raise ValueError("no constitutions: pass --constitutions NAME or FILE, or --value NAME")
    options = _options(args)
    if args.clusters is not None:
        options["clusters"] = args.clusters
    if share is not None:
        return sharding.tilt(args, dump, judges, share, options)
    result = tilt_rows(dump, judges, args.betas, values, kl=args.kl, adjust=args.adjust, **options)
    emit(args, result)
    if not args.json:
        print(tilt_table(result))
    return 0


def verify(args: argparse.Namespace) -> int:
    """The theory's claims with what was measured; 1 if one fails."""
    from dataclasses import asdict

    from .. import verify as checks
    from ..progress import bar

    _check_folders(args)
    rows = checks.verify(args.only, progress=bar() if sys.stderr.isatty() else None)
    emit(args, [asdict(row) for row in rows])
    if args.output is not None:
        save_text(args.output, checks.markdown(rows, checks.heading()))
        written(args, args.output)
    if not args.json:
        print(checks.table(rows))
    return int(any(row.verdict != "pass" for row in rows))


def pareto(args: argparse.Namespace) -> int:
    """Best direction, best mixture, prices of floors."""
    from ..lp import pareto as weigh
    from .output import pareto_table

    values = _values(args)
    dump = _open(args)
    judges = _constitutions(args, dump) or values
    options = _options(args)
    if args.clusters is not None:
        options["clusters"] = args.clusters
    result = weigh(dump, judges, values, n_bootstrap=args.bootstrap, random_state=args.seed, **options)
    emit(args, result)
    if not args.json:
        print(pareto_table(result))
    return 0


def bench(args: argparse.Namespace) -> int:
    """Hand over to clinometer.bench."""
    from importlib import import_module
    from importlib.util import find_spec

    if find_spec("clinometer.bench") is None:
        raise ValueError("bench: this installation has no benchmarks")
    return int(import_module("clinometer.bench").main(args.rest) or 0)
