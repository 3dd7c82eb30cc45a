"""Every statistic again in plain NumPy float64: read it to learn the definitions.

Written straight from the theory, for clarity and not for speed; the compiled core is tested against it.
Read `base` (what a row weighs), then `one_prompt` (the tilt in ten lines), then the rest in any order.
"""

from __future__ import annotations

from .base import BaseOptions, BaseWeights, Block, base_weights, clustered_covariance
from .budget import jackknife_bias, kl_curve, kl_horizon, kl_horizon_sized, solve_kl
from .fit import encoding_quality, fit_value_direction
from .lp import ExactLP, cone_value, constrained_value, exact_lp, game_value, prompt_value
from .moments import covariance_projection, cross_covariance, moments, score, within_residual
from .one_prompt import PromptTilt, tilt_block
from .pareto import pareto_k
from .policy import policy_gain, policy_null_se
from .tilt import tilt, tilted_mean

__all__ = [
    "BaseOptions",
    "BaseWeights",
    "Block",
    "ExactLP",
    "PromptTilt",
    "base_weights",
    "clustered_covariance",
    "cone_value",
    "constrained_value",
    "covariance_projection",
    "cross_covariance",
    "encoding_quality",
    "exact_lp",
    "fit_value_direction",
    "game_value",
    "jackknife_bias",
    "kl_curve",
    "kl_horizon",
    "kl_horizon_sized",
    "moments",
    "pareto_k",
    "policy_gain",
    "policy_null_se",
    "prompt_value",
    "score",
    "solve_kl",
    "tilt",
    "tilt_block",
    "tilted_mean",
    "within_residual",
]
