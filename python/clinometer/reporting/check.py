"""Checks on a report: VALUE OP NUMBER at kl=K [for NAME]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CheckFailed
from ..nearest import did_you_mean
from .safe import visible
from .verdict import choose, selection_z

if TYPE_CHECKING:
    from .result import Report

__all__ = ["Check", "parse", "run"]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# lazy, then backtracking: a name may hold an operator that no number follows
_GRAMMAR = re.compile(
    rf"\s*(?P<value>\S.*?)\s*(?P<op>>=|<=|>|<)\s*(?P<number>{_NUMBER})"
    rf"\s+at\s+kl\s*=\s*(?P<kl>{_NUMBER})(?:\s+for\s+(?P<name>\S.*?))?\s*",
    re.DOTALL,
)


@dataclass(frozen=True)
class Check:
    """One parsed check; `name` is None for the recommended constitution."""

    value: str
    op: str
    number: float
    kl: float
    name: str | None


def parse(text: str) -> Check:
    """Read a check.

    >>> parse("-harm >= 0 at kl=0.5 for judge/kind")
    Check(value='-harm', op='>=', number=0.0, kl=0.5, name='judge/kind')
    """
    if not isinstance(text, str):
        raise TypeError(f"check is a {type(text).__name__}, wanted a string like 'helpful >= 0 at kl=0.5'")
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise ValueError(
            f"check {visible(text)[:200]!r} cannot be read; wanted VALUE OP NUMBER at kl=K [for NAME], "
            "OP one of >= > <= <, for example 'helpful >= 0 at kl=0.5'"
        )
    return Check(found["value"], found["op"], float(found["number"]), float(found["kl"]), found["name"])


def run(report: Report, text: str) -> dict[str, Any]:
    """The deciding row if the check holds; CheckFailed otherwise, also where the rows cannot tell."""
    check = parse(text)
    j = _find("value", check.value, report.values)
    b = _kl_index(report, check.kl)
    picked = check.name is None
    if picked:
        best = choose(report)
        assert best is not None
        k = best.index[0]
    else:
        k = _find("constitution", str(check.name), report.constitutions)
    # a constitution picked on these rows pays for the picking
    z = selection_z(len(report.constitutions) if picked else 1)
    row = _row(report, k, b, j, z)
    reason = _failure(check, row)
    if reason is not None:
        raise CheckFailed(f"check failed: {visible(text)}: {reason}", row)
    return row


def _find(kind: str, name: str, known: tuple[str, ...]) -> int:
    if name not in known:
        have = ", ".join(repr(visible(n)) for n in known) + did_you_mean(name, known)
        raise ValueError(
            f"check: no {kind} {visible(name)[:200]!r} in the report; it has {have}{did_you_mean(name, known)}"
        )
    return known.index(name)


def _kl_index(report: Report, kl: float) -> int:
    hit = np.flatnonzero(np.isclose(report.kl, kl, rtol=1e-9, atol=0))
    if not len(hit):
        raise ValueError(f"check: kl={kl:g} is not in the report; it has {', '.join(f'{x:g}' for x in report.kl)}")
    return int(hit[0])


def _row(report: Report, k: int, b: int, j: int, z: float) -> dict[str, Any]:
    t = report.tilt
    gain, se = float(t.gain[k, b, j]), float(t.gain_se[k, b, j])
    return {
        "constitution": report.constitutions[k], "value": report.values[j], "kl": float(report.kl[b]),
        "kl_reached": float(t.kl[k, b]), "reached": bool(report.reached[k, b]), "gain": gain, "gain_se": se,
        "lower": gain - z * se, "upper": gain + z * se, "z": z, "past_horizon": bool(report.past_horizon[k, b]),
    }  # fmt: skip


def _failure(check: Check, row: dict[str, Any]) -> str | None:
    name = visible(row["constitution"])
    if not row["reached"]:
        return f"cannot tell: the rows reach only kl={row['kl_reached']:.3g} for {name}"
    gain = f"gain {row['gain']:+.4g}, 95 % bounds {row['lower']:+.4g} to {row['upper']:+.4g} for {name}"
    low, high, c = row["lower"], row["upper"], check.number
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"cannot tell: gain {row['gain']:+.4g} without a standard error for {name}"
    holds = {">=": low >= c, ">": low > c, "<=": high <= c, "<": high < c}[check.op]
    if holds:
        return None
    broken = high < c if check.op in (">=", ">") else low > c
    return gain if broken else f"cannot tell: {gain}"
