"""What is to be computed: one kernel on given rows or scores, the work it takes and how exact it must be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .rows import Floats, Rows, Singles, directions

__all__ = ["N_VALUES", "TOLERANCES", "Problem", "Work"]

N_VALUES = 4
BETAS = np.geomspace(0.5, 20.0, 16)
FEW_BETAS = np.geomspace(0.5, 4.0, 4)
# the accuracy modes of precision="mixed", in the units of exact.py
TOLERANCES = {
    "score": 2e-6, "tilt": 1.0, "tilt_global": 1.0, "fused": 1.0, "tilted_mean": 1e-6,
    "covariance_projection": 1e-6, "covariance": 1e-6, "covariance_within": 1e-6, "bradley_terry": 1e-6,
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What any method must spend; a matrix that is symmetric counts once."""

    n_bytes: float
    n_flops: float
    n_exps: float = 0.0


@dataclass(frozen=True)
class Problem:
    """One kernel and its input. For `tilt` and `tilt_global` the rows only say how many and in what prompts."""

    kernel: str
    rows: Rows
    k: int

    @cached_property
    def u(self) -> Floats:
        return directions(self.k, self.rows.d)

    @cached_property
    def single(self) -> Singles:
        return self.u.astype(np.float32)

    @property
    def betas(self) -> Floats:
        return FEW_BETAS if self.kernel == "tilted_mean" else BETAS

    @cached_property
    def scores(self) -> Singles:
        """Scores (N, K) for the tilt stage; those of the rows where the stage is fused with them."""
        if self.kernel == "fused":
            return np.concatenate([x.astype(np.float64) @ self.u.T for _, x in self.rows.chunks()]).astype(np.float32)
        return np.random.default_rng(4).standard_normal((self.rows.n, self.k), dtype=np.float32)

    @cached_property
    def values(self) -> Singles:
        """Values (N, 4) of unit spread, correlated with the first score as under a constitution."""
        noise = np.random.default_rng(3).standard_normal((self.rows.n, N_VALUES))
        return np.asarray((0.5 * self.scores[:, :1] + noise) / np.sqrt(1.25), np.float32)

    @cached_property
    def chosen(self) -> Floats:
        """Probability (P,) that the even row of a pair beats the odd one; pairs are rows 2i and 2i + 1."""
        return np.random.default_rng(5).uniform(0.05, 0.95, self.rows.n // 2)

    @property
    def work(self) -> Work:
        n, d, k = self.rows.n, self.rows.d, self.k
        cells = float(n * k * len(self.betas))
        flops = {
            "score": 2.0 * n * d * k, "tilt": 2 * cells * N_VALUES, "tilt_global": 2 * cells * N_VALUES,
            "fused": 2.0 * n * d * k + 2 * cells * N_VALUES, "tilted_mean": 2.0 * n * d * k + 2 * cells * d,
            "covariance_projection": 4.0 * n * d * k, "covariance": float(n) * d**2,
            "covariance_within": float(n) * d**2, "bradley_terry": 4.0 * n * d * k,
        }[self.kernel]  # fmt: skip
        if self.kernel in ("tilt", "tilt_global"):
            return Work(4.0 * n * (k + N_VALUES), flops, cells)
        return Work(float(self.rows.n_bytes), flops, cells if self.kernel in ("fused", "tilted_mean") else 0.0)
