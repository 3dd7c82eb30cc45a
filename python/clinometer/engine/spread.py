"""The spread of values inside prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer.common.threads import applied

from .inputs import Call
from .population import Population

Floats = NDArray[np.float64]

__all__ = ["FLAT", "spread_within", "within_sd"]


FLAT = 1e-12


def within_sd(call: Call) -> Floats:
    """Within-prompt sd of each value, sqrt(E_x Var_{y|x} f) under the base policy, (J,); NaN rows left out."""
    table = np.asarray(call.values, np.float64)
    return np.array([spread_within(table[:, j], call.effective()) for j in range(call.n_values)])


def spread_within(column: Floats, p: Population) -> float:
    """Within-prompt sd of one column (N,), NaN rows left out; exactly 0 where it is constant inside every prompt.

    Constant is what differs by FLAT of the column's own size: rounding, at any scale.
    """
    f, seen = column[p.rows], ~np.isnan(column[p.rows])
    if not seen.any():
        return float("nan")
    labelled, starts = p.labelled(column), p.offsets[:-1]
    # shifted by a value of the prompt itself, so that a constant leaves no rounding behind
    top = np.maximum.reduceat(np.where(seen, f, -np.inf), starts)
    size = float(np.abs(f[seen]).max())
    f = np.where(seen, f, 0.0) - np.where(seen, np.repeat(top, p.sizes), 0.0)
    scale = float(np.abs(f).max())
    if scale <= FLAT * size:
        return 0.0
    f, w = f / scale, labelled.row_weight()  # scaled, so that squares neither overflow nor vanish
    centred = f - np.repeat(np.add.reduceat(w * f, starts), p.sizes)
    return scale * float(np.sqrt(applied(np.add.reduceat(w * centred**2, starts), labelled.prompt_weight())))
