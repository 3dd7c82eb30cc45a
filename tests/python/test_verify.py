"""`clinometer verify`: every claim passes, every item of the theory is there, no row passes whatever it measures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache

import pytest

from clinometer import verify
from clinometer.cli import main
from clinometer.verify import registry

# The items of theory 12, and the 23 places of theory 11.
ITEMS = {
    "A1", "D11", "A2", "A3", "D1", "App D", "P2", "L12", "T13", "T3", "C4", "SE", "bias", "P5", "4.4", "T6", "A",
    "C7", "D24", "P25", "D8", "C9", "8.2", "T10", "R2", "9.2", "9.4", "T14", "P15", "D16-20", "47", "P18", "P21",
    "P19", "P22", "R8", "P23", "R9", "L1", "L2", "L3",
} | {f"11.{i}" for i in range(1, 24)}  # fmt: skip


@cache
def measured() -> tuple[tuple[registry.Claim, registry.Check], ...]:
    return tuple((c, c.check()) for c in registry.claims())


@pytest.mark.slow
def test_every_item_of_the_theory_has_a_claim_that_passes() -> None:
    rows = [registry.judged(c, check) for c, check in measured()]
    assert [(r.item, r.claim, r.measured, r.expected) for r in rows if r.verdict != "pass"] == []
    assert len(rows) >= 83 and {r.item for r in rows} >= ITEMS
    named = [r.claim for r in rows if not r.claim.startswith("...")]  # the others go on with the claim above
    assert len(set(named)) == len(named) > 0.9 * len(rows)


def wrong(check: registry.Check) -> registry.Check:
    """The same measurement with an expectation it does not meet."""
    if check.relation == "same":
        other = not check.expected if isinstance(check.expected, bool) else f"not {check.expected}"
        return replace(check, expected=other)
    a, b = float(check.measured), float(check.expected)
    if check.relation == "near":
        return replace(
            check, expected=0.0 if b in (float("inf"), float("-inf")) else b + 3 * check.tolerance + abs(b) / 10 + 1e-12
        )
    margin = 1e-9 + abs(a) / 10
    return replace(check, expected=a + margin if check.relation == "at least" else a - margin)


@pytest.mark.slow
def test_a_wrong_expectation_makes_every_row_fail() -> None:
    for one, check in measured():
        row = registry.judged(one, wrong(check))
        assert row.verdict == "fail", f"{row.item}: {row.claim}: {row.measured} against {row.expected}"


@pytest.mark.slow
def test_tolerances_are_tight_and_bounds_are_not_idle() -> None:
    loose = [
        (c.item, c.text)
        for c, check in measured()
        if check.relation == "near" and check.expected and check.tolerance > 0.4 * abs(float(check.expected))
    ]
    assert loose == []


def test_what_cannot_be_measured_fails() -> None:
    def broken() -> registry.Check:
        raise ZeroDivisionError("no")

    row = registry.judged(registry.Claim("X", "a claim", broken))
    assert row.verdict == "fail" and "ZeroDivisionError: no" in row.measured
    nan = registry.Claim("X", "a claim", lambda: registry.near(float("nan"), 0.0, 1.0))
    assert registry.judged(nan).verdict == "fail"
    for check in (registry.at_least(float("nan"), 0.0), registry.at_most(float("nan"), 0.0), registry.same(1, False)):
        assert not check.holds
    assert registry.near(float("-inf"), float("-inf"), 0.0).holds and not registry.near(1.0, float("inf"), 9.0).holds


def test_the_same_numbers_every_time() -> None:
    items = ["T3", "bias", "R2"]
    assert verify.verify(items) == verify.verify(items)
    with pytest.raises(ValueError, match="item 'T99' is none of"):
        verify.verify(["T99"])


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    page, data = f"{tmp_path}/page.md", f"{tmp_path}/rows.json"
    assert main(["verify", "--only", "P5", "11.18", "-o", page, "--json-file", data]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"\b(\d+) claims, \1 pass", shown) and "weakly_improving" in shown
    with open(data) as file:
        rows = json.load(file)
    assert set(rows[0]) == {"item", "claim", "measured", "expected", "verdict"}
    with open(page) as file:
        assert file.read().count("| pass |") == len(rows)
    assert main(["verify", "--only", "P5", "--json"]) == 0
    only = json.loads(capsys.readouterr().out)
    assert {r["verdict"] for r in only} == {"pass"} and only == [r for r in rows if r["item"] == "P5"] != rows
    broken = registry.Claim("P5", "a wrong claim", lambda: registry.near(0.1, 0.1104, 1e-3))
    monkeypatch.setattr(verify, "claims", lambda: iter([broken]))
    assert main(["verify"]) == 1
    assert "1 claims, 0 pass, 1 fail: P5" in capsys.readouterr().out
    assert main(["verify", "--only", "T99"]) == 2
    assert main(["verify", "-o", f"{tmp_path}/none/x.md"]) == 2
