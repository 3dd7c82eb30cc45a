"""What each command does."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import numpy as np

from clinometer.common.visible import cut
from clinometer.files.atomic import new_file, save_text

from . import sharding
from .output import emit, written
from .sources import (
    DEMO,
    check_folders,
    complete_judges,
    located,
    no_constitutions,
    no_values,
    opened,
    pass_options,
    reading,
)

DEMO_JUDGES = ("judge/kind", "judge/honest")
DEMO_VALUES = ("helpful", "-harm", "positive")
DEMO_LAYER = 24


def demo(args: argparse.Namespace) -> int:
    """Report on the packaged dump."""
    from clinometer.dump import open_dump
    from clinometer.reporting import report as make

    check_folders(args)
    made = make(open_dump(DEMO, layer=DEMO_LAYER), constitutions=list(DEMO_JUDGES), values=list(DEMO_VALUES))
    return _finish(args, made)


def report(args: argparse.Namespace) -> int:
    """Report on a dump; checks decide the exit code after everything is printed and written."""
    from clinometer.reporting import report as make
    from clinometer.reporting.check import parse

    for text in args.check:
        parse(text)
    dump = opened(args)
    if not args.value:
        raise no_values(dump)
    made = make(
        dump, constitutions=args.constitutions or None, values=args.value, kl=args.kl, clusters=args.clusters,
        **pass_options(args),
    )  # fmt: skip
    code = _finish(args, made, checks=args.check)
    if not args.constitutions and not args.json and (idle := complete_judges(dump)):
        written(args, f"the values act as judges; for judge columns --constitutions {' '.join(idle)}", label="note: ")
    return code


def _finish(args: argparse.Namespace, made: Any, *, checks: list[str] | None = None) -> int:
    from clinometer.errors import CheckFailed

    if args.output is not None:
        _save(made, args.output)  # before anything is printed: a full disk is then the only thing said
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
        print(made.to_text(full=args.full).replace("to_text(full=True)", "--full"))
    if args.output is not None:
        written(args, args.output)
    for r in results:
        line = f"check holds: {cut(r['check'], 200)}" if r["holds"] else str(r["message"])
        written(args, line, label="", to_stderr=not r["holds"])
    return 1 if failed else 0


def _save(made: Any, path: str) -> None:
    """A report in the format that the file's name says; a page without one."""
    write = {".json": made.to_json, ".csv": made.to_csv, ".txt": lambda p: save_text(p, made.to_text(full=True) + "\n")}
    write.get(os.path.splitext(path)[1].lower(), made.to_html)(path)


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

    from clinometer.common.progress import bar
    from clinometer.dump.converting import convert_dump

    check_folders(args)
    made = convert_dump(
        located(args.source), args.path, dtype=args.dtype, shard_rows=args.shard_rows, digests=args.digests,
        progress=bar() if sys.stderr.isatty() else None, **reading(args),
    )  # fmt: skip
    emit(args, asdict(made))
    if args.json:
        return 0
    went_on = f", {made.rows_before} of them from a run that was stopped" if made.rows_before else ""
    written(args, f"{made.path}: {made.n_rows} rows of {', '.join(made.tensors)}{went_on}")
    if made.left_out:
        written(args, f"left out, without an entry a row or not read: {', '.join(made.left_out)}", label="")
    return 0


def score(args: argparse.Namespace) -> int:
    """Scores of every row, summarised or written as (N, K)."""
    from clinometer.common.visible import fit
    from clinometer.engine.inputs import prepare
    from clinometer.engine.passes import score as score_rows

    dump = opened(args)
    judges = args.constitutions or complete_judges(dump)
    if not judges:
        raise no_constitutions(dump)
    table = score_rows(dump, judges, **pass_options(args))
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
    from clinometer.engine.passes import tilt as tilt_rows

    from .output import tilt_table

    values = args.value or None
    if args.betas is not None and args.kl is not None:
        raise ValueError("give --betas or --kl, not both")
    share = sharding.checked(args)
    dump = opened(args)
    judges = args.constitutions or complete_judges(dump) or values
    if not judges:
        raise no_constitutions(dump)
    options = pass_options(args)
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

    from clinometer import verify as checks
    from clinometer.common.progress import bar

    check_folders(args)
    rows = checks.verify(args.only, progress=bar(unit="claims") if sys.stderr.isatty() else None)
    emit(args, [asdict(row) for row in rows])
    if args.output is not None:
        save_text(args.output, checks.markdown(rows, checks.heading()))
        written(args, args.output)
    if not args.json:
        print(checks.table(rows))
    return int(any(row.verdict != "pass" for row in rows))


def pareto(args: argparse.Namespace) -> int:
    """Best direction, best mixture, prices of floors."""
    from clinometer.lp import pareto as weigh

    from .output import pareto_table

    dump = opened(args)
    if not args.value:
        raise no_values(dump)
    values = args.value
    judges = args.constitutions or complete_judges(dump) or values
    options = pass_options(args)
    if args.clusters is not None:
        options["clusters"] = args.clusters
    result = weigh(dump, judges, values, splits=args.splits, **options)
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
