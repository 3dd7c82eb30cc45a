"""What a report says of the rows before it says anything about tilts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import Result
from clinometer.engine.inputs import Call
from clinometer.theory import classify

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class DumpSummary(Result):
    """The rows a report rests on; counts are after dropped prompts.

    `responses` is (min, median, max) of the responses per prompt.

    `name`, `dim`, `dtype`, `layer`, `policy` are the dump's, `site` the position or module of its rows, `base` the
    base policy taken; `n_singletons` counts prompts of one response. `n_clusters`: units of errors that the prompts
    fall into, None where each is its own; `weighted`: whether prompts have weights.
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
    n_clusters: int | None
    weighted: bool

    @property
    def prompts(self) -> str:
        """How many there are, and how they enter means and errors."""
        said = f"{self.n_prompts} {'weighted ' * self.weighted}prompt{'s' * (self.n_prompts != 1)}"
        return said if self.n_clusters is None else f"{said} ({self.n_clusters} clusters)"

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
    spread = (0.0, 0.0, 0.0)
    if len(sizes):
        spread = (float(sizes.min()), float(np.median(sizes)), float(sizes.max()))
    return DumpSummary(
        name=dump.name, n_rows=p.n_rows, n_prompts=p.n_prompts, n_dropped=p.n_dropped,
        n_singletons=int((sizes == 1).sum()), responses=spread, dim=dump.dim, dtype=dump.dtype, site=dump.tensor,
        layer=None if chosen is None else chosen.layer, policy=dump.policy, base=p.base,
        n_clusters=None if p.cluster is None else len(np.unique(p.cluster)), weighted=p.omega is not None,
    )  # fmt: skip


def classes(gain: Floats, se: Floats, z: float = 1.96) -> NDArray[np.str_]:
    """Class of each row of gains; a gain that could not be had is as uncertain as can be, never a number."""
    unknown = np.isnan(gain)
    return classify(np.where(unknown, 0.0, gain), se=np.where(unknown, np.inf, se), z=z)


def without_flat(gain: Floats, se: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """Gains and errors with exact zeros for values that do not vary, whose rounding must not get a sign."""
    flat = sd == 0
    return np.where(flat, 0.0, gain), np.where(flat, 0.0, se)
