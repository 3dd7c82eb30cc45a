"""The report as records and as strict JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results import Result

if TYPE_CHECKING:
    from .result import Report

__all__ = ["dumps", "plain", "records"]


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
    """One dict per constitution, KL and value."""
    t, sd = report.tilt, report.gain_sd
    nan = float("nan")
    return [
        {
            "constitution": name, "kl": float(report.kl[b]), "value": value, "gain": float(t.gain[k, b, j]),
            "gain_se": float(t.gain_se[k, b, j]), "first_order": float(t.first_order[k, b, j]),
            "first_order_unbiased": float(t.first_order_unbiased[k, b, j]),
            "first_order_se": float(t.first_order_se[k, b, j]), "gain_sd": float(sd[k, b, j]),
            "win_rate": float(t.win_rate[k, b, j]),
            "net_of_length": nan if report.net is None else float(report.net.gain[k, b, j]),
            "net_of_length_se": nan if report.net is None else float(report.net.gain_se[k, b, j]),
            "class": str(report.classes[k, b]), "kl_reached": float(t.kl[k, b]), "beta": float(t.betas[k, b]),
            "ess": float(t.ess[k, b]), "pareto_k": float(t.pareto_k[k, b]),
            "kl_horizon": float(t.kl_horizon[k]), "past_horizon": bool(report.past_horizon[k, b]),
        }
        for k, name in enumerate(report.constitutions)
        for b in range(len(report.kl))
        for j, value in enumerate(report.values)
    ]  # fmt: skip
