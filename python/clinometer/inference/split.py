"""Choosing on half of the prompts and judging on the other: the gain of the choice itself (theory 10.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import bucketed, unit_errors, worth
from clinometer.common.threads import shared

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def halves(units: int, splits: int, seed: int) -> Flags:
    """Random halves (splits, units)."""
    rng = np.random.default_rng(seed)
    return np.argsort(rng.random((splits, units)), axis=1) < units // 2


@dataclass(frozen=True)
class Judged:
    """What the cells chosen gain on prompts that did not choose them.

    `gain`, `se`, `optimism` (J,) are means over the splits with their error over prompts. Splits share their prompts,
    and where one noise is the best of many on every half the mean of its gains on the other halves is far from 0 more
    often than that error says. `gains`, `errors`, `freedom` (S, J) are of single splits, each of which is valid, and
    bounds and chances average over these.
    """

    gain: Floats
    se: Floats
    optimism: Floats
    gains: Floats
    errors: Floats
    freedom: Floats
    correlation: Floats  # (J, J) of the errors

    def chance(self, used: Flags, draws: int = 2048) -> float:
        """Mean over splits of the chance that every value used rises, by the t law on the half that judges.

        It is 1/2 for one value and less for several where no cell does anything. NaN where a value has no error.
        """
        z = self.gains[:, used] / np.where(self.errors[:, used] > 0, self.errors[:, used], np.nan)
        if not used.any() or not np.isfinite(z).all():
            return float("nan")
        values, vectors = np.linalg.eigh(self.correlation[np.ix_(used, used)])
        noise = np.random.default_rng(0).standard_normal((draws, z.shape[1]))
        noise = np.einsum("di,ji->dj", noise, vectors * np.sqrt(np.maximum(values, 0.0)))
        return float(np.mean([(one + noise > 0).all(axis=1).mean() for one in z]))

    def bounds(self, level: float) -> Floats:
        """(J, 2) of the gain of a cell chosen so."""
        p = [
            averaged_bounds(x, se, v, level)
            for x, se, v in zip(self.gains.T, self.errors.T, self.freedom.T, strict=True)
        ]
        return np.array(p)


def averaged_bounds(x: Floats, se: Floats, freedom: Floats, level: float) -> Floats:
    """Bounds from several splits (S,): twice the mean of p-values is a p-value whatever their dependence."""
    low = averaged_bound(lambda at: tail(x - at, se, freedom), x, se, level)
    high = averaged_bound(lambda at: tail(-x - at, se, freedom), -x, se, level)
    return np.array([low, -high])


def tail(x: Floats, se: Floats, freedom: Floats) -> Floats:
    """One-sided p-values of x > 0 by Student's t."""
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(stdtr(np.maximum(freedom, 1e-9), -x / se))


def averaged_bound(p: Callable[[float], Floats], x: Floats, se: Floats, level: float) -> float:
    """The largest number that gains are shown to exceed: where twice the mean of p(number) is half of 1 - level."""
    if not (np.isfinite(x).all() and np.isfinite(se).all()):
        return float("nan")
    if not se.max() > 0:  # an identity, such as a value against itself
        return float(x.min())
    span = 1e3 * float(se.max()) + float(np.ptp(x))
    low, high = float(x.min()) - span, float(x.max())
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 2 * p(middle).mean() <= (1 - level) / 2 else (low, middle)
    return low


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
        every, errors, freedom, seen = (np.zeros((S, J)) for _ in range(4))
        psi = np.zeros(self.held.shape)
        for s, cell in enumerate(best):
            rest = ~self.flags[s]
            held, units = self.held[rest], self.units[rest, cell]
            mass = held.sum(axis=0)
            every[s] = _ratio(units.sum(axis=0), mass)
            own = _ratio(units - held * every[s], np.broadcast_to(mass, held.shape))
            errors[s], freedom[s] = unit_errors(own, held), worth(own, held) - 1
            psi[rest] += own / S
            seen[s] = self.gains(s, True)[cell]
        joint = np.einsum("ci,cj->ij", psi, psi)
        size = np.sqrt(np.maximum(np.diag(joint), 1e-300))
        return Judged(
            every.mean(axis=0), unit_errors(psi, self.held), (seen - every).mean(axis=0), every, errors, freedom,
            joint / np.outer(size, size),
        )  # fmt: skip


def _ratio(sums: Floats, held: Floats) -> Floats:
    return np.divide(sums, held, out=np.full_like(sums, np.nan), where=held > 0)


def objective(gain: Floats, weight: Floats | None, scale: Floats) -> Floats:
    """Objective of gains (..., J): the worst, or the weighted mean, of those in sd; -inf without a number."""
    used = ~np.isnan(scale)
    in_sd = gain[..., used] / scale[used]
    out = in_sd.min(axis=-1) if weight is None else in_sd @ weight[used]
    return np.where(np.isnan(out), -np.inf, out)
