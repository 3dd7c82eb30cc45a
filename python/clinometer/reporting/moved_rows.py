"""The rows whose probability the recommended tilt changes most, with their values and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer.engine import kl as roots
from clinometer.engine.inputs import Call

if TYPE_CHECKING:
    from .result import Report

__all__ = ["moved_rows"]

LONGEST = 20_000  # characters of a prompt or response


def _shortened(text: str) -> str:
    """A page holds what is read; a text may have a hundred million characters."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text) - LONGEST:,} more characters)"


def moved_rows(
    report: Report, call: Call, kept: NDArray[np.float64], texts: Any, n: int = 3
) -> tuple[dict[str, Any], ...]:
    """The n rows with the largest and the n with the smallest ratio pi_C / pi0, from scores (N, K), one dict each.

    Keys: row, prompt_id, ratio, before and after (probability inside the prompt), values (J,), prompt, text.
    """
    from .responses import _text, texts_by_row  # which itself shows text by this package

    texts = texts_by_row(call, texts)
    best = report.best()
    assert best is not None
    k, b = best.index
    own = np.ascontiguousarray(kept[:, k : k + 1])
    ratio = roots.log_ratios(call, own, report.tilt.betas[k : k + 1, b : b + 1])[0]
    weight, rows = call.population.row_weight(), call.population.rows
    order = np.argsort(ratio, kind="stable")
    order = order[weight[order] > 0]
    ends = dict.fromkeys([*order[::-1][:n].tolist(), *order[:n].tolist()])
    ids, table = np.repeat(call.population.ids, call.population.sizes), np.asarray(call.values, np.float64)
    out = []
    for i in ends:
        prompt, response = map(_shortened, _text(texts, int(rows[i])))
        out.append({
            "row": int(rows[i]), "prompt_id": str(ids[i]), "ratio": float(np.exp(ratio[i])),
            "before": float(weight[i]), "after": float(weight[i] * np.exp(ratio[i])),
            "values": table[rows[i]].tolist(), "prompt": prompt, "text": response,
        })  # fmt: skip
    return tuple(out)
