"""What a report says of the rows before it says anything about tilts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inputs import Call
from ..results import Result

__all__ = ["DumpSummary", "summarise", "within_sd"]


@dataclass(frozen=True, repr=False, eq=False)
class DumpSummary(Result):
    """The rows a report rests on; counts are after dropped prompts.

    `responses` is (min, median, max) of the responses per prompt.
    """

    name: str
    n_rows: int
    n_prompts: int
    n_dropped: int
    n_singletons: int
    responses: tuple[float, float, float]
    dim: int
    dtype: str
    site: str | None
    layer: int | None
    policy: str | None
    base: str

    @property
    def is_forecast(self) -> bool:
        """Whether the rows come from the policy that would be trained, so that a gain is a forecast."""
        return self.policy == "on_policy"

    @property
    def kind(self) -> str:
        """What the gains are, in words."""
        if self.is_forecast:
            return "on policy: gains are a forecast for this model"
        known = "off policy" if self.policy == "off_policy" else "policy unknown"
        return f"{known}: gains are a re-weighting of these rows, not a forecast"


def summarise(call: Call) -> DumpSummary:
    """The summary of a prepared call."""
    dump, p = call.dump, call.population
    sizes = p.sizes
    chosen = dump.candidates.get(dump.tensor) if dump.tensor is not None else None
    spread = (float(sizes.min()), float(np.median(sizes)), float(sizes.max())) if len(sizes) else (0.0, 0.0, 0.0)
    return DumpSummary(
        name=dump.name, n_rows=p.n_rows, n_prompts=p.n_prompts, n_dropped=p.n_dropped,
        n_singletons=int((sizes == 1).sum()), responses=spread, dim=dump.dim, dtype=dump.dtype, site=dump.tensor,
        layer=None if chosen is None else chosen.layer, policy=dump.policy, base=p.base,
    )  # fmt: skip


def within_sd(call: Call) -> NDArray[np.float64]:
    """Within-prompt sd of each value under the base policy, sqrt(E_x Var_{y|x} f), (J,); NaN rows left out."""
    out = np.full(call.n_values, np.nan)
    for j in range(call.n_values):
        column: Any = np.asarray(call.values)[:, j]
        p = call.effective().labelled(column)
        f, w = np.nan_to_num(column[p.rows]), p.row_weight()
        if len(f) == 0 or not np.isfinite(p.prompt_weight()).all():
            continue
        centred = f - np.repeat(np.add.reduceat(w * f, p.offsets[:-1]), p.sizes)
        out[j] = np.sqrt(p.prompt_weight() @ np.add.reduceat(w * centred**2, p.offsets[:-1]))
    return out
