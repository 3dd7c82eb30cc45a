"""Claims of the theory as functions, and what makes one pass."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

Value = float | bool | str


@dataclass(frozen=True)
class Check:
    """A measurement beside what it should be: equal within `tolerance`, at least, at most, or the same."""

    measured: Value
    expected: Value
    relation: str
    tolerance: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the relation holds; a NaN holds nothing."""
        if self.relation == "same":
            return self.measured == self.expected and type(self.measured) is type(self.expected)
        a, b = float(self.measured), float(self.expected)
        if self.relation == "near":
            return abs(a - b) <= self.tolerance or (math.isinf(a) and a == b)
        return a >= b if self.relation == "at least" else a <= b


def near(measured: float, expected: float, tolerance: float) -> Check:
    """|measured - expected| <= tolerance; for simulations a few standard errors, else rounding."""
    return Check(float(measured), float(expected), "near", float(tolerance))


def at_least(measured: float, bound: float) -> Check:
    """measured >= bound."""
    return Check(float(measured), float(bound), "at least")


def at_most(measured: float, bound: float) -> Check:
    """measured <= bound."""
    return Check(float(measured), float(bound), "at most")


def same(measured: object, expected: bool | str) -> Check:
    """Equal words, or equal truth."""
    return Check(str(measured) if isinstance(expected, str) else bool(measured), expected, "same")


@dataclass(frozen=True)
class Claim:
    """One claim: its item in the theory, what it says, and how it is measured."""

    item: str
    text: str
    measure: Callable[[], Check]

    def check(self) -> Check:
        """Measure it; some worlds go where a user would be warned."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.measure()


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    item: str
    claim: str
    measured: str
    expected: str
    verdict: str


_CLAIMS: list[Claim] = []
MODULES = (
    "setup", "definitions", "ways", "tilting", "improving", "ceilings", "spectral", "adversary", "relaxing", "plural",
    "programs", "solvers", "recovering", "inferring", "estimating", "slips",
)  # fmt: skip


def claim(item: str, text: str) -> Callable[[Callable[[], Check]], Callable[[], Check]]:
    """Put a function among the claims."""

    def keep(measure: Callable[[], Check]) -> Callable[[], Check]:
        _CLAIMS.append(Claim(item, text, measure))
        return measure

    return keep


def claims() -> Iterator[Claim]:
    """All claims, in the order of the theory: importing the modules fills the list."""
    for name in MODULES:
        module = import_module(f".{name}", __package__)
        yield from [c for c in _CLAIMS if c.measure.__module__ == module.__name__]


def judged(one: Claim, check: Check | None = None) -> Row:
    """The row of a claim; a measurement that raises fails and says why."""
    try:
        found = one.check() if check is None else check
    except Exception as error:
        return Row(one.item, one.text, f"{type(error).__name__}: {error}", "a measurement", "fail")
    word = {"near": "", "at least": ">= ", "at most": "<= ", "same": ""}[found.relation]
    expected = word + _shown(found.expected)
    if found.relation == "near" and found.tolerance:
        expected += f" +- {found.tolerance:.1g}"
    return Row(one.item, one.text, _shown(found.measured), expected, "pass" if found.holds else "fail")


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value + 0.0:.5g}"
