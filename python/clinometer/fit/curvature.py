"""H = Sigma + ridge of a finished fit: what its errors are solved with, from a matrix or from passes over the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clinometer.common.threads import images, product

from .krylov import Krylov, Operator
from .quality import scores_of
from .solve import ridge_path

Floats = NDArray[np.float64]


class Curvature(Protocol):
    """What influences need of a fit."""

    def solve(self, rhs: Floats) -> Floats:
        """H^-1 rhs for rows (K, d)."""
        ...

    def gram(self, u: Floats) -> Floats:
        """u Sigma u' of rows (F, d)."""
        ...


@dataclass(frozen=True)
class DenseCurvature:
    """From Sigma (d, d), its null cutoff, and alpha in units of its mean diagonal."""

    sigma: Floats
    cutoff: float
    alpha: float

    def solve(self, rhs: Floats) -> Floats:
        return np.asarray(ridge_path(self.sigma, rhs, np.array([self.alpha]), self.cutoff)[0])

    def gram(self, u: Floats) -> Floats:
        return product(images(self.sigma, u), u.T)


@dataclass(frozen=True)
class StreamedCurvature:
    """From passes over the rows: two a step of the solver."""

    operator: Operator
    ridge: float

    def solve(self, rhs: Floats) -> Floats:
        own = self.operator
        whole = Operator(own.call, own.p, without=np.full(len(rhs), -1), pooled=own.pooled)
        return Krylov(whole, rhs * whole.scale).solve(np.full(len(rhs), self.ridge)) * whole.scale

    def gram(self, u: Floats) -> Floats:
        x = self.operator.in_prompts(scores_of(self.operator.call, u))
        return product((self.operator.weight[:, -1:] * x).T, x)
