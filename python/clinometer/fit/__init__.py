"""Directions fitted to labels, pairs and log-probabilities, cross-fitted by prompt (theory 1 and 10)."""

from __future__ import annotations

from clinometer.engine.fitted import DirectionFit, EncodingQuality

from .generation import fit_generation_direction
from .preference import fit_preference_direction
from .value import fit_value_direction

__all__ = [
    "DirectionFit",
    "EncodingQuality",
    "fit_generation_direction",
    "fit_preference_direction",
    "fit_value_direction",
]
