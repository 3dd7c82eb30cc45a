"""Theory 2 to 8 of docs/theory.md, on finished numbers and on dumps.

Functions of directions and covariances read nothing; those that take a dump say what they read.
"""

from __future__ import annotations

from .best_of import BestOfN, best_of_n, expected_max_normal
from .ceilings import CeilingByLayer, JudgeCeiling, ceiling_by_layer, judge_ceiling
from .closed import (
    GaussianTilt,
    PooledVersusWithin,
    QuadraticTilt,
    ToyExample,
    gaussian_tilt,
    pooled_versus_within,
    quadratic_tilt,
    toy_example,
    wendel_probability,
)
from .complementary import Complementarity, complementarity
from .drift import JudgeDrift, judge_drift
from .ensembles import Ensembles, ensembles
from .expansion import Cumulants, cumulants
from .fraction import pareto_fraction
from .frontier import GainKLFrontier, gain_kl_frontier
from .gap import GenerationJudgmentGap, generation_judgment_gap
from .generation import GenerationShare, generation_share, orthonormal_alpha
from .geometry import WorstDirection, policy_direction, robustness_radius, score_correlation, worst_direction
from .iterated import Iteration, drifting_projection, iterate
from .labelers import LabelerScaling, labeler_scaling
from .learning import LearningCurve, learning_curve
from .nonlinear import NonlinearEncoding, nonlinear_encoding
from .screening import Screen, screen
from .shift import ShiftRank, shift_rank
from .spectra import (
    EffectiveRank,
    RandomisedSpectrum,
    ValueConcentration,
    effective_rank,
    randomised_spectrum,
    value_concentration,
)
from .tradeoffs import (
    ClassProbabilities,
    Scalarised,
    class_probabilities,
    classify,
    optimal_direction,
    scalarise,
    tradeoff_profile,
    value_angles,
)

__all__ = [
    "BestOfN", "CeilingByLayer", "ClassProbabilities", "Complementarity", "Cumulants", "EffectiveRank",
    "Ensembles", "GainKLFrontier", "GaussianTilt", "GenerationJudgmentGap", "GenerationShare", "Iteration",
    "JudgeCeiling", "JudgeDrift", "LabelerScaling", "LearningCurve", "NonlinearEncoding",
    "PooledVersusWithin", "QuadraticTilt", "RandomisedSpectrum", "Scalarised", "Screen", "ShiftRank",
    "ToyExample", "ValueConcentration", "WorstDirection", "best_of_n", "ceiling_by_layer",
    "class_probabilities", "classify", "complementarity", "cumulants", "drifting_projection",
    "effective_rank", "ensembles", "expected_max_normal", "gain_kl_frontier", "gaussian_tilt",
    "generation_judgment_gap", "generation_share", "iterate", "judge_ceiling", "judge_drift",
    "labeler_scaling", "learning_curve", "nonlinear_encoding", "optimal_direction", "orthonormal_alpha",
    "pareto_fraction", "policy_direction", "pooled_versus_within", "quadratic_tilt", "randomised_spectrum",
    "robustness_radius", "scalarise", "score_correlation", "screen", "shift_rank", "toy_example",
    "tradeoff_profile", "value_angles", "value_concentration", "wendel_probability", "worst_direction",
]  # fmt: skip
