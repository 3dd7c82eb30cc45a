"""Meta-regression of a few noisy numbers on size, and their rank correlation with it."""

from __future__ import annotations

import numpy as np

from clinometer.common.resampling import t_bounds

from .arrays import Floats

__all__ = ["slope", "trends"]


def trends(x: Floats, y: Floats, se: Floats, level: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Slopes (J,), their intervals (J, 2), rank correlations and p-values (J,) of columns y (M, J)."""
    from scipy.stats import kendalltau

    lines = [slope(x, column, error, level) for column, error in zip(y.T, se.T, strict=True)]
    ranks = [kendalltau(x, column) for column in y.T]
    slopes, ci = (np.array(part) for part in zip(*lines, strict=True))
    return slopes, ci, np.array([k.statistic for k in ranks]), np.array([k.pvalue for k in ranks])


def slope(x: Floats, y: Floats, se: Floats, level: float) -> tuple[float, Floats]:
    """Meta-regression of y on x, and its interval."""
    if not (np.isfinite(y) & np.isfinite(se)).all():
        return float("nan"), np.full(2, np.nan)
    from scipy.optimize import brentq

    known = np.where(se > 0, se, max(float(se.max()), 1e-300) * 1e-3) ** 2

    def excess(tau2: float) -> float:
        """How much more models scatter than errors and tau^2 say."""
        _, residual, _, freedom = _line(x, y, 1 / (known + tau2))
        return float((residual**2 / (known + tau2)).sum()) - freedom

    far = 4.0 * float(np.ptp(y)) ** 2 * len(y)
    tau2 = float(brentq(excess, 0.0, far)) if len(y) > 2 and excess(0.0) > 0 else 0.0
    slope, residual, spread, freedom = _line(x, y, 1 / (known + tau2))
    if freedom < 1:
        return slope, np.full(2, np.nan)
    error = np.sqrt(float((residual**2 / (known + tau2)).sum()) / freedom / spread)
    return slope, t_bounds(np.array(slope), np.array(error), np.array(freedom + 1), level)


def _line(x: Floats, y: Floats, w: Floats) -> tuple[float, Floats, float, int]:
    """Slope, residuals, weighted spread of x and degrees of freedom."""
    dx, dy = x - w @ x / w.sum(), y - w @ y / w.sum()
    spread = float(w @ (dx * dx))
    slope = float(w @ (dx * dy)) / spread
    return slope, dy - slope * dx, spread, len(x) - 2
