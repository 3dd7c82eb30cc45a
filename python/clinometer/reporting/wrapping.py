"""Sentences in lines of one width, names of a length that can be read."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from clinometer.common.results import Result
from clinometer.common.visible import visible

if TYPE_CHECKING:
    from .result import Report

__all__ = ["COLUMNS", "shortened", "wrapped"]


COLUMNS = 110
LONGEST, KEPT = 200, 80  # characters of a name that is shown whole, and of what is kept of a longer one


def shortened(report: Report) -> Report:
    """The report with overlong names cut wherever they stand: for pages and sentences, never for frames and JSON."""
    names = {*report.constitutions, *report.values, report.dump.name, report.dump.site or ""}
    names |= {n for g in report.groups for n in (g.column, *g.groups)} | {str(e["prompt_id"]) for e in report.examples}
    long = sorted((n for n in names if len(n) > LONGEST), key=lambda n: (-len(n), n))
    # numbered, as names that differ at their end alone would be one
    cut = {n: f"{n[:KEPT]}... ({len(n) - KEPT:,} more characters, long name {i})" for i, n in enumerate(long, 1)}

    def walk(x: Any) -> Any:
        if isinstance(x, str):
            for name, short in cut.items():
                x = x.replace(name, short)
        elif isinstance(x, dict):
            return {walk(k): walk(v) for k, v in x.items()}
        elif type(x) in (list, tuple):
            return type(x)(map(walk, x))
        elif isinstance(x, Result):
            held = walk(vars(x))
            x = object.__new__(type(x))
            vars(x).update(held)
        return x

    return walk(report) if cut else report


def wrapped(sentence: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(visible(sentence), COLUMNS, initial_indent=first, subsequent_indent=rest) or [first]
