"""The exact tilt of the rows of one prompt, in forms that do not cancel (theory 2.2).

With tc = t - sum w t and lam = 1/beta the log-ratio of the tilted to the base policy is
`l_i = lam tc_i - L`, `L = log sum w exp(lam tc)`, and p_i = w_i exp(l_i). Everything else is a sum over l.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .base import Array, Block

__all__ = ["PromptTilt", "divide", "tilt_block"]

SERIES_TERMS = 20  # |l| < 1: the first term left out is below 1/21! = 2e-20


def divide(a: float | Array, beta: float) -> Array:
    """Return a / beta, beta = 0 the limit from above; 0 / 0 = 0: an exact zero stays one at every tilt."""
    a = np.asarray(a, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        return np.where(a == 0, 0.0, a / beta)


def _series(x: Array, weights: Array) -> Array:
    """Return sum_{m >= 2} weights[m - 2] x^m, by Horner."""
    total = np.zeros_like(x)
    for weight in weights[::-1]:
        total = total * x + weight
    return total * x * x


_POWERS = range(2, SERIES_TERMS + 2)
_EXP_TAIL = np.array([1 / math.factorial(m) for m in _POWERS])  # e^x - 1 - x
_KL_TAIL = np.array([(m - 1) / math.factorial(m) for m in _POWERS])  # e^x x - e^x + 1


@dataclass(frozen=True)
class PromptTilt:
    """One prompt tilted at one `beta`; rows of base weight zero are not in it (theory 2.2).

    `w` and `p` (n,) are base and tilted weights, `log_ratio` (n,) l = log p/w, at most -log w, -inf where p = 0;
    `log_mass` is what the log-partition exceeds `level` / beta by, and the centred one `level_centred` / beta.
    """

    w: Array
    p: Array
    log_ratio: Array
    beta: float
    log_mass: float
    level: float
    level_centred: float

    @property
    def log_partition(self) -> float:
        """log Z = log sum w e^(t / beta), which depends on a shift of the scores."""
        return self.log_mass + float(divide(self.level, self.beta))

    @property
    def log_partition_centred(self) -> float:
        """log Z of the scores less their mean, at least 0."""
        return self.log_mass + float(divide(self.level_centred, self.beta))

    def change(self) -> Array:
        """p - w, (n,), as w expm1(l): relative accuracy also where p and w nearly agree."""
        ratio = self.log_ratio
        small = np.minimum(ratio, 1.0)  # w expm1(l) with w tiny and l huge would be 0 * inf
        return np.where(ratio > 1, self.p - self.w, self.w * np.expm1(small))

    def gain(self, centred: Array) -> float:
        """E_p f - E_w f of a column centred under w."""
        return float(self.change() @ centred)

    def kl(self) -> float:
        """KL(p || w) = sum w (e^l l - expm1 l), every term >= 0."""
        ratio, w = self.log_ratio, self.w
        terms = w.copy()  # the limit l = -inf
        small, finite = np.abs(ratio) < 1, np.isfinite(ratio)
        terms[finite] = self.p[finite] * ratio[finite] - self.change()[finite]
        terms[small] = w[small] * _series(ratio[small], _KL_TAIL)
        return float(terms.sum())

    def reverse_kl(self) -> float:
        """KL(w || p) = sum w (expm1(l) - l), every term >= 0; infinite once some p is zero."""
        ratio, w = self.log_ratio, self.w
        terms = self.change() - w * ratio
        small = np.abs(ratio) < 1
        terms[small] = w[small] * _series(ratio[small], _EXP_TAIL)
        return float(terms.sum())

    def chi2(self) -> float:
        """sum w expm1(l)^2, which is sum p expm1(l) because sum w expm1(l) = 0, without its cancellation."""
        with np.errstate(over="ignore"):
            return float(self.change() @ np.expm1(self.log_ratio))

    def max_ratio(self) -> float:
        """Largest p / w."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.log_ratio.max()))


def tilt_block(t: Array, block: Block, beta: float) -> PromptTilt:
    """Tilt the rows of a block by the column t (N,): pi ~ w exp(t / beta) (theory 2.2).

    beta = inf gives exact zeros; beta = 0 is the argmax limit, ties share by w.

    >>> import numpy as np
    >>> from clinometer.reference import base_weights
    >>> tilt_block(np.array([0.0, 1.0]), base_weights(2).blocks()[0], 1.0).p.round(4).tolist()
    [0.2689, 0.7311]
    """
    w, log_w = block.w, block.log_w
    best = float(t[block.rows].max())
    below = t[block.rows] - best  # <= 0, and exactly 0 for the winners: 0 / beta stays 0 at any beta
    mean = float(w @ below)
    centred = below - mean
    residue = float(w @ centred)  # it matters at lam = 1e-8 with t ~ 1e3
    mean, centred = mean + residue, centred - residue

    x = divide(centred, beta)
    if np.abs(x).max() < 1:
        log_sum = math.log1p(float(w @ _series(x, _EXP_TAIL)))
        return PromptTilt(w, np.exp(log_w + (x - log_sum)), x - log_sum, beta, log_sum, best + mean, 0.0)
    y = divide(below, beta)
    a = log_w + y
    top = float(a.max())
    rest = top + math.log(float(np.exp(a - top).sum()))  # log sum w exp(y), y <= 0
    return PromptTilt(w, np.exp(log_w + (y - rest)), y - rest, beta, rest, best, -mean)
