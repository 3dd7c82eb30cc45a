"""Minimising several smooth convex losses in lockstep, so that one pass over the rows serves them all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import tell
from clinometer.common.threads import SIDE, product

Floats = NDArray[np.float64]
Loss = Callable[[Floats, Floats], tuple[Floats, Floats, Floats]]  # (M, d), (M,) -> losses (M,), gradients
GRADIENT = 1e-10
STEPS = 1000


def softplus(z: Floats) -> Floats:
    """log(1 + exp(z)) without overflow."""
    return np.asarray(np.logaddexp(0.0, z))


class Triangle:
    """L of a positive definite A = L L', in blocks that LAPACK does on one thread: bits do not depend on BLAS."""

    def __init__(self, a: Floats) -> None:
        """numpy.linalg.LinAlgError where A is not positive definite."""
        a, n = a.copy(), len(a)
        self.factor, self.inverse = np.zeros((n, n)), list[Floats]()
        self.blocks = [slice(i, min(i + SIDE, n)) for i in range(0, n, SIDE)]
        for own in self.blocks:
            below = slice(own.stop, n)
            self.factor[own, own] = np.linalg.cholesky(a[own, own])
            self.inverse.append(np.asarray(np.linalg.inv(self.factor[own, own]), np.float64))
            self.factor[below, own] = product(a[below, own], self.inverse[-1].T)
            a[below, below] -= product(self.factor[below, own], self.factor[below, own].T)

    def over(self, v: Floats) -> Floats:
        """Rows x with x L = v."""
        x = np.empty_like(v)
        for own, inverse in zip(reversed(self.blocks), reversed(self.inverse), strict=True):
            below = slice(own.stop, None)
            x[:, own] = product(v[:, own] - product(x[:, below], self.factor[below, own]), inverse)
        return x

    def over_transposed(self, v: Floats) -> Floats:
        """Rows x with x L' = v."""
        x = np.empty_like(v)
        for own, inverse in zip(self.blocks, self.inverse, strict=True):
            left = slice(0, own.start)
            x[:, own] = product(v[:, own] - product(x[:, left], self.factor[own, left].T), inverse.T)
        return x


class Metric:
    """Coordinates in which a Hessian near H has condition number near 1: u = L^-T v with H = L L', or by diagonal."""

    def __init__(self, hessian: Floats) -> None:
        """hessian (d, d), or its diagonal (d,)."""
        diagonal = hessian if hessian.ndim == 1 else np.diagonal(hessian)
        floor = 1e-10 * float(diagonal.max(initial=0.0)) or 1.0
        self.scale = 1 / np.sqrt(np.maximum(diagonal, floor))
        self.root: Triangle | None = None
        if hessian.ndim == 2:
            whitened = hessian * np.outer(self.scale, self.scale)
            # without a root the diagonal alone still takes out the units
            with suppress(np.linalg.LinAlgError):
                self.root = Triangle(whitened + 1e-9 * np.eye(len(hessian)))

    def to_u(self, v: Floats) -> Floats:
        """Directions (M, d) of coordinates."""
        return np.asarray((v if self.root is None else self.root.over(v)) * self.scale)

    def from_u(self, u: Floats) -> Floats:
        """Coordinates of directions."""
        u = u / self.scale
        return np.asarray(u if self.root is None else product(u, self.root.factor))

    def gradient(self, g: Floats) -> Floats:
        """Gradient in coordinates from the gradient in u."""
        g = g * self.scale
        return np.asarray(g if self.root is None else self.root.over_transposed(g))


def minimise(
    loss: Loss, u: Floats, b: Floats, metric: Metric, *, intercept: bool, what: str, exact: bool = True
) -> tuple[Floats, Floats]:
    """Minimisers of M losses from directions u (M, d) and intercepts b (M,), by L-BFGS on their sum.

    The losses share rows and nearly share curvature, so one memory of steps serves all. Warns where the
    gradient has not become small. `exact` says that losses come in float64; else steps below what float32 lanes
    resolve are not taken.
    """
    from scipy.optimize import minimize

    M, d = u.shape
    last = [np.inf]

    def whole(x: Floats) -> tuple[float, Floats]:
        v = x[: M * d].reshape(M, d)
        c = x[M * d :] * 2 if intercept else b
        value, du, db = loss(metric.to_u(v), c)
        dx = metric.gradient(du).ravel()
        dx = np.concatenate([dx, db * 2]) if intercept else dx
        last[0] = float(np.abs(dx).max(initial=0.0))
        return float(value.sum()), dx

    start = np.concatenate([metric.from_u(u).ravel(), b / 2]) if intercept else metric.from_u(u).ravel()
    slack = {"gtol": GRADIENT, "ftol": 1e-16} if exact else {"gtol": 1e-7, "ftol": 1e-12}
    options = {"maxiter": STEPS, "maxfun": 2 * STEPS, "maxcor": 20, **slack}
    found = minimize(whole, start, jac=True, method="L-BFGS-B", options=options)
    if not np.abs(found.jac).max(initial=0.0) <= 1e-4:
        tell(
            f"{what}: the fit stopped with a gradient of {np.abs(found.jac).max():.1e} of its scale; "
            "use a larger alpha, or precision='double'",
            stacklevel=5,
        )
    x = found.x
    return metric.to_u(x[: M * d].reshape(M, d)), (x[M * d :] * 2 if intercept else b)
