"""Scores whose spread differs between prompts, and by how much gains are then too high (theory 2.9).

A tilt moves prompts of widely spread scores furthest, past what their responses can say: their KL falls short, all are
tilted harder than they should be to reach a level, and the gain is that of a larger KL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinometer.common.threads import applied

Floats = NDArray[np.float64]
LEAST = 4  # responses for a fourth moment
SURE = 3.0  # errors, past which spreads differ by more than chance


@dataclass(frozen=True)
class Spread:
    """Log-sd of the sd of a score over prompts, 0 where chance may make it, and what makes a prompt's usual, (G,)."""

    log_sd: float
    usual: Floats

    def overshoot(self, kl: Floats, reach: float) -> Floats:
        """Share (...) by which gains at kl (...) are too high at most, `reach` being the KL up to which a prompt's
        responses say what a policy gains.

        A third of log_sd^2 times the share of the KL that lies in prompts past their reach, lognormal spreads taken for
        granted: of Gaussian scores of 8, 16 and 64 responses the excess is seen to lie below that and above half of it.
        """
        from scipy.special import ndtr

        if not self.log_sd > 0:
            return np.zeros(np.shape(kl))
        with np.errstate(divide="ignore", invalid="ignore"):
            past = ndtr(2 * self.log_sd - (np.log(reach / kl) + 2 * self.log_sd**2) / (2 * self.log_sd))
        return np.asarray(np.nan_to_num(past) * self.log_sd**2 / 3)


def spread(second: Floats, fourth: Floats, n: Floats, omega: Floats) -> Spread:
    """By the second and fourth moments (G,) of scores about the mean of their prompt, n (G,) responses in each.

    The variance of log s^2 over prompts, less what chance makes of it: trigamma((n - 1)/2) for normal scores, and
    (kurtosis - 3)/n more, with the kurtosis inside prompts from moments without bias.
    """
    from scipy.special import digamma, polygamma

    usual, some = np.ones(len(n)), (omega > 0) & (n >= LEAST) & (second > 0)
    if np.count_nonzero(some) < LEAST:
        return Spread(0.0, usual)
    m, share = n[some], omega[some] / omega[some].sum()
    logs = np.log(second[some] * m / (m - 1)) - digamma((m - 1) / 2) + np.log((m - 1) / 2)
    chance = polygamma(1, (m - 1) / 2) + (_kurtosis(second[some], fourth[some], m, share) - 3) / m
    chance = np.maximum(chance, 0.0)
    middle = float(applied(logs, share))
    each = (logs - middle) ** 2 - chance
    found = float(applied(each, share))
    if not found > SURE * np.sqrt(float(applied((each - found) ** 2, share**2))):
        return Spread(0.0, usual)
    typical = np.exp((middle + found / (found + chance) * (logs - middle)) / 2)
    usual[some] = np.sqrt(float(applied(typical**2, share))) / typical
    return Spread(float(np.sqrt(found) / 2), usual)


def _kurtosis(second: Floats, fourth: Floats, n: Floats, share: Floats) -> float:
    """Fourth moment over the squared second, inside prompts; both without bias for any n of 4 or more."""
    a = (n - 1) * np.array([n**2 - 3 * n + 3, 6 * n - 9]) / n**3  # of m4, in terms of mu4 and sigma^4
    b = (n - 1) * np.array([n - 1, n**2 - 2 * n + 3]) / n**3  # of m2^2
    whole = a[0] * b[1] - a[1] * b[0]
    mu4, sigma4 = (b[1] * fourth - a[1] * second**2) / whole, (a[0] * second**2 - b[0] * fourth) / whole
    below = float(applied(sigma4, share))
    return float(np.clip(float(applied(mu4, share)) / below, 1.0, 100.0)) if below > 0 else 100.0
