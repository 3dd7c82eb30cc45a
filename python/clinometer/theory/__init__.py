"""The theory on finished numbers: directions, covariances, spectra and profiles (theory 2 to 8).

Nothing here reads a dump; the inputs are what `moments`, `cross_covariance` and the fits return.
"""

from __future__ import annotations

from clinometer.theory.fraction import pareto_fraction
from clinometer.theory.geometry import (
    WorstDirection,
    policy_direction,
    robustness_radius,
    score_correlation,
    worst_direction,
)
from clinometer.theory.order import expected_max_normal
from clinometer.theory.spectra import EffectiveRank, ValueConcentration, effective_rank, value_concentration
from clinometer.theory.tradeoffs import classify, optimal_direction, tradeoff_profile
from clinometer.theory.worked import PooledVersusWithin, ToyExample, pooled_versus_within, toy_example

__all__ = [
    "EffectiveRank",
    "PooledVersusWithin",
    "ToyExample",
    "ValueConcentration",
    "WorstDirection",
    "classify",
    "effective_rank",
    "expected_max_normal",
    "optimal_direction",
    "pareto_fraction",
    "policy_direction",
    "pooled_versus_within",
    "robustness_radius",
    "score_correlation",
    "toy_example",
    "tradeoff_profile",
    "value_concentration",
    "worst_direction",
]
