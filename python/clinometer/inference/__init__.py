"""What a gain may be taken for: intervals, corrections, null bands, selection and baselines (theory 2, 10)."""

from __future__ import annotations

from .intervals import GainIntervals, gain_intervals

__all__ = ["GainIntervals", "gain_intervals"]
