"""The rows whose probability the recommended tilt moves most, with their texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kl as roots
from ..dump import Dump
from ..inputs import prepare
from ..passes import kept_scores

if TYPE_CHECKING:
    from .result import Report

__all__ = ["moved_rows"]


def moved_rows(
    report: Report, dump: Dump, judges: list[Any], texts: Any, options: dict[str, Any], n: int = 3
) -> tuple[dict[str, Any], ...]:
    """The n rows with the largest and the n with the smallest ratio pi_C / pi0: row, prompt_id, ratio, text."""
    if len(texts) != dump.n_rows:
        raise ValueError(f"texts has {len(texts)} entries, wanted {dump.n_rows}: one per row of the dump")
    best = report.best()
    assert best is not None
    k, b = best.index
    call = prepare(dump, judges, None, **options)
    kept = np.ascontiguousarray(kept_scores(call)[:, k : k + 1])
    ratio = roots.log_ratios(call, kept, report.tilt.betas[k : k + 1, b : b + 1])[0]
    order = np.argsort(ratio, kind="stable")
    ends = dict.fromkeys([*order[::-1][:n].tolist(), *order[:n].tolist()])
    ids = np.repeat(call.population.ids, call.population.sizes)
    rows = call.population.rows
    return tuple(
        {
            "row": int(rows[i]),
            "prompt_id": str(ids[i]),
            "ratio": float(np.exp(ratio[i])),
            "text": _text(texts[int(rows[i])]),
        }
        for i in ends
    )


def _text(entry: Any) -> str:
    return str(entry.get("response", "")) if isinstance(entry, dict) else str(entry)
