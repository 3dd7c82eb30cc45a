"""A direction from pairs: logistic regression on differences of rows (theory 1.3)."""

from __future__ import annotations

import numpy as np

from clinometer.fit.columns import column_scale
from clinometer.fit.scale import in_range

from .arrays import Floats

__all__ = ["bradley_terry"]


def bradley_terry(difference: Floats, prob: Floats, *, ridge: float = 1e-2) -> Floats:
    """u minimising mean of -p log sig(z) - (1 - p) log sig(-z) + ridge tr(C)/(2 d) |u|^2, z = D u (theory 1.3).

    C is the second moment of the differences (P, d), with massive columns in their own unit as in every fit. Newton
    with halving, in the rows' span where P < d, which the ridge does not notice.
    """
    D, p = np.asarray(difference, np.float64), np.asarray(prob, np.float64)
    P, d = D.shape
    D, exponent = in_range(D.reshape(-1, 1))  # squares of rows in any unit fit float64
    D = D.reshape(P, d)
    scale = column_scale((D * D).mean(axis=0))
    D = D * scale
    penalty = ridge * float((D * D).sum()) / max(P * d, 1)
    if penalty == 0.0:
        return np.zeros(d)
    frame = None
    if d > P:
        frame, triangle = np.linalg.qr(D.T)
        D = np.ascontiguousarray(triangle.T)
    u = np.zeros(D.shape[1])

    def loss(at: Floats) -> float:
        z = D @ at
        return float((np.logaddexp(0.0, z) - p * z).mean() + 0.5 * penalty * at @ at)

    now = loss(u)
    for _ in range(100):
        s = 1.0 / (1.0 + np.exp(-np.clip(D @ u, -700.0, 700.0)))
        gradient = D.T @ (s - p) / P + penalty * u
        hessian = (D * (s * (1.0 - s))[:, None]).T @ D / P + penalty * np.eye(len(u))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (new := loss(u - size * step)) > now and size > 1e-10:
            size *= 0.5
        u, done = u - size * step, float(gradient @ step) <= 1e-14 * max(now, 1e-300)
        now = min(now, new)
        if done:
            break
    return np.asarray(np.ldexp(scale * (u if frame is None else frame @ u), -exponent))
