"""What the page's script reads: the report as JSON, and beside it what only the page needs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from clinometer.common.visible import visible
from clinometer.reporting.export import plain
from clinometer.reporting.notes import pareto_limit
from clinometer.reporting.verdict import worst_bounds

if TYPE_CHECKING:
    from clinometer.reporting.result import Report

MANY = 60_000  # numbers beyond which the page keeps those it shows, to DIGITS digits: 200 constitutions stay below 3 MB
DIGITS = 6
SHOWN = {
    "tilt": {
        "kl", "reverse_kl", "ess", "ess_min", "pareto_k", "first_order", "gain", "baseline", "fit_status",
        "n_unlabelled",
    },
    "policy": {
        "gain", "gain_se", "interval", "win_rate", "win_rate_se", "betas", "correction", "kind", "harmed",
        "skewed",
    },
    "net": {"gain", "gain_se"},
}  # fmt: skip
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\x7f\u2028\u2029"}


def embedded(x: Any) -> str:
    """ASCII JSON that no HTML parser can mistake for markup.

    >>> embedded({"</script>": 1})
    '{"\\\\u003c/script\\\\u003e":1}'
    """
    return json.dumps(x, separators=(",", ":"), allow_nan=False).translate(_UNSAFE)


def report_data(report: Report) -> dict[str, Any]:
    """The content of `Report.to_json`; of a large report what the page shows, rounded, which it then says."""
    data: dict[str, Any] = plain({**report.to_dict(), "best": report.best(), "verdict": report.verdict()})
    if _numbers(data) <= MANY:
        return data
    for field, kept in SHOWN.items():
        if data[field] is not None:
            data[field] = {name: x for name, x in data[field].items() if name in kept}
    thinned: dict[str, Any] = _rounded(data)
    return {**thinned, "significant_digits": DIGITS}


def _numbers(x: Any) -> int:
    if isinstance(x, dict):
        x = list(x.values())
    return sum(map(_numbers, x)) if isinstance(x, list) else 1


def _rounded(x: Any) -> Any:
    if isinstance(x, float):
        return float(f"{x:.{DIGITS}g}")
    if isinstance(x, list):
        return [_rounded(v) for v in x]
    return {k: _rounded(v) for k, v in x.items()} if isinstance(x, dict) else x


def position(site: str | None) -> str:
    """The position in a tensor's name: "mean" of phi_mean_L24, "" where it says none.

    >>> position("phi_last_L3"), position("phi")
    ('last', '')
    """
    found = re.fullmatch(r"phi_(.+?)(?:_L?\d+)?", site or "")
    return found[1] if found else ""


def view_data(report: Report) -> dict[str, Any]:
    """Names made visible, and what follows from the report by its own rules rather than the script's."""
    best = report.best()
    assert best is not None  # None only under a floor
    made: dict[str, Any] = _rounded(
        plain(
            {
                "names": [visible(n) for n in report.constitutions],
                "values": [visible(v) for v in report.values],
                "best": best.index,
                "bound": worst_bounds(report),
                "n_cells": best.n_cells,
                "past": report.past_horizon.astype(int),
                "reached": report.reached.astype(int),
                "horizon": report.horizon,
                "pareto_limit": pareto_limit(report.dump.n_rows),
                "order": np.argsort(report.kl, kind="stable"),
                "positions": [position(site["site"]) for site in report.layers or ()],
            }
        )
    )
    return made
