"""Smallest point of a hull of unit rows, and the exact evaluation of what proves a cone open or empty.

min |v|^2 subject to <a_j, v> >= 1 is the dual of the min-norm point of conv{a_j}: the point is v / |v|^2
and the margin 1 / |v| (theory 8.3). Solving for v from a QR of the active rows keeps its relative
accuracy when the hull passes close to the origin; adding the rows up, or working from their Gram, cancels it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats

_EPS = float(np.finfo(np.float64).eps)
DEPENDENT = 8.0 * _EPS


@dataclass(frozen=True)
class Hull:
    """`open`: <a_j, normal> >= 1, equal where weights > 0; otherwise the weighted sum of the rows vanishes.

    `weights` lies in the simplex; `settled` is False if rounding kept the method from finishing.
    """

    open: bool
    settled: bool
    normal: Floats
    weights: Floats
    margin: float


def unit_rows(rows: Floats) -> Floats:
    """Rows of norm 1: first an exact power of two, then the norm, so 1e300 and 1e-300 are no danger."""
    _, exponent = np.frexp(np.abs(rows).max(axis=1, initial=0.0))
    scaled = np.ldexp(rows, -exponent[:, None])
    return np.asarray(scaled / np.linalg.norm(scaled, axis=1)[:, None])


def smallest_point(rows: Floats, *, dependent: float = DEPENDENT) -> Hull:
    """Dual active set (Goldfarb, Idnani) on unit rows (k, r); `dependent` is what counts as nothing new.

    Each round adds the most violated row; the objective grows strictly, so no set of active rows returns.
    Costs O(k) rounds of one QR.
    """
    k, r = rows.shape
    active: list[int] = []
    duals = np.zeros(0)
    normal = np.zeros(r)
    for _ in range(20 * k + 20):
        slack = rows @ normal - 1.0
        slack[active] = np.inf
        entering = int(np.argmin(slack))
        if slack[entering] >= -16.0 * _EPS * max(1.0, float(np.linalg.norm(normal))):
            return _opened(k, active, duals, normal, settled=True)
        blocked = _enter(rows, active, duals, entering, slack[entering], dependent)
        if blocked is not None:
            weights = np.zeros(k)
            weights[[*active, entering]] = blocked
            return Hull(False, True, np.zeros(r), weights / weights.sum(), 0.0)
        duals, normal = _equal(rows, active)
    return _opened(k, active, duals, normal, settled=False)


def _opened(k: int, active: list[int], duals: Floats, normal: Floats, *, settled: bool) -> Hull:
    weights = np.zeros(k)
    weights[active] = np.maximum(duals, 0.0)
    length = float(np.linalg.norm(normal))
    return Hull(True, settled, normal, weights / weights.sum(), min(1.0, 1.0 / length))


def _enter(
    rows: Floats, active: list[int], duals: Floats, entering: int, slack: float, dependent: float
) -> Floats | None:
    """Make `entering` active, dropping rows whose multiplier reaches 0; what blocks it, if anything does."""
    while True:
        frame, triangle = np.linalg.qr(rows[active].T)
        along = frame.T @ rows[entering]
        step = np.linalg.solve(triangle, along) if active else np.zeros(0)
        off = rows[entering] - frame @ along
        off -= frame @ (frame.T @ off)
        fresh = float(off @ off)
        falling = step > 1e-12 * max(1.0, float(np.abs(step).max(initial=0.0)))
        ratios = np.full(step.size, np.inf)
        np.divide(duals, step, out=ratios, where=falling)
        drop = int(np.argmin(ratios)) if step.size else -1
        longest = float(ratios[drop]) if step.size else np.inf
        full = -slack / fresh if fresh > dependent**2 and len(active) < rows.shape[1] else np.inf
        if not np.isfinite(min(longest, full)):
            return np.append(np.maximum(-step, 0.0), 1.0)
        if full <= longest:
            active.append(entering)
            return None
        duals = np.delete(duals - longest * step, drop)
        slack += longest * fresh if np.isfinite(full) else 0.0
        del active[drop]


def _equal(rows: Floats, active: list[int]) -> tuple[Floats, Floats]:
    """Multipliers and normal with product 1 on every active row, by QR of those rows."""
    frame, triangle = np.linalg.qr(rows[active].T)
    inner = np.linalg.solve(triangle.T, np.ones(len(active)))
    return np.linalg.solve(triangle, inner), frame @ inner


def equal_products(rows: Floats, support: NDArray[np.bool_]) -> Floats | None:
    """A vector with the same product on all rows of the support, if double precision resolves one.

    For rows such as (1, 0), (-1, 1e-16) it exists and is accurate. For rows that are dependent up to their
    own rounding its products differ wildly, and it is refused: that rounding proves nothing.
    """
    active = np.flatnonzero(support)
    if active.size > rows.shape[1]:
        return None
    try:
        with np.errstate(all="ignore"):
            _, normal = _equal(rows, active.tolist())
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(normal).all():
        return None
    products = [exact_dot(rows[j], normal) for j in active]
    return normal if min(products) > 0 and max(products) < min(products) * Fraction(101, 100) else None


def exact_dot(a: Floats, b: Floats) -> Fraction:
    """The inner product of two double vectors as a rational number, without rounding."""
    used = (a != 0.0) & (b != 0.0)
    left, left_exponent = np.frexp(a[used])
    right, right_exponent = np.frexp(b[used])
    exponents = (left_exponent.astype(np.int64) + right_exponent).tolist()
    if not exponents:
        return Fraction(0)
    base = min(exponents)
    first = np.ldexp(left, 53).astype(np.int64).tolist()
    second = np.ldexp(right, 53).astype(np.int64).tolist()
    total = sum((x * y) << (e - base) for x, y, e in zip(first, second, exponents, strict=True))
    power = base - 106
    return Fraction(total << power) if power >= 0 else Fraction(total, 1 << -power)


def is_witness(rows: Floats, normal: Floats) -> bool:
    """Whether <a_j, normal> > 0 for every row, exactly; rationals run only where f64 cannot tell."""
    if not (np.isfinite(normal).all() and normal.any()):
        return False
    _, exponent = np.frexp(np.abs(rows).max(axis=1, initial=0.0))
    scaled = np.ldexp(rows, -exponent[:, None])
    vector = np.ldexp(normal, -int(np.frexp(np.abs(normal).max())[1]))
    products = scaled @ vector
    # The bound of a dot product summed in any order, plus what scaling may have pushed out of range.
    doubt = (rows.shape[1] + 2) * _EPS * (np.abs(scaled) @ np.abs(vector)) + rows.shape[1] * 1e-300
    if (products < -doubt).any():
        return False
    return all(exact_dot(rows[j], normal) > 0 for j in np.flatnonzero(products <= doubt))


def certificate_residual(units: Floats, weights: Floats) -> float:
    """Upper bound of |sum_j weights_j a_j| for weights in the simplex and unit rows, rounding included."""
    total = weights @ units
    doubt = (units.shape[0] + 2) * _EPS * (weights @ np.abs(units))
    return float(np.linalg.norm(np.abs(total) + doubt) * (1.0 + 8.0 * _EPS))
