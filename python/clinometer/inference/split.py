"""Choosing on half of the prompts and judging on the other: what a choice is worth (theory 10, "Winner's curse")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..resampling import bucketed, t_bounds, unit_errors, worth
from ..threads import shared

__all__ = ["Judged", "Split", "halves"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def halves(units: int, splits: int, seed: int) -> Flags:
    """Random halves (splits, units)."""
    rng = np.random.default_rng(seed)
    return np.argsort(rng.random((splits, units)), axis=1) < units // 2


@dataclass(frozen=True)
class Judged:
    """What the cells chosen gain on prompts that did not choose them; (J,) each, means over the splits."""

    gain: Floats
    se: Floats
    freedom: Floats
    optimism: Floats
    correlation: Floats  # (J, J) of the errors

    def chance(self, used: Flags, draws: int = 4096) -> float:
        """Chance that every value used rises, by the t law of the gains and their joint error without a prior.

        It is 1/2 for one value and less for several where no cell does anything. NaN where a value has no error.
        """
        from scipy.special import chdtri

        z = self.gain[used] / np.where(self.se[used] > 0, self.se[used], np.nan)
        if not used.any() or not np.isfinite(z).all():
            return float("nan")
        rng = np.random.default_rng(0)
        values, vectors = np.linalg.eigh(self.correlation[np.ix_(used, used)])
        noise = rng.standard_normal((draws, len(z))) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        freedom = max(float(self.freedom[used].min()), 0.5)
        spread = np.sqrt(chdtri(freedom, (np.arange(draws) + 0.5) / draws) / freedom)
        return float((z + noise / rng.permutation(spread)[:, None] > 0).all(axis=1).mean())

    def bounds(self, level: float) -> Floats:
        return t_bounds(self.gain, self.se, self.freedom + 1, level)


@dataclass(frozen=True)
class Split:
    """Halves of the units of M cells on J values.

    `units` (C, M, J) are weighted gains of units and `held` (C, J) their weights, so that a sum over some units over
    the sum of their weights is the gain on them; `flags` (S, C) is True in the half that chooses.
    """

    units: Floats
    held: Floats
    flags: Flags

    @classmethod
    def of(cls, units: Floats, held: Floats, splits: int, random_state: int) -> Split:
        """Random halves; at least 4 units."""
        if len(units) < 4:
            raise ValueError(
                f"there are {len(units)} prompts (or clusters), wanted at least 4 to choose on half of them"
            )
        units, held = bucketed(units), bucketed(held)
        return cls(units, held, halves(len(units), splits, random_state))

    def gains(self, s: int, half: bool) -> Floats:
        """Gains (M, J) on one half of split s."""
        at = self.flags[s] if half else ~self.flags[s]
        return _ratio(np.einsum("cmj->mj", self.units[at]), self.held[at].sum(axis=0))

    def chosen(self, scale: Floats, weight: Floats | None = None, allowed: Flags | None = None) -> NDArray[np.int64]:
        """The cell with the largest objective on each half, (S,), among the cells allowed (M,)."""

        def of(s: int) -> int:
            score = objective(self.gains(s, True), weight, scale)
            return int(np.argmax(score if allowed is None else np.where(allowed, score, -np.inf)))

        return np.array(shared(of, range(len(self.flags)), 1), np.int64)

    def judged(self, best: NDArray[np.int64]) -> Judged:
        """The cells chosen, on the other halves.

        A mean over splits is a mean over prompts: prompt x adds its gain in the cells that the halves without it
        chose. Its error is that of those numbers, and not the error on half of the prompts.
        """
        S, J = len(best), self.held.shape[1]
        gain, optimism, psi = np.zeros(J), np.zeros(J), np.zeros(self.held.shape)
        for s, cell in enumerate(best):
            rest = ~self.flags[s]
            mass = self.held[rest].sum(axis=0)
            own = _ratio(self.units[rest, cell].sum(axis=0), mass)
            psi[rest] += (
                _ratio(self.units[rest, cell] - self.held[rest] * own, np.broadcast_to(mass, (rest.sum(), J))) / S
            )
            gain += own / S
            optimism += (self.gains(s, True)[cell] - own) / S
        joint = np.einsum("ci,cj->ij", psi, psi)
        size = np.sqrt(np.maximum(np.diag(joint), 1e-300))
        return Judged(
            gain, unit_errors(psi, self.held), worth(psi, self.held) - 1, optimism, joint / np.outer(size, size)
        )


def _ratio(sums: Floats, held: Floats) -> Floats:
    return np.divide(sums, held, out=np.full_like(sums, np.nan), where=held > 0)


def objective(gain: Floats, weight: Floats | None, scale: Floats) -> Floats:
    """Objective of gains (..., J): the worst, or the weighted mean, of those in sd; -inf without a number."""
    used = ~np.isnan(scale)
    in_sd = gain[..., used] / scale[used]
    out = in_sd.min(axis=-1) if weight is None else in_sd @ weight[used]
    return np.where(np.isnan(out), -np.inf, out)
