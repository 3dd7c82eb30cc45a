"""What a gain may be taken for: intervals, corrections, null bands, selection and baselines (theory 2 and 10)."""

from __future__ import annotations

from clinometer.engine.adjusting import Adjust

from .arviz import to_arviz
from .gold import PPIResult, ppi_gain
from .intervals import GainIntervals, gain_intervals
from .null import NullBand, null_band
from .selection import Recommendation, benjamini_hochberg, holm, recommend
from .simpler import Baselines, baselines

__all__ = [
    "Adjust", "Baselines", "GainIntervals", "NullBand", "PPIResult", "Recommendation", "baselines",
    "benjamini_hochberg", "gain_intervals", "holm", "null_band", "ppi_gain", "recommend", "to_arviz",
]  # fmt: skip
