"""The report as records, as CSV, as strict JSON, and as the Python text that makes it again."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from clinometer.common.results import Result
from clinometer.common.visible import visible, without_secrets
from clinometer.dump import Dump

if TYPE_CHECKING:
    from .result import Report


def plain(x: Any) -> Any:
    """Lists, dicts, numbers and strings alone: NaN becomes None, infinities "inf" and "-inf"."""
    if isinstance(x, Result):
        return plain(x.to_dict())
    if isinstance(x, np.ndarray):
        return plain(x.tolist())
    if isinstance(x, np.generic):
        return plain(x.item())
    if isinstance(x, dict):
        return {str(k): plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None if math.isnan(x) else "inf" if x > 0 else "-inf"
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    return str(x)


def dumps(x: Any) -> str:
    """ASCII JSON that any parser reads."""
    return json.dumps(plain(x), indent=2, allow_nan=False)


def records(report: Report) -> list[dict[str, Any]]:
    """One dict per constitution, KL and value; NaN where a section was not made, infinite bounds where there is one."""
    best = report.best()
    recommended = None if best is None else best.index
    return [
        _record(report, k, b, j) | {"recommended": (k, b) == recommended}
        for k in range(len(report.constitutions))
        for b in range(len(report.kl))
        for j in range(len(report.values))
    ]


def _record(report: Report, k: int, b: int, j: int) -> dict[str, Any]:
    t, p, net, chosen = report.tilt, report.policy, report.net, report.selection

    def at(x: Any, *index: int) -> float:
        return math.nan if x is None else float(x[index])

    return {
        "constitution": report.constitutions[k], "kl": float(report.kl[b]), "value": report.values[j],
        "gain": at(p.gain, k, b, j), "gain_se": at(p.gain_se, k, b, j),
        "lower": at(p.interval, k, b, j, 0), "upper": at(p.interval, k, b, j, 1),
        "gain_values": at(None if report.gold is None else report.gold.gain_values, k, b, j),
        "gain_rows": at(t.gain, k, b, j), "gain_rows_se": at(t.gain_se, k, b, j),
        "lower_labels": at(report.gain_interval_labels, k, b, j, 0),
        "upper_labels": at(report.gain_interval_labels, k, b, j, 1),
        "label_status": None if report.label_status is None else report.label_status[k],
        "null_lower": at(report.null_band, b, j, 0), "null_upper": at(report.null_band, b, j, 1),
        "first_order": at(t.first_order, k, b, j), "first_order_unbiased": at(t.first_order_unbiased, k, b, j),
        "first_order_se": at(t.first_order_se, k, b, j),
        "gain_sd": at(report.gain_sd, k, b, j), "win_rate": at(p.win_rate, k, b, j),
        "win_rate_se": at(p.win_rate_se, k, b, j), "win_lower": at(p.win_interval, k, b, j, 0),
        "win_upper": at(p.win_interval, k, b, j, 1), "harmed": at(p.harmed, k, b, j),
        "harmed_se": at(p.harmed_se, k, b, j),
        "net_of_length": at(None if net is None else net.gain, k, b, j),
        "net_of_length_se": at(None if net is None else net.gain_se, k, b, j),
        "correlation": at(report.correlation, k, j), "linear_share": at(report.linear_share, k),
        "class": str(report.classes[k, b]), "kl_reached": at(t.kl, k, b),
        "beta": at(p.betas, k, b), "beta_rows": at(t.betas, k, b), "ess": at(t.ess, k, b),
        "pareto_k": at(t.pareto_k, k, b),
        "horizon": at(report.horizon, k), "past_horizon": bool(report.past_horizon[k, b]),
        "correction": at(p.correction, k, b), "kind": str(p.kind[k, b]),
        "chosen_share": at(None if chosen is None else chosen.share, k, b),
    }  # fmt: skip


FORMULA = ("=", "+", "-", "@", "\t", "\r")


def table(report: Report) -> str:
    """The records as CSV that a spreadsheet opens as numbers and text, never as formulas.

    A name that begins like a formula gets an apostrophe in front, control characters are written out, and numbers
    that there are none of are empty: where one of two bounds is, the gain has the other alone.
    """
    rows = records(report)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_field(name, x) for name, x in row.items()] for row in rows)
    return out.getvalue()


BOUNDS = ("lower", "upper", "lower_labels", "upper_labels")


def _field(name: str, x: Any) -> Any:
    if isinstance(x, str):
        return "'" + visible(x) if x.lstrip(" ").startswith(FORMULA) else visible(x)
    if x is None or (isinstance(x, float) and (math.isnan(x) or (name in BOUNDS and math.isinf(x)))):
        return ""
    return x


def command(dump: Dump, arguments: dict[str, Any]) -> str:
    """A call of `report`: what can be written as text is, what cannot stands as a name of its own.

    >>> import numpy as np, clinometer as cm
    >>> command(cm.open_dump(np.eye(2)), {"values": ["v"], "kl": [0.1]})
    "import clinometer as cm\\nr = cm.report(dump, values=['v'], kl=[0.1])"
    """
    source = "dump"
    if dump.path is not None:
        site = "" if dump.tensor is None else f", tensor={dump.tensor!r}"
        source = f"cm.open_dump({dump.path!r}{site})"
    parts = [source, *(f"{k}={_written(k, v)}" for k, v in arguments.items() if v is not None)]
    return without_secrets(f"import clinometer as cm\nr = cm.report({', '.join(parts)})")


def _written(name: str, x: Any) -> str:
    """Text of an argument; its own name where it holds arrays or objects."""
    if isinstance(x, os.PathLike):
        return repr(os.fspath(x))
    if isinstance(x, np.ndarray) and x.ndim <= 1 and x.size <= 32 and x.dtype.kind in "fiub":
        x = x.tolist()
    plain = x if isinstance(x, (list, tuple, set, frozenset)) else [x]
    if all(v is None or isinstance(v, (bool, int, float, str)) for v in plain):
        return repr(sorted(x) if isinstance(x, (set, frozenset)) else x)
    return name
