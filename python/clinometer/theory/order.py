"""Order statistics of the normal distribution, for best-of-n (theory 4.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats

__all__ = ["expected_max_normal"]

_STEP = 1.0 / 64.0


def expected_max_normal(n: ArrayLike) -> Floats:
    """Expected maximum of n independent standard normals.

    e_n = int x n pdf(x) cdf(x)^(n-1) dx (theory 4.1). The trapezoid rule converges faster than any power of
    its step here, because the integrand is entire and decays like a normal density; sqrt(2 log n) is 23 %
    high at n = 64.

    Parameters
    ----------
    n : positive integer or array (M,) of them, up to 1e15

    Returns
    -------
    array of the shape of `n` (a scalar for a scalar)
        Within 1e-10. Cost: some 3000 nodes for each distinct n; imports SciPy.

    Errors: ValueError where n is no whole number from 1 to 1e15.

    >>> expected_max_normal([1, 2, 64]).round(5).tolist()
    [0.0, 0.56419, 2.34373]
    """
    from scipy.special import log_ndtr

    counts = np.asarray(n)
    if counts.dtype.kind not in "iuf" or not np.isfinite(counts).all():
        raise TypeError(f"n is {n!r}; wanted positive integers")
    wanted = counts.astype(np.float64)
    if not ((wanted >= 1.0) & (wanted == np.floor(wanted)) & (wanted <= 1e15)).all():
        raise ValueError(f"n is {n!r}; wanted integers from 1 to 1e15")
    distinct, inverse = np.unique(wanted, return_inverse=True)
    nodes = np.arange(-15.0, 20.0 + _STEP, _STEP)
    log_cdf = np.asarray(log_ndtr(nodes), dtype=np.float64)
    log_pdf = -0.5 * nodes**2 - 0.5 * np.log(2.0 * np.pi)
    result = np.empty(distinct.size)
    for i, m in enumerate(distinct):
        density = np.exp(np.log(m) + (m - 1.0) * log_cdf + log_pdf)
        result[i] = 0.0 if m == 1.0 else _STEP * float(nodes @ density)
    out: Floats = result[inverse].reshape(counts.shape)
    return out[()]
