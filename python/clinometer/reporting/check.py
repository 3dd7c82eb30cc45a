"""Checks on a report: VALUE OP NUMBER at kl=K [for NAME|all|any|recommended]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clinometer.common.visible import cut, did_you_mean, few, visible
from clinometer.errors import CheckFailed
from clinometer.inference.tails import in_words

from .verdict import choose

if TYPE_CHECKING:
    from .result import Report

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CHOICES = ("all", "any", "recommended")
# lazy, then backtracking: a name may hold an operator that no number follows
_GRAMMAR = re.compile(
    rf"\s*(?P<value>\S.*?)\s*(?P<op>>=|<=|>|<)\s*(?P<number>{_NUMBER})"
    rf"\s+at\s+kl\s*=\s*(?P<kl>{_NUMBER})(?:\s+for\s+(?P<name>\S.*?))?\s*",
    re.DOTALL,
)


@dataclass(frozen=True)
class Check:
    """One parsed check; `name` is a constitution, "all", "any" or "recommended", or None for the only one."""

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
            f"check {visible(text)[:200]!r} cannot be read; wanted VALUE OP NUMBER at kl=K "
            "[for NAME|all|any|recommended], "
            "OP one of >= > <= <, for example 'helpful >= 0 at kl=0.5'"
        )
    return Check(found["value"], found["op"], float(found["number"]), float(found["kl"]), found["name"])


def run(report: Report, text: str) -> dict[str, Any]:
    """The deciding row if the check holds; CheckFailed otherwise, also where the rows cannot tell."""
    check = parse(text)
    j = _find("value", check.value, report.values)
    b = _kl_index(report, check.kl)
    rows = [_row(report, k, b, j, level) for k, level in _subjects(report, check, text)]
    reasons = [_failure(check, row) for row in rows]
    failed = [i for i, reason in enumerate(reasons) if reason is not None]
    if not failed or (check.name == "any" and len(failed) < len(rows)):
        return rows[reasons.index(None)]
    worst = failed[0] if check.name != "any" else _closest(check, rows)
    raise CheckFailed(f"check failed: {cut(text, 200)}: {reasons[worst]}", rows[worst])


def _subjects(report: Report, check: Check, text: str) -> list[tuple[int, float]]:
    """Constitutions the check is about, and the level of the bounds it is judged by.

    One named before and each of all by their own 95 %; one picked on these rows pays for the picking.
    """
    names, K = report.constitutions, len(report.constitutions)
    if check.name is not None and (names.count(check.name) > 1 or (check.name in _CHOICES and check.name in names)):
        raise ValueError(
            f"check {visible(text)[:200]!r}: {visible(check.name)!r} is the name of a constitution and also "
            f"{'a choice among all' if check.name in _CHOICES else 'of another'}; rename it"
        )
    if check.name is not None and check.name in names:
        return [(names.index(check.name), 0.95)]
    if report.self_judged and check.name in (None, *_CHOICES):
        raise ValueError(
            f"check {visible(text)[:200]!r} has no constitution to be about: none was given, so that the values judge "
            "themselves, and each raises itself; give constitutions, or say `for NAME` of the value that judges"
        )
    if check.name is None and K > 1:
        have = few(names, 20)
        raise ValueError(
            f"check {visible(text)[:200]!r} does not say for which constitution; add `for NAME`, `for all`, `for any` "
            f"or `for recommended`. The report has {have}"
        )
    if check.name == "recommended":
        best = choose(report)
        assert best is not None  # None only under a floor
        return [(best.index[0], 0.95 ** (1 / report.compared))]
    if check.name in (None, "all", "any"):
        return [(k, 1 - 0.05 / K if check.name == "any" else 0.95) for k in range(K)]
    return [(_find("constitution", str(check.name), names), 0.95)]


def _closest(check: Check, rows: list[dict[str, Any]]) -> int:
    """The row whose bound on the unfavourable side comes nearest to holding."""
    up = check.op in (">=", ">")
    bound = np.array([row["lower"] if up else -row["upper"] for row in rows])
    return int(np.argmax(np.where(np.isnan(bound), -np.inf, bound)))


def _find(kind: str, name: str, known: tuple[str, ...]) -> int:
    if name not in known:
        near = did_you_mean(name, known)
        raise ValueError(f"check: no {kind} {visible(name)[:200]!r} in the report; it has {few(known, 20)}{near}")
    return known.index(name)


def _kl_index(report: Report, kl: float) -> int:
    hit = np.flatnonzero(np.isclose(report.kl, kl, rtol=1e-9, atol=0))
    if not len(hit):
        raise ValueError(f"check: kl={kl:g} is not in the report; it has {', '.join(f'{x:g}' for x in report.kl)}")
    return int(hit[0])


def _row(report: Report, k: int, b: int, j: int, level: float) -> dict[str, Any]:
    p = report.policy
    lower, upper = (float(x) for x in p.bounds(level)[k, b, j])
    return {
        "constitution": report.constitutions[k], "value": report.values[j], "kl": float(report.kl[b]),
        "kl_reached": float(report.tilt.kl[k, b]), "reached": bool(report.reached[k, b]),
        "gain": float(p.gain[k, b, j]), "gain_se": float(p.gain_se[k, b, j]), "lower": lower, "upper": upper,
        "level": level, "past_horizon": bool(report.past_horizon[k, b]), "idle": bool(report.idle[k]),
    }  # fmt: skip


def _failure(check: Check, row: dict[str, Any]) -> str | None:
    name = cut(row["constitution"])
    if row["idle"]:
        return f"cannot tell: {name} moves nothing, since its scores are equal inside every prompt"
    if not row["reached"]:
        return f"cannot tell: the rows reach only kl={row['kl_reached']:.3g} for {name}"
    if row["past_horizon"]:
        return f"cannot tell: these rows say nothing of a policy at kl={row['kl']:g} for {name}"
    low, high, c = row["lower"], row["upper"], check.number
    bounds = f"{100 * row['level']:.4g} % bounds {in_words(np.array([low, high]), form='{:+.4g}'.format)}"
    gain = f"gain {row['gain']:+.4g}, {bounds}"
    if check.name in (None, *_CHOICES):  # the check names none: here is which one decided
        gain += f" for {name}"
    if np.isnan(low) or np.isnan(high):
        return f"cannot tell: gain {row['gain']:+.4g} of {name} has no standard error"
    holds = {">=": low >= c, ">": low > c, "<=": high <= c, "<": high < c}[check.op]
    if holds:
        return None
    broken = high < c if check.op in (">=", ">") else low > c
    return gain if broken else f"cannot tell: {gain}"
