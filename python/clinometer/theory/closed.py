"""Closed forms of the Gaussian world: tilts of linear and quadratic values, random cones (theory 3.1, 7.3 and 8.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from clinometer.common.results import Axes, Result

from .arrays import Floats, as_covariance, as_rows, as_vector, times_sigma
from .geometry import _sigma_sd


@dataclass(frozen=True, repr=False, eq=False)
class GaussianTilt(Result):
    """`gain` (K, B, J) and `kl` (K, B) of linear values, exact at every beta of `betas` (B,) in a Gaussian world."""

    axes: ClassVar[Axes] = {
        "direction beta value": "gain",
        "direction beta": "kl",
        "beta": "betas",
    }

    gain: Floats
    kl: Floats
    betas: Floats


def gaussian_tilt(values: Any, sigma: Any, directions: Any, betas: ArrayLike) -> GaussianTilt:
    """Tilt of phi given x ~ N(mu_x, Sigma): the mean moves by Sigma u_C / beta, Sigma stays (theory 3.1).

    gain = u*' Sigma u_C / beta and KL = u_C' Sigma u_C / (2 beta^2), so gain = r sd(<u*, phi>) sqrt(2 KL).

    Parameters
    ----------
    values : array (J, d); directions : (K, d); sigma : (d, d), object with ``.covariance`` or None
    betas : numbers > 0, (B,) or one

    Returns
    -------
    GaussianTilt

    Cost: O(K d^2 + J K (d + B)).
    Errors: ValueError where widths differ, numbers are not finite, or a beta is not above 0.

    >>> found = gaussian_tilt([1.0, 0.0], None, [0.9, 0.436], 1.0)
    >>> found.gain.item(), found.kl.round(3).item()
    (0.9, 0.5)
    """
    rows = as_rows("values", values)
    tilts = as_rows("directions", directions, rows.shape[1])
    matrix, beta = as_covariance(sigma, rows.shape[1]), _betas(betas)
    gain = (tilts @ times_sigma(rows, matrix).T)[:, None, :] / beta[None, :, None]
    return GaussianTilt(gain, _sigma_sd(tilts, matrix)[:, None] ** 2 / (2.0 * beta**2), beta)


def _betas(betas: ArrayLike) -> Floats:
    beta = np.atleast_1d(np.asarray(betas, np.float64))
    if beta.ndim != 1 or not (beta > 0.0).all():
        raise ValueError(f"betas is {betas!r}; wanted numbers > 0")
    return beta


@dataclass(frozen=True, repr=False, eq=False)
class QuadraticTilt(Result):
    """Tilts of f = -(<v, phi> - tau)^2; arrays are (B,), gains in units of f.

    `gain` is exact, `first_order` = 2 (tau - m) h and `second_order` = gain (the series ends there). It improves
    only for `shift` h between 0 and 2 (tau - m); `best_beta` puts h at tau - m (inf or negative: no beta improves)
    and reaches `best_gain`; beyond `sign_flip`, in 1/beta, the gain is negative.
    """

    axes: ClassVar[Axes] = {"beta": "gain first_order shift"}

    gain: Floats
    first_order: Floats
    shift: Floats
    best_beta: float
    best_gain: float
    sign_flip: float


def quadratic_tilt(v: Any, tau: float, mean: float, sigma: Any, u_c: Any, betas: ArrayLike) -> QuadraticTilt:
    """A value with an optimum inside the range, and a linear judge that overshoots it (theory 7.3).

    With m = E <v, phi> and h = v' Sigma u_C / beta the gain is 2 (tau - m) h - h^2 in a Gaussian world: the first
    order goes on promising a gain after the overshoot.

    Parameters
    ----------
    v, u_c : array (d,)
    tau, mean : target of <v, phi>, and its mean under the base policy
    sigma : (d, d), object with ``.covariance`` or None
    betas : numbers > 0

    Returns
    -------
    QuadraticTilt
        ``.sign_flip`` is the 1/beta beyond which the value is lower than before.

    Cost: O(d^2 + B).
    Errors: ValueError where widths differ or a beta is not above 0.

    >>> found = quadratic_tilt([1.0], 1.0, 0.0, None, [1.0], [1.0, 0.4])
    >>> found.gain.round(6).tolist(), found.first_order.round(6).tolist(), found.best_beta
    ([1.0, -1.25], [2.0, 5.0], 1.0)
    """
    value = as_vector("v", v)
    tilt = as_vector("u_c", u_c, value.size)
    matrix, beta = as_covariance(sigma, value.size), _betas(betas)
    push, room = float(times_sigma(value[None], matrix)[0] @ tilt), float(tau) - float(mean)
    h = push / beta
    improves = push * room > 0.0
    return QuadraticTilt(
        2.0 * room * h - h * h, 2.0 * room * h, h, push / room if improves else float("inf"),
        room * room if improves else 0.0, 2.0 * room / push if improves else 0.0,
    )  # fmt: skip


def wendel_probability(k: int, d: int) -> float:
    """Chance that k isotropic random values in d dimensions can all be improved at once (theory 8.3).

    2^(1-k) sum_{i<d} C(k-1, i): 1 for k <= d, 1/2 at k = 2 d.

    Cost: k binomial coefficients.
    Errors: ValueError where k or d is no whole number >= 1.

    >>> wendel_probability(3, 3), wendel_probability(4, 2)
    (1.0, 0.5)
    """
    from math import comb

    for name, number in ("k", k), ("d", d):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
            raise ValueError(f"{name} is {number!r}; wanted a whole number >= 1")
    return float(sum(comb(k - 1, i) for i in range(min(d, k))) / 2 ** (k - 1))
